"""Fold what lines tell into queue entries and recipients, the same whatever way the lines are grouped.

Takes queue entries as the database has them (or none) and deliveries in the order of the input; gives the entries
with their new state. Never reads or writes anything itself.

Theory. A batch is folded line by line into the state that all lines before it have left. `store` loads that state from
the database inside the transaction that writes the new one, so a batch of one line, of a million, or a restart
between any two lines fold the same sequence from the same beginning: the same rows. What one mail's lines do
commutes wherever syslog may have changed their order: times are minima and maxima, a column is filled once, a final
fate beats a deferred one, a stronger end beats a weaker one, and only equal ranks are decided by time.

Which queue entry a line is about needs more than its queue id, since short ids are used again. `QueueEntry.owns`
decides it: one entry has at most one arrival, its lines stand at most LATE_S out of order, and none follows its end
by more than LATE_BEHIND_END_S. Long queue ids (enable_long_queue_ids) carry their time and are never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from .extract import Columns, Delivery, Effect, RecipientColumns
from .session import Unit

# How far, in seconds, lines of one queue entry may stand out of order. Daemons write to syslog independently; what was
# seen is a few lines, mostly within the same second. Behind an end the next mail may already have the queue id.
LATE_S: Final = 5.0
LATE_BEHIND_END_S: Final = 2.0

# A mail that was deleted or requeued in the middle of a delivery: how long its agent may take to say how that ended.
IN_DELIVERY_S: Final = 3600.0

# Between client= and the header stand RCPT and DATA, each bounded by smtpd_timeout (300 s by default).
HEADER_WITHIN_S: Final = 3600.0

DURING_DELIVERY: Final = frozenset({"deleted", "requeued"})
# Looked up once: an attribute of an enumeration's class costs Python 3.11 as much as three calls.
ARRIVED: Final = Effect.ARRIVED
MESSAGE_ID: Final = Effect.MESSAGE_ID
QUEUED: Final = Effect.QUEUED
ATTEMPTED: Final = Effect.ATTEMPTED
ENDED: Final = Effect.ENDED
NOTED: Final = Effect.NOTED
ABORTED: Final = Effect.ABORTED
PROXIED: Final = Effect.PROXIED
REQUEUED: Final = Effect.REQUEUED
CHANGES_NOTHING: Final = frozenset({MESSAGE_ID, ATTEMPTED, NOTED, PROXIED})
NEVER_FIRST: Final = frozenset({ABORTED, PROXIED, REQUEUED})
NOT_ACCEPTED: Final = frozenset({"rejected", "canceled"})
NEVER_QUEUED: Final = frozenset({"rejected", "canceled", "discarded"})

# The fates that end the matter; which of two at the same time is believed: an agent's own word beats a rule's.
# A rejection is not among them: where an attempt follows, it was not the last word.
FINAL_RANK: Final = {"discarded": 1, "deliverable": 2, "undeliverable": 3, "bounced": 4, "sent": 5}

# Which end is believed when there are several: what qmgr or an administrator did beats what a transaction's end says.
END_RANK: Final = {
    None: 0,
    "lost": 1,
    "canceled": 2,
    "discarded": 3,
    "rejected": 4,
    "corrupt": 5,
    "removed": 6,
    "requeued": 7,
    "deleted": 8,
}

# Columns of a delivery that say what it does rather than what is known.
NOT_FILLED: Final = frozenset({"ended_how", "arrived"})

Key = tuple[int, str]
"""Server and queue id."""


def is_long_queue_id(queue_id: str) -> bool:
    """Tell enable_long_queue_ids' form: at least 6 + 4 characters of time in base 52, then z, then the inode.

    Source: Postfix, src/global/mail_queue.h (MQID_LG_*). A short id is upper-case hexadecimal and has no z.
    """
    return "z" in queue_id[10:]


@lru_cache(maxsize=4096)
def recipient_key(recipient: str, orig_to: str | None) -> int:
    """Give the 64-bit key of a recipient within its queue entry: short, whatever the addresses' length."""
    text = recipient if orig_to is None else f"{recipient}\0{orig_to}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


class Recipient:
    """One recipient of a queue entry: its deciding attempt, and how often and when it was tried."""

    __slots__ = ("attempted", "attempts", "changed", "columns", "first_attempt", "last_attempt", "lines", "stored")

    def __init__(
        self, columns: RecipientColumns, attempted: float, first: float, last: float, attempts: int, *, stored: bool
    ) -> None:
        self.columns = columns
        self.attempted = attempted
        self.first_attempt = first
        self.last_attempt = last
        self.attempts = attempts
        self.stored = stored
        self.changed = not stored
        self.lines: list[int] = []


