"""Reads the time stamps of log lines; finds the year, the hour's offset and the instant that a stamp leaves open.

Takes lines of text and raw blocks; gives UNIX seconds. Pure: no clock, no files; references are handed in.

Theory. A traditional stamp (`Nov 23 04:13:11`) has no year and no zone. Its meaning is a function of the stamp and of
the time of the line before it, of nothing else: so reading can go on anywhere with that one number (`last_time`), and
the result is that of an uninterrupted reading.

- Year: by the calendar days of the two lines, both counted as in a leap year. More than 40 days back: a new year has
  begun. More than 325 days ahead: the old year once more (31 December after 1 January: disorder). Else the same year.
- First line: the latest year for which the file's last line is not after the reference (the file's modification time,
  or now), given the year turns in between, which `scan_turns` finds by looking for changes of the month only; a line
  with a full stamp further down is a better reference still. 29 February must fall into a leap year.
- Hour that the clocks go through twice: its first pass, until time would go back by more than 5 minutes; then its
  second pass. From within the second pass, only seconds lead back into the first (disorder at the seam).
- Hour that the clocks leave out: all of its stamps are the instant of the change, so time does not go back behind it.
"""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

NEW_YEAR_DAYS = 40
OLD_YEAR_DAYS = 325
REPEATED_HOUR_SLACK_S = 300.0  # disorder is a matter of seconds; a step back by more is the clock's
SEAM_SLACK_S = 5.0
FIRST_YEAR, LAST_YEAR = 1970, 9000
REFERENCE_SLACK = timedelta(days=1)  # clocks and zones differ

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name: number for number, name in enumerate(MONTHS, 1)}
_MONTH_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE = tuple(sum(_MONTH_DAYS[:month]) for month in range(13))

# RFC 3164 §4.1.2, with what is seen in the wild: zero padded or unpadded days, fractions of a second.
_CLOCK = "([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
_FRACTION = "(?:[.,]([0-9]{1,9}))?"
_TRADITIONAL = f"({'|'.join(MONTHS)}) ( ?[1-9]|0[1-9]|[12][0-9]|3[01]) {_CLOCK}"
# RFC 3339 §5.6; the offset without colon is `journalctl -o short-iso`'s, without any offset it is local time.
_FULL = f"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})[Tt ]{_CLOCK}"
_OFFSET = "([Zz]|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"

# What stands before some stamps: `<22>`, or the words that a template makes of it. BSD and BusyBox have them elsewhere.
FACILITY_AND_LEVEL = (
    "(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|ntp|security|console|local[0-7])"
    r"\.(?:emerg|panic|alert|crit|err|error|warn|warning|notice|info|debug)"
)
_BEFORE = f"(?:<[0-9]{{1,3}}>|{FACILITY_AND_LEVEL}:? +)?"

# `journalctl -o short-full`: `Mon 2026-11-23 04:13:11 CET`; the zone's name is one of the host where it ran, a number
# where the zone has none. OpenWrt's `logread`: `Mon Nov 23 04:13:11 2026 mail.info`.
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) "
_ZONE = "([A-Za-z]{1,6}|[+-][0-9]{2}(?:[0-9]{2})?)"

_TRADITIONAL_STAMP = re.compile(f"{_TRADITIONAL}{_FRACTION} ")
_FULL_STAMP = re.compile(f"({_FULL}){_FRACTION}{_OFFSET} ")
_WEEKDAY_STAMP = re.compile(f"{_WEEKDAY}{_FULL}{_FRACTION} {_ZONE} ")
_LOGREAD_STAMP = re.compile(f"{_WEEKDAY}{_TRADITIONAL} ([0-9]{{4}}) (?:{FACILITY_AND_LEVEL} )?")
_UNIX_STAMP = re.compile(r"([0-9]{9,10})\.([0-9]{6}) ")  # `journalctl -o short-unix`
_PRIORITY = re.compile(f"{_BEFORE}(1 (?=[0-9]{{4}}-))?")
PRIORITY_BYTES = _BEFORE.encode()

_NEVER = "\n"  # no line begins with it
_SECONDS = {f":{m:02}:{s:02}": 60 * m + s for m in range(60) for s in range(60)}


class Stamp(NamedTuple):
    """A traditional stamp; `second` may be 60."""

    month: int
    day: int
    hour: int
    minute: int
    second: int


def _day_of_year(month: int, day: int) -> int:
    return _DAYS_BEFORE[month] + day


