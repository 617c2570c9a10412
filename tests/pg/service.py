"""Runs `journal-postfix run` as systemd would, on a directory of real journal files: for tests of the daemon.

Gives a process with a notify socket that is listened to, a journal that grows, and what the database shows. Waits only
for what is to happen, and fails when it does not within DUE_S.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from journal_postfix.store import Database
from journals import Entry, JournalWriter, entry
from paths import PROGRAM

DUE_S = 20.0
POLL_S = 0.02


def until(what: Callable[[], Any], due_s: float = DUE_S) -> Any:
    """Wait until a call gives something true; give that."""
    deadline = time.monotonic() + due_s
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {due_s:g} s"
        time.sleep(POLL_S)
    return found


def write_config(path: Path, dsn: str, journal: Path, **settings: Any) -> Path:
    """Write a configuration; give its path."""
    values = {
        "database": dsn,
        "journal_directory": str(journal),
        "journal_poll_interval": 0.05,
        # The journals of the tests have times of their own.
        "initial_since_days": 36500,
    } | settings
    path.write_text("".join(f"{name}: {value!r}\n" for name, value in values.items()), encoding="utf-8")
    return path


class Service:
    """The daemon, started by its unit: what it says is in `log` and comes from `heard`."""

    def __init__(self, config: Path, watchdog_s: float | None = None) -> None:
        self.config = config
        self.log = config.with_suffix(".stderr")
        address = config.with_suffix(".notify")
        address.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(address))
        self._socket.setblocking(False)
        self.words: list[str] = []
        environment = {**os.environ, "NOTIFY_SOCKET": str(address)}
        if watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
        with self.log.open("ab") as log:
            command = [sys.executable, str(PROGRAM), "--config", str(config), "run"]
            self.process = subprocess.Popen(command, stderr=log, env=environment)

    def heard(self, word: str) -> bool:
        """Tell whether systemd was told a line that begins so, now or before."""
        try:
            while self._socket.fileno() >= 0:
                self.words += self._socket.recv(65536).decode().splitlines()
        except BlockingIOError:
            pass
        return any(one.startswith(word) for one in self.words)

    def ready(self) -> Self:
        """Wait until systemd would take it for started."""
        until(lambda: self.heard("READY=1") or self._is_dead())
        return self

    def _is_dead(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return False

    def ask(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it; give how long that took."""
        began = time.monotonic()
        self.ask(number)
        self.process.wait(DUE_S)
        return time.monotonic() - began

    def logged(self) -> str:
        """Give what it has written to standard error."""
        return self.log.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.heard("")
        self._socket.close()


class Growing:
    """A journal that grows: entries are written by systemd-journal-remote, as journald does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = 0
        folder.mkdir(exist_ok=True)
        self._writers = [JournalWriter(folder / "a.journal")]

    def write(self, *entries: Entry) -> None:
        """Append entries; `__exit__` or `flushed` waits for them."""
        self._writers[-1].write(*entries)
        self.entries += len(entries)

    def close(self) -> None:
        """Let the writer write all and end."""
        for writer in self._writers:
            writer.__exit__(None, None, None)
        self._writers.clear()

    def new_file(self, name: str) -> None:
        """Go on in a new file."""
        self.close()
        self._writers = [JournalWriter(self.folder / f"{name}.journal")]


@contextmanager
def growing(folder: Path) -> Iterator[Growing]:
    """Give a growing journal."""
    journal = Growing(folder)
    try:
        yield journal
    finally:
        journal.close()


def lines_of(number: int, at: float) -> list[Entry]:
    """Give the entries of a whole mail, `at` seconds after the journal's beginning."""
    queue_id = f"{0xA0000000 + number:X}"
    how = "relay=mx.example.net[198.51.100.1]:25, delay=1, delays=0.2/0/0.3/0.5"
    texts = (
        ("smtpd", f"{queue_id}: client=a.example.com[192.0.2.1]"),
        ("cleanup", f"{queue_id}: message-id=<{number}@id.example>"),
        ("qmgr", f"{queue_id}: from=<a@example.com>, size={number + 1}, nrcpt=1 (queue active)"),
        ("smtp", f"{queue_id}: to=<b@example.net>, {how}, dsn=2.0.0, status=sent (250 2.0.0 Ok)"),
        ("qmgr", f"{queue_id}: removed"),
    )
    return [
        entry(at + step / 1000, text, SYSLOG_IDENTIFIER=f"postfix/{program}", _UID="0")
        for step, (program, text) in enumerate(texts)
    ]


def today(entries: list[Entry], ago_s: float) -> list[Entry]:
    """Give the entries as if the first was written so many seconds ago."""
    first = int(str(entries[0]["__REALTIME_TIMESTAMP"]))
    shift = round((time.time() - ago_s) * 1e6) - first
    return [{**one, "__REALTIME_TIMESTAMP": str(int(str(one["__REALTIME_TIMESTAMP"])) + shift)} for one in entries]


def fetch(dsn: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the database over a connection of its own."""
    with closing(Database(dsn)) as database:
        return database.fetch(query)


def mails(dsn: str) -> int:
    """Count the mails that were delivered and removed."""
    return int(fetch(dsn, "SELECT count(*) FROM mail WHERE state = 'removed'")[0][0])
