"""What a parsed line means for the tables.

Takes a parsed line (the dict of `parse`), gives a `Delivery`: the effect that it has and the columns that it fills, or
None where a line tells nothing about a mail. Pure: knows no time, no other line and no database. What a line's words
mean for a recipient's fate is decided here (`attempt_status`); how a whole queue entry's end changes the fate of
those that were still deferred is decided in the view mail_recipient.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from .parse.delivery import STATUS_NAMES

Parsed = dict[str, Any]
Columns = dict[str, Any]


class Effect(IntEnum):
    """What a line does to its queue entry; `merge` applies it."""

    ARRIVED = 1
    """The entry's birth by smtpd, qmqpd or pickup: at most one line in its life."""
    MESSAGE_ID = 2
    """cleanup read the header: the first line of what Postfix makes itself (bounces, forwards)."""
    QUEUED = 3
    """The queue manager took it up; repeated with the same values at every queue run."""
    ATTEMPTED = 4
    """One attempt for one recipient."""
    ENDED = 5
    """It left the queue."""
    EXPIRED = 6
    """The queue manager gave up on the recipients that are still deferred."""
    DOOMED = 7
    """smtpd will throw it away, but goes on receiving it: how it ends is known, when is not."""
    HELD = 8
    RELEASED = 9
    NOTED = 10
    """Something for its story, that changes neither its state nor a recipient's."""
    REQUEUED = 11
    """Its mail has come back under another queue id: it ends, if it is known at all."""
    NOQUEUE = 12
    """A row of its own in noqueue."""
    ABORTED = 13
    """The client left without an answer that it was accepted; only for the mail that arrived just then."""
    PROXIED = 14
    """It came through a before-queue filter, and this is who brought it; only for a mail that is known."""
    KEPT = 15
    """The notification could not be made: what was given up stays in the queue after all, until the next try."""


# Stages of smtpd at which a rejection ends the transaction; at RCPT or VRFY it goes on without that address.
LAST_STAGES: Final = frozenset({None, "DATA", "BDAT", "END-OF-MESSAGE"})


class RecipientColumns(NamedTuple):
    """What a line that decides about a recipient says of it: columns of delivery_to, in their order there.

    A tuple: a dict of so many names costs each attempt more than all the rest of it. Delays are seconds.
    """

    recipient: str
    orig_to: str | None
    status: str
    dsn: str | None
    component: str
    service: str | None
    relay_host: str | None = None
    relay_ip: str | None = None
    relay_port: int | None = None
    relay_path: str | None = None
    tls: str | None = None
    tls_protocol: str | None = None
    tls_cipher: str | None = None
    tls_trust: str | None = None
    conn_use: int | None = None
    delay: float | None = None
    delay_before_queue: float | None = None
    delay_in_queue: float | None = None
    delay_connection: float | None = None
    delay_transmission: float | None = None
    response: str | None = None
    next_queue_id: str | None = None


class Delivery(NamedTuple):
    """What one line tells: for which queue entry ('' for noqueue), its effect, and the columns it fills.

    `recipient` is there when the line decides about a recipient; `event` are (action, linked queue id, detail) when it
    belongs into the entry's story.
    """

    queue_id: str
    effect: Effect
    columns: Columns
    recipient: RecipientColumns | None = None
    event: tuple[str, str | None, str | None] | None = None
    at: float | None = None
    """When the event happened, if before the line that it is told with."""


NOQUEUE: Final = "NOQUEUE"
REJECTIONS: Final = frozenset({"reject", "milter-reject", "proxy-reject", "hangup"})
"""What smtpd calls its refusals; whatever else it logs as NOQUEUE goes on to be a mail, if nothing refuses it."""
NO_COLUMNS: Final[Columns] = {}

