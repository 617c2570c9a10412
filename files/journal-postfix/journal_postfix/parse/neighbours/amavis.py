r"""amavisd-new: the result line of each mail.

Takes nothing, gives `ENTRIES`. Source (2.13): $log_short_templ and $log_verbose_templ, the first texts behind
__DATA__ of Amavis.pm, written by write_log (Amavis/Log.pm), which breaks a line of more than 980 bytes: the first
piece ends with `...`, the others begin with it and are `other`.

The kind of content comes first, names of forbidden files and of viruses stand in parentheses behind it: where they look
like what follows, all up to the scores is left out. Then addresses, which are read as such; the message-id and, in the
verbose form, subject and HELO name are the sender's: the scores are taken only where their mark is there once.
"""

from __future__ import annotations

import re

from ..grammar import Fields, entry, nothing
from ..tokens import ADDRESS, QUEUE_ID, compiled, only_place

_TASK = r"\(([0-9A-Za-z-]{1,60})\) "
_ONE = ADDRESS[1:-1]
_IP = r"\[(?:IPv6:)?([0-9A-Fa-f.:]+)\]"
_END_OF_NAMES = compiled(r"\) \{[A-Za-z,]*\}, ")
_ENVELOPE = compiled(
    rf"\{{([A-Za-z,]*)\}},(?: [A-Za-z][A-Za-z0-9._/-]*+)*(?: {_IP}(?::[0-9]{{1,5}})?)?(?: {_IP})?(?: [A-Z]+/[A-Z]+)? "
    rf"<{ADDRESS}> -> (<(?:{_ONE})>(?:,<(?:{_ONE})>)*)((?:, .*)?)"
)
_RECIPIENT = compiled(rf"<{ADDRESS}>")
_IDS = compiled(
    rf"(?:, tls: [^ ,]*)?(?:, quarantine: [^ ,]*)?(?:, Queue-ID: ({QUEUE_ID})(?=,))?"
    r"(?:, Message-ID: (<[^<> ]*>)(?=,))?.*"
)
_HITS = compiled(", Hits: ")
_RESULT = compiled(
    r", Hits: ([^ ,]{1,40}), size: ([0-9]{1,15})(?:, pt: [^ ,]*+)?(?:, queued_as: ([^ ,]*+))?.*, ([0-9]{1,9}) ms"
)
_NUMBER = compiled(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})?")
_QUEUE_ID = compiled(QUEUE_ID)


def _scanned(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `(TASK) Passed KIND (NAMES) {ACTIONS}, [IP]:PORT <SENDER> -> <RECIPIENTS>, …, Hits: …, size: …, … ms`."""
    task, how, kind, rest = match.groups()
    fields["task"] = task
    fields["verdict"] = f"{how} {kind}"
    if rest.startswith("("):
        ends = list(_END_OF_NAMES.finditer(rest))
        if len(ends) == 1:
            fields["reason"] = rest[1 : ends[0].start()]
            rest = rest[ends[0].start() + 2 :]
    envelope = _ENVELOPE.fullmatch(rest)
    if envelope is not None:
        _put_envelope(fields, envelope)
    at = only_place(_HITS, rest)
    result = None if at is None else _RESULT.fullmatch(rest, at)
    if result is not None:
        hits, size, queued_as, milliseconds = result.groups()
        if _NUMBER.fullmatch(hits):
            fields["score"] = float(hits)
        fields["size"] = int(size)
        fields["delay"] = int(milliseconds) / 1000
        if queued_as and _QUEUE_ID.fullmatch(queued_as):
            fields["next_queue_id"] = queued_as
    return True


def _put_envelope(fields: Fields, match: re.Match[str]) -> None:
    actions, client, _, sender, recipients, rest = match.groups()
    if actions:
        fields["result"] = actions
    if client is not None:
        fields["client_ip"] = client
    fields["sender"] = sender
    every = _RECIPIENT.findall(recipients)
    if len(every) == 1:
        fields["recipient"] = every[0]
    else:
        fields["recipients"] = every
    ids = _IDS.fullmatch(rest)
    assert ids is not None  # every part of it is optional
    for name, value in zip(("queue_id", "message_id"), ids.groups(), strict=True):
        if value is not None:
            fields[name] = value


ENTRIES = (
    entry(
        "amavis.scanned",
        "amavis",
        "",
        rf"{_TASK}(Passed|Blocked) (OTHER|CLEAN|MTA-BLOCKED|OVERSIZED|BAD-HEADER(?:-[0-9]+)?|SPAMMY|SPAM"
        r"|UNCHECKED(?:-ENCRYPTED)?|BANNED|INFECTED)[ ,]+(.*)",
        _scanned,
        queue_id=False,
    ),
    entry(
        "amavis.another_format",
        "amavis",
        "",
        rf"{_TASK}(?:Passed|Blocked) .*",
        nothing,
        action="unknown",
        queue_id=False,
    ),
)
