"""Reads lines as syslog daemons and postlogd write them: a stamp, a host, `IDENT[PID]:` and a text.

Takes blocks of lines, gives log messages, one for every line at least. Never raises for content: a line that
is nothing of the kind is a message without identifier, with the time of the line before it.
This is the hot path of an import: see `SyslogReader.read`.

Lines that stand for others. `message repeated N times: [ TEXT]` (rsyslog) brings its text along. `last message repeated
N times` (BSD, sysklogd) means its host's previous line, `Last message 'BEGINNING' repeated N times` (syslog-ng) that
program's: they are looked up in what stands before (before.py), so it does not matter where reading began. One whose
line is not to be found (in a rotated file, or too far back) is given as a line of `postfix`: unknown, so that somebody
sees it. Its host's previous line is also what the host of a line of `amnesiac` is taken from.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator

from ..message import LogMessage
from .before import REACH_BYTES, LinesBefore
from .heads import AMNESIAC, Head, cleaned, is_plain, read_head, read_protocol_head, without_mark
from .lines import cut_lines
from .stamps import StampReader

REPEATS = 10_000  # that one line can stand for,
REPEATED_CHARS = 1 << 20  # and how much they are together (but one is always given)
HEADS = 4096  # kept in the cache
HEAD_CHARS = 256
KNOWN_HOSTS = 1024

_REPEATED = re.compile(r"message repeated ([0-9]{1,9}) times: \[ ?(.*?)\]?", re.DOTALL)
# FreeBSD's syslogd names itself; macOS has `--- last message repeated 1 time ---` and no host.
_LAST_REPEATED = re.compile(r"last message repeated ([0-9]{1,9}) times?(?: ---)?")
_SUPPRESSED = re.compile(
    r"Last message '(.{0,60})' repeated ([0-9]{1,9}) times, suppressed by syslog-ng on .*", re.DOTALL
)
_NO_HOST = "---"
# How texts begin that are not, or not all, what the program logged.
_HABITS = "mlL["  # one letter: the fastest test that there is
_HABITUAL = frozenset({"mess", "last", "Last", "[ID "})
# What is looked for in the lines before.
_HOST_OF_FILE = "\0"

_PROTOCOL = re.compile(r"(?:<[0-9]{1,3}>)?1 (- )?")


class SyslogReader:
    """Reads one file's lines in order; all its state is the time of the last message (and caches)."""

    def __init__(
        self, stamps: StampReader, host: str | None, lines_before: LinesBefore, own_host: str | None = None
    ) -> None:
        self._stamps = stamps
        self._host = host
        # rsyslog takes the domain off its own host's name, and writes it in small letters.
        full = own_host or ""
        self._own_host = full
        self._own_names = {name.lower() for name in (full, full.partition(".")[0]) if name}
        self._lines_before = lines_before
        self._heads: dict[str, tuple[str, str, int]] = {}
        # What has been found in the lines before: up to where, what, and where that line began.
        self._found: dict[str, tuple[int, Head | None, int]] = {}

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
            if (b"#" in data and b"#3" in data) or not data.isascii():
                lines = list(map(cleaned, lines))
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
                    if line[0] in "<1" and _PROTOCOL.match(line):
                        yield from self._headed(read_protocol_head(rest), time, before, position)
                        before = position
                        continue
                head, colon, text = rest.partition(": ")
                known = heads.get(head)
                if known is None or not colon:
                    found = read_head(rest)
                    if colon and len(head) <= HEAD_CHARS and is_plain(found, rest):
                        if len(heads) >= HEADS:
                            heads.clear()
                        heads[head] = (self._host or self._full(found.host), found.identifier, found.pid)
                    yield from self._headed(found, time, before, position)
                elif text[:1] in _HABITS:
                    yield from self._unfolded(LogMessage(*known, time, text, position), before)
                else:
                    host, identifier, pid = known
                    yield new(LogMessage, (host, identifier, pid, time, text, position, True, ""))
                before = position

    def _stampless(self, line: str, time: float, position: int) -> LogMessage:
        match = _PROTOCOL.match(line)
        if match and match[1] and line.startswith("<"):
            host, identifier, pid, text = read_protocol_head(line[match.end() :])
            return LogMessage(self._host or self._full(host), identifier, pid, time, text, position)
        return LogMessage(self._host or "", "", 0, time, line, position)

    def _full(self, host: str) -> str:
        return self._own_host if host.lower() in self._own_names else host

    def _headed(self, head: Head, time: float, before: int, position: int) -> Iterator[LogMessage]:
        host, identifier, pid, text = head
        if self._host:
            host = self._host
        elif host == AMNESIAC:
            # A program of postlogd's that has not read main.cf yet; the file is of one machine.
            found = self._look_back(_HOST_OF_FILE, before, "", "")
            host = self._full(found.host) if found else host
        else:
            host = self._full(host)
        message = LogMessage(host, identifier, pid, time, text, position)
        if text[:1] in _HABITS:
            return self._unfolded(message, before)
        return iter((message,))

    # ---- lines that stand for others

    def _unfolded(self, message: LogMessage, before: int) -> Iterator[LogMessage]:
        """Give a message without its syslog daemon's marks, and as often as it is said to have been logged."""
        if message.text[:4] not in _HABITUAL:
            return iter((message,))
        text = without_mark(message.text)
        message = message._replace(text=text)
        if message.identifier and (match := _REPEATED.fullmatch(text)):
            return self._times(message, match[2], match[1], before)
        if message.identifier in ("", "syslogd") and (match := _LAST_REPEATED.fullmatch(text)):
            return self._last_repeated(message, match[1], before)
        if message.identifier and (match := _SUPPRESSED.fullmatch(text)):
            return self._last_repeated(message, match[2], before, match[1])
        return iter((message,))

    @staticmethod
    def _times(message: LogMessage, text: str, number: str, before: int) -> Iterator[LogMessage]:
        """Give so many copies with this text: only the last one is past the line.

        Whoever can make somebody log can write a line that claims to stand for millions. One that stands for more than
        the bounds is given as it is, once: an unknown line of its program, which is counted and kept.
        """
        times = int(number)
        if not 0 < times <= min(REPEATS, REPEATED_CHARS // max(len(text), 1) + 1):
            yield message
            return
        copy_of = message._replace(text=text, position=before)
        for _ in range(times - 1):
            yield copy_of
        yield copy_of._replace(position=message.position)

    def _last_repeated(
        self, message: LogMessage, number: str, before: int, beginning: str = ""
    ) -> Iterator[LogMessage]:
        # The host as the line has it: an operator's --host is the same for all.
        current = next(
            (line for line, begin, _ in self._lines_before.back_from(message.position) if begin == before), ""
        )
        head = self._head_of(current)
        host = head.host if head else message.host
        found = self._look_back(host, before, message.identifier if beginning else "", beginning)
        if found is None:
            return iter((message._replace(identifier=message.identifier or "postfix"),))
        host = message.host if host != _NO_HOST else self._host or self._full(found.host)
        named = message._replace(host=host, identifier=found.identifier, pid=found.pid)
        return self._times(named, found.text, number, before)

    def _look_back(self, host: str, before: int, identifier: str, beginning: str) -> Head | None:
        """Find the nearest line before that is not itself one of these: of `host`, or any host's that is known.

        With an `identifier`, only a line of that program whose text begins with `beginning` will do.
        """
        key = f"{host}\0{identifier}\0{beginning}"
        up_to, known, known_begin = self._found.get(key, (0, None, 0))
        found, found_begin = None, 0
        for line, begin, end in self._lines_before.back_from(before):
            if end <= up_to:
                # Looked at before: between the one found then and that place there is no other.
                if known is not None and known_begin >= before - REACH_BYTES:
                    found, found_begin = known, known_begin
                break
            if host in (_HOST_OF_FILE, _NO_HOST) or host in line:
                head = self._head_of(line)
                if head is not None and self._is_wanted(head, host, identifier, beginning):
                    found, found_begin = head, begin
                    break
        if len(self._found) >= KNOWN_HOSTS:
            self._found.clear()
        self._found[key] = (before, found, found_begin)
        return found

    @staticmethod
    def _is_wanted(head: Head, host: str, identifier: str, beginning: str) -> bool:
        if host == _HOST_OF_FILE:
            return head.host not in ("", _NO_HOST, AMNESIAC)
        if head.host != host and host != _NO_HOST:
            return False
        if _LAST_REPEATED.fullmatch(head.text) or _SUPPRESSED.fullmatch(head.text):
            return False
        return not identifier or (head.identifier == identifier and head.text.startswith(beginning))

    def _head_of(self, line: str) -> Head | None:
        """Read a line again, whatever the stamp means; None when it has none."""
        line = cleaned(line)
        begin = copy.copy(self._stamps).read(line)
        if begin < 0:
            return None
        rest = line[begin:]
        head = read_protocol_head(rest) if line[0] in "<1" and _PROTOCOL.match(line) else read_head(rest)
        text = without_mark(head.text)
        match = _REPEATED.fullmatch(text) if head.identifier else None
        return head._replace(text=match[2] if match else text)