# For the lines that every mail has: half of what making a Delivery by its name takes; and an attribute of an
# enumeration's class costs Python 3.11 as much as three calls.
_new: Final = tuple.__new__
_ARRIVED: Final = Effect.ARRIVED
_MESSAGE_ID: Final = Effect.MESSAGE_ID
_QUEUED: Final = Effect.QUEUED
_ATTEMPTED: Final = Effect.ATTEMPTED
_ENDED: Final = Effect.ENDED


@lru_cache(maxsize=4096)
def inet(text: str | None) -> str | None:
    """Give the address as PostgreSQL's inet reads it, or None for 'unknown' and other non-addresses."""
    if not text:
        return None
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def attempt_status(component: str, status: str, response: str | None) -> str:
    """What a delivery line means for its recipient (design I7); the words of mail_recipient.status.

    SOFTBOUNCE is a bounce that soft_bounce turned into another try. `sent` by discard(8), by an alias to nothing
    (local(8)) or for the double-bounce address (qmgr(8)) reached nobody: discarded.
    """
    if status == "sent":
        if (
            component == "discard"
            or (component == "local" and response == "discarded")
            or (component == "qmgr" and response == "undeliverable postmaster notification discarded")
        ):
            return "discarded"
        return "sent"
    if status == "SOFTBOUNCE":
        return "deferred"
    if status == "undeliverable-but-not-cached":
        return "undeliverable"
    return status


def arrived(
    queue_id: str,
    component: str,
    service: str | None,
    client_hostname: str | None,
    client_ip: str | None,
    client_port: int | None,
    more: Parsed,
) -> Delivery:
    """Tell that smtpd or qmqpd began to receive a mail; `more` has what else the line says of the client."""
    get = more.get
    columns = {
        "origin": component,
        "service": service,
        "client_hostname": client_hostname,
        "client_ip": inet(client_ip),
        "client_port": client_port,
        "sasl_method": get("sasl_method"),
        "sasl_username": get("sasl_username"),
        "sasl_sender": get("sasl_sender"),
        "orig_queue_id": get("orig_queue_id"),
        "orig_client": get("orig_client"),
    }
    return _new(Delivery, (queue_id, _ARRIVED, columns, None, None, None))


def _client(parsed: Parsed) -> Delivery | None:
    queue_id = parsed["queue_id"]
    if queue_id == NOQUEUE:
        # For a before-queue filter: `proxy-accept` or `proxy-reject` follows (session.py).
        return None
    get = parsed.get
    return arrived(
        queue_id,
        parsed["component"],
        get("service"),
        get("client_hostname"),
        get("client_ip"),
        get("client_port"),
        parsed,
    )


def _uid(parsed: Parsed) -> Delivery:
    return Delivery(
        parsed["queue_id"],
        Effect.ARRIVED,
        {
            "origin": "pickup",
            "uid": parsed.get("uid"),
            # Until the queue manager says the rewritten one.
            "sender": parsed.get("sender"),
            "orig_queue_id": parsed.get("orig_queue_id"),
        },
    )


def named(queue_id: str, message_id: str) -> Delivery:
    """Tell the Message-ID that cleanup read in the header."""
    return _new(Delivery, (queue_id, _MESSAGE_ID, {"message_id": message_id}, None, None, None))


def _message_id(parsed: Parsed) -> Delivery:
    return named(parsed["queue_id"], parsed["message_id"])


def _resent_message_id(parsed: Parsed) -> Delivery:
    return Delivery(parsed["queue_id"], Effect.NOTED, {"resent_message_id": parsed["resent_message_id"]})


def queued(queue_id: str, sender: str, size: int, nrcpt: int) -> Delivery:
    """Tell that the queue manager took a mail up."""
    columns = {"sender": sender, "size": size, "nrcpt": nrcpt}
    return _new(Delivery, (queue_id, _QUEUED, columns, None, None, None))


def _active(parsed: Parsed) -> Delivery:
    return queued(parsed["queue_id"], parsed["sender"], parsed["size"], parsed["nrcpt"])


_NO_DELAYS: Final = (None, None, None, None)


