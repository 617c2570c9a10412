"""Legs: which queue entry a mail went on as, how that is known, what is evidence only, what a hostile reply gets."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest

from captures import VERSIONS, logs
from journal_postfix.store import Database
from journal_postfix.store.problems import Window, report
from journal_postfix.store.search import Criteria, search
from journal_postfix.store.stats import collect
from journal_postfix.store.trace import load_stories
from paths import STREAMS
from pg.feed import feed_file, feed_lines
from pg.logs import BEGIN, attempt, line, mail

FILTER = "127.0.0.1[127.0.0.1]:10024"
LOCALHOST = "localhost[127.0.0.1]"
MX = "mx2.example.org[192.0.2.2]:25"

FINALS = """
SELECT m.queue_id, f.recipient, f.final_queue_id, f.final_host, f.final_recipient, f.final_fate, f.legs, f.is_certain
FROM mail_final AS f INNER JOIN mail AS m ON f.mail_id = m.mail_id
ORDER BY m.began, m.queue_id, f.recipient, f.legs, f.final_queue_id, f.final_recipient
"""


def _finals(dsn: str, queue_id: str = "A1A1A1A1") -> list[str]:
    """Give for each recipient of an entry and way `[~]recipient → queue id[ on host], recipient, fate`."""
    with closing(Database(dsn)) as database:
        rows = database.fetch(FINALS)
    told = []
    for entry, recipient, final, host, whom, fate, legs, is_certain in rows:
        if entry != queue_id:
            continue
        where = f"{final} on {host}" if host != "mx" else final
        told.append(
            f"{'' if is_certain else '~'}{recipient} → {where}, {whom}, {fate}" if legs else f"{recipient}: {fate}"
        )
    return told


def _links(dsn: str, queue_id: str = "A1A1A1A1") -> list[tuple[str, str, bool, bool]]:
    """Give (kind, queue id, is here, is ambiguous) of an entry's links."""
    with closing(Database(dsn)) as database:
        return database.fetch(
            "SELECT l.kind, l.linked_queue_id, l.linked_mail_id IS NOT NULL, l.is_ambiguous "
            "FROM mail_link AS l INNER JOIN mail AS m ON l.mail_id = m.mail_id "
            'WHERE m.queue_id = %s ORDER BY l."time", l.linked_queue_id',
            (queue_id,),
        )


def _through(
    reply: str, relay: str = FILTER, recipient: str = "b@dest.example", **more: str
) -> tuple[str, str, str, float]:
    return attempt(recipient, relay=relay, response=reply, **more)


def _queued(queue_id: str, relay: str = FILTER, recipient: str = "b@dest.example") -> tuple[str, str, str, float]:
    return _through(f"250 2.0.0 Ok: queued as {queue_id}", relay, recipient)


SAME = "same@id.example"


@pytest.mark.parametrize(
    "reply",
    [
        "250 2.0.0 Ok: queued as A2A2A2A2",
        "250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as A2A2A2A2",
        "250 2.6.0 Ok, id=12345-01, from MTA: 250 2.0.0 Ok: queued as A2A2A2A2",
    ],
)
def test_a_filter_that_names_the_queue_id(reply: str, database: str) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _through(reply), message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", attempt("b@dest.example"), client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example → A2A2A2A2, b@dest.example, sent"]
    assert _finals(database, "A2A2A2A2") == ["b@dest.example: sent"]


def test_a_filter_that_changes_sender_recipient_and_size_is_believed_on_this_host(database: str) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2", recipient="b+x@dest.example"), message_id=SAME),
        *mail("A2A2A2A2", 0.5, "srs0=a@dest.example", attempt("c@dest.example"), client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b+x@dest.example → A2A2A2A2, c@dest.example, sent"]


def test_a_mail_without_message_id_gets_one_on_its_way_through_the_filter(database: str) -> None:
    lines = mail("A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2"), message_id=SAME)
    lines = [text.replace(f"<{SAME}>", "<>") for text in lines]
    lines += mail(
        "A2A2A2A2", 0.5, "a@example.com", attempt("b@dest.example"), client=LOCALHOST, message_id="new@mx.test"
    )
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example → A2A2A2A2, b@dest.example, sent"]


def test_a_filter_that_names_no_queue_id_is_told_by_the_message_id(database: str) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _through("250 2.0.0 scanned and passed"), message_id=SAME),
        *mail(
            "A2A2A2A2", 0.5, "a@example.com", attempt("b@dest.example", "bounced"), client=LOCALHOST, message_id=SAME
        ),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["~b@dest.example → A2A2A2A2, b@dest.example, bounced"]


