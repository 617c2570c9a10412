"""Reads lines as syslog daemons and postlogd write them: a stamp, a host, `IDENT[PID]:` and a text.

Takes blocks of lines, gives log messages, one for every line at least. Never raises for content: a line that
is nothing of the kind is a message without identifier, with the time of the line before it.
This is the hot path of an import: see `SyslogReader.read`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..message import LogMessage
from .lines import cut_lines
from .stamps import StampReader

REPEATS = 10_000  # that one line can stand for,
REPEATED_CHARS = 1 << 20  # and how much they are together (but one is always given)
HEADS = 4096  # kept in the cache
HEAD_CHARS = 256

_HEAD = re.compile(r"(\S+) +(\S+?)(?:\[([0-9]{1,9})\])?:?")
_REPEATED = re.compile(r"message repeated ([0-9]{1,9}) times: \[ ?(.*?)\]?", re.DOTALL)
# RFC 5424 §6: PRIORITY and version 1; behind the stamp HOST APP PROCID MSGID SD and the text.
_PROTOCOL = re.compile(r"<[0-9]{1,3}>1 (- )?")
_PROTOCOL_HEAD = re.compile(
    r'(\S+) (\S+) (\S+) \S+ (?:-|(?:\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*")*\])+)(?: \ufeff?(.*))?'
)


class SyslogReader:
    """Reads one file's lines in order; all its state is the time of the last message (and caches)."""

    def __init__(self, stamps: StampReader, host: str | None) -> None:
        self._stamps = stamps
        self._host = host
        self._heads: dict[str, tuple[str, str, int]] = {}

    def read(self, blocks: Iterable[tuple[bytes, int]], start: int) -> Iterator[LogMessage]:
        """Yield the messages of consecutive blocks of lines (`iter_blocks`), the first of which begins at `start`.

        What differs from line to line is little: the second and the process. So the stamp is compared with the last
        one, and the head (`HOST IDENT[PID]`) is looked up as a whole.
        """
        stamps = self._stamps
        heads = self._heads
        new = tuple.__new__
        before = start
        prefix, skip, time = stamps.prefix, len(stamps.prefix), stamps.time
        for data, dropped in blocks:
            lines, ends = cut_lines(data, dropped, before)
            if before == 0:
                lines[0] = lines[0].removeprefix("\ufeff")
            for line, position in zip(lines, ends, strict=True):
                if line.startswith(prefix):
                    rest = line[skip:]
                else:
                    begin = stamps.read(line)
                    time = stamps.time
                    if begin < 0:
                        yield self._stampless(line, time, position)
                        before = position
                        continue
                    rest = line[begin:]
                    prefix = stamps.prefix
                    skip = len(prefix)
                    if line.startswith("<") and _PROTOCOL.match(line):
                        yield self._protocol(rest, time, position)
                        before = position
                        continue
                head, colon, text = rest.partition(": ")
                known = heads.get(head)
                if known is None or not colon:
                    message = self._headed(rest, time, position)
                else:
                    host, identifier, pid = known
                    message = new(LogMessage, (host, identifier, pid, time, text, position, True, ""))
                if text.startswith("message repeated ") and message.identifier:
                    yield from self._repeated(message, before)
                else:
                    yield message
                before = position

    def _headed(self, rest: str, time: float, position: int) -> LogMessage:
        """Read what stands behind a stamp."""
        head, colon, text = rest.partition(": ")
        if match := (_HEAD.fullmatch(head) if colon or head.endswith(":") else None):
            host = self._host or match[1]
            known = (host, match[2], int(match[3] or 0))
            if colon and len(head) <= HEAD_CHARS:
                if len(self._heads) >= HEADS:
                    self._heads.clear()
                self._heads[head] = known
            return LogMessage(*known, time, text, position)
        host, _, text = rest.partition(" ")
        return LogMessage(self._host or host, "", 0, time, text, position)

    def _stampless(self, line: str, time: float, position: int) -> LogMessage:
        match = _PROTOCOL.match(line)
        if match and match[1]:
            return self._protocol(line[match.end() :], time, position)
        return LogMessage(self._host or "", "", 0, time, line, position)

    def _protocol(self, rest: str, time: float, position: int) -> LogMessage:
        match = _PROTOCOL_HEAD.fullmatch(rest)
        if match is None:
            return LogMessage(self._host or "", "", 0, time, rest, position)
        host, identifier, pid = ("" if value == "-" else value for value in match.group(1, 2, 3))
        number = int(pid) if re.fullmatch("[0-9]{1,9}", pid) else 0
        return LogMessage(self._host or host, identifier, number, time, match[4] or "", position)

    def _repeated(self, message: LogMessage, before: int) -> Iterator[LogMessage]:
        """Unfold rsyslog's `message repeated N times: [ TEXT]`: only the last copy is past the line.

        Whoever can make somebody log can write a line that claims to stand for millions. One that stands for more than
        the bounds is given as it is, once: an unknown line of its program, which is counted and kept.
        """
        match = _REPEATED.fullmatch(message.text)
        times = int(match[1]) if match else 0
        if match is None or not 0 < times <= min(REPEATS, REPEATED_CHARS // max(len(match[2]), 1) + 1):
            yield message
            return
        copy = message._replace(text=match[2], position=before)
        for _ in range(times - 1):
            yield copy
        yield copy._replace(position=message.position)
