"""stats: what counts once though it has several legs, by what it can be counted, and how it is shown."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journal_postfix.cli.main import main
from journal_postfix.cli.stats import stretches
from journal_postfix.errors import UsageError
from journal_postfix.store import Database
from journal_postfix.store.problems import Window, report
from journal_postfix.store.stats import HANDED, PROPERTIES, Row, collect
from paths import ROOT, STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import BEGIN, attempt, line, mail, rejection

ALL = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
HOUR = Window(BEGIN, BEGIN + timedelta(hours=1))


def counted(
    dsn: str, by: str, window: Window = HOUR, bounds: list[datetime] | None = None
) -> dict[str | int | None, Row]:
    with closing(Database(dsn)) as connection, report(connection):
        stats = collect(connection, window, by, bounds or ([window.since] if by == "hour" else None))
    return {row.key: row for row in stats.rows} | {"total": stats.total}


def numbers(row: Row) -> tuple[int | None, ...]:
    """Give mails, delivered, failed, deferred, rejected."""
    return row.mails, row.delivered, row.failed, row.deferred, row.rejected


def filtered() -> list[str]:
    """Two mails of a user through a content filter: one is delivered to two at last, one bounces behind the filter."""
    relay = "127.0.0.1[127.0.0.1]:10024"
    first: dict[str, Any] = {
        "client": "laptop.example.com[192.0.2.7]",
        "more": ", sasl_method=PLAIN, sasl_username=ann@example.com",
    }
    again: dict[str, Any] = {"client": "localhost[127.0.0.1]"}
    queued = "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as "
    return sorted(
        [
            *mail(
                "00000A01",
                0,
                "ann@example.com",
                attempt("b@one.example", relay=relay, response=queued + "00000A02"),
                attempt("c@two.example", relay=relay, response=queued + "00000A02"),
                message_id="a@id.example",
                **first,
            ),
            *mail(
                "00000A02",
                0.5,
                "ann@example.com",
                attempt("b@one.example"),
                attempt("c@two.example"),
                message_id="a@id.example",
                **again,
            ),
            *mail(
                "00000A03",
                10,
                "ann@example.com",
                attempt("d@two.example", relay=relay, response=queued + "00000A04"),
                message_id="b@id.example",
                **first,
            ),
            *mail(
                "00000A04",
                10.5,
                "ann@example.com",
                attempt("d@two.example", "bounced"),
                message_id="b@id.example",
                **again,
            ),
        ]
    )


def test_a_content_filter_doubles_nothing(database: str) -> None:
    feed_lines(database, filtered())
    by_hour = counted(database, "hour")
    assert numbers(by_hour[1]) == numbers(by_hour["total"]) == (2, 2, 1, 0, 0)
    assert by_hour[1].bytes == 2000
    by_relay = counted(database, "relay")
    assert set(by_relay) == {"mx.example.net", "total"}
    assert {key: numbers(row) for key, row in counted(database, "domain").items()} == {
        "one.example": (None, 1, 0, 0, 0),
        "two.example": (None, 1, 1, 0, 0),
        "total": (None, 2, 1, 0, 0),
    }


def test_by_client_and_user_the_first_leg_counts(database: str) -> None:
    feed_lines(database, filtered())
    for by, key in (("client", "192.0.2.7"), ("sasl-user", "ann@example.com")):
        assert {key: numbers(row) for key, row in counted(database, by).items()} == {
            key: (2, 2, 1, 0, 0),
            "total": (2, 2, 1, 0, 0),
        }


def test_a_forward_counts_where_it_goes_and_a_notification_is_no_mail_from_outside(database: str) -> None:
    lines = [
        *mail(
            "00000B01",
            0,
            "ann@example.com",
            attempt("list@here.example", program="local", relay="local", response="forwarded as 00000B02"),
            message_id="f@id.example",
        ),
        line(1, "cleanup", "00000B02: message-id=<f@id.example>"),
        line(1.1, "qmgr", "00000B02: from=<ann@example.com>, size=1200, nrcpt=1 (queue active)"),
        line(
            2,
            "smtp",
            "00000B02: to=<z@far.example>, orig_to=<list@here.example>, relay=mx.far.example[198.51.100.2]:25, "
            "delay=1, delays=0/0/0.5/0.5, dsn=5.1.1, status=bounced (host mx.far.example[198.51.100.2] said: 550 no)",
        ),
        line(2.1, "bounce", "00000B02: sender non-delivery notification: 00000B03"),
        line(2.2, "qmgr", "00000B02: removed"),
        line(2.1, "cleanup", "00000B03: message-id=<n@id.example>"),
        line(2.15, "qmgr", "00000B03: from=<>, size=2000, nrcpt=1 (queue active)"),
        line(
            2.5,
            "smtp",
            "00000B03: to=<ann@example.com>, relay=mx.example.com[198.51.100.3]:25, delay=0.4, "
            "delays=0.1/0/0.1/0.2, dsn=2.0.0, status=sent (250 ok)",
        ),
        line(2.6, "qmgr", "00000B03: removed"),
    ]
    feed_lines(database, sorted(lines))
    assert numbers(counted(database, "hour")[1]) == (1, 1, 1, 0, 0)
    assert set(counted(database, "relay")) == {"mx.example.com", "mx.far.example", "total"}


def test_a_requeued_mail_came_in_once(database: str) -> None:
    feed_file(database, str(STREAMS / "requeued.log"))
    assert counted(database, "hour", ALL)["total"].mails == 1


def requeued() -> list[str]:
    """A user's mail that an administrator put back into the queue, and that was delivered then."""
    return [
        *mail(
            "00000E01",
            0,
            "ann@example.com",
            attempt("b@one.example", "deferred"),
            client="laptop.example.com[192.0.2.7]",
            message_id="r@id.example",
            more=", sasl_method=PLAIN, sasl_username=ann@example.com",
            removed=False,
        ),
        line(10, "postsuper", "00000E01: requeued"),
        line(11, "pickup", "00000E02: uid=101 from=<ann@example.com> orig_id=00000E01"),
        line(11.1, "cleanup", "00000E02: message-id=<r@id.example>"),
        line(11.2, "qmgr", "00000E02: from=<ann@example.com>, size=1000, nrcpt=1 (queue active)"),
        line(
            12,
            "smtp",
            "00000E02: to=<b@one.example>, relay=mx.one.example[198.51.100.2]:25, delay=12, delays=11/0/0.5/0.5, "
            "dsn=2.0.0, status=sent (250 ok)",
        ),
        line(12.1, "qmgr", "00000E02: removed"),
    ]


