"""smtp(8) and lmtp(8) as a client: attempts that are not the last word on a recipient, and connections.

Takes nothing, gives `ENTRIES`. The status lines are in delivery.py.
"""

from __future__ import annotations

from .grammar import entry, named
from .tokens import NUMBER, RELAY, RELAY_ADDRESS

_SMTP = "smtp lmtp"
_RELAY_NAMES = ("relay_host", "relay_ip", "relay_port:int", "relay_path")

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
        named(*_RELAY_NAMES, "reason"),
        queue_id=False,
    ),
    entry(
        "smtp.pix",
        "smtp",
        "enabling",
        rf"enabling PIX workarounds: (.*) for {RELAY_ADDRESS}",
        named("workarounds", *_RELAY_NAMES),
    ),
    entry(
        "smtp.long_line",
        _SMTP,
        "breaking",
        rf"breaking line > ({NUMBER}) bytes with <CR><LF>SPACE",
        named("limit:int"),
    ),
    entry(
        "smtp.checks",
        _SMTP,
        "warning info replace prepend strip ignore reject hold discard filter redirect bcc",
        r"([a-z]++): (header|body|content|nested) (.*)",
        named("check_action", "class", "header"),
    ),
    entry(
        "smtp.requiretls",
        _SMTP,
        "Sender",
        r"Sender requested REQUIRETLS, but (.*)",
        named("reason"),
    ),
    entry(
        "smtp.response_warn",
        _SMTP,
        "",
        rf"{RELAY}: (?:multi-line )?response longer than ({NUMBER}):? (.*)\.\.\.",
        named(*_RELAY_NAMES, "limit:int", "text"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtp.proto_warn",
        _SMTP,
        "",
        r"(non-(?:ESMTP|LMTP) response from .*|.* lookup error.*|unknown content encoding: .*|bad record type: .*)",
        named("reason"),
        severe=True,
    ),
    entry(
        "smtp.peer_warn",
        _SMTP,
        "host no TLS MX server relayhost",
        r"(host .* (?:greeted me|replied to HELO/EHLO) with my own hostname .*|host .* said: .*"
        r"|no MX host for .* has a valid address record|TLS policy lookup for .*"
        r"|MX name .* does not match STS MX pattern.*|server .* violates .* policy.*"
        r"|relayhost configuration problem.*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "smtp.peer_info",
        _SMTP,
        "",
        r"(Host offered STARTTLS: .*|discarding EHLO keywords: .*|host .* offers SMTPUTF8 support, but not 8BITMIME"
        r"|[^ ]++(?<=:) replacing server reply .*|SMTPS wrappermode .*|skipping SRV lookup for .*)",
        named("text"),
        queue_id=None,
    ),
)
