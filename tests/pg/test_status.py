"""status and unknown: what they show, and when status tells a monitoring system that something is wrong."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from journal_postfix.cli.main import main
from journal_postfix.store import Database, state
from journal_postfix.store.inputs import Heartbeat, beat
from paths import STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import attempt, line, mail, rejection


def _config(dsn: str, tmp_path: Path) -> str:
    path = tmp_path / "main.yml"
    path.write_text(f"database: '{dsn}'\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def config(database: str, tmp_path: Path) -> str:
    return _config(database, tmp_path)


def _status(capsys: pytest.CaptureFixture[str], config: str) -> tuple[int, dict[str, Any]]:
    code = main(["--config", config, "status", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return code, report


def test_a_new_database_is_fine_and_empty(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = _status(capsys, config)
    assert code == 0
    assert report["problems"] == []
    assert report["lines"]["read"] == 0
    assert "understood_percent" not in report["lines"]
    assert main(["--config", config, "status"]) == 0
    assert "no input has been read yet" in capsys.readouterr().out


def test_figures(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example"), attempt("c@dest.example", "bounced")),
        *mail("A2A2A2A2", 9, "a@example.com", attempt("b@dest.example", "deferred"), removed=False),
        rejection(20, "x@example.com", "b@dest.example"),
        "2026-11-20T08:00:30+00:00 mx sshd[1]: Accepted publickey for root",
    ]
    feed_lines(database, lines, name="/var/log/mail.log")
    code, report = _status(capsys, config)
    assert code == 0
    assert report["lines"] == {
        "read": 12,
        "understood": 11,
        "unknown": 0,
        "foreign": 1,
        "forged": 0,
        "covered": 0,
        "set_aside": 0,
        "neighbours": 0,
        "understood_percent": 100.0,
    }
    assert report["mails"] == 2
    assert report["recipients"] == {"bounced": 1, "deferred": 1, "sent": 1}
    assert report["rejected"] == 1
    assert report["oldest_open"]["queue_id"] == "A2A2A2A2"
    assert report["last_time"] == "2026-11-20T08:00:30.000000Z"
    assert report["schema"]["step"] == report["schema"]["newest"]
    (read_from,) = report["inputs"]
    assert (read_from["name"], read_from["lines"]) == ("/var/log/mail.log", 12)
    assert main(["--config", config, "status"]) == 0
    text = capsys.readouterr().out
    assert "12 read, 11 understood (100 % of Postfix's), 0 unknown, 1 foreign" in text
    assert "recipients  3: 1 bounced, 1 deferred, 1 sent" in text


def test_estimates_where_counting_would_take_long(
    database: str, config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    for number in range(20):
        lines += mail(
            f"A{number:07X}", number, "a@example.com", attempt("b@dest.example", "bounced" if number < 5 else "sent")
        )
    feed_lines(database, lines)
    with closing(Database(database)) as connection:
        connection.execute("ANALYZE")
    monkeypatch.setattr(state, "MAX_COUNTED", 10)
    code, report = _status(capsys, config)
    assert code == 0
    assert report["counts_are_exact"] is False
    assert report["mails"] == 20
    assert report["recipients"] == {"sent": 15, "bounced": 5}


def test_an_estimate_of_what_was_never_analyzed_is_not_below_nothing(
    database: str, config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    for number in range(20):
        lines += mail(f"A{number:07X}", number, "a@example.com", attempt("b@dest.example"))
    feed_lines(database, lines)
    with closing(Database(database)) as connection:
        # As autovacuum does: a table that stays empty is never looked at.
        connection.execute("ANALYZE delivery_from; ANALYZE delivery_to")
    monkeypatch.setattr(state, "MAX_COUNTED", 10)
    _, report = _status(capsys, config)
    assert (report["counts_are_exact"], report["mails"], report["rejected"]) == (False, 20, 0)


def test_few_unknown_lines_are_shown_many_are_wrong(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [line(number, "qmgr", f"A{number:07X}: removed") for number in range(200)]
    feed_lines(database, [*known, line(300, "smtpd", "no such words")])
    code, report = _status(capsys, config)
    assert (code, report["lines"]["unknown"]) == (0, 1)
    assert main(["--config", config, "status"]) == 0
    assert "99.50 % of Postfix's" in capsys.readouterr().out
    feed_lines(database, [line(301, "smtpd", f"no such words {number}") for number in range(9)], name="more")
    code, report = _status(capsys, config)
    assert code == 1
    assert "journal-postfix unknown" in report["problems"][0]
    assert main(["--config", config, "status"]) == 1
    assert "wrong: 10 lines of Postfix" in capsys.readouterr().out


def test_lines_set_aside_are_wrong_and_listed(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(database, [line(0, "qmgr", "A1A1A1A1: from=<a@b>, size=1, nrcpt=1 (queue active)\x00\x1b[2J")])
    code, report = _status(capsys, config)
    assert code == 1
    assert report["lines"]["set_aside"] == 1
    assert main(["--config", config, "unknown", "--set-aside", "--json"]) == 0
    (row,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert row["line"].startswith("postfix/qmgr[1]: A1A1A1A1")
    assert "NUL" in row["reason"]
    assert main(["--config", config, "unknown", "--set-aside"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert r"\x00\x1b[2J" in text


def test_unknown_lines_are_grouped_the_most_frequent_first(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line(number, "smtpd", f"odd thing {number} of <x{number}@example.com>") for number in range(5)]
    feed_lines(database, [*lines, line(9, "newdaemon", "once\x1b[1m")])
    assert main(["--config", config, "unknown", "--json"]) == 0
    first, second = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (first["host"], first["component"], first["lines"]) == ("mx", "smtpd", 5)
    assert first["sample"] == "odd thing 0 of <x0@example.com>"
    assert first["first_time"] == "2026-11-20T08:00:00.000000Z"
    assert first["last_time"] == "2026-11-20T08:00:04.000000Z"
    assert second["lines"] == 1
    assert main(["--config", config, "unknown", "--json", "--limit", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["--config", config, "unknown"]) == 0
    text = capsys.readouterr().out
    assert "postfix/newdaemon: once\\x1b[1m" in text
    assert text.index("odd thing") < text.index("newdaemon")


def test_without_a_schema_it_says_what_to_do(
    empty_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(empty_database, tmp_path)
    code, report = _status(capsys, config)
    assert code == 1
    assert "journal-postfix schema apply" in report["problems"][0]
    for command in (["search"], ["trace", "A1A1A1A1"], ["unknown"]):
        assert main(["--config", config, *command]) == 1
        assert "journal-postfix schema apply" in capsys.readouterr().err


def test_without_a_server_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(f"host={tmp_path} dbname=x", tmp_path)
    code, report = _status(capsys, config)
    assert code == 1
    assert "cannot connect" in report["problems"][0]
    assert main(["--config", config, "status"]) == 1
    assert "wrong: database: cannot connect" in capsys.readouterr().out


def test_every_stream_is_told_without_a_failure(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a log leaves behind, every mail of it can be shown."""
    for path in sorted(STREAMS.glob("*.log")):
        feed_file(database, str(path))
    with closing(Database(database)) as connection:
        ids = [row[0] for row in connection.fetch("SELECT DISTINCT queue_id FROM mail")]
    for queue_id in ids:
        for options in ([], ["--json"], ["--verbose"]):
            assert main(["--config", config, "trace", *options, queue_id]) == 0
            assert queue_id in capsys.readouterr().out
    assert main(["--config", config, "search", "--limit", "1000"]) == 0
    assert main(["--config", config, "status"]) in (0, 1)


