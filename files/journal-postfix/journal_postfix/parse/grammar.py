"""What a grammar entry is, and the converters that many entries share.

An entry says which line it reads (components, whether a queue id stands before the text, the severity, the first word),
by which pattern, and how the pattern's groups become elements. A converter gets the elements so far and the match; it
adds to them and answers True, or answers False *before it has touched them* when the line is not what the entry reads.
It never raises: patterns bound every number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .tokens import compiled, is_begun, is_cut

Fields = dict[str, Any]
Convert = Callable[[Fields, re.Match[str]], bool]

ANY_COMPONENT = ("*",)


class Entry(NamedTuple):
    """One grammar of the catalogue for some components.

    `words` are the first words (letters, `-`, `_`) that the text can begin with; empty means any. `queue_id` tells
    whether one must stand before the text (None: both ways happen). `severe` tells whether the line has a severity
    prefix.
    """

    name: str
    action: str
    components: tuple[str, ...]
    words: tuple[str, ...]
    pattern: re.Pattern[str]
    convert: Convert
    queue_id: bool | None = True
    severe: bool = False


def nothing(fields: Fields, match: re.Match[str]) -> bool:
    """Convert a line that has no elements besides its action and queue id."""
    return True


def whole(convert: Convert) -> Convert:
    """Give the converter that refuses a line that was cut: for addresses that end where the rest fits."""

    def convert_whole(fields: Fields, match: re.Match[str]) -> bool:
        return not is_cut(match.string) and convert(fields, match)

    return convert_whole


def unquoted(convert: Convert, group: int = 1) -> Convert:
    """Give the converter for an address in the internal form of Postfix <= 3.4, which can be any text.

    It refuses what may be the beginning of a quoted one: in a line that was cut, an address may end anywhere.
    """

    def convert_unquoted(fields: Fields, match: re.Match[str]) -> bool:
        return not is_cut(match.string) and not is_begun(match[group]) and convert(fields, match)

    return convert_unquoted


def named(*names: str) -> Convert:
    """Give the converter that stores the pattern's groups under `names`, in order; groups that are None are left out.

    `name:int` and `name:float` convert; the pattern must have made sure that this works.
    """
    plan: list[tuple[str, Callable[[str], Any] | None]] = []
    for name in names:
        word, _, kind = name.partition(":")
        plan.append((word, {"": None, "int": int, "float": float}[kind]))
    steps = tuple(plan)

    def convert(fields: Fields, match: re.Match[str]) -> bool:
        for (name, kind), value in zip(steps, match.groups(), strict=True):
            if value is not None:
                fields[name] = value if kind is None else kind(value)
        return True

    return convert


def entry(
    name: str,
    components: str,
    words: str,
    pattern: str,
    convert: Convert = nothing,
    *,
    action: str | None = None,
    queue_id: bool | None = True,
    severe: bool = False,
) -> Entry:
    """Make an entry from blank-separated `components` and `words`; the action is the catalogue name after the dot."""
    return Entry(
        name,
        name.partition(".")[2] if action is None else action,
        tuple(components.split()),
        tuple(words.split()),
        compiled(pattern),
        convert,
        queue_id,
        severe,
    )


def components_of(entries: Iterable[Entry]) -> set[str]:
    """Name every component that some entry is for."""
    return {component for item in entries for component in item.components}
