"""Whole mails from the public views: with recipients, attempts, links, and what became of them on later legs.

Takes the mail_ids of a page, gives one record (a dict under the contract's names) per mail. Reads each view once per
page, and once per further leg: never once per mail. An absent value is absent from its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from .database import Database

Record = dict[str, Any]

HANDED_ON: Final = "handed on"

# As many legs are followed: submission, filter, re-injection, alias, forward … with room; a loop of forwards ends here.
MAX_LEGS: Final = 10

# Links that carry recipients on; the others lead to notifications.
_LEG_KINDS: Final = frozenset({"queued", "forwarded", "filtered", "requeued"})

# Of several leaves the one that needs a person first stands for the recipient.
_WORST_FIRST: Final = (
    "bounced",
    "expired",
    "rejected",
    "undeliverable",
    "deferred",
    "held",
    "queued",
    None,
    "sent",
    "deliverable",
    "discarded",
)

# What this Postfix itself says about another of its entries is a link even while that entry is not here; a remote
# server's "queued as" is only text then.
_CERTAIN_KINDS: Final = frozenset({"bounce", "delay warning", "success notice", "postmaster notice", "forwarded"})

_MAILS: Final = """
SELECT
    mail_id, host, instance, queue_id, began, ended, state, recipient_fate('queued', state) AS fate, origin, service,
    sender, sender_raw, message_id, resent_message_id, subject, size, nrcpt, client_hostname, client_ip, client_port,
    helo, proto, sasl_method, sasl_username, sasl_sender, tls_protocol, tls_cipher, tls_trust, uid, orig_queue_id,
    orig_client, reject_stage, smtp_code, dsn, reason, queued, expired, last_seen
FROM mail WHERE mail_id = ANY(%s)
"""
_RECIPIENTS: Final = """
SELECT
    mail_id, recipient_key, recipient, orig_to, fate, dsn, component, service, relay_host, relay_ip, relay_port,
    relay_path, response, tls, tls_protocol, tls_cipher, tls_trust, delay, delay_before_queue, delay_in_queue,
    delay_connection, delay_transmission, attempts AS attempt_count, attempted AS "time", first_attempt, last_attempt
