"""status: how far, how much, how well understood; exit status 1 when something is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

from .. import __version__
from ..errors import StoreError
from ..settings import Settings
from ..store import Database, schema_state
from ..store.state import Counts, Lines, OpenMail, Totals, cleanup_state, counts, inputs, lines, oldest_open, totals
from .cleanup import deleted_text
from .live import Live
from .rights import rights_advice
from .text import colour, count_text, escape, json_line, local_time, size_text, table, terminal_columns

# A line in a hundred that is not understood is more than oddities: a component, or a whole log format, is missing.
MAX_UNKNOWN_PERCENT: Final = 1.0
MAX_INPUTS: Final = 10
# It runs daily, at some moment of the day.
MAX_CLEANUP_SILENCE_S: Final = 2 * 86400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the state; what is wrong comes last, one line each."""
    database = Database(settings.database)
    report: dict[str, Any] = {"version": __version__}
    text: list[str] = [f"journal-postfix {__version__}"]
    try:
        problems = _gather(database, settings, report, text)
    except StoreError as error:
        # One thing that is wrong is one line.
        advice = rights_advice(error)
        problems = [f"{error}; {advice}"] if advice else str(error).splitlines()
    finally:
        database.close()
    if arguments.json:
        print(json_line({**report, "problems": problems}))
    else:
        for line in text:
            print(line)
        for problem in problems:
            print(f"{colour('wrong:', 'red')} {escape(problem)}")
    return 1 if problems else 0


def _gather(database: Database, settings: Settings, report: dict[str, Any], text: list[str]) -> list[str]:
    steps = schema_state(database)
    applied = [step.number for step in steps if step.applied is not None]
    report["schema"] = {"step": max(applied, default=0), "newest": steps[-1].number}
    total = totals(database) if len(applied) == len(steps) else None
    if total is None:
        missing = ", ".join(f"{step.number} {step.name}" for step in steps if step.applied is None)
        return [f"the database's schema lacks step {missing}; run 'journal-postfix schema apply'"]
    line_counts, row_counts, oldest = lines(database), counts(database), oldest_open(database)
    all_inputs = inputs(database)
    report.update(_as_json(total, line_counts, row_counts, oldest, all_inputs))
    text[0] += f", schema step {steps[-1].number}, PostgreSQL {escape(total.server_version)}"
    text.extend(_text(total, line_counts, row_counts, oldest))
    live = Live(database, settings)
    report.update(live.as_json())
    text.extend(live.text())
    cleanup = cleanup_state(database)
    if cleanup is not None:
        report["cleanup"] = {name: value for name, value in cleanup.items() if value is not None}
        text.append(f"cleanup     {_cleanup_text(cleanup)}")
    text.extend(_inputs_text(all_inputs))
    return [*live.problems(), *_problems(line_counts), *_cleanup_problems(cleanup)]


def _cleanup_text(cleanup: dict[str, Any]) -> str:
    began = f"began at {local_time(cleanup['began'])}"
    if cleanup["ended"] is None:
        return f"{began} and has not ended"
    what = deleted_text(cleanup["deleted"])
    failed = f", then: {escape(cleanup['error'])}" if cleanup["error"] is not None else ""
    return f"{began}, deleted {what} in {cleanup['duration_s']:.1f} s{failed}"


def _cleanup_problems(cleanup: dict[str, Any] | None) -> Iterator[str]:
    if cleanup is None:
        return
    if cleanup["error"] is not None:
        yield f"the cleanup of {local_time(cleanup['began'])} failed: {cleanup['error']}"
    if cleanup["silent_s"] > MAX_CLEANUP_SILENCE_S:
        yield (
            f"no cleanup has succeeded for {cleanup['silent_s'] / 86400:.0f} days: what is older than the retention "
            "stays; see: systemctl status journal-postfix-cleanup.timer journal-postfix-cleanup.service"
        )


