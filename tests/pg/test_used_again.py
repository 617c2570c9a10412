"""Queue ids long after the mails that bore them: what of these is not even loaded must not be missed."""

from __future__ import annotations

from contextlib import closing

import pytest

from journal_postfix.settings import Settings
from journal_postfix.store import Database, apply_schema
from journal_postfix.store.rows import LOAD_FROM
from journal_postfix.store.write import Writer
from pg.dump import dump
from pg.feed import feed_lines
from pg.logs import line

DAY = 86400.0
ID = "4F5E6D7C8B"
# Postfix' own: seconds and microseconds in base 52, whose last digit is a z, too; then z and the inode.
LONG_ID = "3XyzBbCd4QzLmN1"


def _client(second: float, queue_id: str = ID) -> str:
    return line(second, "smtpd", f"{queue_id}: client=a.example.com[192.0.2.1]")


def _active(second: float, sender: str, queue_id: str = ID) -> str:
    return line(second, "qmgr", f"{queue_id}: from=<{sender}>, size=310, nrcpt=1 (queue active)")


def _removed(second: float, queue_id: str = ID) -> str:
    return line(second, "qmgr", f"{queue_id}: removed")


def _sent(second: float, queue_id: str = ID) -> str:
    return line(
        second,
        "smtp",
        f"{queue_id}: to=<x@example.net>, relay=none, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)",
    )


CASES = {
    "a line of a mail whose long id holds a z in its time": [
        _client(0, LONG_ID),
        _active(1, "a@example.com", LONG_ID),
        _removed(2, LONG_ID),
        _sent(DAY, LONG_ID),
    ],
    "a mail was lost, its id was used again, and is used once more by lines out of order": [
        _client(0),
        _active(1, "a@example.com"),
        _client(100),
        _removed(101),
        _removed(DAY + 0.4),
        _sent(DAY),
    ],
    "a mail that was given up is accepted after its id was used again": [
        _client(0),
        line(0.1, "cleanup", f"{ID}: message-id=<one@example.com>"),
        line(3, "smtpd", "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4"),
        line(6, "cleanup", f"{ID}: message-id=<two@example.com>"),
        _active(6.1, "b@example.com"),
        _active(6.2, "a@example.com"),
        _removed(30),
        line(DAY, "cleanup", f"{ID}: message-id=<three@example.com>"),
        _removed(DAY + 9),
        _removed(2 * DAY),
    ],
}


@pytest.mark.parametrize("lines", CASES.values(), ids=CASES.keys())
def test_any_grouping_gives_the_same_mails(lines: list[str], database: str, empty_database: str) -> None:
    with closing(Database(empty_database)) as connection:
        apply_schema(connection)
    feed_lines(database, lines)
    feed_lines(empty_database, lines, settings=Settings(max_messages_per_commit=1))
    assert dump(empty_database) == dump(database)


def test_a_line_of_a_long_id_is_of_the_mail_that_ended_a_day_ago(database: str) -> None:
    lines = next(iter(CASES.values()))
    feed_lines(database, lines, settings=Settings(max_messages_per_commit=1))
    with closing(Database(database)) as connection:
        assert connection.fetch("SELECT queue_id, recipient FROM mail_recipient JOIN mail USING (mail_id)") == [
            (LONG_ID, "x@example.net")
        ]
        assert connection.fetch("SELECT count(*) FROM mail") == [(1,)]


def test_what_is_loaded_is_found_by_its_queue_id_even_if_planned_over_an_empty_table(database: str) -> None:
    with closing(Database(database)) as connection:
        Writer(connection)
        rows = connection.fetch(f"EXPLAIN EXECUTE {LOAD_FROM.name} ('{{1}}', '{{A}}', '2026-01-01')")
    scans = [row.split(" using ")[1].split()[0] for (row,) in rows if " using " in row]
    assert scans == ["delivery_from_queue_id"] * 2
