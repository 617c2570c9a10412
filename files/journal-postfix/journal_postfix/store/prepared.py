"""A batch of which most is made ready before its turn: by another process, while the batches before are being stored.

`prepare` takes a batch and gives, as plain values, the rows that it makes where nothing of its mails is stored yet. In
the batch's turn, and in its transaction, `load_anew` finds out what is stored and gives what the Writer has to fold in
its own way; `write_prepared` stores the rest as it is. `prepare` is pure: it never talks to the database.

Theory. A mail's rows depend on what is stored of two things alone: its queue entry, and the states of the processes
whose lines are about it (session.py). So all lines are joined and folded as if nothing were stored. In the batch's turn
the database says which processes have a state and which queue ids have an entry. Lines of such processes are joined
anew; the queue entries that these told, tell now, or that are stored are folded anew, from all the lines that are about
them, in their order. What is left has seen nothing but lines of this batch: its rows are right. Few are folded anew, so
their lines are parsed a second time rather than handed over. Should the database refuse a row that was made ready, or
should there be more to do anew than is worth while, the whole batch is stored in the Writer's own way.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..extract import Delivery, Effect, RecipientColumns
from ..merge import Key, QueueEntries, QueueEntry
from ..message import LogMessage
from ..parse import Parser
from ..session import Process, Session, Sessions, Unit
from .batch import Batch
from .database import CopyInto, copy_data
from .rows import (
    COPY_ATTEMPT,
    COPY_EVENT,
    COPY_FROM,
    COPY_NOQUEUE,
    COPY_TO,
    attempt_row,
    event_row,
    from_row,
    noqueue_row,
    to_row,
)
from .seams import line_hashes
from .sessions import keep_sessions, load_sessions
from .told import Told

if TYPE_CHECKING:
    from .write import Writer

# Of the lines that tell something: where more must be folded anew, what was made ready is not worth while.
MAX_ANEW: Final = 0.5
# Of each table, how many numbers its rows begin with that only the database can give.
TABLES: Final = ((COPY_FROM, 2), (COPY_TO, 1), (COPY_ATTEMPT, 1), (COPY_EVENT, 1), (COPY_NOQUEUE, 1))
NO_PROCESS: Final = -1
LOOK_OUT_LINES: Final = 1000

Source = int | tuple[int, int] | tuple[int, int, int, str, bytes]
"""Where a delivery is from: a line that tells it by itself; one of a process that tells it, too (process, line); one
that tells what earlier lines add to (process, line, server, component, the delivery)."""


class Mail(NamedTuple):
    """A queue entry's rows as COPY takes them, but for its number and its server's at their beginnings."""

    key: int
    row: str
    recipients: list[str]
    attempts: list[str]
    events: list[str]


class Prepared(NamedTuple):
    """What a batch makes where nothing of it is stored. Servers, processes and keys are numbered by their places."""

    servers: list[tuple[str, str]]
    processes: list[Process]
    steps: list[list[int]]
    """Of each process, its lines that are steps,"""
    told_by: list[list[int]]
    """and the keys that they tell something about."""
    sessions: list[tuple[int, Session]]
    """Processes with the states that they leave."""
    keys: list[tuple[int, str]]
    """Server and queue id."""
    sources: list[list[Source]]
    """Of each key, in the order of the input."""
    first: float
    """The earliest time of a delivery."""
    mails: list[Mail]
    noqueue: list[tuple[int, int, str]]
    """Process (or NO_PROCESS), server, and the row without the server's number."""
    columns: list[list[str]]
    """Of the rows of each of TABLES, without those numbers."""