class QueueEntry:
    """A mail in the queue of one Postfix: (server, queue id, when it began). Times are UNIX seconds."""

    __slots__ = (
        "arrived",
        "attempts",
        "began",
        "changed",
        "columns",
        "ended",
        "events",
        "is_long",
        "last_seen",
        "lines",
        "mail_id",
        "queue_id",
        "recipients",
        "server_id",
        "stored",
    )

    def __init__(self, server_id: int, queue_id: str, began: float, last_seen: float) -> None:
        self.server_id = server_id
        self.queue_id = queue_id
        self.is_long = is_long_queue_id(queue_id)
        self.began = began
        self.last_seen = last_seen
        self.ended: float | None = None
        self.columns: Columns = {}
        self.recipients: dict[int, Recipient] = {}
        self.attempts: list[tuple[int, float, RecipientColumns, int]] = []
        """New rows for delivery_attempt: recipient key, time, columns, line."""
        self.events: list[tuple[float, str, str, str | None, str | None, int]] = []
        """New rows for mail_event: time, component, action, linked queue id, detail, line."""
        self.lines: list[int] = []
        """Which messages of the batch it was made of: evidence if the database refuses the row."""
        self.mail_id = 0
        self.arrived = False
        self.stored = False
        self.changed = True

    def owns(self, delivery: Delivery, time: float, next_began: float | None) -> bool:
        """Tell whether a line of this queue id at this time is about this entry and not about another one.

        `next_began` is when the next entry with the same queue id began, None if there is none.
        """
        if self.is_long:
            return True
        if time < self.began - LATE_S:
            return False
        effect = delivery.effect
        columns = self.columns
        if effect is ARRIVED:
            return (
                not self.arrived and time <= self.began + LATE_S and (self.ended is None or time <= self._arrival_due())
            )
        if self.ended is not None:
            if effect is QUEUED and self._may_be_accepted():
                # The reply was lost, and a busy queue manager came to it late.
                return time <= self.ended + HEADER_WITHIN_S
            if columns.get("ended_how") in DURING_DELIVERY and self._is_of_agent(delivery):
                return time <= self.ended + IN_DELIVERY_S
            if time > self.ended + LATE_BEHIND_END_S:
                return False
        elif columns.get("ended_how") == "lost" and (next_began is None or time >= next_began):
            return False
        return self._fits(effect, delivery.columns, time)

    def is_of(self, delivery: Delivery, time: float) -> bool:
        """Tell whether what a session tells afterwards of the mail that it brought is about this entry."""
        if delivery.effect is ABORTED:
            if abs(self.began - delivery.columns["arrived"]) > LATE_S or self.columns.get("ended_how") is not None:
                return False
            # Content that was held may have been accepted, the answer alone got lost; otherwise qmgr says so.
            return not (self.columns.get("is_held") and self.columns.get("message_id") is not None)
        arrived: float = delivery.columns["arrived"]
        return arrived - LATE_S <= self.began <= time + LATE_S

    def _may_be_accepted(self) -> bool:
        """Tell a mail whose content has come, though its client left without an answer."""
        columns = self.columns
        return columns.get("ended_how") == "canceled" and columns.get("message_id") is not None

    def _arrival_due(self) -> float:
        """Until when the arrival of an ended mail may come: what was not accepted had one, other mail may have none."""
        assert self.ended is not None
        return self.ended + (LATE_BEHIND_END_S if self.columns.get("ended_how") in NEVER_QUEUED else 0)

    @staticmethod
    def _is_of_agent(delivery: Delivery) -> bool:
        """Tell a delivery agent's lines from smtpd's about another recipient."""
        return delivery.effect is ATTEMPTED or (
            delivery.effect is NOTED and delivery.recipient is None and not any(delivery.columns.values())
        )

    def _fits(self, effect: Effect, new: Columns, time: float) -> bool:
        """Tell whether what a line says can be said of this mail at this time of its life."""
        columns = self.columns
        queued = columns.get("queued")
        message_id = columns.get("message_id")
        if effect is MESSAGE_ID:
            if message_id is None:
                # Where the beginning is missing, a header long after the first line is another mail's.
                return time <= self.last_seen + (HEADER_WITHIN_S if self.arrived and queued is None else LATE_S)
            if message_id != new["message_id"]:
                # A second Message-ID header of the same mail is read at the same time as the first.
                return self.ended is None and time <= (self.last_seen if queued is None else queued) + LATE_S
        elif effect is QUEUED and queued is not None:
            return bool(new["size"] == columns.get("size") and new["sender"] == columns.get("sender"))
        elif self.arrived and queued is None and message_id is None and effect is not REQUEUED:
            # A transaction that was given up leaves no end (before 3.10): what comes much later is another mail's.
            return time <= self.last_seen + HEADER_WITHIN_S
        return True

    def add(self, delivery: Delivery, time: float, component: str, line: int) -> None:
        """Fold one line into this entry."""
        self.changed = True
        self.lines.append(line)
        if time < self.began:
            self.began = time
        if time > self.last_seen:
            self.last_seen = time
        _, effect, new, recipient, event, at = delivery
        if effect is ATTEMPTED:
            pass
        elif effect is QUEUED:
            self._queue(new, time)
        elif effect is ARRIVED:
            self.arrived = True
            self._fill(new)
        else:
            if new:
                self._fill(new)
            if effect is ENDED:
                self._end(new["ended_how"], time)
            elif effect not in CHANGES_NOTHING:
                self._change(effect, new, time)
        if recipient is not None:
            self._attempt(recipient, time, line)
        if event is not None:
            self.events.append((time if at is None else at, component, *event, line))

    def _fill(self, new: Columns) -> None:
        """Fill what is not known yet."""
        columns = self.columns
        if not columns and NOT_FILLED.isdisjoint(new):
            self.columns = {name: value for name, value in new.items() if value is not None}
            return
        for name, value in new.items():
            if value is None or name in NOT_FILLED:
                continue
            known = columns.get(name)
            if known is None:
                columns[name] = value
            elif name == "sender" and columns.get("queued") is None:
                columns[name] = _fuller_sender(known, value)

    def _queue(self, new: Columns, time: float) -> None:
        columns = self.columns
        queued = columns.get("queued")
        if queued is None:
            columns.update(new)
            columns["queued"] = time
        elif time < queued:
            columns["queued"] = time
        if columns.get("ended_how") in NOT_ACCEPTED:
            # The client tried again, and was accepted.
            columns["ended_how"] = None
            self.ended = None
        if columns.get("hold_changed") is not None:
            self._hold(time, is_held=False)

    def _change(self, effect: Effect, new: Columns, time: float) -> None:
        if effect is Effect.DOOMED:
            self._end(new["ended_how"], None)
        elif effect is REQUEUED:
            self._end("requeued", time)
        elif effect is ABORTED:
            self._end("canceled", time)
        elif effect is Effect.EXPIRED:
            self.columns["expired"] = min(time, self.columns.get("expired") or time)
        elif effect is Effect.KEPT:
            if time >= (self.columns.get("expired") or time):
                self.columns["expired"] = None
        elif effect is Effect.HELD:
            self._hold(time, is_held=True)
        elif effect is Effect.RELEASED:
            self._hold(time, is_held=False)

    def _hold(self, time: float, *, is_held: bool) -> None:
        changed = self.columns.get("hold_changed")
        if changed is None:
            # Taken up by the queue manager later than held: the hold line only comes late.
            queued = self.columns.get("queued")
            valid = not is_held or queued is None or time >= queued
            time = max(time, queued or time)
        else:
            valid = time >= changed
        if valid:
            self.columns["is_held"] = is_held
            self.columns["hold_changed"] = time

    def _end(self, how: str, time: float | None) -> None:
        columns = self.columns
        old = columns.get("ended_how")
        if how in NOT_ACCEPTED and columns.get("queued") is not None:
            return
        if END_RANK[how] > END_RANK[old]:
            columns["ended_how"] = how
            if time is not None:
                self.ended = time
        elif time is not None and (self.ended is None or (how == old and time < self.ended)):
            self.ended = time

    def _attempt(self, columns: RecipientColumns, time: float, line: int) -> None:
        recipient, orig_to, status = columns[:3]
        key = recipient_key(recipient, orig_to)
        rank = FINAL_RANK.get(status, 0)
        is_final = rank > 0
        known = self.recipients.get(key)
        counts = not _is_ruled(columns)
        if known is None:
            known = self.recipients[key] = Recipient(columns, time, time, time, int(counts), stored=False)
            known.lines.append(line)
            if not is_final and counts:
                self.attempts.append((key, time, columns, line))
            return
        known.changed = True
        known.lines.append(line)
        known.attempts += counts
        known.first_attempt = min(known.first_attempt, time)
        known.last_attempt = max(known.last_attempt, time)
        known_rank = FINAL_RANK.get(known.columns.status, 0)
        was_final = known_rank > 0
        if is_final == was_final:
            decides = (time, rank) >= (known.attempted, known_rank)
        else:
            decides = is_final
        if not is_final:
            if counts:
                self.attempts.append((key, time, columns, line))
        elif was_final:
            # Two final answers (a retry after a crash): the later decides, the other stays in the story.
            overtaken = (key, known.attempted, known.columns, line) if decides else (key, time, columns, line)
            if not _is_ruled(overtaken[2]):
                self.attempts.append(overtaken)
        if decides:
            known.columns = columns
            known.attempted = time


