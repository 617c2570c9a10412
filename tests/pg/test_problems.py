"""problems: what is grouped and counted, what is an alarm and what is none, the contract, hostile text, plans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journal_postfix.cli.main import main
from journal_postfix.rules import load_rules
from journal_postfix.store import Database
from journal_postfix.store.alarms import Alarm, find_alarms
from journal_postfix.store.problems import Group, Window, add_examples, count_failures, problem_groups, report
from pg.feed import feed_lines
from pg.logs import BEGIN, attempt, line, mail, rejection

HOUR = 3600
DAY = ("--since", "2026-11-20 08:00", "--until", "2026-11-20 09:00")
Run = Callable[..., tuple[int, str, str]]
GREYLISTED = "host mx.example.net[198.51.100.1] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)"
LISTED = (
    "host mx.example.net[198.51.100.1] said: 554 5.7.1 Client host [192.0.2.1] blocked using bl.example "
    "(in reply to RCPT TO command)"
)


def span(begin: float, end: float, host: str | None = None) -> Window:
    """Give the window between two seconds after BEGIN."""
    return Window(BEGIN + timedelta(seconds=begin), BEGIN + timedelta(seconds=end), host)


def groups_of(dsn: str, window: Window) -> list[Group]:
    with closing(Database(dsn)) as connection, report(connection):
        groups = problem_groups(count_failures(connection, window, load_rules(None)))
        add_examples(connection, window, groups)
        return groups


def alarms_of(dsn: str, window: Window) -> list[Alarm]:
    with closing(Database(dsn)) as connection, report(connection):
        return find_alarms(connection, window, problem_groups(count_failures(connection, window, load_rules(None))))


def failing(number: int, second: float, to: str, response: str, status: str = "deferred", **more: Any) -> list[str]:
    """Give a mail with one attempt that failed."""
    dsn = more.pop("dsn", "4.2.0" if status == "deferred" else "5.7.1")
    tried = attempt(
        to, status, response=response, dsn=dsn, **{k: more.pop(k) for k in ("relay", "program") if k in more}
    )
    return mail(f"{number:08X}", second, "a@example.com", tried, removed=status != "deferred", **more)


def sent(number: int, second: float, to: str = "x@good.example", **more: Any) -> list[str]:
    return mail(f"{number:08X}", second, "a@example.com", attempt(to), **more)


def test_failures_are_counted_by_class_destination_and_host_and_compared(database: str) -> None:
    lines = [
        *sent(0xA0, -2 * HOUR),
        *failing(0xA1, -HOUR / 2, "b@grey.example", GREYLISTED),
        *failing(0xA2, 10, "b@grey.example", GREYLISTED),
        *failing(0xA3, 20, "c@Grey.Example", GREYLISTED),
        *failing(0xA4, 30, "c@grey.example", GREYLISTED, host="mx2"),
        *failing(0xA5, 40, "c@other.example", GREYLISTED),
        *failing(0xA6, 50, "c@other.example", LISTED, "bounced"),
        rejection(60, "spam@example.com", "bob@dest.example"),
        *failing(0xA7, HOUR + 1, "b@grey.example", GREYLISTED),
        *sent(0xA8, 70),
    ]
    feed_lines(database, sorted(lines))
    found = {
        (group.found.name, group.destination, group.host): (group.count, group.before, group.waiting)
        for group in groups_of(database, span(0, HOUR))
    }
    assert found == {
        ("greylisted", "grey.example", "mx"): (2, 1, 2),
        ("greylisted", "grey.example", "mx2"): (1, 0, 1),
        ("greylisted", "other.example", "mx"): (1, 0, 1),
        ("blocklisted", "other.example", "mx"): (1, 0, 0),
        ("relaying-refused", "dest.example", "mx"): (1, 0, 0),
    }
    assert {group.host for group in groups_of(database, span(0, HOUR, "MX2"))} == {"mx2"}
    largest = groups_of(database, span(0, HOUR))[0]
    assert largest.first == BEGIN + timedelta(seconds=11)
    assert largest.last == BEGIN + timedelta(seconds=21)
    assert largest.example is not None
    assert largest.example["queue_id"] == "000000A3"
    assert largest.example["reason"] == GREYLISTED


def test_every_attempt_counts_and_giving_up_counts_once_more(database: str) -> None:
    tries = [
        attempt("b@slow.example", "deferred", response="connect to mx[198.51.100.1]:25: Connection timed out", after=n)
        for n in ("1", "100", "200")
    ]
    lines = [
        *mail("000000B1", 0, "a@example.com", *tries, removed=False),
        line(300, "qmgr", "000000B1: from=<a@example.com>, status=expired, returned to sender"),
        line(301, "qmgr", "000000B1: removed"),
    ]
    feed_lines(database, lines)
    (group,) = groups_of(database, span(0, HOUR))
    assert (group.found.name, group.count, group.waiting) == ("no-connection", 4, 3)
    (only_last,) = groups_of(database, span(250, HOUR))
    assert (only_last.count, only_last.waiting) == (1, 0)


def test_a_filter_on_this_server_is_a_destination_of_its_own(database: str) -> None:
    relay = "127.0.0.1[127.0.0.1]:10024"
    said = "host 127.0.0.1[127.0.0.1] said: 451 4.3.0 Error: queue file write error"
    feed_lines(
        database,
        [
            *failing(0xC1, 0, "b@one.example", said, relay=relay),
            *failing(0xC2, 10, "b@two.example", said, relay=relay),
            *failing(0xC3, 20, "root", "mail transport unavailable", program="error", relay="none"),
        ],
    )
    found = {(group.destination, group.count) for group in groups_of(database, span(0, HOUR))}
    assert found == {("127.0.0.1", 2), (None, 1)}


def test_refusals_of_recipients_of_an_accepted_mail_and_of_whole_mails_count(database: str) -> None:
    lines = [
        line(0, "smtpd", "000000D1: client=a.example.com[192.0.2.1]"),
        line(
            1,
            "smtpd",
            "000000D1: reject: RCPT from a.example.com[192.0.2.1]: 550 5.1.1 <no@here.example>: Recipient "
            "address rejected: User unknown in local recipient table; from=<a@example.com> to=<no@here.example> "
            "proto=ESMTP helo=<a>",
        ),
        line(2, "cleanup", "000000D1: message-id=<d1@id.example>"),
        line(
            3,
            "cleanup",
            "000000D1: milter-reject: END-OF-MESSAGE from a.example.com[192.0.2.1]: 5.7.1 Spam message "
            "rejected; from=<a@example.com> to=<yes@here.example> proto=ESMTP helo=<a>",
        ),
    ]
    feed_lines(database, lines)
    found = {(group.found.name, group.destination, group.count) for group in groups_of(database, span(0, HOUR))}
    assert found == {("recipient-refused", "here.example", 1), ("content-rejected", "here.example", 1)}


def test_events_of_the_server_count_by_the_hour_and_everyday_life_is_left_out(database: str) -> None:
    lines = [
        *(line(n, "smtpd", "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: x") for n in range(5)),
        line(-HOUR + 1, "smtpd", "warning: unknown[203.0.113.7]: SASL LOGIN authentication failed: x"),
        line(5, "smtpd", "lost connection after AUTH from unknown[203.0.113.7]"),
        line(6, "postfix-script", "starting the Postfix mail system"),
    ]
    feed_lines(database, sorted(lines))
    (group,) = groups_of(database, span(0, HOUR))
    assert (group.found.name, group.destination, group.count, group.before) == ("login-failed", "203.0.113.7", 5, 1)


# Alarms.


def names(alarms: Iterable[Alarm]) -> set[tuple[str, str | None]]:
    return {(alarm.name, alarm.subject) for alarm in alarms}


def refused(first: int, begin: float, mails: int, to: str) -> list[str]:
    lines = []
    for number in range(mails):
        lines += failing(
            first + number,
            begin + number,
            to,
            "connect to mx.down.example[198.51.100.9]:25: Connection refused",
            dsn="4.4.1",
        )
    return lines


def test_a_destination_that_refuses_everything_since_is_an_alarm(database: str) -> None:
    lines = [
        *sent(0xE0, 5, "ok@down.example"),
        *refused(0x100, 100, 12, "b@down.example"),
        # Takes some: none.
        *refused(0x200, 100, 12, "b@half.example"),
        *sent(0xE1, 500, "ok@half.example"),
        # Too few: none.
        *refused(0x300, 100, 4, "b@few.example"),
    ]
    feed_lines(database, sorted(lines))
    alarms = alarms_of(database, span(0, HOUR))
    assert names(alarms) == {("refuses everything", "down.example")}
    values = alarms[0].values
    assert (values["failures"], values["mails"], values["class"]) == (12, 12, "no-connection")
    assert values["since"] == BEGIN + timedelta(seconds=101)
    assert values["last_sent"] == BEGIN + timedelta(seconds=6)
    assert "12 attempts of 12 mails" in alarms[0].text


def test_recipients_that_do_not_exist_say_nothing_of_their_destination(database: str) -> None:
    lines: list[str] = []
    for number in range(12):
        lines += failing(0x400 + number, number, f"b{number}@nobody.example", "User unknown", "bounced", dsn="5.1.1")
    feed_lines(database, sorted(lines))
    assert alarms_of(database, span(0, HOUR)) == []


def test_our_address_on_a_block_list_is_an_alarm(database: str) -> None:
    feed_lines(
        database, [*failing(0xF1, 0, "b@a.example", LISTED, "bounced"), *failing(0xF2, 9, "b@c.example", LISTED)]
    )
    (alarm,) = alarms_of(database, span(0, HOUR))
    assert alarm.name == "blocklisted"
    assert alarm.values["count"] == 2
    assert alarm.values["destinations"] == ["a.example", "c.example"]
    assert "a.example 1, c.example 1" in alarm.text


def sends(first: int, begin: float, recipients: int, user: str | None, client: str = "192.0.2.1") -> list[str]:
    login = "" if user is None else f", sasl_method=PLAIN, sasl_username={user}"
    return mail(
        f"{first:08X}",
        begin,
        "a@example.com",
        attempt("x@good.example"),
        nrcpt=recipients,
        more=login,
        client=f"c.example.com[{client}]",
    )


def test_who_sends_far_above_the_habit_is_an_alarm(database: str) -> None:
    lines = [
        *sends(0x500, -7 * HOUR, 1, "old@example.com"),
        # A quiet user, a busy one (of which the span before alone would tell nothing), a stranger, this server itself.
        *sends(0x501, -HOUR / 2, 10, "quiet@example.com"),
        *sends(0x502, 10, 150, "quiet@example.com"),
        *sends(0x503, -5 * HOUR, 140, "busy@example.com"),
        *sends(0x504, 20, 150, "busy@example.com"),
        *sends(0x505, 30, 400, None, "203.0.113.77"),
        *sends(0x506, 40, 400, None, "127.0.0.1"),
        *sends(0x507, 50, 99, "new@example.com"),
    ]
    feed_lines(database, sorted(lines))
    alarms = alarms_of(database, span(0, HOUR))
    assert names(alarms) == {
        ("user far above habit", "quiet@example.com"),
        ("client far above habit", "203.0.113.77"),
    }
    quiet = next(alarm for alarm in alarms if alarm.subject == "quiet@example.com")
    assert quiet.values == {"recipients": 150, "mails": 1, "habit": 10}
    # As long as the habit is not known nothing is above it.
    assert alarms_of(database, span(-8 * HOUR, HOUR)) == []


def test_a_growing_queue_is_an_alarm(database: str) -> None:
    lines = [*sent(0x600, -3 * HOUR)]
    for number in range(30):
        # In the queue when the window begins, gone within it, and after it.
        end = 1000 if number < 20 else 2 * HOUR
        lines += mail(
            f"{0x700 + number:08X}",
            -1000 + number,
            "a@example.com",
            attempt("b@grey.example", "deferred", response=GREYLISTED),
            attempt("b@grey.example", after=str(1000 + end)),
        )
    for number in range(60):
        lines += failing(0x800 + number, 100 + number, "b@grey.example", GREYLISTED)
    feed_lines(database, sorted(lines))
    window = span(0, HOUR)
    grown = [alarm for alarm in alarms_of(database, window) if alarm.name == "queue grows"]
    assert [alarm.values for alarm in grown] == [{"queued": 70, "before": 30}]
    assert grown[0].text == "70 mails are in the queue, 30 were when the span began"
    assert "queue grows" not in {alarm.name for alarm in alarms_of(database, span(HOUR, 2 * HOUR))}


def test_a_failing_table_and_lost_lines_are_alarms(database: str, run: Run) -> None:
    feed_lines(
        database,
        [*sent(0x900, 0), line(10, "smtpd", "error: table ldap:/etc/postfix/users.cf: lookup error: timed out")],
    )
    with closing(Database(database)) as connection:
        connection.execute(
            "INSERT INTO input_missing (input_id, kind, began, ended, host, unit, lines) "
            "SELECT input_id, 'suppressed', %s, %s, 'mx', 'postfix.service', 1234 FROM input_position",
            (BEGIN, BEGIN + timedelta(minutes=1)),
        )
    alarms = alarms_of(database, span(30, HOUR))
    assert [alarm.name for alarm in alarms] == ["lines lost", "table-failing"]
    assert alarms[0].text.startswith("1,234 lines on mx are missing (suppressed")
    assert alarms_of(database, span(2 * HOUR, 3 * HOUR)) == []
    assert "lines lost" not in {alarm.name for alarm in alarms_of(database, span(0, HOUR, "mx2"))}
    lost = json.loads(run("problems", "--json", *DAY)[1].splitlines()[0])
    assert (lost["kind"], lost["alarm"], lost["gap"], lost["lines"]) == ("alarm", "lines lost", "suppressed", 1234)


# The command.


@pytest.fixture
def run(database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, rules: str | None = None) -> tuple[int, str, str]:
        config = tmp_path / "main.yml"
        text = f"database: '{database}'\n"
        if rules is not None:
            (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
            text += f"problem_rules: {tmp_path / 'rules.yml'}\n"
        config.write_text(text, encoding="utf-8")
        try:
            status = main(["--config", str(config), *arguments])
        except SystemExit as error:
            status = int(str(error.code))
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def test_json_has_stable_names(database: str, run: Run) -> None:
    feed_lines(
        database,
        [
            *sent(0xA0, -2 * HOUR),
            *failing(0xA1, 0, "b@a.example", LISTED, "bounced"),
            rejection(60, "spam@example.com", "bob@dest.example"),
        ],
    )
    status, out, _ = run("problems", "--json", *DAY)
    assert status == 0
    alarm, *groups = [json.loads(text) for text in out.splitlines()]
    assert alarm["kind"] == "alarm"
    assert set(alarm) == {"kind", "alarm", "subject", "text", "count", "destinations", "first", "last", "before"}
    delivery = next(group for group in groups if group["kind"] == "delivery")
    explanation, advice = delivery.pop("explanation"), delivery.pop("advice")
    assert "block list" in explanation
    assert advice
    assert delivery == {
        "kind": "delivery",
        "class": "blocklisted",
        "host": "mx",
        "count": 1,
        "before": 0,
        "deferred": 0,
        "first": "2026-11-20T08:00:01.000000Z",
        "last": "2026-11-20T08:00:01.000000Z",
        "destination": "a.example",
        "example": {
            "time": "2026-11-20T08:00:01.000000Z",
            "queue_id": "000000A1",
            "sender": "a@example.com",
            "recipient": "b@a.example",
            "client_ip": "192.0.2.1",
            "reason": LISTED,
        },
    }
    refusal = next(group for group in groups if group["kind"] == "rejection")
    assert refusal["class"] == "relaying-refused"
    assert refusal["example"]["client_ip"] == "203.0.113.9"
    assert "deferred" not in refusal


def test_own_rules_apply_to_old_rows_at_once(database: str, run: Run) -> None:
    feed_lines(
        database,
        [*failing(0xA1, 0, "b@a.example", "host mx[198.51.100.1] said: 554 strange words 17", "bounced", dsn="5.0.0")],
    )
    _, out, _ = run("problems", "--json", "--unclassified", *DAY)
    shape = json.loads(out)
    assert (shape["shape"], shape["count"], shape["action"]) == ("strange words", 1, "bounced")
    rules = "classes: {odd: {explanation: Odd.}}\nrules: [{class: odd, text: strange words}]\n"
    _, out, _ = run("problems", "--json", *DAY, rules=rules)
    assert [json.loads(text)["class"] for text in out.splitlines()] == ["odd"]
    _, out, _ = run("problems", "--unclassified", *DAY, rules=rules)
    assert "nothing is unclassified" in out


def test_one_class_and_a_limit(database: str, run: Run) -> None:
    lines = [rejection(60, "spam@example.com", "bob@dest.example")]
    for number in range(5):
        lines += failing(0xA0 + number, number, f"b@d{number}.example", GREYLISTED)
    feed_lines(database, lines)
    _, out, _ = run("problems", "--class", "relaying-refused", "--json", *DAY)
    assert [json.loads(text)["class"] for text in out.splitlines()] == ["relaying-refused"]
    _, out, _ = run("problems", "--limit", "2", *DAY)
    assert out.count("450 4.2.0 Greylisted") == 2
    assert "and 4 smaller groups (--limit)" in out


def test_everyday_life_is_shown_when_it_is_asked_for(database: str, run: Run) -> None:
    feed_lines(database, [line(5, "smtpd", "lost connection after AUTH from unknown[203.0.113.7]")])
    assert "nothing went wrong" in run("problems", *DAY)[1]
    assert "lost connection" in run("problems", "--class", "client-gone", *DAY)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--class", "greylistd"], "did you mean greylisted?"),
        (["--since", "2026-11-21", "--until", "2026-11-20"], "--since is not before --until"),
        (["--since", "some day"], "is no time; try"),
        (["--limit", "0"], "is no number from 1"),
    ],
)
def test_nonsense_is_a_usage_error(run: Run, arguments: list[str], words: str) -> None:
    status, _, err = run("problems", *arguments)
    assert status == 2
    assert words in err


def test_nothing_is_no_failure(run: Run) -> None:
    status, out, _ = run("problems")
    assert status == 0
    assert "nothing went wrong" in out
    assert run("problems", "--json") == (0, "", "")


@pytest.mark.parametrize("chosen", ["{}", '"a> {} <x"@evil.test', '"a<b> {} <x"@evil.test', "x> {} <y@evil.test"])
def test_what_a_sender_or_client_calls_itself_is_no_alarm(chosen: str, database: str, run: Run) -> None:
    lines = []
    alarming = ("Insufficient system storage", "Temporary lookup failure", "Server configuration error")
    for number, words in enumerate(alarming):
        name = chosen.format(words)
        for reason, sender, helo in (
            (f"450 4.1.8 <{name}>: Sender address rejected: Domain not found", name, "h.example"),
            (f"504 5.5.2 <{name}>: Helo command rejected: need fully-qualified hostname", "a@example.com", name),
        ):
            text = f"NOQUEUE: reject: RCPT from bad.example.net[203.0.113.9]: {reason}; from=<{sender}>"
            lines.append(line(number, "smtpd", f"{text} to=<b@dest.example> proto=ESMTP helo=<{helo}>"))
    feed_lines(database, lines)
    groups = [json.loads(text) for text in run("problems", "--json", *DAY)[1].splitlines()]
    assert [group["kind"] for group in groups if group["kind"] != "rejection"] == []
    assert sum(group["count"] for group in groups if group["class"] == "sender-rejected") == 3


def test_text_from_outside_reaches_no_terminal_raw(database: str, run: Run) -> None:
    said = "host mx[198.51.100.1] said: 554 \x1b[31m\u202e said: 250 <b@a.example> {host} %s"
    feed_lines(database, [*failing(0xA1, 0, "b\x1b[1m@a.example\x07", said, "bounced")])
    for arguments in (
        ["problems"],
        ["problems", "--json"],
        ["problems", "--unclassified"],
        ["stats", "--by", "domain"],
    ):
        status, out, _ = run(*arguments, *DAY)
        assert status == 0
        assert not {char for char in out if not char.isprintable() and char != "\n"}


class Explained(Database):
    """Keeps the plans of all queries."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.plans: list[str] = []

    def fetch(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        rows = super().fetch("EXPLAIN " + sql, parameters)
        self.plans.append("\n".join(row[0] for row in rows))
        return super().fetch(sql, parameters)

    def fetch_dicts(self, sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        rows = super().fetch("EXPLAIN " + sql, parameters)
        self.plans.append("\n".join(row[0] for row in rows))
        return super().fetch_dicts(sql, parameters)


MANY = """
INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix');
INSERT INTO delivery_from (
    mail_id, server_id, queue_id, began, last_seen, queued, ended, ended_how, origin, client_ip, sasl_username, sender,
    message_id, size, nrcpt
) SELECT
    i, 1, upper(to_hex(1000000000 + i)), t, t, t, t, 'removed', 'smtpd', '192.0.2.1', 'u' || i % 20, 's@d.example',
    '<' || i || '@id.example>', 1000, CASE WHEN i > 59281 AND i % 20 = 7 THEN 50 ELSE 1 END
FROM generate_series(1, 60000) AS i, LATERAL (SELECT '2026-01-01'::timestamptz + i * interval '1 min' AS t) AS time;
INSERT INTO delivery_to (
    mail_id, recipient_key, recipient, status, component, relay_host, relay_ip, next_queue_id, attempts, attempted,
    first_attempt, last_attempt, delay, response
) SELECT
    i, i, 'r' || i || '@d' || i % 50 || '.test', CASE WHEN i % 50 = 3 THEN 'bounced' ELSE 'sent' END, 'smtp',
    'mx.d' || i % 50 || '.test', '198.51.100.1', upper(to_hex(3000000000 + i)), 1, t, t, t, 1,
    CASE WHEN i % 50 = 3 THEN 'host mx said: 550 no' ELSE '250 queued' END
FROM generate_series(1, 60000) AS i, LATERAL (SELECT '2026-01-01'::timestamptz + i * interval '1 min' AS t) AS time;
INSERT INTO delivery_attempt (mail_id, recipient_key, attempted, status, component, response)
SELECT i, i, '2026-01-01'::timestamptz + i * interval '1 min', 'deferred', 'smtp', 'host mx said: 450 later'
FROM generate_series(1, 60000) AS i WHERE i % 9 = 0;
INSERT INTO noqueue (server_id, "time", component, action, recipient, reason)
SELECT 1, '2026-01-01'::timestamptz + i * interval '1 min', 'smtpd', 'reject', 'r@d.test', 'Relay access denied'
FROM generate_series(1, 60000) AS i;
ANALYZE;
"""


def test_indexes_find_a_day_among_many(database: str) -> None:
    with closing(Explained(database)) as connection:
        connection.execute(MANY)
        until = datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(minutes=60001)
        window = Window(until - timedelta(hours=12), until)
        with report(connection):
            counted = count_failures(connection, window, load_rules(None))
            groups = problem_groups(counted)
            add_examples(connection, window, groups)
            alarms = find_alarms(connection, window, groups)
        assert sum(group.count for group in groups) == 720 + 80 + 14
        assert {alarm.subject for alarm in alarms} >= {"u7"}
        for plan in connection.plans:
            for table in ("delivery_from", "delivery_to", "delivery_attempt", "noqueue"):
                assert f"Seq Scan on {table}" not in plan, plan
