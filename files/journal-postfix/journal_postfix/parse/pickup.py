"""pickup(8) and the commands in front of it: mail that is submitted on this host.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

import re

from .grammar import Fields, entry, named, unquoted
from .tokens import ADDRESS, ANY_QUEUE_ID, NUMBER, QUEUE_ID


def _error_writing(fields: Fields, match: re.Match[str]) -> bool:
    path, queue_id, reason = match.groups()
    fields["path"] = path[:-1]
    fields["queue_id"] = queue_id
    fields["reason"] = reason
    return True


_WARNINGS = (
    r"message (?:[^ ]++ )?has been queued for .*",
    r"message (?:[^ ]++ )?dated .* into the future",
    rf"uid={NUMBER}: no envelope sender",
    rf"uid={NUMBER}: unexpected or malformed record type .*",
    r"[^ ]++(?<=:) illegal length .*, record type .*",
    r"open input file .*",
)

_UID = named("uid:int", "sender", "orig_queue_id")

ENTRIES = (
    *(
        entry(
            "pickup.uid",
            "pickup",
            "uid",
            rf"uid=({NUMBER}) from=<{address}>(?: orig_id=({ANY_QUEUE_ID}))?",
            convert,
        )
        for address, convert in ((ADDRESS, _UID), ("(.*?)", unquoted(_UID, group=2)))
    ),
    # The message that could not be written is named in the text (pickup_copy, src/pickup/pickup.c).
    entry(
        "pickup.warn",
        "pickup",
        "",
        rf"([^ ]++)(?<=:) error writing ({QUEUE_ID}): (.*)",
        _error_writing,
        queue_id=False,
        severe=True,
    ),
    entry("pickup.warn", "pickup", "", rf"({'|'.join(_WARNINGS)})", named("reason"), queue_id=None, severe=True),
    entry(
        "submit.fatal",
        "sendmail postdrop",
        "",
        rf"(?:([^ ()]++)\(({NUMBER})\): (.*))",
        named("user", "uid:int", "reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "submit.fatal",
        "sendmail postdrop",
        "User",
        rf"User ([^ ()]++)\(({NUMBER})\) (is not allowed to submit mail)",
        named("user", "uid:int", "reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "submit.warn",
        "postdrop sendmail",
        "uid -f",
        rf"(?:uid=({NUMBER}): |(?=-f ))(.*)",
        named("uid:int", "reason"),
        queue_id=False,
        severe=True,
    ),
)
