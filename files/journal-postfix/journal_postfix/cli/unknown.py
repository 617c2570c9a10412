"""unknown: the lines that were not understood, grouped; or those that the database refused."""

from __future__ import annotations

import argparse

from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.state import set_aside_lines, unknown_lines
from .lookups import limit_argument
from .text import escape, json_line, local_time, table, terminal_columns, wrap


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--limit", type=limit_argument, metavar="N", help="how many (default: all)")
    parser.add_argument(
        "--set-aside", action="store_true", help="instead: the lines that could not be stored, with the reason"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per group, or per line set aside")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the list."""
    database = Database(settings.database)
    require_current_schema(database)
    rows = (set_aside_lines if arguments.set_aside else unknown_lines)(database, arguments.limit)
    database.close()
    if arguments.json:
        for row in rows:
            print(json_line(row))
        return 0
    columns = terminal_columns()
    if not rows:
        print("no line was set aside" if arguments.set_aside else "every line of Postfix was understood")
    elif arguments.set_aside:
        for row in rows:
            print(f"{local_time(row['time'])}  {escape(row['host'])}  {escape(row['reason'])}")
            for line in wrap(escape(row["line"]), columns, "    "):
                print(line)
    else:
        shown = [
            (
                f"{row['lines']:,}",
                escape(row["host"]),
                escape(row["component"] or "-"),
                local_time(row["first_time"]),
                local_time(row["last_time"]),
                f"{escape(row['identifier'])}: {escape(row['sample'])}",
            )
            for row in rows
        ]
        for line in table(shown, ("lines", "host", "component", "first", "last", "the first of them"), columns):
            print(line)
    return 0
