"""What the database does not take is set aside with its line; everything else of the batch is stored (I6)."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from journal_postfix.settings import Settings
from journal_postfix.store import Database
from pg.feed import feed_lines

STAMP = "2026-11-20T08:00:00+00:00 mx postfix/"
REJECT = "554 5.7.1 <b@example.net>: Relay access denied; from=<a@example.com> to=<b@example.net> proto=SMTP helo=<a>"
SENT = "delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (ok)"
# What no compression makes shorter.
WIDE = "".join(chr(0x20000 + number * 7919 % 40000) for number in range(240))
GOOD = [
    f"{STAMP}smtpd[1]: AAAAAA1: client=a.example.com[192.0.2.1]",
    f"{STAMP}qmgr[2]: AAAAAA1: from=<a@example.com>, size=10, nrcpt=1 (queue active)",
    f"{STAMP}virtual[3]: AAAAAA1: to=<x@example.org>, relay=virtual, {SENT}",
    f"{STAMP}qmgr[2]: AAAAAA1: removed",
    f"{STAMP}smtpd[1]: NOQUEUE: reject: RCPT from a.example.com[192.0.2.1]: {REJECT}",
]
BAD = {
    "NUL": f"{STAMP}smtpd[1]: BBBBBB1: client=a\0b[192.0.2.1]",
    "port out of range": f"{STAMP}smtpd[1]: BBBBBB1: client=a.example.com[192.0.2.1]:99999999999",
    "port of a rejection": f"{STAMP}smtpd[1]: NOQUEUE: reject: RCPT from a.example[192.0.2.1]:99999999999: {REJECT}",
    "names too long for an index together": (
        f"2026-11-20T08:00:00+00:00 {WIDE} {WIDE}/smtp[3]: connect to {WIDE}[192.0.2.9]:25: Connection refused"
    ),
    "conn_use": f"{STAMP}smtp[3]: AAAAAA1: to=<y@example.org>, relay=m[192.0.2.9]:25, conn_use=99999999999, {SENT}",
    "long queue id of a link": f"{STAMP}bounce[4]: AAAAAA1: sender non-delivery notification: {'A' * 60000}",
}


def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with closing(Database(dsn)) as database:
        return database.fetch(query)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("place", [0, 2, 5])
def test_the_rest_of_the_batch_is_stored(bad: str, place: int, database: str) -> None:
    lines = [*GOOD[:place], bad, *GOOD[place:]]
    summary = feed_lines(database, lines)
    assert summary.lines == len(lines)
    assert _rows(database, "SELECT fate FROM mail_recipient WHERE recipient = 'x@example.org'") == [("sent",)]
    assert _rows(database, "SELECT count(*) FROM mail_rejected") == [(1,)]
    kept = _rows(database, "SELECT sum(lines) FROM unknown_line")[0][0] or 0
    aside = _rows(database, "SELECT count(*) FROM set_aside")[0][0]
    assert kept + aside == 1, "the bad line is kept, and it alone"


def test_a_refused_line_can_be_read_again(database: str) -> None:
    feed_lines(database, [BAD["NUL"]])
    rows = _rows(database, "SELECT line, reason FROM set_aside")
    assert [(bytes(line), reason) for line, reason in rows] == [
        (b"postfix/smtpd[1]: BBBBBB1: client=a\0b[192.0.2.1]", "it contains a NUL character")
    ]


def test_a_refused_change_of_an_open_mail_leaves_it_as_it_was(database: str) -> None:
    feed_lines(database, GOOD[:3])
    feed_lines(database, [BAD["conn_use"], GOOD[3]], settings=Settings(max_messages_per_commit=10))
    assert _rows(database, "SELECT state FROM mail") == [("removed",)]
    assert _rows(database, "SELECT count(*) FROM set_aside")[0][0] >= 1


def test_hostile_hosts_and_identifiers_do_not_stop_a_batch(database: str) -> None:
    lines = [
        *GOOD,
        f"2026-11-20T08:00:00+00:00 {'h' * 5000} postfix/qmgr[2]: AAAAAA2: removed",
        f"2026-11-20T08:00:00+00:00 mx postfix/{'x' * 5000}[2]: AAAAAA2: removed",
        f"2026-11-20T08:00:00+00:00 mx {'y' * 5000}/qmgr[2]: AAAAAA2: removed",
    ]
    assert feed_lines(database, lines).lines == len(lines)
    assert _rows(database, "SELECT count(*) FROM mail") == [(1,)]


def test_unknown_lines_cannot_fill_the_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journal_postfix.store.write.MAX_UNKNOWN_SHAPES", 5)
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"]
    for word in words:
        feed_lines(database, [f"{STAMP}smtpd[1]: nobody knows {word}"] * 2)
    rows = _rows(database, "SELECT shape, lines FROM unknown_line ORDER BY lines DESC, shape")
    assert len(rows) == 6
    assert rows[0] == ("(other)", 4)
    assert sum(int(lines) for _, lines in rows) == 14


def test_made_up_names_cannot_fill_the_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journal_postfix.store.write.MAX_INSTANCES", 3)
    lines = [f"2026-11-20T08:00:00+00:00 mx postfix{number}/qmgr[1]: AAAAAA1: removed" for number in range(9)]
    lines += [f"2026-11-20T08:00:00+00:00 mx postfix/made-up-{number}[1]: hello" for number in range(9)]
    lines += [f"2026-11-20T08:00:00+00:00 host{number} postfix/qmgr[1]: AAAAAA1: removed" for number in range(300)]
    feed_lines(database, lines)
    assert _rows(database, "SELECT count(*) FROM mail_server WHERE host = 'mx'") == [(3,)]
    assert _rows(database, "SELECT count(*) FROM set_aside") == [(6,)]
    assert _rows(database, "SELECT component, action, lines FROM line_counter WHERE host = 'mx' ORDER BY 1") == [
        ("(other)", "unknown", 9),
        ("qmgr", "removed", 9),
    ]
    assert _rows(database, "SELECT count(*) FROM mail") == [(303,)]


def test_requeued_mail_ends_its_old_entry(database: str) -> None:
    """`postsuper -r ALL` logs no queue ids: only pickup's line tells what became of the old entries."""
    feed_lines(database, [*GOOD[:2], f"{STAMP}pickup[5]: AAAAAA2: uid=106 from=<a@example.com> orig_id=AAAAAA1"])
    feed_lines(database, [f"{STAMP}pickup[5]: AAAAAA3: uid=106 from=<a@example.com> orig_id=FFFFFF1"])
    states = _rows(database, "SELECT queue_id, state FROM mail ORDER BY queue_id")
    assert states == [("AAAAAA1", "requeued"), ("AAAAAA2", "queued"), ("AAAAAA3", "queued")]
