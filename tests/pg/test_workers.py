"""Workers prepare batches: the same rows as without them, whatever they meet, and whoever is killed."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from journal_postfix.errors import InputError
from journal_postfix.message import LogMessage
from journal_postfix.parse import parse
from journal_postfix.run import Summary, run_loop
from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journal_postfix.store import Database, apply_schema
from journal_postfix.store.batch import Batch
from journal_postfix.store.positions import find_position
from journal_postfix.store.prepared import PreparedBatch, make_batch
from journal_postfix.store.write import Writer, store_deliveries
from paths import PROGRAM, SAMPLE, STREAMS
from pg.dump import dump
from pg.feed import feed_lines, messages_of
from pg.test_refused_rows import BAD, GOOD

ALL_LINES = sorted(
    line
    for path in sorted(STREAMS.glob("*.log"))
    for line in path.read_text(encoding="utf-8").splitlines()
    if line.startswith("2026-")
)
SAMPLE_LOG = SAMPLE / "mail.log"


class CountingWriter(Writer):
    """A Writer that knows how many batches it has stored as they were prepared."""

    prepared = 0

    def _store_prepared(self, batch: Batch, refused: list[tuple[list[int], str]]) -> tuple[int, int, int] | None:
        stored = super()._store_prepared(batch, refused)
        self.prepared += stored is not None
        return stored


def feed(
    dsn: str,
    messages: Iterable[LogMessage],
    jobs: int,
    per_batch: int,
    *,
    name: str = "log",
    failed: list[str] | None = None,
    verp_marker: str | None = None,
    journal: bool = False,
) -> tuple[Summary, int]:
    """Store messages; give what was done, and how many batches were stored as a worker had prepared them."""
    with closing(Database(dsn)) as database:
        begins = find_position(database, "logfile", name, name.encode())._replace(is_journal=journal)
        writer = CountingWriter(database, verp_marker)
        failures: list[str] = []
        summary = run_loop(
            messages,
            writer,
            begins,
            Settings(max_messages_per_commit=per_batch),
            jobs=jobs,
            on_failed_worker=lambda error: failures.append(str(error)),
        )
    assert failed is not None or not failures
    if failed is not None:
        failed += failures
    return summary, writer.prepared


def read(path: Path) -> list[LogMessage]:
    with Logfile(str(path)) as logfile:
        return list(iter_logfile_messages(logfile, LogfileOptions(year=2026)))


@pytest.fixture
def other_database(empty_database: str) -> str:
    """A second database, to compare with."""
    with closing(Database(empty_database)) as database:
        apply_schema(database)
    return empty_database


def children() -> list[int]:
    """Give the processes that this one has started and not waited for."""
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("jobs", "per_batch"), [(2, 60), (3, 7)])
def test_every_situation_gives_the_same_rows(jobs: int, per_batch: int, database: str, other_database: str) -> None:
    """Sessions that go on in the next batch, TLS, proxies, content filters, reused ids, and all else of the streams."""
    messages = messages_of(ALL_LINES)
    before = children()
    alone, none_prepared = feed(database, messages, 1, per_batch, verp_marker="+")
    together, prepared = feed(other_database, messages, jobs, per_batch, verp_marker="+")
    assert none_prepared == 0
    assert prepared > len(messages) // per_batch // 4
    assert together == alone
    assert dump(other_database) == dump(database)
    assert children() == before


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("per_batch", [400, 2000])
def test_a_log_of_a_busy_server_gives_the_same_rows(
    jobs: int, per_batch: int, database: str, other_database: str
) -> None:
    messages = read(SAMPLE_LOG)
    alone, _ = feed(database, messages, 1, per_batch)
    together, prepared = feed(other_database, messages, jobs, per_batch)
    assert prepared > len(messages) // per_batch // 2
    assert together == alone
    assert dump(other_database) == dump(database)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_refused_row_is_set_aside_and_the_rest_of_its_batch_is_stored(
    bad: str, database: str, other_database: str
) -> None:
    messages = messages_of([*GOOD, bad, *ALL_LINES[:40]])
    alone, _ = feed(database, messages, 1, 20)
    together, _ = feed(other_database, messages, 2, 20)
    assert together == alone
    assert together.set_aside + together.unknown >= 1
    assert dump(other_database) == dump(database)


def test_a_character_that_no_database_takes_is_refused_with_its_row_alone(database: str, other_database: str) -> None:
    """A lone surrogate comes out of an entry in JSON."""
    messages = messages_of(GOOD + ALL_LINES[:60])
    messages[1] = messages[1]._replace(text=messages[1].text.replace("a@example.com", "\ud800@example.com"))
    alone, _ = feed(database, messages, 1, 20)
    together, prepared = feed(other_database, messages, 2, 20)
    assert together == alone
    assert prepared
    assert dump(other_database) == dump(database)


def test_lines_that_only_end_what_is_stored_are_joined_by_a_writer_that_knows_no_server_yet(database: str) -> None:
    smtpd = "2026-01-01T10:00:0{} mx postfix/smtpd[100]: {}"
    begin = [smtpd.format("0+00:00", "connect from c.example[192.0.2.1]")]
    begin.append(smtpd.format("1+00:00", "1A2B3C4D5E: client=c.example[192.0.2.1]"))
    end = [smtpd.format("5+00:00", "lost connection after DATA (500 bytes) from c.example[192.0.2.1]")]
    end.append(
        smtpd.format("5+00:00", "disconnect from c.example[192.0.2.1] ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4")
    )
    for lines in (begin, end):
        with closing(Database(database)) as connection:
            writer = Writer(connection)
            messages = messages_of(lines)
            state = writer.prepare(make_batch(messages, {}, parse))
            assert state is not None
            store_deliveries(writer, PreparedBatch({}, parse, messages, state), None, 0, None)
    with closing(Database(database)) as connection:
        assert connection.fetch("SELECT queue_id, ended_how FROM delivery_from") == [("1A2B3C4D5E", "canceled")]


def test_what_another_source_has_told_is_left_out(database: str, other_database: str) -> None:
    messages = messages_of(ALL_LINES)
    half = [message._replace(time=message.time - 0.013) for message in messages[: len(messages) // 2]]
    summaries = []
    for dsn, jobs in ((database, 1), (other_database, 3)):
        feed(dsn, half, jobs, 50, name="journal", journal=True)
        summaries.append(feed(dsn, messages, jobs, 50, name="file"))
    assert summaries[1][0] == summaries[0][0]
    assert summaries[1][0].by_action["covered"] >= len(half) // 2
    assert summaries[1][1] > 0
    assert dump(other_database) == dump(database)


def test_too_many_instances_of_a_host_are_set_aside(
    database: str, other_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal_postfix.store.write.MAX_INSTANCES", 3)
    lines = [
        f"2026-11-20T08:00:{number:02}+00:00 mx post{number}/qmgr[2]: AAAAAA{number}: removed" for number in range(9)
    ]
    summaries = [feed(dsn, messages_of(lines), jobs, 2)[0] for dsn, jobs in ((database, 1), (other_database, 2))]
    assert summaries[1] == summaries[0]
    assert summaries[0].set_aside == 6
    assert dump(other_database) == dump(database)


def _with_blow(messages: list[LogMessage], at: int, blow: Callable[[], None]) -> Iterator[LogMessage]:
    for number, message in enumerate(messages):
        if number == at:
            blow()
        yield message


def test_a_killed_worker_is_told_of_and_nothing_is_lost(database: str, other_database: str) -> None:
    messages = messages_of(ALL_LINES)
    feed(database, messages, 1, 100)
    before = children()

    def kill() -> None:
        # The batch before this line is full: its worker has just begun, and takes longer than to come here.
        os.kill(next(child for child in reversed(children()) if child not in before), signal.SIGKILL)

    failed: list[str] = []
    feed(other_database, _with_blow(messages, 200, kill), 2, 100, failed=failed)
    assert failed == ["a worker process was killed by signal 9; going on without: slower, but nothing is lost"]
    assert dump(other_database) == dump(database)
    assert children() == before


def test_a_line_that_raises_raises_the_same_and_what_came_before_is_stored(database: str, other_database: str) -> None:
    """No line does; should one, its traceback must be told, not the worker's end alone."""
    messages = messages_of(ALL_LINES)
    messages[150] = messages[150]._replace(identifier=5)  # type: ignore[arg-type]
    told = []
    for dsn, jobs in ((database, 1), (other_database, 2)):
        with pytest.raises(Exception, match="int") as caught:
            feed(dsn, messages, jobs, 40, failed=[])
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]
    with closing(Database(other_database)) as connection:
        assert connection.fetch("SELECT lines::int FROM input_position") == [(120,)]
    assert dump(other_database) == dump(database)


