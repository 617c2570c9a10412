"""Log files and the journal that overlap: every line counts once, in whatever order the sources come."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from contextlib import closing

import pytest

from journal_postfix.message import LogMessage
from journal_postfix.run import Summary, run_loop
from journal_postfix.settings import Settings
from journal_postfix.store import Database
from journal_postfix.store.positions import find_position
from journal_postfix.store.seams import PACKED_HASH, PACKED_TIME, SECOND, line_hash, tenths
from journal_postfix.store.write import Writer
from paths import SAMPLE
from pg.dump import dump
from pg.feed import messages_of
from scratch_postgres import ScratchPostgres

WHOLE = messages_of((SAMPLE / "mail.log").read_text(encoding="utf-8").splitlines())

# What depends on the clock that a source has: all times, and what follows from them alone.
_TIMES = re.compile(
    r"datetime\.datetime\([^()]*(?:\([^()]*\))?[^()]*\)|"
    r"'(?:began|queued|ended|expired|hold_changed|attempted|time)': '[^']*'|"
    # NULL where it is the same as another one.
    r"'(?:last_seen|first_attempt|last_attempt)': (?:'[^']*'|None)|"
    r"'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^']*'"
)


def as_file(messages: Sequence[LogMessage]) -> list[LogMessage]:
    """Give the lines as a traditional log file has them: whole seconds."""
    return [message._replace(time=float(int(message.time))) for message in messages]


def as_journal(messages: Sequence[LogMessage]) -> list[LogMessage]:
    """Give the lines as the journal has them: microseconds, a little earlier than rsyslog's stamps."""
    return [message._replace(time=message.time - 0.013) for message in messages]


def feed(dsn: str, name: str, messages: Sequence[LogMessage], *, journal: bool, batch: int = 20_000) -> Summary:
    """Store messages of one input whose position is the number of the message."""
    with closing(Database(dsn)) as database:
        begins = find_position(database, "logfile", name, f"{name}\n".encode())._replace(is_journal=journal)
        numbered = [message._replace(position=number) for number, message in enumerate(messages, 1)]
        rest = numbered[begins.position :]
        return run_loop(rest, Writer(database), begins, Settings(max_messages_per_commit=batch))


def timeless(dsn: str) -> dict[str, list[str]]:
    """Give all tables without times and without the count of what was left out."""
    return {
        table: sorted(re.sub(_TIMES, "T", row) for row in rows if "'covered'" not in row)
        for table, rows in dump(dsn).items()
    }


