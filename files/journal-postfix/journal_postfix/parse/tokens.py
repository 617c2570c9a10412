r"""Regular expression fragments for what Postfix writes, each under the rule and the source it follows.

Takes nothing, gives strings to be composed by name and compiled once (`compiled`). Three habits keep every pattern
linear in the length of the line and free of surprises:

- quantifiers that need not give back are possessive (`*+`, Python 3.11), numbers have at most 18 digits;
- patterns are compiled with DOTALL and used with `fullmatch`, so neither a line separator in the text of others nor a
  trailing newline means anything;
- digits are `[0-9]` and blanks are ` `: `\d` and `\s` would take those of every script.
"""

from __future__ import annotations

import re

# Numbers. Python's int() takes any script's digits and refuses more than 4300 of them; neither can happen here.
NUMBER = r"[0-9]{1,18}+"
PORT = r"[0-9]{1,5}+"

# "delay=%s, delays=%s/%s/%s/%s": at most delay_logging_resolution_limit digits, never an exponent
# (src/global/log_adhoc.c, format_tv in src/util/format_tv.c).
SECONDS = r"[0-9]{1,12}+(?:\.[0-9]{1,9}+)?"

# "A mail queue ID of the short form is the time in microseconds as five hexadecimal digits, then the file's inode
# number in hexadecimal" (MQID_SH_ENCODE_*, src/global/mail_queue.h): at least 6 digits, upper case.
SHORT_QUEUE_ID = r"[0-9A-F]{6,21}+"

# "The long form: six or more characters of base 52 for the seconds, four for the microseconds, `z`, the inode in
# base 51" (MQID_LG_ENCODE_*): digits and consonants, `z` being the digit that base 51 lacks.
_BASE_52 = "0-9BCDFGHJ-NP-TV-Zbcdfghj-np-tv-z"
_BASE_51 = "0-9BCDFGHJ-NP-TV-Zbcdfghj-np-tv-y"
LONG_QUEUE_ID = rf"[{_BASE_52}]{{10,12}}z[{_BASE_51}]{{1,13}}+"

QUEUE_ID = rf"(?:{SHORT_QUEUE_ID}|{LONG_QUEUE_ID})"

# "mail_queue_id_ok: alphanumerical and underscore" (src/global/mail_queue.c): what XFORWARD IDENT may bring along.
ANY_QUEUE_ID = r"[A-Za-z0-9_]{1,255}+"

# "<name>[<address>]", the name checked by valid_hostname(), both possibly `unknown`; ":<port>" with
# smtpd_client_port_logging, `unknown` for a client without one (SMTPD_BUILD_NAMADDRPORT, src/smtpd/smtpd.h).
# Three groups: name, address, port.
CLIENT = rf"([^ \[\]]++)\[([^ \[\]]++)\](?::(?:({PORT})|unknown))?"

# postscreen and tlsproxy know addresses only: "[%s]:%s" (src/postscreen/postscreen.h). Two groups: address, port.
ENDPOINT = rf"\[([^ \[\]]++)\]:({PORT})"

# "If the local-part of the address needs quoting, put it in double quotes; `"` and `\` take a backslash"
# (quote_822_local, src/global/quote_822_local.c; info_log_address_format = external, since Postfix 3.5).
# The domain is written as it is. smtpd(8) has trivial-rewrite(8) refuse domains that are none before it logs anything;
# mail by sendmail(1) can have any text without `@` there (`a@"x>, y"` as `a@x>, y`, `a@[x> y]`), until error(8) returns
# it for its "bad address syntax". Such an address is none here, and reads as an unquoted one of Postfix <= 3.4: what
# can be anything could cross the end of the quoted address that it stands in.
# One group, without the angle brackets.
QUOTED_LOCAL = r'"(?:[^"\\]++|\\.)*"'
_UNQUOTED = r'[^<>" \[\]]*+'
_BEFORE_LITERAL = rf"(?:{QUOTED_LOCAL}@)?{_UNQUOTED}"
ADDRESS = rf'({_UNQUOTED}(?:\[[^<>" \[\]]*+\])?|{QUOTED_LOCAL}(?:@{_UNQUOTED}(?:\[[^<>" \[\]]*+\])?)?)'

