"""trace: the story and the verdict of each situation, and what an unknown or ambiguous id is answered with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from journal_postfix.cli.main import main
from paths import STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import at, attempt, line, mail


def _trace(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> str:
    assert main(["--config", config, "trace", *arguments]) == 0
    return capsys.readouterr().out


def _verdicts(capsys: pytest.CaptureFixture[str], config: str, queue_id: str) -> dict[str, str]:
    """Give each recipient's verdict, '' for what is said of those without a line."""
    stories = [json.loads(text) for text in _trace(capsys, config, "--json", queue_id).splitlines()]
    verdicts: dict[str, str] = {}
    for story in stories:
        if "verdict" in story:
            verdicts[""] = story["verdict"]
        for recipient in story["recipients"]:
            key = recipient["recipient"]
            if "orig_to" in recipient:
                key += f" for {recipient['orig_to']}"
            verdicts[key] = recipient["verdict"]
    return verdicts


def test_two_mails_with_one_short_id_are_told_one_after_the_other(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "reused_queue_id.log"))
    text = _trace(capsys, config, "1A2B3C4D5E")
    assert text.startswith("2 queue entries have this queue id, oldest first.")
    assert text.count("Mail 1A2B3C4D5E on mx") == 2
    assert text.index("x@example.net: sent") < text.index("─" * 20) < text.index("y@example.net: bounced")
    assert text.count("left the queue") == 2