NO_EVIDENCE = [
    ("another sender", {"sender": "list-bounces@example.com"}),
    ("another recipient", {"recipient": "c@dest.example"}),
    ("another message-id", {"message_id": "other@id.example"}),
    ("too early", {"second": -60}),
    ("too late", {"second": 60}),
    ("another client", {"client": "a.example.com[192.0.2.1]"}),
    ("another size", {"size": 900_000}),
]


@pytest.mark.parametrize(("changed"), [changes for _, changes in NO_EVIDENCE], ids=[name for name, _ in NO_EVIDENCE])
def test_a_message_id_alone_is_no_evidence(changed: dict[str, str | float], database: str) -> None:
    facts: dict[str, str | float] = {
        "sender": "a@example.com",
        "recipient": "b@dest.example",
        "message_id": SAME,
        "second": 0.5,
        "client": LOCALHOST,
    }
    facts["size"] = 1000.0
    facts |= changed
    lines = mail("A1A1A1A1", 0, "a@example.com", _through("250 2.0.0 scanned and passed"), message_id=SAME)
    other = mail(
        "A2A2A2A2",
        float(facts["second"]),
        str(facts["sender"]),
        attempt(str(facts["recipient"])),
        client=str(facts["client"]),
        message_id=str(facts["message_id"]),
    )
    feed_lines(database, sorted(lines + [text.replace("size=1000", f"size={facts['size']:.0f}") for text in other]))
    assert _finals(database) == ["b@dest.example: sent"]
    assert _links(database) == []


