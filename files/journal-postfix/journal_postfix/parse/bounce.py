"""bounce(8), which also is the defer and trace service: the notifications and what became of them.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

from .grammar import entry, named, nothing
from .tokens import QUEUE_ID, QUOTED_LOCAL

# Without angle brackets and, in the internal form, without quotes: an address with quotes or without blanks ends at the
# first `: `, any other at the last, for the reason is Postfix's own.
_RECIPIENT = rf'{QUOTED_LOCAL}[^ "]*?|(?!")(?:[^ "@]*+@[^ "]*?|.+(?=: )|.+)'

ENTRIES = (
    entry(
        "bounce.notification",
        "bounce",
        "sender postmaster",
        rf"(sender|postmaster) (non-delivery|delay|delivery status) notification: ({QUEUE_ID})",
        named("to_whom", "notification", "bounce_queue_id"),
    ),
    entry(
        "bounce.failed",
        "bounce",
        "sender postmaster",
        rf"(sender|postmaster) notification failed(?: to ({_RECIPIENT})(?<!:))?(?:: (.*))?",
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
