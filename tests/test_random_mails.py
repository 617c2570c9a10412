"""Random mails under few, often reused short queue ids, with lines out of order: each is told apart from the others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from journal_postfix.extract import extract_delivery
from journal_postfix.merge import QueueEntries, QueueEntry
from journal_postfix.parse import parse

Line = tuple[float, str, str]

KINDS = ("smtp", "smtp", "smtp", "local", "internal", "aborted", "refused", "held", "deleted", "expired")


class World:
    """Makes up mails as Postfix 3.10 logs them, and knows what became of each."""

    def __init__(self, chaos: random.Random) -> None:
        self.chaos = chaos
        self.lines: list[Line] = []
        self.number = 0
        self.truth: dict[int, tuple[str | None, dict[str, str]]] = {}
        """By number: how it ended, and the status of each recipient."""

    def pause(self, low: float = 0.001, high: float = 0.3) -> float:
        return self.chaos.uniform(low, high)

    def mail(self, queue_id: str, time: float) -> float:
        """Log one mail; give the time of its last line."""
        self.number += 1
        number = self.number
        kind = self.chaos.choice(KINDS)
        client = f"c{number}.example[192.0.2.1]"
        recipients: dict[str, str] = {}

        def say(identifier: str, text: str, low: float = 0.001, high: float = 0.3) -> None:
            nonlocal time
            time += self.pause(low, high)
            self.lines.append((time, f"postfix/{identifier}", f"{queue_id}: {text}"))

        def context(recipient: str) -> str:
            return f"from=<s{number}@example.com> to=<{recipient}> proto=ESMTP helo=<h{number}>"

        def ended(how: str | None) -> float:
            self.truth[number] = (how, recipients)
            return time

        if kind == "local":
            say("pickup", f"uid={number} from=<s{number}>")
        elif kind != "internal":
            say("smtpd", f"client={client}")
            if self.chaos.random() < 0.2:
                unknown = f"nobody{number}@example.org"
                say("smtpd", f"reject: RCPT from {client}: 550 5.1.1 <{unknown}>: no; {context(unknown)}")
                recipients[unknown] = "rejected"
        if kind == "aborted":
            say("smtpd", f"lost connection after DATA (5 bytes) from {client}")
            say("cleanup", "removed (canceled)")
            return ended("canceled")
        say("cleanup", f"message-id=<m{number}@example.com>", 0.05, 100)
        if kind == "refused":
            last = f"r{number}@example.org"
            say("cleanup", f"milter-reject: END-OF-MESSAGE from {client}: 5.7.1 Spam; {context(last)}")
            recipients[last] = "rejected"
            say("cleanup", "removed (canceled)")
            return ended("rejected")
        if kind == "held":
            say("cleanup", f"milter-hold: END-OF-MESSAGE from {client}: odd; {context('x@example.org')}")
            say("postsuper", "released from hold", 5, 1e5)
        sender = "" if kind == "internal" else f"s{number}@example.com"
        active = f"from=<{sender}>, size={300 + number}, nrcpt=2 (queue active)"
        left = [f"r{number}-{one}@example.org" for one in range(2)]
        rounds = self.chaos.randint(1, 3)
        for turn in range(rounds):
            say("qmgr", active, 2, 20_000 if turn else 5)
            for recipient in list(left):
                is_last = turn == rounds - 1 and kind not in ("deleted", "expired")
                status = self.chaos.choice(("sent", "bounced") if is_last else ("deferred", "deferred", "sent"))
                dsn = {"sent": "2.0.0", "bounced": "5.0.0", "deferred": "4.0.0"}[status]
                reply = f"relay=none, delay=1, delays=0/0/0/1, dsn={dsn}, status={status} (reply)"
                say("smtp", f"to=<{recipient}>, {reply}", 0.1, 3)
                recipients[recipient] = status
                if status != "deferred":
                    left.remove(recipient)
        if kind == "deleted" and left:
            say("postsuper", "removed", 1, 1000)
            return ended("deleted")
        if kind == "expired" and left:
            say("qmgr", f"from=<{sender}>, status=expired, returned to sender", 1, 1000)
        say("qmgr", "removed")
        return ended("removed")


def _gap_s(chaos: random.Random) -> float:
    return chaos.choice((chaos.uniform(10, 60), chaos.uniform(60, 3600), chaos.uniform(3600, 90_000)))


def _in_order(lines: list[Line], chaos: random.Random) -> list[Line]:
    return sorted(lines)


def _stamped_by_the_sender(lines: list[Line], chaos: random.Random) -> list[Line]:
    return sorted(lines, key=lambda line: line[0] + chaos.uniform(0, 1))


def _stamped_in_whole_seconds(lines: list[Line], chaos: random.Random) -> list[Line]:
    return [(float(int(time)), identifier, text) for time, identifier, text in _in_order(lines, chaos)]


@pytest.mark.parametrize("order", [_in_order, _stamped_by_the_sender, _stamped_in_whole_seconds])
@pytest.mark.parametrize("seed", range(6))
def test_each_mail_is_told_apart(order: Callable[[list[Line], random.Random], list[Line]], seed: int) -> None:
    chaos = random.Random(seed)
    world = World(chaos)
    for one in range(6):
        time = chaos.uniform(0, 1000)
        for _ in range(20):
            time = world.mail(f"A{one:04X}B2C3", time) + _gap_s(chaos)
    entries = QueueEntries()
    for number, (time, identifier, text) in enumerate(order(world.lines, chaos)):
        parsed = parse(identifier, text)
        delivery = extract_delivery(parsed)
        if delivery is not None:
            entries.add(1, delivery, time, parsed["component"], number)
    found = entries.changed()
    assert Counter(_number(entry) for entry in found) == Counter(list(world.truth))
    for entry in found:
        how, recipients = world.truth[_number(entry)]
        assert entry.columns.get("ended_how") == how
        known = {one.columns.recipient: one.columns.status for one in entry.recipients.values()}
        assert known == recipients


def _number(entry: QueueEntry) -> int:
    """Say which mail an entry is, and that nothing in it is another's."""
    columns = entry.columns
    numbers = {columns["uid"]} if columns.get("uid") else set()
    if columns.get("client_hostname"):
        numbers.add(int(columns["client_hostname"][1:].partition(".")[0]))
    if columns.get("message_id"):
        numbers.add(int(columns["message_id"][2:].partition("@")[0]))
    numbers |= {
        int(one.columns.recipient.strip("nobdyr").partition("@")[0].partition("-")[0])
        for one in entry.recipients.values()
    }
    assert len(numbers) == 1, numbers
    return int(numbers.pop())
