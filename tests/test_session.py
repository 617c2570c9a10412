"""Sessions: what one process logged without a queue id reaches the right mail, and no other one."""

from __future__ import annotations

import json
from typing import Any

from journal_postfix.extract import Delivery, Effect, extract_delivery
from journal_postfix.parse import parse
from journal_postfix.session import (
    MAX_ACTIONS,
    MAX_FAILURES,
    MAX_MAILS,
    SESSION_S,
    Process,
    Session,
    Sessions,
    Unit,
    step_of,
)

SMTPD = "postfix/smtpd"
SMTP = "postfix/smtp"
CONNECT = "connect from a.example.com[192.0.2.1]"
TLS_IN = (
    "Anonymous TLS connection established from a.example.com[192.0.2.1]: "
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
)
TLS_OUT = (
    "Trusted TLS connection established to mx.example.net[198.51.100.1]:25: "
    "TLSv1.2 with cipher ECDHE-RSA-AES128-GCM-SHA256 (128/128 bits)"
)
REFUSED = "connect to mx1.example.net[198.51.100.9]:25: Connection refused"
HOLD = (
    "NOQUEUE: hold: RCPT from a.example.com[192.0.2.1]: <x@example.org>: Recipient address triggers HOLD action; "
    "from=<{}> to=<x@example.org> proto=ESMTP helo=<a.example.com>"
)


def client(queue_id: str) -> str:
    return f"{queue_id}: client=a.example.com[192.0.2.1]"


def sent(queue_id: str, relay: str = "mx.example.net[198.51.100.1]:25") -> str:
    return (
        f"{queue_id}: to=<b@example.net>, relay={relay}, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
    )


class Log:
    """Feeds lines of processes, keeping the states as the database does: as text, between any two lines if wished."""

    def __init__(self, *, restarts: bool) -> None:
        self.restarts = restarts
        self.kept: dict[Process, tuple[str, float]] = {}
        self.sessions = Sessions()

    def tell(self, time: float, identifier: str, text: str, pid: int = 1, host: str = "mx") -> list[Unit]:
        parsed = parse(identifier, text)
        assert parsed["action"] != "unknown", text
        delivery = extract_delivery(parsed)
        step = step_of(parsed, delivery)
        if step is None:
            return []
        process = (host, pid)
        if self.restarts:
            stored = self.kept.get(process)
            self.sessions = Sessions(
                [(process, Session.from_plain(json.loads(stored[0]), stored[1]))] if stored is not None else ()
            )
        told = self.sessions.take(process, Unit(0, (host, "postfix"), parsed["component"], delivery, step, time))
        if self.restarts:
            for ended in self.sessions.ended:
                del self.kept[ended]
            for changed, session in self.sessions.changed():
                self.kept[changed] = (json.dumps(session.to_plain()), session.last_seen)
        return list(told)


def both(*lines: tuple[float, str, str] | tuple[float, str, str, int]) -> list[list[Delivery]]:
    """Give what each line tells; whatever a batch ends with makes no difference."""
    told = []
    for restarts in (False, True):
        log = Log(restarts=restarts)
        told.append([[one.delivery for one in log.tell(*line) if one.delivery is not None] for line in lines])
    assert told[0] == told[1]
    return told[0]


def test_the_tls_of_a_session_is_that_of_all_its_mails() -> None:
    told = both((0, SMTPD, CONNECT), (1, SMTPD, TLS_IN), (2, SMTPD, client("AAAAAA1")), (3, SMTPD, client("AAAAAA2")))
    assert [told[line][0].columns["tls_protocol"] for line in (2, 3)] == ["TLSv1.3", "TLSv1.3"]


def test_the_next_session_of_the_process_begins_anew() -> None:
    told = both(
        (0, SMTPD, TLS_IN), (1, SMTPD, HOLD.format("s@example.com")), (2, SMTPD, CONNECT), (3, SMTPD, client("AAAAAA1"))
    )
    assert told[3] == [extract_delivery(parse(SMTPD, client("AAAAAA1")))]


def test_another_process_knows_nothing_of_it() -> None:
    told = both((0, SMTPD, TLS_IN, 1), (1, SMTPD, client("AAAAAA1"), 2))
    assert "tls_protocol" not in told[1][0].columns


