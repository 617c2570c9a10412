"""What a help desk and an administrator ask, and what the text answers: words that nobody has to interpret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from journal_postfix.cli.main import main
from pg.feed import feed_lines
from pg.logs import attempt, line, mail, rejection

WHOLE_DAY = ("--since", "2026-11-20", "--until", "2026-11-21")


def _run(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> tuple[str, str]:
    assert main(["--config", config, *arguments]) == 0
    output = capsys.readouterr()
    return output.out, output.err


def _subject(second: float, queue_id: str, text: str) -> str:
    return line(
        second,
        "cleanup",
        f"{queue_id}: info: header Subject: {text} from a.example.com[192.0.2.1]; from=<a@example.com> "
        "to=<b@dest.example> proto=ESMTP helo=<a.example.com>",
    )


def test_a_search_for_a_subject_shows_it_and_a_trace_shows_it_readable(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = mail("0A1A1A1A1A", 0, "a@example.com", attempt("b@dest.example"))
    lines += [_subject(0.1, "0A1A1A1A1A", "=?utf-8?B?R3LDvMOfZRtbMzFt?= Invoice 17")]
    feed_lines(database, lines)
    out, _ = _run(capsys, config, "search", "--subject", "invoice")
    assert "a@example.com → b@dest.example “Grüße\\x1b[31m Invoice 17”  mx.example.net" in out
    out, _ = _run(capsys, config, "search", "--sender", "a@example.com")
    assert "Invoice" not in out
    out, _ = _run(capsys, config, "trace", "0A1A1A1A1A")
    assert "\n  subject     Grüße\\x1b[31m Invoice 17\n" in out
    # What other programs read is what was logged.
    out, _ = _run(capsys, config, "trace", "--json", "0A1A1A1A1A")
    assert json.loads(out)["subject"] == "=?utf-8?B?R3LDvMOfZRtbMzFt?= Invoice 17"
    out, err = _run(capsys, config, "search", "--subject", "Grüße")
    assert out == ""
    assert "written encoded" in err


def test_the_verdict_says_that_a_mail_went_encrypted_where_the_log_does(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = line(
        0.5,
        "smtp",
        "Trusted TLS connection established to mx.example.net[198.51.100.1]:25: TLSv1.3 with cipher "
        "TLS_AES_256_GCM_SHA384 (256/256 bits)",
    )
    plain = attempt("b@plain.example", relay="mx.plain.example[198.51.100.2]:25")
    lines = [tls, *mail("0A1A1A1A1A", 0, "a@example.com", attempt("b@dest.example"))]
    lines += mail("0B1B1B1B1B", 60, "a@example.com", plain)
    feed_lines(database, sorted(lines))
    out, _ = _run(capsys, config, "trace", "0A1A1A1A1A")
    assert "Accepted by mx.example.net[198.51.100.1] over TLSv1.3 on 2026-11-20" in out
    out, _ = _run(capsys, config, "trace", "0B1B1B1B1B")
    assert "Accepted by mx.plain.example[198.51.100.2] on 2026-11-20" in out


def test_a_mail_to_many_begins_with_how_many_got_it(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = [attempt(f"r{number}@dest.example") for number in range(11)]
    lines = mail("0A1A1A1A1A", 0, "a@example.com", *tries, attempt("gone@dest.example", "bounced"))
    lines += mail("0B1B1B1B1B", 60, "a@example.com", attempt("one@dest.example"))
    feed_lines(database, lines)
    out, _ = _run(capsys, config, "trace", "0A1A1A1A1A")
    assert "What became of it\n  12 recipients: 11 sent, 1 bounced\n" in out
    out, _ = _run(capsys, config, "trace", "0B1B1B1B1B")
    assert "What became of it\n  one@dest.example: sent\n" in out


def test_what_this_server_refused_is_missing_here_and_not_elsewhere(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = line(
        0,
        "smtpd",
        "NOQUEUE: reject: RCPT from b.example.net[203.0.113.9]: 550 5.1.1 <x@example.com>: Recipient address rejected: "
        "User unknown in local recipient table; from=<s@example.net> to=<x@example.com> proto=ESMTP helo=<b.example>",
    )
    feed_lines(database, [unknown])
    out, _ = _run(capsys, config, "trace", "r1")
    assert "(5.1.1: there is no such mailbox here)" in out


def test_a_server_that_never_answered_is_no_relay_and_that_is_said(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = attempt("b@dest.example", "deferred", relay="none", response="connect to mx.dest.example: timed out")
    feed_lines(database, mail("0A1A1A1A1A", 0, "a@example.com", silent, removed=False))
    out, err = _run(capsys, config, "search", "--relay", "mx.dest.example")
    assert out == ""
    assert "--recipient @example.com" in err


def test_an_answer_to_the_check_of_an_address_is_no_failing_table_of_ours(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever is asked chooses the words: they must raise no alarm about this server."""
    asked = [
        line(
            number,
            "smtpd",
            f"NOQUEUE: reject: RCPT from b.example.net[203.0.113.9]: 450 {dsn} <x@example.com>: {what} address "
            f"rejected: unverified address: host mx.example.com[198.51.100.3] said: 451 4.3.0 {words} (in reply "
            "to RCPT TO command); from=<s@example.net> to=<x@example.com> proto=ESMTP helo=<b.example.net>",
        )
        for number, (dsn, what, words) in enumerate(
            [
                ("4.1.1", "Recipient", "Temporary lookup failure"),
                ("4.1.1", "Recipient", "Insufficient system storage"),
                ("4.1.7", "Sender", "Server configuration error"),
            ]
        )
    ]
    feed_lines(database, asked)
    out, _ = _run(capsys, config, "problems", "--json", *WHOLE_DAY)
    found = [json.loads(text) for text in out.splitlines()]
    assert {(one["kind"], one.get("class"), one["count"]) for one in found} == {("rejection", "address-unverified", 3)}


