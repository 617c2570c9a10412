"""pickup(8) and the commands in front of it: mail that is submitted on this host.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

from .grammar import entry, named
from .tokens import ADDRESS, ANY_QUEUE_ID, NUMBER

ENTRIES = tuple(
    entry(
        "pickup.uid",
        "pickup",
        "uid",
        rf"uid=({NUMBER}) from=<{address}>(?: orig_id=({ANY_QUEUE_ID}))?+",
        named("uid:int", "sender", "orig_queue_id"),
    )
    for address in (ADDRESS, "(.*?)")
)
