"""Where each input stands: which log this is, and where to go on in it.

Takes a log's uncompressed beginning, gives its InputPosition. A log is known by its beginning, so a renamed, rotated or
compressed copy is the same input, one that has grown goes on, and an older and shorter copy has nothing new.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

from .database import Database, seconds

HEAD_BYTES: Final = 65536
"""How much of a beginning tells two logs apart; what is this long need not be looked at any further."""


class InputPosition(NamedTuple):
    """How far an input is stored: `position` is where to go on, `last_time` the time of the message before.

    Of the journal, `position` counts entries, and `cursor` is the entry before; `found` is when it was first looked at.
    `is_journal` is also true of files that journalctl printed.
    """

    input_id: int
    kind: str
    name: str
    position: int
    last_time: float | None
    lines: int
    cursor: str | None = None
    is_journal: bool = False
    found: float | None = None


def find_position(database: Database, kind: str, name: str, head: bytes) -> InputPosition:
    """Find where to go on in the log that begins with `head` (HEAD_BYTES, or all there is), or begin a new one at 0."""
    found = _find_shorter(database, kind, head) or _find_longer(database, kind, head)
    if found is None:
        database.execute(
            "INSERT INTO input_position (kind, name, head, head_bytes, head_sha256, position) "
            "VALUES (%s, %s, %s, %s, %s, 0) ON CONFLICT (kind, head_bytes, head_sha256) DO NOTHING",
            (kind, name, head, len(head), _sha256(head)),
        )
        found = _find_shorter(database, kind, head)
        assert found is not None
    input_id, known_bytes, position, last_time, lines = found
    if known_bytes < len(head):
        # It has grown: from now on it is known by more.
        database.execute(
            "UPDATE input_position SET head = %s, head_bytes = %s, head_sha256 = %s WHERE input_id = %s",
            (head, len(head), _sha256(head), input_id),
        )
    return InputPosition(input_id, kind, name, position, seconds(last_time), lines)


def known_journal(database: Database, identity: str) -> InputPosition | None:
    """Find where to go on in a journal, known by whose it is; None if nothing of it was read yet."""
    head = identity.encode("utf-8", "surrogateescape")
    rows = database.fetch(
        "SELECT input_id, name, position, last_time, lines, cursor, updated FROM input_position "
        "WHERE kind = 'journal' AND head_bytes = %s AND head_sha256 = %s",
        (len(head), _sha256(head)),
    )
    if not rows:
        return None
    input_id, name, position, last_time, lines, cursor, updated = rows[0]
    known = InputPosition(input_id, "journal", name, position, seconds(last_time), lines, cursor, is_journal=True)
    return known if cursor is not None else known._replace(found=seconds(updated))


def stored_cursor(database: Database, identity: str) -> str | None:
    """Find the entry of a journal that was stored last; by a view, as `status` is for readers too."""
    rows = database.fetch(
        "SELECT cursor FROM input_state WHERE kind = 'journal' AND head_sha256 = %s",
        (_sha256(identity.encode("utf-8", "surrogateescape")),),
    )
    return rows[0][0] if rows else None


def find_journal(database: Database, name: str, identity: str) -> InputPosition:
    """Find where to go on in a journal, or begin a new one before its first entry."""
    known = known_journal(database, identity)
    if known is None:
        head = identity.encode("utf-8", "surrogateescape")
        database.execute(
            "INSERT INTO input_position (kind, name, head, head_bytes, head_sha256, position) "
            "VALUES ('journal', %s, %s, %s, %s, 0) ON CONFLICT (kind, head_bytes, head_sha256) DO NOTHING",
            (name, head, len(head), _sha256(head)),
        )
        known = known_journal(database, identity)
        assert known is not None
    return known._replace(name=name)


_COLUMNS: Final = "input_id, head_bytes, position, last_time, lines"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _find_shorter(database: Database, kind: str, head: bytes) -> tuple[Any, ...] | None:
    """Find the longest known beginning that this one begins with."""
    lengths = database.fetch(
        "SELECT DISTINCT head_bytes FROM input_position WHERE kind = %s AND head_bytes <= %s ORDER BY head_bytes DESC",
        (kind, len(head)),
    )
    for (length,) in lengths:
        rows = database.fetch(
            f"SELECT {_COLUMNS} FROM input_position WHERE kind = %s AND head_bytes = %s AND head_sha256 = %s",  # noqa: S608
            (kind, length, _sha256(head[:length])),
        )
        if rows:
            return rows[0]
    return None


def _find_longer(database: Database, kind: str, head: bytes) -> tuple[Any, ...] | None:
    """Find a known beginning that begins with this whole log: it is an older, shorter copy."""
    if len(head) >= HEAD_BYTES:
        return None
    rows = database.fetch(
        f"SELECT {_COLUMNS} FROM input_position "  # noqa: S608
        "WHERE kind = %s AND head_bytes > %s AND substring(head FROM 1 FOR %s) = %s ORDER BY head_bytes LIMIT 1",
        (kind, len(head), len(head), head),
    )
    return rows[0] if rows else None
