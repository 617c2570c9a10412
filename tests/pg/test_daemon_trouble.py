"""The daemon in trouble that comes and goes: what it says and does, and how often."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import journals
from journals import entry, write_journal

if journals.MISSING:
    pytest.skip(journals.MISSING, allow_module_level=True)

from journal_postfix import daemon as module
from journal_postfix.daemon import Daemon
from journal_postfix.errors import InputError, StoreUnavailable
from journal_postfix.following import Follower, JournalSource, journal_sources
from journal_postfix.notify import Notifier
from journal_postfix.settings import Settings
from journal_postfix.signals import Signals
from journal_postfix.sources.journal import JournalOptions
from journal_postfix.store import Database, write
from journal_postfix.store.inputs import Heartbeat
from journal_postfix.store.inputs import beat as really_beat
from journal_postfix.store.write import Writer
from pg.service import Growing, Service, fetch, growing, lines_of, mails, until, write_config

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


@pytest.fixture
def journal(folder: Path) -> Iterator[Growing]:
    with growing(folder) as journal:
        yield journal


@pytest.fixture
def config(database: str, tmp_path: Path, folder: Path) -> Path:
    return write_config(tmp_path / "main.yml", database, folder)


def write_mails(folder: Path, numbers: range) -> None:
    write_journal(folder / "a.journal", [e for n in numbers for e in lines_of(n, n)])


class Asked(Signals):
    """Signals that a test gives: what to do at each pause, then to stop."""

    def __init__(self, *pauses: Callable[[], None]) -> None:
        super().__init__(1.0)
        self._pauses = list(pauses)

    def pause(self, seconds: float) -> None:
        if self._pauses:
            self._pauses.pop(0)()
        else:
            self.stop = True


def run(settings: Settings, *pauses: Callable[[], None]) -> None:
    """Run the daemon in this process."""
    with closing(Notifier({})) as notifier:
        Daemon(settings, lambda: settings, Asked(*pauses), notifier).run()


def settings_for(dsn: str, folder: Path, **more: Any) -> Settings:
    return Settings(database=dsn, journal_directory=str(folder), initial_since_days=36500, **more)


# ---- the database


def test_a_server_that_only_reads_is_waited_for(database: str, config: Path, journal: Growing) -> None:
    name = fetch(database, "SELECT current_database()")[0][0]
    end_others = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with Service(config) as service, closing(Database(database)) as other:
        service.ready()
        until(lambda: service.heard("STATUS=following"))
        other.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        other.fetch(end_others)
        journal.write(*lines_of(0, 0))
        until(lambda: "read-only transaction" in service.logged())
        assert service.heard("STATUS=waiting: ")
        other.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        until(lambda: mails(database) == 1)
        service.end()
    assert service.process.returncode == 0


def test_what_no_waiting_mends_is_an_error_and_ends_it(empty_database: str, config: Path, folder: Path) -> None:
    write_config(config, empty_database, folder)
    with Service(config) as service:
        assert service.process.wait(20) == 1
    assert "<3>database: its schema lacks step 1 tables" in service.logged()
    assert not service.heard("READY=1")


def test_connections_that_are_ended_at_random_lose_and_double_nothing(
    database: str, config: Path, journal: Growing
) -> None:
    write_config(config, database, journal.folder, max_messages_per_commit=7)
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with Service(config) as service, closing(Database(database)) as other:
        for number in range(40):
            journal.write(*lines_of(number, number))
            if number % 20 == 19:
                until(lambda: mails(database) > number - 19)  # noqa: B023 (called at once)
                other.fetch(end)
        until(lambda: mails(database) == 40)
        service.end()
    assert fetch(database, "SELECT sum(lines)::int, count(*)::int FROM line_counter") == [(200, 5)]


def test_a_commit_that_is_slow_is_no_hang(database: str, config: Path, journal: Growing) -> None:
    with closing(Database(database)) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END $$"
        )
        for table in ("input_position", "delivery_from", "delivery_to", "line_counter"):
            connection.execute(
                f"CREATE TRIGGER slow AFTER INSERT OR UPDATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION slow()"
            )
    with Service(config, watchdog_s=1.2) as service:
        until(lambda: service.heard("STATUS=following"))
        journal.write(*lines_of(0, 0))
        until(lambda: _is_storing(database))
        service.heard("")
        before = service.words.count("WATCHDOG=1")
        until(lambda: mails(database) == 1)
        service.heard("")
        assert service.words.count("WATCHDOG=1") >= before + 3
        service.end()


def test_a_long_pause_is_no_hang(database: str, config: Path, folder: Path) -> None:
    write_mails(folder, range(1))
    write_config(config, database, folder, journal_poll_interval=60)
    with Service(config, watchdog_s=0.8) as service:
        until(lambda: service.heard("STATUS=following"))
        before = service.words.count("WATCHDOG=1")
        until(lambda: service.heard("WATCHDOG=1") and service.words.count("WATCHDOG=1") > before + 2)
        assert service.end() < 2.0


def _is_storing(dsn: str) -> bool:
    query = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'journal-postfix' AND wait_event = 'PgSleep' "
        "AND datname = current_database()"
    )
    return bool(fetch(dsn, query))


def test_what_takes_too_long_is_not_tried_again_at_once(
    database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mails(folder, range(2))
    calls = []

    def time_is_over(connection: Database, days: float) -> int:
        calls.append(days)
        raise StoreUnavailable("database: canceling statement due to statement timeout")

    monkeypatch.setattr(module, "close_silent", time_is_over)
    monkeypatch.setattr(module, "FIRST_BACK_OFF_S", 0.01)
    run(settings_for(database, folder), *[lambda: time.sleep(0.01)] * 4)
    assert calls == [8]
    assert mails(database) == 2


def test_a_batch_that_the_server_cannot_take_in_time_is_stored_in_parts(
    database: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mails(folder, range(24))
    with closing(Database(database)) as connection:
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER slow BEFORE INSERT ON delivery_from FOR EACH ROW EXECUTE FUNCTION slow()")
    monkeypatch.setattr(write, "WRITER_SETTINGS", (*write.WRITER_SETTINGS, "SET statement_timeout = '300ms'"))
    monkeypatch.setattr(module, "FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr(module, "MAX_BACK_OFF_S", 0.01)

    def go_on() -> None:
        assert mails(database) < 24
        time.sleep(0.01)

    with pytest.raises(AssertionError):  # that is, when all are stored
        run(settings_for(database, folder), *[go_on] * 1000)
    assert fetch(database, "SELECT sum(lines)::int FROM line_counter") == [(120,)]


# ---- how far it is


def test_a_daemon_that_falls_behind_again_says_so(database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[Heartbeat] = []

    def keep(connection: Database, heartbeat: Heartbeat) -> None:
        beats.append(heartbeat)
        really_beat(connection, heartbeat)

    monkeypatch.setattr(module, "beat", keep)
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.0)
    write_mails(folder, range(2))
    run(
        settings_for(database, folder, max_messages_per_commit=5),
        lambda: write_mails(folder, range(2, 6)),
        lambda: beats.append(beats[-1]._replace(state="(idle again)")),
    )
    states = [(one.state, one.lag > 0.0) for one in beats]
    assert states[:3] == [("catching up", True), ("catching up", True), ("following", False)]
    idle_again = states.index(("(idle again)", False))
    assert states[3:idle_again] == [("following", True)] * 4 + [("following", False)]
    assert states[-1] == ("stopped", False)
    assert fetch(database, "SELECT state, lag FROM daemon_state") == [("stopped", 0.0)]


def test_a_directory_without_journals_is_told_and_one_that_gets_some_is_well(
    database: str, config: Path, folder: Path
) -> None:
    query = "SELECT problem FROM daemon_state WHERE state = 'following'"
    with Service(config) as service:
        until(lambda: "there are none yet" in service.logged())
        problem = until(lambda: fetch(database, query))[0][0]
        assert problem == f"journals in {folder}: there are none yet"
        write_mails(folder, range(1))
        until(lambda: mails(database) == 1)
        service.end()
    assert service.logged().count("there are none yet") == 1
    assert fetch(database, "SELECT problem FROM daemon_state") == [(None,)]


def test_a_journal_without_a_line_of_postfixs_is_told(database: str, config: Path, folder: Path) -> None:
    write_journal(folder / "a.journal", [entry(1, SYSLOG_FACILITY="3", SYSLOG_IDENTIFIER="cron")])
    with Service(config) as service:
        (row,) = until(lambda: fetch(database, "SELECT problem FROM daemon_state WHERE problem IS NOT NULL"))
        service.end()
    assert "holds no line of Postfix yet" in row[0]


# ---- whose journal it is


def test_machines_whose_ids_are_none_disturb_nothing(database: str, config: Path, folder: Path) -> None:
    names = (b"x\0y", b"../../etc", b"a" * 999, b"\n")
    odd = [entry(number, _MACHINE_ID=name) for number, name in enumerate(names)]
    write_journal(folder / "a.journal", [*odd, *lines_of(0, 9)])
    settings = settings_for(database, folder)
    told: list[str] = []
    (source,) = journal_sources(settings, told)
    assert source.options.machine_id == journals.MACHINE
    assert len(told) == 1
    assert "_MACHINE_ID" in told[0]
    with Service(config) as service:
        until(lambda: mails(database) == 1)
        service.end()
    assert fetch(database, "SELECT problem FROM daemon_state") == [(told[0],)]


def test_a_clone_with_the_same_machine_id_does_not_take_the_place_over(database: str, folder: Path) -> None:
    write_mails(folder, range(1))
    settings = Settings(database=database, initial_since_days=36500)

    def follow(name: str) -> int:
        source = JournalSource("journal\0id\0", name, JournalOptions(directory=str(folder)))
        with closing(Database(database)) as connection:
            writer = Writer(connection)
            follower = Follower(source, connection, settings)
            with closing(follower):
                assert follower.fill(lambda: False, 100)
                assert not follower.is_behind
                stored = follower.commit(writer)
            really_beat(connection, Heartbeat(name, "mx", 1, "0", 0.0, "following", 0.0, 0.0, None))
        return stored

    assert follow("journal of mx1") == 5
    with pytest.raises(InputError, match=r"journal of mx2: has the same /etc/machine-id as the journal of mx1"):
        follow("journal of mx2")
    assert follow("journal of mx1") == 0
    # A host that was renamed goes on where it was.
    with closing(Database(database)) as connection:
        connection.execute("UPDATE daemon_state SET heartbeat = heartbeat - INTERVAL '3 minutes'")
    write_mails(folder, range(1, 2))
    assert follow("journal of mx2") == 5
    assert fetch(database, "SELECT name, position FROM input_state") == [("journal of mx2", 10)]
