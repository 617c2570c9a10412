"""Our own contestants of compare.py: the real commands into a real database, and the parts by which they are judged.

Takes the inputs and a running server; each run has a database of its own, which is dropped afterwards. `stages` is what
a program of its own runs, so that its memory can be measured: `ours.py FILE` prints what it found as JSON.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

import psycopg2  # noqa: E402

from inputs import Inputs  # noqa: E402
from journal_postfix.merge import QueueEntries  # noqa: E402
from journal_postfix.parse import parser_for  # noqa: E402
from journal_postfix.session import Sessions  # noqa: E402
from journal_postfix.settings import Settings  # noqa: E402
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages  # noqa: E402
from journal_postfix.store import Database, apply_schema  # noqa: E402
from journal_postfix.store.batch import Batch  # noqa: E402
from journal_postfix.store.told import Told  # noqa: E402
from measuring import Cost, Meter, cpu_of, peak_of, run_measured, wait_until  # noqa: E402
from peers import Contest, Outcome  # noqa: E402
from pg.service import Service, write_config  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

# What a server has; a scratch server is without for the tests.
DURABLE: Final = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on")
PROGRAM: Final = ROOT / "files" / "journal-postfix"
_DUE_S: Final = 3600.0
_LINES: Final = "SELECT coalesce(sum(lines), 0)::bigint FROM input_position"
# Every line's bytes as they are: no quote, and a delimiter that no log has.
_RAW: Final = r"COPY raw (line) FROM STDIN WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02', ENCODING 'LATIN1')"
_TABLES: Final = """
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
ORDER BY EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'f'), c.relname
"""
_CONSTRAINTS: Final = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'p', 'u', 'x') ORDER BY contype <> 'f'
"""
_INDEXES: Final = """
SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_index AS i INNER JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace
"""


# ---- reading, parsing and merging in one process, stored nowhere


def stages(path: Path) -> dict[str, int]:
    """Read, parse and merge a log as `import` does, in batches of its size; store nothing. Give counts."""
    gc.set_threshold(400_000, 20, 100)  # as import does
    settings = Settings()
    parse = parser_for(settings.neighbours)
    sessions = Sessions()
    entries = QueueEntries()
    servers: dict[tuple[str, str], int] = {}
    lines = rejected = 0

    def fold() -> None:
        nonlocal lines, rejected
        lines += len(batch)
        told = Told()
        for unit in batch.units:
            message = batch.messages[unit.line]
            for one in (unit,) if unit.step is None else sessions.take((message.host, message.pid), unit):
                told.add(servers.setdefault(one.server, len(servers)), one)
        rejected += len(told.noqueue)
        for key, units in told.by_entry.items():
            entries.fold(key, units)

    with Logfile(str(path)) as logfile:
        messages = iter_logfile_messages(logfile, LogfileOptions())
        while gathered := list(islice(messages, settings.max_messages_per_commit)):
            batch = Batch(settings.instance_aliases, parse)
            batch.take(gathered)
            fold()
    changed = entries.changed()
    recipients = sum(len(entry.recipients) for entry in changed)
    return {"lines": lines, "mails": len(changed), "recipients": recipients, "rejected": rejected}


# ---- the contestants


