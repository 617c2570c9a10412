"""trace over all legs: one mail, one story, from whichever leg it is asked for; what was refused; rows of search."""

from __future__ import annotations

import json
from typing import Any

import pytest

from journal_postfix import statuscodes
from journal_postfix.cli.main import main
from paths import STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import attempt, line, mail, rejection


def _run(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> tuple[str, str]:
    assert main(["--config", config, *arguments]) == 0
    output = capsys.readouterr()
    return output.out, output.err


def _trace(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> str:
    return _run(capsys, config, "trace", *arguments)[0]


def _json(capsys: pytest.CaptureFixture[str], config: str, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in _run(capsys, config, *arguments, "--json")[0].splitlines()]


# What a real Postfix 3.7 logged of one mail (sample/world/legs).
ENTERED, BEHIND_FILTER, FORWARDED, BOUNCE = "311D82603EE", "7CE0D26041D", "8344626041F", "4A09E260458"


def test_one_trace_shows_all_legs_of_a_real_mail(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_file(database, str(STREAMS / "all_kinds_of_legs.log"))
    text = _trace(capsys, config, ENTERED)
    in_order = [
        "logged in as alice@example.org (PLAIN)",
        "club@example.org: handed on\n      Handed on, and 3 deliveries came of it:",
        f"- Handed on as {FORWARDED} for turncoat@example.com: Refused by mx1.example.com[198.51.100.11] on ",
        f"(5.1.1: there is no such mailbox at the destination). The sender was told: see {BOUNCE}.",
        f"- Handed on as {BEHIND_FILTER} for bob@example.org: Delivered to the mailbox on 2026-11-23 13:05:35, 0.33 s",
        f"- Handed on as {FORWARDED} for dave@example.net: Accepted by mx.example.net[198.51.100.21]",
        "what happened beyond is not known here",
        f"non-delivery notification {BOUNCE} to alice@example.org: sent\n      Delivered to the mailbox",
        f"{ENTERED}: arrived: dsl-17.isp.example[203.0.113.17]",
        f"{BEHIND_FILTER}: arrived: localhost[127.0.0.1]",
        f"{ENTERED}: club@example.org: sent by 127.0.0.1",
        f"{BEHIND_FILTER}: bob@example.org (addressed as club@example.org): sent by local",
        f"{FORWARDED}: its first line in the log (forwarded by an alias or a .forward file, from {BEHIND_FILTER})",
        f"{FORWARDED}: turncoat@example.com (addressed as club@example.org): deferred by mx2.example.com",
        f"{FORWARDED}: turncoat@example.com (addressed as club@example.org): bounced by mx1.example.com",
        f"{FORWARDED}: the sender is told (non-delivery): {BOUNCE}",
        f"{BOUNCE}: alice@example.org: sent by local",
        f"{ENTERED} came back from the content filter as {BEHIND_FILTER}",
        f"{BEHIND_FILTER} forwarded as {FORWARDED}",
        f"{FORWARDED} non-delivery notification {BOUNCE}",
    ]
    at = 0
    for words in in_order:
        assert words in text[at:], words
        at = text.index(words, at)


def test_it_is_the_same_story_from_every_leg(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_file(database, str(STREAMS / "all_kinds_of_legs.log"))
    text = _trace(capsys, config, ENTERED)
    for later in (BEHIND_FILTER, FORWARDED):
        assert _trace(capsys, config, later) == f"{later} is a later leg of this mail:\n{text}"
    (story,) = _json(capsys, config, "trace", FORWARDED)
    assert story["queue_id"] == ENTERED
    assert [leg["queue_id"] for leg in story["legs"]] == [BEHIND_FILTER, FORWARDED, BOUNCE]
    (recipient,) = story["recipients"]
    assert recipient["final"]["ways"] == 3
    assert [leaf["recipient"] for leaf in recipient["leaves"]] == [
        "turncoat@example.com",
        "bob@example.org",
        "dave@example.net",
    ]
    assert "mail_id" not in json.dumps(story)
    assert all("verdict" in recipient for leg in story["legs"] for recipient in leg["recipients"])
    # The bounce is a mail of its own, with a story of its own.
    (bounce,) = _json(capsys, config, "trace", BOUNCE)
    assert bounce["queue_id"] == BOUNCE
    assert bounce["legs"] == []


def test_a_story_of_many_entries_ends(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two mails that each claim to have become the other; and a mail with more notifications than anybody reads."""
    lines = []
    for one, other, second in (("B1B1B1B1", "B2B2B2B2", 0.0), ("B2B2B2B2", "B1B1B1B1", 0.5)):
        reply = f"250 2.0.0 Ok: queued as {other}"
        lines += mail(one, second, "a@loop.test", attempt("b@loop.test", response=reply), message_id="loop@id.example")
    lines += mail("C1C1C1C1", 0, "c@many.test", attempt("b@many.test", "deferred"), removed=False)
    for number in range(150):
        second = 10 * number + 10
        lines += mail(f"D{number:07}", second, "", attempt("c@many.test"))[1:]
        lines.append(line(second + 0.5, "bounce", f"C1C1C1C1: sender delay notification: D{number:07}"))
    feed_lines(database, sorted(lines))
    for queue_id in ("B1B1B1B1", "B2B2B2B2"):
        assert "Mail B1B1B1B1 on mx" in _trace(capsys, config, queue_id)
    (story,) = _json(capsys, config, "trace", "C1C1C1C1")
    assert len(story["legs"]) == 99


def test_mails_with_one_message_id_that_are_no_legs_of_each_other_are_several_stories(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example"), message_id="twice@id.example"),
        *mail("A2A2A2A2", 1, "a@example.com", attempt("b@dest.example"), message_id="twice@id.example"),
    ]
    feed_lines(database, lines)
    text = _trace(capsys, config, "twice@id.example")
    assert text.startswith("2 queue entries have this message-id, oldest first.")
    assert text.index("Mail A1A1A1A1 on mx") < text.index("Mail A2A2A2A2 on mx")


def test_what_only_may_be_is_said(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    passed = attempt("b@dest.example", relay="127.0.0.1[127.0.0.1]:10024", response="250 2.0.0 passed")
    client = "localhost[127.0.0.1]"
    lines = mail("A1A1A1A1", 0, "a@example.com", passed, message_id="m@id.example")
    behind = mail("A2A2A2A2", 0.5, "a@example.com", attempt("b@dest.example"), client=client, message_id="m@id.example")
    feed_lines(database, [*lines, *behind])
    text = _trace(capsys, config, "A1A1A1A1")
    assert "Handed on as A2A2A2A2 (told by the message-id): Accepted by mx.example.net" in text
    assert "A1A1A1A1 was handed on as A2A2A2A2 (told by the message-id)" in text
    feed_lines(database, [row.replace("A2A2A2A2", "A3A3A3A3") for row in behind], "more")
    text = _trace(capsys, config, "A1A1A1A1")
    assert "Accepted by 127.0.0.1 on" in text
    for other in ("A2A2A2A2", "A3A3A3A3"):
        told = "(perhaps: its message-id, time, sender and recipient fit, but so do another mail's)"
        assert f"was handed on as {other} {told}" in text


# ------------------------------------------------------------------------------------------------- refused before


GREYLISTED = "450 4.2.0 <b@dest.example>: Recipient address rejected: Greylisted"


def _greylisted(second: float, sender: str = "a@example.com", recipient: str = "b@dest.example") -> str:
    text = rejection(second, sender, recipient, client="a.example.com[192.0.2.1]")
    return text.replace(f"554 5.7.1 <{recipient}>: Relay access denied", GREYLISTED)


def test_greylisting_then_success(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        _greylisted(-90000),
        _greylisted(0),
        _greylisted(60, sender="A@Example.com"),
        _greylisted(61, sender="c@example.com"),
        _greylisted(62, recipient="c@dest.example"),
        *mail("A1A1A1A1", 400, "a@example.com", attempt("b@dest.example")),
        _greylisted(500),
    ]
    feed_lines(database, lines)
    text = _trace(capsys, config, "A1A1A1A1")
    assert (
        "Before it came it had been refused here 2 times, first on 2026-11-20 08:00:00 (7 min before): "
        "“450 4.2.0 <b@dest.example>: Recipient address rejected: Greylisted” (4.2.0: something about the mailbox)."
    ) in text
    assert text.count("refused before: a.example.com[192.0.2.1]: 450 4.2.0") == 2
    assert text.index("refused before") < text.index("  arrived: ")
    (story,) = _json(capsys, config, "trace", "A1A1A1A1")
    assert [refused["time"] for refused in story["rejected_before"]] == [
        "2026-11-20T08:00:00.000000Z",
        "2026-11-20T08:01:00.000000Z",
    ]


def test_the_empty_sender_is_everybodys(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        rejection(0, "", "b@dest.example", client="x.example.net[203.0.113.5]"),
        rejection(1, "", "b@dest.example", client="a.example.com[192.0.2.1]"),
        *mail("A1A1A1A1", 400, "", attempt("x@dest.example", orig_to="b@dest.example")),
    ]
    feed_lines(database, lines)
    text = _trace(capsys, config, "A1A1A1A1")
    assert "refused here once, on 2026-11-20 08:00:01" in text


def test_a_rejection_can_be_traced(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(database, [_greylisted(0), *mail("A1A1A1A1", 400, "a@example.com", attempt("b@dest.example"))])
    listed, _ = _run(capsys, config, "search", "--fate", "rejected")
    assert listed.split()[2] == "r1"
    text = _trace(capsys, config, "r1")
    assert text.startswith("Rejection r1 on mx\n  time        2026-11-20 08:00:00\n  sender      a@example.com\n")
    assert (
        "Refused before this server accepted anything: “450 4.2.0 <b@dest.example>: Recipient address rejected: "
        "Greylisted” (4.2.0: something about the mailbox); the client may try again."
    ) in text
    assert "came later as A1A1A1A1 on mx, 2026-11-20 08:06:40, from a@example.com: trace A1A1A1A1" in text
    assert "nothing is known of rejection r77" in _run(capsys, config, "trace", "r77")[1]


def test_a_row_of_search_can_be_traced(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [_greylisted(0), *mail("A1A1A1A1", 400, "a@example.com", attempt("b@dest.example"))]
    lines += mail("A1A1A1A1", 50000, "later@example.com", attempt("b@dest.example"))
    feed_lines(database, lines)
    rows = _json(capsys, config, "search")
    told = [_json(capsys, config, "trace", row["cursor"]) for row in rows]
    assert [[story.get("sender") for story in stories] for stories in told] == [
        ["later@example.com"],
        ["a@example.com"],
        ["a@example.com"],
    ]
    assert told[2][0]["kind"] == "rejected"
    assert [came["queue_id"] for came in told[2][0]["came_later"]] == ["A1A1A1A1"]
    other = rows[0]["cursor"].rpartition(",")[0] + ",999"
    assert "nothing is known of" in _run(capsys, config, "trace", other)[1]


# ------------------------------------------------------------------------------------------------- what an id may mean


@pytest.mark.parametrize("wrong", ["4jXystY5frrzJT", "4JXYSTY5FRRZJTSZ", "jXystY5frrzJTsZ", "4jXystY5frrzJTsz"])
def test_a_long_id_that_was_copied_badly(
    wrong: str, database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, mail("4jXystY5frrzJTsZ", 0, "a@example.com", attempt("b@dest.example")))
    _, told = _run(capsys, config, "trace", wrong)
    assert f"nothing is known of {wrong}; did you mean" in told
    assert "4jXystY5frrzJTsZ on mx" in told


def test_a_short_id_in_small_letters(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(database, mail("A1B1C1D1", 0, "a@example.com", attempt("b@dest.example")))
    assert "A1B1C1D1 on mx" in _run(capsys, config, "trace", "a1b1c1d1")[1]


def test_an_id_of_another_host(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    feed_lines(database, mail("A1B1C1D1", 0, "a@example.com", attempt("b@dest.example"), host="mx1.example.org"))
    _, told = _run(capsys, config, "trace", "A1B1C1D1", "--host", "mx2")
    assert "nothing is known of A1B1C1D1 on that host or at that time; but of:\n  A1B1C1D1 on mx1.example.org" in told


# ------------------------------------------------------------------------------------------------- status codes


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("5.1.1", "there is no such mailbox at the destination"),
        ("4.1.1", "there is no such mailbox at the destination"),
        ("4.4.7", "it could not be delivered within the time allowed"),
        ("5.7.99", "policy or security"),
        ("5.0.0", None),
        ("5", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_status_code_means(code: str | None, words: str | None) -> None:
    assert statuscodes.meaning(code) == words
