"""Situations: a log in tests/streams/NAME.log and what the public views must show of it, in NAME.yaml.

`python3 tests/pg/test_streams.py NAME …` prints what a database shows today, to be read and then kept.
"""

from __future__ import annotations

import random
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
import yaml

from journal_postfix.message import LogMessage
from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import LogfileOptions
from paths import STREAMS
from pg.dump import dump, views
from pg.feed import feed_file, feed_messages, messages_of

NAMES = sorted(path.stem for path in STREAMS.glob("*.log"))

# Their point is the stamps' year and zone; and which of two mails a delivery line belongs to, when neither an end nor a
# new beginning was logged before it, nobody can tell.
IN_ORDER_ONLY = {"year_change", "daylight_saving", "reused_queue_id_by_notification"}


def _expected(name: str) -> dict[str, Any]:
    content = yaml.safe_load((STREAMS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def _options(expected: dict[str, Any]) -> LogfileOptions:
    zone = expected.get("timezone", "UTC")
    return LogfileOptions(year=expected.get("year", 2026), timezone=zoneinfo.ZoneInfo(zone))


def test_every_stream_has_its_expectation() -> None:
    assert len(NAMES) >= 15
    assert {path.stem for path in STREAMS.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_views_show_what_happened(name: str, database: str) -> None:
    expected = _expected(name)
    feed_file(database, str(STREAMS / f"{name}.log"), _options(expected))
    shown = views(database)
    for part in ("mails", "rejected", "other_noqueue", "server_events", "lines"):
        assert shown.get(part) == expected.get(part), part


@pytest.mark.parametrize("name", NAMES)
def test_a_second_import_adds_nothing(name: str, database: str) -> None:
    options = _options(_expected(name))
    path = str(STREAMS / f"{name}.log")
    feed_file(database, path, options)
    before = dump(database)
    assert feed_file(database, path, options).lines == 0
    assert dump(database) == before


@pytest.mark.parametrize("name", NAMES)
def test_one_transaction_per_line_gives_the_same_rows(name: str, database: str, tmp_path: Path) -> None:
    options = _options(_expected(name))
    path = STREAMS / f"{name}.log"
    feed_file(database, str(path), options)
    whole = dump(database)
    # The same lines as another input, so that both can stand in one database under two host names.
    other = tmp_path / "other.log"
    renamed = [line.replace(" mx", " zz", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    other.write_text("\n" + "\n".join(renamed) + "\n", encoding="utf-8")
    feed_file(database, str(other), options, Settings(max_messages_per_commit=1))
    both = dump(database)
    for table, rows in whole.items():
        added = sorted(row.replace("'zz", "'mx") for row in both[table] if "'zz" in row)
        expected = [row for row in rows if "'mx" in row]
        assert added == expected, table


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IN_ORDER_ONLY])
def test_disorder_within_a_second_changes_nothing(name: str, database: str) -> None:
    """Lines with different stamps within one second may come in any order (daemons race for the log)."""
    messages = messages_of((STREAMS / f"{name}.log").read_text(encoding="utf-8").splitlines())
    shown = []
    for seed in range(4):
        chaos = random.Random(seed)
        latest: dict[int, float] = {}
        moved: list[tuple[float, LogMessage]] = []
        for message in messages:
            # What one process logs stays in order.
            time = max(message.time + (chaos.random() if seed else 0.0), latest.get(message.pid, 0.0))
            latest[message.pid] = time
            moved.append((time, message))
        shuffled = [message for _, message in sorted(moved, key=lambda pair: pair[0])]
        host = f"h{seed}"
        feed_messages(database, [message._replace(host=host + message.host) for message in shuffled], name=host)
        everything = dump(database)
        shown.append(
            {
                table: [row for row in rows if f"'{host}" in row]
                for table, rows in everything.items()
                if table != "unknown_line"
            }
        )
    first = shown[0]
    for seed, other in enumerate(shown):
        renamed = {table: sorted(row.replace(f"'h{seed}", "'h0") for row in rows) for table, rows in other.items()}
        assert renamed == first, seed
