"""Import a log in pieces while the importing process is killed again and again: nothing may be lost or doubled.

`python3 tests/pg/torture.py LOG [--pieces 50] [--kills 100] [--seed 1]` starts a PostgreSQL of its own, imports LOG
once in one go, then once in pieces of random length with as many kill -9 at random moments, and compares all tables.
Prints its counts; exits with 1 when the tables differ. The tests run a short form of it.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "files" / "journal-postfix"
sys.path[:0] = [str(PROGRAM), str(ROOT / "tools"), str(ROOT / "tests")]

from journal_postfix.store import Database, apply_schema  # noqa: E402
from pg.dump import dump  # noqa: E402


class Torture:
    """Imports pieces of a log with kills in between; counts what it did."""

    def __init__(self, dsn: str, folder: Path, chaos: random.Random, messages_per_commit: int) -> None:
        self.folder = folder
        self.chaos = chaos
        self.kills = 0
        self.runs = 0
        self.config = folder / "torture.yml"
        self.config.write_text(f"database: '{dsn}'\nmax_messages_per_commit: {messages_per_commit}\n", encoding="utf-8")

    def start(self, path: Path) -> subprocess.Popen[bytes]:
        """Start one import."""
        self.runs += 1
        command = [sys.executable, str(PROGRAM), "--config", str(self.config), "import", str(path)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def import_piece(self, path: Path, kills: int) -> None:
        """Import one piece, killed so many times before it may end."""
        began = time.monotonic()
        usual_s = 0.5
        while kills:
            process = self.start(path)
            try:
                process.wait(self.chaos.uniform(0.0, usual_s))
                # Done before the blow: aim at an earlier moment, and import it again, which must add nothing.
                usual_s = max(0.2, min(usual_s, time.monotonic() - began) * 0.9)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                self.kills += 1
                kills -= 1
                usual_s *= 1.05
        status = self.start(path).wait()
        if status:
            raise RuntimeError(f"import of {path} ended with {status}")


def cut(lines: Sequence[bytes], pieces: int, folder: Path, chaos: random.Random) -> list[Path]:
    """Write the lines as files of random length; give them in their order."""
    cuts = sorted(chaos.sample(range(1, len(lines)), min(pieces, len(lines)) - 1))
    paths = []
    for number, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True)):
        path = folder / f"piece-{number:04d}.log"
        path.write_bytes(b"".join(lines[begin:end]))
        paths.append(path)
    return paths


def torture(
    dsn: str, lines: Sequence[bytes], *, pieces: int, kills: int, seed: int, messages_per_commit: int
) -> tuple[int, int]:
    """Import the lines in pieces with kills; give how many kills and program starts there were."""
    chaos = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = cut(lines, pieces, folder, chaos)
        blows = [0] * len(paths)
        for _ in range(kills):
            blows[chaos.randrange(len(paths))] += 1
        run = Torture(dsn, folder, chaos, messages_per_commit)
        for path, number in zip(paths, blows, strict=True):
            run.import_piece(path, number)
        return run.kills, run.runs


def main() -> int:
    """Run it at full length."""
    from pg.feed import feed_file
    from scratch_postgres import ScratchPostgres

    parser = argparse.ArgumentParser(description="import a log in pieces under kill -9, and compare")
    parser.add_argument("log", type=Path)
    parser.add_argument("--pieces", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with ScratchPostgres() as server:
        dsns = []
        for name in ("whole", "pieces"):
            with closing(Database(server.dsn)) as database:
                database.execute(f"CREATE DATABASE {name}")
            dsns.append(server.database_dsn(name))
            with closing(Database(dsns[-1])) as database:
                apply_schema(database)
        summary = feed_file(dsns[0], str(arguments.log))
        with arguments.log.open("rb") as file:
            lines = file.readlines()
        kills, runs = torture(
            dsns[1],
            lines,
            pieces=arguments.pieces,
            kills=arguments.kills,
            seed=arguments.seed,
            messages_per_commit=2000,
        )
        whole, parts = dump(dsns[0]), dump(dsns[1])
    print(f"{summary.lines} lines in one go; the same in {arguments.pieces} pieces, {runs} runs, {kills} killed")
    differs = False
    for table, rows in whole.items():
        same = rows == parts[table]
        differs = differs or not same
        print(f"{table}: {len(rows)} rows, {'equal' if same else 'DIFFERENT'}")
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
