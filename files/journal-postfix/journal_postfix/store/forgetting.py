"""Forget what is kept of inputs for the sake of lines that no row is left of.

Takes a time before which nothing is left but mails that are still in the queue; forgets which lines the inputs told
before, except about the time of such a mail, and the texts by which old log files are known. Their hashes and positions
stay: what was imported once stays known. Yields how many rows were dealt with in each step.

An input's row is locked first, as the writer does that stores from it: so what it told is nobody else's meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Final

from .database import Database

MAX_FOUND: Final = 10_000
MAX_ROWS: Final = 500
# By so much the clocks of two sources of the same lines may differ.
MARGIN: Final = timedelta(days=1)

_LOCK_INPUT: Final = "SELECT FROM input_position WHERE input_id = %s FOR NO KEY UPDATE"
# From host to host by the index: there are few, and very many rows of each.
_HOSTS: Final = """
WITH RECURSIVE found (host) AS (
    SELECT min(host) FROM input_told
    UNION ALL
    SELECT (SELECT min(t.host) FROM input_told AS t WHERE t.host > f.host) FROM found AS f WHERE f.host IS NOT NULL
)
SELECT host FROM found WHERE host IS NOT NULL
"""
_FIND_TOLD: Final = """
SELECT host, ended, input_told_id, input_id, began FROM input_told
WHERE host = %(host)s AND (ended, input_told_id) > (%(ended)s, %(input_told_id)s) AND ended < %(before)s
ORDER BY ended, input_told_id LIMIT %(limit)s
"""


def forget_told(database: Database, before: datetime) -> Iterator[int]:
    """Delete what the inputs told before, in small steps; yield the number of rows of each."""
    kept = _times_of_mails(database, before)
    for (host,) in database.fetch(_HOSTS):
        place = {"host": host, "ended": "-infinity", "input_told_id": 0, "before": before, "limit": MAX_FOUND}
        while rows := database.fetch(_FIND_TOLD, place):
            _, place["ended"], place["input_told_id"], *_ = rows[-1]
            by_input: dict[int, list[int]] = {}
            for _, ended, number, input_id, began in rows:
                if not _is_within(kept, began - MARGIN, ended + MARGIN):
                    by_input.setdefault(input_id, []).append(number)
            for input_id, numbers in by_input.items():
                for begin in range(0, len(numbers), MAX_ROWS):
                    yield _delete_told(database, input_id, numbers[begin : begin + MAX_ROWS], before)


def _delete_told(database: Database, input_id: int, numbers: list[int], before: datetime) -> int:
    with database.transaction():
        database.fetch(_LOCK_INPUT, (input_id,))
        # The newest one may have grown meanwhile.
        return database.execute(
            "DELETE FROM input_told WHERE input_told_id = ANY(%s) AND ended < %s", (numbers, before)
        )


def _times_of_mails(database: Database, before: datetime) -> list[tuple[datetime, datetime]]:
    """Give the times from which lines of mails are left, joined where they overlap."""
    joined: list[tuple[datetime, datetime]] = []
    rows: list[tuple[Any, ...]] = database.fetch(
        "SELECT began, coalesce(last_seen, ended) FROM delivery_from WHERE began < %s ORDER BY began",
        (before + MARGIN,),
    )
    for began, last_seen in rows:
        if joined and began <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last_seen))
        else:
            joined.append((began, last_seen))
    return joined


def _is_within(times: list[tuple[datetime, datetime]], began: datetime, ended: datetime) -> bool:
    place = bisect_right(times, ended, key=itemgetter(0))
    return place > 0 and times[place - 1][1] >= began


def forget_heads(database: Database, before: datetime) -> Iterator[int]:
    """Empty the texts of log files that ended before; one whose file grows after all gets it again."""
    due = "kind = 'logfile' AND head <> '' AND coalesce(last_time, updated) < %s"
    inputs = database.fetch(f"SELECT input_id FROM input_position WHERE {due}", (before,))  # noqa: S608
    for (input_id,) in inputs:
        yield database.execute(
            f"UPDATE input_position SET head = '' WHERE input_id = %s AND {due}",  # noqa: S608
            (input_id, before),
        )
