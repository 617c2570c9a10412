#!/usr/bin/env python3
"""Multiply a Postfix log: `bench/multiply.py FILE LINES > OUT` repeats it, as other mails at later times.

Takes a log (plain, gz, bz2 or xz; traditional or RFC 3339 stamps), gives as many lines as asked for in the same form.
Each copy has queue ids, message-ids and addresses of its own, the same wherever they occur in it, and begins some
seconds after the end of the one before, so the whole is in time order if the file is. Kept as they are: hosts,
programs, process ids, domains, IP addresses, replies. The first copy is the file itself.

Queue ids keep their form. A long one carries its time (Postfix, src/global/mail_queue.h): that is moved on as the
stamps are. A short one is microseconds and inode: the copy's number is put before the inode. Both are unique over all
copies where they were in the file. Which texts are queue ids is learned from the lines' heads; ids of that form that
other servers have given ("queued as") are changed as well.

Memory is bounded by the file, which is held in pieces, not by the lines that are written.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import re
import sys
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, TextIO

GAP_S: Final = 10
"""Between two copies: more than the seconds by which lines of one mail stand out of order."""

# So many different addresses come of one at most: correspondents come back, message-ids do not.
PEOPLE: Final = 500

# Base 52: digits and consonants, as safe_ultostr() of Postfix's src/util has them.
_DIGITS: Final = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_SECONDS_AT_LEAST: Final = 6
_MICROSECONDS: Final = 4
_SHORT_MICROSECONDS: Final = 5

_LONG: Final = f"[{_DIGITS}]{{10,12}}z[{_DIGITS}]+"
_SHORT: Final = "[0-9A-F]{6,20}"
_HEAD: Final = re.compile(rf"[^\[\n]{{0,200}}\[[0-9]+\]: (?:(?:warning|info): )?({_SHORT}|{_LONG}): ", re.ASCII)
# What a copy changes: a message-id, an address, the id that another server has given, what may be a queue id here.
# Other texts with an @ in them are addresses in nobody's eyes.
_CHANGED: Final = re.compile(
    r"(?P<id>(?:message-id=|msgid=|Message-ID: |\bid: )<?[^<>@\s]{0,200})@"
    r"|(?P<address>[A-Za-z0-9\x80-\xff])@(?=[A-Za-z0-9\[])"
    rf"|(?<=queued as )(?P<taken>{_LONG}|[0-9A-F]{{8,20}})\b"
    rf"|(?<![A-Za-z0-9])(?P<queue>{_LONG}|{_SHORT})(?![A-Za-z0-9])",
    re.ASCII,
)
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TRADITIONAL: Final = re.compile(rf"(?:{'|'.join(_MONTHS)}) [ 0-9][0-9] [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?= )")
_RFC3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?=[.+Z-])")
_LINES_AT_ONCE: Final = 1000
_HALF_A_YEAR: Final = timedelta(days=183)


class NoLog(Exception):
    """The file has no line with a stamp that can be moved on; the text names it."""


def open_log(path: Path) -> TextIO:
    """Open a log, decompressed by its suffix; each byte is a character, so that what is read can be written again."""
    opener: Callable[..., TextIO] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, open)  # type: ignore[assignment]
    return opener(path, "rt", encoding="latin-1", newline="\n")


def _moment(stamp: str, year: int) -> datetime:
    """Read a stamp to the second as it stands there: its offset from UTC is not asked for, for it is kept."""
    if stamp[4] == "-":
        return datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    hour, minute, second = map(int, stamp[7:15].split(":"))
    return datetime(year, _MONTHS.index(stamp[:3]) + 1, int(stamp[4:6]), hour, minute, second, tzinfo=UTC)


def _stamp_of(line: str) -> str:
    found = _RFC3339.match(line) or _TRADITIONAL.match(line)
    return found[0] if found else ""


def is_long_queue_id(queue_id: str) -> bool:
    """Tell enable_long_queue_ids' form."""
    return "z" in queue_id[_SECONDS_AT_LEAST + _MICROSECONDS :]


