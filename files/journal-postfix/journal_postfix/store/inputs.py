"""What is kept of inputs besides their positions: gaps, who forged lines, and what a daemon says of itself.

Takes plain values, writes them. Also the lock that keeps two writers off one host. Never opens a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from ..message import Gap
from .database import Database, timestamp

if TYPE_CHECKING:
    from .batch import Batch  # `status` and `cleanup` need not load it

HOST_LOCK: Final = 0x6A70
HOST_LOCKS: Final = 64
MAX_UNIT: Final = 255
MAX_ORIGINS: Final = 200
OTHER_ORIGIN: Final = "(others)"
HEARD_S: Final = 120.0


class Heartbeat(NamedTuple):
    """What a daemon says of itself: see the table daemon_state. `started` in UNIX seconds, `lag` in seconds."""

    name: str
    host: str
    pid: int
    version: str
    started: float
    state: str
    lag: float
    lines_per_second: float
    problem: str | None


def lock_hosts(database: Database, hosts: Iterable[str]) -> None:
    """Keep other writers off these hosts from the next command on until the transaction ends.

    By few locks, for a log may name any number of hosts.
    """
    for number in sorted({crc32(host.encode("utf-8", "surrogatepass")) % HOST_LOCKS for host in hosts}):
        database.defer("SELECT pg_advisory_xact_lock(%s, %s)", (HOST_LOCK, number))


def record_gaps(database: Database, input_id: int, gaps: Iterable[Gap], last_time: float | None) -> None:
    """Keep gaps for the operator; `last_time` is that of the message before the first of them.

    A gap begins no later than it ends, and with the message before where the source does not know.
    """
    for gap in gaps:
        ends = gap.ends if gap.ends is not None else (last_time or 0.0)
        begins = min(ends, next((time for time in (gap.begins, last_time) if time is not None), ends))
        database.defer(
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


def beat(database: Database, state: Heartbeat) -> None:
    """Keep what the daemon says of itself, in place of what it said before."""
    database.execute(
        "INSERT INTO daemon_state "
        "(name, host, pid, version, started, heartbeat, state, lag, lines_per_second, problem) "
        "VALUES (%s, %s, %s, %s, %s, now(), %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET "
        "host = excluded.host, pid = excluded.pid, version = excluded.version, started = excluded.started, "
        "heartbeat = excluded.heartbeat, state = excluded.state, lag = excluded.lag, "
        "lines_per_second = excluded.lines_per_second, problem = excluded.problem",
        state._replace(started=timestamp(state.started)),  # type: ignore[arg-type]
    )


def is_heard(database: Database, name: str) -> bool:
    """Tell whether a daemon of this name is at work: it has been heard of within HEARD_S."""
    query = (
        "SELECT FROM daemon_state WHERE name = %s AND state NOT IN ('stopped', 'replaced') "
        "AND heartbeat > now() - %s * INTERVAL '1 second'"
    )
    return bool(database.fetch(query, (name, HEARD_S)))


def keep_forged(database: Database, batch: Batch) -> None:
    """Keep who logged what only Postfix should, a bounded number per host: users choose the names of programs."""
    for (host, origin), group in batch.forged.items():
        key = (host, origin)
        if not database.fetch("SELECT FROM forged_line WHERE host = %s AND origin = %s", key):
            known = database.fetch("SELECT count(*) FROM forged_line WHERE host = %s", (host,))[0][0]
            if known >= MAX_ORIGINS:
                key = (host, OTHER_ORIGIN)
        database.execute(
            "INSERT INTO forged_line (host, origin, lines, first_time, last_time, identifier, sample) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (host, origin) DO UPDATE SET "
            "lines = forged_line.lines + excluded.lines, "
            "first_time = least(forged_line.first_time, excluded.first_time), "
            "last_time = greatest(forged_line.last_time, excluded.last_time)",
            (*key, group.lines, timestamp(group.first), timestamp(group.last), group.identifier, group.sample),
        )
