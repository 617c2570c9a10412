"""search: what each criterion finds and leaves out, pages that stay stable, hostile terms, contract and plans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journal_postfix.cli.main import main
from journal_postfix.store import Database
from journal_postfix.store.search import Criteria, Cursor, search
from paths import PROGRAM, STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import BEGIN, attempt, line, mail, rejection


def _world() -> list[str]:
    """A handful of mails that differ in everything that can be looked for."""
    return [
        *mail("A1A1A1A1", 0, "Alice@Example.com", attempt("bob@dest.example"), message_id="one@id.example"),
        *mail("A2A2A2A2", 10, "alice@notexample.com", attempt("bob@dest.example.net", "bounced")),
        *mail("A3A3A3A3", 20, "eve@example.com.evil.test", attempt("bob@sub.dest.example", "deferred"), removed=False),
        *mail(
            "A4A4A4A4",
            30,
            "",
            attempt("alice@example.com", program="virtual", relay="virtual", response="delivered to maildir"),
        ),
        *mail(
            "A5A5A5A5",
            40,
            "100%_sure\\@odd.test",
            attempt("x@dest.example", orig_to="Info@Alias.example"),
            attempt("y@dest.example", "bounced", relay="mx9.far.test[2001:db8::9]:25"),
            client="Mail.Client.test[2001:db8::5]",
            more=", sasl_method=PLAIN, sasl_username=bob@staff.example",
        ),
        *mail("4jXystY5frrzJTsZ", 50, "long@ids.test", attempt("z@dest.test"), host="mx2.example.org"),
        *mail("A6A6A6A6", 60, "exampleXcom@alice.test", nrcpt=2, removed=False),
        line(
            61,
            "cleanup",
            "A6A6A6A6: info: header Subject: Quarterly REPORT 50% off from a[192.0.2.1]; from=<a@b> to=<c@d> "
            "proto=SMTP helo=<e>",
        ),
        line(62, "postsuper", "A6A6A6A6: placed on hold"),
        rejection(70, "spam@example.com", "bob@dest.example"),
        rejection(80, "", "alice@example.com", client="unknown[198.51.100.77]"),
    ]


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("all, newest first", {}, "r80 r70 A6 4j A5 A4 A3 A2 A1"),
    ("exact sender, whatever its case", {"sender": "alice@example.COM"}, "A1"),
    ("exact sender in brackets", {"sender": "<alice@example.com>"}, "A1"),
    ("domain of the sender, not its look-alikes", {"sender": "@example.com"}, "r70 A1"),
    ("domain without @", {"sender": "example.com"}, "r70 A1"),
    ("the empty sender", {"sender": "<>"}, "r80 A4"),
    ("a part of the sender", {"sender": "alice"}, "A6 A2 A1"),
    ("a part around the @", {"sender": "lice@no"}, "A2"),
    ("what stands before the @", {"sender": "eve@"}, "A3"),
    ("wildcards are text", {"sender": "100%_sure"}, "A5"),
    ("a wildcard alone", {"sender": "%"}, "A5"),
    ("_ is no wildcard", {"sender": "example_com"}, ""),
    ("a backslash is text", {"sender": "sure\\@odd"}, "A5"),
    ("quotes are text", {"sender": "'; DROP TABLE delivery_from; --"}, ""),
    ("recipient", {"recipient": "bob@dest.example"}, "r70 A1"),
    ("recipient's domain", {"recipient": "dest.example"}, "r70 A5 A1"),
    ("below a domain", {"recipient": ".dest.example"}, "A3"),
    ("recipient as it was addressed", {"recipient": "info@alias.example"}, "A5"),
    ("its domain", {"recipient": "@alias.example"}, "A5"),
    ("a part of the recipient", {"recipient": "ob@"}, "r70 A3 A2 A1"),
    ("message-id with brackets", {"message_id": "<one@id.example>"}, "A1"),
    ("message-id without", {"message_id": "one@id.example"}, "A1"),
    ("message-ids keep their case", {"message_id": "ONE@id.example"}, ""),
    ("queue id", {"queue_id": "A1A1A1A1"}, "A1"),
    ("long queue ids keep their case", {"queue_id": "4jXystY5frrzJTsz"}, ""),
    ("a part of the subject", {"subject": "quarterly report 50%"}, "A6"),
    ("client's name", {"client": "a.example.com"}, "A6 4j A4 A3 A2 A1"),
    ("a part of the client's name", {"client": "client.TEST"}, "A5"),
    ("client's address", {"client": "192.0.2.1"}, "A6 4j A4 A3 A2 A1"),
    ("IPv6 in another spelling", {"client": "2001:0DB8:0::5"}, "A5"),
    ("a network", {"client": "198.51.100.0/24"}, "r80"),
    ("the beginning of an address", {"client": "203.0.113."}, "r70"),
    ("login", {"sasl_user": "BOB@staff.example"}, "A5"),
    ("login without its domain", {"sasl_user": "bob"}, "A5"),
    ("a part of a login is none", {"sasl_user": "bo"}, ""),
    ("fate sent", {"fate": "sent"}, "4j A5 A4 A1"),
    ("fate bounced", {"fate": "bounced"}, "A5 A2"),
    ("fate deferred", {"fate": "deferred"}, "A3"),
    ("held before any attempt", {"fate": "held"}, "A6"),
    ("fate rejected", {"fate": "rejected"}, "r80 r70"),
    ("fate and recipient of the same recipient", {"fate": "bounced", "recipient": "x@dest.example"}, ""),
    ("… and of the other", {"fate": "bounced", "recipient": "y@dest.example"}, "A5"),
    ("dsn", {"dsn": "5.1.1"}, "A5 A2"),
    ("beginning of a dsn", {"dsn": "5."}, "r80 r70 A5 A2"),
    ("dsn of a rejection", {"dsn": "5.7"}, "r80 r70"),
    ("relay's name", {"relay": "mx.example.net"}, "4j A5 A3 A2 A1"),
    ("a part of it", {"relay": "far.test"}, "A5"),
    ("relay's address", {"relay": "2001:db8::9"}, "A5"),
    ("relay that is a transport", {"relay": "virtual"}, "A4"),
    ("host by its short name", {"host": "MX2"}, "4j"),
    ("host by its full name", {"host": "mx2.example.org"}, "4j"),
    ("since", {"since": BEGIN + timedelta(seconds=60)}, "r80 r70 A6"),
    ("until", {"until": BEGIN + timedelta(seconds=20)}, "A2 A1"),
    ("both", {"since": BEGIN + timedelta(seconds=10), "until": BEGIN + timedelta(seconds=30)}, "A3 A2"),
    ("two criteria", {"sender": "@example.com", "recipient": "bob@dest.example", "client": "203.0.113.9"}, "r70"),
    ("a bare address", {"term": "alice@example.com"}, "r80 A4 A1"),
    ("a bare part", {"term": "alice"}, "r80 A6 A4 A2 A1"),
    ("a bare domain", {"term": "example.com"}, "r80 r70 A4 A1"),
    ("a bare short queue id", {"term": "A3A3A3A3"}, "A3"),
    ("a bare long queue id", {"term": "4jXystY5frrzJTsZ"}, "4j"),
    ("a bare message-id", {"term": "<one@id.example>"}, "A1"),
    ("a bare address of a client", {"term": "198.51.100.77"}, "r80"),
    ("a bare address of a relay", {"term": "198.51.100.1"}, "4j A5 A3 A2 A1"),
    ("the bare empty sender", {"term": "<>"}, "r80 A4"),
    ("a bare term and a criterion", {"term": "alice@example.com", "fate": "sent"}, "A4 A1"),
]


def _names(results: list[dict[str, Any]]) -> str:
    names = []
    for result in results:
        if result["kind"] == "mail":
            names.append(result["queue_id"][:2])
        else:
            names.append(f"r{(result['time'] - BEGIN).total_seconds():.0f}")
    return " ".join(names)


def test_each_criterion_finds_what_it_says_and_nothing_else(database: str) -> None:
    feed_lines(database, _world())
    with closing(Database(database)) as connection:
        found = {name: _names(search(connection, Criteria(**criteria), 50).results) for name, criteria, _ in CASES}
    assert found == {name: expected for name, _, expected in CASES}


def test_handed_on_is_found_and_its_last_leg_is_its_final_fate(database: str) -> None:
    feed_file(database, str(STREAMS / "content_filter.log"))
    with closing(Database(database)) as connection:
        results = search(connection, Criteria(fate="handed on"), 50).results
    assert {result["queue_id"] for result in results} == {"BA2B3C4D5E", "BB2B3C4D5E"}
    (recipient,) = next(result for result in results if result["queue_id"] == "BA2B3C4D5E")["recipients"]
    assert recipient["fate"] == "handed on"
    assert recipient["final"]["queue_id"] == "BC2B3C4D5E"
    assert recipient["final"]["fate"] == "sent"
    assert recipient["final"]["ways"] == 2


def test_a_loop_of_legs_ends(database: str) -> None:
    """Two entries of one time that each say the other is where the mail went: a filter's mistake, or a mail loop."""
    lines = []
    for one, other in (("B1B1B1B1", "B2B2B2B2"), ("B2B2B2B2", "B1B1B1B1")):
        passed = attempt("b@loop.test", relay="127.0.0.1[127.0.0.1]:25", response=f"250 2.0.0 Ok: queued as {other}")
        lines += mail(one, 0, "a@loop.test", passed, message_id="loop@id.example")
    feed_lines(database, sorted(lines))
    with closing(Database(database)) as connection:
        results = search(connection, Criteria(), 50).results
    assert [result["recipients"][0]["final"]["queue_id"] for result in results] == ["B1B1B1B1", "B2B2B2B2"]