def test_when_several_fit_none_is_taken(database: str) -> None:
    reply = _through("250 2.0.0 scanned and passed")
    back = attempt("b@dest.example")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", reply, message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", back, client=LOCALHOST, message_id=SAME),
        *mail("A3A3A3A3", 0.6, "a@example.com", back, client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example: sent"]
    assert _links(database) == [("queued", "A2A2A2A2", True, True), ("queued", "A3A3A3A3", True, True)]


def test_mails_that_share_a_message_id_by_the_dozen_are_not_compared_with_each_other(database: str) -> None:
    """A sender who gives it to thousands must not make look-ups take thousands times thousands of steps."""
    lines: list[str] = []
    for number in range(60):
        handed = attempt("b@dest.example", relay=FILTER, response="250 ok")
        lines += mail(
            f"A1A1A1{number:02}", number, "s@a.example", handed, client="localhost[127.0.0.1]", message_id="x@y"
        )
    feed_lines(database, sorted(lines))
    with closing(Database(database)) as connection:
        connection.execute("SET track_functions = 'pl'")
        assert len(search(connection, Criteria(), 20).results) == 20
        load_stories(connection, [30])
        with report(connection):
            total = collect(connection, Window(BEGIN, BEGIN + timedelta(hours=1)), "domain").total
        assert total.delivered == 60
        connection.execute("SELECT pg_stat_force_next_flush()")
        calls = dict(connection.fetch("SELECT funcname::text, calls FROM pg_stat_user_functions"))
        assert calls["mail_links"] >= 2
        assert calls.get("is_next_leg", 0) == 0


def test_one_entry_behind_the_filter_for_two_before_it_is_ambiguous(database: str) -> None:
    reply = _through("250 2.0.0 scanned and passed")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", reply, message_id=SAME),
        *mail("A2A2A2A2", 0.1, "a@example.com", reply, message_id=SAME),
        *mail("A3A3A3A3", 0.6, "a@example.com", attempt("b@dest.example"), client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example: sent"]
    assert _links(database) == [("queued", "A3A3A3A3", True, True)]
    assert _links(database, "A2A2A2A2") == [("queued", "A3A3A3A3", True, True)]


def test_what_another_reply_names_is_not_taken(database: str) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _through("250 2.0.0 scanned and passed"), message_id=SAME),
        *mail("A2A2A2A2", 0.1, "a@example.com", _queued("A3A3A3A3"), message_id=SAME),
        *mail("A3A3A3A3", 0.6, "a@example.com", attempt("b@dest.example"), client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example: sent"]
    assert _finals(database, "A2A2A2A2") == ["b@dest.example → A3A3A3A3, b@dest.example, sent"]


@pytest.mark.parametrize("names", [True, False], ids=["replies name the ids", "replies name no ids"])
def test_filtered_twice(names: bool, database: str) -> None:
    """Behind the second filter XFORWARD still names the very first queue id (smtpd(8) hands on what it was given)."""
    first, second = (
        (_queued("A2A2A2A2"), _queued("A3A3A3A3", "127.0.0.1[127.0.0.1]:10026"))
        if names
        else (_through("250 2.0.0 passed"), _through("250 2.0.0 passed", "127.0.0.1[127.0.0.1]:10026"))
    )
    orig = ", orig_queue_id=A1A1A1A1, orig_client=a.example.com[192.0.2.1]"
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", first, message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", second, client=LOCALHOST, message_id=SAME, more=orig),
        *mail(
            "A3A3A3A3", 0.9, "a@example.com", attempt("b@dest.example"), client=LOCALHOST, message_id=SAME, more=orig
        ),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example → A3A3A3A3, b@dest.example, sent"]
    doubt = "" if names else "~"
    assert _finals(database, "A2A2A2A2") == [f"{doubt}b@dest.example → A3A3A3A3, b@dest.example, sent"]
    assert _finals(database, "A3A3A3A3") == ["b@dest.example: sent"]


def test_a_filter_that_is_a_command_submits_the_mail_again(database: str) -> None:
    """FILTER_README's simple filter: pipe(8), and sendmail(1) at its end."""
    passed = attempt("b@dest.example", program="pipe", relay="filter", response="delivered via filter service")
    again = [
        text.replace(
            "/smtpd[1]: A2A2A2A2: client=a.example.com[192.0.2.1]", "/pickup[1]: A2A2A2A2: uid=99 from=<a@example.com>"
        )
        for text in mail("A2A2A2A2", 1.5, "a@example.com", attempt("b@dest.example"), message_id=SAME)
    ]
    feed_lines(database, [*mail("A1A1A1A1", 0, "a@example.com", passed, message_id=SAME), *again])
    assert _finals(database) == ["~b@dest.example → A2A2A2A2, b@dest.example, sent"]


def test_list_software_that_sends_under_its_own_name_sends_another_mail(database: str) -> None:
    to_list = attempt("list@dest.example", program="pipe", relay="mailman", response="delivered via mailman service")
    posts = [
        text.replace(
            "/smtpd[1]: A2A2A2A2: client=localhost[127.0.0.1]",
            "/pickup[1]: A2A2A2A2: uid=99 from=<list-bounces@d.test>",
        )
        for text in mail(
            "A2A2A2A2", 1.5, "list-bounces@d.test", attempt("m@dest.example"), client=LOCALHOST, message_id=SAME
        )
    ]
    feed_lines(database, [*mail("A1A1A1A1", 0, "a@example.com", to_list, message_id=SAME), *posts])
    assert _finals(database) == ["list@dest.example: sent"]


# ----------------------------------------------------------------------------------------------- to another server


@pytest.mark.parametrize(("here", "there"), [("mx", "mx2"), ("mx", "mx2.example.org"), ("mx.example.org", "mx2")])
def test_a_hop_to_another_server_of_the_database(here: str, there: str, database: str) -> None:
    """Clocks of two hosts differ, and an alias there may change the recipient."""
    lines = mail("A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2", MX), message_id=SAME, host=here)
    client = "mx.example.org[192.0.2.1]"
    there_lines = mail(
        "A2A2A2A2",
        31,
        "a@example.com",
        attempt("c@dest.example", "bounced"),
        client=client,
        message_id=SAME,
        host=there,
    )
    feed_lines(database, lines, "one")
    feed_lines(database, there_lines, "other")
    assert _finals(database) == [f"b@dest.example → A2A2A2A2 on {there}, c@dest.example, bounced"]


def test_a_hop_without_a_queue_id_in_the_reply_is_told_by_the_message_id(database: str) -> None:
    reply = _through(f"250 2.6.0 <{SAME}> Queued mail for delivery", MX)
    lines = mail("A1A1A1A1", 0, "a@example.com", reply, message_id=SAME, host="mx")
    there = mail("A2A2A2A2", 0.6, "a@example.com", attempt("b@dest.example"), message_id=SAME, host="mx2.example.org")
    feed_lines(database, lines, "one")
    feed_lines(database, there, "other")
    assert _finals(database) == ["~b@dest.example → A2A2A2A2 on mx2.example.org, b@dest.example, sent"]


HOSTILE = [
    ("another message-id", {"message_id": "other@id.example"}),
    ("another sender, though the message-id is the same", {"sender": "eve@evil.test"}),
    ("another recipient, though the rest is the same", {"recipient": "boss@dest.example"}),
    ("a mail of hours ago", {"second": -7200.0}),
    ("a mail of later", {"second": 7200.0}),
]