def attempted(queue_id: str, component: str, service: str | None, values: Sequence[Any]) -> Delivery:
    """Tell of one attempt to deliver to one recipient; `values` are those of a status line (parse.delivery)."""
    (
        recipient,
        orig_to,
        relay_host,
        relay_ip,
        relay_port,
        relay_path,
        conn_use,
        delay,
        delays,
        tls,
        dsn,
        status,
        response,
        next_queue_id,
    ) = values
    before, active, setup, transmission = delays or _NO_DELAYS
    columns = (
        recipient,
        orig_to,
        attempt_status(component, status, response),
        dsn,
        component,
        service,
        None if relay_host == "none" else relay_host,
        inet(relay_ip),
        relay_port,
        relay_path,
        tls,
        None,  # of its connection the process itself tells (session.py)
        None,
        None,
        conn_use,
        delay,
        before,
        active,
        setup,
        transmission,
        response,
        next_queue_id,
    )
    return _new(Delivery, (queue_id, _ATTEMPTED, NO_COLUMNS, _new(RecipientColumns, columns), None, None))


def _delivery(parsed: Parsed) -> Delivery:
    get = parsed.get
    return attempted(parsed["queue_id"], parsed["component"], get("service"), [get(name) for name in STATUS_NAMES])


def removed(queue_id: str) -> Delivery:
    """Tell that a mail left the queue."""
    return _new(Delivery, (queue_id, _ENDED, _REMOVED, None, None, None))


_REMOVED: Final = {"ended_how": "removed"}


def _removed(parsed: Parsed) -> Delivery:
    # qmgr and postsuper log the same words; cleanup says why.
    how = parsed.get("reason") or ("deleted" if parsed["component"] == "postsuper" else None)
    if how is None:
        return removed(parsed["queue_id"])
    return Delivery(parsed["queue_id"], Effect.ENDED, {"ended_how": how})


def _requeued(parsed: Parsed) -> Delivery:
    return Delivery(parsed["queue_id"], Effect.ENDED, {"ended_how": "requeued"}, event=("requeued", None, None))


def _expired(parsed: Parsed) -> Delivery:
    if parsed["component"] == "postsuper":
        # Only a mark for the queue manager, whose own line follows.
        return Delivery(parsed["queue_id"], Effect.NOTED, NO_COLUMNS, event=("expired", None, "by postsuper"))
    return Delivery(
        parsed["queue_id"], Effect.EXPIRED, {"sender": parsed.get("sender")}, event=("expired", None, parsed["status"])
    )


def _notify_failed(parsed: Parsed) -> Delivery:
    effect = Effect.KEPT if "bounce" in parsed["what"] else Effect.NOTED
    return Delivery(parsed["queue_id"], effect, NO_COLUMNS, event=(parsed["action"], None, parsed["what"]))


def _notification(parsed: Parsed) -> Delivery:
    return Delivery(
        parsed["queue_id"],
        Effect.NOTED,
        NO_COLUMNS,
        event=(
            "notification" if parsed["to_whom"] == "sender" else "postmaster notice",
            parsed["bounce_queue_id"],
            parsed["notification"],
        ),
    )


def _rejection(parsed: Parsed) -> Columns:
    get = parsed.get
    return {
        "component": parsed["component"],
        "service": get("service"),
        "action": parsed["action"],
        "stage": get("reject_stage"),
        "sender": get("sender"),
        "recipient": get("recipient"),
        "client_hostname": get("client_hostname"),
        "client_ip": inet(get("client_ip")),
        "client_port": get("client_port"),
        "helo": get("helo"),
        "proto": get("proto"),
        "sasl_method": get("sasl_method"),
        "sasl_username": get("sasl_username"),
        "smtp_code": get("smtp_code"),
        "dsn": get("dsn"),
        "reason": get("reason"),
    }