def year_step(month: int, day: int, month_before: int, day_before: int) -> int:
    """Say by how many years (-1, 0, 1) a stamp's year differs from that of the line before it.

    >>> year_step(1, 1, 12, 31), year_step(12, 31, 1, 1), year_step(3, 1, 2, 28), year_step(2, 27, 3, 1)
    (1, -1, 0, 0)
    """
    days = _day_of_year(month, day) - _day_of_year(month_before, day_before)
    return 1 if days < -NEW_YEAR_DAYS else -1 if days > OLD_YEAR_DAYS else 0


def local_instant(moment: datetime, zone: tzinfo | None, previous: float | None) -> float:
    """Give the UNIX time of a naive local `moment`, in `zone` or the system's; `previous` settles the repeated hour."""
    first, second = (moment.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first == second:
        return first
    if first > second:
        return _change_between(second, first, zone)
    if previous is None:
        return first
    if datetime.fromtimestamp(previous, zone).fold or previous >= second:
        return first if previous - first <= SEAM_SLACK_S else second
    return second if previous - first > REPEATED_HOUR_SLACK_S else first


def _change_between(low: float, high: float, zone: tzinfo | None) -> float:
    """Find the instant of a zone's change; `low` is before it, `high` is not."""

    def offset(time: float) -> timedelta | None:
        return datetime.fromtimestamp(time, UTC).astimezone(zone).utcoffset()

    before = offset(low)
    while high - low > 1:
        middle = (low + high) // 2
        if offset(middle) == before:
            low = middle
        else:
            high = middle
    return high


def _is_date(year: int, month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= _MONTH_DAYS[month] and (month != 2 or day < 29 or isleap(year))


def _stamp_instant(year: int, stamp: Stamp, zone: tzinfo | None, previous: float | None) -> float:
    month, day, hour, minute, second = stamp
    year = min(max(year, FIRST_YEAR), LAST_YEAR)  # stamps in wild disorder can lead anywhere
    if not _is_date(year, month, day):
        month, day = 3, 1  # 29 February in a year that was given wrongly: the day after the 28th
    # A leap second is the last one of its minute once more, and one more.
    moment = datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 (the zone comes next)
    return local_instant(moment, zone, previous) + (second == 60)


def _microseconds(fraction: str | None) -> int:
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


class StampReader:
    """Reads the stamps of one file's lines in order.

    `time` is that of the last stamp read (or `last_time`, or 0.0). `prefix` is a beginning of a line that would give
    exactly this `time` again, so that a caller can compare instead of asking; it may be one that no line has.
    `first_year` is asked at most once: for the first traditional stamp when no time is known before it.
    """

    def __init__(self, zone: tzinfo | None, first_year: Callable[[Stamp], int], last_time: float | None = None) -> None:
        self.time = last_time or 0.0
        self.prefix = _NEVER
        self._zone = zone
        self._first_year = first_year
        # Traditional: an hour that the clocks go through once, and when it began.
        self._hour = _NEVER
        self._hour_began = 0
        # RFC 3339: an hour and an offset (with the blank behind it), and when it began.
        self._full_hour = _NEVER
        self._offset = _NEVER
        self._full_hour_began = 0

    def read(self, line: str) -> int:
        """Read the stamp at the beginning of a line; return where the rest begins, or -1 when there is no stamp."""
        if line[:9] == self._hour:
            seconds = _SECONDS.get(line[9:15])
            if seconds is not None and line[15:16] == " ":
                self.time = float(self._hour_began + seconds)
                self.prefix = line[:16]
                return 16
        elif line[:13] == self._full_hour and (seconds := _SECONDS.get(line[13:19])) is not None:
            seconds += self._full_hour_began
            if line.startswith(self._offset, 26) and line[19] == ".":
                fraction = line[20:26]
                if fraction.isdigit() and fraction.isascii():
                    self.time = (seconds * 1_000_000 + int(fraction)) / 1e6
                    self.prefix = _NEVER
                    return 26 + len(self._offset)
            elif line.startswith(self._offset, 19):
                self.time = float(seconds)
                end = 19 + len(self._offset)
                self.prefix = line[:end]
                return end
        return self._read_any(line)

    def _read_any(self, line: str) -> int:
        priority = _PRIORITY.match(line)
        assert priority is not None  # all of it is optional
        begin = priority.end()
        if match := _TRADITIONAL_STAMP.match(line, begin):
            known = self._read_traditional(match)
        elif match := _FULL_STAMP.match(line, begin):
            known = self._read_full(match)
        elif match := _WEEKDAY_STAMP.match(line):
            known = self._read_weekday(match, *match.groups())
        elif match := _LOGREAD_STAMP.match(line):
            month, day, hour, minute, second, year = match.groups()
            known = self._read_weekday(match, year, str(_MONTH[month]), day, hour, minute, second, None, "")
        elif match := _UNIX_STAMP.match(line):
            self.time = int(match[1] + match[2]) / 1e6
            self.prefix = match[0]
            known = True
        else:
            return -1
        if priority[1]:
            self.prefix = _NEVER  # what stands behind such a stamp has another form
        return match.end() if known else -1

    def _read_traditional(self, match: re.Match[str]) -> bool:
        month_name, day, hour, minute, second, fraction = match.groups()
        stamp = Stamp(_MONTH[month_name], int(day), int(hour), int(minute), int(second))
        if stamp.day > _MONTH_DAYS[stamp.month]:
            return False
        text = match.string[match.start(1) : match.end(3)]
        if text == self._hour and stamp.second < 60:
            whole = self._hour_began + 60 * stamp.minute + stamp.second
        else:
            year = self._year(stamp)
            whole = int(_stamp_instant(year, stamp, self._zone, self.time or None))
            self._hour = _NEVER
            if stamp.second < 60:
                self._remember_hour(year, stamp, text, whole)
        self.time = (whole * 1_000_000 + _microseconds(fraction)) / 1e6
        self._full_hour = self.prefix = _NEVER
        if not fraction and stamp.second < 60:
            self.prefix = match.string[: match.end()]
        return True

    def _year(self, stamp: Stamp) -> int:
        if not self.time:
            return self._first_year(stamp)
        before = datetime.fromtimestamp(self.time, self._zone)
        return before.year + year_step(stamp.month, stamp.day, before.month, before.day)

    def _remember_hour(self, year: int, stamp: Stamp, text: str, whole: int) -> None:
        """Keep when this hour began, if all of it is one pass of the clock whatever was before."""
        began, began_late, ended, ended_late = (
            _stamp_instant(year, stamp._replace(minute=m, second=m), self._zone, previous)
            for m in (0, 59)
            for previous in (None, whole + 86400.0)
        )
        if began == began_late and ended == ended_late and ended - began == 3599:
            self._hour = text
            self._hour_began = int(began)

    def _read_full(self, match: re.Match[str]) -> bool:
        text, year, month, day, hour, minute, second, fraction, offset = match.groups()
        if not (_is_date(int(year), int(month), int(day)) and FIRST_YEAR <= int(year) <= LAST_YEAR):
            return False
        date = (int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59))
        if offset is None:
            whole = local_instant(datetime(*date), self._zone, self.time or None)  # noqa: DTZ001
        else:
            whole = datetime(*date, tzinfo=UTC).timestamp() - _offset_seconds(offset)
        began = int(whole) + (second == "60")
        self.time = (began * 1_000_000 + _microseconds(fraction)) / 1e6
        self._hour = self._full_hour = _NEVER
        self.prefix = match.string[: match.end()]
        if match.start() == 0 and offset is not None and second != "60":
            self._full_hour, self._offset = text[:13], f"{offset} "
            self._full_hour_began = began - 60 * int(minute) - int(second)
        return True

    def _read_weekday(self, match: re.Match[str], *groups: str | None) -> bool:
        """Read a stamp with weekday and year; the zone's name tells the two passes of a repeated hour apart."""
        *numbers, fraction, name = groups
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        if not (_is_date(year, month, day) and FIRST_YEAR <= year <= LAST_YEAR):
            return False
        moment = datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 (the zone comes next)
        whole = int(_named_instant(moment, name or "", self._zone, self.time or None)) + (second == 60)
        self.time = (whole * 1_000_000 + _microseconds(fraction)) / 1e6
        self._hour = self._full_hour = _NEVER
        self.prefix = match[0]
        return True


def _named_instant(moment: datetime, name: str, zone: tzinfo | None, previous: float | None) -> float:
    """Give the UNIX time of `moment` in the zone called `name`: UTC, an offset, or one of `zone`'s two names."""
    if name in ("UTC", "GMT", "Z"):
        return moment.replace(tzinfo=UTC).timestamp()
    if name.startswith(("+", "-")):
        return moment.replace(tzinfo=UTC).timestamp() - _offset_seconds(name.ljust(5, "0"))
    for fold in (0, 1):
        local = moment.replace(tzinfo=zone, fold=fold) if zone else moment.replace(fold=fold).astimezone()
        if local.tzname() == name:
            return local.timestamp()
    return local_instant(moment, zone, previous)


def _offset_seconds(offset: str) -> int:
    if offset in "Zz":
        return 0
    seconds = 3600 * int(offset[1:3]) + 60 * int(offset[-2:])
    return -seconds if offset[0] == "-" else seconds


# ---- the year of a file's first line


@dataclass
class Turns:
    """The year turns of a file: `turns` years lie between its first traditional stamp and its last.

    `leap_turns`: after how many turns a 29 February stands. `anchor`: the time of the first full stamp behind a
    traditional one, where the search ended.
    """

    first: Stamp | None = None
    last: Stamp | None = None
    turns: int = 0
    leap_turns: set[int] = field(default_factory=set)
    anchor: str | None = None


_LINE_STAMP = re.compile(rb"\n" + PRIORITY_BYTES + _TRADITIONAL.encode() + rb"[ .,]")
_LEAP_DAY = re.compile(rb"\n" + PRIORITY_BYTES + rb"Feb 29 [0-2][0-9]:")
_ANCHOR = re.compile(rb"\n" + PRIORITY_BYTES + rb"(?:1 )?(" + f"{_FULL}{_FRACTION}{_OFFSET} ".encode() + rb")")


def _other_stamps(month: str) -> re.Pattern[bytes]:
    """Match the beginning of a line with a full stamp or with a traditional one of another month.

    The look-ahead comes first because it is what most lines fail at.
    """
    full = rb"(?:1 )?[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
    others = "|".join(name for name in MONTHS if name != month).encode()
    some = rb"(?:" + others + rb") [ 0-3]?[0-9] [0-2][0-9]:"
    same = rb"(?!" + month.encode() + rb" )" if month else b""
    return re.compile(rb"\n" + same + PRIORITY_BYTES + rb"(?:" + full + rb"|" + some + rb")")


_OTHER = (_other_stamps(""), *(_other_stamps(name) for name in MONTHS))


def _stamp_at(data: bytes, at: int) -> Stamp | None:
    match = _LINE_STAMP.match(data, at)
    if match is None:
        return None
    stamp = Stamp(_MONTH[match[1].decode()], *(int(match[group]) for group in range(2, 6)))
    return stamp if stamp.day <= _MONTH_DAYS[stamp.month] else None


def _last_stamp(data: bytes, start: int, end: int) -> Stamp | None:
    while (end := data.rfind(b"\n", start, end)) >= 0:
        if stamp := _stamp_at(data, end):
            return stamp
    return None


def has_stamp(head: bytes) -> bool:
    """Say whether any line of `head` begins with a stamp."""
    return _OTHER[0].search(b"\n" + head.removeprefix(b"\xef\xbb\xbf")) is not None


def scan_turns(blocks: Iterable[bytes]) -> Turns:
    """Find the year turns in blocks of whole lines, by the same rule as `StampReader`, up to the first full stamp.

    A year can turn only where the month changes, so only such lines are looked at.
    """
    found = Turns()
    for block in blocks:
        data = b"\n" + block
        at = 0
        while True:
            month = found.last.month if found.last else 0
            match = _OTHER[month].search(data, at)
            end = match.start() if match else len(data)
            found.last = _last_stamp(data, at, end) or found.last
            if month == 2 and _LEAP_DAY.search(data, at, end):
                found.leap_turns.add(found.turns)
            if match is None:
                break
            if anchor := _ANCHOR.match(data, end):
                if found.last:
                    found.anchor = anchor[1].decode()
                return found
            if stamp := _stamp_at(data, end):
                if found.last:
                    found.turns += year_step(stamp.month, stamp.day, found.last.month, found.last.day)
                found.first = found.first or stamp
                found.last = stamp
                if (stamp.month, stamp.day) == (2, 29):
                    found.leap_turns.add(found.turns)
            at = end + 1
    return found


def first_year(found: Turns, reference: float, zone: tzinfo | None) -> int:
    """Give the latest year of the first stamp that puts the last one not after `reference` (UNIX time) and a day."""
    if found.anchor:
        reader = StampReader(zone, lambda _: 1970)
        if reader.read(found.anchor) > 0:
            reference = reader.time
    latest = (datetime.fromtimestamp(reference, zone) + REFERENCE_SLACK).replace(tzinfo=None)
    last = found.last or Stamp(1, 1, 0, 0, 0)
    newest = latest.year
    if last > (latest.month, latest.day, latest.hour, latest.minute, latest.second):
        newest -= 1
    year = newest - found.turns
    for candidate in range(year, year - 9, -1):  # two leap years may be eight years apart
        if all(isleap(candidate + turn) for turn in found.leap_turns):
            return candidate
    return year
