#!/usr/bin/env python3
"""What each index costs at storing: `bench/index_cost.py LOG`; prints the tables of indexes.md.

Takes a log file of Postfix; imports it into a throw-away server, then writes the rows of each large table once more
into a copy of it that has no index, and into copies that have one of its indexes each. What is measured is the time
that the server's process was on a processor (the least of ROUNDS), the WAL, and the index's size.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "files/journal-postfix")]

from journal_postfix.run import run_loop  # noqa: E402
from journal_postfix.settings import Settings  # noqa: E402
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages  # noqa: E402
from journal_postfix.store import Database, apply_schema  # noqa: E402
from journal_postfix.store.positions import find_position  # noqa: E402
from journal_postfix.store.write import Writer  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

TABLES = ("delivery_from", "delivery_to")
ROUNDS = 5
BATCHES = 8  # as an import would write them

INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid)
FROM pg_index AS i INNER JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = %s::regclass ORDER BY 1
"""


class Cost(NamedTuple):
    """Seconds of the server's process, MB of WAL, MB of indexes."""

    seconds: float
    wal: float
    size: float

    def over(self, base: Cost) -> str:
        """Give what it costs more than without an index."""
        return f"{self.seconds - base.seconds:.3f} s | {self.wal - base.wal:.1f} MB | {self.size:.2f} MB"


def fill(database: Database, log: str) -> None:
    """Import a log file."""
    with Logfile(log) as logfile:
        begins = find_position(database, "logfile", logfile.name, logfile.head())
        run_loop(iter_logfile_messages(logfile, LogfileOptions()), Writer(database), begins, Settings())


def cost(database: Database, table: str, definitions: list[str]) -> Cost:
    """Write a table's rows into a copy of it with these indexes."""
    (pid,) = database.fetch("SELECT pg_backend_pid()")[0]
    mails = database.fetch("SELECT max(mail_id) FROM delivery_from")[0][0]
    found = []
    for _ in range(ROUNDS):
        database.execute("DROP TABLE IF EXISTS copied")
        database.execute(f"CREATE TABLE copied (LIKE {table})")
        for definition in definitions:
            database.execute(definition)
        began, seconds = _wal(database), _on_processor(pid)
        for number in range(BATCHES):
            database.execute(
                f"INSERT INTO copied SELECT * FROM {table} WHERE mail_id > %s AND mail_id <= %s",  # noqa: S608
                (number * mails // BATCHES, (number + 1) * mails // BATCHES),
            )
        seconds = _on_processor(pid) - seconds
        size = database.fetch("SELECT pg_indexes_size('copied')")[0][0]
        found.append(Cost(seconds, (_wal(database) - began) / 1e6, size / 1e6))
    return min(found)


def _wal(database: Database) -> int:
    return int(database.fetch("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")[0][0])


def _on_processor(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log")
    arguments = parser.parse_args()
    with ScratchPostgres() as server, closing(Database(server.dsn)) as database:
        apply_schema(database)
        fill(database, arguments.log)
        # The writer's connection plans without whole scans.
        database.configure()
        for table in TABLES:
            base = cost(database, table, [])
            print(f"{table} without indexes: {base.seconds:.3f} s, {base.wal:.1f} MB of WAL")
            definitions = {
                name: text.replace(f"public.{table} ", "copied ").replace(f" {name} ", f" copied_{name} ")
                for name, text in database.fetch(INDEXES, (table,))
            }
            for name, definition in definitions.items():
                print(f"| `{name}` | {cost(database, table, [definition]).over(base)} |", flush=True)
            print(f"| all | {cost(database, table, list(definitions.values())).over(base)} |")


if __name__ == "__main__":
    main()
