"""What may reach a terminal, how columns are counted, and the times that people type."""

from __future__ import annotations

import json
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.cli.subjects import readable
from journal_postfix.cli.text import cut, escape, json_line, padded, span_text, table, utc_time, width, wrap
from journal_postfix.cli.times import parse_span, parse_time
from journal_postfix.store.terms import is_domain, like_text, looks_like_queue_id, network

ANY_TEXT = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Grüße, 日本", "Grüße, 日本"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\tc\rd", r"a\x0ab\x09c\x0dd"),
        ("\x9b2J\x7f", r"\x9b2J\x7f"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\u200b\u2066\ufeff", r"\u200b\u2066\ufeff"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\U000e0041", r"\U000e0041"),
        ("\udcff", r"\udcff"),
        ("a\\b", "a\\b"),
        ("a\\x1b", "a\\\\x1b"),
        ("a\\\x1b", "a\\\\\\x1b"),
        ("\\\\", "\\\\\\"),
        ("wide\u3000blank", "wide\u3000blank"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


def _unescaped(text: str) -> str:
    """Read what escape wrote, by its rules alone."""
    result, place = "", 0
    digits = {"x": 2, "u": 4, "U": 8}
    while place < len(text):
        following = text[place + 1 : place + 2]
        if text[place] != "\\" or following not in ("\\", *digits) or not following:
            result += text[place]
            place += 1
        elif following == "\\":
            result += "\\"
            place += 2
        else:
            count = digits[following]
            result += chr(int(text[place + 2 : place + 2 + count], 16))
            place += 2 + count
    return result


@given(ANY_TEXT)
def test_escaped_text_is_harmless_and_says_what_it_was(text: str) -> None:
    shown = escape(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co") for char in shown)
    assert _unescaped(shown) == text


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.integers() | st.none() | st.lists(ANY_TEXT)))
def test_json_lines_are_harmless_and_say_what_they_were(values: dict[str, object]) -> None:
    shown = json_line(values)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    assert json.loads(shown) == json.loads(json.dumps(values))


def test_json_times_are_utc() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert utc_time(noon.astimezone(None)) == "2026-11-20T12:00:00.000000Z"
    assert json_line({"times": [{"time": noon}]}) == '{"times": [{"time": "2026-11-20T12:00:00.000000Z"}]}'


def test_columns() -> None:
    assert width("abc") == 3
    assert width("日本") == 4
    assert width("e\u0301") == 1
    assert padded("日", 4) == "日  "
    assert cut("abcdef", None) == "abcdef"
    assert cut("abcdef", 6) == "abcdef"
    assert cut("日本語", 5) == "日本…"
    assert table([("1", "日本", "x" * 30)], ("n", "name", "rest"), 30) == [
        "n  name  rest",
        "1  日本  " + "x" * 20 + "…",
    ]


@given(st.text(st.sampled_from("ab 日"), max_size=200), st.integers(20, 60))
def test_wrapped_lines_fit_and_lose_nothing(text: str, columns: int) -> None:
    lines = wrap(text, columns)
    assert all(width(part) <= columns for part in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap(text, None, "  ") == ["  " + text]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.07, "0.07 s"), (59.6, "60 s"), (60, "1 min"), (3661, "1 h 1 min"), (86400 * 40, "40 d")],
)
def test_span_text(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


# Times.

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)


@pytest.fixture
def berlin() -> Iterator[None]:
    """Central European time, without a zone database."""
    import os

    before = os.environ["TZ"]
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    yield
    os.environ["TZ"] = before
    time.tzset()


TIMES = [
    ("now", "2026-11-20T12:30:00"),
    ("2 hours ago", "2026-11-20T10:30:00"),
    ("1 hour ago", "2026-11-20T11:30:00"),
    ("an hour ago", "2026-11-20T11:30:00"),
    ("2h", "2026-11-20T10:30:00"),
    ("-2h", "2026-11-20T10:30:00"),
    ("90 min ago", "2026-11-20T11:00:00"),
    ("3 Days ago", "2026-11-17T12:30:00"),
    ("2 weeks ago", "2026-11-06T12:30:00"),
    ("today", "2026-11-20T00:00:00"),
    ("yesterday", "2026-11-19T00:00:00"),
    ("yesterday 08:15", "2026-11-19T08:15:00"),
    ("08:15", "2026-11-20T08:15:00"),
    ("2026-11-20", "2026-11-20T00:00:00"),
    ("2026-11-20 08:15", "2026-11-20T08:15:00"),
    ("2026-11-20T08:15:30", "2026-11-20T08:15:30"),
    ("2026-11-20T08:15:30.25Z", "2026-11-20T08:15:30.250000"),
    ("2026-11-20T08:15:30+01:00", "2026-11-20T07:15:30"),
    ("2026-11-20 08:15 -0530", "2026-11-20T13:45:00"),
    ("Nov 20 08:15:30", "2026-11-20T08:15:30"),
    ("Dec  3 08:15:30", "2025-12-03T08:15:30"),
    ("Feb 29 08:15:30", "2024-02-29T08:15:30"),
    ("@1763871205", "2025-11-23T04:13:25"),
]


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_times(text: str, expected: str) -> None:
    assert parse_time(text, NOW) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "hours ago",
        "2 fortnights ago",
        "2026-13-01",
        "2026-02-30",
        "2026-11-20 25:00",
        "2026-11-20 08:15+99:00",
        "20.11.2026",
        "an",
        "a",
        "5",
        "999999999 years ago",
        "0001-01-01",
        "9999-12-31",
        "@999999999999",
        "Foo 20 08:15:30",
        "Feb 30",
        "２h",
    ],
)
def test_what_is_no_time_is_answered_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="2 hours ago"):
        parse_time(text, NOW)


