"""Stamps of log lines: years, leap days, repeated and missing hours, full stamps."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.sources.stamps import (
    MONTHS,
    Stamp,
    StampReader,
    Turns,
    first_year,
    scan_turns,
    year_step,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe"), timezone(timedelta(hours=-9.5))]


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def traditional(moment: datetime, pad: str = " ") -> str:
    return f"{MONTHS[moment.month - 1]} {moment.day:{pad}>2} {moment:%H:%M:%S} "


def times(stamps: list[str], zone: tzinfo | None = UTC, year: int = 2026, last: float | None = None) -> list[float]:
    reader = StampReader(zone, lambda _: year, last)
    found = []
    for stamp in stamps:
        assert reader.read(stamp + " mx x: y") == len(stamp) + 1, stamp
        found.append(reader.time)
    return found


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("Nov  3 04:13:11", "2026-11-03T04:13:11"),
        ("Nov 03 04:13:11", "2026-11-03T04:13:11"),
        ("Nov 3 04:13:11", "2026-11-03T04:13:11"),
        ("<22>Nov  3 04:13:11", "2026-11-03T04:13:11"),
        ("Nov  3 04:13:11.25", "2026-11-03T04:13:11.25"),
        ("2026-11-23T04:13:11.123456+01:00", "2026-11-23T03:13:11.123456"),
        ("2026-11-23T04:13:11.123456-09:30", "2026-11-23T13:43:11.123456"),
        ("2026-11-23T04:13:11.123456789Z", "2026-11-23T04:13:11.123456"),
        ("2026-11-23T04:13:11.5Z", "2026-11-23T04:13:11.5"),
        ("2026-11-23T04:13:11Z", "2026-11-23T04:13:11"),
        ("2026-11-23T04:13:11+0100", "2026-11-23T03:13:11"),
        ("2026-11-23T04:13:11-23:59", "2026-11-24T04:12:11"),
        ("<22>2026-11-23T04:13:11+01:00", "2026-11-23T03:13:11"),
        ("2026-11-23 04:13:11", "2026-11-23T04:13:11"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00"),
    ],
)
def test_shape(stamp: str, moment: str) -> None:
    assert times([stamp, stamp, stamp]) == [utc(moment)] * 3


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "Nov 23 04:13:11",
        "Nov 31 04:13:11 mx x: y",
        "Nov  0 04:13:11 mx x: y",
        "Nov 23 24:13:11 mx x: y",
        "nov 23 04:13:11 mx x: y",
        "2026-02-29T04:13:11Z mx x: y",
        "2026-13-01T04:13:11Z mx x: y",
        "0001-01-01T00:00:00Z mx x: y",
        "9999-12-31T23:59:59Z mx x: y",
        "2026-11-23T04:13:11.Z mx x: y",
        "2026-11-23T04:13:11+99:99 mx x: y",
        "2026-11-23T04:13:11+24:00 mx x: y",
        "2026-11-23T04:13:11-2360 mx x: y",
        "<22>x",
        "-- MARK --",
    ],
)
def test_no_stamp_leaves_the_time(line: str) -> None:
    reader = StampReader(UTC, lambda _: 2026, 5.0)
    assert reader.read(line) == -1
    assert reader.time == 5.0


def test_year_turns_and_disorder_around_it() -> None:
    stamps = ["Dec 31 23:59:59", "Jan  1 00:00:01", "Dec 31 23:59:58", "Jan  1 00:00:02", "Mar  1 00:00:00"]
    assert times(stamps, year=2025) == [
        utc("2025-12-31T23:59:59"),
        utc("2026-01-01T00:00:01"),
        utc("2025-12-31T23:59:58"),
        utc("2026-01-01T00:00:02"),
        utc("2026-03-01T00:00:00"),
    ]


@pytest.mark.parametrize(
    ("date", "before", "step"),
    [((1, 1), (2, 9), 0), ((1, 1), (2, 11), 1), ((11, 21), (1, 1), 0), ((11, 22), (1, 1), -1), ((6, 1), (5, 1), 0)],
)
def test_year_step(date: tuple[int, int], before: tuple[int, int], step: int) -> None:
    assert year_step(*date, *before) == step


def test_leap_day() -> None:
    assert times(["Feb 28 23:59:59", "Feb 29 00:00:00", "Mar  1 00:00:00"], year=2024) == [
        utc("2024-02-28T23:59:59"),
        utc("2024-02-29T00:00:00"),
        utc("2024-03-01T00:00:00"),
    ]


def test_leap_day_in_a_year_given_wrongly_is_the_day_after_the_28th() -> None:
    assert times(["Feb 29 10:00:00", "Mar  1 11:00:00"], year=2026) == [
        utc("2026-03-01T10:00:00"),
        utc("2026-03-01T11:00:00"),
    ]


def test_hour_that_the_clock_goes_through_twice() -> None:
    stamps = ["Oct 25 01:59:59", "Oct 25 02:30:00", "Oct 25 02:29:58", "Oct 25 02:59:59", "Oct 25 02:00:00"]
    stamps += ["Oct 25 02:59:58", "Oct 25 02:00:01", "Oct 25 02:40:00", "Oct 25 02:39:00", "Oct 25 03:00:00"]
    assert times(stamps, BERLIN) == [
        utc("2026-10-24T23:59:59"),
        utc("2026-10-25T00:30:00"),
        utc("2026-10-25T00:29:58"),  # disorder
        utc("2026-10-25T00:59:59"),
        utc("2026-10-25T01:00:00"),  # the second pass
        utc("2026-10-25T00:59:58"),  # disorder at the seam
        utc("2026-10-25T01:00:01"),
        utc("2026-10-25T01:40:00"),  # a quiet half hour within the second pass
        utc("2026-10-25T01:39:00"),
        utc("2026-10-25T02:00:00"),
    ]


def test_hour_that_the_clock_leaves_out_is_the_instant_of_the_change() -> None:
    stamps = ["Mar 29 01:59:59", "Mar 29 02:00:00", "Mar 29 02:30:00", "Mar 29 02:59:59", "Mar 29 03:00:00"]
    change = utc("2026-03-29T01:00:00")
    assert times(stamps, BERLIN) == [change - 1, change, change, change, change]


def test_traditional_after_full_goes_on_from_its_time() -> None:
    stamps = ["Nov 23 10:00:00", "2019-12-31T23:59:59.5+01:00", "Jan  1 00:00:00", "Nov  1 10:00:00"]
    assert times(stamps, BERLIN) == [
        utc("2026-11-23T09:00:00"),
        utc("2019-12-31T22:59:59.5"),
        utc("2019-12-31T23:00:00"),
        utc("2020-11-01T09:00:00"),
    ]


def test_stamps_in_wild_disorder_never_raise() -> None:
    stamps = ["2399-12-31T00:00:00Z"] + ["Jan  1 00:00:00", "Jun  1 00:00:00", "Dec  1 00:00:00"] * 7000
    assert len(times(stamps)) == len(stamps)
    down = ["Jan  1 00:00:00", "Dec 31 00:00:00"] + [f"{month} 01 00:00:00" for month in reversed(MONTHS)]
    assert len(times(down * 60, BERLIN)) == 60 * len(down)


moments = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(microsecond=0))  # noqa: DTZ001


@given(
    zone=st.sampled_from(ZONES),
    begin=st.one_of(
        moments,
        st.sampled_from(
            [
                datetime(2026, 3, 29, 0, 30),  # noqa: DTZ001
                datetime(2026, 10, 25, 0, 30),  # noqa: DTZ001
                datetime(2026, 10, 3, 15),  # noqa: DTZ001
                datetime(2026, 4, 4, 14),  # noqa: DTZ001
            ]
        ),
    ),
    steps=st.lists(st.integers(0, 2000), max_size=40),
)
def test_times_in_order_come_back_except_in_a_repeated_hour_with_a_long_pause(
    zone: tzinfo, begin: datetime, steps: list[int]
) -> None:
    instants = [begin.replace(tzinfo=UTC)]
    for step in steps:
        instants.append(instants[-1] + timedelta(seconds=step))
    local = [instant.astimezone(zone) for instant in instants]
    found = times([traditional(moment)[:-1] for moment in local], zone, local[0].year)
    for moment, instant in zip(local, found, strict=True):
        if moment.replace(fold=0).timestamp() == moment.replace(fold=1).timestamp():
            assert instant == moment.timestamp()
        else:
            assert instant in {moment.replace(fold=fold).timestamp() for fold in (0, 1)}


def test_every_second_of_the_changes_comes_back() -> None:
    for zone in ZONES:
        for begin in (
            datetime(2026, 3, 29, tzinfo=UTC),
            datetime(2026, 10, 25, tzinfo=UTC),
            datetime(2026, 11, 1, 4, tzinfo=UTC),
            datetime(2026, 4, 4, 14, tzinfo=UTC),
        ):
            local = [(begin + timedelta(seconds=n)).astimezone(zone) for n in range(0, 4 * 3600, 7)]
            found = times([traditional(moment, "0")[:-1] for moment in local], zone)
            assert found == [moment.timestamp() for moment in local]


def test_system_zone_is_read_as_a_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [
        f"{day} {hour:02}:{minute:02}:00" for day in ("Mar 29", "Oct 25") for hour in range(5) for minute in (0, 59)
    ]
    stamps[-4:-4] = ["Oct 25 02:00:00", "Oct 25 02:30:00"]
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert times(stamps, None) == times(stamps, BERLIN)
    finally:
        monkeypatch.undo()
        time.tzset()


lines = st.one_of(
    moments.map(traditional),
    moments.map(lambda moment: traditional(moment)[:-1] + ".250 "),
    moments.map(lambda moment: f"{moment.isoformat()}.123456+01:00 "),
    moments.map(lambda moment: f"{moment.isoformat()} "),
    st.sampled_from(
        ["Oct 25 02:59:59 ", "Oct 25 02:00:00 ", "Oct 25 02:30:00 ", "Feb 29 01:00:00 ", "Mar 29 02:10:00 "]
    ),
    st.sampled_from(["Dec 31 23:59:60 ", "Jan  1 00:00:00 ", "2026-10-25T02:30:00.500000+02:00 ", "no stamp "]),
)


@given(st.sampled_from(ZONES), st.lists(lines, max_size=30))
def test_a_reader_needs_nothing_but_the_last_time(zone: tzinfo, texts: list[str]) -> None:
    whole = StampReader(zone, lambda _: 2025)
    last: float | None = None
    for text in texts:
        begin = whole.read(text)
        again = StampReader(zone, lambda _: 2025, last)
        assert (again.read(text), again.time) == (begin, whole.time)
        last = whole.time


# ---- the first year


def log(*stamps: str) -> bytes:
    return "".join(f"{stamp} mx postfix/smtpd[1]: text\n" for stamp in stamps).encode()


def year_of(data: bytes, reference: str) -> int:
    return first_year(scan_turns([data]), utc(reference), UTC)


def test_last_line_is_not_after_the_reference() -> None:
    data = log("Nov  1 00:00:00", "Nov 23 04:00:00")
    assert year_of(data, "2026-11-23T04:00:00") == 2026
    assert year_of(data, "2026-11-22T05:00:00") == 2026  # a day's slack
    assert year_of(data, "2026-11-22T03:00:00") == 2025


def test_turns_are_counted_over_years() -> None:
    data = log("Oct  1 00:00:00", "Dec 31 00:00:00", "Jan  1 00:00:00", "Nov  1 00:00:00", "Jan  5 00:00:00")
    assert scan_turns([data]).turns == 2
    assert year_of(data, "2026-02-01T00:00:00") == 2024
    assert year_of(data, "2026-01-01T00:00:00") == 2023


def test_disorder_at_the_turn_counts_once() -> None:
    data = log("Dec 31 23:59:59", "Jan  1 00:00:00", "Dec 31 23:59:59", "Jan  1 00:00:00", "Jan  2 00:00:00")
    assert year_of(data, "2026-01-02T00:00:00") == 2025


def test_a_leap_day_in_the_file_tells_the_year() -> None:
    assert year_of(log("Feb 20 00:00:00", "Feb 29 00:00:00", "Mar  3 00:00:00"), "2026-11-23T00:00:00") == 2024
    assert year_of(log("Feb 29 00:00:00"), "2024-02-29T01:00:00") == 2024
    assert year_of(log("Feb 29 00:00:00"), "2024-02-27T00:00:00") == 2020
    assert year_of(log("Nov 20 00:00:00", "Feb 29 00:00:00", "Mar  3 00:00:00"), "2026-11-23T00:00:00") == 2023


def test_a_full_stamp_further_down_is_the_better_reference() -> None:
    data = log("Dec 30 00:00:00", "Jan  2 00:00:00", "2021-01-02T01:00:00.000000+01:00", "Dec 30 00:00:00")
    assert year_of(data, "2026-11-23T00:00:00") == 2020


def test_foreign_lines_and_priorities_do_not_disturb_the_search() -> None:
    data = b"junk\n\n" + log("<22>Dec 30 00:00:00") + b"junk\n\n-- x --\n" + log("<22>Jan  2 00:00:00") + b"\nmore\n"
    found = scan_turns([data])
    assert (found.first, found.last, found.turns) == (Stamp(12, 30, 0, 0, 0), Stamp(1, 2, 0, 0, 0), 1)


def test_without_stamps_there_are_no_turns() -> None:
    assert scan_turns([]) == scan_turns([b"x\ny\n"]) == Turns()


@given(st.lists(moments, min_size=1, max_size=40), st.integers(1, 5))
def test_search_and_reading_agree(found_moments: list[datetime], size: int) -> None:
    texts = [log(traditional(moment)[:-1]) for moment in found_moments]
    blocks = [b"".join(texts[n : n + size]) for n in range(0, len(texts), size)]
    turns = scan_turns(blocks).turns
    # Without leap days (which are clamped in common years) each line's year is the first one's plus the turns.
    years = [
        datetime.fromtimestamp(time, UTC).year for time in times([text[:15].decode() for text in texts], UTC, 2024)
    ]
    if not any(b"Feb 29" in text for text in texts):
        assert years[-1] == 2024 + turns
