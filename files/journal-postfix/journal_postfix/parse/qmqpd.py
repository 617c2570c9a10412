"""qmqpd(8): mail that arrives by QMQP.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

from .grammar import entry, named
from .tokens import CLIENT

_CLIENT_NAMES = ("client_hostname", "client_ip", "client_port:int")

ENTRIES = (
    entry("qmqpd.client", "qmqpd", "client", rf"client={CLIENT}", named(*_CLIENT_NAMES)),
    entry(
        "qmqpd.end",
        "qmqpd",
        "",
        rf"{CLIENT}: (.*) while (.*)",
        named(*_CLIENT_NAMES, "reason", "reject_stage"),
    ),
    entry(
        "qmqpd.session",
        "qmqpd",
        "connect disconnect",
        rf"(connect|disconnect) from {CLIENT}",
        named("event", *_CLIENT_NAMES),
        queue_id=False,
    ),
)
