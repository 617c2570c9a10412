"""A mail's story as text: what came in, the verdicts, what happened in the order of time, and the links.

Takes the record of store.trace; gives lines, with everything from outside escaped. Many attempts that went alike are
one line; `is_verbose` shows each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..verdict import entrance_text, is_address_check, mail_verdict, origin_text, recipient_verdict, relay_text
from .text import FATE_COLOURS, colour, count_text, escape, local_time, local_zone, padded, span_text, wrap

Record = dict[str, Any]

# From so many attempts in a row without success they are told together.
MIN_GROUP: Final = 4
MAX_REPLIES: Final = 5
# Above so many recipients only those that need attention are told, and the others counted.
MAX_RECIPIENTS: Final = 20

_LINKS: Final = {
    ("bounce", "to"): "non-delivery notification",
    ("delay warning", "to"): "delay warning",
    ("success notice", "to"): "delivery status notification",
    ("postmaster notice", "to"): "notice to the postmaster",
    ("forwarded", "to"): "forwarded as",
    ("queued", "to"): "queued as",
    ("filtered", "to"): "came back from the content filter as",
    ("requeued", "to"): "put back into the queue as",
    ("bounce", "from"): "is the non-delivery notification about",
    ("delay warning", "from"): "is the delay warning about",
    ("success notice", "from"): "is the delivery status notification about",
    ("postmaster notice", "from"): "is the notice to the postmaster about",
    ("forwarded", "from"): "was forwarded from",
    ("queued", "from"): "was handed on by",
    ("filtered", "from"): "came back from the content filter, before it was",
    ("requeued", "from"): "was put back into the queue, before it was",
}

_EVENTS: Final = {
    "placed_on_hold": "put on hold by an administrator",
    "released_from_hold": "released from hold by an administrator",
    "requeued": "put back into the queue by an administrator, under another id",
    "corrupt": "the queue file is damaged: put aside",
    "pass_transport": "passed to another transport",
    "notification": "the sender is told",
    "postmaster notice": "the postmaster is told",
    "notification_failed": "a notification failed",
    "notification_discarded": "a notification was discarded",
    "notify_failed": "a notification failed",
    "trouble": "trouble",
    "try_next": "an answer that made it try the next host",
    "skipped": "skipped, still being delivered",
    "end": "the connection ended",
    "size": "larger than this server takes",
}

_NEIGHBOURS: Final = {
    "saved": "saved to mailbox",
    "stored": "stored by sieve into mailbox",
    "save_failed": "could not be saved to mailbox",
    "discarded": "discarded by a sieve rule, unless another one keeps it,",
    "forwarded": "forwarded by a sieve rule",
    "rejected": "rejected by a sieve rule",
    "replied": "answered by a vacation notice",
    "proxied": "handed on",
    "proxy_failed": "could not be handed on",
    "recipient_failed": "refused",
    "scanned": "found:",
    "dkim": "DKIM",
    "dmarc": "DMARC",
    "spf": "SPF",
    "greylist": "greylisting:",
}

_ENDS: Final = {
    "removed": "left the queue",
    "expired": "left the queue",
    "deleted": "deleted from the queue by an administrator",
    "canceled": "canceled before it was complete",
    "discarded": "discarded",
    "lost": "last line of it; its queue id was used again later, its end is missing",
}

# Log stamps are often whole seconds: what stands first within one is decided by what must come first.
_ARRIVAL, _CHECK, _TAKEN_UP, _ATTEMPT, _NOTICE, _END = range(6)


class Step(NamedTuple):
    """One thing that happened."""

    time: datetime
    rank: int
    text: str


def story_lines(mail: Record, columns: int | None, *, is_verbose: bool) -> Iterator[str]:
    """Tell one queue entry's story."""
    what = "Address check" if is_address_check(mail) else "Mail"
    instance = f" ({escape(mail['instance'])})" if mail["instance"] != "postfix" else ""
    yield colour(f"{what} {escape(mail['queue_id'])} on {escape(mail['host'])}{instance}", "bold")
    for name, value in _head(mail):
        lines = wrap(escape(value), None if columns is None else columns - 14)
        for number, line in enumerate(lines):
            yield f"  {padded('' if number else name, 12)}{line}"
    yield ""
    yield colour("What became of it", "bold")
    shown, hidden = _shown_recipients(mail, is_verbose=is_verbose)
    for recipient in shown:
        name = escape(recipient["recipient"])
        if "orig_to" in recipient:
            name += f", addressed as {escape(recipient['orig_to'])}"
        fate = recipient["fate"]
        yield f"  {name}: {colour(fate, FATE_COLOURS.get(fate))}"
        yield from wrap(escape(recipient_verdict(mail, recipient, local_time)), columns, " " * 6)
    if hidden:
        counts = ", ".join(f"{count:,} {fate}" for fate, count in hidden.most_common())
        yield f"  and {count_text(hidden.total(), 'more recipient')}: {counts} (--verbose shows all)"
    verdict = mail_verdict(mail, local_time)
    if verdict is not None:
        yield from wrap(escape(verdict), columns, "  ")
    yield ""
    yield colour(f"What happened (times in {escape(local_zone(mail['began']))})", "bold")
    steps = sorted(_steps(mail, shown, is_verbose=is_verbose), key=lambda step: step[:2])
    in_milliseconds = any(step.time.microsecond for step in steps)
    for step in steps:
        time = local_time(step.time, milliseconds=in_milliseconds)
        lines = wrap(escape(step.text), None if columns is None else columns - len(time) - 4)
        for number, line in enumerate(lines):
            yield f"  {' ' * len(time) if number else time}  {line}"
    if mail["links"]:
        yield ""
        yield colour("Links", "bold")
        for link in mail["links"]:
            yield f"  {_link_text(link, mail)}"


