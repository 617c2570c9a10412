"""What any queue client says about queue files, and what the queue manager says about transports.

Takes nothing, gives `ENTRIES`. These warnings tell why a message left the queue without `removed`, or why its
recipients wait. Where the text names the queue file, its queue id becomes `queue_id`.
"""

from __future__ import annotations

import re

from .grammar import Fields, entry, named
from .tokens import NUMBER, QUEUE_ID, compiled

_QMGR = "qmgr oqmgr"
_AGENTS = "smtp lmtp local virtual pipe error discard"

# "<queue>/<hash directories>/<queue id>" (mail_queue_path, src/global/mail_queue.c).
_QUEUE_FILE = compiled(rf"([a-z]++)/(?:[0-9A-Za-z]/)*({QUEUE_ID})")


def _put_path(fields: Fields, path: str) -> None:
    """Store the queue and queue id that the path of a queue file names."""
    match = _QUEUE_FILE.fullmatch(path)
    if match is not None:
        fields["queue"], fields["queue_id"] = match.groups()


def _corrupted(fields: Fields, match: re.Match[str]) -> bool:
    fields["path"] = match[1]
    _put_path(fields, match[1])
    return True


def _bad_offset(fields: Fields, match: re.Match[str]) -> bool:
    fields["reason"] = match[0]
    _put_path(fields, match[1])
    return True


ENTRIES = (
    entry(
        "service.failure",
        f"{_AGENTS} {_QMGR} cleanup",
        "bounce defer trace verify flush",
        r"(bounce|defer|trace|verify|flush) service failure",
        named("what"),
        severe=True,
    ),
    entry(
        "queue.io_fatal",
        "smtpd cleanup qmqpd",
        "update move",
        r"(update file time stamps: .*|move to [^ ]++ queue failed: .*)",
        named("reason"),
        severe=True,
    ),
    entry(
        "queue.corrupt",
        f"{_QMGR} {_AGENTS}",
        "saving",
        rf'saving corrupt file "({QUEUE_ID})" from queue "([^"]++)" to queue "[^"]++"',
        named("queue_id", "queue"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "queue.corrupt",
        f"{_QMGR} {_AGENTS}",
        "corrupted",
        r"corrupted queue file: (.*)",
        _corrupted,
        queue_id=False,
        severe=True,
    ),
    entry(
        "showq.warn",
        "showq",
        "malformed duplicate missing",
        r"((?:malformed size record|duplicate sender address|missing sender address): .*)",
        named("reason"),
        severe=True,
    ),
    entry(
        "qmgr.clog",
        _QMGR,
        "mail",
        rf"mail for (.*) is using up ({NUMBER}) of ({NUMBER}) active queue entries",
        named("nexthop", "count:int", "total:int"),
        queue_id=False,
        severe=True,
    ),
    # The advice that follows it, a line each (src/qmgr/qmgr_entry.c).
    entry(
        "qmgr.clog",
        _QMGR,
        "you this so please lots to",
        r"((?:you may need to|this may slow down|so that Postfix|please avoid flushing|lots of deferred mail"
        r"|to turn off these warnings)\b.*)",
        named("reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "qmgr.transport",
        f"{_QMGR} smtp lmtp local virtual",
        "transport connect private public",
        r"((?:transport ([^ ]++) failure -- |connect to transport |[^ ]++ socket: (?:malformed response"
        r"|premature disconnect)|[^ ]++(?<=:) (?:malformed response|premature disconnect)).*)",
        named("reason", "transport"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "qmgr.remove_race",
        _QMGR,
        "qmgr_active_done_",
        rf"qmgr_active_done_[0-9a-z_]++: remove ({QUEUE_ID}) from ([a-z]++): (.*)",
        named("queue_id", "queue", "reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "qmgr.fatal",
        _QMGR,
        "timeout envelope",
        r"(timeout (?:receiving delivery status from|connecting to) transport: .*|envelope records out of order.*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "qmgr.fatal",
        _QMGR,
        "bad",
        r"bad extra offset .*?file ([^ ]++)",
        _bad_offset,
        queue_id=False,
        severe=True,
    ),
    entry(
        "agent.norcpt",
        _AGENTS,
        "no",
        r"(no recipients in delivery request for destination .*)",
        named("reason"),
        severe=True,
    ),
    entry(
        "agent.norcpt",
        _AGENTS,
        "open",
        rf"open ([a-z]++) ({QUEUE_ID}): (.*)",
        named("queue", "queue_id", "reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "agent.dsncode",
        f"{_AGENTS} {_QMGR} cleanup",
        "bounce_append bounce_one defer_append defer_one sent",
        r'([a-z_]++): ignoring dsn code "(.*)"',
        named("what", "dsn"),
        queue_id=False,
        severe=True,
    ),
)
