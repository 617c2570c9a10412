"""The queries behind `trace`: which queue entries an id means, what was logged about them, and what else it might mean.

Takes a queue id or a message-id and what narrows it down (host, time); gives ids of mails and their events. Reads the
public views, and mail_event for what no view shows.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from .database import Database
from .mails import Record, load_mails, present

# A message-id that broken software uses for every mail must not fill the screen or the memory.
MAX_ENTRIES: Final = 1000
MAX_NEAREST: Final = 5

# How far a time that someone read off a log or a mail may lie beside the entry's own.
NEAR: Final = timedelta(minutes=1)


class Entry(NamedTuple):
    """A queue entry that an id may mean."""

    mail_id: int
    host: str
    instance: str
    queue_id: str
    began: datetime
    last: datetime
    sender: str | None


class Found(NamedTuple):
    """The entries of an id, oldest first, and those left out because of their host or time."""

    entries: list[Entry]
    others: list[Entry]


_COLUMNS: Final = (
    "SELECT mail_id, host, instance, queue_id, began, greatest(ended, last_seen) AS last, sender FROM mail WHERE "
)
_BY_QUEUE_ID: Final = f"{_COLUMNS} queue_id = %s ORDER BY began DESC, mail_id LIMIT %s"
_BY_MESSAGE_ID: Final = (
    f"{_COLUMNS} (message_id = ANY(%s) OR resent_message_id = ANY(%s)) ORDER BY began DESC, mail_id LIMIT %s"
)
# No index serves this: it runs only where an id is unknown, and saves a person more time than it takes.
_NEAREST: Final = f"{_COLUMNS} strpos(lower(queue_id), lower(%s)) > 0 ORDER BY began DESC, mail_id LIMIT %s"

_EVENTS: Final = """
SELECT mail_id, "time", component, action, linked_queue_id, detail
FROM mail_event WHERE mail_id = ANY(%s) ORDER BY mail_id, "time"
"""


def find_entries(
    database: Database, text: str, host: str | None = None, begin: datetime | None = None, end: datetime | None = None
) -> Found:
    """Find the entries with this queue id or else message-id; it was in the queue some time from `begin` to `end`."""
    rows = database.fetch(_BY_QUEUE_ID, (text, MAX_ENTRIES))
    if not rows:
        bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
        spellings = [bare, f"<{bare}>"]
        rows = database.fetch(_BY_MESSAGE_ID, (spellings, spellings, MAX_ENTRIES))
    entries: list[Entry] = []
    others: list[Entry] = []
    for row in reversed(rows):
        entry = Entry(*row)
        fits = _is_host(entry.host, host)
        if begin is not None and end is not None:
            fits = fits and entry.began - NEAR <= end and begin <= entry.last + NEAR
        (entries if fits else others).append(entry)
    return Found(entries, others)


def find_nearest(database: Database, text: str) -> list[Entry]:
    """Find queue ids that differ in upper and lower case only, or of which this is a part; the newest first."""
    if len(text) < 4:
        return []
    return [Entry(*row) for row in database.fetch(_NEAREST, (text, MAX_NEAREST))]


def _is_host(name: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    name, wanted = name.lower(), wanted.lower().rstrip(".")
    return name == wanted or name.startswith(wanted + ".")


def load_stories(database: Database, mail_ids: list[int]) -> list[Record]:
    """Give the whole records of these mails, each with its `events` in the order of time."""
    records = load_mails(database, mail_ids)
    events: dict[int, list[dict[str, Any]]] = {}
    for row in database.fetch_dicts(_EVENTS, (mail_ids,)):
        row["queue_id"] = row.pop("linked_queue_id")
        events.setdefault(row.pop("mail_id"), []).append(present(row))
    for record in records:
        record["events"] = events.get(record["mail_id"], [])
    return records