def _at_the_door(parsed: Parsed) -> Delivery:
    return Delivery("", Effect.NOQUEUE, _rejection(parsed))


def _context(parsed: Parsed) -> Columns:
    """What smtpd and cleanup say about the transaction in the tail of their action lines."""
    get = parsed.get
    return {
        "sender": get("sender"),
        "subject": get("subject"),
        "helo": get("helo"),
        "proto": get("proto"),
    }


def _detail(parsed: Parsed) -> str | None:
    parts = [parsed.get("header"), parsed.get("reason")]
    return ": ".join(part for part in parts if part) or None


def _reply(parsed: Parsed) -> str | None:
    """What the client was told, as it was told."""
    parts = (
        [parsed.get("smtp_code"), parsed.get("dsn"), _detail(parsed)] if "smtp_code" in parsed else [_detail(parsed)]
    )
    return " ".join(str(part) for part in parts if part) or None


def _decided(parsed: Parsed, status: str) -> RecipientColumns | None:
    """The recipient's row when an action line decides about the recipient that it names."""
    if not parsed.get("recipient"):
        return None
    return RecipientColumns(
        recipient=parsed["recipient"],
        orig_to=None,
        status=status,
        dsn=parsed.get("dsn"),
        component=parsed["component"],
        service=parsed.get("service"),
        response=_reply(parsed),
    )


def _reject(parsed: Parsed) -> Delivery:
    queue_id = parsed.get("queue_id", NOQUEUE)
    if queue_id == NOQUEUE:
        return Delivery("", Effect.NOQUEUE, _rejection(parsed))
    event = (parsed["action"], None, _detail(parsed))
    if parsed["component"] == "smtpd" and parsed.get("reject_stage") not in LAST_STAGES:
        # A further recipient of a mail that goes on without it; or a question, not a recipient.
        decided = _decided(parsed, "rejected") if parsed["reject_stage"] == "RCPT" else None
        return Delivery(queue_id, Effect.NOTED, _context(parsed), decided, event)
    columns = _context(parsed)
    columns.update(
        ended_how="rejected",
        reject_stage=parsed.get("reject_stage"),
        smtp_code=parsed.get("smtp_code"),
        dsn=parsed.get("dsn"),
        reason=_detail(parsed),
    )
    # Of a mail that did not come by SMTP cleanup goes on to log each recipient's bounce.
    is_local = parsed["component"] == "cleanup" and "client_ip" not in parsed
    return Delivery(queue_id, Effect.ENDED, columns, None if is_local else _decided(parsed, "rejected"), event)


def _screened(parsed: Parsed) -> Delivery:
    """postscreen turned a client away; it never has a queue id, and its words differ from smtpd's."""
    columns = _rejection(parsed)
    columns["action"] = "reject"
    columns["stage"] = columns["stage"] or ("RCPT" if parsed["action"] == "reject_rcpt" else "CONNECT")
    return Delivery("", Effect.NOQUEUE, columns)


def _discard(parsed: Parsed) -> Delivery:
    queue_id = parsed.get("queue_id", NOQUEUE)
    if queue_id == NOQUEUE:
        return Delivery("", Effect.NOQUEUE, _rejection(parsed))
    columns = _context(parsed)
    columns.update(ended_how="discarded")
    effect = Effect.DOOMED if parsed["component"] == "smtpd" else Effect.ENDED
    event = (parsed["action"], None, _detail(parsed))
    return Delivery(queue_id, effect, columns, _decided(parsed, "discarded"), event)


def _hold(parsed: Parsed) -> Delivery:
    queue_id = parsed.get("queue_id", NOQUEUE)
    if queue_id == NOQUEUE:
        return Delivery("", Effect.NOQUEUE, _rejection(parsed))
    return Delivery(queue_id, Effect.HELD, _context(parsed), event=(parsed["action"], None, _detail(parsed)))


def _release(parsed: Parsed) -> Delivery:
    return Delivery(parsed["queue_id"], Effect.RELEASED, NO_COLUMNS, event=(parsed["action"], None, None))


