#!/usr/bin/env python3
"""What a line costs when the database is empty, and when 10 million lines are in it: `bench/growth.py [LOG]`.

Takes a log (the repository's sample if none is given), multiplies it to `--lines` lines, imports these by the real
command into one database, and prints for each slice of the way (to 1, 2, 5, 10, 20, 50 … thousand lines) what a line
cost there: wall clock, computing time of the program and of the server. Also how large the database is beside the log,
and what the program occupies. PostgreSQL is started for this, with its settings as Debian has them: what is committed
is on the disk. Needs about four times the multiplied log's size for temporary files, and leaves nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

from compare import SAMPLE  # noqa: E402
from journal_postfix.store import Database, apply_schema  # noqa: E402
from measuring import Failed, cpu_of_tree, machine_in_words, peak_of, table  # noqa: E402
from multiply import write_multiplied  # noqa: E402
from ours import DURABLE, PROGRAM  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

POLL_S: Final = 0.1
HEAD: Final = (
    "lines in the database", "wall µs/line", "program µs/line", "server µs/line", "lines/s", "peak MiB", "mails",
    "database MB", "bytes/mail", "database/log",
)  # fmt: skip


class Moment(NamedTuple):
    """The state of the import at one moment; times in seconds, sizes in bytes."""

    lines: int
    time: float
    cpu_s: float
    server_cpu_s: float
    rss: int
    mails: int
    log: int
    database: int


def steps(lines: int) -> Iterator[int]:
    """Yield 10,000, 20,000, 50,000, 100,000 … up to `lines`, with which they end.

    >>> list(steps(70_000))
    [10000, 20000, 50000, 70000]
    """
    power = 10_000
    while power < lines:
        yield from (step for step in (power, 2 * power, 5 * power) if step < lines)
        power *= 10
    yield lines


def measure(server: ScratchPostgres, log: Path, lines: int, folder: Path) -> list[Moment]:
    """Import the log; give the state at the beginning and at each step, as soon as it is committed."""
    dsn = server.database_dsn("growth")
    with closing(Database(server.dsn)) as database:
        database.execute("CREATE DATABASE growth")
    config = folder / "growth.yml"
    config.write_text(f"database: {dsn}\n", encoding="utf-8")
    with closing(Database(dsn)) as database:
        apply_schema(database)
        command: list[str | Path] = [sys.executable, "-IB", PROGRAM, "--config", config, "import", log]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        moments: list[Moment] = []
        try:

            def look() -> Moment:
                now = time.monotonic()
                cpu, rss, server_cpu = cpu_of_tree(process.pid), peak_of(process.pid), cpu_of_tree(server.pid)
                # The newest number is near enough: counting would cost the server what is measured.
                query = "SELECT coalesce(max(lines), 0), coalesce(max(position), 0) FROM input_position"
                done, at = database.fetch(query)[0]
                query = "SELECT coalesce(max(mail_id), 0), pg_database_size(current_database()) FROM delivery_from"
                mails, size = database.fetch(query)[0]
                # It may have ended already.
                rss = max(rss, *[moment.rss for moment in moments], 0)
                return Moment(int(done), now, cpu, server_cpu, rss, int(mails), int(at), int(size))

            moments.append(look())
            for step in steps(lines):
                if moments[-1].lines >= step:
                    continue
                _wait(process, database, step)
                moments.append(look())
                print(f"{moments[-1].lines:,} lines", file=sys.stderr, flush=True)
            if process.wait():
                raise Failed(f"import ended with status {process.returncode}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return moments


def _wait(process: subprocess.Popen[bytes], database: Database, lines: int) -> None:
    """Wait until so many lines are stored."""
    while int(database.fetch("SELECT coalesce(max(lines), 0) FROM input_position")[0][0]) < lines:
        if process.poll() is not None:
            raise Failed(f"import ended with status {process.returncode} before {lines:,} lines were stored")
        time.sleep(POLL_S)


def rows(moments: list[Moment]) -> Iterator[list[str]]:
    """Give the table: what a line cost since the row before, and what there is by then."""
    empty = moments[0].database
    for before, after in pairwise(moments):
        lines = after.lines - before.lines
        wall = (after.time - before.time) / lines
        program = (after.cpu_s - before.cpu_s) / lines
        server = (after.server_cpu_s - before.server_cpu_s) / lines
        size = after.database - empty
        yield [
            f"{after.lines:,}",
            *(f"{1e6 * value:.1f}" for value in (wall, program, server)),
            f"{1 / wall:,.0f}",
            f"{after.rss / 1024**2:.0f}",
            f"{after.mails:,}",
            f"{size / 1e6:,.1f}",
            f"{size / after.mails:,.0f}",
            f"{size / after.log:.2f}",
        ]


def main() -> int:
    """Run it."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments_of.add_argument("log", type=Path, nargs="?", default=SAMPLE, help="a log of Postfix (the sample)")
    arguments_of.add_argument("--lines", type=int, default=10_000_000, help="how many in all (%(default)s)")
    arguments = arguments_of.parse_args()
    words = machine_in_words()
    with (
        tempfile.TemporaryDirectory(prefix="journal-postfix-bench-") as name,
        ScratchPostgres(settings=DURABLE) as server,
    ):
        log = Path(name, "mail.log")
        write_multiplied(arguments.log, arguments.lines, log)
        print(f"{time.strftime('%Y-%m-%d')}: {words}; {server.server}")
        print(f"{arguments.lines:,} lines, {log.stat().st_size / 1e6:,.0f} MB\n", flush=True)
        moments = measure(server, log, arguments.lines, Path(name))
    print(table(HEAD, rows(moments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
