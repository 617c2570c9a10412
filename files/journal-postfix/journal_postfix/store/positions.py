"""Where each input stands: which log file this is, and where to go on in it.

Takes an opened log file's beginning, gives its InputPosition. A file is known by the hash of its uncompressed
beginning, so a renamed, rotated or compressed copy is the same input; a file that has grown since goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .batch import InputPosition
from .database import Database, seconds


class Head(NamedTuple):
    """The first `head_bytes` of an uncompressed log and their SHA-256 (hexadecimal)."""

    head_bytes: int
    sha256: str


HashHead = Callable[[int], str | None]
"""Gives the SHA-256 over exactly so many bytes of the beginning, None when there are fewer."""


def find_position(database: Database, kind: str, name: str, head: Head, hash_head: HashHead) -> InputPosition:
    """Find where to go on in an input, or note it as a new one that begins at 0.

    `head` covers as much of the beginning as a fingerprint may; an input that was shorter when it was first seen is
    found by what it had then, and known by more from now on.
    """
    lengths = database.fetch(
        "SELECT DISTINCT head_bytes FROM input_position WHERE kind = %s AND head_bytes <= %s ORDER BY head_bytes DESC",
        (kind, head.head_bytes),
    )
    for (head_bytes,) in lengths:
        sha256 = head.sha256 if head_bytes == head.head_bytes else hash_head(head_bytes)
        if sha256 is None:
            continue
        found = database.fetch(
            "SELECT input_id, position, last_time, lines FROM input_position "
            "WHERE kind = %s AND head_bytes = %s AND head_sha256 = %s",
            (kind, head_bytes, sha256),
        )
        if found:
            input_id, position, last_time, lines = found[0]
            database.execute(
                "UPDATE input_position SET name = %s, head_bytes = %s, head_sha256 = %s WHERE input_id = %s",
                (name, head.head_bytes, head.sha256, input_id),
            )
            return InputPosition(
                input_id, kind, name, head.head_bytes, head.sha256, position, seconds(last_time), lines
            )
    rows = database.fetch(
        "INSERT INTO input_position (kind, name, head_bytes, head_sha256, position) VALUES (%s, %s, %s, %s, 0) "
        "ON CONFLICT (kind, head_bytes, head_sha256) DO UPDATE SET name = excluded.name "
        "RETURNING input_id, position, last_time, lines",
        (kind, name, head.head_bytes, head.sha256),
    )
    input_id, position, last_time, lines = rows[0]
    return InputPosition(input_id, kind, name, head.head_bytes, head.sha256, position, seconds(last_time), lines)
