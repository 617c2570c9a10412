"""One sentence in plain words for what became of a mail, recipient by recipient.

Takes the records that the look-ups give (store.mails), and a function that writes times; gives sentences. Pure. What a
remote server accepted is told apart from what lies in a mailbox here: nobody can know from this side what became of
the former.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from .statuscodes import meaning

Record = dict[str, Any]
When = Callable[[datetime], str]

# Lines of one second may stand in any order.
_DISORDER: Final = timedelta(seconds=1)

# Postfix's default maximal_queue_lifetime and bounce_queue_lifetime; the log does not tell them.
QUEUE_LIFETIME: Final = timedelta(days=5)
_LIFETIME_TOLD: Final = "5 days after it came, unless maximal_queue_lifetime says otherwise"

_NOT_KNOWN: Final = "what happened beyond is not known here"

_CHECKS: Final = {
    "deliverable": "Address check, not a mail: on {when} the address was found to be deliverable{answer}.",
    "undeliverable": "Address check, not a mail: on {when} the address was found to be undeliverable{answer}.",
}

_ABOUT: Final = {
    "bounce": "non-delivery notification that Postfix made about {id}",
    "delay warning": "delay warning that Postfix made about {id}",
    "success notice": "delivery status notification that Postfix made about {id}",
    "postmaster notice": "notice to the postmaster that Postfix made about {id}",
    "forwarded": "forwarded by an alias or a .forward file, from {id}",
    "filtered": "came back from the content filter; before it was {id}",
    "queued": "handed on by {id}",
    "requeued": "put back into the queue by an administrator; before it was {id}",
}


def relay_text(attempt: Record) -> str | None:
    """Name the host, socket or transport that an attempt went to."""
    host, address = attempt.get("relay_host"), attempt.get("relay_ip")
    if host and address and host != address:
        return f"{host}[{address}]"
    return host or address or attempt.get("relay_path")


def _span(seconds: float) -> str:
    if seconds < 0.01:
        return "less than 0.01 s"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _quoted(text: str | None) -> str:
    return f": “{text}”" if text else ""


def _explained(recipient: Record, *, is_here: bool = False) -> str:
    """What the status code of a failure means, in brackets; `is_here`: it was this server that gave the code."""
    code = recipient.get("dsn")
    words = meaning(code)
    if words and is_here:
        words = words.replace("at the destination", "here")
    return f" ({code}: {words})" if words else ""


def _tries(count: int, first: str) -> str:
    return f"one attempt, on {first}" if count == 1 else f"{count:,} attempts since {first}"


def _answer(recipient: Record) -> str:
    """Who answered what, as the end of a sentence."""
    text = recipient.get("response")
    relay = relay_text(recipient)
    if not text:
        return _explained(recipient)
    # Postfix names the host itself in "host mx[1.2.3.4] said: …".
    who = "" if relay is None or relay in text else f" by {relay}"
    return f"; last answer{who}: “{text}”{_explained(recipient)}"


def _sent(recipient: Record, when: str, after: str) -> str:
    component = recipient.get("component")
    response = recipient.get("response")
    relay = relay_text(recipient)
    quoted = _quoted(response)
    store = _store_text(recipient)
    if store is not None and component == "lmtp":
        return f"Delivered to the mail store {relay or ''}".rstrip() + f" (LMTP) on {when}{after}{quoted}; {store}."
    if store is not None and component in ("pipe", "local"):
        how = f"Handed to the program of transport {relay or 'pipe'}" if component == "pipe" else "Handed over"
        return f"{how} on {when}{after}{quoted}; {store}."
    if component == "smtp":
        # Only where the log tells it: that nothing is known does not mean that nothing was encrypted.
        tls = f" over {recipient['tls_protocol']}" if recipient.get("tls_protocol") else ""
        return f"Accepted by {relay or 'the next server'}{tls} on {when}{after}{quoted}; {_NOT_KNOWN}."
    if component == "lmtp":
        return (
            f"Accepted by the mail store {relay or ''}".rstrip()
            + f" (LMTP) on {when}{after}{quoted}; what its own filters did with it is not known here."
        )
    if component == "pipe":
        return (
            f"Handed to the program of transport {relay or 'pipe'} on {when}{after}{quoted}; what that did with it is "
            "not known here."
        )
    if component == "local" and response:
        if response.startswith("delivered to command"):
            return f"Handed to a command on {when}{after}{quoted}; what that did with it is not known here."
        if response.startswith("delivered to file"):
            return f"Written to a file on {when}{after}{quoted}."
        if response.startswith("forwarded as"):
            return f"Forwarded on {when}{after}{quoted}; that queue entry is not in this database."
    if component in ("local", "virtual"):
        return f"Delivered to the mailbox on {when}{after}{quoted}."
    return f"Delivered by {component} on {when}{after}{quoted}."


def _store_text(recipient: Record) -> str | None:
    """Say what Dovecot did with a mail that it was handed; None where it is not known."""
    events = [event for event in recipient.get("neighbours", ()) if event["program"] == "dovecot"]
    parts = []
    for event in events:
        mailbox, detail = event.get("mailbox", "?"), event.get("detail", "?")
        if event["action"] == "saved":
            parts.append(f"saved to mailbox '{mailbox}'")
        elif event["action"] == "stored":
            by = "sieve" if mailbox.upper() == "INBOX" else "a sieve rule"
            parts.append(f"stored into mailbox '{mailbox}' by {by}")
        elif event["action"] == "forwarded":
            parts.append(f"forwarded to {detail} by a sieve rule")
        elif event["action"] == "rejected":
            parts.append("rejected by a sieve rule")
        elif event["action"] == "save_failed":
            parts.append(f"could not be saved to mailbox '{mailbox}' ({detail})")
        elif event["action"] == "proxied":
            parts.append(f"handed on to {detail}")
    if not parts and any(event["action"] == "discarded" for event in events):
        parts.append("discarded by a sieve rule: it reached no mailbox")
    if not parts:
        return None
    # One saying may be logged twice: by Dovecot and by its Sieve.
    text = "; ".join(dict.fromkeys(parts))
    is_certain = all(event["joined_by"] != "message-id" for event in events)
    return f"Dovecot: {text}" + ("" if is_certain else " (told by the message-id)")


def _deferred(mail: Record, recipient: Record, when: When) -> str:
    mail_state = mail["state"]
    tries = _tries(recipient["attempt_count"], when(recipient["first_attempt"]))
    last = f", the last on {when(recipient['last_attempt'])}" if recipient["attempt_count"] > 1 else ""
    story = f"{tries}{last}{_answer(recipient)}"
    if mail_state == "queued":
        # On a later leg the time counts anew.
        gives_up = when(mail["entered" if "entered" in mail else "began"] + QUEUE_LIFETIME)
        return f"Not delivered yet, still trying: {story}. Postfix gives up on {gives_up}, {_LIFETIME_TOLD}."
    if mail_state == "corrupt":
        return f"Not delivered: Postfix put the damaged queue file aside. Before: {story}."
    return f"Not delivered as far as the log tells; how it ended is missing. Known are {story}."


def _notice(mail: Record, kind: str, since: datetime) -> str | None:
    """Give the queue id of the notice that was made of a failure: the first one after it."""
    links = [link for link in mail.get("links", ()) if link["kind"] == kind and link["direction"] == "to"]
    links.sort(key=lambda link: link["time"])
    after = [link for link in links if link["time"] >= since - _DISORDER] or links[-1:]
    return after[0]["queue_id"] if after else None


def _told(mail: Record, since: datetime) -> str:
    if notice := _notice(mail, "bounce", since):
        return f" The sender was told: see {notice}."
    if notice := _notice(mail, "postmaster notice", since):
        return f" The postmaster was told: see {notice}."
    if mail.get("sender") == "":
        return " It came from the empty sender, so nobody was told."
    return ""


def _discarded(mail: Record, recipient: Record, when: When) -> str:
    # The queue manager itself defers, too: what had been put off was deleted later, by somebody else.
    own = not (recipient.get("dsn") or "").startswith("4") and (
        recipient.get("component") in ("discard", "smtpd", "cleanup", "qmgr")
        or recipient.get("response") == "discarded"
    )
    time = when(mail.get("ended") or recipient["time"])
    if own:
        by = "by an alias to nothing" if recipient.get("component") == "local" else "by a rule of this server"
        return f"Discarded on {when(recipient['time'])}, {by}: it reached nobody{_quoted(recipient.get('response'))}."
    tries = _tries(recipient["attempt_count"], when(recipient["first_attempt"]))
    how = "Deleted from the queue by an administrator" if mail["state"] == "deleted" else "Discarded"
    return f"{how} on {time}, not delivered. Before: {tries}{_answer(recipient)}."


def recipient_verdict(mail: Record, recipient: Record, when: When) -> str:
    """Say what became of a mail for one of its recipients."""
    final = recipient.get("final")
    if final is not None:
        return _handed_on(mail, recipient, final, when)
    return _fate_sentence(mail, recipient, when)


def _handed_on(mail: Record, recipient: Record, final: Record, when: When) -> str:
    sentence = leaf_verdict(mail, recipient, final, when)
    if "ways" in final:
        return f"Handed on, and {final['ways']} deliveries came of it. The one to mind: {sentence}"
    return sentence


def leaf_verdict(mail: Record, recipient: Record, final: Record, when: When) -> str:
    """Say what became of a recipient's mail on one of its last legs."""
    where = final["queue_id"] if final["host"] == mail["host"] else f"{final['queue_id']} on {final['host']}"
    doubt = "" if final.get("is_certain", True) else " (told by the message-id)"
    if "recipient" not in final:
        if final.get("fate") is None:
            return f"Handed on as {where}{doubt}; which of its recipients this one became cannot be told: see there."
        entry = final.get("entry", {**final, "recipients": []})
        return f"Handed on as {where}{doubt}: {mail_verdict(entry, when) or 'see there'}"
    whom = f" for {final['recipient']}" if final["recipient"] != recipient["recipient"] else ""
    # The time counts from when it came in, whatever it went through.
    entry = final.get("entry", {**mail, **_ends(final)})
    entry = {**entry, "entered": final["began"], "began": mail["began"]}
    return f"Handed on as {where}{whom}{doubt}: {_fate_sentence(entry, final, when)}"