@pytest.mark.parametrize("changed", [changes for _, changes in HOSTILE], ids=[name for name, _ in HOSTILE])
def test_a_remote_server_that_claims_somebody_elses_queue_id(changed: dict[str, str | float], database: str) -> None:
    """Who takes our mail knows its Message-ID and sender, and may send us a mail with the same before it answers."""
    facts: dict[str, str | float] = {
        "sender": "a@example.com",
        "recipient": "b@evil.test",
        "message_id": SAME,
        "second": 0.5,
    }
    facts |= changed
    reply = _queued("A2A2A2A2", "mx.evil.test[203.0.113.66]:25", "b@evil.test")
    lines = mail("A1A1A1A1", 0, "a@example.com", reply, message_id=SAME)
    other = mail(
        "A2A2A2A2",
        float(facts["second"]),
        str(facts["sender"]),
        attempt(str(facts["recipient"]), "bounced"),
        client="mx.evil.test[203.0.113.66]",
        message_id=str(facts["message_id"]),
    )
    feed_lines(database, sorted(lines + other))
    assert _finals(database) == ["b@evil.test: sent"]
    assert _links(database) == [("queued", "A2A2A2A2", False, False)]


FAR = "mx.evil.test[203.0.113.66]:25"


@pytest.mark.parametrize("named", ["A1A1A1A1", "A2A2A2A2"])
@pytest.mark.parametrize("clock", [0, 20])
def test_a_remote_server_that_names_an_earlier_leg_of_its_own_mail(named: str, clock: float, database: str) -> None:
    """It reads their queue ids in the Received headers; and its name begins with that of a host of ours."""
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2"), message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", _queued("A3A3A3A3", MX), client=LOCALHOST, message_id=SAME),
    ]
    there = mail(
        "A3A3A3A3",
        clock + 1.2,
        "a@example.com",
        _queued(named, FAR),
        client="mx.example.org[192.0.2.1]",
        message_id=SAME,
        host="mx2",
    )
    feed_lines(database, sorted(lines), "one")
    feed_lines(database, there, "other")
    assert _finals(database) == ["b@dest.example → A3A3A3A3 on mx2, b@dest.example, sent"]
    assert _finals(database, "A3A3A3A3") == ["b@dest.example: sent"]


def test_a_remote_server_that_names_what_an_alias_forwarded(database: str) -> None:
    forwarded = attempt("al@dest.example", program="local", relay="local", response="forwarded as A2A2A2A2")
    there = attempt("al@dest.test", "bounced", orig_to="al@dest.example")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", forwarded, _queued("A2A2A2A2", FAR, "al@dest.test"), message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", there, message_id=SAME)[1:],
    ]
    feed_lines(database, sorted(lines))
    assert _finals(database) == ["al@dest.example → A2A2A2A2, al@dest.test, bounced", "al@dest.test: sent"]


def _requeued(queue_id: str, before: str, second: float, message_id: str) -> list[str]:
    return [
        text.replace("/smtpd[1]:", "/pickup[1]:").replace(
            "client=a.example.com[192.0.2.1]", f"uid=110 from=<a@example.com> orig_id={before}"
        )
        for text in mail(queue_id, second, "a@example.com", attempt("b@dest.example"), message_id=message_id)
    ]


def test_requeued_is_the_entry_that_was_put_back_and_no_other_of_its_id(database: str) -> None:
    late = attempt("b@dest.example", "deferred")
    lines = [
        # Long before, ended otherwise; the one that was meant; and one that took the free id at once.
        *mail("A1A1A1A1", 0, "a@example.com", late, message_id="old@id.example", removed=False),
        line(9, "postsuper", "A1A1A1A1: removed"),
        *mail("A1A1A1A1", 5000, "a@example.com", late, message_id=SAME, removed=False),
        line(5009, "postsuper", "A1A1A1A1: requeued"),
        *_requeued("A2A2A2A2", "A1A1A1A1", 5010, SAME),
        *mail("A1A1A1A1", 5040, "a@example.com", late, message_id="new@id.example", removed=False),
        line(5060, "postsuper", "A1A1A1A1: removed"),
        # Of this one's first entry nothing is known.
        *_requeued("A3A3A3A3", "A1A1A1A1", 90000, "unknown@id.example"),
    ]
    feed_lines(database, sorted(lines))
    assert _finals(database) == [
        "b@dest.example: discarded",
        "b@dest.example → A2A2A2A2, b@dest.example, sent",
        "b@dest.example: discarded",
    ]