def test_time_and_host_find_one_of_thousands_that_have_an_id(
    database: str, config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("journal_postfix.store.trace.MAX_ENTRIES", 3)
    lines = mail("0000A000", 0, "old@example.com", attempt("b@dest.example"), message_id="same@id", host="MX2.example")
    for number in range(1, 6):
        lines += mail(
            f"0000A00{number}", number * 3600, "a@example.com", attempt("b@dest.example"), message_id="same@id"
        )
    feed_lines(database, lines)
    for narrowed in (["--time", at(0)], ["--host", "mx2"], ["--host", "mx2.example.", "--time", at(30)]):
        text = _trace(capsys, config, "<same@id>", *narrowed)
        assert text.startswith("Mail 0000A000 on MX2.example"), narrowed
        assert text.count("\nMail ") == 0
    assert main(["--config", config, "trace", "same@id", "--host", "x"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("0000A00") == 3


def test_what_the_queue_manager_put_off_and_somebody_deleted_no_rule_discarded(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    suspended = attempt(
        "b@dest.example", "deferred", program="qmgr", relay="none", response="delivery temporarily suspended: refused"
    )
    feed_lines(
        database,
        [
            *mail("0000D000", 0, "a@example.com", suspended, removed=False),
            line(60, "postsuper", "0000D000: removed"),
        ],
    )
    assert _verdicts(capsys, config, "0000D000")["b@dest.example"].startswith(
        "Deleted from the queue by an administrator on 2026-11-20T08:01:00"
    )


def test_time_tells_which_of_two_is_meant(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "reused_queue_id.log"))
    for time, recipient in (("2026-11-20 08:00", "x@example.net"), ("2026-11-20T15:30:01Z", "y@example.net")):
        assert main(["--config", config, "trace", "1A2B3C4D5E", "--time", time]) == 0
        output = capsys.readouterr()
        assert output.out.count("Mail 1A2B3C4D5E") == 1
        assert f"{recipient}: " in output.out
        assert "1 other queue entry has this id" in output.err
    assert _trace(capsys, config, "1A2B3C4D5E", "--time", "2026-11-20").count("Mail 1A2B3C4D5E") == 2
    assert main(["--config", config, "trace", "1A2B3C4D5E", "--time", "2026-11-25"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("1A2B3C4D5E on mx, 2026-11-20") == 2


def test_host_tells_which_is_meant(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("mx1.example.org", "mx2.example.org"):
        feed_lines(database, mail("A1A1A1A1", 0, f"a@{host}", attempt("b@dest.example"), host=host), name=host)
    assert "a@mx2.example.org" in _trace(capsys, config, "A1A1A1A1", "--host", "mx2")
    assert _trace(capsys, config, "A1A1A1A1").count("Mail A1A1A1A1") == 2


def test_bounce_that_was_logged_before_its_sender(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "bounce_before_from.log"))
    assert _verdicts(capsys, config, "3A2B3C4D5E") == {
        "y@example.net": "Refused by mx.example.net[198.51.100.1] on 2026-11-20T08:00:01.000000Z: “host "
        "mx.example.net[198.51.100.1] said: 550 5.1.1 <y@example.net>: no such user (in reply to RCPT TO command)” "
        "(5.1.1: there is no such mailbox at the destination). The sender was told: see 3FFFFC4D5E."
    }
    notice = _trace(capsys, config, "3FFFFC4D5E")
    assert "non-delivery notification that Postfix made about 3A2B3C4D5E" in notice
    assert "is the non-delivery notification about 3A2B3C4D5E" in notice
    assert "<> (the empty sender" in notice


def test_the_same_recipient_by_two_aliases(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "two_aliases_one_recipient.log"))
    verdicts = _verdicts(capsys, config, "4A2B3C4D5E")
    assert set(verdicts) == {"x@example.org for info@example.org", "x@example.org for sales@example.org"}
    assert all(text.startswith("Delivered to the mailbox on ") for text in verdicts.values())
    assert "x@example.org, addressed as info@example.org: sent" in _trace(capsys, config, "4A2B3C4D5E")


def test_thirty_deferrals_are_told_together(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "deferred_thirty_times.log"))
    text = _trace(capsys, config, "5A2B3C4D5E")
    assert text.count("y@example.net: deferred") == 3
    assert "deferred 28 more times within 1 d 8 h (--verbose shows each): 19 × “connect to" in text
    assert "9 × “host mx.example.net[198.51.100.1] said: 450 4.2.0" in text
    assert "Accepted by mx.example.net[198.51.100.1] on 2026-11-21 09:20:02, 33.3 h after it arrived" in text
    assert "what happened beyond is not known here" in text
    assert _trace(capsys, config, "--verbose", "5A2B3C4D5E").count("y@example.net: deferred") == 30
    (story,) = [json.loads(text) for text in _trace(capsys, config, "--json", "5A2B3C4D5E").splitlines()]
    assert len(story["recipients"][0]["attempts"]) == 31
    times = [tried["time"] for tried in story["recipients"][0]["attempts"]]
    assert times == sorted(times)


def test_still_trying(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    tries = [attempt("b@dest.example", "deferred", after=str(1 + 60 * number)) for number in range(3)]
    feed_lines(database, mail("A1A1A1A1", 0, "a@example.com", *tries, removed=False))
    assert _verdicts(capsys, config, "A1A1A1A1") == {
        "b@dest.example": "Not delivered yet, still trying: 3 attempts since 2026-11-20T08:00:01.000000Z, the last on "
        "2026-11-20T08:02:01.000000Z; last answer by mx.example.net[198.51.100.1]: “no luck” "
        "(4.4.1: the destination did not answer). Postfix gives up on 2026-11-25T08:00:00.000000Z, 5 days after it "
        "came, unless maximal_queue_lifetime says otherwise."
    }


def test_deleted_by_postsuper(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "deleted_by_postsuper.log"))
    (verdict,) = _verdicts(capsys, config, "6A2B3C4D5E").values()
    assert verdict.startswith(
        "Deleted from the queue by an administrator on 2026-11-20T10:00:00.000000Z, not delivered."
    )
    assert "deleted from the queue by an administrator" in _trace(capsys, config, "6A2B3C4D5E")


def test_expired_recipients_get_their_last_answer(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "expired_with_two_deferred.log"))
    verdicts = _verdicts(capsys, config, "7A2B3C4D5E")
    assert verdicts["x@example.org"].startswith("Delivered to the mailbox")
    for recipient in ("y@example.net", "z@example.net"):
        assert verdicts[recipient] == (
            "Gave up on 2026-11-20T08:10:00.000000Z after one attempt, on 2026-11-15T08:00:30.000000Z; last answer: "
            "“connect to mx.example.net[198.51.100.1]:25: Connection timed out”"
            " (4.4.1: the destination did not answer). "
            "The sender was told: see 7FFFFC4D5E."
        )
    assert "it was too long in the queue: gives up" in _trace(capsys, config, "7A2B3C4D5E")


def test_held_released_and_held_again(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "held_and_released.log"))
    released = _trace(capsys, config, "8A2B3C4D5E")
    assert "released from hold by an administrator" in released
    assert "Delivered to the mailbox" in released
    (verdict,) = _verdicts(capsys, config, "8B2B3C4D5E").values()
    assert verdict.startswith("On hold since 2026-11-20T10:30:00.000000Z: it waits until an administrator releases it.")


def test_held_before_any_attempt(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", nrcpt=2, removed=False),
        line(5, "postsuper", "A1A1A1A1: placed on hold"),
    ]
    feed_lines(database, lines)
    assert _verdicts(capsys, config, "A1A1A1A1")[""].startswith("On hold since 2026-11-20T08:00:05.000000Z")


def test_requeued_leads_on(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "requeued.log"))
    text = _trace(capsys, config, "CA2B3C4D5E")
    assert "Handed on as CB2B3C4D5E: Accepted by mx.example.net[198.51.100.1]" in text
    assert "put back into the queue as CB2B3C4D5E" in text
    assert _trace(capsys, config, "CB2B3C4D5E") == "CB2B3C4D5E is a later leg of this mail:\n" + text


