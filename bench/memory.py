"""Measure the daemon's memory while it stores millions of lines with thousands of mails open.

`.venv/bin/python bench/memory.py [--lines 5000000] [--open 10000]` lets the daemon follow a journal that grows (written
by systemd-journal-remote) until so many lines are stored, where each mail's last line comes so many mails after its
first ones, and prints what the daemon occupies (VmRSS, RssAnon and VmHWM of /proc) along the way. Files that are stored
are deleted, as a vacuum would do. PostgreSQL is started by itself. Leaves nothing behind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

from journal_postfix.store import Database, apply_schema  # noqa: E402
from journals import JournalWriter, entry, export  # noqa: E402
from pg.service import Service, fetch, write_config  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

LINES_PER_MAIL = 6
MAILS_PER_FILE = 50_000
SAMPLE_S = 1.0


def export_of(number: int, opened: int) -> bytes:
    """Give the lines by which mail `number` comes and is deferred once, and those by which one that is open leaves."""
    at = number / 1000
    how = "relay=mx.example.net[198.51.100.1]:25, delay=1, delays=0.2/0/0.3/0.5"
    new, old = f"{0xA0000000 + number:X}", f"{0xA0000000 + number - opened:X}"
    texts = [
        ("smtpd", f"{new}: client=a{number % 5000}.example.com[192.0.2.{number % 250}]"),
        ("cleanup", f"{new}: message-id=<{number}@id.example>"),
        ("qmgr", f"{new}: from=<a{number % 20_000}@example.com>, size={number % 9999 + 1}, nrcpt=1 (queue active)"),
        ("smtp", f"{new}: to=<b{number}@example.net>, {how}, dsn=4.2.0, status=deferred (busy, come later)"),
    ]
    if number >= opened:
        texts += [
            ("smtp", f"{old}: to=<b{number - opened}@example.net>, {how}, dsn=2.0.0, status=sent (250 2.0.0 Ok)"),
            ("qmgr", f"{old}: removed"),
        ]
    return export(
        *(
            entry(at + step / 1e5, text, SYSLOG_IDENTIFIER=f"postfix/{program}", _UID="0")
            for step, (program, text) in enumerate(texts)
        )
    )


class Source(threading.Thread):
    """Writes the journal, a file after the other, no further ahead of the daemon than two files."""

    def __init__(self, folder: Path, mails: int, opened: int) -> None:
        super().__init__(daemon=True)
        self.stored = 0
        self.written = 0
        self.is_over = False
        self._folder = folder
        self._mails = mails
        self._opened = opened

    def run(self) -> None:
        """Write all."""
        files: list[tuple[Path, int]] = []
        for begin in range(0, self._mails, MAILS_PER_FILE):
            path = self._folder / f"{begin:012}.journal"
            end = min(begin + MAILS_PER_FILE, self._mails)
            with JournalWriter(path) as writer:
                for first in range(begin, end, 100):
                    data = [export_of(number, self._opened) for number in range(first, min(first + 100, end))]
                    writer.write_raw(b"".join(data))
            self.written = LINES_PER_MAIL * end - 2 * min(self._opened, end)
            files.append((path, self.written))
            while len(files) > 2 and not self.is_over:
                if self.stored >= files[1][1]:
                    files.pop(0)[0].unlink()
                else:
                    time.sleep(0.2)
            if self.is_over:
                return


def memory(pid: int) -> tuple[int, int, int]:
    """Give what a process occupies now, by itself (without the journal's files, which are mapped), and at most: KiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in status.splitlines())
    rss, own, most = (int(values[name].split()[0]) for name in ("VmRSS", "RssAnon", "VmHWM"))
    return rss, own, most


def sample(dsn: str, service: Service, source: Source, lines: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield lines stored and `memory`, each second until all are stored."""
    while service.process.poll() is None:
        source.stored = int(fetch(dsn, "SELECT coalesce(sum(lines), 0) FROM input_position")[0][0])
        yield source.stored, *memory(service.process.pid)
        if source.stored >= lines and not source.is_alive():
            return
        time.sleep(SAMPLE_S)
    raise RuntimeError(f"the daemon has ended: {service.logged()[-2000:]}")


def main() -> int:
    """Run it."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments_of.add_argument("--lines", type=int, default=5_000_000)
    arguments_of.add_argument("--open", type=int, default=10_000)
    arguments = arguments_of.parse_args()
    mails = (arguments.lines + 2 * arguments.open) // LINES_PER_MAIL
    lines = LINES_PER_MAIL * mails - 2 * arguments.open
    with ScratchPostgres() as server, tempfile.TemporaryDirectory() as name:
        dsn = server.database_dsn("memory")
        with closing(Database(server.dsn)) as database:
            database.execute("CREATE DATABASE memory")
        with closing(Database(dsn)) as database:
            apply_schema(database)
        folder = Path(name, "journal")
        folder.mkdir()
        source = Source(folder, mails, arguments.open)
        source.start()
        began = time.monotonic()
        step = max(lines // 20, 1)
        due = 0
        with Service(write_config(Path(name, "memory.yml"), dsn, folder, journal_poll_interval=0.5)) as service:
            for stored, now, own, most in sample(dsn, service, source, lines):
                if stored >= due:
                    due = stored + step
                    print(
                        f"{time.monotonic() - began:5.0f} s: {stored:>9,} lines stored; RSS {now / 1024:.1f} MiB "
                        f"({own / 1024:.1f} without mapped files), at most {most / 1024:.1f} MiB",
                        flush=True,
                    )
            now, own, most = memory(service.process.pid)
            service.end()
        waiting = fetch(dsn, "SELECT count(*) FROM delivery_from WHERE ended IS NULL")[0][0]
        gaps = fetch(dsn, "SELECT count(*) FROM input_missing")[0][0]
        source.is_over = True
    seconds = time.monotonic() - began
    print(f"{stored:,} lines of {mails:,} mails, {waiting:,} of them open, {gaps} gaps; in {seconds:.0f} s")
    print(f"RSS {now / 1024:.1f} MiB ({own / 1024:.1f} without mapped files) at the end, at most {most / 1024:.1f} MiB")
    return int(waiting != arguments.open or bool(gaps))


if __name__ == "__main__":
    sys.exit(main())
