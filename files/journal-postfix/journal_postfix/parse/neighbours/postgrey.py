"""Postgrey: whether a mail had to wait.

Takes nothing, gives `ENTRIES`. Source (1.37): mylog_action, called by smtpd_access_policy. A queue id stands before it
only if Postfix asks in DATA or later; what is empty is left out. The reasons are Postgrey's own words, the client's
name is one that Postfix has checked; sender and recipient are whatever the client said, unquoted: where they look like
each other's marks both are left out.
"""

from __future__ import annotations

import re

from ..grammar import Fields, entry
from ..tokens import NUMBER, compiled

_RECIPIENT = compiled("(?:^|, )recipient=")
_SENDER = compiled("(?:^|, )sender=")


def _greylist(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `action=ACTION, reason=REASON, delay=S, client_name=…, client_address=…, sender=…, recipient=…`."""
    result, reason, delay, name, ip, rest = match.groups()
    for element, value in (("result", result), ("reason", reason), ("client_hostname", name), ("client_ip", ip)):
        if value is not None:
            fields[element] = value
    if delay is not None:
        fields["delay"] = int(delay)
    rest = rest or ""
    recipients = list(_RECIPIENT.finditer(rest))
    senders = list(_SENDER.finditer(rest))
    if len(recipients) == 1 and len(senders) <= 1:
        recipient = recipients[0]
        if senders and senders[0].start() > recipient.start():
            return True
        # An empty sender is not written.
        fields["sender"] = rest[senders[0].end() : recipient.start()] if senders else ""
        fields["recipient"] = rest[recipient.end() :]
    return True


ENTRIES = (
    entry(
        "postgrey.greylist",
        "postgrey",
        "action",
        r"action=([a-z]+)(?:, reason=([A-Za-z -]+(?: \([0-9-]+s missing\))?))?"
        rf"(?:, delay=({NUMBER}))?(?:, client_name=([^ ,]+))?(?:, client_address=([0-9A-Fa-f.:]+))?(?:, (.*))?",
        _greylist,
        queue_id=None,
    ),
)