FROM mail_recipient WHERE mail_id = ANY(%s) ORDER BY mail_id, first_attempt, recipient, orig_to
"""
_ATTEMPTS: Final = """
SELECT mail_id, recipient_key, "time", status, dsn, component, relay_host, relay_ip, relay_port, delay, response
FROM mail_attempt WHERE mail_id = ANY(%s) ORDER BY mail_id, recipient_key, "time"
"""
_LINKS_FROM: Final = """
SELECT mail_id, kind, "time", linked_queue_id, linked_mail_id, recipient_key
FROM mail_link WHERE mail_id = ANY(%s)
"""
_LINKS_TO: Final = """
SELECT mail_id, kind, "time", linked_queue_id, linked_mail_id, recipient_key
FROM mail_link WHERE linked_mail_id = ANY(%s)
"""
_NAMES: Final = "SELECT mail_id, host, queue_id FROM mail WHERE mail_id = ANY(%s)"

_DELAYS: Final = ("delay_before_queue", "delay_in_queue", "delay_connection", "delay_transmission")


class _Link(NamedTuple):
    mail_id: int
    kind: str
    time: Any
    linked_queue_id: str
    linked_mail_id: int | None
    recipient_key: int | None


@dataclass
class _Entry:
    """A queue entry on the way to the leaves."""

    mail: Record
    recipients: list[Record] = field(default_factory=list)
    legs: list[_Link] = field(default_factory=list)


def present(row: Record) -> Record:
    """Leave out what is not known."""
    return {name: value for name, value in row.items() if value is not None}


def load_mails(database: Database, mail_ids: list[int]) -> list[Record]:
    """Give the records of these mails, in the order of the ids.

    Each has, besides the columns of the view mail, `recipients` (with `fate`, `attempts` and, where a next leg is
    known, `final`) and `links` (with `direction` 'to' or 'from'); `fate` is the fate of recipients that no line has
    named yet, and absent when there are none.
    """
    if not mail_ids:
        return []
    entries, links = _load_legs(database, mail_ids)
    links += [_Link(*row) for row in database.fetch(_LINKS_TO, (mail_ids,))]
    attempts = _attempts(database, mail_ids)
    named = _link_records(database, links, set(mail_ids))
    records = []
    for mail_id in mail_ids:
        entry = entries.get(mail_id)
        if entry is None:
            continue
        record = present(entry.mail)
        record["recipients"] = [
            _recipient_record(recipient, attempts.get((mail_id, recipient["recipient_key"]), []), entry, entries)
            for recipient in entry.recipients
        ]
        if record["recipients"] and len(record["recipients"]) >= (entry.mail["nrcpt"] or 0):
            # It is the fate of recipients that no line has named yet, and here are none.
            record.pop("fate", None)
        record["links"] = named.get(mail_id, [])
        records.append(record)
    return records


def _attempts(database: Database, mail_ids: list[int]) -> dict[tuple[int, int], list[Record]]:
    attempts: dict[tuple[int, int], list[Record]] = {}
    for row in database.fetch_dicts(_ATTEMPTS, (mail_ids,)):
        key = (row.pop("mail_id"), row.pop("recipient_key"))
        attempts.setdefault(key, []).append(present(row))
    return attempts


def _load_legs(database: Database, mail_ids: list[int]) -> tuple[dict[int, _Entry], list[_Link]]:
    """Load entries and, leg by leg, those that they lead to; give them, and all links from the first ones."""
    entries: dict[int, _Entry] = {}
    first_links: list[_Link] = []
    frontier = list(dict.fromkeys(mail_ids))
    for leg in range(MAX_LEGS + 1):
        for row in database.fetch_dicts(_MAILS, (frontier,)):
            entries[row["mail_id"]] = _Entry(row)
        for row in database.fetch_dicts(_RECIPIENTS, (frontier,)):
            entries[row["mail_id"]].recipients.append(row)
        links = [_Link(*row) for row in database.fetch(_LINKS_FROM, (frontier,))]
        if leg == 0:
            first_links = list(links)
        for link in links:
            if link.kind in _LEG_KINDS and link.linked_mail_id is not None:
                entries[link.mail_id].legs.append(link)
        frontier = list(_targets(entries) - entries.keys())
        if not frontier:
            break
    return entries, first_links


def _targets(entries: dict[int, _Entry]) -> set[int]:
    return {link.linked_mail_id for entry in entries.values() for link in entry.legs if link.linked_mail_id is not None}


def _link_records(database: Database, links: list[_Link], of: set[int]) -> dict[int, list[Record]]:
    """Name both ends of the links, by the mail that they are shown with; each other end once."""
    others = {link.linked_mail_id for link in links} | {link.mail_id for link in links}
    names = {mail_id: (host, queue_id) for mail_id, host, queue_id in database.fetch(_NAMES, (list(others - {None}),))}
    result: dict[int, list[Record]] = {}
    # The way through a content filter that speaks XFORWARD is told twice: by the filter's reply (queued), and better by
    # the entry behind it (filtered). Several recipients tell of one way, too.
    seen: set[tuple[int, str, int | str]] = set()
    for link in sorted(links, key=lambda link: (link.kind == "queued", link.time, link.kind, link.mail_id)):
        if link.linked_mail_id is None and link.kind not in _CERTAIN_KINDS:
            continue
        for mail_id, other, direction in (
            (link.mail_id, link.linked_mail_id, "to"),
            (link.linked_mail_id, link.mail_id, "from"),
        ):
            if mail_id is None or mail_id not in of:
                continue
            queue_id = link.linked_queue_id if direction == "to" else names[link.mail_id][1]
            end = other or queue_id
            if (mail_id, direction, end) in seen:
                continue
            seen.add((mail_id, direction, end))
            record = {"kind": link.kind, "queue_id": queue_id, "direction": direction, "time": link.time}
            if other is not None:
                record["host"] = names[other][0]
            result.setdefault(mail_id, []).append(record)
    for records in result.values():
        records.sort(key=lambda record: record["time"])
    return result


def _recipient_record(recipient: Record, attempts: list[Record], entry: _Entry, entries: dict[int, _Entry]) -> Record:
    record = present({name: value for name, value in recipient.items() if name not in ("mail_id", "recipient_key")})
    delays = [record.pop(name, None) for name in _DELAYS]
    if None not in delays:
        record["delays"] = delays
    record["attempts"] = attempts
    leaves = list(_leaves(entry, recipient, entries, frozenset()))
    if leaves != [(entry, recipient)]:
        leaf_entry, leaf = min(leaves, key=lambda leaf: _WORST_FIRST.index(_fate(*leaf)))
        record["fate"] = HANDED_ON
        record["final"] = _final(leaf_entry, leaf)
        if len(leaves) > 1:
            record["final"]["ways"] = len(leaves)
    return record


def _fate(entry: _Entry, recipient: Record | None) -> str | None:
    fate: str | None = entry.mail["fate"] if recipient is None else recipient["fate"]
    return fate


def _final(entry: _Entry, recipient: Record | None) -> Record:
    final = {
        "host": entry.mail["host"],
        "queue_id": entry.mail["queue_id"],
        "fate": _fate(entry, recipient),
        "state": entry.mail["state"],
    }
    if recipient is not None:
        for name in ("recipient", "response", "dsn", "component", "service", "relay_host", "relay_ip", "time"):
            final[name] = recipient[name]
        for name in ("first_attempt", "last_attempt", "attempt_count"):
            final[name] = recipient[name]
    return present(final)


def _leaves(
    entry: _Entry, recipient: Record, entries: dict[int, _Entry], path: frozenset[int]
) -> Iterator[tuple[_Entry, Record | None]]:
    """Yield where a recipient's mail ended up: the last known entry and recipient of each way it went."""
    path |= {entry.mail["mail_id"]}
    found = False
    for target in _next_entries(entry, recipient, entries):
        if target.mail["mail_id"] in path:
            continue
        found = True
        heirs = _heirs(entry, recipient, target)
        if not heirs:
            yield target, None
        for heir in heirs:
            yield from _leaves(target, heir, entries, path)
    if not found:
        yield entry, recipient


