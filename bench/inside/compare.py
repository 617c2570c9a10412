"""Compares two databases table by table: `python3 compare.py DSN DSN` prints counts and what differs, as JSON.

Runs inside the machine, beside tests/pg/dump.py. Takes two connection strings; changes nothing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import closing

sys.path[:0] = ["/usr/local/lib/journal-postfix", "/opt/bench"]

from dump import QUERIES  # type: ignore[import-not-found]  # noqa: E402

from journal_postfix.store import Database  # noqa: E402

SHOWN = 5


def rows_of(dsn: str, query: str) -> Counter[str]:
    """Give the rows of a query as texts."""
    with closing(Database(dsn)) as database:
        return Counter(map(repr, database.fetch(query)))


def main() -> None:
    """Print one object: table -> counts, and some of the rows that only one has."""
    report = {}
    for table, query in QUERIES.items():
        first, second = (rows_of(dsn, query) for dsn in sys.argv[1:3])
        only = (first - second, second - first)
        report[table] = {
            "rows": [first.total(), second.total()],
            "only": [one.total() for one in only],
            "shown": [[row[:2000] for row in sorted(one)[:SHOWN]] for one in only],
        }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
