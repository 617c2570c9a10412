"""Every query of docs/queries.md runs on the public views, and gives on the sample what the page shows."""

from __future__ import annotations

import re
from contextlib import closing
from decimal import Decimal
from typing import Any

from journal_postfix.store import Database
from paths import ROOT
from pg.feed import feed_file

PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sql\n(.*?)^```\n+```\n(.*?)^```\n", PAGE, re.MULTILINE | re.DOTALL)
PUBLIC = {
    "mail",
    "mail_recipient",
    "mail_attempt",
    "mail_rejected",
    "mail_problem",
    "mail_link",
    "mail_final",
    "mail_delivery",
    "mail_neighbour",
    "mail_server_event",
    "mail_host",
    "input_state",
    "input_gap",
}


def shown(rows: list[dict[str, Any]]) -> str:
    """Lay rows out as psql does: numbers to the right, and no lines around."""
    grid = [list(rows[0]), *[["" if value is None else str(value) for value in row.values()] for row in rows]]
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    is_number = [isinstance(value, int | float | Decimal) for value in rows[0].values()]
    lines = []
    for number, line in enumerate(grid):
        cells = [
            text.rjust(wide) if right and number else text.ljust(wide)
            for text, wide, right in zip(line, widths, is_number, strict=True)
        ]
        lines.append(" | ".join(cells).rstrip())
    lines.insert(1, "-+-".join("-" * wide for wide in widths))
    return "\n".join(lines) + "\n"


def test_each_query_gives_what_the_page_shows(database: str) -> None:
    assert len(EXAMPLES) >= 10
    assert len(EXAMPLES) == PAGE.count("```sql")
    feed_file(database, str(ROOT / "sample" / "mail.log"))
    with closing(Database(database)) as connection:
        for sql, output in EXAMPLES:
            tables = set(re.findall(r"(?:FROM|JOIN) ([a-z_]+) AS", sql))
            assert tables <= PUBLIC, sql
            assert tables, sql
            assert shown(connection.fetch_dicts(sql.replace("%", "%%"), {})) == output, sql


def test_every_public_view_is_named_and_described(database: str) -> None:
    with closing(Database(database)) as connection:
        views = dict(
            connection.fetch(
                "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class "
                "WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace"
            )
        )
    assert set(views) >= PUBLIC
    for name in PUBLIC:
        assert views[name], name
        assert f"`{name}`" in PAGE, name
