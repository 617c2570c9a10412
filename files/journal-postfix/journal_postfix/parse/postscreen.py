"""postscreen(8) and dnsblog(8): what happens before smtpd sees a client.

Takes nothing, gives `ENTRIES`. Unlike smtpd, postscreen writes its own replies only, so that the *first* `; from=<` is
where the context begins; and it masks nothing in HELO names, which reach to the end of the line.
"""

from __future__ import annotations

import re

from .context import put_reply
from .grammar import Fields, entry, named
from .tokens import ENDPOINT, NUMBER, QUOTED_LOCAL, compiled, is_cut, without_begun

_PSC = "postscreen"

# What the line may end with; another word there may be the beginning of one.
_COMMANDS = (
    "(?:CONNECT|HELO|EHLO|STARTTLS|XCLIENT|XFORWARD|AUTH|MAIL|RCPT|DATA|BDAT|RSET|NOOP|VRFY|ETRN|QUIT|UNIMPLEMENTED)"
)
_CLIENT_NAMES = ("client_ip", "client_port:int")

# "; from=<%s>, to=<%s>, proto=%s, helo=<%s>" (src/postscreen/postscreen_smtpd.c). The addresses are what stood between
# the angle brackets of the command, where `>` ends them only outside of double quotes (psc_extract_addr); what was
# quoted there is quoted here only in the local part. The domain has no `@`, and ends where the next element can begin.
# (Undecidable: a domain that holds the next elements, and a HELO name that does. Both are the same client's.)
_LOCAL = rf'(?:{QUOTED_LOCAL}|[^"@>]*+)'
_MARK = "; from=<"
_AFTER_SENDER = ", to=<"
_AFTER_RECIPIENT = ", proto=E?SMTP, helo=<"
_CONTEXT = compiled(
    rf"; from=<({_LOCAL}(?:@[^@>]*+(?:>(?!{_AFTER_SENDER})[^@>]*+)*)?)>"
    rf", to=<({_LOCAL}(?:@[^@>]*+(?:>(?!{_AFTER_RECIPIENT})[^@>]*+)*)?)>"
    r", proto=(SMTP|ESMTP), helo=<(.*)"
)
# Unquoted, by Postfix <= 3.4.
_RAW_CONTEXT = compiled(r'; from=<((?!")(?:(?!>, to=<).)*)>, to=<((?!")[^>]*+)>, proto=(SMTP|ESMTP), helo=<(.*)')