def test_a_forward_to_several_is_not_done_when_the_first_of_them_is(database: str) -> None:
    forwarded = attempt("al@dest.example", program="local", relay="local", response="forwarded as A2A2A2A2")
    one = attempt("one@far.example", orig_to="al@dest.example")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", forwarded),
        *mail("A2A2A2A2", 0.9, "a@example.com", one, nrcpt=3, removed=False)[1:],
    ]
    feed_lines(database, sorted(lines))
    assert _finals(database) == [
        "al@dest.example → A2A2A2A2, one@far.example, sent",
        "al@dest.example → A2A2A2A2, None, queued",
    ]


def test_a_recipient_alone_is_alone_though_xforward_tells_of_the_entry_of_all(database: str) -> None:
    orig = ", orig_queue_id=A1A1A1A1"
    passed = _through("250 2.0.0 passed", recipient="c@dest.example")
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2"), passed, message_id=SAME),
        *mail(
            "A2A2A2A2", 0.5, "a@example.com", attempt("x@dest.example"), client=LOCALHOST, message_id=SAME, more=orig
        ),
        *mail(
            "A3A3A3A3", 0.6, "a@example.com", attempt("c@dest.example"), client=LOCALHOST, message_id=SAME, more=orig
        ),
    ]
    feed_lines(database, sorted(lines))
    assert _finals(database) == [
        "b@dest.example → A2A2A2A2, x@dest.example, sent",
        "c@dest.example → A3A3A3A3, c@dest.example, sent",
    ]


def test_thousands_of_recipients_through_a_filter_take_no_minutes(database: str) -> None:
    names = [f"r{number}@dest.example" for number in range(2000)]
    there = [_queued("A2A2A2A2", recipient=name) for name in names]
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", *there, message_id=SAME),
        *mail("A2A2A2A2", 0.5, "a@example.com", *map(attempt, names), client=LOCALHOST, message_id=SAME),
    ]
    feed_lines(database, sorted(lines))
    with closing(Database(database)) as connection, connection.transaction():
        # Comparing each with each took 30 seconds.
        connection.execute("SET LOCAL statement_timeout = '10s'")
        counted = connection.fetch("SELECT count(*) FROM mail_delivery WHERE is_handed_on")
    assert counted == [(2000,)]


def test_a_reply_may_name_an_entry_whose_facts_all_agree(database: str) -> None:
    """A filter in another place: it sends the mail back, to the same recipient, and says so."""
    lines = [
        *mail(
            "A1A1A1A1", 0, "a@example.com", _queued("A2A2A2A2", "scan.example.net[203.0.113.66]:25"), message_id=SAME
        ),
        *mail(
            "A2A2A2A2",
            0.5,
            "a@example.com",
            attempt("b@dest.example", "deferred"),
            client="scan.example.net[203.0.113.66]",
            message_id=SAME,
            removed=False,
        ),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example → A2A2A2A2, b@dest.example, deferred"]


def test_a_command_cannot_claim_a_forward(database: str) -> None:
    """Only local(8) itself says `forwarded as`, and what it forwards has come by no door."""
    lines = [
        *mail(
            "A1A1A1A1",
            0,
            "a@example.com",
            attempt("b@dest.example", program="local", relay="local", response="forwarded as A2A2A2A2"),
        ),
        *mail("A2A2A2A2", 0.5, "boss@example.com", attempt("c@dest.example", "bounced")),
    ]
    feed_lines(database, lines)
    assert _finals(database) == ["b@dest.example: sent"]


def test_a_reused_queue_id_means_the_entry_of_that_time(database: str) -> None:
    lines: list[str] = []
    for number, fate in enumerate(("sent", "bounced")):
        second = 5000.0 * number
        message_id = f"m{number}@id.example"
        lines += mail(f"A{number}A1A1A1", second, "a@example.com", _queued("A2A2A2A2"), message_id=message_id)
        back = attempt("b@dest.example", fate)
        lines += mail("A2A2A2A2", second + 0.5, "a@example.com", back, client=LOCALHOST, message_id=message_id)
    feed_lines(database, lines)
    assert _finals(database, "A0A1A1A1") == ["b@dest.example → A2A2A2A2, b@dest.example, sent"]
    assert _finals(database, "A1A1A1A1") == ["b@dest.example → A2A2A2A2, b@dest.example, bounced"]


def test_of_several_recipients_each_has_its_own_way(database: str) -> None:
    to_filter = (_queued("A2A2A2A2", recipient="one@dest.example"), _queued("A2A2A2A2", recipient="info@dest.example"))
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", *to_filter, attempt("far@dest.test"), message_id=SAME),
        *mail(
            "A2A2A2A2",
            0.5,
            "a@example.com",
            attempt("one@dest.example"),
            attempt("x@dest.example", "bounced", orig_to="info@dest.example"),
            attempt("y@dest.example", "deferred", orig_to="info@dest.example"),
            client=LOCALHOST,
            message_id=SAME,
        ),
    ]
    feed_lines(database, lines)
    assert _finals(database) == [
        "far@dest.test: sent",
        "info@dest.example → A2A2A2A2, x@dest.example, bounced",
        "info@dest.example → A2A2A2A2, y@dest.example, deferred",
        "one@dest.example → A2A2A2A2, one@dest.example, sent",
    ]


