"""One log message on its way from a source to the loop.

Takes nothing, does nothing: the one shape that every source yields and everything behind it reads.
"""

from __future__ import annotations

from typing import NamedTuple


class LogMessage(NamedTuple):
    """A line of a log file or an entry of the journal.

    `time` is UNIX seconds, UTC; `position` is where to go on after this message (a byte offset in the uncompressed
    file); `trusted` is False when the source knows that the message does not come from Postfix's own processes.
    """

    host: str
    identifier: str
    pid: int
    time: float
    text: str
    position: int
    trusted: bool = True