def refused_before(story: Record, when: When) -> str | None:
    """Say what was refused from this sender to these recipients shortly before; None where nothing was."""
    rejections = story.get("rejected_before", [])
    if not rejections:
        return None
    first, last = rejections[0], rejections[-1]
    times = "once, on" if len(rejections) == 1 else f"{len(rejections)} times, first on"
    reason = " ".join(str(last[name]) for name in ("smtp_code", "dsn", "reason") if name in last)
    waited = _span((story["began"] - first["time"]).total_seconds())
    return (
        f"Before it came it had been refused here {times} {when(first['time'])} ({waited} before){_quoted(reason)}"
        f"{_explained(last, is_here=True)}."
    )


def rejection_verdict(rejection: Record) -> str:
    """Say what a rejection means."""
    reply = " ".join(str(rejection[name]) for name in ("smtp_code", "dsn", "reason") if name in rejection)
    code = str(rejection.get("smtp_code", ""))
    again = "; the client may try again" if code.startswith("4") else ""
    return f"Refused before this server accepted anything{_quoted(reply)}{_explained(rejection, is_here=True)}{again}."


def _ends(final: Record) -> Record:
    """What the sentence takes from the last leg instead of the first."""
    return {"state": final["state"], "links": [], "sender": None, "expired": None, "ended": None}


