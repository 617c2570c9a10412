r"""How everything is printed: text from outside made harmless, aligned tables, local times, JSON lines.

Takes any text (addresses, replies, header text are chosen by strangers), gives what a terminal may be shown. Never
sends a control character, a terminal escape, a direction override or a line separator to the output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

ELLIPSIS: Final = "…"

# A backslash that would look like the beginning of an escape is doubled, so no text can pretend to be one.
_AMBIGUOUS_RE: Final = re.compile(r"\\(?=[\\xuU])")

_COLOURS: Final = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}

# The colour of a fate's word; what is not listed has none.
FATE_COLOURS: Final = {
    "sent": "green",
    "handed on": "green",
    "deliverable": "green",
    "bounced": "red",
    "expired": "red",
    "undeliverable": "red",
    "rejected": "red",
    "deferred": "yellow",
    "held": "yellow",
    "queued": "yellow",
    "discarded": "yellow",
}


def _is_harmless(char: str) -> bool:
    # Spaces of other scripts (Zs) are not printable for Python, but harmless and part of real subjects.
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    r"""Show control, format and surrogate characters as `\x1b`, `\u202e`, `\U000e0001`; the rest as it is.

    A backslash stays single unless an escape, or what looks like one, follows it: then it is doubled.

    >>> print(escape("a\x1b[31mb \\ c\\x1b \u202e"))
    a\x1b[31mb \ c\\x1b \u202e
    """
    if "\\" in text:
        text = _AMBIGUOUS_RE.sub(r"\\\\", text)
    if text.isprintable():
        return text
    parts: list[str] = []
    for char in text:
        if _is_harmless(char):
            parts.append(char)
        else:
            if parts and parts[-1] == "\\":
                parts.append("\\")
            parts.append(_escaped(char))
    return "".join(parts)


def json_value(value: Any) -> Any:
    """Give a value as JSON has it: datetimes as ISO 8601 in UTC."""
    if isinstance(value, datetime):
        return utc_time(value)
    if isinstance(value, Mapping):
        return {key: json_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    return value


def json_line(values: Mapping[str, Any]) -> str:
    r"""Give one JSON object on one line: readable text, with control and format characters escaped.

    >>> print(json_line({"a": "ö\x1b\u202e", "t": datetime(2026, 11, 23, 4, 13, 11, 123456, UTC)}))
    {"a": "ö\u001b\u202e", "t": "2026-11-23T04:13:11.123456Z"}
    """
    text = json.dumps(json_value(values), ensure_ascii=False)
    if text.isprintable():
        return text
    # Outside of its strings JSON has nothing but ASCII: whatever is replaced here is inside of one.
    return "".join([char if _is_harmless(char) else json.dumps(char)[1:-1] for char in text])


def utc_time(time: datetime) -> str:
    """Give ISO 8601 in UTC, to the microsecond.

    >>> utc_time(datetime(2026, 11, 23, 4, 13, 11, tzinfo=UTC))
    '2026-11-23T04:13:11.000000Z'
    """
    return time.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def local_time(time: datetime, *, milliseconds: bool = False) -> str:
    """Give a time in the local zone."""
    text = time.astimezone().isoformat(sep=" ", timespec="milliseconds" if milliseconds else "seconds")
    return text[: 23 if milliseconds else 19]


def local_zone(time: datetime) -> str:
    """Name the local zone at a time: CET (UTC+01:00)."""
    local = time.astimezone()
    offset = local.strftime("%z")
    offset = f"UTC{offset[:3]}:{offset[3:5]}" if int(offset) else "UTC"
    name = local.tzname() or offset
    return name if name == offset else f"{name} ({offset})"


def span_text(seconds: float) -> str:
    """Give a length of time in words a person reads.

    >>> span_text(0.07), span_text(1.2), span_text(75), span_text(7200), span_text(200000)
    ('0.07 s', '1.2 s', '1 min 15 s', '2 h', '2 d 7 h')
    """
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    rest = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def size_text(size: float) -> str:
    """Give a number of bytes in the unit that fits.

    >>> size_text(512), size_text(89624780)
    ('512 bytes', '85.5 MiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Give a number with its noun.

    >>> count_text(1, "attempt"), count_text(1200, "attempt")
    ('1 attempt', '1,200 attempts')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def width(text: str) -> int:
    """Give the columns that a text takes on a terminal.

    >>> width("abc"), width("日本"), width("e\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    columns = 0
    for char in text:
        if unicodedata.category(char) in ("Mn", "Me"):
            continue
        columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


def padded(text: str, columns: int) -> str:
    """Fill a text with blanks up to so many columns."""
    return text + " " * (columns - width(text))


def cut(text: str, columns: int | None) -> str:
    """Shorten a text to so many columns, with an ellipsis; None never shortens.

    >>> cut("abcdef", 4), cut("日本語", 5), cut("abc", None)
    ('abc…', '日本…', 'abc')
    """
    if columns is None or width(text) <= columns:
        return text
    kept: list[str] = []
    room = columns - 1
    for char in text:
        room -= width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ELLIPSIS


def wrap(text: str, columns: int | None, indent: str = "") -> list[str]:
    """Break a text into lines of so many columns at blanks, every one with the indent; None never breaks.

    Nothing is lost: a word that is longer than a line is broken within.
    """
    if columns is None:
        return [indent + text]
    room = max(columns - width(indent), 20)
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if width(candidate) <= room:
            line = candidate
            continue
        if line:
            lines.append(line)
        while width(word) > room:
            piece = cut(word, room + 1)[:-1]
            lines.append(piece)
            word = word[len(piece) :]
        line = word
    lines.append(line)
    return [indent + line for line in lines]


def table(rows: Sequence[Sequence[str]], headers: Sequence[str], columns: int | None = None) -> list[str]:
    """Align rows of escaped texts under their headers by display width; the last column may run on.

    With `columns` the last column is shortened to that width of a line.
    """
    grid = [list(headers), *[list(row) for row in rows]]
    widths = [max(width(row[column]) for row in grid) for column in range(len(headers) - 1)]
    lines = []
    for row in grid:
        left = "".join(padded(text, wide) + "  " for text, wide in zip(row[:-1], widths, strict=True))
        room = None if columns is None else max(columns - width(left), 10)
        lines.append((left + cut(row[-1], room)).rstrip())
    return lines


def is_terminal(stream: TextIO | None = None) -> bool:
    """Tell whether someone looks at the output."""
    return (stream or sys.stdout).isatty()


def terminal_columns() -> int | None:
    """Give the terminal's width; None where the output is a pipe or a file, and nothing must be cut."""
    return max(shutil.get_terminal_size((100, 24)).columns, 40) if is_terminal() else None


def colour(text: str, name: str | None) -> str:
    """Colour a text on a terminal, unless NO_COLOR is set (no-color.org)."""
    if name is None or not is_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"
