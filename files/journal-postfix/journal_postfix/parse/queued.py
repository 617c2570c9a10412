"""The queue id that the next server names in its reply.

Takes a reply's text, gives a queue id or None. Conservative: only words that have the form of a Postfix queue id, only
the last mark of its kind, because an after-queue filter answers `… from MTA(…): 250 2.0.0 Ok: queued as ID` and quotes
nothing behind it. The remote server chooses this text: the id is evidence for a link, never a proof.
"""

from __future__ import annotations

from .tokens import QUEUE_ID, compiled

# "Ok: queued as %s" (src/smtpd/smtpd.c); the id ends with the line, or before a blank or punctuation.
_MARK = "queued as "
_AT_MARK = compiled(rf"({QUEUE_ID})[)>,.;'\"]*+(?: |\Z)")
_FORWARDED = compiled(rf"forwarded as ({QUEUE_ID})")


def queued_as(reply: str) -> str | None:
    """Give the queue id behind the last `queued as ` of a reply."""
    at = reply.rfind(_MARK)
    if at < 0:
        return None
    match = _AT_MARK.match(reply, at + len(_MARK))
    return match[1] if match is not None else None


def forwarded_as(response: str) -> str | None:
    """Give the queue id of local(8)'s `forwarded as ID` (src/local/forward.c)."""
    match = _FORWARDED.fullmatch(response)
    return match[1] if match is not None else None
