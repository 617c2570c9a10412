"""cleanup: deletes what is older than the retention; a timer runs it daily."""

from __future__ import annotations

import argparse
import contextlib
from typing import Final

from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.cleaning import Cleaned, CleanupRunning, Retention, clean_up
from .text import count_text, json_line

# What is counted, in words for people.
NOUNS: Final = {
    "mails": ("mail", "mails"),
    "recipients": ("recipient", "recipients"),
    "rejections": ("rejection", "rejections"),
    "attempts": ("attempt to deliver", "attempts to deliver"),
    "events": ("event of a mail", "events of mails"),
    "neighbour_events": ("line of a neighbour", "lines of neighbours"),
    "server_events": ("event of the server", "events of the server"),
    "gaps": ("gap", "gaps"),
    "processes": ("note on a process", "notes on processes"),
    "unknown_lines": ("line not understood", "lines not understood"),
    "forged_lines": ("forged line", "forged lines"),
    "set_aside": ("line set aside", "lines set aside"),
    "counters": ("counter of a host", "counters of hosts"),
    "daemons": ("daemon's report", "daemons' reports"),
    "told": ("note on lines told", "notes on lines told"),
    "heads": ("log file's beginning", "log files' beginnings"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--dry-run", action="store_true", help="delete nothing; only count what would be deleted")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete, or count; another cleanup that is at work does it as well."""
    retention = Retention(
        settings.retention_days,
        settings.retention_days_rejected,
        settings.retention_days_unknown,
        settings.close_after_days,
    )
    with contextlib.closing(Database(settings.database)) as database:
        require_current_schema(database)
        try:
            cleaned = clean_up(database, retention, dry_run=arguments.dry_run)
        except CleanupRunning as error:
            print(json_line({"skipped": str(error)}) if arguments.json else f"{error}: nothing to do")
            return 0
    if arguments.json:
        print(
            json_line(
                {
                    "began": cleaned.began,
                    "duration_s": round(cleaned.duration_s, 3),
                    "dry_run": arguments.dry_run,
                    "deleted": cleaned.deleted,
                }
            )
        )
    else:
        print(f"{'would delete' if arguments.dry_run else 'deleted'} {_told(cleaned)}")
    return 0


def deleted_text(deleted: dict[str, int]) -> str:
    """Say what was deleted.

    >>> deleted_text({"processes": 3, "mails": 1204, "recipients": 1})
    '1,204 mails, 1 recipient, 3 notes on processes'
    """
    # What a newer version has deleted may be of kinds that have no words here.
    kinds = [*NOUNS, *(name for name in deleted if name not in NOUNS)]
    parts = [count_text(deleted[name], *NOUNS.get(name, (name, name))) for name in kinds if deleted.get(name)]
    return ", ".join(parts) or "nothing"


def _told(cleaned: Cleaned) -> str:
    return f"{deleted_text(cleaned.deleted)}, in {cleaned.duration_s:.1f} s"