@given(ANY_TEXT)
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        span = parse_span(text, NOW)
    except ValueError:
        return
    assert span.begin <= span.end
    assert span.begin.tzinfo is not None


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("2026-11-20", timedelta(days=1)),
        ("2026-11-20 08:15", timedelta(minutes=1)),
        ("2026-11-20 08:15:30", timedelta(seconds=1)),
        ("2 hours ago", timedelta()),
    ],
)
def test_a_span_is_as_long_as_what_was_said(text: str, length: timedelta) -> None:
    span = parse_span(text, NOW)
    assert span.end - span.begin == length


@pytest.mark.usefixtures("berlin")
def test_local_time_is_meant_without_a_zone() -> None:
    assert parse_time("2026-07-01 12:00", NOW) == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert parse_time("2026-11-20 12:00", NOW) == datetime(2026, 11, 20, 11, tzinfo=UTC)
    # The day on which the clocks go back has 25 hours.
    span = parse_span("2026-10-25", NOW)
    assert span.end.astimezone(UTC) - span.begin.astimezone(UTC) == timedelta(hours=25)
    assert parse_time("today", datetime(2026, 11, 19, 23, 30, tzinfo=UTC)) == datetime(2026, 11, 19, 23, tzinfo=UTC)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize("text", ["2026-10-25 02:30", "Oct 25 02:30"])
def test_a_time_of_the_hour_that_comes_twice_means_both(text: str) -> None:
    span = parse_span(text, NOW)
    assert span.begin == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert span.end == datetime(2026, 10, 25, 1, 31, tzinfo=UTC)


# What a bare term looks like.


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("3F4A5B6C7D", True),
        ("4jXystY5frrzJTsZ", True),
        ("3f4a5b6c7d", False),
        ("DECADE", False),
        ("alice", False),
        ("12345", False),
        ("3F4A5B6C7D@", False),
    ],
)
def test_queue_ids_are_recognised(text: str, is_one: bool) -> None:
    assert looks_like_queue_id(text) is is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("example.com", True),
        ("sub.EXAMPLE.com", True),
        ("xn--bcher-kva.example", True),
        ("example", False),
        ("alice@example.com", False),
        ("192.0.2.1", False),
        (".example.com", False),
        ("example..com", False),
        ("j.d", False),
    ],
)
def test_domains_are_recognised(text: str, is_one: bool) -> None:
    assert is_domain(text) is is_one


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.77/24", "192.0.2.0/24"),
        ("192.0.", "192.0.0.0/16"),
        ("[2001:db8::1]", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("fe80::1%eth0", None),
        ("300.0.2.1", None),
        ("example.com", None),
        ("10", None),
    ],
)
def test_networks_are_recognised(text: str, prefix: str | None) -> None:
    assert network(text) == prefix


def test_like_text_has_no_wildcards() -> None:
    assert like_text("a%b_c\\d") == "a\\%b\\_c\\\\d"


@pytest.mark.parametrize(
    ("logged", "shown"),
    [
        ("Angebot", "Angebot"),
        ("=?utf-8?Q?Einladung_f=C3=BCr_alle?=", "Einladung für alle"),
        # Folded: cleanup(8) logs the line end as a question mark.
        ("=?UTF-8?B?R3LDvA==?=? =?UTF-8?B?w59l?= an alle", "Grüße an alle"),
        ("=?iso-8859-1*de?q?K=F6ln?= =?koi8-r?B?8NLJ18XU?=", "KölnПривет"),
        # Cut off, damaged, unknown, or no character set at all: as it is.
        ("=?utf-8?B?R3LDv", "=?utf-8?B?R3LDv"),
        ("=?utf-8?B?R?=", "=?utf-8?B?R?="),
        (
            "=?x-none?Q?a?= =?unicode_escape?Q?a?= =?zip?B?AA==?=",
            "=?x-none?Q?a?= =?unicode_escape?Q?a?= =?zip?B?AA==?=",
        ),
        ("=?iso-8859-99?Q?a?=", "=?iso-8859-99?Q?a?="),
        ("=?utf-8?Q?a=FFb?=", "a\ufffdb"),
        ("why?= =?", "why?= =?"),
    ],
)
def test_subjects_are_shown_readable(logged: str, shown: str) -> None:
    assert readable(logged) == shown


@pytest.mark.parametrize("part", ["=?", "=?utf-8?Q?", "=?utf-8?Q?a", "?= ", "=?utf-8?B?A?= "])
def test_no_subject_takes_long(part: str) -> None:
    began = time.process_time()
    readable(part * 20_000)
    assert time.process_time() - began < 2