def _reject(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `reject: STAGE from [ADDR]:PORT: REPLY; CONTEXT`."""
    stage, ip, port, text = match.groups()
    fields["reject_stage"] = stage.upper()
    fields["client_ip"] = ip
    fields["client_port"] = int(port)
    at = text.find(_MARK)
    whole = False
    if at < 0:
        text = without_begun(text, (_MARK,))
    else:
        cut = is_cut(match.string)
        context = _CONTEXT.fullmatch(text, at)
        if context is None and not cut:
            context = _RAW_CONTEXT.fullmatch(text, at)
        if context is not None and (cut or text[-1] == ">"):
            sender, recipient, proto, helo = context.groups()
            fields["sender"] = sender
            fields["recipient"] = recipient
            fields["proto"] = proto
            if text[-1] == ">":
                fields["helo"] = helo[:-1]
            whole = True
        # Postfix's own cut falls into the context, too, when HELO name or addresses are long; a text that may be of
        # others is left whole there.
        if whole or not cut:
            text = text[:at]
    put_reply(fields, text, whole)
    return True


ENTRIES = (
    entry(
        "psc.connect",
        _PSC,
        "CONNECT",
        rf"CONNECT from {ENDPOINT} to {ENDPOINT}",
        named(*_CLIENT_NAMES, "server_ip", "server_port:int"),
        queue_id=False,
    ),
    entry("psc.disconnect", _PSC, "DISCONNECT", rf"DISCONNECT {ENDPOINT}", named(*_CLIENT_NAMES), queue_id=False),
    entry("psc.pass", _PSC, "PASS", rf"PASS (NEW|OLD) {ENDPOINT}", named("result", *_CLIENT_NAMES), queue_id=False),
    entry(
        "psc.listed",
        _PSC,
        "ALLOWLISTED DENYLISTED WHITELISTED BLACKLISTED",
        rf"(ALLOW|DENY|WHITE|BLACK)LISTED {ENDPOINT}",
        named("result", *_CLIENT_NAMES),
        queue_id=False,
    ),
    entry(
        "psc.veto",
        _PSC,
        "ALLOWLIST WHITELIST",
        rf"(ALLOW|WHITE)LIST VETO {ENDPOINT}",
        named("result", *_CLIENT_NAMES),
        queue_id=False,
    ),
    entry(
        "psc.dnsbl",
        _PSC,
        "DNSBL",
        rf"DNSBL rank ({NUMBER}) for {ENDPOINT}",
        named("rank:int", *_CLIENT_NAMES),
        queue_id=False,
    ),
    entry(
        "dnsblog.listed",
        "dnsblog",
        "addr",
        r"addr ([^ ]++) listed by domain ([^ ]++) as (.*)",
        named("client_ip", "domain", "result"),
        queue_id=False,
    ),
    entry(
        "psc.pregreet",
        _PSC,
        "PREGREET",
        rf"PREGREET ({NUMBER}) after ([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?) from {ENDPOINT}: (.*)",
        named("count:int", "after:float", *_CLIENT_NAMES, "text"),
        queue_id=False,
    ),
    # Not "hangup", its name in the catalogue: that is an action of smtpd which refuses a mail.
    entry(
        "psc.hangup",
        _PSC,
        "HANGUP",
        rf"HANGUP after ([0-9]{{1,12}}(?:\.[0-9]{{1,9}})?) from {ENDPOINT} in (.*)",
        named("after:float", *_CLIENT_NAMES, "phase"),
        action="psc_hangup",
        queue_id=False,
    ),
    entry("psc.reject_rcpt", _PSC, "reject", rf"reject: (RCPT) from {ENDPOINT}: (.*)", _reject),
    entry("psc.reject_connect", _PSC, "reject", rf"reject: (CONNECT) from {ENDPOINT}: (.*)", _reject),
    entry("psc.reject_busy", _PSC, "reject", rf"reject: (connect) from {ENDPOINT}: (.*)", _reject, queue_id=False),
    entry(
        "psc.command",
        _PSC,
        "COMMAND NON-SMTP",
        rf"(COMMAND (?:TIME|LENGTH|COUNT) LIMIT|COMMAND PIPELINING|NON-SMTP COMMAND) from {ENDPOINT}"
        rf" after (?:([^ :]++(?=: )|{_COMMANDS}\Z)|[^ :]++)(?:: (.*))?",
        named("event", *_CLIENT_NAMES, "reject_stage", "text"),
        queue_id=False,
    ),
    # Here it is the whole command line that the client sent, not only the command (postscreen_smtpd.c).
    entry(
        "psc.command",
        _PSC,
        "BARE",
        rf"(BARE NEWLINE) from {ENDPOINT} after (?:([^ ]++(?= )|{_COMMANDS}\Z)|[^ ]*+)(?: (.*))?",
        named("event", *_CLIENT_NAMES, "reject_stage", "text"),
        queue_id=False,
    ),
    entry(
        "psc.command",
        _PSC,
        "DATA BDAT",
        rf"((?:DATA|BDAT) without valid RCPT) from {ENDPOINT}",
        named("event", *_CLIENT_NAMES),
        queue_id=False,
    ),
    entry(
        "psc.stress",
        _PSC,
        "entering leaving",
        rf"(entering|leaving) STRESS mode with ({NUMBER}) connections",
        named("event", "count:int"),
        queue_id=False,
    ),
    # One format string lacks the colon between `]` and the port, up to 3.12.
    entry(
        "psc.misc",
        _PSC,
        "",
        r"((?:\[[^ \[\]]++\]:?[0-9]{1,5}+: (?:replacing command|discarding EHLO keywords)"
        r"|using backwards-compatible default setting).*)",
        named("text"),
        queue_id=False,
    ),
)