# The same or with any text between the square brackets of an address literal: only where one place alone can be the
# address's, as at the beginning of a line.
ADDRESS_OR_LITERAL = rf"({ADDRESS[1:-1]}|{_BEFORE_LITERAL}\[[^\]]*+\])"

# "#define NEUTER_CHARACTERS " <>()\\\";@"" (src/smtpd/smtpd.c): HELO names and all XFORWARD values, each replaced by ?.
HELO = r'([^ <>()\\";@]*+)'

# "proto=%s": SMTP or ESMTP, QMQP, or what XFORWARD PROTO said, `unknown` when it said nothing. At the end of a context,
# where nothing would show that it was cut, only a word that is known.
PROTO = r"((?:E?SMTP|QMQP|unknown)(?=[ :]|\Z)|[^ ;<>]++(?= helo=<))"

# "xtext: any ASCII character between `!` and `~` inclusive, except for `+` and `=`" (RFC 3461 §4): sasl_sender.
XTEXT = r"([^ =]*+)"

# The last SMTP command, or CONNECT, END-OF-MESSAGE, UNKNOWN (state->where, src/smtpd/smtpd.c).
STAGE = r"([A-Z-]++)"

# "D.D+.D+" (dsn_valid, src/global/dsn_util.c).
DSN = r"([0-9]\.[0-9]{1,3}+\.[0-9]{1,3}+)"

# "relay=%s": `none`, a master.cf service, "HOST[ADDR]:PORT", or "MYHOSTNAME[PATH]" for a UNIX-domain socket
# (smtp_session_alloc, src/smtp/smtp_session.c). Four groups: host, address, port, path.
_IP = r"(?=[0-9A-Fa-f]*+[.:])[0-9A-Fa-f:.]++(?:%[^ \[\]]++)?"
RELAY = rf"([^ ,\[\]]++)(?:\[(?:({_IP})\](?::({PORT}))?|([^\[\]]++)\]))?"

# The same where there must be an address or a path, as in a line that ends with it.
RELAY_ADDRESS = RELAY.removesuffix("?")

# The TLS library's name for the other side: any of the forms above (namaddr, src/tls/tls.h). One group, the whole.
PEER = rf"([^ \[\]]*+\[[^\[\]]++\](?::{PORT})?)"


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile `pattern` so that `.` takes any character; it is meant for `fullmatch`."""
    return re.compile(pattern, re.DOTALL)


# Postfix cuts every text at 2000 bytes (MSG_SYSLOG_RECLEN, src/util/msg_syslog.c); a few less, lest the exact count or
# a character that was cut matter.
_CUT = 1990
_MOST_BYTES = 4


def is_cut(line: str) -> bool:
    """Tell whether `line` may have been cut: the end of an element may be missing, and its text looks like the end."""
    return len(line) * _MOST_BYTES >= _CUT and len(line.encode("utf-8", "surrogatepass")) >= _CUT


_CLOSED = compiled(rf"{QUOTED_LOCAL}(?:@.*)?")


def is_begun(address: str) -> bool:
    """Tell whether `address`, taken as it stands, rather is the beginning of a quoted one or of an address literal.

    Both may hold what looks like the end of an address and of the line; Postfix <= 3.4 quotes nothing.
    """
    literal = address.rfind("@[")
    return (literal >= 0 and "]" not in address[literal:]) or (
        address[:1] == '"' and _CLOSED.fullmatch(address) is None
    )


def without_begun(text: str, marks: tuple[str, ...]) -> str:
    """Give `text` without the beginning of one of `marks` that it ends with: what a line has that was cut in a mark."""
    for mark in marks:
        for length in range(len(mark) - 1, 0, -1):
            if text.endswith(mark[:length]):
                return text[:-length]
    return text


def last_places(mark: re.Pattern[str], text: str) -> list[int]:
    """Give where `mark` stands in `text`, of a line that was not cut and hence has few places: the last one first."""
    return [match.start() for match in mark.finditer(text)][::-1]


def only_place(mark: re.Pattern[str], text: str) -> int | None:
    """Give where `mark` stands in `text`, unless it stands in more than one place."""
    found = mark.search(text)
    return found.start() if found is not None and mark.search(text, found.end()) is None else None
