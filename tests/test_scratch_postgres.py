"""The scratch server: it runs, is private, keeps what it shall keep, and never outlives its starter."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from paths import ROOT
from scratch_postgres import ScratchPostgres, ScratchPostgresError, Server

STARTER = """
import signal, sys, time
from pathlib import Path
from scratch_postgres import ScratchPostgres
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
with ScratchPostgres(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


def one_value(dsn: str, query: str) -> object:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
        return row[0] if row else None


def is_alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie that nobody has waited for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int, timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


@pytest.fixture
def reachable_folder() -> Iterator[Path]:
    """Give a folder that nobody can reach too, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o711)
    yield folder / "kept"
    shutil.rmtree(folder)


def test_answers_as_utf8_without_network(postgres_server: ScratchPostgres) -> None:
    assert one_value(postgres_server.dsn, "SHOW server_encoding") == "UTF8"
    assert one_value(postgres_server.dsn, "SHOW listen_addresses") == ""
    assert one_value(postgres_server.dsn, "SHOW lc_messages") == "C"


def test_its_folders_are_private(postgres_server: ScratchPostgres) -> None:
    for folder in (postgres_server.socket_dir, postgres_server.folder / "cluster"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert postgres_server.folder.stat().st_uid == os.geteuid()


def test_without_a_folder_nothing_is_left() -> None:
    with ScratchPostgres() as server:
        folder, pid = server.folder, server.pid
    assert not folder.exists()
    assert not is_alive(pid)


def test_with_a_folder_the_data_are_kept(reachable_folder: Path) -> None:
    with ScratchPostgres(reachable_folder) as server:
        one_value(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer; SELECT 1")
    with ScratchPostgres(reachable_folder) as server:
        assert one_value(server.dsn, "SELECT answer FROM kept") == 42
        assert one_value(server.dsn, "SHOW fsync") == "on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ends_with_its_starter(reachable_folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, reachable_folder],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        server_pid = int(starter.stdout.readline())
        starter.send_signal(number)
        starter.wait(30)
    assert wait_until_gone(server_pid)
    with ScratchPostgres(reachable_folder) as server:
        assert one_value(server.dsn, "SELECT 1") == 1


def test_a_starter_waits_for_the_one_before(reachable_folder: Path) -> None:
    with ScratchPostgres(reachable_folder):
        second = subprocess.Popen(
            [sys.executable, "-c", STARTER, reachable_folder],
            env={**os.environ, "PYTHONPATH": str(ROOT / "tools")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with second:
            assert second.stdout is not None
            assert second.stderr is not None
            assert "Waiting for another command" in second.stderr.readline()
            second.terminate()


def test_programs_that_do_not_work_are_named(tmp_path: Path) -> None:
    """The folder is one that nobody cannot enter: the programs are copied to where the data are."""
    bindir = tmp_path / "package" / "pginstall" / "bin"
    bindir.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (bindir / name).write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
        (bindir / name).chmod(0o755)
    server = ScratchPostgres(server=Server(bindir, "15.0", "nowhere"))
    with pytest.raises(ScratchPostgresError, match=r"PostgreSQL 15\.0 \(nowhere\): initdb failed") as caught, server:
        pass
    assert "out of order" in str(caught.value)