def _fate_sentence(mail: Record, recipient: Record, when: When) -> str:
    fate = recipient["fate"]
    time = when(recipient["time"])
    quoted = _quoted(recipient.get("response"))
    if fate == "sent":
        seconds = (recipient["time"] - mail["began"]).total_seconds()
        return _sent(recipient, time, f", {_span(seconds)} after it arrived" if seconds >= 0 else "")
    if fate in _CHECKS:
        answer = quoted + (_explained(recipient) if fate == "undeliverable" else "")
        return _CHECKS[fate].format(when=time, answer=answer)
    if fate == "deferred":
        return _deferred(mail, recipient, when)
    if fate == "expired":
        gave_up = f" on {when(mail['expired'])}" if mail.get("expired") else ""
        tries = _tries(recipient["attempt_count"], when(recipient["first_attempt"]))
        told = _told(mail, mail.get("expired") or recipient["time"])
        return f"Gave up{gave_up} after {tries}{_answer(recipient)}.{told}"
    if fate == "bounced":
        relay = relay_text(recipient)
        is_remote = recipient.get("component") in ("smtp", "lmtp") and " said: " in (recipient.get("response") or "")
        returned = "Could not be delivered" if mail.get("sender") == "" else "Could not be delivered, returned"
        how = f"Refused by {relay or 'the next server'}" if is_remote else returned
        return f"{how} on {time}{quoted}{_explained(recipient)}.{_told(mail, recipient['time'])}"
    if fate == "rejected":
        meant = _explained(recipient, is_here=True)
        return f"Refused on {time}, before this server accepted it{quoted}{meant}; the client was told."
    if fate == "discarded":
        return _discarded(mail, recipient, when)
    tries = f"{_tries(recipient['attempt_count'], when(recipient['first_attempt']))}{_answer(recipient)}"
    if fate == "held":
        return f"On hold{_held_since(mail, when)}: it waits until an administrator releases it. Before: {tries}."
    if mail["state"] == "requeued":
        return f"Put back into the queue by an administrator, under another queue id. Before: {tries}."
    return f"In the queue. Before: {tries}."


