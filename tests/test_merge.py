"""Which queue entry a line belongs to, and what it does there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.extract import Delivery, Effect, extract_delivery
from journal_postfix.merge import LATE_S, QueueEntries, QueueEntry, is_long_queue_id, recipient_key
from journal_postfix.parse import parse

CONTEXT = "from=<a@example.com> to=<z@example.net> proto=SMTP helo=<c>"
CLIENT = ("postfix/smtpd", "client=a.example.com[192.0.2.1]")
ACTIVE = ("postfix/qmgr", "from=<a@example.com>, size=1, nrcpt=1 (queue active)")
REMOVED = ("postfix/qmgr", "removed")
DELETED = ("postfix/postsuper", "removed")
EXPIRED = ("postfix/qmgr", "from=<a@example.com>, status=expired, returned to sender")


def message_id(text: str = "<one@example.com>") -> tuple[str, str]:
    return ("postfix/cleanup", f"message-id={text}")


def attempt(status: str, recipient: str = "x@example.net", reply: str = "reply") -> tuple[str, str]:
    dsn = {"sent": "2.0.0", "deferred": "4.0.0"}.get(status, "5.0.0")
    return (
        "postfix/smtp",
        f"to=<{recipient}>, relay=none, delay=1, delays=1/0/0/0, dsn={dsn}, status={status} ({reply})",
    )


def fold(*lines: tuple[float, tuple[str, str]], queue_id: str = "ABCDEF1") -> list[QueueEntry]:
    """Fold lines of one queue id, given with their times."""
    entries = QueueEntries()
    for number, (time, (identifier, text)) in enumerate(lines):
        _, _, rest = text.rpartition("warning: ") if text.startswith("warning: ") else ("", "", text)
        parsed: dict[str, Any] = parse(identifier, f"{'warning: ' if rest != text else ''}{queue_id}: {rest}")
        delivery = extract_delivery(parsed)
        assert delivery is not None, parsed
        entries.add(1, delivery, time, parsed["component"], number)
    return entries.changed()


def test_a_hold_that_is_told_behind_its_release_is_over() -> None:
    held, released = [("postfix/postsuper", text) for text in ("placed on hold", "released from hold")]
    for lines in ([(2.0, held), (2.5, released)], [(2.5, released), (2.0, held)]):
        (entry,) = fold((0, CLIENT), *lines)
        assert (entry.columns["is_held"], entry.columns["hold_changed"]) == (False, 2.5)


def test_an_arrival_after_the_end_begins_a_new_mail() -> None:
    assert len(fold((0, CLIENT), (1, REMOVED), (1.5, CLIENT))) == 2


def test_a_second_arrival_ends_a_mail_whose_end_was_lost() -> None:
    first, second = fold((0, CLIENT), (1, ACTIVE), (9000, CLIENT))
    assert (first.columns["ended_how"], first.ended) == ("lost", None)
    assert "ended_how" not in second.columns


def test_an_older_mail_whose_end_was_lost_is_the_same_when_its_lines_come_last() -> None:
    older = [(0.0, CLIENT), (1.0, ACTIVE), (2.0, attempt("deferred")), (500.0, attempt("deferred"))]
    younger = [(9000.0, CLIENT), (9001.0, REMOVED)]
    states = [[_state(entry) for entry in fold(*lines)] for lines in (older + younger, younger + older)]
    assert states[0] == states[1]


def test_an_older_mail_whose_lines_come_last_ends_as_they_say() -> None:
    (older, _) = fold((9000, CLIENT), (9001, REMOVED), (0, CLIENT), (1, ACTIVE), (700, REMOVED))
    assert (older.columns["ended_how"], older.ended) == ("removed", 700)


def test_what_a_rule_decided_is_no_attempt() -> None:
    reject = (
        "postfix/cleanup",
        "reject: header Subject: x from local; from=<a@example.com> to=<x@example.net>: 5.7.1 no",
    )
    (entry,) = fold((0, reject), (0.1, attempt("bounced")))
    (recipient,) = entry.recipients.values()
    assert (recipient.columns.status, recipient.attempts, entry.attempts) == ("bounced", 1, [])


def test_a_mail_that_grew_too_big_was_refused() -> None:
    (entry,) = fold((0, CLIENT), (1, ("postfix/cleanup", "warning: queue file size limit exceeded")))
    assert entry.columns.get("ended_how") == "rejected"


@pytest.mark.parametrize("late", [attempt("sent"), ACTIVE, message_id()])
def test_a_late_line_belongs_to_the_mail_that_just_ended(late: tuple[str, str]) -> None:
    lines = {id(line): line for line in (CLIENT, message_id(), ACTIVE, attempt("sent")) if line != late}
    entries = fold(
        *[(float(number) / 10, line) for number, line in enumerate(lines.values())], (0.5, REMOVED), (0.6, late)
    )
    assert len(entries) == 1


def test_what_comes_long_after_the_end_is_another_mail() -> None:
    assert len(fold((0, CLIENT), (1, REMOVED), (2 + LATE_S, attempt("sent")))) == 2


def test_long_queue_ids_are_never_used_again() -> None:
    assert is_long_queue_id("4jXstY5frqzJTsZ")
    assert not is_long_queue_id("B2335216943")
    lines = [(0.0, CLIENT), (1.0, REMOVED), (1e6, attempt("sent"))]
    assert len(fold(*lines, queue_id="4jXstY5frqzJTsZ")) == 1


def test_another_message_id_long_after_is_another_mail() -> None:
    assert len(fold((0, message_id()), (1, ACTIVE), (5000, message_id("<two@example.com>")))) == 2
    assert len(fold((0, message_id()), (0.1, message_id("<two@example.com>")), (1, ACTIVE))) == 1


def test_a_slow_client_sends_its_header_much_later() -> None:
    assert len(fold((0, CLIENT), (900, message_id()), (901, ACTIVE))) == 1


def test_an_older_line_does_not_join_a_younger_mail() -> None:
    entries = fold((10_000, CLIENT), (10_001, REMOVED), (5, CLIENT), (6, REMOVED))
    assert sorted(entry.began for entry in entries) == [5, 10_000]


@pytest.mark.parametrize(
    ("statuses", "fate", "count", "in_story"),
    [
        (["deferred", "deferred", "sent"], "sent", 3, 2),
        (["sent", "deferred"], "sent", 2, 1),
        (["bounced", "bounced"], "bounced", 2, 1),
        (["sent", "bounced"], "bounced", 2, 1),
        (["SOFTBOUNCE"], "deferred", 1, 1),
    ],
)
def test_the_deciding_attempt(statuses: list[str], fate: str, count: int, in_story: int) -> None:
    (entry,) = fold(*[(float(number), attempt(status)) for number, status in enumerate(statuses)])
    (recipient,) = entry.recipients.values()
    assert (recipient.columns.status, recipient.attempts) == (fate, count)
    assert len(entry.attempts) == in_story
    assert (recipient.first_attempt, recipient.last_attempt) == (0, count - 1)


def test_the_stronger_end_is_believed() -> None:
    (entry,) = fold((0, CLIENT), (1, REMOVED), (1.1, DELETED))
    assert (entry.columns["ended_how"], entry.ended) == ("deleted", 1.1)


LIFE = [
    (0.0, CLIENT),
    (0.1, message_id()),
    (0.2, ACTIVE),
    (0.3, attempt("deferred", reply="first")),
    (0.35, attempt("bounced", "z@example.net")),
    (0.4, ACTIVE),
    (0.5, attempt("sent", reply="second")),
    (0.6, EXPIRED),
    (0.7, REMOVED),
]


def _state(entry: QueueEntry) -> object:
    recipients = {
        key: (one.columns.status, one.attempts, one.first_attempt, one.last_attempt, one.attempted)
        for key, one in entry.recipients.items()
    }
    return (
        entry.began,
        entry.last_seen,
        entry.ended,
        sorted(entry.columns.items(), key=str),
        recipients,
        sorted((time, columns.response) for _, time, columns, _ in entry.attempts),
        sorted((event[:-1] for event in entry.events), key=str),
    )


@given(st.permutations(LIFE))
def test_lines_of_one_mail_may_come_in_any_order(lines: list[tuple[float, tuple[str, str]]]) -> None:
    (shuffled,) = fold(*lines)
    (sorted_,) = fold(*LIFE)
    assert _state(shuffled) == _state(sorted_)


def test_recipient_keys_differ_by_recipient_and_orig_to() -> None:
    keys = {
        recipient_key("a@example.org", None),
        recipient_key("b@example.org", None),
        recipient_key("a@example.org", "b@example.org"),
        recipient_key("a@example.org", ""),
    }
    assert len(keys) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert recipient_key("a\udc80", None) != recipient_key("a", None)


def owners(*lines: tuple[float, tuple[str, str]]) -> list[tuple[float, list[int]]]:
    """Say when each entry began and which of the lines it was made of."""
    return [(entry.began, entry.lines) for entry in fold(*lines)]


def test_entries_stay_in_the_order_of_time_when_a_late_line_moves_a_beginning() -> None:
    resent = ("postfix/cleanup", "resent-message-id=<r@example.com>")
    lines = ((100.0, CLIENT), (100.5, CLIENT), (99.9, resent), (101.0, message_id("<2@example.com>")))
    assert owners(*lines)[-1] == (100.5, [1, 3])


def test_the_next_mail_of_an_internal_one_is_a_mail_of_its_own() -> None:
    internal = [(0.1, message_id()), (0.2, ACTIVE), (0.9, attempt("sent")), (1.0, REMOVED)]
    assert len(fold(*internal, (3.0, CLIENT), (3.1, message_id("<2@example.com>")))) == 2


def test_a_rejection_just_before_the_arrival_belongs_to_the_new_mail() -> None:
    reject = ("postfix/smtpd", f"reject: RCPT from c[192.0.2.1]: 550 5.1.1 <z@example.net>: no; {CONTEXT}")
    old = [(0.0, CLIENT), (1.0, REMOVED)]
    assert [lines for _, lines in owners(*old, (4.0, reject), (4.1, CLIENT))] == [[0, 1], [2, 3]]
    lost = [(0.0, CLIENT), (0.1, message_id()), (1.0, ACTIVE), (9e5, CLIENT), (9e5 + 1, REMOVED)]
    assert [lines for _, lines in owners(*lost, (2e6, reject), (2e6 + 0.1, CLIENT))] == [[0, 1, 2], [3, 4], [5, 6]]


def test_a_late_end_belongs_to_the_mail_that_was_open_then() -> None:
    lines = [(0.0, CLIENT), (0.1, message_id()), (0.2, ACTIVE), (300.2, CLIENT), (300.1, REMOVED)]
    assert [lines for _, lines in owners(*lines)] == [[0, 1, 2, 4], [3]]


def test_a_second_message_id_behind_the_queue_manager_is_the_same_mail() -> None:
    lines = [(0, CLIENT), (0.1, message_id()), (0.2, ACTIVE), (0.101, message_id("<b@example.com>")), (1, REMOVED)]
    assert len(fold(*lines)) == 1


def test_an_aborted_transaction_does_not_take_a_later_mail() -> None:
    assert len(fold((0, CLIENT), (10_000, ACTIVE))) == 2
    assert len(fold((0, CLIENT), (10_000, message_id()), (10_001, ACTIVE))) == 2


@pytest.mark.parametrize("end", [DELETED, ("postfix/postsuper", "requeued")])
def test_a_delivery_that_was_under_way_when_its_mail_was_deleted(end: tuple[str, str]) -> None:
    (entry,) = fold((0, CLIENT), (0.1, message_id()), (0.2, ACTIVE), (1, end), (300, attempt("sent")))
    (recipient,) = entry.recipients.values()
    assert recipient.columns.status == "sent"


def test_a_client_that_tries_again_after_a_rejection_is_accepted() -> None:
    reject = (
        "postfix/smtpd",
        f"reject: DATA from c[192.0.2.1]: 450 4.7.1 <DATA>: Data command rejected: no; {CONTEXT}",
    )
    vrfy = ("postfix/smtpd", f"reject: VRFY from c[192.0.2.1]: 554 5.7.1 <v@example.net>: no; {CONTEXT}")
    for refused in (reject, vrfy):
        life = ((0, CLIENT), (0.1, refused), (0.2, message_id()), (0.3, ACTIVE), (0.4, attempt("deferred")))
        (entry,) = fold(*life)
        assert (entry.columns.get("ended_how"), entry.ended) == (None, None)
        assert "deferred" in [one.columns.status for one in entry.recipients.values()]


def test_requeued_mail_ends_its_old_entry_only_if_that_is_known() -> None:
    entries = QueueEntries()
    requeued = Delivery("ABCDEF1", Effect.REQUEUED, {})
    entries.add(1, requeued, 5.0, "pickup", 0)
    assert entries.changed() == []
    arrived = extract_delivery(parse(CLIENT[0], f"ABCDEF1: {CLIENT[1]}"))
    assert arrived is not None
    entries.add(1, arrived, 6.0, "smtpd", 1)
    entries.add(1, requeued, 7.0, "pickup", 2)
    (entry,) = entries.changed()
    assert (entry.columns["ended_how"], entry.ended) == ("requeued", 7.0)
