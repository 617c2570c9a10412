"""Which lines tell of the server's health rather than of a mail, and of what: the subject that they are counted under.

Takes a parsed line, gives a short text (a client's address, a relay, a table, the shape of a warning), or None for
lines that have nothing to tell here. Pure. `store` counts them by hour, server, component, action and subject, with the
first line of each, so that an attack of a million connections costs a row per hour and client, not a million.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from .extract import NOQUEUE, Parsed

# What makes two lines of one kind different: ids, numbers, addresses, quoted text.
VARIABLE_RE: Final = re.compile(r'<[^<>]{0,300}>|"[^"]{0,300}"|\[[^\[\]]{0,300}\]|\b[0-9A-Fa-f]*[0-9][0-9A-Za-z]*\b')
MAX_SHAPE: Final = 160
MAX_SUBJECT: Final = 200


def line_shape(text: str) -> str:
    """Give the shape of a line: what is variable in it replaced by #.

    >>> line_shape('table "x" 4A5B: weird 17 times from mx[192.0.2.1]')
    'table # #: weird # times from mx#'
    """
    return VARIABLE_RE.sub("#", text[: MAX_SHAPE * 4])[:MAX_SHAPE]


def _by(*names: str) -> Callable[[Parsed], str]:
    """Give the function that takes the first of these elements that a line has, else the shape of its free text."""

    def subject(parsed: Parsed) -> str:
        for name in names:
            value: Any = parsed.get(name)
            if value is not None and value != "unknown":
                return str(value)
        return _shape(parsed)

    return subject


def _shape(parsed: Parsed) -> str:
    return line_shape(str(parsed.get("reason") or parsed.get("text") or parsed.get("path") or ""))


_client = _by("client_ip", "client_hostname")
_relay = _by("relay_host", "relay_ip", "peer")

# Lines without a queue id (or with NOQUEUE), by action; the names are those of the log catalogue.
SERVER_EVENTS: Final[dict[str, Callable[[Parsed], str | None]]] = {
    # Clients: broken connections, refused log-ins, limits, nonsense.
    "end": _client,
    "abort": _client,
    "sasl_failed": _client,
    "rate_limit": _client,
    "refuse_tls": _client,
    "pipelining": _client,
    "non_smtp": _client,
    "address_syntax": _client,
    "hostname_mismatch": _client,
    "request_long": _client,
    "etrn_reject": _client,
    "bdat": _client,
    "sni": _by("sni"),
    # postscreen and its block lists.
    "listed": _client,
    "veto": _client,
    "dnsbl": _client,
    "pregreet": _client,
    "psc_hangup": _client,
    "command": _client,
    "stress": _by("event"),
    # Other servers.
    "connect_failed": _relay,
    "handshake_error": _relay,
    "verify_failed": _relay,
    "response_warn": _relay,
    "peer_warn": _shape,
    "tlsrpt": _by("domain"),
    "library": _shape,
    # Our own parts: filters, milters, tables, name service, queue, processes.
    "proxy_warn": _shape,
    "milter_warn": _by("milter"),
    "error": _by("table"),
    "dns_warn": _shape,
    "clog": _by("nexthop", "transport"),
    "transport": _by("transport"),
    "corrupt": _shape,
    "ignoring": _shape,
    "process": _by("program"),
    "life": _by("event"),
    "fatal": _shape,
    # smtpd's WARN action has the same name, and no severity.
    "warn": lambda parsed: _shape(parsed) if "severity" in parsed else None,
    "dsncode": _shape,
    "reply_filter_bad": _shape,
    "trouble": _shape,
}


def subject_of(parsed: Parsed) -> str | None:
    """Say what a line tells of the server is about; None when it tells nothing, or tells it of a mail.

    >>> subject_of({"action": "sasl_failed", "component": "smtpd", "client_ip": "192.0.2.1"})
    '192.0.2.1'
    >>> subject_of({"action": "end", "component": "smtpd", "queue_id": "4A5B6C", "client_ip": "192.0.2.1"})
    """
    make = SERVER_EVENTS.get(parsed["action"])
    # A mail's own story is with the mail; but a table or a milter that fails does not fail for one mail only.
    if make is None or (parsed.get("queue_id", NOQUEUE) != NOQUEUE and "severity" not in parsed):
        return None
    if parsed["component"] == "tlsproxy" and parsed["action"] not in TLSPROXY:
        return None
    subject = make(parsed)
    return None if subject is None else subject[:MAX_SUBJECT]


# tlsproxy speaks for a postscreen or smtp process that logs the rest itself.
TLSPROXY: Final = frozenset({"handshake_error", "library", "verify_failed", "trouble", "tlsrpt"})
