"""The database's steps: numbered plain SQL, each in one transaction that records itself first.

Takes the .sql files of the folder `steps`; gives their state in a database and applies those that are missing. A
database that is ahead of this program, or a step that differs from what was applied, is refused. Never goes back.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import StoreError
from .database import Database

FOLDER: Final = Path(__file__).parent / "steps"

# Which functions read with their owner's rights; not of a step, for it depends on the schema's name.
READERS: Final = Path(__file__).parent / "readers.sql"

# One at a time, however many servers of a fleet are upgraded at once.
LOCK: Final = 0x6A706F7374


class Step(NamedTuple):
    """One numbered step."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Give the SHA-256 of its text, hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class StepState(NamedTuple):
    """A step and when it was applied (ISO 8601), None if it was not yet."""

    number: int
    name: str
    applied: str | None


def load_steps() -> list[Step]:
    """Read the steps, in their order."""
    steps = []
    for path in sorted(FOLDER.glob("[0-9][0-9][0-9][0-9]-*.sql")):
        number, _, name = path.stem.partition("-")
        steps.append(Step(int(number), name, path.read_text(encoding="utf-8")))
    return steps


def _applied(database: Database) -> dict[int, tuple[str, str, str]]:
    exists = database.fetch("SELECT to_regclass('schema_step') IS NOT NULL")[0][0]
    if not exists:
        return {}
    rows = database.fetch("SELECT step, name, checksum, applied FROM schema_step")
    return {step: (name, checksum, applied.isoformat()) for step, name, checksum, applied in rows}


def _check(steps: list[Step], applied: dict[int, tuple[str, str, str]]) -> None:
    known = {step.number: step for step in steps}
    newest = max(applied, default=0)
    if newest > max(known, default=0):
        raise StoreError(
            f"database: its schema is at step {newest} ({applied[newest][0]}), newer than this program knows "
            f"({max(known, default=0)}); upgrade journal-postfix on this host"
        )
    for number, (name, checksum, _) in applied.items():
        step = known.get(number)
        if step is None or step.checksum != checksum:
            raise StoreError(
                f"database: step {number} ({name}) of its schema is not the one that this program has; it was made by "
                "another version, restore that version or import into a new database"
            )


def schema_state(database: Database) -> list[StepState]:
    """List the steps with the time when each was applied; refuses a database that is not ours to use."""
    steps = load_steps()
    applied = _applied(database)
    _check(steps, applied)
    return [
        StepState(step.number, step.name, applied[step.number][2] if step.number in applied else None) for step in steps
    ]


def require_current_schema(database: Database) -> None:
    """Raise StoreError unless every step is applied."""
    missing = [state for state in schema_state(database) if state.applied is None]
    if missing:
        names = ", ".join(f"{state.number} {state.name}" for state in missing)
        raise StoreError(f"database: its schema lacks step {names}; run 'journal-postfix schema apply'")


def apply_schema(database: Database) -> list[Step]:
    """Apply the missing steps; give them. Functions that read with their owner's rights are made to do so each time."""
    steps = load_steps()
    done: list[Step] = []
    database.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        applied = _applied(database)
        _check(steps, applied)
        for step in steps:
            if step.number in applied:
                continue
            with database.transaction():
                database.execute(
                    "CREATE TABLE IF NOT EXISTS schema_step ("
                    "step integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
                    "applied timestamptz NOT NULL DEFAULT now())"
                )
                database.execute(
                    "INSERT INTO schema_step (step, name, checksum) VALUES (%s, %s, %s)",
                    (step.number, step.name, step.checksum),
                )
                database.execute(step.sql)
            done.append(step)
        with database.transaction():
            database.execute(READERS.read_text(encoding="utf-8"))
    finally:
        database.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
    return done