def test_a_process_id_that_was_silent_for_long_is_another_process() -> None:
    for gap, known in ((SESSION_S - 1, True), (SESSION_S + 1, False), (-4, True), (-3600, False)):
        told = both((10_000, SMTPD, TLS_IN), (10_000 + gap, SMTPD, client("AAAAAA1")))
        assert ("tls_protocol" in told[1][0].columns) is known, gap


def test_what_was_decided_about_the_first_recipient_is_told_of_the_mail() -> None:
    told = both((0, SMTPD, HOLD.format("s@example.com")), (1, SMTPD, client("AAAAAA1")), (2, SMTPD, client("AAAAAA2")))
    assert [(one.queue_id, one.effect) for one in told[1]] == [("AAAAAA1", Effect.ARRIVED), ("AAAAAA1", Effect.HELD)]
    assert [one.effect for one in told[2]] == [Effect.ARRIVED]


def test_what_was_decided_in_a_transaction_of_another_sender_is_forgotten() -> None:
    reject = (
        "NOQUEUE: reject: RCPT from a.example.com[192.0.2.1]: 550 5.1.1 <y@example.org>: Recipient address rejected: "
        "User unknown; from=<t@example.com> to=<y@example.org> proto=ESMTP helo=<a.example.com>"
    )
    told = both((0, SMTPD, HOLD.format("s@example.com")), (1, SMTPD, reject), (2, SMTPD, client("AAAAAA1")))
    assert [one.effect for one in told[2]] == [Effect.ARRIVED]
    again = reject.replace("t@example.com", "s@example.com")
    told = both((0, SMTPD, HOLD.format("s@example.com")), (1, SMTPD, again), (2, SMTPD, client("AAAAAA1")))
    assert [one.effect for one in told[2]] == [Effect.ARRIVED, Effect.HELD]


def test_a_session_that_accepted_nothing_aborts_its_mails() -> None:
    leave = "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=2 rcpt=2 {}"
    begin: list[tuple[float, str, str]] = [
        (0, SMTPD, CONNECT),
        (1, SMTPD, client("AAAAAA1")),
        (2, SMTPD, client("AAAAAA2")),
    ]
    for counters, aborted in (
        ("data=0/1 commands=5/6", True),
        ("bdat=0/2 commands=5/7", True),
        ("data=1/2 commands=6/7", False),
        ("data=0/1 bdat=1 commands=6/7", False),
    ):
        told = both(*begin, (3, SMTPD, leave.format(counters)))
        assert [one.queue_id for one in told[3]] == (["AAAAAA1", "AAAAAA2"] if aborted else []), counters
        assert all(one.effect is Effect.ABORTED for one in told[3])
    # Before Postfix 3.0 there are no counters: then nothing is known.
    assert both(*begin, (3, SMTPD, "disconnect from a.example.com[192.0.2.1]"))[3] == []


def test_a_connection_lost_within_the_content_aborts_the_last_mail_only() -> None:
    lost = "lost connection after DATA (17 bytes) from a.example.com[192.0.2.1]"
    told = both((1, SMTPD, client("AAAAAA1")), (2, SMTPD, client("AAAAAA2")), (3, SMTPD, lost))
    assert [(one.queue_id, one.effect) for one in told[2]] == [("AAAAAA2", Effect.ABORTED)]
    # Between commands it may have been accepted before.
    assert both((1, SMTPD, client("AAAAAA1")), (3, SMTPD, lost.replace("DATA (17 bytes)", "RCPT")))[1] == []


def test_a_failure_is_told_once_of_the_next_delivery_of_the_process() -> None:
    told = both((0, SMTP, REFUSED), (5, SMTP, sent("AAAAAA1")), (6, SMTP, sent("AAAAAA1")))
    assert told[1][0].event == ("connect_failed", None, REFUSED)
    assert told[1][0].at == 0
    assert len(told[1]) == 2
    assert len(told[2]) == 1


