"""Exactly once: kills, concurrent imports, grown, rotated and compressed files, and any grouping give the same rows."""

from __future__ import annotations

import gzip
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal_postfix.errors import InputBusyError, StoreError
from journal_postfix.message import LogMessage
from journal_postfix.run import run_loop
from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journal_postfix.store import Database
from journal_postfix.store.positions import find_position
from journal_postfix.store.write import Writer
from paths import PROGRAM, STREAMS
from pg.dump import dump
from pg.feed import feed_file, feed_messages, messages_of
from pg.torture import torture

# Everything that the streams know, in the order of time, on one host: long enough to be cut anywhere.
ALL_LINES = sorted(
    line
    for path in sorted(STREAMS.glob("*.log"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.startswith("2026-")
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.write_text("\n".join(ALL_LINES) + "\n", encoding="utf-8")
    return path


def test_killed_imports_lose_and_double_nothing(database: str, empty_database: str, log: Path) -> None:
    from journal_postfix.store import apply_schema

    feed_file(database, str(log))
    apply_schema(Database(empty_database))
    lines = log.read_bytes().splitlines(keepends=True)
    kills, runs = torture(empty_database, lines, pieces=4, kills=12, seed=3, messages_per_commit=7)
    assert kills == 12
    assert runs > 12
    assert dump(empty_database) == dump(database)


def test_a_file_that_has_grown_gives_only_what_is_new(database: str, log: Path, tmp_path: Path) -> None:
    whole = log.read_text(encoding="utf-8")
    growing = tmp_path / "growing.log"
    total = 0
    for end in (10, 11, 60, len(ALL_LINES)):
        growing.write_text("\n".join(ALL_LINES[:end]) + "\n", encoding="utf-8")
        total += feed_file(database, str(growing)).lines
    assert growing.read_text(encoding="utf-8") == whole
    assert total == len(ALL_LINES)


def test_an_older_and_shorter_copy_has_nothing_new(database: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    counts = []
    for end in (20, 60, 20, 7, 60, 100):
        copy.write_text("\n".join(ALL_LINES[:end]) + "\n", encoding="utf-8")
        counts.append(feed_file(database, str(copy)).lines)
    assert counts == [20, 40, 0, 0, 0, 40]


def test_a_rotated_and_compressed_copy_is_the_same_file(database: str, log: Path, tmp_path: Path) -> None:
    feed_file(database, str(log))
    before = dump(database)
    copy = tmp_path / "mail.log.2.gz"
    copy.write_bytes(gzip.compress(log.read_bytes()))
    assert feed_file(database, str(copy)).lines == 0
    log.rename(tmp_path / "mail.log.1")
    assert feed_file(database, str(tmp_path / "mail.log.1")).lines == 0
    assert dump(database) == before


def test_standard_input_is_known_again(database: str, log: Path, tmp_path: Path) -> None:
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{database}'\n", encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--config", str(config), "import", "--json", "-"]
    first = subprocess.run(command, input=log.read_bytes(), capture_output=True, check=True)
    assert f'"lines": {len(ALL_LINES)},'.encode() in first.stdout
    before = dump(database)
    second = subprocess.run(command, input=log.read_bytes(), capture_output=True, check=True)
    assert b'"lines": 0,' in second.stdout
    assert dump(database) == before


def test_two_imports_of_one_file_cannot_both_store_it(database: str, log: Path) -> None:
    with Logfile(str(log)) as logfile:
        first = Database(database)
        second = Database(database)
        begins = find_position(first, "logfile", "a", logfile.head())
        messages = list(iter_logfile_messages(logfile, LogfileOptions()))
    run_loop(messages, Writer(first), begins, Settings())
    before = dump(database)
    with pytest.raises(InputBusyError):
        run_loop(messages, Writer(second), begins, Settings())
    assert dump(database) == before
    first.close()
    second.close()


def test_a_program_that_is_older_than_the_schema_by_now_stores_nothing_more(database: str, log: Path) -> None:
    """An upgrade changes the schema while daemons of the release before are connected."""
    messages = messages_of(log.read_text(encoding="utf-8").splitlines())
    connection, other = Database(database), Database(database)
    begins = find_position(connection, "logfile", "log", b"x\n")
    writer = Writer(connection)

    def upgrade(_: object) -> None:
        other.execute("INSERT INTO schema_step (step, name, checksum) VALUES (9999, 'future', 'x')")

    with pytest.raises(StoreError, match="9999"):
        run_loop(iter(messages), writer, begins, Settings(max_messages_per_commit=10), on_commit=upgrade)
    assert other.fetch("SELECT sum(lines)::int FROM line_counter") == [(10,)]
    assert other.fetch("SELECT lines::int FROM input_position") == [(10,)]


def test_lines_of_a_source_that_fails_are_stored_before_its_error(database: str, log: Path, tmp_path: Path) -> None:
    packed = gzip.compress(log.read_bytes())
    torn = tmp_path / "torn.log.gz"
    torn.write_bytes(packed[: len(packed) // 2])
    from journal_postfix.errors import InputError

    with pytest.raises(InputError, match=r"torn\.log\.gz"):
        feed_file(database, str(torn))
    stored = len(dump(database)["delivery_from"])
    assert stored > 0
    mended = tmp_path / "mended.log.gz"
    mended.write_bytes(packed)
    feed_file(database, str(mended))
    other_dump = dump(database)
    assert len(other_dump["delivery_from"]) > stored


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, len(ALL_LINES) - 1), min_size=1, max_size=12))
def test_any_grouping_gives_the_same_rows(database: str, cuts: set[int]) -> None:
    """I2: the whole in one batch, against batches of any sizes with a new connection (a restart) for each."""
    messages = messages_of(ALL_LINES)
    places = [0, *sorted(cuts), len(messages)]
    name = f"part{'-'.join(map(str, places))}_"
    if not [row for row in dump(database)["delivery_from"] if "'whole" in row]:
        feed_messages(database, _on(messages, "whole"), name="whole")
    parts = _on(messages, name)
    for begin, end in pairwise(places):
        feed_messages(database, parts[begin:end], name=name)
    for table, rows in dump(database).items():
        whole = sorted(row.replace("'whole", "'") for row in rows if "'whole" in row)
        stored = sorted(row.replace(f"'{name}", "'") for row in rows if f"'{name}" in row)
        assert whole == stored, table


def _on(messages: list[LogMessage], prefix: str) -> list[LogMessage]:
    return [message._replace(host=prefix + message.host) for message in messages]
