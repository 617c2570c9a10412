"""Neighbours' lines in the database: counted apart from Postfix's, set aside when refused, trusted by their unit."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from journal_postfix.cli.main import main
from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import LogfileOptions
from journal_postfix.store import Database
from pg.feed import feed_file, feed_lines
from pg.logs import at, attempt, mail

SESSION = "uA0fGfJYH2X0XwAAqPeSTA"
SAVED = f"dovecot: lmtp(bob)<1><{SESSION}>: msgid=<x@id.example>: saved mail to INBOX"
DIGEST = "0123456789abcdef0123456789abcdef"
SCANNED = (
    "(normal) <f3a1c2>; task; rspamd_task_write_log: id: <x@id.example>, qid: <A1A1A1A1>, ip: 192.0.2.1, "
    "from: <a@example.com>, (default: F (no action): [1.20/15.00] [X(1.20){y;}]), len: 10, time: 1.000ms, dns req: 0, "
    f"digest: <{DIGEST}>"
)


def _rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with closing(Database(dsn)) as database:
        return database.fetch(query)


def test_neighbours_are_stored_and_counted_apart(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example")),
        f"{at(1)} mx {SAVED}",
        f"{at(2)} mx dovecot: imap-login: Login: user=<bob>",
        f"{at(3)} mx rspamd[7]: <f3a1c2>; task; rspamd_task_write_log: id: <a b>",
        f"{at(4)} mx sshd[1]: x",
    ]
    summary = feed_lines(database, lines)
    assert (summary.postfix_lines, summary.understood, summary.unknown, summary.neighbour_lines) == (5, 5, 0, 3)
    assert _rows(
        database, "SELECT host, program, action, session, message_id, recipient, mailbox FROM neighbour_event"
    ) == [("mx", "dovecot", "saved", SESSION, "<x@id.example>", "bob", "INBOX")]
    assert _rows(database, "SELECT host, instance FROM mail_server") == [("mx", "postfix")]
    assert _rows(database, "SELECT component, lines FROM unknown_line") == [("rspamd", 1)]
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{database}'\n", encoding="utf-8")
    assert main(["--config", str(config), "status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["lines"] == {
        "read": 9,
        "understood": 5,
        "unknown": 0,
        "foreign": 1,
        "forged": 0,
        "covered": 0,
        "set_aside": 0,
        "neighbours": 3,
        "understood_percent": 100.0,
    }
    assert main(["--config", str(config), "status"]) == 0
    assert "0 unknown, 3 of neighbours, 1 foreign" in capsys.readouterr().out


def test_what_is_not_configured_stays_foreign(database: str) -> None:
    summary = feed_lines(database, [f"{at(1)} mx {SAVED}"], settings=Settings(neighbours={"rspamd": ["rspamd"]}))
    assert (summary.neighbour_lines, summary.by_action) == (0, {"foreign": 1})
    assert _rows(database, "SELECT count(*) FROM neighbour_event") == [(0,)]


def test_a_line_that_the_database_refuses_is_set_aside_alone(database: str) -> None:
    bad = f"{at(2)} mx dovecot: lmtp(b\0ob)<1><{SESSION}>: msgid=<x>: saved mail to INBOX"
    feed_lines(database, [f"{at(1)} mx {SAVED}", bad, f"{at(3)} mx {SAVED}"])
    assert _rows(database, "SELECT count(*) FROM neighbour_event") == [(2,)]
    assert _rows(database, "SELECT count(*) FROM set_aside") == [(1,)]


def test_a_row_that_the_database_refuses_is_set_aside_alone(database: str) -> None:
    with closing(Database(database)) as connection:
        connection.execute("ALTER TABLE neighbour_event ADD CONSTRAINT no_spam CHECK (mailbox <> 'Spam')")
    lines = [f"{at(second)} mx {SAVED}" for second in range(5)]
    lines[3] = lines[3].replace("INBOX", "Spam")
    feed_lines(database, lines)
    assert _rows(database, "SELECT count(*), count(DISTINCT time) FROM neighbour_event") == [(4, 4)]
    ((line, reason),) = _rows(database, "SELECT line, reason FROM set_aside")
    assert b"saved mail to Spam" in bytes(line)
    assert "no_spam" in reason


@pytest.mark.parametrize("limit", [1, 100_000])
def test_long_values_are_stored_whole(database: str, limit: int) -> None:
    mailbox = "x" * 20000
    line = f"{at(1)} mx dovecot: lmtp(bob)<1><{SESSION}>: msgid=<{'m' * 190}@id.example>: saved mail to {mailbox}"
    feed_lines(database, [line], settings=Settings(max_messages_per_commit=limit))
    assert _rows(database, "SELECT mailbox FROM neighbour_event") == [(mailbox,)]


def test_rspamd_has_a_file_of_its_own(database: str, tmp_path: Path) -> None:
    log = tmp_path / "rspamd.log"
    log.write_text(
        f"2026-11-20 08:00:00 #4711{SCANNED}\n"
        f"2026-11-20 08:00:01.12345 [notice] #4711{SCANNED}\n"
        "2026-11-20 08:00:02 #1(main) <7kx1>; main; main: rspamd is loading configuration\n",
        encoding="utf-8",
    )
    summary = feed_file(database, str(log), LogfileOptions(host="mx"))
    assert (summary.lines, summary.neighbour_lines) == (3, 3)
    rows = _rows(database, "SELECT host, time::text, queue_id, result, score FROM neighbour_event ORDER BY time")
    assert [row[:1] + row[2:4] for row in rows] == [("mx", "A1A1A1A1", "no action")] * 2
    assert [row[1] for row in rows] == ["2026-11-20 08:00:00+00", "2026-11-20 08:00:01.12345+00"]


@pytest.mark.parametrize(
    ("unit", "uid", "identifier", "stored"),
    [
        ("dovecot.service", "0", "dovecot", True),
        ("dovecot.service", "113", "dovecot", True),
        ("postfix@-.service", "105", "policyd-spf", True),
        ("amavisd.service", "112", "amavis", True),
        ("user@1000.service", "1000", "dovecot", False),
        ("session-3.scope", "1000", "dovecot", False),
        ("cron.service", "1000", "dovecot", False),
        ("postfixadmin.service", "33", "postfix", False),
    ],
)
def test_the_journal_says_whose_line_it_is(
    unit: str, uid: str, identifier: str, stored: bool, database: str, tmp_path: Path
) -> None:
    text = {
        "dovecot": SAVED.removeprefix("dovecot: "),
        "policyd-spf": "550 5.7.23 no",
        "amavis": "(1-1) Passed CLEAN {RelayedInbound}, [192.0.2.1]:4711 <a@example.com> -> <bob@example.org>, 7 ms",
        "postfix": "starting the Postfix mail system",
    }[identifier]
    entry = {
        "__REALTIME_TIMESTAMP": "1795161600000000",
        "_HOSTNAME": "mx",
        "SYSLOG_IDENTIFIER": identifier,
        "_SYSTEMD_UNIT": unit,
        "_UID": uid,
        "MESSAGE": text,
    }
    log = tmp_path / "journal.json"
    log.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    summary = feed_file(database, str(log))
    assert summary.by_action.get("forged", 0) == int(not stored)
    assert _rows(database, "SELECT count(*) FROM neighbour_event") == [(int(stored),)]