def test_a_long_chain_of_legs_is_followed_ten_far(database: str) -> None:
    lines = []
    for number in range(14):
        reply = f"250 2.0.0 Ok: queued as C{number + 1:07X}"
        lines += mail(
            f"C{number:07X}", number, "a@chain.test", attempt("b@chain.test", response=reply), message_id="c@id"
        )
    feed_lines(database, sorted(lines))
    with closing(Database(database)) as connection:
        (first,) = search(connection, Criteria(queue_id="C0000000"), 50).results
    assert first["recipients"][0]["final"]["queue_id"] == "C000000A"


def test_pages_are_stable_while_rows_arrive(database: str) -> None:
    """Everything at the same few times: the order within one is (kind, id), and later rows move nothing."""
    lines = []
    for number in range(9):
        lines += mail(f"D{number:07X}", number // 3, "a@pages.test", attempt("b@pages.test"))
        lines.append(rejection(number // 3, f"r{number}@pages.test", "b@pages.test"))
    feed_lines(database, sorted(lines))
    with closing(Database(database)) as connection:
        whole = search(connection, Criteria(term="pages.test"), 100)
        assert whole.more is None
        assert len(whole.results) == 18
        cursor: Cursor | None = None
        pages: list[str] = []
        for number in range(20):
            page = search(connection, Criteria(term="pages.test"), 4, cursor)
            pages += [result["cursor"] for result in page.results]
            feed_lines(
                database,
                mail(f"E{number:07X}", 100 + number, "a@pages.test", attempt("b@pages.test")),
                name=str(number),
            )
            if page.more is None:
                break
            cursor = Cursor.parse(str(page.more))
    assert pages == [result["cursor"] for result in whole.results]
    assert len(set(pages)) == 18


def test_the_last_page_is_known_to_be_the_last(database: str) -> None:
    feed_lines(database, _world())
    with closing(Database(database)) as connection:
        assert search(connection, Criteria(), 9).more is None
        assert search(connection, Criteria(), 8).more is not None


@pytest.mark.parametrize(
    "text", ["", "x", "2026-11-20T08:00:00Z,mail", "2026-11-20T08:00:00Z,mail,-1", "2026-11-20,mail,1", "Z,mail,1"]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|x|Z|mail|format|time"):
        Cursor.parse(text)


def test_a_cursor_survives_being_written_down() -> None:
    cursor = Cursor(datetime(2026, 11, 20, 8, 0, 0, 123456, UTC), "rejected", 17)
    assert Cursor.parse(str(cursor)) == cursor


# The command.


def _json(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> list[dict[str, Any]]:
    assert main(["--config", config, "search", "--json", *arguments]) == 0
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_json_has_the_contracts_names(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(database, _world())
    (found,) = _json(capsys, config, "--queue-id", "A5A5A5A5")
    recipients = found.pop("recipients")
    assert found.pop("cursor").endswith("Z,mail,5")
    assert found == {
        "kind": "mail",
        "host": "mx",
        "instance": "postfix",
        "queue_id": "A5A5A5A5",
        "began": "2026-11-20T08:00:40.000000Z",
        "queued": "2026-11-20T08:00:40.200000Z",
        "last_seen": "2026-11-20T08:00:41.100000Z",
        "ended": "2026-11-20T08:00:41.100000Z",
        "state": "removed",
        "origin": "smtpd",
        "sender": "100%_sure\\@odd.test",
        "message_id": "<A5A5A5A5@id.example>",
        "size": 1000,
        "nrcpt": 2,
        "client_hostname": "Mail.Client.test",
        "client_ip": "2001:db8::5",
        "sasl_method": "PLAIN",
        "sasl_username": "bob@staff.example",
        "links": [],
    }
    assert recipients[0] == {
        "recipient": "x@dest.example",
        "orig_to": "Info@Alias.example",
        "fate": "sent",
        "dsn": "2.0.0",
        "component": "smtp",
        "relay_host": "mx.example.net",
        "relay_ip": "198.51.100.1",
        "relay_port": 25,
        "response": "250 2.0.0 Ok",
        "delay": 1.0,
        "delays": [0.2, 0.0, 0.3, 0.5],
        "time": "2026-11-20T08:00:41.000000Z",
        "first_attempt": "2026-11-20T08:00:41.000000Z",
        "last_attempt": "2026-11-20T08:00:41.000000Z",
        "attempt_count": 1,
        "attempts": [
            {
                "time": "2026-11-20T08:00:41.000000Z",
                "status": "sent",
                "dsn": "2.0.0",
                "component": "smtp",
                "relay_host": "mx.example.net",
                "relay_ip": "198.51.100.1",
                "relay_port": 25,
                "delay": 1.0,
                "response": "250 2.0.0 Ok",
            }
        ],
    }
    (rejected,) = _json(capsys, config, "--client", "203.0.113.9")
    assert rejected.pop("cursor")
    assert rejected == {
        "kind": "rejected",
        "time": "2026-11-20T08:01:10.000000Z",
        "host": "mx",
        "instance": "postfix",
        "component": "smtpd",
        "action": "reject",
        "stage": "RCPT",
        "sender": "spam@example.com",
        "recipient": "bob@dest.example",
        "client_hostname": "bad.example.net",
        "client_ip": "203.0.113.9",
        "helo": "bad.example.net",
        "proto": "ESMTP",
        "smtp_code": 554,
        "dsn": "5.7.1",
        "reason": "<bob@dest.example>: Relay access denied",
    }


def test_links_are_told_from_both_ends(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "bounce_before_from.log"))
    (mail_found,) = _json(capsys, config, "--queue-id", "3A2B3C4D5E")
    assert [(link["kind"], link["queue_id"], link["direction"], link["host"]) for link in mail_found["links"]] == [
        ("bounce", "3FFFFC4D5E", "to", "mx")
    ]
    (bounce,) = _json(capsys, config, "--queue-id", "3FFFFC4D5E")
    assert [(link["kind"], link["queue_id"], link["direction"], link["host"]) for link in bounce["links"]] == [
        ("bounce", "3A2B3C4D5E", "from", "mx")
    ]


def test_nothing_found_says_what_may_have_been_meant_and_what_is_known(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*arguments: str) -> str:
        assert main(["--config", config, "search", *arguments]) == 0
        output = capsys.readouterr()
        assert output.out == ""
        return output.err

    assert "the database has no mail at all yet" in asked("nobody@example.net")
    feed_lines(database, mail("01DB427FBEE", 0, "a@example.com", attempt("b@dest.example")))
    for begun in (["01DB42"], ["01db427fbee"], ["--queue-id", "01DB427"]):
        assert asked(*begun) == (
            "nothing found; did you mean one of these queue ids?\n"
            "  01DB427FBEE on mx, 2026-11-20 08:00:00, from a@example.com\n"
        )
    assert "what is known goes from 2026-11-20 08:00:00 to 2026-11-20 08:00:00" in asked("nobody@example.net")


def test_a_word_that_is_no_domain_here_may_stand_before_the_at(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("01DB427FBEE", 0, "a@example.com", attempt("lena.vogt@corp.example")))
    assert main(["--config", config, "search", "lena.vogt"]) == 0
    output = capsys.readouterr()
    assert "→ lena.vogt@corp.example" in output.out
    assert output.err == "no such domain; these have lena.vogt@ in an address\n"
    assert main(["--config", config, "search", "corp.example"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["--config", config, "search", "max.vogt"]) == 0
    assert "max.vogt was read as a whole domain" in capsys.readouterr().err


def test_a_number_that_is_no_queue_id_here_may_be_part_of_an_address(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(
        database,
        [
            *mail("01DB427FBEE", 0, "a@example.com", attempt("4930123456@sms.example")),
            *mail("01DB427FBEF", 1, "prvs=01DB42@example.com", attempt("b@dest.example")),
            rejection(2, "bill-DE123456@example.com", "c@dest.example"),
        ],
    )
    for term, shown in (("4930123", "→ 4930123456@sms.example"), ("DE123456", "bill-DE123456@example.com →")):
        assert main(["--config", config, "search", term]) == 0
        output = capsys.readouterr()
        assert shown in output.out
        assert len(output.out.splitlines()) == 1
        assert output.err == f"no such queue id; these have {term} in an address\n"
    # What begins a queue id was meant as one.
    assert main(["--config", config, "search", "01DB42"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "did you mean one of these queue ids?" in output.err


def test_text_shows_the_recipients_that_were_looked_for(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipients = [attempt(f"{name}@dest.example") for name in ("ann", "bob", "cy")]
    failed = attempt("dora@dest.example", status="bounced", dsn="5.1.1", response="550 5.1.1 unknown user")
    feed_lines(database, mail("01DB427FBEE", 0, "a@example.com", *recipients, failed))

    def shown(*arguments: str) -> list[str]:
        assert main(["--config", config, "search", *arguments]) == 0
        return [text.split(" → ")[1].split("@")[0] for text in capsys.readouterr().out.splitlines()]

    assert shown("--recipient", "bob@dest.example") == ["bob"]
    assert shown("cy@dest.example") == ["cy"]
    assert shown("--fate", "bounced") == ["dora"]
    assert sorted(shown("--fate", "sent", "--recipient", "dest.example")) == ["ann", "bob", "cy"]
    assert sorted(shown("--sender", "a@example.com")) == ["ann", "bob", "cy", "dora"]
    assert sorted(shown("a@example.com")) == ["ann", "bob", "cy", "dora"]


def test_what_was_put_back_into_the_queue_and_went_on_is_not_queued(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "requeued.log"))
    everything = _json(capsys, config)
    (first,) = [result for result in everything if result["state"] == "requeued"]
    assert [recipient["fate"] for recipient in first["recipients"]] == ["handed on"]
    assert _json(capsys, config, "--fate", "queued") == []
    assert first in _json(capsys, config, "--fate", "handed on")
    # The entry that it became is not here.
    feed_lines(
        database,
        [
            *mail("0000B000", 0, "a@example.com", attempt("b@dest.example", "deferred"), removed=False),
            line(9, "postsuper", "0000B000: requeued"),
        ],
    )
    assert [result["queue_id"] for result in _json(capsys, config, "--fate", "queued")] == ["0000B000"]


def test_nothing_found_is_no_failure(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", config, "search", "nobody.example"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "nothing found" in output.err
    assert "nobody.example@" in output.err


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        (["--since", "soonish"], "2 hours ago"),
        (["--until", "2026-13-45"], "yesterday"),
        (["--limit", "0"], "try 50"),
        (["--after", "page 2"], "no cursor"),
        (["--dsn", "abc"], "5.1"),
        (["--fate", "lost"], "deferred"),
        (["--sender", ""], "'<>'"),
        (["--recipient", "\udcff"], "UTF-8"),
    ],
)
def test_nonsense_is_a_usage_error_with_an_example(
    arguments: list[str], example: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["search", *arguments])
    assert stopped.value.code == 2
    assert example in capsys.readouterr().err


def test_text_from_outside_reaches_no_terminal_raw(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "evil\u202egnp.\x1b[2J\u2028x"
    feed_lines(
        database, mail("F1F1F1F1", 0, f"{evil}@evil.test", attempt("b@dest.example", response=f"250 {evil} \\x1b"))
    )
    for arguments in (["search"], ["trace", "F1F1F1F1"], ["search", "--json"], ["trace", "--json", "F1F1F1F1"]):
        assert main(["--config", config, *arguments]) == 0
        output = capsys.readouterr().out
        assert not set(output) & set("\u202e\u2028\x1b"), arguments
        assert "evil.test" in output
    assert main(["--config", config, "search"]) == 0
    assert r"evil\u202egnp.\x1b[2J\u2028x" in capsys.readouterr().out


def test_pipes_get_whole_lines_and_terminals_fit(database: str, config: str) -> None:
    long = "r" * 300
    feed_lines(database, mail("F2F2F2F2", 0, "a@example.com", attempt("b@dest.example", response=f"250 {long}")))
    command = [sys.executable, str(PROGRAM), "--config", config, "search"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (text,) = piped.splitlines()
    assert text.endswith(f"a@example.com → b@dest.example  mx.example.net[198.51.100.1]: 250 {long}")
    shown = _on_a_terminal(command, columns=100)
    assert max(len(text) for text in shown) <= 100
    assert "".join(text.strip() for text in shown).count("r" * 50) >= 5


def _on_a_terminal(command: list[str], columns: int) -> list[str]:
    import pty

    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdout=child, stderr=child, stdin=subprocess.DEVNULL, env=environment)
    os.close(child)
    output = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:
            break
        if not part:
            break
        output += part
    os.close(parent)
    assert process.wait() == 0
    return output.decode().replace("\r", "").splitlines()


# Plans.


FILL = """
INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix');
INSERT INTO delivery_from (
    mail_id, server_id, queue_id, began, last_seen, queued, ended, ended_how, origin, client_ip, sender, message_id,
    size, nrcpt, orig_queue_id
) SELECT
    i, 1, upper(to_hex(1000000000 + i)), t, t, t, t, 'removed', 'smtpd', '192.0.2.1',
    's' || i || '@d' || i % 500 || '.example', '<' || i / 2 || '@id.example>', 1, 1,
    CASE WHEN i % 2 = 1 THEN upper(to_hex(1000000000 + i - 1)) END
FROM generate_series(1, 20000) AS i, LATERAL (SELECT '2026-01-01'::timestamptz + i * interval '1 min' AS t) AS time;
INSERT INTO delivery_to (
    mail_id, recipient_key, recipient, orig_to, status, component, next_queue_id, attempts, attempted, first_attempt,
    last_attempt
) SELECT
    i, i, 'r' || i || '@d' || i % 500 || '.test', CASE WHEN i % 5 = 0 THEN 'o' || i || '@d' || i % 250 || '.test' END,
    'sent', 'smtp', upper(to_hex(1000000000 + i + 1)), 1, t, t, t
FROM generate_series(1, 20000) AS i, LATERAL (SELECT '2026-01-01'::timestamptz + i * interval '1 min' AS t) AS time;
INSERT INTO mail_event (mail_id, time, component, action, linked_queue_id, detail)
SELECT
    i, '2026-01-01'::timestamptz + i * interval '1 min', 'bounce', 'notification', upper(to_hex(1000000000 + i + 1)),
    'non-delivery'
FROM generate_series(1, 20000) AS i WHERE i % 7 = 0;
INSERT INTO delivery_attempt (mail_id, recipient_key, attempted, status, component)
SELECT i, i, '2026-01-01', 'deferred', 'smtp' FROM generate_series(1, 20000) AS i WHERE i % 9 = 0;
ANALYZE;
"""


class Explained(Database):
    """Keeps the plans of all queries."""

    plans: list[str]

    def fetch(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        rows = super().fetch("EXPLAIN " + sql, parameters)
        self.plans.append("\n".join(row[0] for row in rows))
        return super().fetch(sql, parameters)

    def fetch_dicts(self, sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        rows = super().fetch("EXPLAIN " + sql, parameters)
        self.plans.append("\n".join(row[0] for row in rows))
        return super().fetch_dicts(sql, parameters)


PLANNED: list[dict[str, Any]] = [
    {},
    {"sender": "s7@d7.example"},
    {"sender": "@d7.example"},
    {"recipient": "r7@d7.test"},
    {"recipient": "d7.test"},
    {"recipient": "o10@d10.test"},
    {"message_id": "7@id.example"},
    {"queue_id": "3B9ACA07"},
    {"term": "r7@d7.test"},
    {"term": "3B9ACA07"},
    {"fate": "bounced"},
    {"fate": "queued"},
    {"fate": "discarded"},
    {"since": datetime(2026, 1, 5, tzinfo=UTC), "until": datetime(2026, 1, 5, 1, tzinfo=UTC)},
]


def test_indexes_serve_every_query(database: str) -> None:
    """Links both ways, attempts and legs of a page as well: no query reads a table of mails for want of an index.

    At this size a scan can be the better plan all the same, so the planner is told to avoid it.
    """
    with closing(Explained(f"{database} options='-c enable_seqscan=off'")) as connection:
        connection.execute(FILL)
        for criteria in PLANNED:
            connection.plans = []
            search(connection, Criteria(**criteria), 50)
            for plan in connection.plans:
                for table in ("delivery_from", "delivery_to", "mail_event", "delivery_attempt"):
                    assert f"Seq Scan on {table}" not in plan, (criteria, plan)


def test_the_planner_knows_rare_from_frequent(database: str) -> None:
    """A rare address, domain or state is never looked for by walking all mails, a frequent one need not be sorted."""
    with closing(Explained(database)) as connection:
        connection.execute(FILL)
        rare: list[dict[str, Any]] = [
            {"sender": "@d7.example"},
            {"sender": "@nowhere.example"},
            {"recipient": "@d7.test"},
            {"recipient": "r7@d7.test", "client": "192.0.2.1"},
        ]
        for criteria in rare:
            connection.plans = []
            search(connection, Criteria(**criteria), 20)
            for plan in connection.plans:
                assert "delivery_from_began" not in plan, (criteria, plan)


def test_mails_with_several_recipients_that_fit_hide_no_others(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is asked for so many rows at most; three rows of one mail are not three mails."""
    monkeypatch.setattr("journal_postfix.store.search._MAX_NARROWED", 3)
    lines: list[str] = []
    for number in range(6):
        tries = [attempt(f"{name}@dest.example") for name in ("a", "b", "c")]
        lines += mail(f"A{number}A1A1A1", 10 * number, "s@example.com", *tries)
    feed_lines(database, lines)
    with closing(Database(database)) as connection:
        found = search(connection, Criteria(recipient="@dest.example"), 50).results
        assert [result["queue_id"][:2] for result in found] == ["A5", "A4", "A3", "A2", "A1", "A0"]
        assert len(search(connection, Criteria(recipient="a@dest.example"), 50).results) == 6


def test_what_no_index_tells_is_looked_for_in_slices_that_grow(database: str) -> None:
    """The newest are looked through first; what is old costs no more than a few times what reading it all does."""
    with closing(Explained(database)) as connection:
        connection.execute(FILL)
        connection.plans = []
        newest = search(connection, Criteria(recipient="99@"), 5).results
        few = len(connection.plans)
        assert [result["sender"] for result in newest][:2] == ["s19999@d499.example", "s19899@d399.example"]
        connection.plans = []
        (oldest,) = search(connection, Criteria(sender="s1@"), 5).results
        assert oldest["sender"] == "s1@d1.example"
        assert few < len(connection.plans) < 20
        connection.plans = []
        assert search(connection, Criteria(fate="held"), 5).results == []
        assert len(connection.plans) < 12
