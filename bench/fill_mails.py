#!/usr/bin/env python3
"""Fill a database with synthetic mails, for measuring look-ups: `bench/fill_mails.py FOLDER 10000000`.

Takes a folder for a throw-away PostgreSQL server (made when it is not there) and how many mails; leaves the database
`bench` in it. Rows go straight into the tables by SQL (fill_mails.sql), not through the parser: what is measured is the
reading. Secondary indexes are made afterwards, which is several times faster.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg2

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "files/journal-postfix")]

from journal_postfix.store import Database, apply_schema  # noqa: E402
from scratch_postgres import ScratchPostgres, find_servers  # noqa: E402

BATCH = 500_000
SETTINGS = {"shared_buffers": "2GB", "maintenance_work_mem": "1GB", "max_wal_size": "8GB", "autovacuum": "off"}

INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid)
FROM pg_index AS i INNER JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid IN ('delivery_from'::regclass, 'delivery_to'::regclass, 'noqueue'::regclass) AND NOT i.indisunique
"""


def fill(dsn: str, mails: int) -> None:
    """Write so many mails into an empty database with the schema."""
    sql = (ROOT / "bench/fill_mails.sql").read_text(encoding="utf-8")
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(
            "INSERT INTO mail_server (host, instance) VALUES ('mx1.example', 'postfix'), ('mx2.example', 'postfix')"
        )
        cursor.execute(INDEXES)
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        for first in range(0, mails, BATCH):
            last = min(first + BATCH, mails) - 1
            cursor.execute(sql.replace(":first", str(first)).replace(":last", str(last)))
            print(f"{last + 1:,} mails", flush=True)
        for name, definition in indexes:
            start = time.monotonic()
            cursor.execute(definition)
            cursor.execute("SELECT pg_size_pretty(pg_relation_size(%s::regclass))", (name,))
            [(size,)] = cursor.fetchall()
            print(f"{name}: {size}, {time.monotonic() - start:.0f} s", flush=True)
        cursor.execute("SELECT setval(pg_get_serial_sequence('delivery_from', 'mail_id'), %s)", (mails,))
        cursor.execute("VACUUM ANALYZE")


def main() -> None:
    """Make the database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("mails", type=int)
    arguments = parser.parse_args()
    with ScratchPostgres(arguments.folder, server=find_servers()[0], settings={**SETTINGS, "fsync": "off"}) as server:
        with closing(psycopg2.connect(server.dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("CREATE DATABASE bench")
        dsn = server.database_dsn("bench")
        with closing(Database(dsn)) as database:
            apply_schema(database)
        fill(dsn, arguments.mails)


if __name__ == "__main__":
    main()
