"""Postfix's TLS library, in whichever program it works.

Takes nothing, gives `SUMMARY` and `ENTRIES`. None of these lines has a queue id: they belong to the delivery or the
session whose lines the same process writes next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .grammar import Fields, entry, named
from .tokens import ENDPOINT, NUMBER, PEER, RELAY, RELAY_ADDRESS

_TLS = "smtp lmtp smtpd tlsproxy posttls-finger"


def put_summary(fields: Fields, groups: Sequence[Any]) -> None:
    """Store what the groups of a handshake's summary say (tls_log_summary, src/tls/tls_misc.c).

    The peer is client or relay.
    """
    trust, usage, direction, hostname, ip, port, path, sni, protocol, cipher, bits, algorithm_bits, rest = groups
    side = "client" if direction == "from" else "relay"
    fields["tls_trust"] = trust
    fields["tls_usage"] = usage
    if hostname:
        fields["client_hostname" if side == "client" else "relay_host"] = hostname
    if ip is not None:
        fields[f"{side}_ip"] = ip
    if port is not None:
        fields[f"{side}_port"] = int(port)
    if path is not None:
        fields["client_ip" if side == "client" else "relay_path"] = path
    if sni is not None:
        fields["sni"] = sni
    fields["tls_protocol"] = protocol
    fields["tls_cipher"] = cipher
    fields["tls_bits"] = int(bits)
    fields["tls_algorithm_bits"] = int(algorithm_bits)
    if rest:
        fields["tls_details"] = rest[1:]


def _summary(fields: Fields, match: re.Match[str]) -> bool:
    put_summary(fields, match.groups())
    return True


def _tlsproxy_session(fields: Fields, match: re.Match[str]) -> bool:
    event, ip, port = match.groups()
    fields["event"] = event
    side = "relay" if event == "CONNECT to" else "client"
    fields[f"{side}_ip"] = ip
    fields[f"{side}_port"] = int(port)
    return True


# tlsproxy knows no name: then the host before the bracket is missing.
_SUMMARY_PEER = f"(?:{RELAY.replace('++', '*+', 1)})"

# One for every connection with TLS; what other entries read begins otherwise, so it may come first.
SUMMARY = entry(
    "tls.summary",
    _TLS,
    "Anonymous Untrusted Trusted Verified",
    rf"(Anonymous|Untrusted|Trusted|Verified) TLS connection (established|reused) (to|from) {_SUMMARY_PEER}"
    rf"(?: to ([^ :]++))?: ([^ ]++) with cipher ([^ ]++) \(({NUMBER})/({NUMBER}) bits\)( .*)?",
    _summary,
    queue_id=None,
)

ENTRIES = (
    entry(
        "tls.verify_failed",
        _TLS,
        "certificate server client",
        rf"(?:(server|client) )?certificate verification failed for {PEER}: (.*)",
        named("purpose", "peer", "reason"),
        queue_id=None,
    ),
    entry(
        "tls.session",
        _TLS,
        "",
        rf"{PEER}: ((?:re-using session with|subject_CN=|Matched |matched peername: |raw public key fingerprint="
        r"|[Rr]eusing old session).*)",
        named("peer", "text"),
        queue_id=None,
    ),
    entry(
        "tls.handshake_error",
        _TLS,
        "SSL_accept SSL_connect SSL_set_fd",
        rf"SSL_((?:accept error from|connect error to)(?=.*\]\S*: )|set_fd error to) {PEER}(?:: (.*))?",
        named("what", "peer", "reason"),
        queue_id=None,
    ),
    entry(
        "tls.library",
        _TLS,
        "TLS",
        r"TLS library problem: (.*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "tls.sni",
        "smtpd tlsproxy",
        "TLS",
        rf"TLS SNI ([^ ]++) from {PEER} not matched, using default chain",
        named("sni", "peer"),
        queue_id=None,
    ),
    entry(
        "tls.trace",
        _TLS,
        "TLS skipping",
        r"(TLS protocol trace for [^ ]++ saved to .*|skipping TLS trace output .*)",
        named("text"),
        queue_id=None,
    ),
    entry(
        "tls.tlsrpt",
        "smtp tlsproxy",
        "TLSRPT",
        rf"TLSRPT: status=(success|failure), domain=([^ ,]++), receiving_mx={RELAY_ADDRESS}"
        r"(?:, failure_type=([^ ,]++)(?:, failure_reason=(.*))?)?",
        named("status", "domain", "relay_host", "relay_ip", "relay_port:int", "relay_path", "failure_type", "reason"),
        queue_id=None,
    ),
    entry(
        "tlsproxy.session",
        "tlsproxy",
        "CONNECT DISCONNECT",
        rf"(CONNECT from|CONNECT to|DISCONNECT) {ENDPOINT}",
        _tlsproxy_session,
        queue_id=False,
    ),
    entry(
        "tlsproxy.session",
        "tlsproxy",
        "TLS",
        r"(TLS handshake failed) for service=([^ ]++) peer=(.*)",
        named("event", "tls_service", "peer"),
        queue_id=False,
    ),
)
