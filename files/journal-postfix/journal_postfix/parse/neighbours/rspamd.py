r"""Rspamd: the result line of each scan.

Takes nothing, gives `ENTRIES`. Sources (3.4 and 3.12): log_format in conf/logging.inc, rspamd_task_write_log and
rspamd_task_log_variable (src/libserver/task.c). Before it stand `<TAG>; task; FUNCTION: ` (syslog,
src/libserver/logger/logger_syslog.c), with `(WORKER) ` before that in the journal and in Rspamd's own file (whose stamp
and pid `sources` has read; rspamd_log_fill_iov, src/libserver/logger/logger.c). A log_format of another order is
`unknown`; lines of `log_json` are `other`.

The message-id has no blanks (rspamd_mime_header_add replaces them); the envelope sender is read as an address. So
everything up to the scores is Rspamd's own. The options of symbols and, at the end, the addresses in the header are the
sender's: what stands between and behind is taken only where the mark `]), len: …, digest: <…>` is there once.
"""

from __future__ import annotations

import re

from ..grammar import Fields, entry, nothing
from ..tokens import ADDRESS, QUEUE_ID, compiled

_HEAD = r"(?:\([a-z_]+\) )?<[^<> ]*>; task; rspamd_task_write_log: "
_SCORE = r"-?[0-9]{1,9}\.[0-9]{1,4}|-?nan|-?inf"
_MARK = compiled(
    r"\]\), len: ([0-9]{1,15}), time: ([0-9]{1,9}(?:\.[0-9]{1,6})?)ms(?: real, [0-9.]+ms virtual)?, "
    r"dns req: [0-9]{1,9}, digest: <(?:[0-9a-f]{32}|undef)>"
)
_RECIPIENTS = compiled(r", rcpts: <([^<>\", ]+(?:,[^<>\", ]+)*)>(?:, .*)?")


def _is_number(text: str) -> bool:
    return text[-1].isdigit()


def _scanned(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `id: <ID>, qid: <ID>, ip: IP, user: NAME, from: <ADDRESS>, (default: T (ACTION): [SCORES] [SYMBOLS]…`."""
    message_id, queue_id, ip, user, sender, is_spam, verdict, score, required, rest = match.groups()
    if message_id not in ("", "undef"):
        # As Postfix has it: the brackets were taken away and put back.
        fields["message_id"] = f"<{message_id}>"
    for name, value in (("queue_id", queue_id), ("client_ip", ip), ("user", user), ("sender", sender)):
        if value is not None:
            fields[name] = value
    fields["verdict"] = verdict
    if is_spam != "S":
        fields["is_spam"] = is_spam == "T"
    if _is_number(score):
        fields["score"] = float(score)
    if _is_number(required):
        fields["required_score"] = float(required)
    marks = list(_MARK.finditer(rest))
    if len(marks) == 1:
        mark = marks[0]
        fields["symbols"] = rest[: mark.start()]
        fields["size"] = int(mark[1])
        fields["delay"] = round(float(mark[2]) / 1000, 6)
        recipients = _RECIPIENTS.fullmatch(rest, mark.end())
        if recipients is not None:
            fields["recipients"] = recipients[1].split(",")
    return True


ENTRIES = (
    entry(
        "rspamd.scanned",
        "rspamd",
        "",
        rf"{_HEAD}id: <([^ ]*)>,(?: qid: <({QUEUE_ID})>,)?(?: ip: ([0-9A-Fa-f.:]+),)?(?: user: ([^ ,]+),)?"
        rf"(?: from: <{ADDRESS}>,)? ?\(default: ([TFS]) \(([a-zA-Z0-9 _-]+)\): \[({_SCORE})/({_SCORE})\] \[(.*)",
        _scanned,
        queue_id=False,
    ),
    entry(
        "rspamd.another_format",
        "rspamd",
        "",
        rf"{_HEAD}.*",
        nothing,
        action="unknown",
        queue_id=False,
    ),
)
