"""Store a batch: one transaction for its rows, its counters and the position in the input.

Takes a Batch, the InputPosition that it was read from and the one behind it; gives a summary. All or nothing is
committed, so a kill at any moment costs the work of one batch and no line. The transaction begins by locking the
batch's hosts and by comparing the stored position with the one the batch was read from: two programs that read the same
input cannot both store it.

What is new is COPYed, what was open already is changed by one upsert per target. All is written at once; where the
database refuses a row, anew: then it is found by halving, set aside with its lines, and the rest is stored.

A small batch costs what its statements cost: so they are prepared, and those that give nothing wait for the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..errors import InputBusyError, StoreError
from ..extract import Effect
from ..merge import IN_DELIVERY_S, LATE_S, QueueEntries, QueueEntry, recipient_key
from ..session import Sessions, Unit
from .batch import Batch, Group, printable_host
from .database import WAIT_SETTINGS, CopyInto, Database, RowRefused, Statement, insert_rows, json_rows, timestamp
from .health import COUNT_EVENTS, count_server_events
from .inputs import keep_forged, lock_hosts, record_gaps
from .positions import InputPosition
from .prepared import PreparedBatch, load_anew, prepared_state, write_prepared
from .rows import (
    COPY_ATTEMPT,
    COPY_EVENT,
    COPY_FROM,
    COPY_NEIGHBOUR_EVENT,
    COPY_NOQUEUE,
    COPY_TO,
    FROM_ALL,
    LOAD_FROM,
    LOAD_TO,
    TO_ALL,
    UPDATE_FROM,
    UPDATE_TO,
    attempt_row,
    event_row,
    evidence_line,
    from_row,
    load_entry,
    load_recipient,
    noqueue_row,
    to_row,
)
from .seams import STATEMENTS as SEAM_STATEMENTS
from .seams import leave_out_known
from .sessions import STATEMENTS as SESSION_STATEMENTS
from .sessions import keep_sessions, load_sessions
from .told import Told

# Every query of the writer finds its rows by key. While an import fills the tables their statistics lag behind, and
# a plan that scans a table costs more with every batch: leave the planner no such choice.
WRITER_SETTINGS: Final = (
    *WAIT_SETTINGS,
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET plan_cache_mode = force_generic_plan",
)
ADVANCE: Final = Statement(
    "advance",
    ("text", "bigint", "text", "timestamptz", "bigint", "bigint", "bigint"),
    "UPDATE input_position SET name = $1, position = $2, cursor = $3, last_time = $4, lines = lines + $5, "
    "updated = now() WHERE input_id = $6 AND position = $7 RETURNING (SELECT max(step) FROM schema_step)",
)
_COUNTER_COLUMNS: Final = ("host", "component", "action", "lines", "last_time")
COUNT_LINES: Final = insert_rows(
    "count_lines",
    "line_counter",
    _COUNTER_COLUMNS,
    "(host, component, action) DO UPDATE SET lines = line_counter.lines + excluded.lines, "
    "last_time = greatest(line_counter.last_time, excluded.last_time)",
)
_UNKNOWN_COLUMNS: Final = (
    "host",
    "component",
    "shape",
    "lines",
    "first_time",
    "last_time",
    "identifier",
    "sample",
)
KEEP_UNKNOWN: Final = insert_rows(
    "keep_unknown",
    "unknown_line",
    _UNKNOWN_COLUMNS,
    "(host, component, shape) DO UPDATE SET lines = unknown_line.lines + excluded.lines, "
    "first_time = least(unknown_line.first_time, excluded.first_time), "
    "last_time = greatest(unknown_line.last_time, excluded.last_time)",
)
STATEMENTS: Final = (
    ADVANCE,
    COUNT_LINES,
    KEEP_UNKNOWN,
    COUNT_EVENTS,
    LOAD_FROM,
    LOAD_TO,
    UPDATE_FROM,
    UPDATE_TO,
    *SESSION_STATEMENTS,
    *SEAM_STATEMENTS,
)

# Shapes of unknown lines kept per host; whoever can write to syslog could otherwise fill the database.
MAX_UNKNOWN_SHAPES: Final = 2000
OTHER_SHAPE: Final = "(other)"

# Instances of Postfix on one host; whoever can write to syslog can make names up.
MAX_INSTANCES: Final = 200


# So many numbers for mails are fetched at once.
MAIL_IDS: Final = 100


class Stored(NamedTuple):
    """What a batch has done to the tables."""

    mails: int
    recipients: int
    rejected: int
    set_aside: int


Refused = list[tuple[list[int], str]]
"""Lines whose row was refused, and why."""


class _Evidence(NamedTuple):
    """A row with the messages that it was made of."""

    row: Sequence[Any]
    lines: Sequence[int]


def _neighbour_rows(batch: Batch) -> list[_Evidence]:
    rows = []
    for line, columns in batch.neighbour_events:
        message = batch.messages[line]
        rows.append(_Evidence((message.host, timestamp(message.time), *columns), (line,)))
    return rows


class Writer:
    """Stores batches over one connection."""

    def __init__(self, database: Database, verp_marker: str | None = None) -> None:
        self.database = database
        self._verp_marker = verp_marker
        database.configure(*WRITER_SETTINGS, *[statement.prepare for statement in STATEMENTS])
        self.server_ids: dict[tuple[str, str], int] = {}
        """By host and instance: those of the batch at hand, and of those before."""
        self._step: int | None = None
        self._mail_ids: list[int] = []
        """Not given to any mail yet."""

    def store(
        self, batch: Batch, begins: InputPosition | None, ends_at: int, last_time: float | None, cursor: str | None
    ) -> Stored:
        """Store a batch that was read from `begins`; see store_deliveries."""
        self._know_servers(batch)
        try:
            with self.database.transaction():
                return self._store(batch, begins, ends_at, last_time, cursor)
        except BaseException:
            # A server that crashed may give the numbers again that were fetched in what it has not committed.
            self._mail_ids = []
            raise

    def _store(
        self, batch: Batch, begins: InputPosition | None, ends_at: int, last_time: float | None, cursor: str | None
    ) -> Stored:
        database = self.database
        lock_hosts(database, {host for host, _, _ in batch.counters})
        if begins is not None:
            self._advance(begins, ends_at, last_time, cursor, len(batch))
            record_gaps(database, begins.input_id, [gap for _, gap in batch.gaps], begins.last_time)
            if leave_out_known(database, batch, begins):
                # What is left may need the servers anew.
                self._know_servers(batch)
        refused: Refused = []
        stored = self._store_prepared(batch, refused) or self._store_units(batch.units, batch, refused)
        self._copy(COPY_NEIGHBOUR_EVENT, _neighbour_rows(batch), refused)
        self._count(batch)
        keep_forged(database, batch)
        return Stored(*stored, self._set_aside(batch, refused))

    def _store_units(self, units: Sequence[Unit], batch: Batch, refused: Refused) -> tuple[int, int, int]:
        """Join, fold and write all that a batch tells; give how many mails, recipients and rejections are new."""
        messages = batch.messages
        processes = dict.fromkeys([messages[unit[0]][0:3:2] for unit in units if unit[4] is not None])
        sessions = Sessions(load_sessions(self.database, processes))
        told = self.join(batch, units, sessions)
        keep_sessions(self.database, sessions)
        entries = self._load(told)
        return self._write(entries, self._fold(told, entries), refused)

    def _store_prepared(self, batch: Batch, refused: Refused) -> tuple[int, int, int] | None:
        """Store what was made ready, and the rest; None if it was not, or is not to be used: the batch has units then.

        Of what was made ready no single row can be set aside: it is all written or nothing.
        """
        if not isinstance(batch, PreparedBatch) or batch.prepared is None:
            return None
        refused_before = len(refused)
        try:
            with self.database.savepoint():
                anew = load_anew(self, batch, batch.prepared)
                if anew is not None:
                    written = self._write(anew.entries, self._fold(anew.told, anew.entries), refused)
                    mails, recipients, rejected = write_prepared(self, batch.prepared, anew)
                    return mails + written[0], recipients + written[1], rejected + written[2]
        except RowRefused:
            del refused[refused_before:]
        batch.leave_out(set())
        return None

    def _know_servers(self, batch: Batch) -> None:
        prepared = batch.prepared if isinstance(batch, PreparedBatch) else None
        for host, instance in prepared.servers if prepared else dict.fromkeys([unit.server for unit in batch.units]):
            if (host, instance) not in self.server_ids:
                server_id = self._server_id(host, instance)
                if server_id is None:
                    batch.give_up((host, instance), f"more than {MAX_INSTANCES} instances of Postfix on one host")
                else:
                    self.server_ids[host, instance] = server_id

    def _server_id(self, host: str, instance: str) -> int | None:
        find = "SELECT server_id FROM mail_server WHERE host = %s AND instance = %s"
        found = self.database.fetch(find, (host, instance))
        if not found:
            self.database.execute(
                "INSERT INTO mail_server (host, instance) SELECT %s, %s "
                "WHERE (SELECT count(*) FROM mail_server WHERE host = %s) < %s ON CONFLICT DO NOTHING",
                (host, instance, host, MAX_INSTANCES),
            )
            found = self.database.fetch(find, (host, instance))
        return found[0][0] if found else None

    def _advance(
        self, begins: InputPosition, ends_at: int, last_time: float | None, cursor: str | None, lines: int
    ) -> None:
        moved = self.database.fetch(
            ADVANCE.command,
            (begins.name, ends_at, cursor, timestamp(last_time or None), lines, begins.input_id, begins.position),
        )
        if not moved:
            raise InputBusyError(
                f"{begins.name}: another process has stored from it in the meantime; nothing was stored twice, "
                "wait until it is done and start again"
            )
        self._see_to_schema(moved[0][0])

    def _see_to_schema(self, step: int) -> None:
        """Raise StoreError if the schema was changed while this program was connected: it is the older one's."""
        if self._step is None:
            self._step = step
        elif self._step != step:
            raise StoreError(
                f"database: its schema was changed (step {self._step} to {step}) while this program was connected; "
                "start the program that belongs to it"
            )

    # Loading what the fold begins with.

    def join(self, batch: Batch, units: Iterable[Unit], sessions: Sessions) -> Told:
        """Give what some units of the batch tell in the order of its lines, and take their steps."""
        messages = batch.messages
        take = sessions.take
        server_ids = self.server_ids
        told = Told()
        by_entry = told.by_entry
        noqueue = Effect.NOQUEUE
        known, server_id = None, 0
        for unit in units:
            line, server, _, delivery, step, _ = unit
            if step is not None:
                # Of its process: the message's host and process id.
                for one in take(messages[line][0:3:2], unit):
                    told.add(server_ids[one[1]], one)
                continue
            if server is not known:
                known, server_id = server, server_ids[server]
            assert delivery is not None
            if delivery[1] is noqueue:
                told.add(server_id, unit)
            else:
                by_entry[server_id, delivery[0]].append(unit)
        return told

    def _load(self, told: Told) -> QueueEntries:
        first = told.first_time()
        if not told.by_entry or first is None:
            return QueueEntries()
        entries = self.load_entries(list(told.by_entry), first)
        if entries:
            self.load_recipients(told, entries)
        return QueueEntries(entries)

    def load_entries(self, keys: Sequence[tuple[int, str]], first: float) -> list[QueueEntry]:
        """Give what is stored of these servers' queue ids, without recipients, and may own a line from `first` on."""
        if not keys:
            return []
        servers, queue_ids = [key[0] for key in keys], [key[1] for key in keys]
        since = timestamp(first - IN_DELIVERY_S - LATE_S)
        return [load_entry(row) for row in self.database.fetch(LOAD_FROM.command, (servers, queue_ids, since))]

    def load_recipients(self, told: Told, entries: list[QueueEntry]) -> None:
        """Load those recipients of stored entries that something is told about."""
        pairs = []
        for entry in entries:
            units = told.by_entry.get((entry.server_id, entry.queue_id), ())
            decided = [unit.delivery.recipient for unit in units if unit.delivery is not None]
            keys = {recipient_key(columns.recipient, columns.orig_to) for columns in decided if columns is not None}
            pairs += [(entry.mail_id, key) for key in keys]
        if not pairs:
            return
        by_id = {entry.mail_id: entry for entry in entries}
        for row in self.database.fetch(LOAD_TO.command, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])):
            mail_id, key, recipient = load_recipient(row)
            by_id[mail_id].recipients[key] = recipient

    def _fold(self, told: Told, entries: QueueEntries) -> list[_Evidence]:
        for key, units in told.by_entry.items():
            entries.fold(key, units)
        noqueue: list[_Evidence] = []
        for server_id, unit in told.noqueue:
            assert unit.delivery is not None
            row = noqueue_row(server_id, unit.delivery.columns, unit.time, self._verp_marker)
            noqueue.append(_Evidence(row, (unit.line,)))
        return noqueue

    # Writing what it ends with.

    def _write(self, entries: QueueEntries, noqueue: list[_Evidence], refused: Refused) -> tuple[int, int, int]:
        """Write what was folded; give how many mails, recipients and rejections are new."""
        changed = entries.changed()
        if not changed and not noqueue:
            return 0, 0, 0
        new = [entry for entry in changed if not entry.stored]
        for entry, mail_id in zip(new, self.new_mail_ids(len(new)), strict=True):
            entry.mail_id = mail_id
        try:
            with self.database.savepoint():
                return self._write_rows(changed, noqueue, None)
        except RowRefused:
            return self._write_rows(changed, noqueue, refused)

    def _write_rows(
        self, changed: list[QueueEntry], noqueue: list[_Evidence], refused: Refused | None
    ) -> tuple[int, int, int]:
        """Write these; what is `refused` is added to that, RowRefused is raised without it."""
        new_from: list[_Evidence] = []
        old_from: list[_Evidence] = []
        for entry in changed:
            row = from_row(entry, self._verp_marker)
            (old_from if entry.stored else new_from).append(_Evidence(row, entry.lines))
        # What changes comes before what is new: its index entries then are beside those of the batch before, where room
        # is left; behind a thousand new ones they would split pages that are full.
        self._update(UPDATE_FROM, FROM_ALL, old_from, refused)
        lost = self._copy(COPY_FROM, new_from, refused)
        missing = {evidence.row[0] for evidence in lost}

        new_to: list[_Evidence] = []
        old_to: list[_Evidence] = []
        attempts: list[_Evidence] = []
        events: list[_Evidence] = []
        for entry in changed:
            if entry.mail_id in missing:
                continue
            for key, recipient in entry.recipients.items():
                if recipient.changed:
                    row = to_row(entry.mail_id, key, recipient)
                    (old_to if recipient.stored else new_to).append(_Evidence(row, recipient.lines))
            attempts += [_Evidence(attempt_row(entry.mail_id, attempt), attempt[-1:]) for attempt in entry.attempts]
            events += [_Evidence(event_row(entry.mail_id, event), event[-1:]) for event in entry.events]
        self._update(UPDATE_TO, TO_ALL, old_to, refused)
        lost_to = self._copy(COPY_TO, new_to, refused)
        missing_to = {tuple(evidence.row[:2]) for evidence in lost_to}
        if missing_to:
            attempts = [evidence for evidence in attempts if tuple(evidence.row[:2]) not in missing_to]
        self._copy(COPY_ATTEMPT, attempts, refused)
        self._copy(COPY_EVENT, events, refused)
        lost_noqueue = self._copy(COPY_NOQUEUE, noqueue, refused)
        return len(new_from) - len(lost), len(new_to) - len(lost_to), len(noqueue) - len(lost_noqueue)

    def new_mail_ids(self, count: int) -> list[int]:
        """Give numbers for so many new mails."""
        missing = count - len(self._mail_ids)
        if missing > 0:
            query = "SELECT nextval('delivery_from_mail_id_seq') FROM generate_series(1, %s)"
            numbers = self.database.fetch(query, (max(missing, MAIL_IDS),))
            self._mail_ids += [mail_id for (mail_id,) in numbers]
        given, self._mail_ids = self._mail_ids[:count], self._mail_ids[count:]
        return given

    def prepare(self, batch: Batch) -> dict[str, Any] | None:
        """Make a batch ready for its turn, without the database: what a PreparedBatch needs besides the messages."""
        return prepared_state(batch, self._verp_marker)

    def _copy(self, into: CopyInto, rows: list[_Evidence], refused: Refused | None) -> list[_Evidence]:
        """COPY the rows; give those that the database refused."""
        return self._in_halves(rows, lambda part: self.database.copy(into, [row.row for row in part]), refused)

    def _update(self, upsert: Statement, names: Sequence[str], rows: list[_Evidence], refused: Refused | None) -> None:
        def write(part: list[_Evidence]) -> None:
            self.database.defer(upsert.command, (json_rows(names, [row.row for row in part]),))

        self._in_halves(rows, write, refused)

    def _in_halves(
        self, rows: list[_Evidence], write: Callable[[list[_Evidence]], None], refused: Refused | None
    ) -> list[_Evidence]:
        if not rows:
            return []
        if refused is None:
            write(rows)
            return []
        try:
            with self.database.savepoint():
                write(rows)
        except RowRefused as error:
            if len(rows) == 1:
                refused.append((list(rows[0].lines), str(error).splitlines()[0]))
                return rows
            middle = len(rows) // 2
            return self._in_halves(rows[:middle], write, refused) + self._in_halves(rows[middle:], write, refused)
        return []

    # What is known of the lines themselves.

    def _count(self, batch: Batch) -> None:
        rows = [(*key, lines, timestamp(last)) for key, (lines, last) in sorted(batch.counters.items())]
        if rows:
            self.database.defer(COUNT_LINES.command, (json_rows(_COUNTER_COLUMNS, rows),))
        for host in sorted({host for host, _, _ in batch.unknown}):
            self._keep_unknown(host, batch)
        count_server_events(self.database, batch)

    def _keep_unknown(self, host: str, batch: Batch) -> None:
        shapes = {(component, shape): group for (of, component, shape), group in batch.unknown.items() if of == host}
        known = set(
            self.database.fetch(
                "SELECT component, shape FROM unknown_line WHERE host = %s AND shape = ANY(%s)",
                (host, [shape for _, shape in shapes]),
            )
        )
        room = MAX_UNKNOWN_SHAPES - int(
            self.database.fetch("SELECT count(*) FROM unknown_line WHERE host = %s", (host,))[0][0]
        )
        kept: dict[tuple[str, str], Group] = {}
        for key, group in shapes.items():
            if key not in known:
                room -= 1
                if room < 0:
                    key = ("", OTHER_SHAPE)
            if key in kept:
                kept[key].take(group)
            else:
                kept[key] = group
        rows = [
            (host, *key, group.lines, timestamp(group.first), timestamp(group.last), group.identifier, group.sample)
            for key, group in kept.items()
        ]
        self.database.defer(KEEP_UNKNOWN.command, (json_rows(_UNKNOWN_COLUMNS, rows),))

    def _set_aside(self, batch: Batch, refused: Refused) -> int:
        reasons = {line: reason for lines, reason in reversed(refused) for line in lines}
        rows = [*batch.set_aside, *[(batch.messages[line], reason) for line, reason in sorted(reasons.items())]]
        for message, reason in rows:
            self.database.execute(
                'INSERT INTO set_aside (host, "time", line, reason) VALUES (%s, %s, %s, %s)',
                (printable_host(message.host), timestamp(message.time), evidence_line(message), reason),
            )
        return len(rows)


def store_deliveries(
    writer: Writer,
    batch: Batch,
    begins: InputPosition | None,
    ends_at: int,
    last_time: float | None,
    cursor: str | None = None,
) -> Stored:
    """Store a batch in one transaction, together with the position that it ends at.

    `begins` is the position that the batch was read from (None: an input without one, only in tests), `ends_at` the
    position behind its last message, `last_time` that message's time, `cursor` its entry in a journal. Lines that are
    known from another source are left out of the batch: of one that could not be stored, read the lines again. Raises
    InputBusyError when someone else has stored from this input, StoreUnavailable when the database is away, StoreError
    when it refuses the whole.
    """
    return writer.store(batch, begins, ends_at, last_time, cursor)
