"""bounce(8), which also is the defer and trace service: the notifications and what became of them.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

from .grammar import entry, named, nothing
from .tokens import QUEUE_ID

ENTRIES = (
    entry(
        "bounce.notification",
        "bounce",
        "sender postmaster",
        rf"(sender|postmaster) (non-delivery|delay|delivery status) notification: ({QUEUE_ID})",
        named("to_whom", "notification", "bounce_queue_id"),
    ),
    # The address has neither angle brackets nor quotes; the first `: ` ends it.
    entry(
        "bounce.failed",
        "bounce",
        "sender postmaster",
        r"(sender|postmaster) notification failed(?: to (.*?))?(?:: (.*))?",
        named("to_whom", "recipient", "reason"),
        action="notification_failed",
        severe=True,
    ),
    entry(
        "bounce.postmaster_notice_failed",
        "bounce",
        "postmaster",
        r"postmaster notice failed while (bouncing to|warning) (.*)",
        named("what", "recipient"),
        severe=True,
    ),
    entry(
        "bounce.discarded",
        "bounce",
        "undeliverable",
        "undeliverable postmaster notification discarded",
        nothing,
        action="notification_discarded",
        severe=True,
    ),
    entry(
        "bounce.no_trace",
        "bounce",
        "not",
        r"not sending trace/success notification for (double|single)-bounce message",
        named("what"),
    ),
    entry(
        "bounce.malformed",
        "bounce",
        "unknown no malformed read",
        r"((?:unknown encoding|no sender before message content record|malformed Message-ID attribute|read ).*)",
        named("reason"),
        severe=True,
    ),
)