def _head(mail: Record) -> Iterator[tuple[str, str]]:
    if "sender" in mail:
        yield "sender", mail["sender"] or "<> (the empty sender: a notification, or an automatic mail)"
    if "sender_raw" in mail:
        yield "as", mail["sender_raw"]
    if "message_id" in mail:
        yield "message-id", mail["message_id"]
    if "resent_message_id" in mail:
        yield "resent as", mail["resent_message_id"]
    if "subject" in mail:
        yield "subject", mail["subject"]
    if "size" in mail:
        yield "size", f"{mail['size']:,} bytes, {count_text(mail.get('nrcpt', 0), 'recipient')}"
    yield "came", origin_text(mail)
    if mail["state"] not in ("removed", "queued"):
        yield "state", mail["state"]


def _shown_recipients(mail: Record, *, is_verbose: bool) -> tuple[list[Record], Counter[str]]:
    recipients: list[Record] = mail["recipients"]
    if is_verbose or len(recipients) <= MAX_RECIPIENTS:
        return recipients, Counter()
    fine = [recipient for recipient in recipients if recipient["fate"] in ("sent", "handed on")]
    others = [recipient for recipient in recipients if recipient["fate"] not in ("sent", "handed on")]
    shown = (others + fine)[: max(MAX_RECIPIENTS, 0)]
    left = (others + fine)[len(shown) :]
    return shown, Counter(recipient["fate"] for recipient in left)


def _steps(mail: Record, recipients: list[Record], *, is_verbose: bool) -> Iterator[Step]:
    arrival = f"arrived: {entrance_text(mail)}" if "origin" in mail else "its first line in the log"
    yield Step(mail["began"], _ARRIVAL, arrival)
    if "queued" in mail:
        size = f"{mail['size']:,} bytes, {count_text(mail['nrcpt'], 'recipient')}" if "size" in mail else ""
        yield Step(mail["queued"], _TAKEN_UP, f"taken up by the queue manager: {size}")
    for event in mail["events"]:
        yield _event(event)
    for event in mail.get("neighbours", ()):
        yield _neighbour(event)
    for recipient in recipients:
        yield from _attempts(recipient, is_verbose=is_verbose)
    if "ended" in mail and mail["state"] in _ENDS:
        if mail["state"] == "discarded" and any("discard" in event["action"] for event in mail["events"]):
            return
        yield Step(mail["ended"], _END, _ENDS[mail["state"]])


