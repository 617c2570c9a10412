"""The queries behind `trace`: which queue entries an id means, what was logged about them, and what else it might mean.

Takes a queue id, a message-id or a row of `search`, and what narrows it down (host, time); gives mails with all legs,
their events, and what was refused before them. Reads the public views, and mail_event for what no view shows. Never
follows more than MAX_STEPS links one behind the other, nor more than MAX_MEMBERS queue entries of a mail.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from ..errors import StoreError
from .database import Database
from .mails import Link, Record, load_links, load_mails, present
from .search import Cursor
from .terms import like_text

# A message-id that broken software uses for every mail must not fill the screen or the memory.
MAX_ENTRIES: Final = 1000
MAX_NEAREST: Final = 5
# So far a way is followed, and so many queue entries belong to one story: a loop of forwards ends here, a list too.
MAX_STEPS: Final = 12
MAX_MEMBERS: Final = 100

# How long before a mail a refusal counts as an earlier attempt to send it: greylisted senders come back within hours.
REFUSED_WITHIN: Final = timedelta(days=1)
MAX_REFUSALS: Final = 20
MAX_ADDRESSES: Final = 50

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
_ORDER: Final = "ORDER BY began DESC, mail_id LIMIT %(limit)s"
_HAS_QUEUE_ID: Final = "queue_id = %(text)s"
_HAS_MESSAGE_ID: Final = "(message_id = ANY(%(spellings)s) OR resent_message_id = ANY(%(spellings)s))"
# In the queue some time between, on that host.
_FITS: Final = """
AND (%(host)s::text IS NULL OR lower(host) = %(host)s OR starts_with(lower(host), %(host)s || '.'))
AND (
    %(begin)s::timestamptz IS NULL
    OR (began <= %(end)s::timestamptz AND greatest(ended, last_seen) >= %(begin)s::timestamptz)
)
"""
_BY_NUMBER: Final = f"{_COLUMNS} mail_id = %s AND began = %s"
_BEGINS_LIKE: Final = f"{_COLUMNS} queue_id LIKE %s OR queue_id LIKE %s ORDER BY began DESC, mail_id LIMIT %s"
# No index serves this: it runs only where nothing begins like the id, and never for longer than a person waits.
_NEAREST: Final = f"{_COLUMNS} strpos(lower(queue_id), lower(%s)) > 0 ORDER BY began DESC, mail_id LIMIT %s"
NEAREST_WITHIN: Final = "5s"

# Links that carry recipients on; the others lead to notifications.
_LEG_KINDS: Final = frozenset({"queued", "forwarded", "filtered", "requeued"})
# The same sender to the same recipient; of the empty sender, who is everybody's, only from the same client.
_REJECTED_BEFORE: Final = """
SELECT DISTINCT
    n.noqueue_id, n."time", n.host, n.component, n.action, n.stage, n.sender, n.recipient, n.client_hostname,
    n.client_ip, n.helo, n.smtp_code, n.dsn, n.reason
FROM mail AS m
CROSS JOIN LATERAL (
    SELECT lower(r.recipient) AS address FROM mail_recipient AS r WHERE r.mail_id = m.mail_id
    UNION
    SELECT lower(r.orig_to) FROM mail_recipient AS r WHERE r.mail_id = m.mail_id AND r.orig_to IS NOT NULL
    LIMIT %s
) AS a
INNER JOIN mail_rejected AS n
    ON
        left(reverse(lower(n.recipient)), 250) = left(reverse(a.address), 250)
        AND lower(n.recipient) = a.address
        AND n."time" BETWEEN m.began - %s AND m.began
        AND lower(coalesce(n.sender_raw, n.sender)) = lower(coalesce(m.sender_raw, m.sender))
        AND (m.sender <> '' OR n.client_ip = m.client_ip)
WHERE m.mail_id = %s
ORDER BY n."time", n.noqueue_id
LIMIT %s
"""
_REJECTION: Final = """
SELECT
    noqueue_id, "time", host, instance, component, service, action, stage, sender, sender_raw, recipient,
    client_hostname, client_ip, client_port, helo, proto, sasl_method, sasl_username, smtp_code, dsn, reason