def test_a_requeued_mail_is_still_its_user_s(database: str) -> None:
    feed_lines(database, requeued())
    for by, key in (("client", "192.0.2.7"), ("sasl-user", "ann@example.com")):
        assert {name: numbers(row) for name, row in counted(database, by).items()} == {
            key: (1, 1, 0, 1, 0),
            "total": (1, 1, 0, 1, 0),
        }


def test_attempts_refusals_and_delays_are_counted_at_their_own_time(database: str) -> None:
    lines = [
        *mail(
            "00000C01",
            -10,
            "a@example.com",
            attempt("b@slow.example", "deferred", after="1"),
            attempt("b@slow.example", "deferred", after="20"),
            attempt("b@slow.example", after="30"),
        ),
        rejection(5, "spam@example.com", "bob@dest.example"),
        *mail("00000C02", 3590, "a@example.com", attempt("b@late.example", after="20")),
    ]
    feed_lines(database, sorted(lines))
    row = counted(database, "hour")[1]
    assert numbers(row) == (1, 1, 0, 1, 1)
    assert (row.delay_p50, row.delay_p90, row.delay_p99) == (1.0, 1.0, 1.0)
    halves = counted(database, "hour", HOUR, [BEGIN, BEGIN + timedelta(minutes=30)])
    assert [numbers(halves[number]) for number in (1, 2)] == [(0, 1, 0, 1, 1), (1, 0, 0, 0, 0)]


def test_the_total_is_the_same_whatever_it_is_counted_by(database: str) -> None:
    feed_file(database, str(ROOT / "sample" / "mail.log"))
    by_day = counted(database, "hour", ALL, [ALL.since])["total"]
    assert by_day.mails
    for by in PROPERTIES:
        rows = counted(database, by, ALL)
        total = rows.pop("total")
        assert total.delivered == by_day.delivered == sum(row.delivered for row in rows.values()), by
        if total.mails is not None:
            assert total.mails == by_day.mails == sum(row.mails or 0 for row in rows.values()), by
        if total.failed is not None:
            assert numbers(total)[2:] == numbers(by_day)[2:], by
            assert total.failed == sum(row.failed or 0 for row in rows.values()), by


