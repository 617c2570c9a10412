"""The connection: which of the server's refusals pass by themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from journal_postfix.errors import StoreError, StoreUnavailable
from journal_postfix.store import Database
from journal_postfix.store.database import CopyInto

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def connection(database: str) -> Iterator[Database]:
    with closing(Database(database)) as connection:
        yield connection


@pytest.mark.parametrize(
    "state",
    [
        "25006",  # read-only: a standby, after a failover
        "40001",  # serialization failure
        "40P01",  # deadlock
        "53100",  # disk full
        "53200",  # out of memory
        "55P03",  # lock not available
        "57014",  # cancelled, or the statement's time is over
        "57P01",  # the administrator ended it
        "58030",  # input or output error
    ],
)
def test_what_passes_is_tried_again(connection: Database, state: str) -> None:
    with pytest.raises(StoreUnavailable):
        connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING errcode = '{state}'; END $$")


@pytest.mark.parametrize("state", ["42501", "42P01", "42703", "XX000"])
def test_what_does_not_pass_is_not(connection: Database, state: str) -> None:
    with pytest.raises(StoreError) as caught:
        connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'trouble' USING errcode = '{state}'; END $$")
    assert not isinstance(caught.value, StoreUnavailable)


def test_a_server_that_only_reads_may_become_one_that_writes(connection: Database) -> None:
    connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        connection.execute("INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix')")


def test_a_process_that_slept_within_a_transaction_tries_again(connection: Database) -> None:
    connection.configure("SET idle_in_transaction_session_timeout = '50ms'")
    with pytest.raises(StoreUnavailable), connection.transaction():
        time.sleep(0.3)
    assert connection.fetch("SELECT 1") == [(1,)]


def test_each_answer_is_a_sign_of_life(database: str) -> None:
    answers = []
    with closing(Database(database, lambda: answers.append(1))) as connection:
        with connection.transaction():
            connection.fetch("SELECT 1")
            connection.copy(CopyInto("mail_server", ("host", "instance")), [("mx", "postfix")])
        assert len(answers) == 4
        with pytest.raises(StoreError):
            connection.execute("nonsense")
        assert len(answers) == 4


def test_what_copy_takes_is_what_is_read_back(connection: Database) -> None:
    texts = ["plain", "", "\\N", "\\", "a\tb", "a\nb", "a\rb", "\\.", "\\x41", "ä€😀", None, "None", "NULL"]
    rows: list[tuple[Any, ...]] = [
        (number, text, "plain", text, None, None if number % 2 else number / 3, number % 2 == 0, b"\\\x00\xff")
        for number, text in enumerate(texts)
    ]
    rows.append((-(2**63), None, "\\", None, None, -0.5, None, None))
    names = ("number", "one", "two", "three", "none", "part", "flag", "raw")
    with connection.transaction():
        connection.execute(
            "CREATE TEMPORARY TABLE copied (number bigint, one text, two text, three text, none text, "
            "part double precision, flag boolean, raw bytea) ON COMMIT DROP"
        )
        for part in (rows, rows[:1], rows[2:3]):
            connection.execute("TRUNCATE copied")
            connection.copy(CopyInto("copied", names), part)
            found = connection.fetch("SELECT * FROM copied ORDER BY number")
            found = [(*row[:-1], None if row[-1] is None else bytes(row[-1])) for row in found]
            assert found == sorted(part, key=lambda row: row[0])
