"""Work done by a process of its own: a child that begins with all that its parent knows, and hands back what it made.

Takes a function; gives what it returned, or says that the child has failed: it was killed, or the function raised. The
parent can then do the same work itself, which is all that a failure costs. Never waits for anything but the child.

Theory. A child is forked for one piece of work and ends with it. So nothing is sent to it: what it works on lies in the
memory that it shares with its parent until one of them writes. What it hands back it writes into a file in memory,
which the parent opened before: there is no pipe that could be full, and nobody waits for a reader. A child is alone
with a copy of everything, the database's connection among it: it must touch nothing that others share. That is why it
never returns from here, runs no exit handler, and flushes no stream. One whose parent has died ends at the next
look-out. A process with a second thread is not forked: a lock that the thread holds would stay locked for ever.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, Self, TypeVar

Made = TypeVar("Made")
LookOut = Callable[[], None]
"""To be called by the work now and then: does not come back once nobody waits for it any more."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
# More could be kept busy only by a database that takes batches faster than PostgreSQL does.
MAX_DEFAULT_JOBS: Final = 4


class WorkerFailed(Exception):
    """A child has ended without handing over what it was to make; the text says how it ended."""


class Worker(Generic[Made]):
    """One piece of work under way in a child."""

    def __init__(self, pid: int, result: int) -> None:
        self.pid = pid
        self._result = result
        self._is_over = False

    @classmethod
    def start(cls, work: Callable[[LookOut], Made]) -> Self | None:
        """Begin; None where no child can be had now."""
        if threading.active_count() > 1:
            return None
        try:
            result = os.memfd_create("journal-postfix")
        except OSError:
            return None
        parent = os.getpid()
        # Were the child interrupted before it knows that it is one, it would end as its parent does, with all of that.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                _work(work, parent, result, mask)
        except OSError:
            os.close(result)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return cls(pid, result)

    def made(self) -> Made:
        """Wait for the child, and give what the work returned. Raises WorkerFailed."""
        try:
            status = self._wait()
            if status:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                raise WorkerFailed(f"a worker process {how}; going on without: slower, but nothing is lost")
            with open(self._result, "rb", closefd=False) as file:
                file.seek(0)
                made: Made = pickle.load(file)  # noqa: S301 (our own child wrote it, into memory that nobody else has)
                return made
        finally:
            self.stop()

    def stop(self) -> None:
        """End the child if it is still at work, and give back what it took."""
        if not self._is_over:
            os.kill(self.pid, signal.SIGKILL)  # not waited for: nobody else has its number yet
            self._wait()
        if self._result >= 0:
            os.close(self._result)
            self._result = -1

    def _wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self._is_over = True
        return os.waitstatus_to_exitcode(status)


def _work(work: Callable[[LookOut], Made], parent: int, result: int, mask: set[int | signal.Signals]) -> None:
    """Be the child: never returns."""

    def look_out() -> None:
        if os.getppid() != parent:
            os._exit(1)

    try:
        # Ctrl-C is for all processes of a terminal; the parent alone says what it means.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Whatever is garbage goes with the process; looking for it would copy the pages that it lies in.
        gc.disable()
        with open(result, "wb", closefd=False) as file:
            pickle.dump(work(look_out), file, pickle.HIGHEST_PROTOCOL)
        os._exit(0)
    finally:
        os._exit(1)


def usable_cores() -> int:
    """Say how many processes can run at the same time: the cores that we may use, within the quota of our cgroup."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(own: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Give the smallest cpu.max of the cgroups that we are in, in cores; None without one. Source: cgroup-v2.rst."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    quotas = []
    for folder in (cgroups / line[3:].strip("/") for line in lines if line.startswith("0::")):
        for group in (folder, *folder.parents):
            with contextlib.suppress(OSError, ValueError):
                quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
                if quota != "max":
                    quotas.append(int(quota) / int(period))
            if group == cgroups:
                break
    return min(quotas, default=None)


def default_jobs() -> int:
    """Give how many children are of use at the same time here; 1 is: none, one process does it all."""
    return min(usable_cores(), MAX_DEFAULT_JOBS)
