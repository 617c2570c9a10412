"""What a daemon says with `-v` (master.cf) or `debug_peer_list`: a hundred lines for each that tells something.

Takes nothing, gives `ENTRIES`. They are named, counted and nothing else: no element is taken from them, whatever SMTP
commands and attributes they show. Only what no other line can be is called so: the two directions of a dialogue, a C
function's name in front of a colon, the attributes that daemons send each other. The rest is `unknown`.
"""

from __future__ import annotations

from .grammar import entry
from .tokens import PORT

# The daemons, whose texts are Postfix's own; not the commands and scripts that log what postlog(1) is given.
_DAEMONS = """
    anvil bounce cleanup discard dnsblog error flush lmtp local master nqmgr oqmgr pickup pipe postscreen proxymap qmgr
    qmqpd scache showq smtp smtpd spawn tlsmgr tlsproxy trivial-rewrite verify virtual
"""

ENTRIES = (
    # "< %s: %s" and "> %s: %s" of smtpd_chat.c, smtp_chat.c, smtpd_proxy.c and postscreen_smtpd.c.
    entry(
        "verbose.dialogue",
        "smtpd smtp lmtp postscreen",
        "",
        rf"[<>] (?:[^ \[\]]*+\[[^\[\]]++\](?::{PORT})?|[^ \[\]:]++:{PORT}): .*",
        action="verbose",
        queue_id=False,
    ),
    entry(
        "verbose.restrictions",
        "smtpd",
        "",
        r">>> (?:START|END|CHECKING) .*(?: RESTRICTIONS| MAPS) <<<",
        action="verbose",
        queue_id=False,
    ),
    # "%s: ..." with `myname`, everywhere: without an underscore the word could be anything.
    entry(
        "verbose.function",
        _DAEMONS,
        "",
        r"[a-z][a-z0-9]*+(?:_[a-z0-9]++)+: .*",
        action="verbose",
        queue_id=False,
    ),
    # src/util/attr_print*.c and attr_scan*.c; "private/rewrite socket" is a stream's name.
    entry(
        "verbose.attribute",
        _DAEMONS,
        "send input private public",
        r"(?:send attr [^ ]++ = .*|input attribute (?:name|value): .*"
        r"|p(?:rivate|ublic)/[^ ]++ socket: (?:wanted attribute: .*|terminator \(consumed\)|EOF))",
        action="verbose",
        queue_id=False,
    ),
    # What every daemon's main loop says about its connections and its end (src/master/*_server.c).
    entry(
        "verbose.server",
        _DAEMONS,
        "connection idle master time process",
        r"connection (?:established|closed)(?: fd [0-9]++)?|(?:idle timeout|master disconnect|time to retire) -- .*"
        r"|process generation: [0-9]++ \([0-9]++\)",
        action="verbose",
        queue_id=False,
    ),
)
