"""Queue entries that never saw an end: what has been silent for long has left the queue, though no line told so.

Takes an age; marks entries as silent in the database. Never touches what is held: that stays in the queue for as long
as its administrator wants.

Theory. Which entries are silent depends on the log's own time (of the newest line of their host, never later than
now), not on when this runs. The mark is no part of what `merge` folds: loading an entry takes it off again, so a later
line goes on with the entry as if it had never been marked, and an entry that no line touches keeps it. Marking at any
moments therefore gives in the end what marking once at the end gives.
"""

from __future__ import annotations

from typing import Final

from .database import Database
from .inputs import lock_hosts

SILENT: Final = "silent"


def close_silent(database: Database, days: float) -> int:
    """Mark the entries of which no line came for so many days; give how many were marked now. 0 days: none is."""
    if not days:
        return 0
    closed = 0
    # Postfix's own lines tell the time; a foreign program may log any.
    hosts = database.fetch(
        "SELECT host, least(max(last_time), now()) - %s * INTERVAL '1 day' FROM line_counter "
        "WHERE component NOT IN ('', '(other)') GROUP BY host",
        (days,),
    )
    for host, silent_since in hosts:
        with database.transaction():
            lock_hosts(database, [host])
            closed += database.execute(
                "UPDATE delivery_from AS f SET ended_how = %s FROM mail_server AS s "
                "WHERE f.server_id = s.server_id AND s.host = %s "
                "AND mail_state(f.ended_how, f.expired, f.is_held) = 'queued' "
                "AND f.began < %s AND coalesce(f.last_seen, f.ended) < %s",
                (SILENT, host, silent_since, silent_since),
            )
    return closed
