"""VERP: the list is the sender that is shown, what was logged stays, and both are found."""

from __future__ import annotations

from contextlib import closing

import pytest

from journal_postfix.settings import Settings
from journal_postfix.store import Database
from journal_postfix.store.search import Criteria, search
from pg.dump import dump
from pg.feed import feed_lines
from pg.logs import attempt, mail, rejection

RAW = "news+bob=dest.example@lists.example.org"
SHOWN = "news@lists.example.org"
LINES = [
    *mail("A1A1A1A1", 0, RAW, attempt("bob@dest.example"), removed=False),
    *mail("A2A2A2A2", 10, "carl+tag@example.org", attempt("bob@dest.example")),
    rejection(20, RAW, "bob@dest.example"),
]


def _found(dsn: str, **criteria: str) -> list[tuple[str, str | None, str | None]]:
    with closing(Database(dsn)) as database:
        results = search(database, Criteria(**criteria), limit=9).results  # type: ignore[arg-type]
    return [(result.get("queue_id", "-"), result.get("sender"), result.get("sender_raw")) for result in results]


@pytest.mark.parametrize("term", [RAW, SHOWN, "<" + RAW + ">", "bob=dest", "news@lists"])
def test_a_list_is_found_by_its_own_address_and_by_the_logged_one(term: str, database: str) -> None:
    feed_lines(database, LINES, settings=Settings(verp_marker="+"))
    expected = [("-", SHOWN, RAW), ("A1A1A1A1", SHOWN, RAW)]
    assert _found(database, sender=term) == expected
    assert _found(database, term=term) == expected
    assert _found(database, sender="carl+tag@example.org") == [("A2A2A2A2", "carl+tag@example.org", None)]


def test_without_the_setting_the_sender_is_as_logged(database: str) -> None:
    feed_lines(database, LINES)
    assert _found(database, sender=SHOWN) == []
    assert _found(database, sender=RAW) == [("-", RAW, None), ("A1A1A1A1", RAW, None)]


def test_a_mail_that_is_open_while_the_setting_changes_stays_one_mail(database: str) -> None:
    again = mail("A1A1A1A1", 100, RAW, attempt("bob@dest.example"))[2:]
    feed_lines(database, LINES[:3], name="before", settings=Settings(verp_marker="+"))
    feed_lines(database, again, name="after")
    assert len(dump(database)["delivery_from"]) == 1
    assert _found(database, sender=RAW) == [("A1A1A1A1", RAW, None)]
