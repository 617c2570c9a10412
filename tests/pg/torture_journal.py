"""Follow a growing journal while the daemon is killed again and again: nothing may be lost or doubled.

`python3 tests/pg/torture_journal.py [--mails 5000] [--kills 100] [--seed 1]` starts a PostgreSQL of its own, lets the
daemon follow a journal that grows in several files, with so many kill -9 at random moments, and compares all tables
with those of a daemon that nobody disturbed. Exits with 1 when they differ. The tests run a short form of it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "files" / "journal-postfix"), str(ROOT / "tools"), str(ROOT / "tests")]

from journal_postfix.store import Database, apply_schema  # noqa: E402
from pg.dump import dump  # noqa: E402
from pg.service import Service, growing, lines_of, mails, until, write_config  # noqa: E402


def torture(dsn: str, folder: Path, *, count: int, kills: int, seed: int, messages_per_commit: int) -> int:
    """Let the daemon store `count` mails under kills; give how many of these hit it while it had work to do."""
    chaos = random.Random(seed)
    config = write_config(folder / "torture.yml", dsn, folder / "journal", max_messages_per_commit=messages_per_commit)
    hits = 0
    written = 0
    with growing(folder / "journal") as journal:
        for blow in range(kills):
            upto = count * (blow + 1) // kills
            for number in range(written, upto):
                journal.write(*lines_of(number, number / 10))
            written = upto
            if blow % 5 == 4:
                journal.new_file(f"file{blow}")
            with Service(config) as service:
                service.process.poll()
                # Starting takes a fifth of a second; what is stored meanwhile shows whether the blow hits the work.
                seen = mails(dsn)
                wanted = chaos.choice((seen, seen + 1, seen + (upto - seen) // 2))
                if wanted > seen:
                    until(lambda: mails(dsn) >= wanted)  # noqa: B023 (called at once)
                service.process.kill()
                service.process.wait()
            hits += mails(dsn) < upto
    with Service(config) as service:
        until(lambda: mails(dsn) == count, 120)
        service.end()
    return hits


def main() -> int:
    """Run it at full length."""
    from scratch_postgres import ScratchPostgres

    parser = argparse.ArgumentParser(description="follow a journal under kill -9, and compare")
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with ScratchPostgres() as server, tempfile.TemporaryDirectory() as name:
        dsns = []
        for database_name in ("killed", "whole"):
            with closing(Database(server.dsn)) as database:
                database.execute(f"CREATE DATABASE {database_name}")
            dsns.append(server.database_dsn(database_name))
            with closing(Database(dsns[-1])) as database:
                apply_schema(database)
        options = {"count": arguments.mails, "seed": arguments.seed}
        hits = torture(dsns[0], Path(name), kills=arguments.kills, messages_per_commit=11, **options)
        config = write_config(Path(name, "whole.yml"), dsns[1], Path(name, "journal"))
        with Service(config) as service:
            until(lambda: mails(dsns[1]) == arguments.mails, 120)
            service.end()
        killed, whole = dump(dsns[0]), dump(dsns[1])
    print(f"{arguments.mails} mails, {arguments.kills} kills, of which {hits} while there was work to do")
    for table, rows in whole.items():
        print(f"{table}: {len(rows)} rows, {'equal' if rows == killed[table] else 'DIFFERENT'}")
    return int(killed != whole)


if __name__ == "__main__":
    sys.exit(main())
