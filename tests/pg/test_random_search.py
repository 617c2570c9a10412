"""Random criteria on a random world: `search` finds what a plain comparison of all results finds, page by page."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from journal_postfix.store import Database
from journal_postfix.store.search import Criteria, Cursor, search
from journal_postfix.store.terms import is_domain
from pg.feed import feed_lines
from pg.logs import BEGIN, attempt, mail, rejection

MAILS = 800
SECONDS = 7.0
NAMES = ("ann", "bob", "Cy", "d.e", "x_y", "100%", "o'neil", "ann.b")
DOMAINS = ("one.example", "two.example", "sub.one.example", "Three.example")
RELAYS = ("mx.example.net[198.51.100.1]:25", "mx2.example.org[198.51.100.2]:25")
CLIENTS = ("a.example.com[192.0.2.1]", "b.example.com[192.0.2.77]")


class World:
    """Log lines and questions, all of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _address(self) -> str:
        return f"{self._random.choice(NAMES)}@{self._random.choice(DOMAINS)}"

    def _sender(self) -> str:
        return self._address() if self._random.random() < 0.9 else ""

    def lines(self) -> list[str]:
        """Give the log."""
        choice = self._random.choice
        lines = []
        for number in range(MAILS):
            second = number * SECONDS + self._random.random()
            if self._random.random() < 0.15:
                lines.append(rejection(second, self._sender(), self._address()))
                continue
            attempts = [
                attempt(self._address(), choice(["sent"] * 6 + ["deferred", "bounced"]), relay=choice(RELAYS))
                for _ in range(choice([1, 1, 1, 2, 3]))
            ]
            is_open = any(status == "deferred" for _, _, status, _ in attempts)
            queue_id = f"{0x10000000 + number:08X}"
            lines += mail(queue_id, second, self._sender(), *attempts, client=choice(CLIENTS), removed=not is_open)
        return sorted(lines)

    def _term(self) -> str:
        domain, name = self._random.choice(DOMAINS), self._random.choice(NAMES)
        special = ("%", "_", "'", "100%@", "ample", "zzz")
        return self._random.choice(
            [self._address(), f"<{self._address()}>", "@" + domain, domain, "." + domain, name, *special]
        )

    def criteria(self) -> Criteria:
        """Give one to three conditions."""
        choice = self._random.choice
        make: dict[str, Callable[[], Any]] = {
            "sender": lambda: choice([self._term(), self._term(), "<>"]),
            "recipient": self._term,
            "fate": lambda: choice(["sent", "deferred", "bounced", "rejected"]),
            "client": lambda: choice(["a.example", "192.0.2.77", "example.com"]),
            "relay": lambda: choice(["mx2", "mx.example", "nope"]),
            "since": lambda: BEGIN + timedelta(seconds=self._random.random() * MAILS * SECONDS),
            "until": lambda: BEGIN + timedelta(seconds=self._random.random() * MAILS * SECONDS),
        }
        names = self._random.sample(sorted(make), choice([1, 2, 2, 3]))
        return Criteria(**{name: make[name]() for name in names})

    def limit(self) -> int:
        """Give the length of a page."""
        return self._random.choice([3, 10, 50, 1000])


def _fits(term: str, address: str) -> bool:
    """Tell whether an address is one of those that a term means, as `search --help` says."""
    address, term = address.lower(), term.lower()
    term = term[1:-1] if term.startswith("<") and term.endswith(">") else term
    if not term:
        return not address
    local, at, domain = term.rpartition("@")
    if at and not local:
        return address.endswith(term)
    if not at and is_domain(term):
        return address.endswith("@" + term)
    if not at and term.startswith("."):
        return address.endswith(term)
    return address == term if at and is_domain(domain) else term in address


def _is_meant(result: dict[str, Any], criteria: Criteria) -> bool:
    is_mail = result["kind"] == "mail"
    time = result["began" if is_mail else "time"]
    if (criteria.since is not None and time < criteria.since) or (
        criteria.until is not None and time >= criteria.until
    ):
        return False
    if criteria.sender is not None and not _fits(criteria.sender, result["sender"]):
        return False
    if criteria.client is not None and not (
        criteria.client in result["client_hostname"] or criteria.client == result["client_ip"]
    ):
        return False
    if not is_mail:
        return (
            criteria.fate in (None, "rejected")
            and criteria.relay is None
            and (criteria.recipient is None or _fits(criteria.recipient, result["recipient"]))
        )
    return any(
        (criteria.recipient is None or _fits(criteria.recipient, recipient["recipient"]))
        and (criteria.fate is None or criteria.fate == recipient["fate"])
        and (criteria.relay is None or criteria.relay in recipient["relay_host"])
        for recipient in result["recipients"]
    )


def _all_pages(database: Database, criteria: Criteria, limit: int) -> list[str]:
    found: list[str] = []
    after: Cursor | None = None
    while True:
        page = search(database, criteria, limit, after)
        assert len(page.results) <= limit
        found += [result["cursor"] for result in page.results]
        after = page.more
        if after is None or len(found) > 5 * limit:
            return found


@pytest.mark.parametrize(("seed", "narrowed"), [(1, 2000), (2, 20)])
def test_random_criteria_find_what_a_plain_comparison_finds(
    database: str, monkeypatch: pytest.MonkeyPatch, seed: int, narrowed: int
) -> None:
    monkeypatch.setattr("journal_postfix.store.search._MAX_NARROWED", narrowed)
    world = World(seed)
    feed_lines(database, world.lines())
    with closing(Database(database)) as connection:
        connection.execute("ANALYZE")
        everything = search(connection, Criteria(), 10 * MAILS).results
        assert len(everything) == MAILS
        total = 0
        for _ in range(40):
            criteria, limit = world.criteria(), world.limit()
            found = _all_pages(connection, criteria, limit)
            expected = [result["cursor"] for result in everything if _is_meant(result, criteria)]
            assert found == (expected if len(found) <= 5 * limit else expected[: len(found)]), criteria
            total += len(found)
        assert total > 500
