r"""Reads what syslog daemons put between a stamp and the text (host, program, process); takes their marks off a text.

Takes what stands behind a stamp, gives a `Head`; takes a text, gives the text that the program logged. Pure, in
bounded time, never raises: what has no head is a text without identifier.

What is decoded and what is not. rsyslog writes a control character as `#` and three octal digits, and, told to
(`$Escape8BitCharactersOnReceive`), every byte beyond ASCII too: `#303#274` for ü; a `#` itself stays as it is. Postfix
masks control characters before it logs, so `#011` in its text is what somebody wrote (`Subject: Ticket #011`), and
stays. Bytes beyond ASCII are decoded where a whole UTF-8 sequence of them stands and nothing in the line shows that
this rsyslog leaves such bytes alone. `\x09` and `^I` of other daemons mean control characters, or bytes that were no
UTF-8, and look like text that remote servers really send (`b'M\xc3\xbcller'`): they stay, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .stamps import FACILITY_AND_LEVEL

BOM = "\ufeff"

# maillog_client_init() (src/global/maillog_client.c): before main.cf is read and with nothing in the environment.
AMNESIAC = "amnesiac"

_PID = r"\[([0-9]{1,9})\]"
# syslogd -v of FreeBSD: `<mail.info> mx`, `<2.6> mx`; BusyBox: `mx mail.info postfix/smtpd[7]: …`.
_HOST = rf"(?:<[a-z0-9.]{{1,20}}> +)?(?:{FACILITY_AND_LEVEL} +)?(\S*[^\s:]) +(?:{FACILITY_AND_LEVEL} +)?"
_PLAIN = r"([^\s\[\]:]++)"  # a name that ends where the next mark begins
_NESTED = r"([^\s\[\]:/]*+/[^\s\[\]:]++)"

_HEADS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # With or without a blank behind the colon. postlogd(8) that logs for others through a syslog(3) that adds its
        # own process writes `postfix/smtpd[7][9]`.
        rf"{_HOST}{_PLAIN}{_PID}(?:\[[0-9]{{1,9}}\])?: ?(.*)",
        rf"{_HOST}{_NESTED}(): ?(.*)",
        rf"{_HOST}(\S+?)():(?: (.*)|\Z)",
        # BusyBox's syslogd -S, journalctl --no-hostname.
        rf"(){_PLAIN}{_PID}(?:\[[0-9]{{1,9}}\])?: ?(.*)",
        rf"(){_NESTED}(): ?(.*)",
    )
)
# RFC 5424 §6: HOST APP PROCID MSGID SD and the text; without PRIORITY and version only where it can be nothing else.
_STRUCTURED = r'(?:-|(?:\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*")*\])+)'
_PROTOCOL_HEAD = re.compile(rf"(\S+) (\S+) (\S+) \S+ {_STRUCTURED}(?: {BOM}?(.*))?", re.DOTALL)
_BARE_PROTOCOL_HEAD = re.compile(rf"(\S+) (\S+) ([0-9]{{1,9}}|-) \S+ {_STRUCTURED}(?: {BOM}?(.*))?", re.DOTALL)

# Rspamd's own log file has neither host nor name: `STAMP #PID(WORKER) <TAG>; MODULE; FUNCTION: TEXT`, the severity with
# `log_severity` (file_log_function and rspamd_log_fill_iov, src/libserver/logger/).
_RSPAMD = re.compile(r"(?:\[[a-z]+\] )?#([0-9]{1,9})(\([a-z_]+\) .*)", re.DOTALL)

_NUMBER = re.compile("[0-9]{1,9}")
_ESCAPED = re.compile("(?:#[23][0-7][0-7]){2,}")
_SOLARIS_ID = re.compile(r"\[ID [0-9]{1,10} [a-z0-9]{1,12}\.[a-z]{1,12}\] ")
_INNER = re.compile(rf"{_PLAIN}{_PID}: (.*)", re.DOTALL)
_IDENTIFIER_PID = re.compile(rf"{_PLAIN}{_PID}", re.DOTALL)


class Head(NamedTuple):
    """Host, identifier and process (0: none) as a line has them, and its text."""

    host: str
    identifier: str
    pid: int
    text: str


def read_head(rest: str) -> Head:
    """Read what stands behind a stamp; without a program's name the identifier is ''."""
    if rest[:1] in "#[" and (match := _RSPAMD.fullmatch(rest)):
        return Head("", "rspamd", int(match[1]), match[2])
    for pattern in _HEADS:
        if match := pattern.match(rest):
            host, identifier, pid, text = match.groups()
            return Head(own_name(host), *unwrap(identifier, int(pid or 0), text or ""))
    if (match := _BARE_PROTOCOL_HEAD.fullmatch(rest)) is not None:
        return _of_protocol(match)
    host, _, text = rest.partition(" ")
    return Head(own_name(host), "", 0, text)