def _event(event: Record) -> Step:
    action, detail = event["action"], event.get("detail")
    rank = _NOTICE if event["component"] in ("bounce", "qmgr", "postsuper") else _CHECK
    if action == "expired":
        by_hand = detail in ("force-expired", "by postsuper")
        why = "an administrator let it expire" if by_hand else "it was too long in the queue: gives up"
        return Step(event["time"], _NOTICE, f"{event['component']}: {why}")
    if action in ("notification", "postmaster notice"):
        return Step(event["time"], _NOTICE, f"{_EVENTS[action]} ({detail}): {event.get('queue_id', '?')}")
    name = _EVENTS.get(action, action.replace("_", " "))
    who = "" if event["component"] == "postsuper" else f"{event['component']}: "
    return Step(event["time"], rank, f"{who}{name}{': ' + detail if detail else ''}")


def _neighbour(event: Record) -> Step:
    """Say what another program said about it, and how sure it is that this mail was meant."""
    action, program = event["action"], event["program"]
    text = _NEIGHBOURS.get(action, action.replace("_", " "))
    if "result" in event:
        text += f" {event['result']}"
    if "score" in event:
        of = f" of {event['required_score']:g}" if "required_score" in event else ""
        text += f", score {event['score']:g}{of}"
    if "mailbox" in event:
        text += f" '{event['mailbox']}'"
    if "recipient" in event:
        text += f" for {event['recipient']}"
    if "detail" in event:
        text += f": {event['detail']}"
    if event["joined_by"] in ("message-id", "envelope"):
        told_by = "message-id" if event["joined_by"] == "message-id" else "client, sender and recipient"
        doubt = "; another mail fits as well" if event.get("is_ambiguous") else ""
        text += f" (told by its {told_by}{doubt})"
    # The policy servers are asked first; Dovecot speaks just before Postfix writes down its answer.
    rank = _ATTEMPT if program == "dovecot" else _ARRIVAL if event["joined_by"] == "envelope" else _CHECK
    return Step(event["time"], rank, f"{program}: {text}")


def _attempts(recipient: Record, *, is_verbose: bool) -> Iterator[Step]:
    attempts = [
        # What smtpd and cleanup decide about a recipient is an event of its own already.
        attempt
        for attempt in recipient["attempts"]
        if attempt.get("component") not in ("smtpd", "cleanup") or attempt["status"] not in ("rejected", "discarded")
    ]
    name = recipient["recipient"]
    if "orig_to" in recipient:
        name += f" (addressed as {recipient['orig_to']})"
    run: list[Record] = []
    for attempt in attempts:
        if attempt["status"] == "deferred":
            run.append(attempt)
            continue
        yield from _run(name, run, is_verbose=is_verbose)
        run = []
        yield _attempt(name, attempt)
    yield from _run(name, run, is_verbose=is_verbose)


def _run(name: str, run: list[Record], *, is_verbose: bool) -> Iterator[Step]:
    if is_verbose or len(run) < MIN_GROUP:
        for attempt in run:
            yield _attempt(name, attempt)
        return
    yield _attempt(name, run[0])
    middle = run[1:-1]
    replies = Counter(attempt.get("response", "no answer") for attempt in middle)
    texts = [f"{count:,} × “{reply}”" for reply, count in replies.most_common(MAX_REPLIES)]
    if len(replies) > MAX_REPLIES:
        texts.append(f"and {count_text(len(replies) - MAX_REPLIES, 'other reply', 'other replies')}")
    span = span_text((run[-1]["time"] - run[0]["time"]).total_seconds())
    yield Step(
        middle[0]["time"],
        _ATTEMPT,
        f"{name}: deferred {len(middle):,} more times within {span} (--verbose shows each): {'; '.join(texts)}",
    )
    yield _attempt(name, run[-1])


def _attempt(name: str, attempt: Record) -> Step:
    where = relay_text(attempt)
    by = f" by {where}" if where else f" ({attempt['component']})"
    if attempt.get("tls_protocol"):
        by += f" over {attempt['tls_protocol']} ({attempt['tls_trust']})"
    dsn = f", {attempt['dsn']}" if "dsn" in attempt else ""
    reply = f": {attempt['response']}" if "response" in attempt else ""
    return Step(attempt["time"], _ATTEMPT, f"{name}: {attempt['status']}{by}{dsn}{reply}")


def _link_text(link: Record, mail: Record) -> str:
    name = _LINKS.get((link["kind"], link["direction"]), link["kind"])
    where = f" on {escape(link['host'])}" if link.get("host") not in (None, mail["host"]) else ""
    missing = "" if "host" in link else " (not in this database)"
    return f"{local_time(link['time'])}  {name} {escape(link['queue_id'])}{where}{missing}"
