"""postsuper(1): what the administrator did to queued mail.

Takes nothing, gives `ENTRIES`. Its `removed` is the queue manager's, see qmgr.py. Operations on ALL log a number only.
"""

from __future__ import annotations

import re

from .grammar import Fields, entry, named
from .tokens import NUMBER


def _one(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `requeued`, `placed on hold`, `released from hold` or `expired` to an action of that name."""
    fields["action"] = match[1].replace(" ", "_")
    return True


ENTRIES = (
    entry(
        "postsuper.one",
        "postsuper",
        "requeued placed released expired",
        r"(requeued|placed on hold|released from hold|expired)",
        _one,
    ),
    entry(
        "postsuper.summary",
        "postsuper",
        "",
        rf"([A-Z][a-z -]++): ({NUMBER}) messages?+",
        named("what", "count:int"),
        queue_id=False,
    ),
    entry(
        "postsuper.warn",
        "postsuper",
        "invalid name bogus QUEUE",
        r"((?:invalid mail queue id|name/inode mismatch|bogus file name): .*|QUEUE FILE NAMES WERE CHANGED .*)",
        named("reason"),
        queue_id=False,
        severe=True,
    ),
)