def _is_ruled(columns: RecipientColumns) -> bool:
    """Tell what a rule decided about a recipient at the door (it stands in mail_event) from an attempt to deliver."""
    status = columns.status
    return status == "rejected" or (status == "discarded" and columns.component in ("smtpd", "cleanup"))


def _began(entry: QueueEntry) -> float:
    return entry.began


def _fuller_sender(one: str, other: str) -> str:
    """Until the queue manager names the sender: pickup's is as the user typed it, cleanup's has its domain."""
    return max(one, other, key=lambda sender: ("@" in sender, len(sender), sender))


class QueueEntries:
    """The queue entries that a batch is about, by server and queue id; oldest first."""

    def __init__(self, stored: Iterable[QueueEntry] = ()) -> None:
        self._by_key: dict[Key, list[QueueEntry]] = {}
        for entry in stored:
            self._by_key.setdefault((entry.server_id, entry.queue_id), []).append(entry)
        for entries in self._by_key.values():
            entries.sort(key=lambda entry: (entry.began, entry.mail_id))

    def add(self, server_id: int, delivery: Delivery, time: float, component: str, line: int) -> None:
        """Fold one line into the entry that it is about; a new one where it is about none of those known."""
        queue_id = delivery[0]
        key = (server_id, queue_id)
        entries = self._by_key.get(key)
        if entries is None:
            if delivery[1] in NEVER_FIRST:
                return
            entry = QueueEntry(server_id, queue_id, time, time)
            self._by_key[key] = [entry]
            entry.add(delivery, time, component, line)
            return
        effect = delivery[1]
        if effect is ABORTED or effect is PROXIED:
            owner = next((one for one in reversed(entries) if one.is_of(delivery, time)), None)
        elif len(entries) > 1:
            owner = self._owner(entries, delivery, time)
        else:
            # As `_owner` has it, of most.
            owner = entries[0]
            if not (owner.is_long or owner.owns(delivery, time, None)):
                owner = None
        if owner is None:
            if effect in NEVER_FIRST:
                return
            owner = self._begin(entries, server_id, queue_id, time)
        began = owner.began
        owner.add(delivery, time, component, line)
        if owner.began != began and len(entries) > 1:
            entries.sort(key=_began)

    def fold(self, key: Key, units: Sequence[Unit]) -> None:
        """Fold all that lines tell of one queue id, in their order: what `add` does with each.

        Most are about one mail with a long id: then nothing but that is looked at.
        """
        server_id, queue_id = key
        is_long = is_long_queue_id(queue_id)
        owner = None
        for line, _, component, delivery, _, time in units:
            assert delivery is not None
            if owner is not None and delivery[1] is not ABORTED and delivery[1] is not PROXIED:
                owner.add(delivery, time, component, line)
                continue
            self.add(server_id, delivery, time, component, line)
            if is_long:
                entries = self._by_key.get(key, ())
                owner = entries[0] if len(entries) == 1 else None

    @staticmethod
    def _owner(entries: list[QueueEntry], delivery: Delivery, time: float) -> QueueEntry | None:
        """Find the youngest entry that a line can be about; one that began after it only if no older one fits."""
        owner = None
        next_began = None
        for entry in reversed(entries):
            if entry.owns(delivery, time, next_began) and (owner is None or entry.ended is None):
                owner = entry
                if time >= entry.began:
                    break
            next_began = entry.began
        return owner

    def _begin(self, entries: list[QueueEntry], server_id: int, queue_id: str, time: float) -> QueueEntry:
        new = QueueEntry(server_id, queue_id, time, time)
        place = len(entries)
        while place and entries[place - 1].began > time:
            place -= 1
        entries.insert(place, new)
        # All that came before it, not the last one of them alone: what has ended is not always loaded.
        for before in entries[: place + 1]:
            if before is not entries[-1] and before.ended is None and before.columns.get("ended_how") != "lost":
                # Its id was free again, so its mail has left the queue; the line that says so is missing (so far, when
                # older lines come after younger ones).
                before.changed = True
                if before.columns.get("ended_how") is None:
                    before.columns["ended_how"] = "lost"
                else:
                    before.ended = before.last_seen
        return new

    def changed(self) -> list[QueueEntry]:
        """Give the entries that are to be written, in the order in which they came."""
        return [entry for entries in self._by_key.values() for entry in entries if entry.changed]
