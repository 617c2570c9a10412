"""Whole mails from the public views: with recipients, attempts, links, and what became of them on later legs.

Takes the mail_ids of a page, gives one record (a dict under the contract's names) per mail. Reads each view once per
page: never once per mail. An absent value is absent from its record.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .database import Database

Record = dict[str, Any]

HANDED_ON: Final = "handed on"

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
_LINKS: Final = """
SELECT mail_id, kind, "time", linked_queue_id, linked_mail_id, told_by, is_ambiguous FROM mail_links(%s::bigint[])
"""
_LEAVES: Final = """
SELECT mail_id, recipient_key, final_mail_id, final_recipient_key, is_certain
FROM mail_leaves(%s::bigint[]) ORDER BY mail_id, recipient_key, final_mail_id, final_recipient_key
"""
_NAMES: Final = "SELECT mail_id, host, queue_id FROM mail WHERE mail_id = ANY(%s)"

_DELAYS: Final = ("delay_before_queue", "delay_in_queue", "delay_connection", "delay_transmission")


class Link(NamedTuple):
    """From one queue entry to the next, as the view mail_link has it."""

    mail_id: int
    kind: str
    time: Any
    linked_queue_id: str
    linked_mail_id: int | None
    told_by: str
    is_ambiguous: bool


class _Way(NamedTuple):
    mail_id: int
    recipient_key: int
    final_mail_id: int
    final_recipient_key: int | None
    is_certain: bool


def present(row: Record) -> Record:
    """Leave out what is not known."""
    return {name: value for name, value in row.items() if value is not None}


def without_numbers(mail: Record, *, with_leaves: bool) -> Record:
    """Leave out the database's own numbers: nobody outside can do anything with them."""

    def plain(final: Record) -> Record:
        return {name: value for name, value in final.items() if name not in ("mail_id", "entry", "began", "queued")}

    recipients = []
    for recipient in mail["recipients"]:
        if "final" in recipient:
            recipient = {**recipient, "final": plain(recipient["final"])}
            leaves = [plain(final) for final in recipient.pop("leaves")]
            if with_leaves and len(leaves) > 1:
                recipient["leaves"] = leaves
        recipients.append(recipient)
    return {**{name: value for name, value in mail.items() if name != "mail_id"}, "recipients": recipients}


def load_links(database: Database, mail_ids: list[int]) -> list[Link]:
    """Give the links from and to these queue entries."""
    return [Link(*row) for row in database.fetch(_LINKS, (mail_ids,))]


def load_mails(database: Database, mail_ids: list[int], links: list[Link] | None = None) -> list[Record]:
    """Give the records of these mails, in the order of the ids; `links` where they are known already.

    Each has, besides the columns of the view mail, `recipients` (with `fate`, `attempts` and, where a next leg is
    known, `final`) and `links` (with `direction` 'to' or 'from'); `fate` is the fate of recipients that no line has
    named yet, and absent when there are none.
    """
    if not mail_ids:
        return []
    mails = {row["mail_id"]: row for row in database.fetch_dicts(_MAILS, (mail_ids,))}
    recipients: dict[int, list[Record]] = {}
    for row in database.fetch_dicts(_RECIPIENTS, (mail_ids,)):
        recipients.setdefault(row["mail_id"], []).append(row)
    if links is None:
        links = load_links(database, mail_ids)
    leaves = _load_leaves(database, mail_ids)
    attempts = _attempts(database, mail_ids)
    named = _link_records(database, links, set(mail_ids))
    records = []
    for mail_id in mail_ids:
        if mail_id not in mails:
            continue
        record = present(mails[mail_id])
        record["recipients"] = []
        for recipient in recipients.get(mail_id, ()):
            key = mail_id, recipient["recipient_key"]
            record["recipients"].append(_recipient_record(recipient, attempts.get(key, []), leaves.get(key, [])))
        if record["recipients"] and len(record["recipients"]) >= (mails[mail_id]["nrcpt"] or 0):
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


def _load_leaves(database: Database, mail_ids: list[int]) -> dict[tuple[int, int], list[Record]]:
    """Give by mail and recipient what became of it on the last legs of all its ways, for what was handed on."""
    ways = [_Way(*row) for row in database.fetch(_LEAVES, (mail_ids,))]
    if not ways:
        return {}
    finals = list({way.final_mail_id for way in ways})
    mails = {row["mail_id"]: row for row in database.fetch_dicts(_MAILS, (finals,))}
    rows = database.fetch_dicts(_RECIPIENTS, (finals,))
    recipients = {(row["mail_id"], row["recipient_key"]): row for row in rows}
    leaves: dict[tuple[int, int], list[Record]] = {}
    for way in ways:
        recipient = recipients.get((way.final_mail_id, way.final_recipient_key or 0))
        final = _final(mails[way.final_mail_id], recipient)
        if not way.is_certain:
            final["is_certain"] = False
        leaves.setdefault((way.mail_id, way.recipient_key), []).append(final)
    return leaves


def _link_records(database: Database, links: list[Link], of: set[int]) -> dict[int, list[Record]]:
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
            if link.told_by == "message-id":
                record["told_by"] = link.told_by
            if link.is_ambiguous:
                record["is_ambiguous"] = True
            if other is not None:
                record["host"] = names[other][0]
            result.setdefault(mail_id, []).append(record)
    for records in result.values():
        records.sort(key=lambda record: record["time"])
    return result


def _recipient_record(recipient: Record, attempts: list[Record], leaves: list[Record]) -> Record:
    record = present({name: value for name, value in recipient.items() if name not in ("mail_id", "recipient_key")})
    delays = [record.pop(name, None) for name in _DELAYS]
    if None not in delays:
        record["delays"] = delays
    record["attempts"] = attempts
    if leaves:
        record["fate"] = HANDED_ON
        record["leaves"] = sorted(leaves, key=lambda final: _WORST_FIRST.index(final.get("fate")))
        record["final"] = record["leaves"][0]
        if len(leaves) > 1:
            record["final"]["ways"] = len(leaves)
    return record


def _final(mail: Record, recipient: Record | None) -> Record:
    final = {
        "mail_id": mail["mail_id"],
        "host": mail["host"],
        "queue_id": mail["queue_id"],
        "began": mail["began"],
        "queued": mail["queued"],
        "fate": mail["fate"] if recipient is None else recipient["fate"],
        "state": mail["state"],
    }
    if recipient is not None:
        for name in ("recipient", "response", "dsn", "component", "service", "relay_host", "relay_ip", "time"):
            final[name] = recipient[name]
        for name in ("first_attempt", "last_attempt", "attempt_count"):
            final[name] = recipient[name]
    return present(final)
