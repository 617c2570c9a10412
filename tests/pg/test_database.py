"""The connection: which of the server's refusals pass by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from threading import Thread
from typing import Any

import pytest

from journal_postfix.errors import StoreError, StoreUnavailable
from journal_postfix.store import Database, apply_schema
from journal_postfix.store.database import CopyInto, RowRefused
from scratch_postgres import ScratchPostgres

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def connection(database: str) -> Iterator[Database]:
    with closing(Database(database)) as connection:
        yield connection


@pytest.mark.parametrize(
    "state",
    [
        "25P04",  # the time of a transaction is over (PostgreSQL 17)
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


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_what_is_logged_is_refused(postgres_server: ScratchPostgres, encoding: str) -> None:
    """SQL_ASCII is what initdb makes where no locale is set."""
    name = f"encoded_{encoding.lower()}"
    with closing(Database(postgres_server.dsn)) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
        with closing(Database(postgres_server.database_dsn(name))) as other, pytest.raises(StoreError, match=encoding):
            apply_schema(other)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_server_that_only_reads_may_become_one_that_writes(connection: Database) -> None:
    connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        connection.execute("INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix')")


def test_who_waited_for_a_lock_sees_what_was_stored_meanwhile(connection: Database, database: str) -> None:
    """Whatever the administrator has made the default."""
    lock = partial(connection.defer, "SELECT pg_advisory_xact_lock(1)")
    connection.configure("SET default_transaction_isolation = 'repeatable read'")
    found: list[list[str]] = []
    with closing(Database(database)) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(1)")
        other.execute("INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix')")
        waiting = Thread(target=_in_transaction, args=(connection, lock, lambda: found.append(_servers(connection))))
        waiting.start()
        _wait_for(database, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    waiting.join()
    assert found == [["mx"]]


def _wait_for(database: str, query: str) -> None:
    deadline = time.monotonic() + 20
    with closing(Database(database)) as watching:
        while not watching.fetch(query):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_process_that_slept_within_a_transaction_tries_again(connection: Database) -> None:
    connection.configure("SET idle_in_transaction_session_timeout = '50ms'")
    with pytest.raises(StoreUnavailable):
        _in_transaction(connection, partial(connection.fetch, "SELECT 1"), partial(time.sleep, 0.3))
    assert connection.fetch("SELECT 1") == [(1,)]


def test_each_answer_is_a_sign_of_life(database: str) -> None:
    answers = []
    with closing(Database(database, lambda: answers.append(1))) as connection:
        with connection.transaction():
            connection.fetch("SELECT 1")
            connection.copy(CopyInto("mail_server", ("host", "instance")), [("mx", "postfix")])
        assert len(answers) == 3
        with pytest.raises(StoreError):
            connection.execute("nonsense")
        assert len(answers) == 3


def _servers(connection: Database) -> list[str]:
    return [host for (host,) in connection.fetch("SELECT host FROM mail_server ORDER BY host")]


_ADD = "INSERT INTO mail_server (host, instance) VALUES (%s, 'postfix')"
_INTO = CopyInto("mail_server", ("host", "instance"))


def test_what_is_deferred_comes_before_the_next_command(connection: Database) -> None:
    with connection.transaction():
        connection.defer(_ADD, ("mx1; %s",))
        assert _servers(connection) == ["mx1; %s"]
        connection.defer(_ADD, ("mx2",))
        connection.copy(_INTO, [("mx3", "postfix")])
        assert connection.execute("DELETE FROM mail_server WHERE host = 'mx2'") == 1
        connection.defer(_ADD, ("mx4",))
    assert _servers(connection) == ["mx1; %s", "mx3", "mx4"]


def _in_transaction(connection: Database, *steps: Callable[[], object]) -> None:
    with connection.transaction():
        for step in steps:
            step()


def _in_savepoint(connection: Database, *steps: Callable[[], object]) -> None:
    with connection.savepoint():
        for step in steps:
            step()


def test_what_is_wrong_with_what_was_deferred_undoes_the_transaction(connection: Database) -> None:
    add = partial(connection.defer, _ADD, ("mx1",))
    with pytest.raises(RowRefused):
        _in_transaction(connection, add, add)
    with pytest.raises(StoreError, match="syntax"):
        _in_transaction(
            connection,
            add,
            partial(connection.defer, "nonsense"),
            partial(connection.copy, _INTO, [("mx2", "postfix")]),
        )
    with pytest.raises(ZeroDivisionError):
        _in_transaction(connection, add, lambda: 1 / 0)
    assert _servers(connection) == []


@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("bad", ["surrogate \ud800", "mx1"])
def test_only_a_block_that_is_refused_is_undone(connection: Database, bad: str, *, is_sent: bool) -> None:
    add: list[Callable[[], object]] = [partial(connection.defer, _ADD, (host,)) for host in ("mx2", bad)]
    if is_sent:
        add.insert(1, partial(connection.fetch, "SELECT 1"))
    with connection.transaction():
        connection.defer(_ADD, ("mx1",))
        with pytest.raises(RowRefused):
            _in_savepoint(connection, *add)
        with pytest.raises(RowRefused):
            # Before anything was sent.
            _in_savepoint(connection, partial(connection.copy, _INTO, [("surrogate \ud800", "postfix")]))
        _in_savepoint(connection, partial(connection.defer, _ADD, ("mx3",)))
        connection.defer(_ADD, ("mx4",))
    assert _servers(connection) == ["mx1", "mx3", "mx4"]


def test_a_block_is_undone_as_a_whole_after_one_within_it_was(connection: Database) -> None:
    first, second = (partial(connection.execute, _ADD, (host,)) for host in ("mx1", "mx2"))

    def refused_within() -> None:
        with pytest.raises(RowRefused):
            _in_savepoint(connection, second, second)

    with connection.transaction():
        with pytest.raises(RowRefused):
            _in_savepoint(connection, first, refused_within, second, first)
        connection.execute(_ADD, ("mx3",))
    assert _servers(connection) == ["mx3"]


def test_what_was_deferred_before_a_block_is_not_refused_as_the_block(connection: Database) -> None:
    def add_twice_and_attempt() -> None:
        connection.defer(_ADD, ("mx1",))
        connection.defer(_ADD, ("mx1",))
        with contextlib.suppress(RowRefused):
            _in_savepoint(connection, partial(connection.defer, _ADD, ("mx2",)))

    with pytest.raises(StoreError, match="mail_server"):
        _in_transaction(connection, add_twice_and_attempt)
    assert _servers(connection) == []


def test_a_transaction_that_had_failed_is_not_taken_for_committed(connection: Database) -> None:
    def add() -> None:
        with contextlib.suppress(RowRefused):
            connection.execute(_ADD, ("mx1",))

    with pytest.raises(StoreError, match="had failed"):
        _in_transaction(connection, add, add)
    assert _servers(connection) == []


def test_the_crash_of_another_servers_process_passes() -> None:
    with (
        ScratchPostgres(settings={"restart_after_crash": "on"}) as server,
        closing(Database(server.dsn)) as one,
        closing(Database(server.dsn)) as other,
    ):
        ((pid,),) = one.fetch("SELECT pg_backend_pid()")
        other.fetch("SELECT 1")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        is_well = False
        while not is_well and time.monotonic() < deadline:
            # Nothing but StoreUnavailable may come of it.
            with contextlib.suppress(StoreUnavailable):
                is_well = one.fetch("SELECT 1") == other.fetch("SELECT 1") == [(1,)]
            time.sleep(0.05)
        assert is_well


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