def test_one_host_of_several(database: str) -> None:
    lines = mail("00000D01", 0, "a@example.com", attempt("b@x.example"), host="mx1.example.org")
    lines += mail(
        "00000D02", 0, "a@example.com", attempt("b@x.example"), attempt("c@x.example"), host="mx2.example.org"
    )
    feed_lines(database, sorted(lines))
    assert {key: numbers(row)[:2] for key, row in counted(database, "host").items()} == {
        "mx1.example.org": (1, 1),
        "mx2.example.org": (1, 2),
        "total": (2, 3),
    }
    for by in ("hour", "domain", "client", "tls"):
        assert counted(database, by, HOUR._replace(host="mx2"))["total"].delivered == 2


def test_what_is_one_mail_is_what_the_links_say(database: str) -> None:
    """The view mail_link decides what belongs together; for a whole window it is computed at once, with one result."""
    for number, path in enumerate(sorted(STREAMS.glob("*.log"))):
        feed_lines(database, _unlike_others(path, number), name=path.name)
    feed_file(database, str(ROOT / "sample" / "mail.log"))
    with closing(Database(database)) as connection:
        handed = set(connection.fetch(f"WITH {HANDED} SELECT mail_id, next_id FROM handed", ALL.parameters()))
        linked = set(
            connection.fetch(
                "SELECT l.mail_id, l.linked_mail_id FROM mail_link AS l "
                "WHERE l.kind IN ('queued', 'forwarded', 'filtered') AND l.linked_mail_id IS NOT NULL"
            )
        )
    assert len(linked) > 20
    assert handed == linked


def _unlike_others(path: Path, number: int) -> Iterator[str]:
    for text in path.read_text(encoding="utf-8").splitlines():
        stamp, host, rest = text.split(" ", 2) if text[:4].isdigit() else ("", "", "")
        if stamp:
            yield f"{stamp} {host}-{number} {rest}"


# Stretches of time.


def _window(since: str, until: str) -> Window:
    return Window(datetime.fromisoformat(since), datetime.fromisoformat(until))


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    def change(name: str) -> None:
        os.environ["TZ"] = name
        time.tzset()

    before = os.environ["TZ"]
    yield change
    change(before)


def test_stretches_begin_at_local_midnight_on_monday_and_at_the_hour(zone: Callable[[str], None]) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    window = _window("2026-10-24T12:34:56+02:00", "2026-10-26T12:00:00+01:00")
    days = [time.isoformat() for time in stretches(window, "day")]
    assert days == ["2026-10-24T00:00:00+02:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"]
    assert [time.isoformat() for time in stretches(window, "week")] == [
        "2026-10-19T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
    ]
    hours = stretches(window, "hour")
    assert hours[0] == datetime.fromisoformat("2026-10-24T12:00:00+02:00")
    # The day has an hour more.
    assert len(hours) == 12 + 25 + 12
    with pytest.raises(UsageError, match="--by day"):
        stretches(_window("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"), "hour")


# The command.


