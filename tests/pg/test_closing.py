"""Mails whose end was never logged: closed by age, by the log's own time, and opened again by a later line."""

from __future__ import annotations

import random
from contextlib import closing
from itertools import pairwise

import pytest

from journal_postfix.settings import Settings
from journal_postfix.store import Database, apply_schema
from journal_postfix.store.closing import close_silent
from paths import SAMPLE
from pg.dump import dump
from pg.feed import feed_lines, feed_messages, messages_of
from pg.logs import attempt, line, mail

DAY = 86400.0


def close(dsn: str, days: float = 8) -> int:
    with closing(Database(dsn)) as database:
        return close_silent(database, days)


def states(dsn: str) -> dict[str, str]:
    with closing(Database(dsn)) as database:
        return dict(database.fetch("SELECT queue_id, state FROM mail"))


def _deferred(queue_id: str, day: float, **elements: bool) -> list[str]:
    return mail(queue_id, day * DAY, "a@example.com", attempt("b@example.net", "deferred"), removed=False, **elements)  # type: ignore[arg-type]


# Day 0 is three weeks before the last line; what is done in between is what the mails of the middle hang on.
LOST = _deferred("A0000001", -30)
WAITING = _deferred("A0000002", -12)
HELD = [*_deferred("A0000003", -30), line(-30 * DAY + 60, "postsuper", "A0000003: placed on hold")]
BACK = [
    *_deferred("A0000004", -30),
    line(-12 * DAY, "smtp", "A0000004: " + attempt("b@example.net", "deferred")[1]),
    line(-3 * DAY, "smtp", "A0000004: " + attempt("b@example.net")[1]),
    line(-3 * DAY + 1, "qmgr", "A0000004: removed"),
]
REUSED = [*_deferred("A0000005", -30), *mail("A0000005", -14 * DAY, "c@example.com", attempt("d@example.net"))]
OTHERS = [
    entry
    for day in range(-29, 1)
    for entry in mail(f"B00000{-day:02d}", day * DAY, "x@example.com", attempt("y@example.net"))
]
ALL = sorted([*LOST, *WAITING, *HELD, *BACK, *REUSED, *OTHERS])


def test_what_is_silent_for_long_is_lost_and_what_is_held_is_not(database: str) -> None:
    feed_lines(database, ALL)
    assert close(database, 0) == 0
    assert close(database, 20) == 1
    assert close(database) == 1
    assert close(database) == 0
    found = states(database)
    assert {queue_id: found[queue_id] for queue_id in ("A0000001", "A0000002", "A0000003", "A0000004")} == {
        "A0000001": "lost",
        "A0000002": "lost",
        "A0000003": "held",
        "A0000004": "removed",
    }
    with closing(Database(database)) as connection:
        fate = connection.fetch("SELECT fate FROM mail_recipient JOIN mail USING (mail_id) WHERE queue_id = 'A0000001'")
    assert fate == [("deferred",)]


def test_a_later_line_opens_it_again(database: str) -> None:
    feed_lines(database, [*BACK[:4], *mail("B0000001", -20 * DAY, "x@example.com", attempt("y@example.net"))])
    assert close(database) == 1
    assert states(database)["A0000004"] == "lost"
    feed_lines(database, [BACK[4]], name="more")
    assert states(database)["A0000004"] == "queued"
    feed_lines(database, BACK[5:], name="end")
    assert states(database)["A0000004"] == "removed"
    with closing(Database(database)) as connection:
        rows = connection.fetch(
            "SELECT attempts, fate FROM mail_recipient JOIN mail USING (mail_id) WHERE queue_id = 'A0000004'"
        )
    assert rows == [(3, "sent")]


def test_closing_at_any_moment_gives_what_closing_once_at_the_end_gives(database: str, empty_database: str) -> None:
    with closing(Database(empty_database)) as connection:
        apply_schema(connection)
    feed_lines(empty_database, ALL)
    close(empty_database)
    expected = dump(empty_database)
    chaos = random.Random(3)
    messages = messages_of(ALL)
    for run in range(2):
        host = f"h{run}"
        own = [message._replace(host=host) for message in messages]
        places = [0, *sorted(chaos.sample(range(1, len(own)), 20)), len(own)]
        for begin, end in pairwise(places):
            feed_messages(database, own[begin:end], name=host, settings=Settings(max_messages_per_commit=5))
            close(database)
        stored = dump(database)
        for table, rows in expected.items():
            mine = sorted(row.replace(f"'{host}'", "'mx'") for row in stored[table] if f"'{host}'" in row)
            assert mine == sorted(rows), table


@pytest.mark.parametrize("seconds", [0.5, 5, 20])
def test_closing_soon_and_often_changes_nothing_that_is_folded(
    database: str, empty_database: str, seconds: float
) -> None:
    """As if mails were gone after seconds: closed and opened again, each comes out as if it had not been."""
    messages = messages_of((SAMPLE / "mail.log").read_text(encoding="utf-8").splitlines())
    with closing(Database(empty_database)) as connection:
        apply_schema(connection)
    feed_messages(empty_database, messages)
    assert close(empty_database, seconds / DAY) > 0
    chaos = random.Random(int(seconds))
    places = [0, *sorted(chaos.sample(range(1, len(messages)), 30)), len(messages)]
    closed = 0
    for begin, end in pairwise(places):
        feed_messages(database, messages[begin:end], settings=Settings(max_messages_per_commit=chaos.choice((3, 5000))))
        closed += close(database, seconds / DAY)
    with closing(Database(empty_database)) as connection:
        # Some were opened again.
        assert closed > connection.fetch("SELECT count(*) FROM delivery_from WHERE ended_how = 'silent'")[0][0]
    assert dump(database) == dump(empty_database)


def test_the_same_queue_id_elsewhere_is_another_mail(database: str) -> None:
    """Neither of another instance nor of another host: closed, opened and used again each for itself."""
    old = _deferred("A0000006", -30)
    own = [*old, *mail("B0000001", -20 * DAY, "x@example.com", attempt("y@example.net"))]
    others = [
        [text.replace(" mx ", " my ", 1) for text in own],
        [text.replace(" postfix/", " postfix-out/", 1) for text in own],
    ]
    for number, lines in enumerate([own, *others]):
        feed_lines(database, lines, name=f"begin{number}")
    assert close(database) == 3
    later = line(-19 * DAY, "smtp", "A0000006: " + attempt("b@example.net", "deferred")[1])
    feed_lines(database, [later], name="later")
    reused = mail("A0000006", -19 * DAY, "c@example.com", attempt("d@example.net"))
    feed_lines(database, [text.replace(" mx ", " my ", 1) for text in reused], name="reused")
    with closing(Database(database)) as connection:
        found = connection.fetch(
            "SELECT host, instance, sender, state FROM mail WHERE queue_id = 'A0000006' ORDER BY 1, 2, began"
        )
    assert found == [
        ("mx", "postfix", "a@example.com", "queued"),
        ("mx", "postfix-out", "a@example.com", "lost"),
        ("my", "postfix", "a@example.com", "lost"),
        ("my", "postfix", "c@example.com", "removed"),
    ]


def test_another_hosts_time_closes_nothing(database: str) -> None:
    feed_lines(database, LOST)
    feed_lines(database, [text.replace(" mx ", " my ", 1) for text in OTHERS], name="other")
    assert close(database) == 0
