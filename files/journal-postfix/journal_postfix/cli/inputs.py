"""Arguments that `import` and `parse` share: the files and how they are read."""

from __future__ import annotations

import argparse
import zoneinfo
from datetime import tzinfo

from ..settings import Settings
from ..sources.logfile import LogfileOptions
from .lookups import text_argument

FORMATS = ("auto", "syslog", "export", "json")


def add_input_arguments(parser: argparse.ArgumentParser, files: str) -> None:
    """Add FILE (`files` is argparse's nargs), --format, --year and --host."""
    parser.add_argument(
        "files", nargs=files, metavar="FILE", help="a log file: plain, gz, bz2, xz or zst; - for standard input"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="auto",
        help="syslog lines, or what `journalctl -o export` or `-o json` prints (default: found out)",
    )
    parser.add_argument(
        "--year",
        type=_year,
        help="year of each file's first line, where stamps have none (default: from the file's modification time)",
    )
    parser.add_argument(
        "--host", type=text_argument, help="host that the lines are stored for (default: the one that they name)"
    )


def _year(text: str) -> int:
    year = int(text) if text.isascii() and text.isdigit() else 0
    if not 1980 <= year <= 9998:
        raise argparse.ArgumentTypeError(f"{text!r} is no year; give it as 2025")
    return year


def input_options(arguments: argparse.Namespace, settings: Settings) -> LogfileOptions:
    """Give the options for the sources."""
    zone: tzinfo | None = zoneinfo.ZoneInfo(settings.logfile_timezone) if settings.logfile_timezone else None
    return LogfileOptions(format=arguments.format, host=arguments.host, year=arguments.year, timezone=zone)
