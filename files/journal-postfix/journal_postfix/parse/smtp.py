"""smtp(8) and lmtp(8) as a client: attempts that are not the last word on a recipient, and connections.

Takes nothing, gives `ENTRIES`. The status lines are in delivery.py.
"""

from __future__ import annotations

from .grammar import entry, named
from .tokens import RELAY

_SMTP = "smtp lmtp"

# "QID: REASON" when another server or plaintext will be tried (smtp_misc_fail, smtp_site_fail and smtp_mesg_fail with
# the queue id in front, src/smtp/smtp_trouble.c): the reasons of a status line, by the words that they begin with.
_REASONS = """
    host lost conversation Cannot connect Host Name unable mail Domain message TLS TLSA Server SASL local unreadable
    server client
"""

ENTRIES = (
    entry("smtp.try_next", _SMTP, _REASONS, r"(.++)", named("response")),
    entry(
        "smtp.connect_failed",
        _SMTP,
        "connect",
        rf"connect to {RELAY}: (.*)",
        named("relay_host", "relay_ip", "relay_port:int", "relay_path", "reason"),
        queue_id=False,
    ),
)