def _problems(line_counts: Lines) -> Iterator[str]:
    understood = line_counts.understood_percent
    if understood is not None and 100.0 - understood > MAX_UNKNOWN_PERCENT:
        yield (
            f"{line_counts.unknown:,} lines of Postfix ({100.0 - understood:.1f} %) were not understood; "
            "'journal-postfix unknown' lists them"
        )
    if line_counts.set_aside:
        yield (
            f"{count_text(line_counts.set_aside, 'line')} could not be stored; "
            "'journal-postfix unknown --set-aside' lists them with the reason"
        )


def _as_json(
    total: Totals, line_counts: Lines, row_counts: Counts, oldest: OpenMail | None, all_inputs: list[dict[str, Any]]
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "server_version": total.server_version,
        "database_bytes": total.database_bytes,
        "servers": [{"host": host, "instance": instance} for host, instance in total.servers],
        "inputs": [{name: value for name, value in row.items() if value is not None} for row in all_inputs],
        "lines": line_counts._asdict(),
        "mails": row_counts.mails,
        "recipients": {**row_counts.recipients},
        "rejected": row_counts.rejected,
        "counts_are_exact": row_counts.is_exact,
    }
    if line_counts.understood_percent is not None:
        values["lines"]["understood_percent"] = round(line_counts.understood_percent, 4)
    if total.last_time is not None:
        values["last_time"] = total.last_time
    if total.last_stored is not None:
        values["last_stored"] = total.last_stored
    if oldest is not None:
        values["oldest_open"] = oldest._asdict()
    return values


def _text(total: Totals, line_counts: Lines, row_counts: Counts, oldest: OpenMail | None) -> Iterator[str]:
    about = "" if row_counts.is_exact else "about "
    yield f"database    {size_text(total.database_bytes)}"
    if total.last_time is not None:
        yield f"known until {local_time(total.last_time)}" + (
            f", stored at {local_time(total.last_stored)}" if total.last_stored is not None else ""
        )
    yield f"lines       {_lines_text(line_counts)}"
    yield f"mails       {about}{row_counts.mails:,}"
    fates = ", ".join(f"{count:,} {fate}" for fate, count in row_counts.recipients.items())
    yield f"recipients  {about}{sum(row_counts.recipients.values()):,}" + (f": {fates}" if fates else "")
    yield f"rejections  {about}{row_counts.rejected:,} (before there was a queue id)"
    if oldest is not None:
        yield (
            f"oldest open {escape(oldest.queue_id)} on {escape(oldest.host)}, {oldest.state}, since "
            f"{local_time(oldest.began)}"
        )


def _inputs_text(all_inputs: list[dict[str, Any]]) -> Iterator[str]:
    if all_inputs:
        rows = [
            (
                row["kind"],
                f"{row['position']:,}",
                f"{row['lines']:,}",
                "-" if row["last_time"] is None else local_time(row["last_time"]),
                local_time(row["updated"]),
                escape(row["name"]),
            )
            for row in all_inputs[:MAX_INPUTS]
        ]
        yield ""
        yield from table(rows, ("input", "position", "lines", "last line", "stored", "name"), terminal_columns())
        if len(all_inputs) > MAX_INPUTS:
            yield f"and {count_text(len(all_inputs) - MAX_INPUTS, 'more input')} (--json lists all)"
    else:
        yield "no input has been read yet"


def _lines_text(line_counts: Lines) -> str:
    understood = line_counts.understood_percent
    parts = [f"{line_counts.read:,} read"]
    if understood is not None:
        # Never 100 % while a single line is missing.
        percent = "100" if not line_counts.unknown else f"{min(understood, 99.99):.2f}"
        parts.append(
            f"{line_counts.understood:,} understood ({percent} % of Postfix's), {line_counts.unknown:,} unknown"
        )
    if line_counts.neighbours:
        parts.append(f"{line_counts.neighbours:,} of neighbours")
    if line_counts.foreign:
        parts.append(f"{line_counts.foreign:,} foreign")
    if line_counts.forged:
        parts.append(f"{line_counts.forged:,} forged")
    if line_counts.covered:
        parts.append(f"{line_counts.covered:,} known from another source")
    if line_counts.set_aside:
        parts.append(f"{line_counts.set_aside:,} set aside")
    return ", ".join(parts)