# ---- what daemons say


def test_a_daemon_that_waits_does_not_claim_that_nothing_is_waiting(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = "journal of mx: may not be read by this user: add it to the group systemd-journal"
    with closing(Database(database)) as connection:
        beat(connection, Heartbeat("journal of mx", "mx", 1, "0", 0.0, "waiting", 0.0, 0.0, problem))
    assert main(["--config", config, "status"]) == 1
    text = capsys.readouterr().out
    assert "daemon      journal of mx: waiting; at " in text
    assert "nothing is waiting" not in text
    assert f"wrong: the daemon for the journal of mx: {problem}" in text


def test_a_user_who_may_not_read_the_journal_is_told_that_it_was_not_looked_at(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "main.yml"
    path.write_text(f"database: '{database}'\njournal_directory: {tmp_path}/none\n", encoding="utf-8")
    code, report = _status(capsys, str(path))
    assert (code, report["problems"], report["waiting_s"]) == (0, [], {})
    assert "No such file" in report["waiting_unknown"] or "python3-systemd" in report["waiting_unknown"]
    assert main(["--config", str(path), "status"]) == 0
    assert f"waiting     not known to this user: {report['waiting_unknown']}" in capsys.readouterr().out


def test_forged_lines_name_their_origin_and_complaints_of_sendmail_are_no_alarm(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    origins = ("", "cron.service, uid 33, /usr/bin/logger", "apache2.service, uid 33, /usr/sbin/sendmail")
    with closing(Database(database)) as connection:
        for origin in origins:
            connection.execute(
                "INSERT INTO forged_line (host, origin, lines, first_time, last_time, identifier, sample) "
                "VALUES ('mx', %s, 2, now(), now(), 'postfix/qmgr', 'x')",
                (origin,),
            )
    code, report = _status(capsys, config)
    assert code == 1
    assert sorted(row["origin"] for row in report["forged"]) == sorted(origins)
    logged_by = [problem.partition(" logged by ")[2].partition(":")[0] for problem in report["problems"]]
    assert sorted(logged_by) == ["a process of which the journal knows neither unit nor user", origins[1]]