class PreparedBatch(Batch):
    """A batch without its units: what they come to is in `prepared`, or they are made when they are needed."""

    def __init__(
        self, aliases: dict[str, str], parse: Parser, messages: list[LogMessage], state: dict[str, Any]
    ) -> None:
        super().__init__(aliases, parse)
        self.aliases = aliases
        self.parse = parse
        self.prepared: Prepared | None = None
        vars(self).update(state)
        self.messages = messages

    def leave_out(self, covered: set[int]) -> None:
        """Only count these messages, and be a batch like any other: it is known now that others told of its mails."""
        super().leave_out(covered)
        self.prepared = None
        self.hashes = []

    def give_up(self, server: tuple[str, str], reason: str) -> None:
        """Set aside all lines of a server."""
        if self.prepared is not None:
            self.leave_out(set())
        super().give_up(server, reason)


def make_batch(
    messages: Sequence[LogMessage], aliases: dict[str, str], parse: Parser, look_out: Callable[[], None] | None = None
) -> Batch:
    """Parse messages and gather them; `look_out` is called now and then."""
    batch = Batch(aliases, parse)
    if look_out is None:
        batch.take(messages)
        return batch
    for first in range(0, len(messages), LOOK_OUT_LINES):
        batch.take(messages[first : first + LOOK_OUT_LINES])
        look_out()
    return batch


def prepared_state(batch: Batch, verp_marker: str | None) -> dict[str, Any] | None:
    """Give what a PreparedBatch needs besides the messages, for pickle; None where a row of it is refused for sure."""
    state = {name: value for name, value in vars(batch).items() if name not in ("messages", "units", "_parse")}
    try:
        state["prepared"] = prepare(batch, verp_marker)
    except UnicodeEncodeError:
        # A lone surrogate, of an entry in JSON.
        return None
    state["hashes"] = _hashes(batch)
    return state


def _hashes(batch: Batch) -> list[bytes]:
    """Give the messages' hashes; those that are nobody's who is listened to need none."""
    unheard = batch.not_postfix - batch.forged_lines
    if not unheard:
        return line_hashes(batch.messages)
    hashes = iter(line_hashes(message for line, message in enumerate(batch.messages) if line not in unheard))
    return [b"" if line in unheard else next(hashes) for line in range(len(batch))]


def prepare(batch: Batch, verp_marker: str | None) -> Prepared:
    """Join and fold a batch as if nothing were stored."""
    servers: dict[tuple[str, str], int] = {}
    processes: dict[Process, int] = {}
    keys: dict[Key, int] = {}
    units_of: list[list[Unit]] = []
    sources: list[list[Source]] = []
    steps: list[list[int]] = []
    told_by: list[set[int]] = []
    noqueue: list[tuple[int, int]] = []
    noqueue_rows: list[Sequence[Any]] = []
    sessions = Sessions()
    messages = batch.messages
    is_noqueue = Effect.NOQUEUE
    process = NO_PROCESS

    for unit in batch.units:
        line, own_server, component, own_delivery, step, _ = unit
        # Also of one that tells nothing now: with what is stored of its process it may.
        servers.setdefault(own_server, len(servers))
        some: Sequence[Unit] = (unit,)
        if step is not None:
            of = messages[line][0:3:2]
            if of not in processes:
                processes[of] = len(processes)
                steps.append([])
                told_by.append(set())
            process = processes[of]
            steps[process].append(line)
            some = sessions.take(of, unit)
        for one in some:
            _, server, _, delivery, _, time = one
            assert delivery is not None
            server_number = servers.setdefault(server, len(servers))
            queue_id, effect, columns, _, _, _ = delivery
            if effect is is_noqueue:
                noqueue.append((NO_PROCESS if step is None else process, server_number))
                noqueue_rows.append(noqueue_row(0, columns, time, verp_marker)[1:])
                continue
            number = keys.setdefault((server_number, queue_id), len(keys))
            if number == len(sources):
                sources.append([])
                units_of.append([])
            units_of[number].append(one)
            if step is None:
                sources[number].append(line)
                continue
            told_by[process].add(number)
            if delivery is own_delivery:
                sources[number].append((process, line))
            else:
                packed = pack_delivery(delivery)
                sources[number].append((process, line, server_number, component, packed))

    entries = QueueEntries()
    for key, units in zip(keys, units_of, strict=True):
        entries.fold(key, units)
    mails, columns_of = _mails(entries.changed(), keys, verp_marker)
    names, lines = _lines(COPY_NOQUEUE.columns[1:], noqueue_rows)
    return Prepared(
        list(servers),
        list(processes),
        steps,
        [sorted(numbers) for numbers in told_by],
        [(processes[key], session) for key, session in sessions.changed()],
        list(keys),
        sources,
        min([unit[5] for unit in batch.units], default=0.0),
        mails,
        [(*one, row) for one, row in zip(noqueue, lines, strict=True)],
        [*columns_of, names],
    )


