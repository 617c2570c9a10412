"""The daemon on real journal files, a real PostgreSQL and a real notify socket: started, killed, stopped, starved."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import journals
from journals import entry, write_journal
from paths import PROGRAM
from pg.dump import dump
from scratch_postgres import ScratchPostgres

if journals.MISSING:
    pytest.skip(journals.MISSING, allow_module_level=True)

from journal_postfix.following import journal_sources
from journal_postfix.settings import load_settings
from journal_postfix.store import Database, apply_schema
from pg.service import Growing, Service, fetch, growing, lines_of, mails, today, until, write_config
from pg.torture_journal import torture

pytestmark = pytest.mark.one_postgres

SUPPRESSED = {
    "MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e",
    "_TRANSPORT": "driver",
    "SYSLOG_IDENTIFIER": "systemd-journald",
    "SYSLOG_FACILITY": None,
    "_SYSTEMD_UNIT": "systemd-journald.service",
    "_UID": "0",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(folder: Path) -> Iterator[Growing]:
    with growing(folder) as journal:
        yield journal


@pytest.fixture
def config(database: str, tmp_path: Path, folder: Path) -> Path:
    return write_config(tmp_path / "main.yml", database, folder)


def write_mails(folder: Path, count: int, name: str = "system", first: int = 0) -> None:
    write_journal(folder / f"{name}.journal", [e for n in range(first, first + count) for e in lines_of(n, n)])


def test_it_catches_up_follows_new_files_and_ends_in_time(database: str, config: Path, journal: Growing) -> None:
    journal.write(*[e for n in range(50) for e in lines_of(n, n)])
    journal.new_file("b")
    with Service(config) as service:
        service.ready()
        until(lambda: mails(database) == 50)
        for number in range(50, 55):
            journal.write(*lines_of(number, number))
            began = time.monotonic()
            until(lambda: mails(database) == number + 1)  # noqa: B023 (called at once)
            assert time.monotonic() - began < 1.0
            journal.new_file(f"c{number}")
        until(lambda: service.heard("STATUS=following"))
        assert service.end() < 2.0
    assert service.process.returncode == 0
    assert service.heard("STOPPING=1")
    assert fetch(database, "SELECT position, lines, cursor IS NOT NULL FROM input_state") == [(275, 275, True)]
    log = service.logged()
    assert "caught up: 250 lines" in log
    assert "@" not in log
    assert all(re.match(r"<[0-7]>", line) for line in log.splitlines())


def test_a_start_begins_no_earlier_than_it_shall(database: str, config: Path, tmp_path: Path, folder: Path) -> None:
    write_journal(folder / "a.journal", [*today(lines_of(1, 0), 10 * 86400), *today(lines_of(2, 10), 60)])
    write_config(config, database, folder, initial_since_days=5)
    with Service(config) as service:
        until(lambda: mails(database) == 1)
        service.end()
    assert fetch(database, "SELECT size FROM mail") == [(3,)]


def test_the_first_start_counts_though_nothing_came_then(database: str, config: Path, folder: Path) -> None:
    write_config(config, database, folder, initial_since_days=0)
    write_journal(folder / "a.journal", today(lines_of(1, 0), 60))
    for number, count in ((2, 0), (3, 1)):
        with Service(config) as service:
            until(lambda: service.heard("STATUS=following"))
            until(lambda: mails(database) == count)  # noqa: B023 (called at once)
            service.end()
        write_journal(folder / "a.journal", today(lines_of(number, 10), 0))
    assert fetch(database, "SELECT size FROM mail") == [(3,)]


def test_killed_daemons_lose_and_double_nothing(database: str, empty_database: str, tmp_path: Path) -> None:
    with closing(Database(empty_database)) as connection:
        apply_schema(connection)
    hits = torture(database, tmp_path, count=150, kills=6, seed=2, messages_per_commit=7)
    assert hits >= 2
    whole = write_config(tmp_path / "whole.yml", empty_database, tmp_path / "journal")
    with Service(whole) as service:
        until(lambda: mails(empty_database) == 150)
        service.end(signal.SIGINT)
    assert dump(database) == dump(empty_database)


def test_two_daemons_on_one_journal_store_it_once(
    database: str, config: Path, tmp_path: Path, journal: Growing
) -> None:
    other = write_config(tmp_path / "other.yml", database, journal.folder, max_messages_per_commit=3)
    with Service(config) as one, Service(other) as two:
        for number in range(40):
            journal.write(*lines_of(number, number))
            time.sleep(0.03)
        until(lambda: mails(database) == 40)
        one.end()
        two.end()
    assert fetch(database, "SELECT sum(lines)::int FROM line_counter") == [(200,)]
    for service in (one, two):
        assert service.logged().count("another process has stored") <= 3
        assert len(service.logged().splitlines()) < 15


def test_each_machine_of_a_directory_has_a_place_of_its_own(database: str, config: Path, folder: Path) -> None:
    for number, machine in enumerate(("a1" * 16, "a2" * 16)):
        entries = [dict(e) | {"_MACHINE_ID": machine, "_HOSTNAME": f"mx{number}"} for e in lines_of(number, 5 - number)]
        write_journal(folder / f"{machine}.journal", entries)
    with Service(config) as service:
        until(lambda: mails(database) == 2)
        service.end()
    rows = fetch(database, "SELECT right(name, 32), position FROM input_state ORDER BY 1")
    assert rows == [("a1" * 16, 5), ("a2" * 16, 5)]


# ---- when the database is away, or hangs


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Give a folder that nobody can reach too, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    yield folder / "kept"
    shutil.rmtree(folder)


def test_it_survives_the_absence_of_the_database(tmp_path: Path, folder: Path, reachable_folder: Path) -> None:
    dsn = ""
    config = tmp_path / "main.yml"
    data = reachable_folder
    with growing(folder) as journal:
        with ScratchPostgres(data) as server:
            dsn = server.dsn
            with closing(Database(dsn)) as connection:
                apply_schema(connection)
            write_config(config, dsn, folder)
            journal.write(*lines_of(0, 0))
            service = Service(config).ready()
            until(lambda: mails(dsn) == 1)
        with service:
            journal.write(*lines_of(1, 1))
            until(lambda: "cannot connect" in service.logged())
            assert service.heard("STATUS=waiting: database: ")
            with ScratchPostgres(data):
                until(lambda: mails(dsn) == 2)
                assert service.end() < 2.0
    log = service.logged()
    assert log.count("cannot connect") <= 2
    assert "going on" in log


def test_it_is_started_while_the_database_is_away(tmp_path: Path, folder: Path) -> None:
    write_mails(folder, 1)
    config = write_config(tmp_path / "main.yml", f"host={tmp_path} dbname=x", folder)
    with Service(config, watchdog_s=2) as service:
        service.ready()
        until(lambda: service.words.count("WATCHDOG=1") >= 3 or service.heard("none"))
        assert service.end() < 2.0
    assert service.process.returncode == 0


def test_no_sign_of_life_while_the_database_hangs_and_it_still_ends_in_time(
    database: str, config: Path, journal: Growing
) -> None:
    with Service(config, watchdog_s=0.6) as service, closing(Database(database)) as other:
        service.ready()
        until(lambda: service.heard("STATUS=following"))
        with other.transaction():
            other.execute("LOCK TABLE input_position IN ACCESS EXCLUSIVE MODE")
            journal.write(*lines_of(0, 0))
            until(lambda: _is_hanging(database))
            service.heard("")
            before = service.words.count("WATCHDOG=1")
            assert before >= 1
            time.sleep(0.7)
            service.heard("")
            assert service.words.count("WATCHDOG=1") <= before
            assert service.end() < 2.5
        assert service.process.returncode == 1
    assert "stopped while waiting for the database" in service.logged()
    assert mails(database) == 0
    with Service(config) as service:
        until(lambda: mails(database) == 1)


def _is_hanging(dsn: str) -> bool:
    query = (
        "SELECT FROM pg_stat_activity WHERE application_name = 'journal-postfix' AND wait_event_type = 'Lock' "
        "AND datname = current_database()"
    )
    return bool(fetch(dsn, query))


# ---- signals and configuration


def test_a_good_configuration_is_taken_and_a_bad_one_is_not(
    database: str, config: Path, tmp_path: Path, journal: Growing
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_mails(elsewhere, 3)
    with Service(config) as service:
        service.ready()
        config.write_text("journal_poll_interval: never\n", encoding="utf-8")
        service.ask(signal.SIGHUP)
        until(lambda: "going on with the one before" in service.logged())
        assert "<3>" in service.logged()
        assert service.heard("RELOADING=1")
        until(lambda: service.heard("READY=1") and service.words.count("READY=1") == 2)
        journal.write(*lines_of(100, 0))
        until(lambda: mails(database) == 1)
        write_config(config, database, elsewhere)
        service.ask(signal.SIGHUP)
        until(lambda: mails(database) == 4)
        monotonic = [int(word.partition("=")[2]) for word in service.words if word.startswith("MONOTONIC_USEC=")]
        states = [("following",), ("replaced",)]
        until(lambda: fetch(database, "SELECT state FROM daemon_state ORDER BY state") == states)
        assert status(config)[0] == 0
        assert monotonic[0] <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        service.end()


def test_a_bad_configuration_at_the_start_is_a_problem_of_configuration(config: Path) -> None:
    config.write_text("journal_directory: relative\njournal_facility: post\n", encoding="utf-8")
    with Service(config) as service:
        assert service.process.wait(20) == 78
    assert service.logged().count("\n") == 2


# ---- gaps, forgeries, and what status says


def status(config: Path) -> tuple[int, dict[str, Any]]:
    import json

    command = [sys.executable, str(PROGRAM), "--config", str(config), "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def run_until(config: Path, dsn: str, count: int) -> str:
    with Service(config) as service:
        until(lambda: mails(dsn) == count)
        until(lambda: "caught up" in service.logged())
        service.end()
    return service.logged()


def test_what_the_journal_lost_is_a_gap(database: str, config: Path, folder: Path) -> None:
    write_mails(folder, 3, "a")
    run_until(config, database, 3)
    shutil.rmtree(folder)
    write_mails(folder, 2, "b", first=10)
    log = run_until(config, database, 5)
    assert "is gone" in log
    rows = fetch(database, "SELECT kind, lines, extract(epoch FROM ended - began)::int FROM input_gap")
    assert rows == [("vacuumed", None, 8)]
    code, report = status(config)
    assert code == 1
    (problem,) = [one for one in report["problems"] if "missing" in one]
    assert "the journal was shortened before it was read" in problem
    run_until(config, database, 5)
    assert fetch(database, "SELECT count(*) FROM input_gap") == [(1,)]


def test_what_journald_dropped_is_a_gap_with_its_count(database: str, config: Path, folder: Path) -> None:
    dropped = entry(
        40,
        "Suppressed 4711 messages from postfix@-.service",
        N_DROPPED="4711",
        OBJECT_SYSTEMD_UNIT="postfix@-.service",
        **SUPPRESSED,
    )
    write_journal(folder / "a.journal", [*lines_of(0, 1), dropped, *lines_of(1, 40.5)])
    run_until(config, database, 2)
    rows = fetch(
        database,
        "SELECT g.kind, unit, g.lines, round(extract(epoch FROM ended - began))::int, position "
        "FROM input_gap AS g, input_state",
    )
    assert rows == [("suppressed", "postfix@-.service", 4711, 39, 11)]


def test_a_gap_that_comes_alone_is_kept_once(database: str, config: Path, folder: Path) -> None:
    dropped = entry(
        40,
        "Suppressed 5 messages from postfix.service",
        N_DROPPED="5",
        OBJECT_SYSTEMD_UNIT="postfix.service",
        **SUPPRESSED,
    )
    path = folder / "a.journal"
    for entries, count in ((lines_of(0, 1), 1), ([dropped], 1), ([], 1), (lines_of(1, 41), 2)):
        write_journal(path, entries)
        run_until(config, database, count)
    assert fetch(database, "SELECT kind, lines FROM input_gap") == [("suppressed", 5)]
    assert fetch(database, "SELECT position, lines FROM input_state") == [(11, 10)]


def test_status_of_a_daemon_that_runs_and_of_one_that_does_not(database: str, config: Path, journal: Growing) -> None:
    with Service(config) as service:
        journal.write(*lines_of(0, 0))
        until(lambda: mails(database) == 1)
        until(lambda: fetch(database, "SELECT FROM daemon_state WHERE state = 'following'"))
        code, report = status(config)
        assert (code, report["problems"]) == (0, [])
        (daemon,) = report["daemons"]
        assert daemon["state"] == "following"
        assert list(report["waiting_s"].values()) == [0.0]
        service.process.kill()
        service.process.wait()
    journal.write(*today(lines_of(1, 1), 3600))
    journal.close()
    with closing(Database(database)) as connection:
        connection.execute("UPDATE daemon_state SET heartbeat = heartbeat - INTERVAL '1 hour'")
    code, report = status(config)
    assert code == 1
    silent, waiting = report["problems"]
    assert "has not been heard of since" in silent
    assert "waiting for 60 minutes" in waiting


def test_who_forges_lines_is_told(database: str, config: Path, folder: Path) -> None:
    forged = entry(0, "A1A1A1A1: removed", _UID="1000", _SYSTEMD_UNIT="user@1000.service", _EXE="/usr/bin/logger")
    write_journal(folder / "a.journal", [*lines_of(0, 0), *today([forged, forged], 60)])
    run_until(config, database, 1)
    code, report = status(config)
    assert code == 1
    (row,) = report["forged"]
    assert (row["origin"], row["lines"]) == ("user@1000.service, uid 1000, /usr/bin/logger", 2)
    assert any("journal_units" in problem for problem in report["problems"])
    write_config(config, database, folder, journal_units=["user@1000.service"])
    assert "user@1000.service" in journal_sources(load_settings(config))[0].options.units


def test_a_journal_that_cannot_be_read_is_said_and_waited_for(database: str, config: Path, folder: Path) -> None:
    with Service(config) as service:
        service.ready()
        until(lambda: fetch(database, "SELECT FROM daemon_state WHERE problem IS NOT NULL"))
        code, report = status(config)
        assert code == 1
        assert any(str(folder) in problem for problem in report["problems"])
        write_mails(folder, 1)
        until(lambda: mails(database) == 1)
        until(lambda: fetch(database, "SELECT FROM daemon_state WHERE problem IS NULL"))
        service.end()
    assert service.logged().count("No such file or directory") == 1


def test_a_line_of_a_megabyte_a_clock_that_steps_back_and_no_message_disturb_nothing(
    database: str, config: Path, folder: Path
) -> None:
    odd = [
        entry(5, b"x" * (1 << 20)),
        entry(6, MESSAGE=None),
        entry(7, b"\xff\x00\xfe"),
        entry(2, "warning: the clock was set back"),
    ]
    write_journal(folder / "a.journal", [*lines_of(0, 1), *odd, *lines_of(1, 3)])
    run_until(config, database, 2)
    assert fetch(database, "SELECT position FROM input_state") == [(14,)]
    run_until(config, database, 2)
    assert fetch(database, "SELECT sum(lines)::int FROM line_counter") == [(14,)]
