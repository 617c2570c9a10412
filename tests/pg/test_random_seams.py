"""Inputs that overlap at random, in random order and in random pieces: whatever two of them tell is stored once.

The sample's log is dealt to log files and journals at random: each begins and ends anywhere, lacks stretches or lines
(a rate limit, a selection), has its own clock, and is stored in pieces between which others are. What must come out is
known by construction: every line that any input has, once.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

import pytest

from journal_postfix.message import LogMessage
from journal_postfix.parse import parse
from journal_postfix.store import Database
from pg.test_seams import WHOLE, feed, timeless
from scratch_postgres import ScratchPostgres

Numbered = tuple[int, LogMessage]
"""A line's place in the whole log, and how an input has it."""


class Source(NamedTuple):
    """An input: what it is called, what it has, whether it is a journal."""

    name: str
    lines: list[Numbered]
    journal: bool

    def messages(self) -> list[LogMessage]:
        return [message for _, message in self.lines]


def _in_file(chaos: random.Random, lines: Iterable[Numbered], *, whole_seconds: bool) -> list[Numbered]:
    """Stamp lines as rsyslog does: when they came, which is up to a second late, and never back in time."""
    stamped = []
    now = 0.0
    for number, message in lines:
        now = max(now, message.time + chaos.choice((0.0, 0.0, 0.001, 0.9)))
        stamped.append((number, message._replace(time=float(int(now)) if whole_seconds else round(now, 6))))
    return stamped


def _in_journal(lines: Iterable[Numbered]) -> list[Numbered]:
    return [(number, message._replace(time=message.time - 0.013)) for number, message in lines]


def _part(chaos: random.Random, lines: Sequence[Numbered]) -> list[Numbered]:
    """Give a random part: some stretch; perhaps without what a rate limit dropped; perhaps what grep found."""
    first, last = sorted(chaos.sample(range(len(lines)), 2))
    part = list(lines[first : last + 1])
    kind = chaos.choice(("all", "all", "gaps", "sparse", "one program"))
    if kind == "gaps":
        for _ in range(3):
            at = chaos.randrange(len(part))
            del part[at : at + chaos.randrange(1, 300)]
    elif kind == "sparse":
        # By what they say, as grep does: of lines all alike nobody can tell which ones an input has.
        letters = chaos.sample("0123456789abcdef", 9)
        part = [
            line for line in part if hashlib.md5(line[1].text.encode(), usedforsecurity=False).hexdigest()[0] in letters
        ]
    elif kind == "one program":
        part = [line for line in part if line[1].identifier == "postfix/smtpd"]
    return part


def _store_in_pieces(dsn: str, chaos: random.Random, sources: Sequence[Source], *, in_turn: bool) -> None:
    """Store all sources, each in pieces with a new connection for every one; interleaved, or one after the other."""
    ends = {source.name: 0 for source in sources}
    waiting = [source for source in sources if source.lines]
    while waiting:
        source = waiting[0] if in_turn else chaos.choice(waiting)
        messages = source.messages()
        ends[source.name] = min(ends[source.name] + chaos.choice((1, 2, 40, 700, 2000)), len(messages))
        batch = chaos.choice((1, 13, 500, 20_000)) if ends[source.name] < 100 else chaos.choice((97, 500, 20_000))
        feed(dsn, source.name, messages[: ends[source.name]], journal=source.journal, batch=batch)
        if ends[source.name] == len(messages):
            waiting.remove(source)


def _counted(dsn: str) -> Counter[tuple[str, str]]:
    with closing(Database(dsn)) as database:
        rows = database.fetch("SELECT component, action, lines FROM line_counter WHERE action <> 'covered'")
    return Counter({(component, action): lines for component, action, lines in rows})


def _expected(messages: Iterable[LogMessage]) -> Counter[tuple[str, str]]:
    parsed = [parse(message.identifier, message.text) for message in messages]
    return Counter((line.get("component", ""), line["action"]) for line in parsed)


POSTFIX = [
    (number, message)
    for number, message in enumerate(WHOLE)
    if parse(message.identifier, message.text)["action"] != "foreign"
]