def _noted(parsed: Parsed) -> Delivery | None:
    """Any other line that names a queue id is part of its story."""
    queue_id = parsed.get("queue_id")
    if queue_id is None:
        return None
    if queue_id == NOQUEUE:
        # An aborted session or a table that failed is no decision about a mail; health.py counts them.
        decides = parsed["action"] not in NO_STORY and "severity" not in parsed
        return Delivery("", Effect.NOQUEUE, _rejection(parsed)) if decides else None
    event = (parsed["action"], None, parsed.get("response") or _detail(parsed))
    return Delivery(queue_id, Effect.NOTED, _context(parsed), event=event)


def _message_rejected(parsed: Parsed) -> Delivery | None:
    if not parsed.get("queue_id"):
        return None
    return Delivery(
        parsed["queue_id"],
        Effect.ENDED,
        {"ended_how": "rejected", "reason": parsed.get("reason")},
        event=(parsed["action"], None, parsed.get("reason")),
    )


def _too_big(parsed: Parsed) -> Delivery | None:
    if not parsed.get("queue_id") or parsed["queue_id"] == NOQUEUE:
        return None
    reason = parsed.get("reason") or "queue file size limit exceeded"
    columns = {"ended_how": "rejected", "reason": reason}
    return Delivery(parsed["queue_id"], Effect.ENDED, columns, event=("size", None, reason))


def _corrupt(parsed: Parsed) -> Delivery | None:
    if not parsed.get("queue_id"):
        return None
    return Delivery(parsed["queue_id"], Effect.ENDED, {"ended_how": "corrupt"}, event=("corrupt", None, None))


# What a session without a queue id did, that rejected no mail.
NO_STORY: Final = frozenset({"end", "abort", "trouble", "reply_filter", "reply_filter_bad", "bdat"})

# Words that every component uses alike for "the mail as a whole", plus what smtpd and cleanup call an action.
# An action without an entry is part of a queue entry's story when its line names a queue id (`_noted`).
EXTRACTORS: Final[dict[str, Callable[[Parsed], Delivery | None]]] = {
    "client": _client,
    "uid": _uid,
    "message_id": _message_id,
    "resent_message_id": _resent_message_id,
    "active": _active,
    "delivery": _delivery,
    "removed": _removed,
    "expired": _expired,
    "requeued": _requeued,
    "notification": _notification,
    "notify_failed": _notify_failed,
    "reject": _reject,
    "milter-reject": _reject,
    "mime_error": _reject,
    "hangup": _reject,
    "reject_rcpt": _screened,
    "reject_connect": _screened,
    "reject_busy": _screened,
    "discard": _discard,
    "milter-discard": _discard,
    "hold": _hold,
    "milter-hold": _hold,
    "placed_on_hold": _hold,
    "released_from_hold": _release,
    "proxy-accept": _at_the_door,
    "proxy-reject": _at_the_door,
    "message_rejected": _message_rejected,
    "not_accepted": _message_rejected,
    "io_fatal": _message_rejected,  # in the receiving process, before the client gets its answer
    "size": _too_big,
    "corrupt": _corrupt,
}


def _by_suffix(action: str) -> Callable[[Parsed], Delivery | None]:
    """milter_header_checks log `milter-header-hold` and the like: the same effects under longer names."""
    if action.startswith("milter-") and action.count("-") == 2:
        return EXTRACTORS.get(action.rpartition("-")[2], _noted)
    return _noted


def extract_delivery(parsed: Parsed) -> Delivery | None:
    """Say what a parsed line means for delivery_from, delivery_to and noqueue; None where it means nothing."""
    action = parsed["action"]
    extractor = EXTRACTORS.get(action)
    if extractor is None:
        if "queue_id" not in parsed or action == "unknown":
            return None
        extractor = _by_suffix(action)
    return extractor(parsed)
