"""stats: how many mails, deliveries, failures and rejections, how much, how fast; by time or by a property.

Text has a row per hour, domain … with a small bar for the deliveries, and the total; JSON has one object per row, CSV
is a table.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ..errors import UsageError
from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.problems import Window, report
from ..store.stats import PROPERTIES, TIMES, Row, Stats, collect
from .lookups import limit_argument, text_argument, time_argument
from .problems import window_of
from .text import cut, escape, json_line, local_time, padded, size_text, span_text, terminal_columns, utc_time, width
from .times import EXAMPLE

MAX_STRETCHES: Final = 10_000
BAR_WIDTH: Final = 12
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"

# What has no value for a key: what that means.
_NO_KEY: Final = {
    "domain": "(no domain)",
    "relay": "(refused before)",
    "client": "(this host)",
    "sasl-user": "(no log-in)",
    "tls": "(none known)",
    "host": "-",
}
_NUMBERS: Final = (
    "mails",
    "bytes",
    "delivered",
    "failed",
    "deferred",
    "rejected",
    "delay_p50",
    "delay_p90",
    "delay_p99",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        "A mail that passes a content filter or is forwarded counts once: deliveries where it arrived at last, mails "
        f"where they came in. Times: {EXAMPLE}; without a zone they are local, and a date alone is its 00:00."
    )
    add = parser.add_argument
    add(
        "--by",
        choices=(*TIMES, *PROPERTIES),
        default="hour",
        help="what makes a row (default: hour); domain: recipients'",
    )
    add("--since", type=time_argument, metavar="TIME", help="from when on (default: 24 hours before --until)")
    add("--until", type=time_argument, metavar="TIME", help="until when (default: now)")
    add("--host", type=text_argument, metavar="HOST", help="mail server that logged it, by its full or its short name")
    add(
        "--limit",
        type=limit_argument,
        default=50,
        metavar="N",
        help="how many domains, relays …, the largest (default: 50); stretches of time are always all",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per row, the total last")
    form.add_argument("--csv", action="store_true", help="a table with a line of names, without the total")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Count and print."""
    window = window_of(arguments)
    by: str = arguments.by
    bounds = stretches(window, by) if by in TIMES else None
    database = Database(settings.database)
    require_current_schema(database)
    with report(database):
        stats = collect(database, window, by, bounds)
    database.close()
    rows = stats.rows if bounds else stats.rows[: arguments.limit]
    if arguments.json:
        for row in rows:
            print(json_line({**_key_json(row, by, bounds, window), **_numbers(row)}))
        print(json_line({"total": True, "begin": window.since, "end": window.until, **_numbers(stats.total)}))
    elif arguments.csv:
        _write_csv(rows, by, bounds)
    else:
        for line in _text(window, stats, rows, by, bounds):
            print(line)
    return 0


def stretches(window: Window, by: str) -> list[datetime]:
    """Give when each hour, day or week (from Monday) of the local zone begins; the first is not after the window."""
    begin = window.since.astimezone().replace(minute=0, second=0, microsecond=0)
    if by != "hour":
        begin = begin.replace(hour=0)
    if by == "week":
        begin -= timedelta(days=begin.weekday())
    bounds: list[datetime] = []
    if by == "hour":
        time = begin
        while time < window.until and len(bounds) <= MAX_STRETCHES:
            bounds.append(time)
            time += timedelta(hours=1)
    else:
        # A day of the local zone may have 23 or 25 hours: its midnights are asked for one by one.
        day = begin.replace(tzinfo=None)
        while day.astimezone() < window.until and len(bounds) <= MAX_STRETCHES:
            bounds.append(day.astimezone())
            day += timedelta(days=7 if by == "week" else 1)
    if len(bounds) > MAX_STRETCHES:
        raise UsageError(f"that is more than {MAX_STRETCHES:,} rows; take a shorter span, or --by day or week")
    return bounds


# JSON and CSV.


