"""What administrators and accidents do: one after another, for each touches everybody's mail."""

import os
import signal
import time
from pathlib import Path

import net
from core import Raw, scenario, send, shell, submit, wait_for
from scenario import addr, configure, do

SENT = "sent/removed"


@scenario(
    "held, released, requeued, delivered",
    r"postsuper\[\d+\]: \w+: placed on hold",
    {"once-held@uni.example": "queued/requeued sent/removed"},
    phase=2,
)
def _() -> None:
    submit("alice", "once-held@uni.example")
    if ident := wait_for("once-held@uni.example"):
        time.sleep(2)
        do("postsuper", "-h", ident)
        time.sleep(1)
        do("postsuper", "-H", ident)
        do("postsuper", "-r", ident)


@scenario(
    "released from hold, delivered",
    r"postsuper\[\d+\]: \w+: released from hold",
    {"hold+freed@example.org": SENT},
    phase=2,
)
def _() -> None:
    send("m.rossi@uni.example", "hold+freed@example.org", source="smtp.uni.example")
    if ident := wait_for("hold+freed@example.org"):
        do("postsuper", "-H", ident)


@scenario(
    "expired by hand",
    r"status=force-expired, returned to sender",
    {"forget@refused.example": "expired/expired"},
    phase=2,
)
def _() -> None:
    submit("alice", "forget@refused.example")
    if ident := wait_for("forget@refused.example"):
        time.sleep(1)
        do("postsuper", "-e", ident)
        do("postqueue", "-i", ident)


@scenario(
    "deleted by hand while held", r"postsuper\[\d+\]: \w+: removed", {"hold+gone@example.org": "-/deleted"}, phase=2
)
def _() -> None:
    send("m.rossi@uni.example", "hold+gone@example.org", source="smtp.uni.example")
    if ident := wait_for("hold+gone@example.org"):
        do("postsuper", "-d", ident)


@scenario("no such queue id", r"postsuper\[\d+\]: (warning|fatal): ", phase=2)
def _() -> None:
    do("postsuper", "-d", "no/such/id")


@scenario("the first one thrown away", r"postsuper\[\d+\]: Deleted: 1 message", phase=2)
def _() -> None:
    if ident := wait_for("pause@refused.example"):
        do("postsuper", "-d", ident)


@scenario(
    "postmaster's copies and protocol errors",
    r"postmaster non-delivery notification",
    {"nobody-copy@example.com": "bounced/removed"},
    phase=2,
)
def _() -> None:
    configure("notify_classes=resource, software, 2bounce, protocol, bounce, delay, policy")
    time.sleep(1)
    send("a@example.com", "nosuchcopy@example.org", source="mx1.example.com")
    c = Raw("scanner.example.net")
    c.say("EHLO scanner.example.net", "NOSUCH", "DATA", "MAIL FROM:<x", "QUIT")
    c.close()
    submit("carla", "nobody-copy@example.com")
    time.sleep(4)
    configure("notify_classes=resource, software, 2bounce")


@scenario(
    "double bounce that nobody gets",
    r"undeliverable postmaster notification discarded",
    {"nobody-2b@example.com": "bounced/removed", "big-2b@archive.example.org": "bounced/removed"},
    phase=2,
)
def _() -> None:
    configure("2bounce_notice_recipient=nobody-postmaster@example.com")
    time.sleep(1)
    send("nobody-2b@example.com", "big-2b@archive.example.org", source="mx1.example.com")
    time.sleep(5)
    configure("2bounce_notice_recipient=postmaster")


@scenario(
    "delivery agent killed, delivered at the next attempt",
    r"killed by signal 9",
    {"victim@slow.example": SENT},
    phase=2,
)
def _() -> None:
    submit("carla", "victim@slow.example")
    time.sleep(2.5)
    for line in do("ss", "-Htnp", "dst", addr("mx.slow.example")).splitlines():
        if '"smtp",pid=' in line:
            os.kill(int(line.split('"smtp",pid=')[1].split(",")[0]), signal.SIGKILL)


@scenario(
    "reload in mid-delivery: still being delivered",
    r"qmgr\[\d+\]: \w+: skipped, still being delivered",
    {"reloaded@slow.example": SENT},
    phase=2,
)
def _() -> None:
    submit("carla", "reloaded@slow.example")
    time.sleep(1.5)
    do("postfix", "reload")
    time.sleep(8)


@scenario(
    "queue ids become long in the middle",
    r"postfix/smtp\[\d+\]: 4\w{13,}: to=<first-long@example\.com>",
    {
        "first-long@example.com": SENT,
        "nobody-long@example.com": "bounced/removed",
        "once-long@uni.example": SENT,
        "alice+long@example.org": SENT,
        "bob+long@example.org": SENT,
        "office+long@mail.example.org": SENT,
        "guard+long@filtered.example.org": "sent/removed sent/removed",
    },
    phase=2,
)
def _() -> None:
    configure("enable_long_queue_ids=yes")
    time.sleep(1)
    submit("alice", ["first-long@example.com", "nobody-long@example.com", "once-long@uni.example"])
    send("petra@bigmail.example", "sales+long@alias.example.org")
    send("h.yamada@uni.example", "guard+long@filtered.example.org", source="smtp.uni.example")


@scenario("a table changed", r"has changed -- restarting", {"x@retired.example": "rejected"}, phase=2)
def _() -> None:
    with Path("/etc/postfix/transport").open("a") as f:
        f.write("retired.example error:5.1.6 recipient has moved\n")
    do("postmap", "/etc/postfix/transport")
    time.sleep(11)
    submit("alice", "x@retired.example")


@scenario("restart in mid-delivery", r"daemon started", {"restarted@slow.example": SENT}, phase=2)
def _() -> None:
    submit("alice", "restarted@slow.example")
    time.sleep(2)
    do("postfix", "stop")
    time.sleep(2)
    do("postfix", "start")


@scenario(
    "postsuper -d ALL: without a line for each",
    r"postsuper\[\d+\]: Deleted: [3-9] messages",
    {f"leftover{n}@refused.example": "deferred/queued" for n in range(3)},
    phase=3,
)
def _() -> None:
    for n in range(3):
        send("app@example.org", f"leftover{n}@refused.example", source="app1.example.org", to=(net.OUT, 25), tls=False)
    time.sleep(4)
    do("postsuper", "-c", "/etc/postfix-out", "-h", "ALL")
    do("postsuper", "-c", "/etc/postfix-out", "-H", "ALL")
    time.sleep(2)
    do("postsuper", "-c", "/etc/postfix-out", "-d", "ALL")
    shell("true")
