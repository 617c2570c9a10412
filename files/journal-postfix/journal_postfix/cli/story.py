"""A mail's story as text: what came in, the verdicts, what happened on all legs in the order of time, and the links.

Takes a record of store.trace.load_stories; gives lines, with everything from outside escaped. Many attempts that went
alike are one line; `is_verbose` shows each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from ..verdict import (
    entrance_text,
    is_address_check,
    leaf_verdict,
    mail_verdict,
    origin_text,
    recipient_verdict,
    refused_before,
    rejection_verdict,
    relay_text,
)
from .subjects import readable
from .text import FATE_COLOURS, colour, count_text, escape, local_time, local_zone, padded, span_text, wrap

Record = dict[str, Any]

# From so many attempts in a row without success they are told together.
MIN_GROUP: Final = 4
MAX_REPLIES: Final = 5
# Above so many recipients only those that need attention are told, and the others counted.
MAX_RECIPIENTS: Final = 20
# From so many recipients on their fates are counted first.
MIN_COUNTED: Final = 10

_LINKS: Final = {
    ("bounce", "to"): "non-delivery notification",
    ("delay warning", "to"): "delay warning",
    ("success notice", "to"): "delivery status notification",
    ("postmaster notice", "to"): "notice to the postmaster",
    ("forwarded", "to"): "forwarded as",
    ("queued", "to"): "was handed on as",
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

_NOTICES: Final = {
    "bounce": "non-delivery notification",
    "delay warning": "delay warning",
    "success notice": "delivery status notification",
    "postmaster notice": "notice to the postmaster",
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


def story_lines(story: Record, columns: int | None, *, is_verbose: bool) -> Iterator[str]:
    """Tell one mail's story."""
    what = "Address check" if is_address_check(story) else "Mail"
    instance = f" ({escape(story['instance'])})" if story["instance"] != "postfix" else ""
    yield colour(f"{what} {escape(story['queue_id'])} on {escape(story['host'])}{instance}", "bold")
    for name, value in _head(story):
        lines = wrap(escape(value), None if columns is None else columns - 14)
        for number, line in enumerate(lines):
            yield f"  {padded('' if number else name, 12)}{line}"
    yield ""
    yield colour("What became of it", "bold")
    yield from _verdicts(story, columns, is_verbose=is_verbose)
    yield ""
    yield colour(f"What happened (times in {escape(local_zone(story['began']))})", "bold")
    yield from _happenings(story, columns, is_verbose=is_verbose)
    links = [(mail, link) for mail in (story, *story["legs"]) for link in mail["links"] if _is_told(story, mail, link)]
    if links:
        yield ""
        yield colour("Links", "bold")
        for mail, link in sorted(links, key=lambda pair: pair[1]["time"]):
            yield f"  {_link_text(link, mail, is_named=bool(story['legs']))}"


def _verdicts(story: Record, columns: int | None, *, is_verbose: bool) -> Iterator[str]:
    shown, hidden = _shown_recipients(story, is_verbose=is_verbose)
    if len(story["recipients"]) >= MIN_COUNTED:
        fates = Counter(recipient["fate"] for recipient in story["recipients"])
        counts = ", ".join(f"{count:,} {_coloured(fate)}" for fate, count in fates.most_common())
        yield f"  {len(story['recipients']):,} recipients: {counts}"
    for recipient in shown:
        name = _recipient_name(recipient)
        yield f"  {escape(name)}: {_coloured(recipient['fate'])}"
        leaves = recipient.get("leaves", [])
        if len(leaves) < 2:
            yield from wrap(escape(recipient_verdict(story, recipient, local_time)), columns, " " * 6)
            continue
        yield f"      Handed on, and {len(leaves)} deliveries came of it:"
        for leaf in leaves if is_verbose else leaves[:MAX_RECIPIENTS]:
            lines = wrap(escape(leaf_verdict(story, recipient, leaf, local_time)), columns and columns - 10)
            yield f"        - {lines[0]}"
            yield from (f"          {line}" for line in lines[1:])
        if len(leaves) > MAX_RECIPIENTS and not is_verbose:
            yield f"        and {len(leaves) - MAX_RECIPIENTS:,} more (--verbose shows all)"
    if hidden:
        counts = ", ".join(f"{count:,} {fate}" for fate, count in hidden.most_common())
        yield f"  and {count_text(hidden.total(), 'more recipient')}: {counts} (--verbose shows all)"
    for verdict in (mail_verdict(story, local_time), refused_before(story, local_time)):
        if verdict is not None:
            yield from wrap(escape(verdict), columns, "  ")
    for notice in story["legs"]:
        about = [link for link in notice["links"] if link["direction"] == "from" and link["kind"] in _NOTICES]
        for recipient in notice["recipients"] if about else ():
            name = f"{_NOTICES[about[0]['kind']]} {notice['queue_id']} to {_recipient_name(recipient)}"
            yield f"  {escape(name)}: {_coloured(recipient['fate'])}"
            yield from wrap(escape(recipient_verdict(notice, recipient, local_time)), columns, " " * 6)