def test_what_a_damaged_file_gave_before_is_stored_before_its_error(
    database: str, other_database: str, tmp_path: Path
) -> None:
    packed = gzip.compress(("\n".join(ALL_LINES) + "\n").encode())
    torn = tmp_path / "torn.log.gz"
    torn.write_bytes(packed[: len(packed) * 2 // 3])
    told = []
    for dsn, jobs in ((database, 1), (other_database, 2)):
        with Logfile(str(torn)) as logfile, pytest.raises(InputError) as caught:
            feed(dsn, iter_logfile_messages(logfile, LogfileOptions()), jobs, 50)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "torn.log.gz" in told[0]
    whole = dump(other_database)
    assert len(whole["delivery_from"]) > 10
    assert whole == dump(database)


def test_no_worker_is_left_when_the_database_goes_away(database: str) -> None:
    before = children()
    with closing(Database(database)) as database_:
        begins = find_position(database_, "logfile", "log", b"log")
        other = Database(database)

        def cut(_: Summary) -> None:
            other.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

        with pytest.raises(Exception, match="database"):
            run_loop(
                messages_of(ALL_LINES), Writer(database_), begins, Settings(max_messages_per_commit=20), cut, jobs=3
            )
        other.close()
    assert children() == before


def _processes_of(group: int) -> list[int]:
    """Give the processes of a process group that are not dead yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(") ")
        except OSError:
            continue
        state, _, of_group, *_ = rest.split()
        if int(of_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_killed_imports_leave_no_process_and_lose_nothing(database: str, other_database: str, tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    log.write_bytes(SAMPLE_LOG.read_bytes())
    feed(database, read(log), 1, 100, name="other name")
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{other_database}'\nmax_messages_per_commit: 100\n", encoding="utf-8")
    command = [sys.executable, str(PROGRAM), "--config", str(config), "import", "--year", "2026", "--jobs", "3"]
    chaos = random.Random(7)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen([*command, str(log)], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(chaos.uniform(0.2, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        deadline = time.monotonic() + 5
        while _processes_of(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _processes_of(process.pid) == []
    assert killed
    done = subprocess.run([*command, str(log)], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert dump(other_database) == dump(database)


@pytest.mark.one_postgres
@pytest.mark.parametrize("jobs", ["0", "65", "-1", "two", ""])
def test_jobs_must_be_a_number_that_makes_sense(jobs: str, database: str) -> None:
    command = [sys.executable, str(PROGRAM), "import", "--jobs", jobs, str(SAMPLE_LOG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--jobs" in done.stderr


def test_few_lines_need_no_worker(database: str) -> None:
    before = children()
    seen: list[list[int]] = []
    messages = _with_blow(messages_of(ALL_LINES), len(ALL_LINES) - 1, lambda: seen.append(children()))
    _, prepared = feed(database, messages, 3, 20_000)
    assert prepared == 0
    assert seen == [before]
    assert feed_lines(database, [], name="nothing").lines == 0
