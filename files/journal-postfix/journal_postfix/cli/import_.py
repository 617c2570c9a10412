"""import: log files into the database, once each, however often it is called."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, JournalPostfixError
from ..run import Summary, run_loop
from ..settings import MAX_JOBS, Settings
from ..sources.logfile import Logfile, LogfileOptions, iter_logfile_messages, open_in_time_order
from ..sources.ownmachine import own_machine
from ..store import Database, require_current_schema
from ..store.positions import find_position
from ..store.write import Writer
from ..workers import WorkerFailed, default_jobs
from .inputs import add_input_arguments, input_options
from .text import escape

PROGRESS_INTERVAL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_input_arguments(parser, "+")
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="processes that parse at the same time, beside the one that stores; 1: none "
        "(default: import_jobs of the configuration, else one for each core, at most 4)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per file")


def _jobs(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= number <= MAX_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MAX_JOBS}")
    return number


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Import all files, the oldest first; those that cannot be read are named, the others are imported."""
    # A batch is some hundred thousand objects without a cycle among them: looking for some takes a tenth of the time.
    gc.set_threshold(400_000, 20, 100)
    options = replace(input_options(arguments, settings), own_machine=own_machine())
    database = Database(settings.database)
    require_current_schema(database)
    writer = Writer(database, settings.verp_marker)
    settings = replace(settings, import_jobs=arguments.jobs or settings.import_jobs or default_jobs())
    logfiles, errors = open_in_time_order(list(dict.fromkeys(arguments.files)), options)
    for error in errors:
        _complain(error)
    failed = bool(errors)
    for logfile in logfiles:
        with logfile:
            try:
                if not _import(logfile, options, writer, settings, as_json=arguments.json):
                    raise InputError(f"{logfile.name}: not a single line of Postfix in it; is it the right file?")
            except InputError as error:
                _complain(error)
                failed = True
    return int(failed)


def _import(logfile: Logfile, options: LogfileOptions, writer: Writer, settings: Settings, *, as_json: bool) -> bool:
    """Import one file; tell whether it was a log of Postfix at all. An empty file is: it was just rotated."""
    head = logfile.head()
    if not head:
        _report(logfile, 0, Summary(), as_json=as_json)
        return logfile.name != "stdin"
    begins = find_position(writer.database, "logfile", logfile.name, head)
    begins = begins._replace(is_journal=logfile.format(options) != "syslog")
    summary = Summary()

    def on_commit(so_far: Summary) -> None:
        nonlocal summary
        summary = so_far
        progress()

    progress = _progress_line(logfile)
    messages = iter_logfile_messages(logfile, options, offset=begins.position, last_time=begins.last_time)
    try:
        run_loop(
            messages, writer, begins, settings, on_commit, jobs=settings.import_jobs or 1, on_failed_worker=_complain
        )
    finally:
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        if summary.lines or sys.exc_info()[0] is None:
            _report(logfile, begins.lines, summary, as_json=as_json)
    return bool(begins.lines or summary.postfix_lines or summary.neighbour_lines)


def _complain(error: JournalPostfixError | WorkerFailed) -> None:
    print(f"journal-postfix: {escape(str(error))}", file=sys.stderr)


def _progress_line(logfile: Logfile) -> Callable[[], None]:
    """Give a function that draws the progress bar, on a terminal only and not too often."""
    if not sys.stderr.isatty():
        return lambda: None
    drawn = 0.0
    began = time.monotonic()

    def draw() -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn < PROGRESS_INTERVAL_S:
            return
        drawn = now
        done, size = logfile.progress()
        name = escape(Path(logfile.name).name)
        if size:
            share = min(done / size, 1.0)
            bar = "#" * round(share * 30)
            left = (now - began) * (1 - share) / share if share else 0
            text = f"{name} [{bar:<30}] {share:4.0%}  {left:.0f} s left"
        else:
            text = f"{name} {done / 1e6:.1f} MB"
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()

    return draw


def _report(logfile: Logfile, before: int, summary: Summary, *, as_json: bool) -> None:
    name = logfile.name
    understood = 100.0 * summary.understood / summary.postfix_lines if summary.postfix_lines else None
    if as_json:
        print(
            json.dumps(
                {
                    "file": name,
                    "lines_before": before,
                    "lines": summary.lines,
                    "postfix_lines": summary.postfix_lines,
                    "neighbour_lines": summary.neighbour_lines,
                    "understood": summary.understood,
                    "unknown": summary.unknown,
                    "foreign": summary.by_action.get("foreign", 0),
                    "forged": summary.by_action.get("forged", 0),
                    "set_aside": summary.set_aside,
                    "covered": summary.by_action.get("covered", 0),
                    "unfinished_bytes": logfile.unfinished,
                    "mails": summary.mails,
                    "recipients": summary.recipients,
                    "rejected": summary.rejected,
                }
            )
        )
        return
    known = f", {before:,} known already" if before else ""
    parts = [f"{escape(name)}: {summary.lines:,} new lines{known}; {summary.postfix_lines:,} lines of Postfix"]
    if understood is not None:
        parts.append(f", {understood:.2f} % understood")
    if summary.neighbour_lines:
        parts.append(f", {summary.neighbour_lines:,} of its neighbours")
    if summary.unknown:
        parts.append(f" ({summary.unknown:,} unknown: see 'journal-postfix unknown')")
    parts.append(
        f"\n  new: {summary.mails:,} mails, {summary.recipients:,} recipients, {summary.rejected:,} entries in noqueue"
    )
    if summary.by_action.get("forged"):
        parts.append(f"\n  {summary.by_action['forged']:,} lines claim to be Postfix's but are not: not stored")
    if summary.by_action.get("covered"):
        parts.append(f"\n  {summary.by_action['covered']:,} lines are known from the journal or from log files already")
    if summary.set_aside:
        parts.append(f"\n  {summary.set_aside:,} lines were set aside: see 'journal-postfix unknown --set-aside'")
    if logfile.unfinished:
        parts.append("\n  its last line is not finished: left for the next import")
    print("".join(parts))