def _mails(
    entries: list[QueueEntry], keys: dict[tuple[int, str], int], verp_marker: str | None
) -> tuple[list[Mail], list[list[str]]]:
    rows = [from_row(entry, verp_marker)[2:] for entry in entries]
    recipients = [[to_row(0, key, one)[1:] for key, one in entry.recipients.items()] for entry in entries]
    attempts = [[attempt_row(0, attempt)[1:] for attempt in entry.attempts] for entry in entries]
    events = [[event_row(0, event)[1:] for event in entry.events] for entry in entries]
    numbers = [keys[entry.server_id, entry.queue_id] for entry in entries]
    names, lines = _lines(COPY_FROM.columns[2:], rows)
    names_to, lines_to = _grouped(COPY_TO.columns[1:], recipients)
    names_attempt, lines_attempt = _grouped(COPY_ATTEMPT.columns[1:], attempts)
    names_event, lines_event = _grouped(COPY_EVENT.columns[1:], events)
    mails = list(map(Mail, numbers, lines, lines_to, lines_attempt, lines_event))
    return mails, [names, names_to, names_attempt, names_event]


def _lines(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[str]]:
    """Give rows as lines of COPY's text format (a line break within a value is escaped), and the columns they have."""
    if not rows:
        return [], []
    kept, data = copy_data(names, rows)
    return kept, data.decode().split("\n")[:-1]


def _grouped(names: Sequence[str], groups: Sequence[Sequence[Sequence[Any]]]) -> tuple[list[str], list[list[str]]]:
    """Do so for all rows of many groups at once."""
    kept, lines = _lines(names, [row for group in groups for row in group])
    return kept, [lines[begin:end] for begin, end in pairwise(accumulate(map(len, groups), initial=0))]


def pack_delivery(delivery: Delivery) -> bytes:
    """Give a delivery, all of plain values, as bytes that cost nothing to hand over."""
    queue_id, effect, columns, recipient, event, at = delivery
    return marshal.dumps((queue_id, int(effect), columns, recipient and tuple(recipient), event, at))


def unpack_delivery(packed: bytes) -> Delivery:
    """Give the delivery back."""
    queue_id, effect, columns, recipient, event, at = marshal.loads(packed)  # noqa: S302 (packed in our own child)
    return Delivery(queue_id, Effect(effect), columns, recipient and RecipientColumns(*recipient), event, at)


# ---- in the batch's turn


class Anew(NamedTuple):
    """What is left for the Writer's own way: deliveries and entries to be folded; and the keys that they are about."""

    told: Told
    entries: QueueEntries
    keys: set[int]
    processes: set[int]