def _key_json(row: Row, by: str, bounds: Sequence[datetime] | None, window: Window) -> dict[str, Any]:
    if bounds is None:
        return {"by": by} | ({} if row.key is None else {"key": row.key})
    number = int(row.key or 1)
    end = bounds[number] if number < len(bounds) else window.until
    return {"by": by, "begin": max(bounds[number - 1], window.since), "end": end}


def _numbers(row: Row) -> dict[str, Any]:
    return {name: value for name in _NUMBERS if (value := getattr(row, name)) is not None}


def _write_csv(rows: Sequence[Row], by: str, bounds: Sequence[datetime] | None) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow((by, *_NUMBERS))
    for row in rows:
        key = _cell(str(row.key or "")) if bounds is None else utc_time(bounds[int(row.key or 1) - 1])
        writer.writerow((key, *("" if (value := getattr(row, name)) is None else value for name in _NUMBERS)))


def _cell(text: str) -> str:
    """Keep a text that others chose from being a formula for the program that opens the table."""
    text = escape(text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


# Text.

_HEADERS: Final = ("mails", "volume", "delivered", "", "failed", "deferred", "rejected", "half within", "90 %", "99 %")


def _text(
    window: Window, stats: Stats, rows: Sequence[Row], by: str, bounds: Sequence[datetime] | None
) -> Iterator[str]:
    host = f" on {escape(window.host)}" if window.host is not None else ""
    yield f"From {local_time(window.since)} to {local_time(window.until)}{host}."
    yield ""
    if bounds:
        # Hours before the log begins tell nothing.
        empty = next((number for number, row in enumerate(rows) if row.weight), 0)
        if empty > 1:
            yield f"Nothing before {local_time(bounds[empty])}:"
            rows = rows[empty:]
    columns = terminal_columns()
    # A name that somebody made long must not push the numbers out of sight.
    names = [cut(_name(row, by, bounds), None if columns is None else max(columns - 110, 24)) for row in rows]
    most = max((row.delivered for row in rows), default=0)
    grid = [
        (by, *_HEADERS),
        *((name, *_cells(row, most)) for name, row in zip(names, rows, strict=True)),
        ("all", *_cells(stats.total, 0)),
    ]
    kept = [column for column in range(len(grid[0])) if any(line[column] not in ("", "-") for line in grid[1:])]
    widths = {column: max(width(line[column]) for line in grid) for column in kept}
    for line in grid:
        parts = []
        for column in kept:
            text, wide = line[column], widths[column]
            parts.append(padded(text, wide) if column in (0, 4) else " " * (wide - width(text)) + text)
        yield "  ".join(parts).rstrip()
    if not bounds and len(rows) < len(stats.rows):
        yield f"and {len(stats.rows) - len(rows):,} smaller ones (--limit)"


def _name(row: Row, by: str, bounds: Sequence[datetime] | None) -> str:
    if bounds is not None:
        text = local_time(bounds[int(row.key or 1) - 1])
        return text[:16] if by == "hour" else text[:10]
    return _NO_KEY[by] if row.key is None else escape(str(row.key))


def _cells(row: Row, most: int) -> tuple[str, ...]:
    counts = [_count(number) for number in (row.mails, row.delivered, row.failed, row.deferred, row.rejected)]
    delays = ["-" if delay is None else span_text(delay) for delay in (row.delay_p50, row.delay_p90, row.delay_p99)]
    volume = "-" if row.bytes is None else size_text(row.bytes)
    return (counts[0], volume, counts[1], bar(row.delivered, most), *counts[2:], *delays)


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def bar(number: int, most: int) -> str:
    """Draw a number as a bar of up to BAR_WIDTH columns.

    >>> bar(50, 100), bar(1, 1000), bar(0, 5)
    ('██████', '▏', '')
    """
    if not most or not number:
        return ""
    eighths = max(round(number * BAR_WIDTH * 8 / most), 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
