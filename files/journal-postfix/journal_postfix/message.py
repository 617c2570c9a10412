"""One log message on its way from a source to the loop, and what a source knows to be missing.

Takes nothing, does nothing: the shapes that every source yields and everything behind it reads.
"""

from __future__ import annotations

from typing import NamedTuple


class LogMessage(NamedTuple):
    """A line of a log file or an entry of the journal.

    `time` is UNIX seconds, UTC; `position` is where to go on after this message (a byte offset in the uncompressed
    file; of the journal the count of its messages); `trusted` is False when the source knows that the message does not
    come from Postfix's own processes. `origin` then says where it does come from, as far as the journal knows.
    """

    host: str
    identifier: str
    pid: int
    time: float
    text: str
    position: int
    trusted: bool = True
    origin: str = ""


class Gap(NamedTuple):
    """Messages that are missing, as far as the source can know.

    `kind`: 'suppressed' (journald dropped `lines` messages of `unit`, because they were too many), 'vacuumed' (the
    journal no longer holds the place where reading stopped, and perhaps what followed it), 'damaged' (a part of the
    journal cannot be read). `begins` and `ends` are UNIX seconds, None where unknown. A gap that is no entry of its own
    has the position of the message before it: it belongs into the batch of the one that follows.
    """

    kind: str
    host: str
    begins: float | None
    ends: float | None
    lines: int | None
    unit: str
    position: int
