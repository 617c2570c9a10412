"""Measure the daemon's rate from the journal into PostgreSQL beside journalctl's to /dev/null, on the same journal.

`.venv/bin/python bench/journal_rate.py LOG [--runs 5]` writes the lines of a log file into journal files of its own
(with systemd-journal-remote), then runs the two alternately: `journalctl -o export` with three fields to /dev/null, and
`journal-postfix run` until the last line is stored. Prints each run and the medians. PostgreSQL is started by itself,
with its default settings (fsync on). Leaves nothing behind.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

from journal_postfix.message import LogMessage  # noqa: E402
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages  # noqa: E402
from journal_postfix.store import Database, apply_schema  # noqa: E402
from journals import Entry, entry, write_journal  # noqa: E402
from pg.service import Service, fetch, until, write_config  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

JOURNALCTL = "journalctl --quiet --output=export --output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID --directory"
DUE_S = 600.0


def entries(log: Path) -> Iterator[Entry]:
    """Give the lines of a log as Debian 12's journald keeps them."""
    with Logfile(str(log)) as logfile:
        for number, message in enumerate(iter_logfile_messages(logfile, LogfileOptions())):
            yield as_entry(message, number)


def as_entry(message: LogMessage, number: int) -> Entry:
    """Give an entry with the fields that a real one has, 100 microseconds after the one before."""
    program = message.identifier.rpartition("/")[2]
    stamp = time.strftime("%b %e %H:%M:%S ", time.gmtime(message.time))
    return entry(
        number / 10_000,
        message.text,
        SYSLOG_IDENTIFIER=message.identifier,
        SYSLOG_PID=str(message.pid),
        SYSLOG_TIMESTAMP=stamp,
        _PID=str(message.pid),
        _HOSTNAME=message.host,
        _GID="109",
        _COMM=program,
        _EXE=f"/usr/lib/postfix/sbin/{program}",
        _CMDLINE=f"{program} -t unix -u",
        _CAP_EFFECTIVE="0",
        _SYSTEMD_CGROUP="/system.slice/system-postfix.slice/postfix@-.service",
        _SYSTEMD_SLICE="system-postfix.slice",
        _SYSTEMD_INVOCATION_ID="c0" * 16,
        _RUNTIME_SCOPE="system",
    )


def read_by_journalctl(folder: Path) -> float:
    """Give the seconds that journalctl takes to print the journal."""
    began = time.monotonic()
    subprocess.run([*JOURNALCTL.split(), str(folder)], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def stored(dsn: str) -> int:
    """Give how many lines of journals are stored."""
    return int(fetch(dsn, "SELECT coalesce(sum(lines), 0) FROM input_position")[0][0])


def _has(dsn: str, lines: int) -> bool:
    return stored(dsn) >= lines


def main() -> int:
    """Run it."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments_of.add_argument("log", type=Path)
    arguments_of.add_argument("--runs", type=int, default=5)
    arguments = arguments_of.parse_args()
    settings = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on")
    with ScratchPostgres(settings=settings) as server, tempfile.TemporaryDirectory() as name:
        folder = write_journal(Path(name, "journal", "a.journal"), entries(arguments.log))
        read_by_journalctl(folder)  # from now on it is in memory
        _alternate(server, Path(name), folder, arguments.runs)
    return 0


def _alternate(server: ScratchPostgres, name: Path, folder: Path, runs: int) -> None:
    lines = len(subprocess.check_output(["journalctl", "-q", "-D", folder, "-o", "cat"]).splitlines())
    print(f"{lines:,} entries; {server.server}")
    rates: list[tuple[float, float]] = []
    for run in range(runs):
        printed = read_by_journalctl(folder)
        dsn = server.database_dsn(f"run{run}")
        with closing(Database(server.dsn)) as database:
            database.execute(f"CREATE DATABASE run{run}")
        with closing(Database(dsn)) as database:
            apply_schema(database)
        began = time.monotonic()
        with Service(write_config(name / f"run{run}.yml", dsn, folder)) as service:
            until(partial(_has, dsn, lines), DUE_S)
            took = time.monotonic() - began
            service.end()
        said = next((line for line in service.logged().splitlines() if "caught up" in line), "")
        rates.append((lines / printed, lines / took))
        print(
            f"journalctl {lines / printed:,.0f}/s; ours {lines / took:,.0f}/s ({said}); {took / printed:.2f}",
            flush=True,
        )
    theirs, ours = (statistics.median(column) for column in zip(*rates, strict=True))
    ratio = statistics.median(one / other for one, other in rates)
    print(f"medians: journalctl {theirs:,.0f}/s, ours {ours:,.0f}/s; journalctl is {ratio:.2f} times as fast")


if __name__ == "__main__":
    sys.exit(main())