# ----------------------------------------------------------------------------------------------- notifications


@pytest.mark.parametrize("before", [True, False], ids=["since 3.11: notified, then queued", "queued, then notified"])
def test_a_bounce_and_its_own_bounce_in_both_orders(before: bool, database: str) -> None:
    shift = -0.2 if before else 0.4
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example", "bounced")),
        *mail("A2A2A2A2", 1.1, "", attempt("a@example.com", "bounced", after="1"))[1:],
        line(1.2 + shift, "bounce", "A1A1A1A1: sender non-delivery notification: A2A2A2A2"),
        *mail("A3A3A3A3", 2.3, "double-bounce@mx", attempt("postmaster@mx", program="local", relay="local"))[1:],
        line(2.4 + shift, "bounce", "A2A2A2A2: postmaster non-delivery notification: A3A3A3A3"),
    ]
    feed_lines(database, sorted(lines))
    assert _links(database) == [("bounce", "A2A2A2A2", True, False)]
    assert _links(database, "A2A2A2A2") == [("postmaster notice", "A3A3A3A3", True, False)]
    # A notification is another mail, not where this one went.
    assert _finals(database) == ["b@dest.example: bounced"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("sender delay notification", "delay warning"), ("sender delivery status notification", "success notice")],
)
def test_other_notifications(text: str, kind: str, database: str) -> None:
    lines = [
        *mail("A1A1A1A1", 0, "a@example.com", attempt("b@dest.example", "deferred"), removed=False),
        *mail("A2A2A2A2", 1.1, "", attempt("a@example.com"))[1:],
        line(1.3, "bounce", f"A1A1A1A1: {text}: A2A2A2A2"),
    ]
    feed_lines(database, sorted(lines))
    assert _links(database) == [(kind, "A2A2A2A2", True, False)]


# ----------------------------------------------------------------------------------------------- counting at the leaves

AGREE = """
SELECT m.queue_id, d.recipient, d.is_handed_on
FROM mail_delivery AS d INNER JOIN mail AS m ON d.mail_id = m.mail_id
WHERE d.is_handed_on <> EXISTS (
    SELECT FROM mail_legs(ARRAY[d.mail_id]) AS l WHERE l.recipient_key = d.recipient_key
)
"""


def test_a_filter_and_a_forward_do_not_double_the_deliveries(database: str) -> None:
    feed_file(database, str(STREAMS / "all_kinds_of_legs.log"))
    with closing(Database(database)) as connection:
        counted = connection.fetch(
            "SELECT fate, count(*) FROM mail_delivery WHERE NOT is_handed_on GROUP BY 1 ORDER BY 1"
        )
    # The bounce to the sender is a mail of its own.
    assert counted == [("bounced", 1), ("sent", 3)]


@pytest.mark.parametrize("name", [*VERSIONS, "streams"])
def test_what_is_counted_and_what_is_followed_agree(name: str, database: str) -> None:
    if name == "streams":
        for number, path in enumerate(sorted(STREAMS.glob("*.log"))):
            text = path.read_text(encoding="utf-8")
            if "+00:00 mx " in text:
                feed_lines(database, [row.replace(" mx ", f" mx{number} ", 1) for row in text.splitlines()], path.stem)
    else:
        for path in logs(name):
            feed_file(database, str(path))
    with closing(Database(database)) as connection:
        assert connection.fetch(AGREE) == []
        assert connection.fetch("SELECT count(*) >= 3 FROM mail_delivery WHERE is_handed_on") == [(True,)]