def _held_since(mail: Record, when: When) -> str:
    times = [
        event["time"]
        for event in mail.get("events", ())
        if "hold" in event["action"] and "release" not in event["action"]
    ]
    return f" since {when(times[-1])}" if times else ""


def _without_lines(mail: Record, when: When) -> str:
    """Say what became of recipients that no line has named."""
    state = mail["state"]
    ended = f" on {when(mail['ended'])}" if mail.get("ended") else ""
    reason = " ".join(str(mail[name]) for name in ("smtp_code", "dsn", "reason") if mail.get(name) is not None)
    if state == "held":
        return f"On hold{_held_since(mail, when)}: it waits until an administrator releases it."
    if state == "queued":
        if mail.get("queued"):
            return f"In the queue since {when(mail['queued'])}; no attempt to deliver it has been logged yet."
        return (
            "No line tells that it was taken into the queue: it is still being received, or the client went away, or "
            "it was refused in a way that this Postfix does not log."
        )
    sentences = {
        "rejected": f"Refused{ended}, nothing was accepted{_quoted(reason)}.",
        "discarded": f"Discarded{ended} by a rule of this server: it reached nobody{_quoted(reason)}.",
        "canceled": f"Canceled{ended} before it was complete: this server did not accept it.",
        "deleted": f"Deleted from the queue by an administrator{ended}, before any attempt to deliver it was logged.",
        "requeued": f"Put back into the queue by an administrator{ended}, under another queue id.",
        "expired": "Gave up; no line tells what had been tried.",
        "corrupt": f"Put aside{ended}: its queue file was damaged.",
        "removed": f"Left the queue{ended}; the lines that tell what became of it are missing here.",
        "lost": "How it ended is missing here; its queue id was used again since.",
    }
    return sentences.get(state, f"It ended as {state}{ended}.")


def mail_verdict(mail: Record, when: When) -> str | None:
    """Say what became of the recipients that no line has named; None when there are none such."""
    known = len(mail["recipients"])
    missing = (mail.get("nrcpt") or 0) - known
    if not known:
        return _without_lines(mail, when)
    if missing <= 0:
        return None
    count = "One more recipient" if missing == 1 else f"{missing:,} more recipients"
    return f"{count} without a line: {_without_lines(mail, when)}"


def origin_text(mail: Record) -> str:
    """Say where a mail came from: a client, a local user, or another queue entry."""
    parts = []
    if "origin" in mail:
        parts.append(entrance_text(mail))
    for link in mail.get("links", ()):
        if link["direction"] == "from" and link["kind"] in _ABOUT:
            where = link["queue_id"]
            if link.get("host") not in (None, mail["host"]):
                where += f" on {link['host']}"
            parts.append(_ABOUT[link["kind"]].format(id=where))
    if parts:
        return "; ".join(parts)
    if is_address_check(mail):
        return "made by Postfix itself to check an address"
    if mail.get("sender") == "" or (mail.get("sender") or "").startswith("double-bounce@"):
        return "probably a notification made by Postfix itself; no line tells about what"
    return "how it arrived is missing here"


def entrance_text(mail: Record) -> str:
    """Say by which door it came in."""
    if mail["origin"] == "pickup":
        return f"submitted on this host by uid {mail.get('uid', '?')}"
    return _client(mail)


def is_address_check(mail: Record) -> bool:
    """Tell whether it is a probe of address verification, and no mail."""
    recipients = mail["recipients"]
    return bool(recipients) and all(recipient["fate"] in _CHECKS for recipient in recipients)


def _client(mail: Record) -> str:
    host, address = mail.get("client_hostname", "unknown"), mail.get("client_ip")
    text = f"{host}[{address}]" if address else str(host)
    if mail.get("client_port"):
        text += f":{mail['client_port']}"
    text += f" by {mail.get('proto') or ('QMQP' if mail['origin'] == 'qmqpd' else 'SMTP')}"
    if mail.get("tls_protocol"):
        text += f" over {mail['tls_protocol']}"
    if mail.get("service"):
        text += f" (service {mail['service']})"
    if mail.get("helo"):
        text += f", helo {mail['helo']}"
    if mail.get("sasl_username"):
        method = f" ({mail['sasl_method']})" if mail.get("sasl_method") else ""
        text += f", logged in as {mail['sasl_username']}{method}"
    if mail.get("orig_client"):
        text += f", originally from {mail['orig_client']}"
    return text