# The journal begins at the first place, the file ends at the second.
JOURNAL_BEGINS, FILE_ENDS = int(len(WHOLE) * 0.4), int(len(WHOLE) * 0.75)
ORDERS = {
    "file first": [("file", as_file(WHOLE[:FILE_ENDS]), False), ("journal", as_journal(WHOLE[JOURNAL_BEGINS:]), True)],
    "journal first": [
        ("journal", as_journal(WHOLE[JOURNAL_BEGINS:]), True),
        ("file", as_file(WHOLE[:FILE_ENDS]), False),
    ],
    "two files first": [
        ("file.1", as_file(WHOLE[: FILE_ENDS // 2]), False),
        ("file", as_file(WHOLE[FILE_ENDS // 2 : FILE_ENDS]), False),
        ("journal", as_journal(WHOLE[JOURNAL_BEGINS:]), True),
    ],
    "an export, then the journal": [
        ("export", as_journal(WHOLE[:FILE_ENDS]), True),
        ("journal", as_journal(WHOLE[JOURNAL_BEGINS:]), True),
    ],
}


@pytest.fixture(scope="module")
def one_source(postgres_server: ScratchPostgres, template_database: str) -> dict[str, list[str]]:
    """Give what the journal alone makes of all lines."""
    with closing(Database(postgres_server.dsn)) as database:
        database.execute("DROP DATABASE IF EXISTS one_source")
        database.execute(f"CREATE DATABASE one_source TEMPLATE {template_database}")
    dsn = postgres_server.database_dsn("one_source")
    feed(dsn, "journal", as_journal(WHOLE), journal=True)
    return timeless(dsn)


@pytest.mark.parametrize("order", ORDERS)
def test_sources_that_overlap_give_what_one_source_gives(
    database: str, one_source: dict[str, list[str]], order: str
) -> None:
    # Journal first means that queue entries' later lines come first: that is told apart elsewhere, not by the seam.
    summaries = [feed(database, name, messages, journal=journal) for name, messages, journal in ORDERS[order]]
    assert sum(summary.by_action.get("covered", 0) for summary in summaries[:-1]) == 0
    assert summaries[-1].by_action["covered"] == FILE_ENDS - JOURNAL_BEGINS
    result = timeless(database)
    if order != "journal first":
        assert result == one_source
    else:
        for table in ("noqueue", "line_counter"):
            assert result[table] == one_source[table], table


def test_any_grouping_at_the_seam_gives_the_same_rows(database: str, one_source: dict[str, list[str]]) -> None:
    for name, messages, journal in ORDERS["file first"]:
        feed(database, name, messages, journal=journal, batch=97)
    assert timeless(database) == one_source


def _record(dsn: str, host: str) -> list[tuple[bytes, int]]:
    """Give hash and time of all lines that are kept as told."""
    with closing(Database(dsn)) as connection:
        query = "SELECT base, told, told_times FROM input_told WHERE host = %s ORDER BY input_told_id"
        rows = connection.fetch(query, (host,))
    return [
        (hashed, round(base.timestamp() * SECOND) + offset)
        for base, told, times in rows
        for (hashed,), (offset,) in zip(PACKED_HASH.iter_unpack(told), PACKED_TIME.iter_unpack(times), strict=True)
    ]


def test_any_grouping_keeps_the_same_record_of_what_was_told(database: str) -> None:
    """Batches of any size, a new connection for each: the same lines at the same times."""
    chaos = random.Random(5)
    lines = as_journal(WHOLE[:1500])
    for at, jump in ((400, 4000), (1100, -30), (1200, -9000)):
        lines[at:] = [message._replace(time=message.time + jump) for message in lines[at:]]
    feed(database, "whole", [message._replace(host="a") for message in lines], journal=True)
    done = 0
    while done < len(lines):
        done = min(done + chaos.choice((1, 2, 5, 50, 300)), len(lines))
        feed(database, "parts", [message._replace(host="b") for message in lines[:done]], journal=True)
    expected = [
        (line_hash(message), tenths(message.time)) for message in lines if message.identifier.startswith("postfix")
    ]
    assert len(expected) > 1400
    assert _record(database, "a") == _record(database, "b") == expected


def _smtpd(second: float, text: str, program: str = "postfix/smtpd") -> LogMessage:
    return LogMessage("mx", program, 7, 1_790_000_000 + second, text, 0)


def _connects(first: float, last: float, step: float = 1.0) -> list[LogMessage]:
    count = int((last - first) / step) + 1
    return [
        _smtpd(first + step * number, f"connect from c{int(first + step * number)}[192.0.2.1]")
        for number in range(count)
    ]


def _lines(dsn: str) -> dict[str, int]:
    with closing(Database(dsn)) as database:
        return dict(database.fetch("SELECT action, sum(lines)::int FROM line_counter GROUP BY 1"))


def test_each_kept_line_of_an_end_stands_for_one_line(database: str) -> None:
    """Three of five lines alike, within the last second of a file: the journal has all five."""
    same = [_smtpd(100 + number / 10, "lost connection after AUTH from c[192.0.2.1]") for number in range(5)]
    before = _connects(0, 99)
    feed(database, "file", as_file([*before, *same[:3]]), journal=False)
    for end in (1, 2, 4, 5):
        feed(database, "journal", [*before, *same[:end]], journal=True)
    assert _lines(database) == {"connect": 100, "covered": 103, "end": 5}


def test_what_a_file_lacks_comes_from_the_journal(database: str) -> None:
    """rsyslog was down for ten minutes, and dropped some lines later: what the journal has of them is stored."""
    kept = [message for number, message in enumerate(_connects(0, 800)) if not 100 < number < 700 and number % 7]
    feed(database, "file", as_file(kept), journal=False)
    feed(database, "journal", _connects(0, 800), journal=True)
    assert _lines(database) == {"connect": 801, "covered": len(kept)}


@pytest.mark.parametrize("order", ["file first", "journal first"])
def test_a_selection_of_a_log_covers_no_more_than_it_has(database: str, order: str) -> None:
    """What grep found of one daemon: dense, and with the lines that every log has."""
    found = [message for message in WHOLE if message.identifier == "postfix/smtpd"]
    inputs = [("file", as_file(found), False), ("journal", as_journal(WHOLE), True)]
    for name, messages, journal in inputs if order == "file first" else reversed(inputs):
        feed(database, name, messages, journal=journal)
    postfix = sum(message.identifier.startswith("postfix") for message in WHOLE)
    lines = _lines(database)
    assert lines.pop("covered") == len(found)
    lines.pop("foreign", None)
    assert sum(lines.values()) == postfix


def test_what_was_forged_is_known_to_a_file(database: str) -> None:
    """A log file cannot tell who wrote a line; the journal has."""
    forged = _smtpd(10.5, "disconnect from c[192.0.2.1] commands=0/0")._replace(
        trusted=False, origin="logger, uid 1000"
    )
    own = _connects(0, 20)
    feed(database, "journal", sorted([*own, forged], key=lambda message: message.time), journal=True)
    feed(database, "file", as_file(sorted([*own, forged._replace(trusted=True)], key=lambda m: m.time)), journal=False)
    assert _lines(database) == {"connect": 21, "forged": 1, "covered": 22}


def test_what_is_forged_stays_so_whoever_told_it_before(database: str) -> None:
    line = _smtpd(10.5, "disconnect from c[192.0.2.1] commands=0/0")
    feed(database, "file", as_file([line]), journal=False)
    feed(database, "journal", [line._replace(trusted=False, origin="logger, uid 1000")], journal=True)
    assert _lines(database) == {"disconnect": 1, "forged": 1}


def test_another_program_and_another_host_are_not_covered(database: str) -> None:
    feed(database, "file", as_file(_connects(0, 100)), journal=False)
    others = [message._replace(identifier="postfix-out/smtpd") for message in _connects(10, 90)]
    feed(database, "journal", others, journal=True)
    feed(database, "directory", [message._replace(host="my") for message in _connects(10, 90)], journal=True)
    assert _lines(database) == {"connect": 101 + 81 + 81}


def test_two_log_files_do_not_cover_each_other(database: str) -> None:
    """At a rotation both have lines of the same second; that they are others is known by their content."""
    same = _smtpd(100, "disconnect from c[192.0.2.1] commands=0/0")
    feed(database, "mail.log.1", as_file([*_connects(0, 99), same]), journal=False)
    feed(database, "mail.log", as_file([same, *_connects(101, 200)]), journal=False)
    assert _lines(database) == {"connect": 200, "disconnect": 2}


def test_foreign_lines_cover_nothing(database: str) -> None:
    """A syslog file without Postfix's lines must not keep the journal's out."""
    feed(database, "syslog", as_file([m._replace(identifier="sshd") for m in _connects(0, 100)]), journal=False)
    feed(database, "journal", _connects(0, 100), journal=True)
    assert _lines(database) == {"connect": 101, "foreign": 101}
