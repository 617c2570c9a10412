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
FROM mail_note WHERE mail_id = ANY(%s) ORDER BY mail_id, "time"
"""


# Dovecot's words about a recipient are matched by both addresses: one recipient can have come by two aliases.
_NEIGHBOURS: Final = """
SELECT
    n.mail_id, n."time", n.program, n.action, n.recipient, n.mailbox, n.result, n.score, n.required_score, n.detail,
    n.joined_by, n.is_ambiguous, t.recipient AS recipient_of, t.orig_to AS orig_to_of
FROM mail_neighbour AS n
LEFT JOIN mail_recipient AS t ON n.mail_id = t.mail_id AND n.recipient_key = t.recipient_key
WHERE n.mail_id = ANY(%s)
ORDER BY n.mail_id, n."time", n.program, n.action, t.recipient, t.orig_to
"""
_LAST_LEGS: Final = """
SELECT k.number, m.mail_id
FROM unnest(%s::text[], %s::text[], %s::timestamptz[]) WITH ORDINALITY AS k (host, queue_id, "time", number)
CROSS JOIN LATERAL (
    SELECT mail_id FROM mail
    WHERE mail.queue_id = k.queue_id AND mail.host = k.host AND mail.began <= k."time" + INTERVAL '5 seconds'
    ORDER BY mail.began DESC, mail.mail_id LIMIT 1
) AS m
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
    """Give the whole records of these mails, each with its `events` and `neighbours` in the order of time.

    A recipient, or the last leg that it was handed on to (`final`), has as `neighbours` those that are surely or by
    good evidence about it.
    """
    with database.transaction():
        # One state of the database for all queries: what cleanup deletes meanwhile is still there, or was never.
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        records = load_mails(database, mail_ids)
        events: dict[int, list[dict[str, Any]]] = {}
        for row in database.fetch_dicts(_EVENTS, (mail_ids,)):
            row["queue_id"] = row.pop("linked_queue_id")
            events.setdefault(row.pop("mail_id"), []).append(present(row))
        for record in records:
            record["events"] = events.get(record["mail_id"], [])
        _add_neighbours(database, records)
    return records


def _add_neighbours(database: Database, records: list[Record]) -> None:
    finals = [
        recipient["final"]
        for record in records
        for recipient in record["recipients"]
        if "time" in recipient.get("final", ())
    ]
    last_legs = {
        number - 1: mail_id
        for number, mail_id in database.fetch(
            _LAST_LEGS, tuple([final[name] for final in finals] for name in ("host", "queue_id", "time"))
        )
    }
    mail_ids = {record["mail_id"] for record in records} | set(last_legs.values())
    told: dict[int, list[Record]] = {}
    about: dict[tuple[int, str], list[tuple[str | None, Record]]] = {}
    for row in database.fetch_dicts(_NEIGHBOURS, (list(mail_ids),)):
        mail_id, recipient, orig_to = row.pop("mail_id"), row.pop("recipient_of"), row.pop("orig_to_of")
        is_ambiguous = row.pop("is_ambiguous")
        event = present(row)
        if is_ambiguous:
            event["is_ambiguous"] = True
        told.setdefault(mail_id, []).append(event)
        if recipient is not None and not is_ambiguous:
            about.setdefault((mail_id, recipient), []).append((orig_to, event))
    for number, final in enumerate(finals):
        key = (last_legs.get(number, 0), final["recipient"])
        if key in about:
            final["neighbours"] = [event for _, event in about[key]]
    for record in records:
        if record["mail_id"] in told:
            record["neighbours"] = told[record["mail_id"]]
        for recipient in record["recipients"]:
            events = about.get((record["mail_id"], recipient["recipient"]), [])
            own = [event for orig_to, event in events if orig_to == recipient.get("orig_to")]
            if own:
                recipient["neighbours"] = own
