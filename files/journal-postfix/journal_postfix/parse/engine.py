"""The one dispatcher: identifier → component, head of the line → candidates, candidates → the first whose grammar fits.

Takes the grammar entries once (`build_parser`), gives the function `parse`. The function keeps nothing but the split of
the identifiers it has seen, bounded in number. It knows no component by name: all of them live in the entries.

Neighbours (`neighbours/`) are programs whose identifier says who they are and not which component of which Postfix.
Their entries are kept apart, so that no `postfix/dovecot` is read as Dovecot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..programs import PROGRAMS, split_identifier
from .grammar import ANY_COMPONENT, Convert, Entry, Fields, components_of
from .tokens import QUEUE_ID, compiled

Parser = Callable[[str, str], Fields]

# A server has a few dozen identifiers; whoever may log under any name must not fill the memory.
_MAX_IDENTIFIERS = 1024

# "severity: " as msg_syslog_print() writes it (src/util/msg_syslog.c), then "queue id: ", then the first word.
_HEAD = compiled(rf"(?:(warning|error|fatal|panic): )?(?:(NOQUEUE|{QUEUE_ID}): )?([A-Za-z_-]*+)")

# What the loop needs of an entry, unpacked at once: the pattern's bound fullmatch, the action, the converter.
_Step = tuple[Callable[[str, int], re.Match[str] | None], str, Convert]

# One table per kind of head, by first word; "" holds the entries that any word can begin.
_Table = dict[str, tuple[_Step, ...]]


class _Program(NamedTuple):
    """What an identifier means: the elements that every line of it has, and the tables for its four kinds of head."""

    base: Fields
    bare: _Table
    queued: _Table
    severe: _Table
    severe_queued: _Table


_Tables = tuple[_Table, _Table, _Table, _Table]


def _table(entries: Iterable[Entry], component: str, queue_id: bool, severe: bool) -> _Table:
    """Sort the entries for one component and one kind of head by their first words, keeping their order."""
    chosen = [
        item
        for item in entries
        if (component in item.components or item.components == ANY_COMPONENT)
        and item.queue_id in (None, queue_id)
        and item.severe is severe
    ]
    words = {word for item in chosen for word in item.words} | {""}
    return {
        word: tuple(
            (item.pattern.fullmatch, item.action, item.convert)
            for item in chosen
            if word in item.words or not item.words
        )
        for word in words
    }


def _tables(entries: tuple[Entry, ...], component: str) -> _Tables:
    return (
        _table(entries, component, queue_id=False, severe=False),
        _table(entries, component, queue_id=True, severe=False),
        _table(entries, component, queue_id=False, severe=True),
        _table(entries, component, queue_id=True, severe=True),
    )


def build_parser(
    entries: Iterable[Entry], neighbour_entries: Iterable[Entry] = (), neighbours: Mapping[str, str] | None = None
) -> Parser:
    """Give `parse(identifier, message)` for these grammar entries.

    `neighbours` names the neighbour that logs under an identifier, even one that looks like Postfix's.
    """
    entries = tuple(entries)
    tables = {
        component: _tables(entries, component) for component in PROGRAMS | components_of(entries) | set(ANY_COMPONENT)
    }
    neighbour_entries = tuple(neighbour_entries)
    neighbour_programs = {
        identifier: _Program({"action": "other", "component": name}, *_tables(neighbour_entries, name))
        for identifier, name in (neighbours or {}).items()
    }
    head = _HEAD.match
    programs: dict[str, _Program | None] = {}

    def learn(identifier: str) -> _Program | None:
        if len(programs) >= _MAX_IDENTIFIERS:
            programs.clear()
        program = neighbour_programs.get(identifier)
        if program is None:
            base = split_identifier(identifier)
            if base is not None:
                program = _Program(base, *tables.get(base["component"], tables["*"]))
        programs[identifier] = program
        return program

    def parse(identifier: str, message: str) -> Fields:
        """Read one log message; see the package's docstring."""
        try:
            program = programs[identifier]
        except KeyError:
            program = learn(identifier)
        if program is None:
            return {"action": "foreign"}
        start = head(message)
        assert start is not None  # every part of the head is optional
        severity, queue_id, word = start.groups()
        fields = program[0].copy()
        if severity is not None:
            fields["severity"] = severity
            table = program[3] if queue_id is None else program[4]
        else:
            table = program[1] if queue_id is None else program[2]
        if queue_id is not None:
            fields["queue_id"] = queue_id
        position = start.start(3)
        for fullmatch, action, convert in table[word] if word in table else table[""]:
            match = fullmatch(message, position)
            if match is not None:
                fields["action"] = action
                if convert(fields, match):
                    return fields
        # What nothing fits: `unknown` for Postfix, `other` for a neighbour.
        fields["action"] = program[0]["action"]
        if severity is not None and "instance" in fields:
            fields["action"] = "trouble"
            fields["reason"] = message[position:]
        return fields

    return parse