class Ours:
    """All contestants of ours that need a server; `prepare` dumps the finished rows once, and knows what is right."""

    def __init__(self, server: ScratchPostgres, inputs: Inputs, folder: Path) -> None:
        self._server = server
        self._inputs = inputs
        self._folder = folder
        self._rows: list[tuple[str, Path]] = []
        self._counts = (0, 0)
        self._number = 0

    def contests(self) -> list[Contest]:
        """Give them; the parts by which the whole is judged come last."""
        lines = self._inputs.lines
        found = [
            Contest("ours: import, durable", "database", self._import, lines),
            Contest("ours: read, parse, merge", "nothing", self._stages, lines),
            Contest("limit: read lines, COPY rows", "database", partial(self._copy_rows, reading=True), lines),
            Contest("COPY of the finished rows", "database", self._copy_rows, 0),
            Contest("the same without indexes", "tables", partial(self._copy_rows, indexes=False), 0),
            Contest("COPY of the raw lines", "one table", self._copy_raw, lines),
        ]
        if self._inputs.journal is not None:
            found.insert(1, Contest("ours: run, from the journal, durable", "database", self._follow, lines))
        return found

    @contextmanager
    def _database(self, *, schema: bool = True) -> Iterator[str]:
        """Give an empty database; nothing of what was written before is still to be written."""
        self._number += 1
        name = f"run{self._number}"
        with closing(Database(self._server.dsn)) as maintenance:
            maintenance.execute(f"CREATE DATABASE {name}")
            dsn = self._server.database_dsn(name)
            if schema:
                with closing(Database(dsn)) as database:
                    apply_schema(database)
            maintenance.execute("CHECKPOINT")
            try:
                yield dsn
            finally:
                maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _config(self, dsn: str) -> Path:
        path = self._folder / "import.yml"
        path.write_text(f"database: {dsn}\n", encoding="utf-8")
        return path

    def _command(self, dsn: str) -> list[str | Path]:
        return [sys.executable, "-IB", PROGRAM, "--config", self._config(dsn), "import", "--json", self._inputs.log]

    def prepare(self) -> None:
        """Import once, keep the rows in the form in which COPY takes them, and count them."""
        with self._database() as dsn:
            subprocess.run(self._command(dsn), check=True, stdout=subprocess.DEVNULL)
            self._counts = self._counted(dsn)
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                cursor.execute(_TABLES)
                for (name,) in cursor.fetchall():
                    if name in ("schema_step", "schema_version"):
                        continue
                    path = self._folder / f"{name}.rows"
                    with path.open("wb") as out:
                        cursor.copy_expert(f"COPY {name} TO STDOUT", out)
                    if path.stat().st_size:
                        self._rows.append((name, path))

    def _counted(self, dsn: str) -> tuple[int, int]:
        with closing(Database(dsn)) as database:
            query = "SELECT (SELECT count(*) FROM delivery_from), (SELECT count(*) FROM delivery_to)"
            mails, recipients = database.fetch(query)[0]
            return int(mails), int(recipients)

    def _judge(self, cost: Cost, lines: int, counts: tuple[int, int]) -> Outcome:
        wrong = []
        if lines != self._inputs.lines:
            wrong.append(f"{lines:,} of {self._inputs.lines:,} lines")
        if counts != self._counts:
            wrong.append(f"{counts} instead of {self._counts} mails and recipients")
        return Outcome(cost, f"{counts[0]:,} mails, {counts[1]:,} recipients", "; ".join(wrong))

    def _import(self) -> Outcome:
        with self._database() as dsn:
            cost = run_measured(self._command(dsn), server=self._server.pid)
            return self._judge(cost, self._stored(dsn), self._counted(dsn))

    def _stored(self, dsn: str) -> int:
        with closing(Database(dsn)) as database:
            return int(database.fetch(_LINES)[0][0])

    def _follow(self) -> Outcome:
        assert self._inputs.journal is not None
        with self._database() as dsn:
            config = write_config(self._folder / "run.yml", dsn, self._inputs.journal)
            with closing(Database(dsn)) as database, Meter(self._server.pid) as meter, Service(config) as service:

                def is_stored() -> bool:
                    return int(database.fetch(_LINES)[0][0]) >= self._inputs.lines

                wait_until(is_stored, _DUE_S, "storing the journal")
                spent, rss = cpu_of(service.process.pid), peak_of(service.process.pid)
                service.process.terminate()
            cost = meter.cost._replace(cpu_s=spent, rss=rss)
            lines, (mails, recipients) = self._stored(dsn), self._counted(dsn)
        # Its entries have times of their own, so what belongs together may differ in rare cases.
        problem = "" if lines == self._inputs.lines else f"{lines:,} of {self._inputs.lines:,} lines"
        return Outcome(cost, f"{mails:,} mails, {recipients:,} recipients", problem)

    def _stages(self) -> Outcome:
        out = self._folder / "stages.json"
        cost = run_measured([sys.executable, "-B", Path(__file__), self._inputs.log], stdout=out)
        found = json.loads(out.read_text(encoding="utf-8"))
        return self._judge(cost, found["lines"], (found["mails"], found["recipients"]))

    def _copy_rows(self, *, indexes: bool = True, reading: bool = False) -> Outcome:
        with self._database() as dsn:
            with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
                for query in () if indexes else (_CONSTRAINTS, _INDEXES):
                    cursor.execute(query)
                    for (command,) in cursor.fetchall():
                        cursor.execute(command)
                connection.commit()
                with Meter(self._server.pid, own=True) as meter:
                    lines = _count_lines(self._inputs.log) if reading else self._inputs.lines
                    for name, path in self._rows:
                        _copy(cursor.copy_expert, f"COPY {name} FROM STDIN", path)
                    connection.commit()
            return self._judge(meter.cost, lines, self._counted(dsn))

    def _copy_raw(self) -> Outcome:
        with (
            self._database(schema=False) as dsn,
            closing(psycopg2.connect(dsn)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("CREATE TABLE raw (line text)")
            connection.commit()
            with Meter(self._server.pid, own=True) as meter:
                _copy(cursor.copy_expert, _RAW, self._inputs.log)
                connection.commit()
            cursor.execute("SELECT count(*) FROM raw")
            ((count,),) = cursor.fetchall()
        problem = "" if count == self._inputs.lines else f"{count:,} of {self._inputs.lines:,} lines"
        return Outcome(meter.cost, f"{count:,} rows", problem)


def _copy(run: Callable[..., Any], command: str, path: Path) -> None:
    with path.open("rb") as source:
        run(command, source, 1 << 18)


def _count_lines(path: Path) -> int:
    """Read a file line by line, as little as a reader can do."""
    with path.open("rb") as log:
        return sum(1 for _ in log)


if __name__ == "__main__":
    print(json.dumps(stages(Path(sys.argv[1]))))
