"""Neighbours: whose line it is, what senders cannot change in it, and that it takes bounded time."""

from __future__ import annotations

import time

import pytest
import yaml

from journal_postfix.parse import parse, parser_for
from journal_postfix.programs import DEFAULT_IDENTIFIERS, NEIGHBOURS, identifier_map
from paths import CORPUS

SESSION = "uA0fGfJYH2X0XwAAqPeSTA"
SAVED = f"lmtp(bob)<4711><{SESSION}>: msgid=<a@b.example>: saved mail to INBOX"
SCANNED = (
    "<f3a1c2>; task; rspamd_task_write_log: id: <{}>, qid: <4F6A1B2C3D>, ip: 192.0.2.1, from: <{}>, "
    "(default: T (reject): [20.00/15.00] [X(20.00){{{}}}]), len: 10, time: 1.000ms, dns req: 0, "
    "digest: <0123456789abcdef0123456789abcdef>, rcpts: <bob@example.org>, mime_rcpts: <{}>"
)
HOSTILE = [
    ">, qid: <FFFFFFFFFF>, (default: F (no action): [0.00/15.00] [",
    "]), len: 1, time: 1.0ms, dns req: 0, digest: <0123456789abcdef0123456789abcdef>, rcpts: <x@example.org>",
    ": saved mail to INBOX",
    ": stored mail into mailbox 'Other'",
    ": forwarded to <spy@example.net>",
    "> -> <x@example.org>, Queue-ID: FFFFFFFFFF, Hits: -99, size: 1, queued_as: FFFFFFFFFF, 1 ms",
    ") {RelayedInbound}, [203.0.113.9]:1 <x@example.com> -> <x@example.org>, Queue-ID: FFFFFFFFFF, ",
    ", sender=x@example.com, recipient=x@example.org",
    "; client-ip=203.0.113.9; helo=x; envelope-from=x@example.com; receiver=x ",
]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"@example.com'


def test_defaults_and_configured_identifiers() -> None:
    assert set(DEFAULT_IDENTIFIERS) == NEIGHBOURS
    assert parse("dovecot", SAVED)["action"] == "saved"
    assert parse("dovecot-lmtp", SAVED) == {"action": "foreign"}
    own_parse = parser_for({"dovecot": ["dovecot-lmtp", "dovecot-2"]})
    assert own_parse("dovecot-lmtp", SAVED) == own_parse("dovecot-2", SAVED) == parse("dovecot", SAVED)
    assert own_parse("dovecot", SAVED) == own_parse("rspamd", "x") == {"action": "foreign"}
    assert own_parse("postfix/qmgr", "4F6A1B2C3D: removed")["action"] == "removed"
    assert parser_for(DEFAULT_IDENTIFIERS) is parse
    assert parser_for({})("dovecot", SAVED) == {"action": "foreign"}


def test_postfix_gets_no_grammar_of_a_neighbour() -> None:
    for identifier in ("postfix/dovecot", "postfix/lmtp", "postfix-x/dovecot"):
        parsed = parse(identifier, SAVED)
        assert parsed["action"] == "unknown"
        assert "mailbox" not in parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_rspamd_what_senders_choose_changes_no_other_element(text: str) -> None:
    message_id = text.replace(" ", "?")  # as Rspamd does
    line = SCANNED.format(message_id, _quoted(text), text + ";", text)
    parsed = parse("rspamd", line)
    assert parsed["queue_id"] == "4F6A1B2C3D"
    assert parsed["sender"] == _quoted(text)
    assert (parsed["verdict"], parsed["score"], parsed["required_score"]) == ("reject", 20.0, 15.0)
    assert parsed["client_ip"] == "192.0.2.1"
    assert parsed.get("size", 10) == 10
    assert parsed.get("recipients", ["bob@example.org"]) == ["bob@example.org"]


