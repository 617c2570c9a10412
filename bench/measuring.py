"""What the benchmarks measure with: a program's time, computing time and memory, a server's computing time, medians.

Takes commands and process ids; gives plain numbers: seconds, bytes. Reads /proc and the kernel's accounts of children;
changes nothing. A machine is described in words, never by its name.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SAMPLE_S: Final = 0.02


class Cost(NamedTuple):
    """What one run took: wall clock and computing seconds of the program, those of the server, the program's peak."""

    wall_s: float
    cpu_s: float
    server_cpu_s: float = 0.0
    rss: int = 0

    @property
    def all_cpu_s(self) -> float:
        """Of program and server."""
        return self.cpu_s + self.server_cpu_s


class Failed(Exception):
    """A program did not do its work; the text says what came instead."""


def _fields(pid: int) -> list[str]:
    """Give what stands in /proc/PID/stat behind the program's name, which may hold anything; nothing if it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def cpu_of(pid: int) -> float:
    """Give the computing seconds of one process, without its children."""
    fields = _fields(pid)
    return sum(map(int, fields[11:13])) / _TICKS if fields else 0.0


def cpu_of_tree(root: int) -> float:
    """Give the computing seconds of a process and all that it has started: what lives, and what it waited for.

    The kernel's accounts have hundredths of a second. What has ended and is not waited for yet is counted as well.
    """
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if fields := _fields(pid):
            parents[pid] = int(fields[1])
            # Its own time, and that of the children it has waited for.
            spent[pid] = sum(map(int, fields[11:15]))
    total = 0
    for pid, ticks in spent.items():
        ancestor = pid
        while ancestor not in (root, 0, 1):
            ancestor = parents.get(ancestor, 0)
        if ancestor == root:
            total += ticks
    return total / _TICKS


def peak_of(pid: int) -> int:
    """Give the most memory that a process has occupied so far, in bytes (VmHWM); 0 if it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


class _Peak(threading.Thread):
    """Looks at a process's peak as long as it lives.

    The kernel's account of a child that has ended (ru_maxrss) would begin with what its parent occupied at the fork.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = threading.Event()
        self.bytes = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.bytes = max(self.bytes, peak_of(self._pid))

    def end(self) -> int:
        self._over.set()
        self.join()
        return self.bytes


class Meter:
    """Measures a block: its wall clock, this process's computing time where asked, and that of a server."""

    def __init__(self, server: int | None = None, *, own: bool = False) -> None:
        self._server = server
        self._own = own
        self.cost = Cost(0, 0)

    def __enter__(self) -> Self:
        self._server_cpu = cpu_of_tree(self._server) if self._server else 0.0
        self._began, self._cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wall, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        server = cpu_of_tree(self._server) - self._server_cpu if self._server else 0.0
        self.cost = Cost(wall, cpu if self._own else 0.0, server)


def run_measured(
    command: Sequence[str | Path],
    *,
    stdin: Path | None = None,
    stdout: Path | None = None,
    server: int | None = None,
    environment: dict[str, str] | None = None,
) -> Cost:
    """Run a program to its end; give what it took. Raises Failed where it ends with another status than 0."""
    with open(stdin or os.devnull, "rb") as source, open(stdout or os.devnull, "wb") as target:  # noqa: PTH123
        before = cpu_of_tree(server) if server else 0.0
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=source, stdout=target, stderr=subprocess.PIPE, env=environment)
        peak = _Peak(process.pid)
        said = _drained(process.stderr)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        rss = peak.end()
    if process.returncode:
        raise Failed(f"status {process.returncode}: {said[-500:]}")
    server_cpu = cpu_of_tree(server) - before if server else 0.0
    return Cost(wall, usage.ru_utime + usage.ru_stime, server_cpu, rss)


def _drained(stream: IO[bytes] | None) -> str:
    assert stream is not None
    with stream:
        return stream.read().decode("utf-8", "replace")


def wait_until(what: Callable[[], Any], due_s: float, doing: str, every_s: float = 0.05) -> Any:
    """Wait until a call gives something true; give that. Raises Failed when it is not in time."""
    deadline = time.monotonic() + due_s
    while not (found := what()):
        if time.monotonic() > deadline:
            raise Failed(f"not within {due_s:g} s: {doing}")
        time.sleep(every_s)
    return found


def spread(values: Iterable[float]) -> tuple[float, float, float]:
    """Give median, least and most.

    >>> spread([3, 1, 2])
    (2, 1, 3)
    """
    ordered = sorted(values)
    return statistics.median(ordered), ordered[0], ordered[-1]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Give a Markdown table, its columns aligned.

    >>> print(table(["a", "bcd"], [["ef", "g"]]))
    | a  | bcd |
    | -- | --- |
    | ef | g   |
    """
    lines = [list(head), [], *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines if line) for column in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    cells = ([text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _first(path: str, begin: str) -> str:
    """Give what follows `begin` and its separator on the first line that begins so."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    line = next((line for line in lines if line.startswith(begin)), "")
    return line[len(begin) :].strip(' \t:="')


def machine_in_words(python: str = "") -> str:
    """Describe this machine by what matters: cores, processor, memory, Debian's and Python's release."""
    processor = _first("/proc/cpuinfo", "model name") or platform.machine()
    memory = int((_first("/proc/meminfo", "MemTotal").split() or ["0"])[0]) / 1024**2
    busy = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores ({processor}), {memory:.0f} GiB, {_first('/etc/os-release', 'PRETTY_NAME')}, "
        f"Python {python or platform.python_version()}; load average at the beginning {busy:.1f}"
    )


def package_version(package: str) -> str:
    """Give the version of an installed Debian package, '' if it is not installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""