def load_anew(writer: Writer, batch: PreparedBatch, prepared: Prepared) -> Anew | None:
    """Find out what depends on what is stored, and join it; keep the processes' states. None: store all anew.

    None is given before anything is written.
    """
    database = writer.database
    numbers = {process: number for number, process in enumerate(prepared.processes)}
    states = list(load_sessions(database, prepared.processes))
    processes = {numbers[process] for process, _ in states}
    keys = {key for process in processes for key in prepared.told_by[process]}

    units = _units(batch, (line for process in processes for line in prepared.steps[process]))
    sessions = Sessions(states)
    told = writer.join(batch, [unit for unit in units if unit.step is not None], sessions)

    server_ids = [writer.server_ids[server] for server in prepared.servers]
    wanted = {(server_ids[server], queue_id): number for number, (server, queue_id) in enumerate(prepared.keys)}
    also = set(told.by_entry)
    first = told.first_time()
    first = prepared.first if first is None else min(prepared.first, first)
    stored = writer.load_entries([*wanted, *(also - wanted.keys())], first)
    keys.update(wanted[key] for key in also if key in wanted)
    for entry in stored:
        number = wanted.get((entry.server_id, entry.queue_id))
        if number is not None:
            keys.add(number)
    if len(keys) > MAX_ANEW * len(prepared.keys):
        return None

    # A line is of one process: what one tells comes all from the same list.
    told.mix_in(_told_again(writer, batch, prepared, keys, processes))
    if stored:
        writer.load_recipients(told, stored)
    keep_sessions(database, sessions)
    # What the others leave: nothing is stored of them.
    left = [(prepared.processes[number], state) for number, state in prepared.sessions if number not in processes]
    keep_sessions(database, Sessions(left))
    return Anew(told, QueueEntries(stored), keys, processes)


def _told_again(
    writer: Writer, batch: PreparedBatch, prepared: Prepared, keys: set[int], processes: set[int]
) -> list[tuple[Key, Unit]]:
    """Give what the lines of all processes but these tell about some keys; of each line in its order."""
    sources = {
        key: [source for source in prepared.sources[key] if isinstance(source, int) or source[0] not in processes]
        for key in keys
    }
    lines = {
        source if isinstance(source, int) else source[1]
        for of_key in sources.values()
        for source in of_key
        if isinstance(source, int) or len(source) == 2
    }
    own: dict[tuple[int, str], list[Unit]] = {}
    for unit in _units(batch, lines):
        if unit.delivery is not None:
            own.setdefault((unit.line, unit.delivery.queue_id), []).append(unit)
    server_ids = [writer.server_ids[server] for server in prepared.servers]
    told = []
    for key, of_key in sources.items():
        server, queue_id = prepared.keys[key]
        for source in of_key:
            if isinstance(source, tuple) and len(source) == 5:
                _, line, server, component, packed = source
                time = batch.messages[line].time
                unit = Unit(line, prepared.servers[server], component, unpack_delivery(packed), None, time)
            else:
                line = source if isinstance(source, int) else source[1]
                unit = own[line, queue_id].pop(0)
            told.append(((server_ids[server], queue_id), unit))
    return told


def _units(batch: PreparedBatch, lines: Iterable[int]) -> list[Unit]:
    """Parse some lines of a batch again, in their order."""
    numbers = sorted(lines)
    part = make_batch([batch.messages[line] for line in numbers], batch.aliases, batch.parse)
    return [unit._replace(line=numbers[unit.line]) for unit in part.units]


def write_prepared(writer: Writer, prepared: Prepared, anew: Anew) -> tuple[int, int, int]:
    """COPY the rows of what nothing is stored of; give how many mails, recipients, and rows of noqueue these are."""
    database = writer.database
    server_ids = [writer.server_ids[server] for server in prepared.servers]
    mails = [mail for mail in prepared.mails if mail.key not in anew.keys]
    rows: list[str] = []
    recipients: list[str] = []
    attempts: list[str] = []
    events: list[str] = []
    for mail_id, (key, row, to, tried, told) in zip(writer.new_mail_ids(len(mails)), mails, strict=True):
        rows.append(f"{mail_id}\t{server_ids[prepared.keys[key][0]]}\t{row}")
        begin = f"{mail_id}\t"
        recipients += [begin + one for one in to]
        if tried:
            attempts += [begin + one for one in tried]
        if told:
            events += [begin + one for one in told]
    noqueue = [
        f"{server_ids[server]}\t{row}" for process, server, row in prepared.noqueue if process not in anew.processes
    ]
    texts = (rows, recipients, attempts, events, noqueue)
    for (into, numbers), names, lines in zip(TABLES, prepared.columns, texts, strict=True):
        if lines:
            database.copy_text(CopyInto(into.table, (*into.columns[:numbers], *names)), lines)
    return len(mails), len(recipients), len(noqueue)
