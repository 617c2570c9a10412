#!/usr/bin/env python3
"""Cleanup of one day among millions of mails, while lines come: `bench/cleanup_day.py [MAILS]`.

Takes how many mails the database shall have (fill_mails.py makes them: one each three seconds, so a day has 28,800, of
two hosts). Then lines of one of these hosts are stored in small transactions, as the daemon stores them; after a while
`journal-postfix cleanup` runs beside it, as its timer starts it, with a retention that makes the oldest day due. Prints
how far apart the commits were before and during it, how long it took, and how large the tables are before, after, after
VACUUM (which autovacuum does on a server), and when as many mails as were deleted have come anew. PostgreSQL's commits
are on the disk. Leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

from compare import SAMPLE  # noqa: E402
from fill_mails import SETTINGS, fill  # noqa: E402
from journal_postfix.message import LogMessage  # noqa: E402
from journal_postfix.run import Summary, run_loop  # noqa: E402
from journal_postfix.settings import Settings  # noqa: E402
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages  # noqa: E402
from journal_postfix.store import Database, apply_schema  # noqa: E402
from journal_postfix.store.positions import find_position  # noqa: E402
from journal_postfix.store.write import Writer  # noqa: E402
from measuring import machine_in_words, spread, table  # noqa: E402
from multiply import write_multiplied  # noqa: E402
from ours import DURABLE, PROGRAM  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

HOST: Final = "mx1.example"  # one of fill_mails.sql's: cleanup and ingest want the same lock
BEFORE_S: Final = 15.0
AFTER_S: Final = 5.0
MESSAGES_PER_COMMIT: Final = 200
LINES: Final = 2_000_000
TABLES: Final = ("delivery_from", "delivery_to", "delivery_attempt", "mail_event", "noqueue")
_SIZES: Final = """
SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class
WHERE relname = ANY(%s) AND relkind = 'r'
"""


class Ingest:
    """Stores lines until told otherwise; cleanup is started in the middle. `commits` are moments of the clock."""

    def __init__(self, config: Path) -> None:
        self.commits: list[float] = []
        self.cleanup_began = self.cleanup_ended = 0.0
        self.answer: dict[str, Any] = {}
        self._config = config
        self._began = time.monotonic()
        self._cleanup: subprocess.Popen[str] | None = None

    def run(self, dsn: str, log: Path) -> None:
        """Store until cleanup has ended, and a little longer."""
        self._began = time.monotonic()
        options = LogfileOptions(host=HOST)
        settings = Settings(max_messages_per_commit=MESSAGES_PER_COMMIT)
        with closing(Database(dsn)) as database, Logfile(str(log)) as logfile:
            begins = find_position(database, "logfile", logfile.name, logfile.head())
            messages = self._until_over(iter_logfile_messages(logfile, options))
            run_loop(messages, Writer(database, None), begins, settings, self._on_commit)

    def _on_commit(self, _: Summary) -> None:
        now = time.monotonic()
        self.commits.append(now)
        if self._cleanup is None:
            if now > self._began + BEFORE_S:
                self.cleanup_began = now
                command: list[str | Path] = [
                    sys.executable,
                    "-IB",
                    PROGRAM,
                    "--config",
                    self._config,
                    "cleanup",
                    "--json",
                ]
                self._cleanup = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        elif not self.cleanup_ended and self._cleanup.poll() is not None:
            self.cleanup_ended = now
            self.answer = json.loads(self._cleanup.communicate()[0])

    def _until_over(self, messages: Iterator[LogMessage]) -> Iterator[LogMessage]:
        for message in messages:
            yield message
            if self.cleanup_ended and time.monotonic() > self.cleanup_ended + AFTER_S:
                return
        if not self.cleanup_ended:
            assert self._cleanup is None or self._cleanup.wait() == 0
            raise RuntimeError("the lines did not last as long as the cleanup: raise LINES")

    def gaps(self, begin: float, end: float) -> list[float]:
        """Give the seconds between commits of a time; what was waited for across its end counts, too."""
        pairs = zip(self.commits, self.commits[1:], strict=False)
        return [after - before for before, after in pairs if after > begin and before < end]


def sizes(database: Database) -> dict[str, tuple[int, int, int]]:
    """Give rows, bytes and bytes of indexes of each table."""
    found = {name: (int(data), int(indexes)) for name, data, indexes in database.fetch(_SIZES, (list(TABLES),))}
    counts = {name: int(database.fetch(f"SELECT count(*) FROM {name}")[0][0]) for name in TABLES}  # noqa: S608
    return {name: (counts[name], *found[name]) for name in TABLES}


def next_day(dsn: str, mails: int) -> None:
    """Let so many mails come anew, as fill_mails.py makes them."""
    sql = (ROOT / "bench" / "fill_mails.sql").read_text(encoding="utf-8")
    with closing(Database(dsn)) as database:
        first = int(database.fetch("SELECT max(mail_id) + 1 FROM delivery_from")[0][0])
        database.execute(sql.replace(":first", str(first)).replace(":last", str(first + mails - 1)))


def main() -> int:
    """Run it; status 1 if the day was not deleted."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments_of.add_argument("mails", type=int, nargs="?", default=10_000_000, help="(%(default)s)")
    arguments = arguments_of.parse_args()
    words = machine_in_words()
    with (
        tempfile.TemporaryDirectory(prefix="journal-postfix-bench-") as name,
        ScratchPostgres(settings={**SETTINGS, **DURABLE, "autovacuum": "on"}) as server,
    ):
        dsn = server.database_dsn("cleaned")
        with closing(Database(server.dsn)) as database:
            database.execute("CREATE DATABASE cleaned")
        with closing(Database(dsn)) as database:
            apply_schema(database)
            fill(dsn, arguments.mails)
            database.execute("CHECKPOINT")
            log, config = Path(name, "mail.log"), Path(name, "cleanup.yml")
            write_multiplied(SAMPLE, LINES, log)
            (oldest,) = database.fetch("SELECT min(began) FROM delivery_from")[0]
            days = (datetime.now(UTC) - oldest - timedelta(days=1)) / timedelta(days=1)
            config.write_text(f"database: {dsn}\nretention_days: {days}\nretention_days_rejected: {days}\n", "utf-8")
            states = {"before": sizes(database)}
            ingest = Ingest(config)
            ingest.run(dsn, log)
            states["after"] = sizes(database)
            database.execute("VACUUM")
            states["after VACUUM"] = sizes(database)
            deleted = ingest.answer["deleted"]
            next_day(dsn, deleted["mails"])
            states["a day later"] = sizes(database)
        words += f"; {server.server}"
    print(f"{time.strftime('%Y-%m-%d')}: {words}; {arguments.mails:,} mails\n")
    print(f"cleanup: {ingest.answer['duration_s']:.1f} s; {', '.join(f'{n:,} {what}' for what, n in deleted.items())}")
    spans = {
        "before": (ingest.commits[0], ingest.cleanup_began),
        "during": (ingest.cleanup_began, ingest.cleanup_ended),
        "after": (ingest.cleanup_ended, ingest.commits[-1]),
    }
    for what, (begin, end) in spans.items():
        gaps = ingest.gaps(begin, end)
        median, _, longest = spread(gaps)
        print(
            f"commits {what} it: {len(gaps)} of {MESSAGES_PER_COMMIT} lines each; apart by {1000 * median:.0f} ms "
            f"(median), {1000 * longest:.0f} ms (longest)"
        )
    head = ["table", *(f"{what}: rows, MB, indexes MB" for what in states)]
    print()
    print(table(head, [[name, *(_cell(state[name]) for state in states.values())] for name in TABLES]))
    return int(not deleted.get("mails"))


def _cell(size: tuple[int, int, int]) -> str:
    return f"{size[0]:,}; {size[1] / 1e6:.1f}; {size[2] / 1e6:.1f}"


if __name__ == "__main__":
    sys.exit(main())