@pytest.fixture
def run(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{database}'\n", encoding="utf-8")

    def call(*arguments: str) -> str:
        arguments = ("--since", "2026-11-20 08:00", "--until", "2026-11-20 10:00", *arguments)
        assert main(["--config", str(config), "stats", *arguments]) == 0
        return capsys.readouterr().out

    return call


def test_json_text_and_csv_say_the_same(database: str, run: Callable[..., str]) -> None:
    feed_lines(database, filtered())
    told = [json.loads(text) for text in run("--json").splitlines()]
    expected: dict[str, Any] = {
        "mails": 2,
        "bytes": 2000,
        "delivered": 2,
        "failed": 1,
        "deferred": 0,
        "rejected": 0,
        "delay_p50": 1.0,
        "delay_p90": 1.0,
        "delay_p99": 1.0,
    }
    assert told[0] == {
        "by": "hour",
        "begin": "2026-11-20T08:00:00.000000Z",
        "end": "2026-11-20T09:00:00.000000Z",
        **expected,
    }
    assert told[2] == {
        "total": True,
        "begin": "2026-11-20T08:00:00.000000Z",
        "end": "2026-11-20T10:00:00.000000Z",
        **expected,
    }
    table = list(csv.DictReader(io.StringIO(run("--csv"))))
    assert [row["hour"] for row in table] == ["2026-11-20T08:00:00.000000Z", "2026-11-20T09:00:00.000000Z"]
    assert [row["delivered"] for row in table] == ["2", "0"]
    text = run().splitlines()
    assert text[3].split() == ["2026-11-20", "08:00", "2", "2.0", "KiB", "2", "█" * 12, "1", "0", "0", *["1", "s"] * 3]
    assert text[-1].startswith("all")


def test_hours_before_the_first_that_is_known_are_not_shown(database: str, run: Callable[..., str]) -> None:
    feed_lines(database, mail("01DB427FBEE", 0, "a@example.com", attempt("b@dest.example")))
    window = ("--since", "2026-11-20T04:00:00Z", "--until", "2026-11-20T10:00:00Z")
    lines = run(*window).splitlines()
    assert "Nothing before 2026-11-20 08:00:00:" in lines
    assert [text[11:16] for text in lines if text.startswith("2026-11-20 ")] == ["08:00", "09:00"]
    assert len(run(*window, "--csv").splitlines()) == 7


def test_a_name_that_others_chose_is_no_formula_in_a_table(database: str, run: Callable[..., str]) -> None:
    feed_lines(database, mail("00000E01", 0, "a@example.com", attempt("b@=cmd|'x'!a1,\"q\".example")))
    (row,) = csv.DictReader(io.StringIO(run("--by", "domain", "--csv")))
    assert row["domain"].startswith("'=cmd|")


def test_the_largest_come_first_and_the_rest_is_counted(database: str, run: Callable[..., str]) -> None:
    lines: list[str] = []
    for number in range(3):
        tried = [attempt(f"r{n}@d{number}.example") for n in range(number + 1)]
        lines += mail(f"00000F0{number}", number, "a@example.com", *tried)
    feed_lines(database, sorted(lines))
    text = run("--by", "domain", "--limit", "2")
    assert text.index("d2.example") < text.index("d1.example")
    assert "d0.example" not in text
    assert "and 1 smaller ones" in text
    assert json.loads(run("--by", "domain", "--limit", "1", "--json").splitlines()[0])["key"] == "d2.example"


def test_tls_is_counted_on_both_sides(database: str, run: Callable[..., str]) -> None:
    feed_file(database, str(STREAMS / "tls_of_the_process.log"))
    rows = counted(database, "tls", ALL)
    assert rows["total"].failed is None
    assert any(str(key).startswith("TLSv1") for key in rows)
    assert run("--by", "tls", "--csv").startswith("tls,mails,")


def test_what_waited_behind_a_filter_since_long_before_is_still_its_user_s(database: str) -> None:
    relay = "127.0.0.1[127.0.0.1]:10024"
    lines = mail(
        "00000F01",
        0,
        "ann@example.com",
        attempt("b@one.example", relay=relay, response="250 2.0.0 Ok: queued as 00000F02"),
        client="laptop.example.com[192.0.2.7]",
        message_id="f@id.example",
        more=", sasl_method=PLAIN, sasl_username=ann@example.com",
    )
    # Behind the filter it is forwarded, and waits for a day.
    lines += mail(
        "00000F02",
        0.5,
        "ann@example.com",
        attempt("b@one.example", program="local", relay="local", response="forwarded as 00000F03"),
        client="localhost[127.0.0.1]",
        message_id="f@id.example",
    )
    lines += [
        line(1.2, "cleanup", "00000F03: message-id=<f@id.example>"),
        line(1.3, "qmgr", "00000F03: from=<ann@example.com>, size=1200, nrcpt=1 (queue active)"),
    ]
    late = "relay=mx.far.example[198.51.100.2]:25, delay=9, delays=0/0/0.5/0.5"
    for second, dsn, status in ((2, "4.2.0", "deferred"), (86400, "4.2.0", "deferred"), (86500, "2.0.0", "sent")):
        lines.append(
            line(second, "smtp", f"00000F03: to=<c@far.example>, {late}, dsn={dsn}, status={status} (as it said)")
        )
    waiting = Window(BEGIN + timedelta(seconds=86390), BEGIN + timedelta(seconds=86410))
    done = Window(BEGIN + timedelta(seconds=86490), BEGIN + timedelta(seconds=86510))
    feed_lines(database, sorted(lines))
    for by, key in (("client", "192.0.2.7"), ("sasl-user", "ann@example.com")):
        assert {name: numbers(row) for name, row in counted(database, by, waiting).items()} == {
            key: (0, 0, 0, 1, 0),
            "total": (0, 0, 0, 1, 0),
        }
    feed_lines(database, [line(86501, "qmgr", "00000F03: removed")], name="end")
    for by, key in (("client", "192.0.2.7"), ("sasl-user", "ann@example.com")):
        for window, expected in ((waiting, (0, 0, 0, 1, 0)), (done, (0, 1, 0, 0, 0))):
            assert {name: numbers(row) for name, row in counted(database, by, window).items()} == {
                key: expected,
                "total": expected,
            }
