"""The third instance, which logs by postlogd: a few ordinary situations, and a spool that is full."""

import net
from core import Raw, scenario, send

TO = {"to": (net.FILE, 25), "source": "app1.example.org"}


@scenario(
    "postlogd: delivered",
    r"postfix-file/smtp\[\d+\]: \w+: to=<filed@example\.net>.*status=sent",
    {"filed@example.net": "sent/removed"},
)
def _() -> None:
    send("app@example.org", "filed@example.net", **TO)


@scenario(
    "postlogd: bounced, handed to the main instance",
    r"postfix-file/bounce\[\d+\]: \w+: sender non-delivery notification",
    {"nobody-filed@example.com": "bounced/removed"},
)
def _() -> None:
    send("app@example.org", ["nobody-filed@example.com"], **TO)


@scenario(
    "postlogd: expired",
    r"postfix-file/qmgr\[\d+\]: \w+: from=<app@example\.org>, status=expired",
    {"filed@refused.example": "expired/expired"},
    phase=0,
)
def _() -> None:
    send("app@example.org", "filed@refused.example", **TO)


@scenario(
    "postlogd: refused",
    r"postfix-file/smtpd\[\d+\]: NOQUEUE: reject: RCPT from .*Relay access denied|postfix-file/smtpd.*554",
    {"not-filed@example.net": "rejected"},
)
def _() -> None:
    send("a@example.com", "not-filed@example.net", source="mx1.example.com", to=(net.FILE, 25))


@scenario(
    "postlogd: header rule",
    r"postfix-file/cleanup\[\d+\]: \w+: reject: header Subject: \[reject\]",
    {"ruled@example.net": "rejected/rejected"},
)
def _() -> None:
    send("app@example.org", "ruled@example.net", "[reject]", **TO)


@scenario(
    "postlogd: the spool is full",
    r"postfix-file/\w+\[\d+\]: .*(No space left on device|Insufficient system storage)",
    {f"space{n}@example.net": "?" for n in range(14)},
    phase=2,
)
def _() -> None:
    sessions = [Raw("app1.example.org", (net.FILE, 25)) for _ in range(14)]
    for n, c in enumerate(sessions):
        c.say("EHLO app1.example.org", "MAIL FROM:<app@example.org>", f"RCPT TO:<space{n}@example.net>", "DATA")
    for c in sessions:
        c.push("Subject: to fill the spool\r\n\r\n" + ("x" * 70 + "\r\n") * 1350)
    for c in sessions:
        c.say("y\r\n.", "QUIT")
        c.close()