def test_a_failure_that_the_status_line_repeats_is_not_told_twice() -> None:
    deferred = (
        f"AAAAAA1: to=<b@example.net>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1, status=deferred ({REFUSED})"
    )
    assert len(both((0, SMTP, REFUSED), (5, SMTP, deferred))[1]) == 1


def test_the_tls_to_a_relay_is_that_of_one_mail_s_deliveries_to_it() -> None:
    told = both(
        (0, SMTP, TLS_OUT),
        (1, SMTP, sent("AAAAAA1")),
        (2, SMTP, sent("AAAAAA1", "other.example.net[198.51.100.7]:25")),
        (3, SMTP, sent("AAAAAA1")),
        (4, SMTP, sent("AAAAAA2")),
        (5, SMTP, sent("AAAAAA1")),
    )
    tls = [line[0].recipient.tls_trust for line in told[1:] if line[0].recipient is not None]
    assert tls == ["Trusted", None, "Trusted", None, None]


def test_the_tls_to_a_relay_that_did_not_take_the_mail_is_not_the_next_mail_s() -> None:
    told = both(
        (0, SMTP, TLS_OUT),
        (1, SMTP, sent("AAAAAA1", "other.example.net[198.51.100.7]:25")),
        (2, SMTP, sent("AAAAAA2")),
    )
    assert [line[0].recipient.tls_trust for line in told[1:] if line[0].recipient is not None] == [None, None]


def test_a_process_is_remembered_only_while_there_is_something_to_know() -> None:
    for restarts in (False, True):
        log = Log(restarts=restarts)
        log.tell(0, SMTPD, CONNECT)
        log.tell(1, SMTP, sent("AAAAAA1"), 2)
        assert not log.kept
        assert not list(log.sessions.changed())
        log.tell(2, SMTPD, client("AAAAAA1"))
        log.tell(3, SMTP, REFUSED, 2)
        log.tell(4, SMTPD, "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=1 rcpt=1 data=1 commands=4")
        log.tell(5, SMTP, sent("AAAAAA1"), 2)
        assert not log.kept
        assert not list(log.sessions.changed())


def test_what_is_remembered_of_a_process_is_bounded() -> None:
    log = Log(restarts=False)
    for number in range(1000):
        log.tell(number, SMTPD, HOLD.format("s@example.com"))
        log.tell(number, SMTP, REFUSED, 2)
    arrived = log.tell(1000, SMTPD, client("AAAAAA0"))
    assert len(arrived) == 1 + MAX_ACTIONS
    for number in range(1000):
        log.tell(1000, SMTPD, client(f"AAAAAA{number}"))
    assert len(log.tell(1001, SMTP, sent("AAAAAA1"), 2)) == 1 + MAX_FAILURES
    left = log.tell(
        1002, SMTPD, "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=9 rcpt=9 data=0/9 commands=19/28"
    )
    assert [one.delivery.queue_id for one in left if one.delivery is not None] == [
        f"AAAAAA{number}" for number in range(1000 - MAX_MAILS, 1000)
    ]


def test_a_before_queue_filter_s_mail_is_known_by_the_reply_that_names_it() -> None:
    front = "NOQUEUE: client=a.example.com[192.0.2.1], sasl_method=PLAIN, sasl_username=anna"
    accept = (
        "proxy-accept: END-OF-MESSAGE: 250 2.0.0 Ok: queued as AAAAAA1; "
        "from=<s@example.com> to=<x@example.org> proto=ESMTP helo=<a.example.com>"
    )
    told = both((0, SMTPD, front), (1, SMTPD, accept), (2, SMTPD, accept))
    assert [one.effect for one in told[1]] == [Effect.NOQUEUE, Effect.PROXIED]
    proxied = told[1][1]
    expected: dict[str, Any] = {"arrived": 0, "sasl_username": "anna", "orig_client": "a.example.com[192.0.2.1]"}
    assert proxied.queue_id == "AAAAAA1"
    assert {name: proxied.columns[name] for name in expected} == expected
    # The row at the door has the client, which the line itself does not name.
    assert told[1][0].columns["client_ip"] == "192.0.2.1"
    # Without its `client=` nobody knows who brought it.
    assert [one.effect for one in told[2]] == [Effect.NOQUEUE]
