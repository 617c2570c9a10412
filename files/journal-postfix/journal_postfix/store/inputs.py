"""What is kept of an input besides its position: gaps, and what the daemon that follows it says of itself.

Takes plain values, writes them. Also the lock that keeps two writers off one host. Never opens a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from zlib import crc32

from ..message import Gap
from .database import Database, timestamp

HOST_LOCK: Final = 0x6A70
HOST_LOCKS: Final = 64
MAX_UNIT: Final = 255


class Heartbeat(NamedTuple):
    """What the daemon says of itself; times in UNIX seconds. `problem` is what keeps it from reading on."""

    host: str
    pid: int
    version: str
    started: float
    state: str
    newest: float | None
    lines_per_second: float
    problem: str | None


def lock_hosts(database: Database, hosts: Iterable[str]) -> None:
    """Keep other writers off these hosts until the transaction ends; by few locks, for a log may name any number."""
    for number in sorted({crc32(host.encode("utf-8", "surrogatepass")) % HOST_LOCKS for host in hosts}):
        database.execute("SELECT pg_advisory_xact_lock(%s, %s)", (HOST_LOCK, number))


def record_gaps(database: Database, input_id: int, gaps: Iterable[Gap], last_time: float | None) -> None:
    """Keep gaps for the operator; `last_time` is that of the message before the first of them.

    A gap begins no later than it ends, and with the message before where the source does not know.
    """
    for gap in gaps:
        ends = gap.ends if gap.ends is not None else (last_time or 0.0)
        begins = min(ends, next((time for time in (gap.begins, last_time) if time is not None), ends))
        database.execute(
            "INSERT INTO input_missing (input_id, kind, host, unit, began, ended, lines) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            (
                input_id,
                gap.kind,
                gap.host.replace("\0", "") or None,
                gap.unit.replace("\0", "")[:MAX_UNIT] or None,
                timestamp(begins),
                timestamp(ends),
                gap.lines,
            ),
        )


def beat(database: Database, input_id: int, state: Heartbeat) -> None:
    """Keep what the daemon says of itself, in place of what it said before."""
    database.execute(
        "INSERT INTO daemon_state (input_id, host, pid, version, started, heartbeat, state, newest, lines_per_second, "
        "problem) VALUES (%s, %s, %s, %s, %s, now(), %s, %s, %s, %s) ON CONFLICT (input_id) DO UPDATE SET "
        "host = excluded.host, pid = excluded.pid, version = excluded.version, started = excluded.started, "
        "heartbeat = excluded.heartbeat, state = excluded.state, newest = excluded.newest, "
        "lines_per_second = excluded.lines_per_second, problem = excluded.problem",
        (
            input_id,
            state.host,
            state.pid,
            state.version,
            timestamp(state.started),
            state.state,
            timestamp(state.newest),
            state.lines_per_second,
            state.problem,
        ),
    )
