"""What is kept of Postfix's processes from one batch to the next.

Takes the processes of a batch, gives their states; takes the states that the batch has left, and keeps them in the same
transaction. A state is one text of JSON: only `session` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from ..session import SESSION_S, Process, Session, Sessions
from .database import Database, insert_rows, json_rows, timestamp

# How much longer than it can be of use a state is kept, so that a log's disorder never meets the cleaning.
KEEP_S: Final = 2 * SESSION_S

_COLUMNS: Final = ("host", "pid", "last_seen", "state")
KEEP_SESSIONS: Final = insert_rows(
    "keep_sessions",
    "process_state",
    _COLUMNS,
    "(host, pid) DO UPDATE SET last_seen = excluded.last_seen, state = excluded.state",
)
STATEMENTS: Final = (KEEP_SESSIONS,)


def load_sessions(database: Database, processes: Iterable[Process]) -> Iterable[tuple[Process, Session]]:
    """Give the states of those processes that have one."""
    hosts: list[str] = []
    pids: list[int] = []
    for host, pid in processes:
        hosts.append(host)
        pids.append(pid)
    if not hosts:
        return
    rows = database.fetch(
        "SELECT host, pid, last_seen, state FROM process_state "
        "JOIN unnest(%s::text[], %s::bigint[]) AS k (host, pid) USING (host, pid)",
        (hosts, pids),
    )
    for host, pid, last_seen, state in rows:
        yield (host, pid), Session.from_plain(json.loads(state), last_seen.timestamp())


def keep_sessions(database: Database, sessions: Sessions) -> None:
    """Keep what has changed, and throw away what can be of no use any more, by each host's own clock."""
    if sessions.ended:
        ended = sorted(sessions.ended)
        database.defer(
            "DELETE FROM process_state AS s USING unnest(%s::text[], %s::bigint[]) AS k (host, pid) "
            "WHERE s.host = k.host AND s.pid = k.pid",
            ([host for host, _ in ended], [pid for _, pid in ended]),
        )
    rows = []
    newest: dict[str, float] = {}
    for (host, pid), session in sessions.changed():
        rows.append((host, pid, timestamp(session.last_seen), json.dumps(session.to_plain())))
        newest[host] = max(session.last_seen, newest.get(host, session.last_seen))
    if rows:
        database.defer(KEEP_SESSIONS.command, (json_rows(_COLUMNS, sorted(rows)),))
        database.defer(
            "DELETE FROM process_state AS s USING unnest(%s::text[], %s::timestamptz[]) AS k (host, before) "
            "WHERE s.host = k.host AND s.last_seen < k.before",
            (list(newest), [timestamp(time - KEEP_S) for time in newest.values()]),
        )
