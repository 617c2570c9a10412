"""OpenDMARC: the result of the check, and of its own check of SPF.

Takes nothing, gives `ENTRIES`. Source (1.4): mlfi_eom in opendmarc/opendmarc.c; every line about a mail begins with its
queue id. The domain is the one in the From header, so it is the sender's; the result is the last word.
"""

from __future__ import annotations

from ..grammar import entry, named

_COMPONENT = "opendmarc"

ENTRIES = (
    entry(
        "opendmarc.spf",
        _COMPONENT,
        "SPF",
        r"SPF\((helo|mailfrom)\): ([^ ]+) (pass|fail|softfail|neutral|none|temperror|permerror)",
        named("identity", "domain", "result"),
    ),
    entry(
        "opendmarc.dmarc",
        _COMPONENT,
        "",
        "([^ ]+) (pass|fail|none|temperror)",
        named("domain", "result"),
    ),
    entry("opendmarc.noted", _COMPONENT, "", "(.*)", named("reason")),
)