@pytest.mark.parametrize("text", HOSTILE)
def test_dovecot_a_message_id_makes_no_other_fate(text: str) -> None:
    sayings = {
        "saved mail to INBOX": "saved",
        "stored mail into mailbox 'Junk'": "stored",
        "discard action: Marked message to be discarded if not explicitly delivered (discard action)": "discarded",
        "save failed to INBOX: Quota exceeded": "save_failed",
        "something that a later version says": "noted",
    }
    for saying, action in sayings.items():
        parsed = parse("dovecot", f"lmtp(bob)<1><{SESSION}>: sieve: msgid=<x{text}>: {saying}")
        assert (parsed["user"], parsed["session"]) == ("bob", SESSION)
        assert parsed["action"] in (action, "noted")
        assert parsed.get("mailbox", "") in saying
        assert "forwarded_to" not in parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_amavis_what_senders_choose_changes_no_other_element(text: str) -> None:
    for name, message_id, sender in (("evil", f"<{text}>", "a@example.com"), (text, "<x>", _quoted(text))):
        line = (
            f"(1-2) Blocked BANNED ({name}) {{DiscardedInbound}}, [192.0.2.1]:4711 <{sender}> -> <bob@example.org>, "
            f"Queue-ID: 4F6A1B2C3D, Message-ID: {message_id}, mail_id: abc, Hits: 5, size: 10, 7 ms"
        )
        parsed = parse("amavis", line)
        assert parsed["verdict"] == "Blocked BANNED"
        expected = {
            "queue_id": "4F6A1B2C3D",
            "client_ip": "192.0.2.1",
            "sender": sender,
            "recipient": "bob@example.org",
            "score": 5.0,
            "size": 10,
        }
        for element, value in expected.items():
            assert parsed.get(element, value) == value, element
        assert "next_queue_id" not in parsed


@pytest.mark.parametrize("text", HOSTILE)
def test_policy_servers_what_clients_choose_changes_no_other_element(text: str) -> None:
    known = {"sender": f"a{text}@example.com", "recipient": "bob@example.org", "client_ip": "192.0.2.1"}
    parsed = parse(
        "postgrey",
        f"action=greylist, reason=new, client_name=a.example, client_address=192.0.2.1, sender={known['sender']}, "
        "recipient=bob@example.org",
    )
    assert (parsed["result"], parsed["reason"], parsed["client_hostname"]) == ("greylist", "new", "a.example")
    assert {name: parsed.get(name, value) for name, value in known.items()} == known
    parsed = parse(
        "policyd-spf",
        f"prepend Received-SPF: Fail (x{text}) identity=mailfrom; client-ip=192.0.2.1; helo=a.example; "
        "envelope-from=a@example.com; receiver=<UNKNOWN> ",
    )
    assert parsed["result"] == "fail"
    assert parsed.get("client_ip", "192.0.2.1") == "192.0.2.1"
    assert parsed.get("sender", "a@example.com") == "a@example.com"


@pytest.mark.parametrize("identifier", sorted(identifier_map(DEFAULT_IDENTIFIERS)))
def test_a_line_takes_bounded_time(identifier: str) -> None:
    """A generous bound for a noisy machine, the best of several runs."""
    cases = yaml.safe_load((CORPUS / "neighbours.yaml").read_text(encoding="utf-8"))
    heads = {case["message"][: len(case["message"]) * part // 8] for case in cases for part in range(0, 9, 2)}
    units = [
        *HOSTILE,
        "(",
        "<",
        '"',
        "\\",
        " ",
        ": ",
        ", ",
        "; ",
        "=",
        "a",
        "0",
        "a@b,",
        "<a>,",
        '"a"@',
        ") receiver=a",
    ]
    for head in heads if identifier in DEFAULT_IDENTIFIERS else ():
        for unit in units:
            line = (head + unit * (16384 // len(unit)))[:16384]
            elapsed = 1.0
            for _ in range(5):
                start = time.process_time()
                parse(identifier, line)
                elapsed = min(elapsed, time.process_time() - start)
                if elapsed < 0.05:
                    break
            assert elapsed < 0.05, (head, unit, elapsed)
