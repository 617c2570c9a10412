"""Workers: what they hand back, how they fail, when there are none; and how many are of use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from journal_postfix.workers import MAX_DEFAULT_JOBS, Worker, WorkerFailed, cpu_quota, default_jobs, usable_cores
from paths import PROGRAM


def test_a_worker_hands_back_what_it_made() -> None:
    known = {"a": [1, "ü\ud800", b"\0"]}
    worker = Worker.start(lambda look_out: (known, os.getppid()))
    assert worker is not None
    assert worker.made() == (known, os.getpid())


def test_what_is_large_does_not_wait_for_a_reader() -> None:
    worker = Worker.start(lambda look_out: b"x" * 20_000_000)
    assert worker is not None
    assert os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT) is not None  # ended, though nobody has read
    assert len(worker.made()) == 20_000_000


def _raise(_: Callable[[], None]) -> None:
    raise ValueError("no line is like this")


def test_one_that_raises_has_failed_and_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    worker = Worker.start(_raise)
    assert worker is not None
    with pytest.raises(WorkerFailed, match="ended with status 1"):
        worker.made()
    assert capfd.readouterr() == ("", "")


def test_one_that_is_killed_has_failed() -> None:
    worker: Worker[None] | None = Worker.start(lambda look_out: time.sleep(60))
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailed, match="killed by signal 9"):
        worker.made()


def test_one_that_is_stopped_is_gone() -> None:
    worker: Worker[None] | None = Worker.start(lambda look_out: time.sleep(60))
    assert worker is not None
    worker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_beside_a_second_thread_none_is_started() -> None:
    event = threading.Event()
    thread = threading.Thread(target=event.wait)
    thread.start()
    try:
        assert Worker.start(lambda look_out: 1) is None
    finally:
        event.set()
        thread.join()


def test_one_whose_parent_has_died_ends_at_the_next_look_out() -> None:
    script = (
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(PROGRAM)!r})\n"
        "from journal_postfix.workers import Worker\n"
        "def work(look_out):\n"
        "    while True:\n"
        "        look_out()\n"
        "        time.sleep(0.01)\n"
        "print(Worker.start(work).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=10)
    # It holds the pipes of its parent, whose end has come: subprocess has waited for them.
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    deadline = time.monotonic() + 5
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_running(worker)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_one_core_needs_no_worker() -> None:
    script = (
        f"import os, sys; sys.path.insert(0, {str(PROGRAM)!r})\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from journal_postfix.workers import default_jobs; print(default_jobs())"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"1\n"
    assert 1 <= default_jobs() <= min(usable_cores(), MAX_DEFAULT_JOBS)


@pytest.mark.parametrize(
    ("own", "limits", "cores"),
    [
        ("0::/a/b\n", {"a": "150000 100000\n", "a/b": "max 100000\n"}, 1.5),
        ("1:cpu:/x\n0::/a/b\n", {"a": "400000 100000\n", "a/b": "50000 100000\n"}, 0.5),
        ("0::/\n", {}, None),
        ("0::/a\n", {"a": "max 100000\n"}, None),
        ("0::/a\n", {"a": "nonsense\n"}, None),
        ("1:cpu:/x\n", {"x": "100 100\n"}, None),
    ],
)
def test_the_smallest_quota_of_all_groups_counts(
    own: str, limits: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own)
    for folder, limit in limits.items():
        path = tmp_path / "cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "cpu.max").write_text(limit)
    assert cpu_quota(tmp_path / "own", tmp_path / "cgroup") == cores
    assert cpu_quota(tmp_path / "missing", tmp_path / "cgroup") is None
