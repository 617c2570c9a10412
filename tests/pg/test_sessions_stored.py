"""What is kept of processes from one batch to the next: rows and joins do not depend on where a batch ends."""

from __future__ import annotations

import pytest

from journal_postfix.message import LogMessage
from journal_postfix.settings import Settings
from pg.dump import dump
from pg.feed import feed_messages

TLS = (
    "Anonymous TLS connection established from a.example.com[192.0.2.1]: "
    "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
)
CLIENT = "AAAAAA1: client=a.example.com[192.0.2.1]"


def smtpd(time: float, host: str, text: str, instance: str = "postfix") -> LogMessage:
    return LogMessage(host, f"{instance}/smtpd", 1, 1_760_000_000 + time, text, 0)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_clock_of_another_host_takes_nothing_away(batch: int, database: str) -> None:
    messages = [smtpd(0, "one", TLS), smtpd(50_000, "ahead", TLS), smtpd(1, "one", CLIENT)]
    feed_messages(database, messages, settings=Settings(max_messages_per_commit=batch))
    assert ["TLSv1.3" in row for row in dump(database)["delivery_from"]] == [True]


def test_a_process_of_another_instance_is_another_process(database: str) -> None:
    left = "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=1 rcpt=1 quit=1 commands=4"
    feed_messages(database, [smtpd(0, "one", TLS), smtpd(1, "one", CLIENT)])
    # By a writer that has not met the first instance yet.
    assert feed_messages(database, [smtpd(2, "one", left, "postfix-out")]).lines == 1
    mails = dump(database)["delivery_from"]
    assert ["canceled" in row for row in mails] == [False]


def test_a_mail_whose_reply_was_lost_is_not_canceled_though_the_queue_manager_comes_late(database: str) -> None:
    def line(time: float, component: str, text: str) -> LogMessage:
        return smtpd(time, "one", text)._replace(identifier=f"postfix/{component}")

    left = "disconnect from a.example.com[192.0.2.1] ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4"
    sent = "AAAAAA1: to=<x@example.org>, relay=virtual, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (ok)"
    messages = [
        line(0, "smtpd", CLIENT),
        line(1, "cleanup", "AAAAAA1: message-id=<1@example.com>"),
        line(60, "smtpd", left),
        line(90, "qmgr", "AAAAAA1: from=<a@example.com>, size=10, nrcpt=1 (queue active)"),
        line(91, "virtual", sent),
        line(92, "qmgr", "AAAAAA1: removed"),
    ]
    feed_messages(database, messages)
    shown = dump(database)
    assert [("removed" in row, "canceled" in row) for row in shown["delivery_from"]] == [(True, False)]
    assert len(shown["delivery_to"]) == 1
