"""Times that people type: "2 hours ago", "yesterday", "2026-11-20 08:15", ISO 8601 with a zone, a stamp from a log.

Takes a text and the present time, gives the span that it names; ValueError where it names none. Without a zone it is
local time. Reads nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

EXAMPLE: Final = "'2 hours ago', yesterday, 2026-11-20, '2026-11-20 08:15' or 2026-11-20T08:15:00Z"

_UNITS: Final = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
    "month": 30 * 86400,
    "year": 365 * 86400,
}
_DAYS: Final = {"today": 0, "yesterday": -1, "tomorrow": 1}
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

_AGO_RE: Final = re.compile(r"-?(\d{1,9}|an?) ?([a-z]+?)s?( ago)?", re.ASCII)
_CLOCK: Final = r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?"
_ZONE: Final = r" ?(z|utc|gmt|[+-]\d{2}(?::?\d{2})?)?"
_DATE_RE: Final = re.compile(rf"(\d{{4}})-(\d{{1,2}})-(\d{{1,2}})(?:[t ]{_CLOCK}{_ZONE})?", re.ASCII)
_DAY_RE: Final = re.compile(rf"(today|yesterday|tomorrow)(?: {_CLOCK})?", re.ASCII)
_TIME_RE: Final = re.compile(_CLOCK, re.ASCII)
_STAMP_RE: Final = re.compile(rf"([a-z]{{3}}) +(\d{{1,2}})(?: {_CLOCK})?", re.ASCII)
_UNIX_RE: Final = re.compile(r"@(\d{1,12}(?:\.\d{1,6})?)", re.ASCII)


class Span(NamedTuple):
    """What a text names: from `begin` up to, not including, `end` (a day, a minute, a second)."""

    begin: datetime
    end: datetime


def parse_span(text: str, now: datetime) -> Span:
    """Read a time as a person types it; ValueError says what would be one."""
    words = " ".join(text.strip().lower().split())
    try:
        span = _read(words, now)
        if span is not None:
            # Within what every part of the program can compute with, a zone's offset included.
            for time in span:
                time.astimezone(UTC) - timedelta(days=2)
                time.astimezone(UTC) + timedelta(days=2)
            return span
    except (ValueError, OverflowError, OSError):
        pass
    raise ValueError(f"{text!r} is no time; try {EXAMPLE}")


def parse_time(text: str, now: datetime) -> datetime:
    """Give the beginning of what parse_span reads: as with journalctl, a date alone means 00:00 of that day."""
    return parse_span(text, now).begin


def _read(words: str, now: datetime) -> Span | None:
    if words == "now":
        return Span(now, now)
    for pattern, read in ((_DATE_RE, _date), (_DAY_RE, _day), (_TIME_RE, _time), (_STAMP_RE, _stamp)):
        match = pattern.fullmatch(words)
        if match:
            return read(match, now)
    match = _UNIX_RE.fullmatch(words)
    if match:
        return _point(datetime.fromtimestamp(float(match[1]), UTC), timedelta(seconds=1))
    match = _AGO_RE.fullmatch(words)
    if match and (match[3] or words[0].isdigit() or words[0] == "-"):
        unit = _UNITS.get(match[2])
        if unit is not None:
            count = int(match[1]) if match[1].isdigit() else 1
            begin = now - timedelta(seconds=count * unit)
            return Span(begin, begin)
    return None


def _point(begin: datetime, length: timedelta) -> Span:
    return Span(begin, begin + length)


def _clock(groups: tuple[str | None, ...]) -> tuple[timedelta, timedelta]:
    """Give the time since midnight, and how exactly it was said."""
    hour, minute, second, fraction = groups
    if hour is None or minute is None:
        return timedelta(), timedelta(days=1)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        raise ValueError("no time of day")
    since = timedelta(hours=int(hour), minutes=int(minute), seconds=int(second or 0))
    if fraction:
        return since + timedelta(microseconds=int(fraction[:6].ljust(6, "0"))), timedelta(microseconds=1)
    return since, timedelta(seconds=1) if second else timedelta(minutes=1)


def _local(year: int, month: int, day: int, since: timedelta, length: timedelta) -> Span:
    # A day of 23 or 25 hours ends at the next midnight all the same: add first, then take the zone.
    begin = datetime(year, month, day) + since  # noqa: DTZ001 - the local zone is added right here
    end = (begin + length).astimezone()
    if length < timedelta(days=1):
        # In the hour that comes twice both are meant.
        end = max(end, begin.replace(fold=1).astimezone(UTC) + length)
    return Span(begin.astimezone(), end)


def _date(match: re.Match[str], _now: datetime) -> Span:
    year, month, day = (int(part) for part in match.groups()[:3])
    since, length = _clock(match.groups()[3:7])
    zone = match[8]
    if zone is None:
        return _local(year, month, day, since, length)
    begin = datetime(year, month, day, tzinfo=UTC) + since
    if zone[0] in "+-":
        digits = zone[1:].replace(":", "").ljust(4, "0")
        if int(digits[:2]) > 23 or int(digits[2:]) > 59:
            raise ValueError("no zone")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        begin = begin - offset if zone[0] == "+" else begin + offset
    return _point(begin, length)


def _day(match: re.Match[str], now: datetime) -> Span:
    local = now.astimezone() + timedelta(days=_DAYS[match[1]])
    return _local(local.year, local.month, local.day, *_clock(match.groups()[1:]))


def _time(match: re.Match[str], now: datetime) -> Span:
    local = now.astimezone()
    return _local(local.year, local.month, local.day, *_clock(match.groups()))


def _stamp(match: re.Match[str], now: datetime) -> Span | None:
    """Read `Nov 23 04:13:11` as it stands in a log: the last one that is not in the future."""
    if match[1] not in _MONTHS:
        return None
    month, day = _MONTHS.index(match[1]) + 1, int(match[2])
    clock = _clock(match.groups()[2:])
    for year in range(now.astimezone().year, now.astimezone().year - 9, -1):
        try:
            span = _local(year, month, day, *clock)
        except ValueError:
            # 29 February
            continue
        if span.begin <= now + timedelta(days=1):
            return span
    return None