def test_a_later_leg_gives_up_by_its_own_clock_and_says_since_when_it_is_queued(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    day = 86400.0
    hop = {"relay": "mx2.example.org[192.0.2.2]:25", "after": str(4 * day)}
    reply = "250 2.0.0 Ok: queued as A2A2A2A2"
    lines = [
        *mail(
            "A1A1A1A1",
            0,
            "a@example.com",
            attempt("b@dest.example", "deferred"),
            attempt("b@dest.example", response=reply, **hop),
            attempt("c@dest.example", response=reply.replace("A2", "A3"), **hop),
            message_id="same@id.example",
        ),
        *mail(
            "A2A2A2A2",
            4 * day,
            "a@example.com",
            attempt("b@dest.example", "deferred"),
            client="mx[192.0.2.1]",
            message_id="same@id.example",
            host="mx2.example.org",
            removed=False,
        ),
        *mail(
            "A3A3A3A3",
            4 * day,
            "a@example.com",
            client="mx[192.0.2.1]",
            message_id="same@id.example",
            host="mx2.example.org",
            removed=False,
        ),
    ]
    feed_lines(database, sorted(lines))
    verdicts = _verdicts(capsys, config, "A1A1A1A1")
    assert "gives up on 2026-11-29T08:00:00" in verdicts["b@dest.example"]
    assert verdicts["c@dest.example"].startswith(
        "Handed on as A3A3A3A3 on mx2.example.org: In the queue since 2026-11-24T08:00:00.200000Z"
    )


def test_what_came_from_the_empty_sender_is_not_returned(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("A1A1A1A1", 0, "", attempt("b@dest.example", "bounced")))
    verdict = _verdicts(capsys, config, "A1A1A1A1")["b@dest.example"]
    assert verdict.startswith("Could not be delivered on ")
    assert verdict.endswith("It came from the empty sender, so nobody was told.")


def test_discarded_by_alias_and_by_transport(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    tries = (
        attempt("void@example.org", program="local", relay="local", response="discarded"),
        attempt("gone@example.org", program="discard", relay="none", response="silently"),
    )
    feed_lines(database, mail("A1A1A1A1", 0, "a@example.com", *tries))
    verdicts = _verdicts(capsys, config, "A1A1A1A1")
    assert "by an alias to nothing: it reached nobody" in verdicts["void@example.org"]
    assert "by a rule of this server: it reached nobody: “silently”" in verdicts["gone@example.org"]


def test_rejected_with_a_queue_id(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "refused_with_queue_id.log"))
    verdicts = _verdicts(capsys, config, "9A2B3C4D5E")
    assert verdicts["nobody@example.org"].startswith(
        "Refused on 2026-11-20T08:00:00.110000Z, before this server accepted it"
    )
    assert verdicts["x@example.org"].startswith("Delivered to the mailbox")


def test_address_checks_are_named_as_such(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(
        database,
        [
            line(0, "qmgr", "A1A1A1A1: from=<double-bounce@mx.example.org>, size=250, nrcpt=1 (queue active)"),
            line(
                1,
                "smtp",
                "A1A1A1A1: to=<b@dest.example>, relay=mx.example.net[198.51.100.1]:25, delay=1, delays=0/0/1/0, "
                "dsn=2.1.5, status=deliverable (250 2.1.5 Ok)",
            ),
            line(2, "qmgr", "A1A1A1A1: removed"),
        ],
    )
    (verdict,) = _verdicts(capsys, config, "A1A1A1A1").values()
    assert verdict == (
        "Address check, not a mail: on 2026-11-20T08:00:01.000000Z the address was found to be deliverable: "
        "“250 2.1.5 Ok”."
    )
    text = _trace(capsys, config, "A1A1A1A1")
    assert text.startswith("Address check A1A1A1A1 on mx")
    assert "made by Postfix itself to check an address" in text


LOCAL: list[tuple[dict[str, str], str]] = [
    ({"program": "local", "relay": "local", "response": "delivered to mailbox"}, "Delivered to the mailbox on"),
    ({"program": "virtual", "relay": "virtual", "response": "delivered to maildir"}, "Delivered to the mailbox on"),
    ({"program": "local", "relay": "local", "response": "delivered to command: /bin/x"}, "Handed to a command on"),
    ({"program": "local", "relay": "local", "response": "delivered to file: /dev/x"}, "Written to a file on"),
    ({"program": "lmtp", "relay": "mx.example.org[private/lmtp]"}, "Accepted by the mail store mx.example.org"),
    (
        {"program": "pipe", "relay": "archive", "response": "delivered via archive service"},
        "Handed to the program of transport archive",
    ),
    ({"program": "smtp"}, "Accepted by mx.example.net[198.51.100.1] on"),
]


@pytest.mark.parametrize(("elements", "begins"), LOCAL, ids=lambda value: value if isinstance(value, str) else "")
def test_acceptance_is_told_apart_from_storage(
    elements: dict[str, str], begins: str, database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example", **elements)))
    (verdict,) = _verdicts(capsys, config, "A1A1A1A1").values()
    assert verdict.startswith(begins)
    is_stored = begins.startswith(("Delivered", "Written"))
    assert ("not known here" in verdict) is not is_stored


def test_an_unknown_id_offers_what_it_may_have_meant(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("4jXystY5frrzJTsZ", 0, "a@example.com", attempt("b@dest.example")))
    for wrong in ("4JXYSTY5FRRZJTSZ", "4jXystY5frrzJT", "ystY5frrzJTsZ"):
        assert main(["--config", config, "trace", wrong]) == 0
        output = capsys.readouterr()
        assert output.out == ""
        assert f"nothing is known of {wrong}; did you mean" in output.err
        assert "4jXystY5frrzJTsZ on mx" in output.err
    assert main(["--config", config, "trace", "%"]) == 0
    assert "what is known goes from 2026-11-20 08:00:00 to" in capsys.readouterr().err


def test_message_id_finds_all_its_legs_in_their_order(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "content_filter.log"))
    for text in ("one@example.com", "<one@example.com>"):
        (story,) = [json.loads(row) for row in _trace(capsys, config, "--json", text).splitlines()]
        assert [story["queue_id"], *(leg["queue_id"] for leg in story["legs"])] == [
            "BA2B3C4D5E",
            "BB2B3C4D5E",
            "BC2B3C4D5E",
        ]


def test_many_entries_of_one_id_are_listed(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    for number in range(12):
        lines += mail(
            f"A{number:07X}", number * 10, "a@example.com", attempt("b@dest.example"), message_id="same@id.example"
        )
    feed_lines(database, lines)
    text = _trace(capsys, config, "same@id.example")
    assert text.startswith("12 queue entries are known as same@id.example; --time or --host tells which is meant")
    assert len(text.splitlines()) == 13
    assert len(_trace(capsys, config, "--json", "same@id.example").splitlines()) == 12


def test_a_mail_to_many_shows_what_needs_attention(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = [attempt(f"r{number:03}@dest.example", "bounced" if number == 77 else "sent") for number in range(100)]
    feed_lines(database, mail("A1A1A1A1", 0, "a@example.com", *tries))
    text = _trace(capsys, config, "A1A1A1A1")
    assert "r077@dest.example: bounced" in text
    assert "and 80 more recipients: 80 sent (--verbose shows all)" in text
    assert "r099@dest.example: sent" in _trace(capsys, config, "--verbose", "A1A1A1A1")


def test_recipients_without_a_line_are_mentioned(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example"), nrcpt=3, removed=False))
    assert "2 more recipients without a line: In the queue since" in _verdicts(capsys, config, "A1A1A1A1")[""]


def test_the_story_is_in_the_order_of_time_even_within_a_second(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp = "2026-11-20T08:00:00+00:00 mx postfix"
    delivered = "to=<b@x.test>, relay=virtual, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)"
    feed_lines(
        database,
        [
            f"{stamp}/virtual[1]: A1A1A1A1: {delivered}",
            f"{stamp}/qmgr[1]: A1A1A1A1: removed",
            f"{stamp}/qmgr[1]: A1A1A1A1: from=<a@x.test>, size=1, nrcpt=1 (queue active)",
            f"{stamp}/cleanup[1]: A1A1A1A1: message-id=<m@x.test>",
            f"{stamp}/smtpd[1]: A1A1A1A1: client=a.example.com[192.0.2.1]",
        ],
    )
    text = _trace(capsys, config, "A1A1A1A1")
    places = [text.index(words) for words in ("arrived", "taken up", "b@x.test: sent by", "left the queue")]
    assert places == sorted(places)


def test_json_names(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "held_and_released.log"))
    story: dict[str, Any] = json.loads(_trace(capsys, config, "--json", "8A2B3C4D5E"))
    assert story["kind"] == "mail"
    assert "mail_id" not in story
    assert [sorted(event) for event in story["events"]] == [
        ["action", "component", "detail", "time"],
        ["action", "component", "time"],
    ]
    assert story["recipients"][0]["verdict"].startswith("Delivered to the mailbox on 2026-11-20T09:00:05.")


# -------------------------------------------------------------------------------------------------------- neighbours

LMTP = "mx.example.org[private/dovecot-lmtp]"
SESSION = "uA0fGfJYH2X0XwAAqPeSTA"


def _lmtp(session: str = SESSION, recipient: str = "bob@example.org", **more: str) -> tuple[str, str, str, float]:
    return attempt(
        recipient, program="lmtp", relay=LMTP, response=f"250 2.0.0 <{recipient}> {session} Saved", after="1", **more
    )


def _dovecot(second: float, text: str, session: str = SESSION, user: str = "bob@example.org") -> str:
    return f"{at(second)} mx dovecot: lmtp({user})<9><{session}>: {text}"


DISCARDED = "Marked message to be discarded if not explicitly delivered (discard action)"


@pytest.mark.parametrize(
    ("sayings", "end"),
    [
        (["msgid=<m@id.example>: saved mail to INBOX"], "Dovecot: saved to mailbox 'INBOX'."),
        (
            ["sieve: msgid=<m@id.example>: fileinto action: stored mail into mailbox 'Junk'"],
            "Dovecot: stored into mailbox 'Junk' by a sieve rule.",
        ),
        (
            ["sieve: msgid=<m@id.example>: stored mail into mailbox 'INBOX'"],
            "Dovecot: stored into mailbox 'INBOX' by sieve.",
        ),
        (
            [f"sieve: msgid=<m@id.example>: discard action: {DISCARDED}"],
            "Dovecot: discarded by a sieve rule: it reached no mailbox.",
        ),
        (
            [
                f"sieve: msgid=<m@id.example>: discard action: {DISCARDED}",
                "sieve: msgid=<m@id.example>: redirect action: forwarded to <c@example.net>",
                "sieve: msgid=<m@id.example>: fileinto action: stored mail into mailbox 'A'",
            ],
            "Dovecot: forwarded to c@example.net by a sieve rule; stored into mailbox 'A' by a sieve rule.",
        ),
        (
            [
                "sieve: msgid=<m@id.example>: fileinto action: failed to store into mailbox 'A': Permission denied",
                "sieve: msgid=<m@id.example>: stored mail into mailbox 'INBOX'",
            ],
            "Dovecot: could not be saved to mailbox 'A' (Permission denied); stored into mailbox 'INBOX' by sieve.",
        ),
        (
            ["sieve: msgid=<m@id.example>: vacation action: sent vacation response to <a@example.com>"],
            "what its own filters did with it is not known here.",
        ),
    ],
)
def test_dovecots_word_ends_the_verdict(
    sayings: list[str], end: str, database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [_dovecot(0.9 + number / 100, text) for number, text in enumerate(sayings)]
    feed_lines(database, [*lines, *mail("A1A1A1A1", 0, "a@example.com", _lmtp(), message_id="m@id.example")])
    verdict = _verdicts(capsys, config, "A1A1A1A1")["bob@example.org"]
    assert verdict.endswith(f"Saved”; {end}"), verdict


def test_each_recipient_has_its_own_session(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "neighbours.log"))
    text = _trace(capsys, config, "B1A1A1A1A1", "--time", "2026-11-20 10:00")
    assert "Dovecot: stored into mailbox 'Junk' by a sieve rule." in text
    assert "Dovecot: saved to mailbox 'INBOX'." in text
    order = [
        "policyd-spf: SPF pass (told by its client, sender and recipient)",
        "postgrey: greylisting: pass for bob@example.org: triplet found, waited 305 s",
        "arrived: a.example.com[192.0.2.1]",
        "opendkim: DKIM pass",
        "opendmarc: DMARC pass: domain example.com",
        "rspamd: found: add header, score 7.3 of 15",
        "dovecot: stored by sieve into mailbox 'Junk' for bob@example.org",
        "bob@example.org: sent by",
        "dovecot: saved to mailbox 'INBOX' for carla@example.org",
        "left the queue",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "DKIM fail" not in text
    assert "DKIM fail" in _trace(capsys, config, "B1A1A1A1A1", "--time", "2026-11-20 12:00")


def test_evidence_of_the_message_id_is_named_and_an_ambiguous_one_decides_nothing(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "neighbours.log"))
    verdict = _verdicts(capsys, config, "C1A1A1A1A1")["bob@example.org"]
    assert verdict.endswith("Dovecot: saved to mailbox 'Archive' (told by the message-id).")
    for queue_id in ("D1A1A1A1A1", "D2A1A1A1A1"):
        assert "Dovecot" not in _verdicts(capsys, config, queue_id)["bob@example.org"]
        text = _trace(capsys, config, queue_id)
        assert "saved to mailbox 'Lists' for bob (told by its message-id; another mail fits as well)" in text


def test_a_message_id_makes_no_fate(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "neighbours.log"))
    verdict = _verdicts(capsys, config, "E1A1A1A1A1")["bob@example.org"]
    assert "Secret" not in verdict
    assert "what its own filters did with it is not known here" in verdict


def test_dovecots_word_about_a_mail_that_a_filter_handed_on(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two queue entries with one message-id, but only the one behind the filter has the session."""
    to_filter = attempt(
        "bob@example.org", relay="127.0.0.1[127.0.0.1]:10024", response="250 2.0.0 Ok: queued as A2A2A2A2", after="1"
    )
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", to_filter, message_id="m@id.example"),
        *mail("A2A2A2A2", 0.5, "a@example.com", _lmtp(), message_id="m@id.example"),
        _dovecot(1.4, "sieve: msgid=<m@id.example>: fileinto action: stored mail into mailbox 'Junk'"),
    ]
    feed_lines(database, lines)
    verdict = _verdicts(capsys, config, "A1A1A1A1")["bob@example.org"]
    assert verdict.startswith("Handed on as A2A2A2A2: Delivered to the mail store")
    assert verdict.endswith("Dovecot: stored into mailbox 'Junk' by a sieve rule.")
    assert "A2A2A2A2: dovecot: stored by sieve into mailbox 'Junk'" in _trace(capsys, config, "A1A1A1A1")


def test_a_session_that_another_server_names_is_no_proof(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = attempt("bob@example.net", response=f"250 2.0.0 <bob@example.net> {SESSION} Saved")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _lmtp(), message_id="m@id.example"),
        *mail("A2A2A2A2", 0, "a@example.com", foreign, message_id="n@id.example"),
        _dovecot(0.9, "msgid=<m@id.example>: saved mail to INBOX"),
    ]
    feed_lines(database, lines)
    assert "Dovecot" in _verdicts(capsys, config, "A1A1A1A1")["bob@example.org"]
    assert "Dovecot" not in _verdicts(capsys, config, "A2A2A2A2")["bob@example.net"]


def test_a_message_id_of_many_mails_is_no_evidence(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lda = attempt("bob@example.org", program="pipe", relay="dovecot", response="delivered via dovecot service")
    lines = [
        line
        for number in range(25)
        for line in mail(f"A1A1A1{number:02}", 1000 * number, "a@example.com", lda, message_id="same@id.example")
    ]
    saved = f"{at(0.9)} mx dovecot: lda(bob)<9><{SESSION}>: msgid=<same@id.example>: saved mail to INBOX"
    feed_lines(database, [*lines, saved])
    assert "Dovecot" not in _verdicts(capsys, config, "A1A1A100")["bob@example.org"]
    assert "dovecot:" not in _trace(capsys, config, "A1A1A100")


def test_what_a_sender_chose_is_shown_escaped(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _lmtp(), message_id="m@id.example"),
        _dovecot(0.9, "msgid=<m@id.example>: saved mail to \x1b[31mred\u202e"),
    ]
    feed_lines(database, lines)
    text = _trace(capsys, config, "A1A1A1A1")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[31mred" in text