def _recipient_name(recipient: Record) -> str:
    original = f", addressed as {recipient['orig_to']}" if "orig_to" in recipient else ""
    return f"{recipient['recipient']}{original}"


def _coloured(fate: str) -> str:
    return colour(fate, FATE_COLOURS.get(fate))


def _happenings(story: Record, columns: int | None, *, is_verbose: bool) -> Iterator[str]:
    """Tell what happened to all queue entries, each step with its queue id where there are several."""
    steps = [_refusal(rejection) for rejection in story["rejected_before"]]
    legs = story["legs"]
    for mail in (story, *legs):
        shown, _ = _shown_recipients(mail, is_verbose=is_verbose)
        for step in _steps(mail, shown, is_verbose=is_verbose):
            steps.append(step._replace(text=f"{mail['queue_id']}: {step.text}") if legs else step)
    # Log stamps are often whole seconds: what one entry went through stays together then.
    steps.sort(key=lambda step: (step.time, step.rank) if not legs else (step.time, 0))
    in_milliseconds = any(step.time.microsecond for step in steps)
    for step in steps:
        time = local_time(step.time, milliseconds=in_milliseconds)
        lines = wrap(escape(step.text), None if columns is None else columns - len(time) - 4)
        for number, line in enumerate(lines):
            yield f"  {' ' * len(time) if number else time}  {line}"


def rejection_lines(rejection: Record, columns: int | None) -> Iterator[str]:
    """Tell what was refused before it got a queue id."""
    client = relay_text({"relay_host": rejection.get("client_hostname"), "relay_ip": rejection.get("client_ip")})
    yield colour(f"Rejection r{rejection['noqueue_id']} on {escape(rejection['host'])}", "bold")
    told = {
        "time": local_time(rejection["time"]),
        "sender": rejection.get("sender") or ("<>" if "sender" in rejection else None),
        "recipient": rejection.get("recipient"),
        "client": client,
        "helo": rejection.get("helo"),
        "login": rejection.get("sasl_username"),
        "asked at": rejection.get("stage"),
    }
    for name, value in told.items():
        if value is not None:
            yield f"  {padded(name, 12)}{escape(value)}"
    yield from wrap(escape(rejection_verdict(rejection)), columns, "  ")


def _refusal(rejection: Record) -> Step:
    client = relay_text({"relay_host": rejection.get("client_hostname"), "relay_ip": rejection.get("client_ip")})
    reply = " ".join(str(rejection[name]) for name in ("smtp_code", "dsn", "reason") if name in rejection)
    return Step(rejection["time"], _ARRIVAL, f"refused before: {client or 'client unknown'}: {reply}")


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
        yield "subject", readable(mail["subject"])
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
    arrival = (
        f"arrived: {entrance_text(mail)}" if "origin" in mail else f"its first line in the log ({origin_text(mail)})"
    )
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


def _is_told(story: Record, mail: Record, link: Record) -> bool:
    """Of the links between a story's entries each is told once, from the one that it leads from."""
    if link["direction"] == "to" or mail is story:
        return True
    ends = {(entry["host"], entry["queue_id"]) for entry in (story, *story["legs"])}
    return (link.get("host"), link["queue_id"]) not in ends


def _link_text(link: Record, mail: Record, *, is_named: bool) -> str:
    name = _LINKS.get((link["kind"], link["direction"]), link["kind"])
    where = f" on {escape(link['host'])}" if link.get("host") not in (None, mail["host"]) else ""
    missing = "" if "host" in link else " (not in this database)"
    doubt = " (told by the message-id)" if "told_by" in link else ""
    if link.get("is_ambiguous"):
        doubt = " (perhaps: its message-id, time, sender and recipient fit, but so do another mail's)"
    whose = f"{escape(mail['queue_id'])} " if is_named else ""
    return f"{local_time(link['time'])}  {whose}{name} {escape(link['queue_id'])}{where}{missing}{doubt}"