@pytest.fixture(scope="module")
def one_source(postgres_server: ScratchPostgres, template_database: str) -> dict[str, list[str]]:
    """Give what the journal alone makes of all lines."""
    with closing(Database(postgres_server.dsn)) as database:
        database.execute("DROP DATABASE IF EXISTS random_one_source")
        database.execute(f"CREATE DATABASE random_one_source TEMPLATE {template_database}")
    dsn = postgres_server.database_dsn("random_one_source")
    feed(dsn, "journal", [message for _, message in _in_journal(POSTFIX)], journal=True)
    return timeless(dsn)


@pytest.mark.parametrize("seed", range(4))
def test_rotated_files_then_the_journal_give_what_one_source_gives(
    database: str, one_source: dict[str, list[str]], seed: int
) -> None:
    """Files that follow each other at any line, then the journal, which begins anywhere before the last one's end."""
    chaos = random.Random(seed)
    cuts = [0, *sorted(chaos.sample(range(1, len(POSTFIX)), 3))]
    in_files = _in_file(chaos, POSTFIX[: cuts[-1]], whole_seconds=seed % 2 == 0)
    files = [
        Source(f"mail.log.{number}", in_files[begin:end], journal=False)
        for number, (begin, end) in enumerate(pairwise(cuts))
    ]
    journal_begins = chaos.randrange(cuts[-1] + 1)
    journal = Source("journal", _in_journal(POSTFIX[journal_begins:]), journal=True)
    _store_in_pieces(database, chaos, [*files, journal], in_turn=True)
    result = timeless(database)
    for table, rows in one_source.items():
        assert result[table] == rows, table


def _one_file(chaos: random.Random) -> list[Source]:
    return [Source("mail.log", _in_file(chaos, _part(chaos, POSTFIX), whole_seconds=True), journal=False)]


def _two_files(chaos: random.Random) -> list[Source]:
    lines = _in_file(chaos, POSTFIX, whole_seconds=chaos.random() < 0.5)
    cut = chaos.randrange(2, len(lines) - 1)
    return [
        Source("mail.log.1", _part(chaos, lines[:cut]), journal=False),
        Source("mail.log", _part(chaos, lines[cut:]), journal=False),
    ]


def _an_export(chaos: random.Random) -> list[Source]:
    return [Source("export", _in_journal(_part(chaos, POSTFIX)), journal=True)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("others", [_one_file, _two_files, _an_export])
def test_each_line_that_any_input_has_is_counted_once(
    database: str, others: Callable[[random.Random], list[Source]], seed: int
) -> None:
    """In any order, even both at once: nothing is lost, and nothing counts twice."""
    chaos = random.Random(seed)
    journal = Source("journal", _in_journal(_part(chaos, POSTFIX)), journal=True)
    sources = [journal, *others(chaos)]
    chaos.shuffle(sources)
    _store_in_pieces(database, chaos, sources, in_turn=seed % 2 == 0)
    told = dict(line for source in sources for line in source.lines)
    assert _counted(database) == _expected(told.values())


def _same(first: int, last: int, step: int) -> list[LogMessage]:
    """Give a line that comes again and again, each time the same: all that tells two apart is the time."""
    text = "lost connection after AUTH from c.example[192.0.2.1]"
    return [
        LogMessage("mx", "postfix/smtpd", 7, 1_790_000_000.5 + second, text, 0) for second in range(first, last, step)
    ]


@pytest.mark.parametrize("journal_begins", [0, 30, 99])
# Before the first line of a journal a file's lines of the last second cannot be told from it: then less often.
@pytest.mark.parametrize(("order", "step"), [("file first", 1), ("journal first", 3)])
def test_lines_that_are_all_the_same_do_not_shift_at_the_ends(
    database: str, order: str, step: int, journal_begins: int
) -> None:
    """The journal begins and ends later than the file: none of its lines stands for one that only the file has."""
    in_file = [message._replace(time=float(int(message.time))) for message in _same(0, 100, step)]
    inputs = [("file", in_file, False), ("journal", _same(journal_begins, 150, step), True)]
    for name, messages, journal in inputs if order == "file first" else reversed(inputs):
        feed(database, name, messages, journal=journal)
    assert sum(_counted(database).values()) == 150 // step
