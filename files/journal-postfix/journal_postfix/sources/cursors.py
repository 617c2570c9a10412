"""What the journal's cursors tell, though systemd calls them opaque: which entry, and whether one follows another.

Takes cursors as sd_journal_get_cursor(3) gives them, `s=…;i=…;b=…;m=…;t=…;x=…` in hexadecimal: the sequence numbers'
id, the number, the boot, the microseconds since it, the time of day, a checksum of the entry. All functions are pure
and take any text; what a cursor lacks is not known.
"""

from __future__ import annotations

import re

_FIELD = re.compile(r"([a-z])=([0-9a-f]{1,32})(?:;|\Z)")


def _fields(cursor: str) -> dict[str, str]:
    return dict(_FIELD.findall(cursor))


def cursor_time(cursor: str) -> float | None:
    """Give the time of the entry, UNIX seconds.

    >>> cursor_time("s=1f;i=2;t=5f5e100")
    100.0
    """
    fields = _fields(cursor)
    return int(fields["t"], 16) / 1e6 if "t" in fields else None


def identity(cursor: str) -> tuple[str, ...]:
    """Give what an entry keeps when it is copied to another file: boot, clocks, checksum; empty if any is missing."""
    fields = _fields(cursor)
    names = ("b", "m", "t", "x")
    return tuple(fields[name] for name in names) if all(name in fields for name in names) else ()


def distance(cursor: str, other: str) -> int | None:
    """Give how many entries `other` is behind `cursor`; None if their sequence numbers cannot be compared.

    >>> distance("s=1f;i=fe", "s=1f;i=ff"), distance("s=1f;i=1", "s=2f;i=2")
    (1, None)
    """
    one, two = _fields(cursor), _fields(other)
    if "i" not in one or "i" not in two or one.get("s") is None or one.get("s") != two.get("s"):
        return None
    return int(two["i"], 16) - int(one["i"], 16)


def moved_on(cursor: str, entries: int) -> str | None:
    """Give a cursor that seeks so many entries behind another's, in other files milliseconds; None if it cannot.

    >>> moved_on("s=1f;i=fe;b=1;m=2;t=3e8;x=4", 2)
    's=1f;i=100;t=bb8'
    """
    fields = _fields(cursor)
    if not {"s", "i", "t"} <= fields.keys():
        return None
    return f"s={fields['s']};i={int(fields['i'], 16) + entries:x};t={int(fields['t'], 16) + 1000 * entries:x}"