class Template:
    """A log, cut into what every copy has and what each has of its own. Raises NoLog.

    `texts` are the pieces, each once; `pieces` says which of them follow each other, `ends` where each line ends in it.
    Those in `slots` (their number, what they are, how they stand in the file) are other ones in each copy.
    """

    def __init__(self, path: Path, year: int | None = None) -> None:
        self._year = year or datetime.now(UTC).year
        self.texts: list[str] = []
        self.slots: list[tuple[int, str, str]] = []
        self.pieces = array("I")
        self.ends = array("Q")
        self._numbers: dict[tuple[str, str], int] = {}
        with open_log(path) as log:
            self._queue_ids = {head[1] for line in log if (head := _HEAD.match(line))}
        inodes = (len(one) - _SHORT_MICROSECONDS for one in self._queue_ids if not is_long_queue_id(one))
        self._inode_digits = max(inodes, default=0)
        with open_log(path) as log:
            for line in log:
                self._take(line if line.endswith("\n") else line + "\n")
        # In the order of the file.
        moments = [_moment(text, self._year) for _, kind, text in self.slots if kind == "stamp"]
        if not moments:
            raise NoLog(f"{path}: no line begins with a time stamp")
        if any(later < earlier - _HALF_A_YEAR for earlier, later in pairwise(moments)):
            raise NoLog(f"{path}: the year turns within it, which its stamps do not say; cut it there")
        self._every = max(moments) - min(moments) + timedelta(seconds=GAP_S)

    def _take(self, line: str) -> None:
        stamp = _stamp_of(line)
        done = len(stamp)
        if stamp:
            self._add("stamp", stamp)
            for found in _CHANGED.finditer(line, done):
                kind = found.lastgroup or ""
                if kind == "queue" and found[0] not in self._queue_ids:
                    continue
                # A suffix goes before the @.
                begin = found.start() if kind in ("queue", "taken") else found.end() - 1
                self._add("", line[done:begin])
                self._add("queue" if kind == "taken" else kind, line[begin : found.end()])
                done = found.end()
        self._add("", line[done:])
        self.ends.append(len(self.pieces))

    def _add(self, kind: str, text: str) -> None:
        number = self._numbers.setdefault((kind, text), len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            if kind:
                self.slots.append((number, kind, text))
        self.pieces.append(number)

    def copy(self, number: int, lines: int) -> Iterator[str]:
        """Yield the first so many lines of a copy, some at a time; `number` counts from 0, the file as it is."""
        texts = self.texts.copy()
        if number:
            later = self._every * number
            suffixes = {"id": f".n{number:x}@", "address": f".n{number % PEOPLE:x}@" if number % PEOPLE else "@"}
            for slot, kind, text in self.slots:
                if kind == "stamp":
                    texts[slot] = self._moved(text, later)
                elif kind == "queue":
                    texts[slot] = self._queue_id(text, number, later)
                else:
                    texts[slot] = suffixes[kind]
        begin = 0
        for line in range(0, lines, _LINES_AT_ONCE):
            end = self.ends[min(line + _LINES_AT_ONCE, lines) - 1]
            yield "".join(map(texts.__getitem__, self.pieces[begin:end]))
            begin = end

    def _moved(self, stamp: str, later: timedelta) -> str:
        moment = _moment(stamp, self._year) + later
        if stamp[4] == "-":
            return f"{moment:%Y-%m-%dT%H:%M:%S}"
        return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"

    def _queue_id(self, queue_id: str, number: int, later: timedelta) -> str:
        if not is_long_queue_id(queue_id):
            inode = queue_id[_SHORT_MICROSECONDS:]
            return f"{queue_id[:_SHORT_MICROSECONDS]}{number:X}{inode:0>{self._inode_digits}}"
        # The inode's digits have no z, so the last one is the mark.
        end = queue_id.rindex("z") - _MICROSECONDS
        seconds = 0
        for digit in queue_id[:end]:
            seconds = seconds * len(_DIGITS) + _VALUES[digit]
        seconds += int(later.total_seconds())
        digits = ""
        while seconds or len(digits) < _SECONDS_AT_LEAST:
            seconds, value = divmod(seconds, len(_DIGITS))
            digits = _DIGITS[value] + digits
        return digits + queue_id[end:]


def multiplied(template: Template, lines: int) -> Iterator[str]:
    """Yield so many lines, some at a time, copy after copy; the last one may be cut short."""
    each = len(template.ends)
    for number in range(-(-lines // each)):
        yield from template.copy(number, min(each, lines - number * each))


def write_multiplied(path: Path, lines: int, out: Path) -> None:
    """Write so many lines of a multiplied log into a file."""
    with out.open("w", encoding="latin-1", newline="\n") as file:
        file.writelines(multiplied(Template(path), lines))


def main() -> None:
    """Multiply."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("lines", type=int)
    parser.add_argument("--year", type=int, help="of the first line, where the stamps have none (this year)")
    arguments = parser.parse_args()
    try:
        template = Template(arguments.file, arguments.year)
    except NoLog as error:
        parser.error(str(error))
    sys.stdout.reconfigure(encoding="latin-1", newline="\n")  # type: ignore[union-attr]
    sys.stdout.writelines(multiplied(template, arguments.lines))


if __name__ == "__main__":
    main()