FROM mail_rejected WHERE noqueue_id = %s
"""
_CAME_LATER: Final = """
SELECT m.mail_id, m.host, m.instance, m.queue_id, m.began, greatest(m.ended, m.last_seen) AS last, m.sender
FROM mail_recipient AS r INNER JOIN mail AS m ON r.mail_id = m.mail_id
WHERE
    (
        left(reverse(lower(r.recipient)), 250) = left(reverse(lower(%(recipient)s)), 250)
        OR left(reverse(lower(r.orig_to)), 250) = left(reverse(lower(%(recipient)s)), 250)
    )
    AND lower(%(recipient)s) IN (lower(r.recipient), lower(r.orig_to))
    AND lower(coalesce(m.sender_raw, m.sender)) = lower(%(sender)s)
    AND (m.sender <> '' OR m.client_ip = %(client_ip)s)
    AND m.began BETWEEN %(time)s AND %(time)s + %(span)s
ORDER BY m.began, m.mail_id
LIMIT 5
"""

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


def find_entries(
    database: Database, text: str, host: str | None = None, begin: datetime | None = None, end: datetime | None = None
) -> Found:
    """Find the entries with this queue id or else message-id; it was in the queue some time from `begin` to `end`."""
    bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    values = {
        "text": text,
        "spellings": [bare, f"<{bare}>"],
        "host": None if host is None else host.lower().rstrip("."),
        "begin": None if begin is None else begin - NEAR,
        "end": None if end is None else end + NEAR,
        "limit": MAX_ENTRIES,
    }
    has = _HAS_QUEUE_ID
    rows = database.fetch(f"{_COLUMNS} {has} {_ORDER}", values)
    if not rows:
        has = _HAS_MESSAGE_ID
        rows = database.fetch(f"{_COLUMNS} {has} {_ORDER}", values)
    fitting = rows
    if host is not None or begin is not None:
        # Asked for by itself: of what thousands have the newest are others.
        fitting = database.fetch(f"{_COLUMNS} {has} {_FITS} {_ORDER}", values)
    entries = [Entry(*row) for row in reversed(fitting)]
    found = {entry.mail_id for entry in entries}
    others = [entry for row in reversed(rows) if (entry := Entry(*row)).mail_id not in found]
    return Found(entries, others)


def find_row(database: Database, row: Cursor) -> Found:
    """Find the entry of a row of `search`."""
    return Found([Entry(*found) for found in database.fetch(_BY_NUMBER, (row.number, row.time))], [])


def find_nearest(database: Database, text: str, *, is_part: bool = True) -> list[Entry]:
    """Find queue ids that begin with this, or (is_part) have it as a part, whatever its case; the newest first."""
    if len(text) < 4:
        return []
    # With a long id its last characters get lost first; a short one is all capital letters.
    begins = (like_text(prefix) + "%" for prefix in (text, text.upper()))
    rows = database.fetch(_BEGINS_LIKE, (*begins, MAX_NEAREST))
    if not rows and is_part:
        try:
            with database.transaction():
                database.execute(f"SET LOCAL statement_timeout = '{NEAREST_WITHIN}'")
                rows = database.fetch(_NEAREST, (text, MAX_NEAREST))
        except StoreError:
            return []
    return [Entry(*row) for row in rows]


def load_rejection(database: Database, number: int) -> tuple[Record, list[Entry]] | None:
    """Give a rejection, and the mails from its sender to its recipient that came within a day after it."""
    rows = database.fetch_dicts(_REJECTION, (number,))
    if not rows:
        return None
    rejection = present(rows[0])
    later: list[Entry] = []
    if "sender" in rejection and "recipient" in rejection:
        parameters = {
            "recipient": rejection["recipient"],
            "sender": rejection.get("sender_raw", rejection["sender"]),
            "client_ip": rejection.get("client_ip"),
            "time": rejection["time"],
            "span": REFUSED_WITHIN,
        }
        later = [Entry(*row) for row in database.fetch(_CAME_LATER, parameters)]
    return rejection, later


def load_stories(database: Database, mail_ids: list[int]) -> list[Record]:
    """Give the mails that these queue entries are legs of, each as the record of the entry that it came in as.

    Such a record has `legs` (the records of all its further queue entries, notifications too, oldest first) and
    `rejected_before` (what was refused from its sender to its recipients within a day before it). Every record has its
    `events` and `neighbours` in the order of time. A recipient, or the last leg that it was handed on to (`final`), has
    as `neighbours` those that are surely or by good evidence about it; a last leg has its queue entry as `entry`.
    """
    with database.transaction():
        # One state of the database for all queries: what cleanup deletes meanwhile is still there, or was never.
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        stories, links = _members(database, mail_ids)
        members = list(dict.fromkeys(number for story in stories for number in story))
        records = load_mails(database, members, links)
        events: dict[int, list[dict[str, Any]]] = {}
        numbers = [record["mail_id"] for record in records]
        for row in database.fetch_dicts(_EVENTS, (numbers,)):
            row["queue_id"] = row.pop("linked_queue_id")
            events.setdefault(row.pop("mail_id"), []).append(present(row))
        for record in records:
            record["events"] = events.get(record["mail_id"], [])
        _add_neighbours(database, records)
        by_number = {record["mail_id"]: record for record in records}
        for record in records:
            for final in _finals(record):
                if final["mail_id"] in by_number:
                    final["entry"] = by_number[final["mail_id"]]
        told = []
        for first, *others in stories:
            if first in by_number:
                story = dict(by_number[first])
                legs = [by_number[number] for number in others if number in by_number]
                story["legs"] = sorted(legs, key=lambda leg: (leg["began"], leg["mail_id"]))
                parameters = (MAX_ADDRESSES, REFUSED_WITHIN, first, MAX_REFUSALS)
                story["rejected_before"] = [present(row) for row in database.fetch_dicts(_REJECTED_BEFORE, parameters)]
                told.append(story)
    return told


def _finals(record: Record) -> list[Record]:
    return [final for recipient in record["recipients"] for final in recipient.get("leaves", ())]


def _members(database: Database, mail_ids: list[int]) -> tuple[list[list[int]], list[Link]]:
    """Give for each mail of these entries the entry that it came in as, and behind it all others; and their links."""
    links: dict[Link, None] = {}
    before: dict[int, int] = {}
    behind: dict[int, dict[int, None]] = {}
    known: dict[int, None] = {}
    frontier = list(mail_ids)
    for _ in range(MAX_STEPS):
        if not frontier or len(known) >= MAX_MEMBERS:
            break
        known.update(dict.fromkeys(frontier))
        new = sorted(
            load_links(database, frontier), key=lambda link: (link.time, link.linked_mail_id or 0, link.mail_id)
        )
        links.update(dict.fromkeys(new))
        ends: dict[int, None] = {}
        for link in new:
            if link.linked_mail_id is None or link.is_ambiguous:
                continue
            behind.setdefault(link.mail_id, {})[link.linked_mail_id] = None
            ends[link.linked_mail_id] = None
            if link.kind in _LEG_KINDS:
                before.setdefault(link.linked_mail_id, link.mail_id)
                ends[link.mail_id] = None
        # From a notification the way back to what it is about is another story.
        frontier = [end for end in ends if end not in known][: MAX_MEMBERS - len(known)]
    roots: dict[int, None] = {}
    for number in mail_ids:
        way = [number]
        while way[-1] in before and before[way[-1]] not in way:
            way.append(before[way[-1]])
        # A loop of mails has no first one: the oldest is as good.
        roots[min(way) if way[-1] in before else way[-1]] = None
    taken = set(roots)
    stories = []
    for root in roots:
        story = [root]
        for member in story:
            further = [number for number in behind.get(member, ()) if number in known and number not in taken]
            taken.update(further)
            story += further
        stories.append(story)
    return stories, list(links)


def _add_neighbours(database: Database, records: list[Record]) -> None:
    finals = [final for record in records for final in _finals(record)]
    mail_ids = {record["mail_id"] for record in records} | {final["mail_id"] for final in finals}
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
    for final in finals:
        key = final["mail_id"], final.get("recipient", "")
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
