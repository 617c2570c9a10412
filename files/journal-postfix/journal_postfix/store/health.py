"""What else happened on the servers, counted by the hour.

Takes a batch's server events, adds them to the counts of their hours in the batch's transaction.
"""

from __future__ import annotations

from typing import Final

from .batch import Batch
from .database import Database, insert_rows, json_rows, timestamp

_COLUMNS: Final = (
    "host",
    "instance",
    "hour",
    "component",
    "action",
    "subject",
    "lines",
    "first_time",
    "last_time",
    "sample",
)
COUNT_EVENTS: Final = insert_rows(
    "count_events",
    "server_event",
    _COLUMNS,
    "(hour, host, instance, component, action, subject) DO UPDATE SET lines = server_event.lines + excluded.lines, "
    "first_time = least(server_event.first_time, excluded.first_time), "
    "last_time = greatest(server_event.last_time, excluded.last_time)",
)


def count_server_events(database: Database, batch: Batch) -> None:
    """Add what the batch counted; the line that was the first of its hour stays as the sample."""
    rows = [
        (
            host,
            instance,
            timestamp(hour),
            *what,
            group.lines,
            timestamp(group.first),
            timestamp(group.last),
            group.sample,
        )
        for (host, instance, hour, *what), group in sorted(batch.server_events.items())
    ]
    if rows:
        database.defer(COUNT_EVENTS.command, (json_rows(_COLUMNS, rows),))