def _next_entries(entry: _Entry, recipient: Record, entries: dict[int, _Entry]) -> Iterable[_Entry]:
    own: dict[int, _Entry] = {}
    general: dict[int, _Entry] = {}
    for link in entry.legs:
        target = entries.get(link.linked_mail_id or 0)
        if target is None:
            continue
        if link.recipient_key == recipient["recipient_key"]:
            own[target.mail["mail_id"]] = target
        elif link.kind == "filtered" and recipient["fate"] == "sent" and recipient["component"] != "local":
            # XFORWARD says from which entry, not for which recipients.
            if not target.recipients or _same_address(recipient, target.recipients):
                general[target.mail["mail_id"]] = target
        elif link.kind == "requeued" and recipient["fate"] == "queued":
            general[target.mail["mail_id"]] = target
    return (own or general).values()


def _same_address(recipient: Record, candidates: list[Record]) -> list[Record]:
    address = recipient["recipient"].casefold()
    return [
        other
        for other in candidates
        if other["recipient"].casefold() == address or (other["orig_to"] or "").casefold() == address
    ]


def _heirs(entry: _Entry, recipient: Record, target: _Entry) -> list[Record]:
    """Give the next entry's recipients that go back to this one; none where that cannot be told."""
    same = _same_address(recipient, target.recipients)
    if not same and recipient["orig_to"]:
        same = [other for other in target.recipients if other["orig_to"] == recipient["orig_to"]]
    if same:
        return same
    keys = {
        link.recipient_key
        for link in entry.legs
        if link.linked_mail_id == target.mail["mail_id"] and link.recipient_key is not None
    }
    # An alias behind the filter may have renamed it: whatever came of this recipient alone is its own.
    return target.recipients if keys == {recipient["recipient_key"]} else []
