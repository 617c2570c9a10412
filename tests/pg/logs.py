"""Log lines of whole mails, for tests that care about what is found and not about how it was logged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def at(second: float) -> str:
    """Give the stamp so many seconds after BEGIN."""
    return (BEGIN + timedelta(seconds=second)).isoformat(timespec="microseconds")


def line(second: float, program: str, text: str, host: str = "mx") -> str:
    """Give one line of the log."""
    return f"{at(second)} {host} postfix/{program}[1]: {text}"


def attempt(recipient: str, status: str = "sent", **elements: str) -> tuple[str, str, str, float]:
    """Give what `mail` takes for one attempt: program, elements, queue id placeholder is added there; when."""
    program = elements.pop("program", "smtp")
    relay = elements.pop("relay", "mx.example.net[198.51.100.1]:25")
    dsn = elements.pop("dsn", {"sent": "2.0.0", "deferred": "4.4.1", "bounced": "5.1.1"}.get(status, "2.0.0"))
    response = elements.pop("response", {"sent": "250 2.0.0 Ok"}.get(status, "no luck"))
    after = float(elements.pop("after", "1"))
    orig_to = elements.pop("orig_to", None)
    assert not elements, elements
    original = f", orig_to=<{orig_to}>" if orig_to is not None else ""
    times = "delay=1, delays=0.2/0/0.3/0.5"
    text = f"to=<{recipient}>{original}, relay={relay}, {times}, dsn={dsn}, status={status} ({response})"
    return program, text, status, after


def mail(
    queue_id: str,
    second: float,
    sender: str,
    *attempts: tuple[str, str, str, float],
    client: str = "a.example.com[192.0.2.1]",
    host: str = "mx",
    message_id: str | None = None,
    nrcpt: int | None = None,
    more: str = "",
    removed: bool = True,
) -> list[str]:
    """Give the lines of a mail from smtpd to `removed`."""
    recipients = {text.split(", relay=")[0] for _, text, _, _ in attempts}
    lines = [
        line(second, "smtpd", f"{queue_id}: client={client}{more}", host),
        line(second + 0.1, "cleanup", f"{queue_id}: message-id=<{message_id or queue_id + '@id.example'}>", host),
        line(
            second + 0.2,
            "qmgr",
            f"{queue_id}: from=<{sender}>, size=1000, nrcpt={nrcpt or len(recipients)} (queue active)",
            host,
        ),
    ]
    last = second + 0.2
    for program, text, _, after in attempts:
        last = max(last, second + after)
        lines.append(line(second + after, program, f"{queue_id}: {text}", host))
    if removed:
        lines.append(line(last + 0.1, "qmgr", f"{queue_id}: removed", host))
    return sorted(lines)


def rejection(
    second: float, sender: str, recipient: str, client: str = "bad.example.net[203.0.113.9]", host: str = "mx"
) -> str:
    """Give the line of a rejection."""
    return line(
        second,
        "smtpd",
        f"NOQUEUE: reject: RCPT from {client}: 554 5.7.1 <{recipient}>: Relay access denied; "
        f"from=<{sender}> to=<{recipient}> proto=ESMTP helo=<bad.example.net>",
        host,
    )
