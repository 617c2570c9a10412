"""cleanup(8): message ids, header and body checks, milters at the end of the message, and mail that ends here.

Takes nothing, gives `ENTRIES`.
"""

from __future__ import annotations

import re

from .context import decided, of_check, of_mime_error, put_reply, split_origin
from .grammar import Fields, entry, named
from .tokens import CLIENT, NUMBER, STAGE, is_cut


def _put_checked(fields: Fields, kind: str, content: str) -> None:
    """Store what a check looked at: its class, its text, and the subject when it is that header."""
    fields["class"] = kind
    fields["header"] = content
    if kind == "header" and content[:8].lower() == "subject:":
        fields["subject"] = content[8:].lstrip(" ")


def _checked(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `ACTION: CLASS CONTENT from ORIGIN; CONTEXT: TEXT` (cleanup_act_log, src/cleanup/cleanup_message.c)."""
    action, kind, rest = match.groups()
    split = split_origin(fields, rest, match.string, of_check)
    if split is None:
        if "; from=<" not in rest and not is_cut(match.string):
            return False
        # Where the content ends cannot be told, but what the check did can.
        fields["action"] = action
        fields["class"] = kind
        return True
    fields["action"] = action
    content, text = split
    _put_checked(fields, kind, content)
    if text is not None:
        if action == "reject" or action.endswith("-reject"):
            put_reply(fields, text)
        else:
            fields["reason"] = text
    return True


def _mime_error(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `reject: mime-error REASON: CONTENT from ORIGIN; from=<S> to=<R>` (cleanup_mime_error_callback)."""
    split = split_origin(fields, match[2], match.string, of_mime_error)
    if split is None and "; from=<" not in match[2] and not is_cut(match.string):
        return False
    fields["reason"] = match[1]
    if split is not None:
        fields["header"] = split[0]
    return True


def _milter_warn(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `milter NAME: TEXT` or `connect to Milter service NAME: ERROR` (src/milter/milter8.c)."""
    fields["milter"] = (match[1] or match[2])[:-1]
    fields["reason"] = match[3]
    return True


# "message not accepted, try again later" alone, or behind " -- " (src/cleanup/cleanup_map11.c and others).
_NOT_ACCEPTED = r"(?:(.*) -- )?message not accepted, try again later"

ENTRIES = (
    entry("cleanup.message_id", "cleanup", "message-id", r"message-id=(.*)", named("message_id")),
    entry(
        "cleanup.resent_message_id",
        "cleanup",
        "resent-message-id",
        r"resent-message-id=(.*)",
        named("resent_message_id"),
    ),
    entry("cleanup.removed", "cleanup", "removed", r"removed \((canceled|discarded)\)", named("reason")),
    entry(
        "cleanup.mime_error",
        "cleanup",
        "reject",
        r"reject: mime-error ([^:]*+): (.*)",
        _mime_error,
    ),
    entry(
        "cleanup.action",
        "cleanup",
        "reject warning info hold discard redirect replace prepend strip filter bcc pass delay",
        r"([a-z]++): (header|body|content) (.*)",
        _checked,
    ),
    entry(
        "cleanup.milter",
        "cleanup",
        "milter-reject milter-hold milter-discard",
        rf"([a-z-]++): {STAGE} from {CLIENT}: (.*)",
        decided,
    ),
    entry("cleanup.milter_checks", "cleanup", "", r"(milter-[a-z]++-[a-z]++): ([a-z]++) (.*)", _checked),
    entry(
        "cleanup.rejected",
        "cleanup qmgr oqmgr",
        "message",
        r"message rejected: (.*)",
        named("reason"),
        action="message_rejected",
        severe=True,
    ),
    entry("cleanup.not_accepted", "cleanup", "", _NOT_ACCEPTED, named("reason"), severe=True),
    entry("cleanup.masq_info", "cleanup", "", _NOT_ACCEPTED, named("reason")),
    entry(
        "cleanup.io",
        "cleanup",
        "write read bounce trace verify record",
        r"(write queue file: .*|read timeout on .*|bounce message failure"
        r"|(?:trace logfile|verify service) update error"
        rf"|record type {NUMBER} not allowed - discarding this message)",
        named("reason"),
        severe=True,
    ),
    entry(
        "cleanup.ignoring",
        "cleanup qmgr oqmgr",
        "ignoring Bad multi-valued Milter milter spurious invalid bad rcpt removed bounce defer trace",
        r"((?:ignoring|Bad|multi-valued|Milter (?:or header/body_checks )?request to|milter configuration error"
        r"|spurious null|invalid size|bad attribute|rcpt count mismatch|invalid flags"
        r"|(?:(?:bounce|defer|trace): )?removed spurious)\b.*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    # Not "warn", its name in the catalogue: that is the action that smtpd logs for a rule's WARN.
    entry(
        "milter.warn",
        "smtpd cleanup",
        "milter connect",
        r"(?:milter ([^ ]++)(?<=:)|connect to Milter service ([^ ]++)(?<=:)) (.*)",
        _milter_warn,
        action="milter_warn",
        queue_id=None,
        severe=True,
    ),
)