def read_protocol_head(rest: str) -> Head:
    """Read what stands behind the stamp of a line of RFC 5424."""
    match = _PROTOCOL_HEAD.fullmatch(rest)
    return Head("", "", 0, rest) if match is None else _of_protocol(match)


def _of_protocol(match: re.Match[str]) -> Head:
    host, identifier, pid = ("" if value == "-" else value for value in match.group(1, 2, 3))
    number = int(pid) if _NUMBER.fullmatch(pid) else 0
    return Head(own_name(host), *unwrap(identifier, number, match[4] or ""))


def own_name(host: str) -> str:
    """Give the name that a host calls itself, of a chain that syslog-ng's relays have made longer.

    `source@host/relay/relay` with chain_hostnames(yes). A host that only calls itself localhost has the relay's name.

    >>> [own_name(host) for host in ("mx", "mx/192.0.2.1", "s_local@mx/relay", "localhost/192.0.2.1", "2001:db8::1")]
    ['mx', 'mx', 'mx', '192.0.2.1', '2001:db8::1']
    """
    if "/" not in host and "@" not in host:
        return host
    first, _, relays = host.rpartition("@")[2].partition("/")
    return relays.partition("/")[0] if first == "localhost" and relays else first or host


def unwrap(identifier: str, pid: int, text: str) -> tuple[str, int, str]:
    """Give identifier, process and text as the program gave them that postlogd(8) has logged for.

    When maillog_file was taken away, postlogd passes on to syslog what it is still sent, as `postfix/postlogd` with a
    text that begins with a program and its process (or under that name at once, where syslog(3) may add a process of
    its own). Only postlogd is believed: in the text of another program this would be somebody's choice.

    >>> unwrap("postfix/postlogd", 9, "postfix/smtpd[7]: connect from a[192.0.2.1]")
    ('postfix/smtpd', 7, 'connect from a[192.0.2.1]')
    >>> unwrap("postfix/postlogd", 9, "warning: unexpected"), unwrap("postfix/smtpd[7]", 9, "x")
    (('postfix/postlogd', 9, 'warning: unexpected'), ('postfix/smtpd', 7, 'x'))
    """
    if identifier.endswith("/postlogd"):
        if match := _INNER.fullmatch(text):
            return match[1], int(match[2]), match[3]
    elif identifier.endswith("]") and (match := _IDENTIFIER_PID.fullmatch(identifier)):
        return match[1], int(match[2]), text
    return identifier, pid, text


def is_plain(head: Head, rest: str) -> bool:
    """Tell whether every line that begins as `rest` up to the first `: ` has this host, program and process."""
    return (
        len(head.text) == len(rest.partition(": ")[2])
        and head.identifier != ""
        and head.host != AMNESIAC
        and not head.identifier.endswith("/postlogd")
    )


def without_mark(text: str) -> str:
    """Take Solaris' message id off: `[ID 197553 mail.info] text`."""
    match = _SOLARIS_ID.match(text)
    return text[match.end() :] if match else text


def _decoded(match: re.Match[str]) -> str:
    try:
        return bytes(int(byte, 8) for byte in match[0].split("#")[1:]).decode()
    except ValueError:
        return match[0]


def cleaned(line: str) -> str:
    """Give a line without byte order marks and without rsyslog's escapes of UTF-8 (see the module's docstring).

    >>> cleaned("mx x: M#303#274ller #011 #303 #101#102")
    'mx x: Müller #011 #303 #101#102'
    >>> cleaned("mx x: M#303#274ller, Müller")
    'mx x: M#303#274ller, Müller'
    """
    if BOM in line:
        line = line.removeprefix(BOM)
        head, colon, text = line.partition(": ")
        line = head + colon + text.removeprefix(BOM)
    if "#3" in line and line.isascii():
        line = _ESCAPED.sub(_decoded, line)
    return line