def test_problems_say_by_what_they_are_grouped(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    no_recipient = line(
        0,
        "smtpd",
        "NOQUEUE: reject: MAIL from b.example.net[203.0.113.9]: 450 4.1.8 <a@nowhere.example>: Sender address "
        "rejected: Domain not found; from=<a@nowhere.example> proto=ESMTP helo=<b.example.net>",
    )
    feed_lines(database, [no_recipient, rejection(1, "s@example.net", "x@example.org")])
    out, _ = _run(capsys, config, "problems", *WHOLE_DAY)
    assert "\nWhat this server refused, by the recipients' domain\n" in out
    assert "\n    1  (no recipient named)  2026-11-20 08:00:00\n" in out
    assert "\n    1  example.org  2026-11-20 08:00:01\n" in out


def test_what_no_rule_knows_is_shown_with_the_words_for_one(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = "host mx.example.net[198.51.100.1] said: 554 5.0.0 strange words 17 (in reply to RCPT TO command)"
    lost = attempt("b@dest.example", "bounced", response=reply, dsn="5.0.0")
    feed_lines(database, mail("0A1A1A1A1A", 0, "a@example.com", lost))
    out, _ = _run(capsys, config, "problems", "--unclassified", *WHOLE_DAY)
    assert out.partition("domain\n")[2] == (
        "\n  bounced by smtp, 554 5.0.0: 1, last on 2026-11-20 08:00:01\n"
        "    Words for a rule: strange words (in reply to RCPT TO command)\n"
        "    An example:\n"
        f"        0A1A1A1A1A: {reply}\n"
    )


def test_an_unknown_user_is_told_how_to_get_in(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "main.yml"
    stranger = database.replace("user=postgres", "user=jp-nobody")
    assert stranger != database
    path.write_text(f"database: '{stranger}'\n", encoding="utf-8")
    assert main(["--config", str(path), "search", "x"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert 'role "jp-nobody" does not exist' in told[0]
    assert "journal_postfix_readers" in told[1]
    assert "schema apply --create-roles" in told[1]
    assert main(["--config", str(path), "status", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "does not exist" in problem
    assert "journal_postfix_readers" in problem
    # Who is told that nobody answers need not read about rights.
    path.write_text("database: host=/nonexistent\n", encoding="utf-8")
    assert main(["--config", str(path), "search", "x"]) == 1
    assert "journal_postfix_readers" not in capsys.readouterr().err
