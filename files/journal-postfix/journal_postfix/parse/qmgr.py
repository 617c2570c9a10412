"""qmgr(8): the queue manager's own lines about a message, and the end of it.

Takes nothing, gives `ENTRIES`. Its delivery status lines are those of every agent, see delivery.py.
"""

from __future__ import annotations

import re

from .grammar import Convert, Fields, entry, named, unquoted
from .tokens import ADDRESS, NUMBER

_QMGR = "qmgr oqmgr"


def _active(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `from=<S>, size=N, nrcpt=N (queue Q)` (opened, src/global/opened.c)."""
    sender, size, nrcpt, queue = match.groups()
    fields["sender"] = sender
    fields["size"] = int(size)
    fields["nrcpt"] = int(nrcpt)
    fields["queue"] = queue
    return True


def _each_form(convert: Convert) -> tuple[tuple[str, Convert], ...]:
    """Give the forms of an address, and the converter for each.

    Postfix <= 3.4 does not quote addresses: what the strict form refuses reads up to the last fitting end. In a line
    that was cut this may be the address's own.
    """
    return ((ADDRESS, convert), ("(.*)", unquoted(convert)))


ENTRIES = (
    *(
        entry(
            "qmgr.active",
            _QMGR,
            "from",
            rf"from=<{address}>, size=({NUMBER}), nrcpt=({NUMBER}) \(queue ([a-z]++)\)",
            convert,
        )
        for address, convert in _each_form(_active)
    ),
    entry("qmgr.removed", "qmgr oqmgr postsuper", "removed", "removed"),
    *(
        entry(
            "qmgr.expired",
            _QMGR,
            "from",
            rf"from=<{address}>, status=(expired|force-expired), returned to sender",
            convert,
        )
        for address, convert in _each_form(named("sender", "status"))
    ),
    entry("qmgr.skipped", _QMGR, "skipped", "skipped, still being delivered"),
    entry(
        "qmgr.notify_failed",
        "qmgr oqmgr cleanup",
        "status",
        r"status=(deferred) \((bounce|delay warning|verp|verp-bounce|trace|whatever) failed\)",
        named("status", "what"),
    ),
)
