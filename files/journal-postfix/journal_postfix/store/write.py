"""Store a batch: one transaction for its rows, its counters and the position in the input.

Takes a Batch, the InputPosition that it was read from and the one behind it; gives a summary. All or nothing is
committed, so a kill at any moment costs the work of one batch and no line. The transaction begins by locking the
batch's hosts and by comparing the stored position with the one the batch was read from: two programs that read the same
input cannot both store it.

What is new is COPYed, what was open already is changed by one UPDATE from a temporary table per target. A row that the
database refuses is found by halving, set aside with its lines, and the rest is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from ..errors import InputBusyError
from ..extract import RECIPIENT_COLUMNS, Columns
from ..merge import QueueEntries, QueueEntry, Recipient, recipient_key
from ..message import LogMessage
from .batch import Batch, InputPosition, is_noqueue, printable_host
from .database import Database, RowRefused, seconds, timestamp

Row = TypeVar("Row")

FROM_TIMES: Final = ("queued", "expired", "hold_changed")
FROM_TEXTS: Final = (
    "ended_how",
    "origin",
    "service",
    "client_hostname",
    "client_ip",
    "client_port",
    "helo",
    "proto",
    "sasl_method",
    "sasl_username",
    "sasl_sender",
    "uid",
    "orig_queue_id",
    "orig_client",
    "sender",
    "message_id",
    "resent_message_id",
    "subject",
    "size",
    "nrcpt",
    "reject_stage",
    "smtp_code",
    "dsn",
    "reason",
)
FROM_MUTABLE: Final = ("began", "last_seen", "ended", "is_held", *FROM_TIMES, *FROM_TEXTS)
FROM_ALL: Final = ("mail_id", "server_id", "queue_id", *FROM_MUTABLE)

TO_TIMES: Final = ("attempted", "first_attempt", "last_attempt")
TO_MUTABLE: Final = (
    *(name for name in RECIPIENT_COLUMNS if name not in ("recipient", "orig_to")),
    "attempts",
    *TO_TIMES,
)
TO_ALL: Final = ("mail_id", "recipient_key", "recipient", "orig_to", *TO_MUTABLE)

ATTEMPT_COLUMNS: Final = ("status", "dsn", "component", "relay_host", "relay_ip", "relay_port", "delay", "response")
NOQUEUE_COLUMNS: Final = (
    "component",
    "service",
    "action",
    "stage",
    "sender",
    "recipient",
    "client_hostname",
    "client_ip",
    "client_port",
    "helo",
    "proto",
    "sasl_method",
    "sasl_username",
    "smtp_code",
    "dsn",
    "reason",
)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(columns)


def _assignments(columns: Sequence[str]) -> str:
    return ", ".join(f"{name} = c.{name}" for name in columns)


# Column names below come from the constants above, never from data.
COPY_FROM: Final = f"COPY delivery_from ({_names(FROM_ALL)}) FROM STDIN"
COPY_TO: Final = f"COPY delivery_to ({_names(TO_ALL)}) FROM STDIN"
COPY_ATTEMPT: Final = f"COPY delivery_attempt (mail_id, recipient_key, attempted, {_names(ATTEMPT_COLUMNS)}) FROM STDIN"
COPY_EVENT: Final = 'COPY mail_event (mail_id, "time", component, action, linked_queue_id, detail) FROM STDIN'
COPY_NOQUEUE: Final = f'COPY noqueue (server_id, "time", {_names(NOQUEUE_COLUMNS)}) FROM STDIN'
COPY_CHANGED_FROM: Final = (
    f"COPY changed_from ({_names(('mail_id', 'server_id', 'queue_id', *FROM_MUTABLE))}) FROM STDIN"
)
COPY_CHANGED_TO: Final = f"COPY changed_to ({_names(TO_ALL)}) FROM STDIN"
CLEAR_CHANGED_FROM: Final = "DELETE FROM changed_from"
CLEAR_CHANGED_TO: Final = "DELETE FROM changed_to"
UPDATE_FROM: Final = (
    f"UPDATE delivery_from AS f SET {_assignments(FROM_MUTABLE)} FROM changed_from AS c WHERE f.mail_id = c.mail_id"  # noqa: S608
)
UPDATE_TO: Final = (
    f"UPDATE delivery_to AS t SET {_assignments(TO_MUTABLE)} FROM changed_to AS c "  # noqa: S608
    "WHERE t.mail_id = c.mail_id AND t.recipient_key = c.recipient_key"
)
LOAD_FROM: Final = (
    f"SELECT {_names(FROM_ALL)} FROM delivery_from "  # noqa: S608
    "JOIN unnest(%s::integer[], %s::text[]) AS k (server_id, queue_id) USING (server_id, queue_id)"
)
LOAD_TO: Final = (
    f"SELECT {_names(TO_ALL)} FROM delivery_to "  # noqa: S608
    "JOIN unnest(%s::bigint[], %s::bigint[]) AS k (mail_id, recipient_key) USING (mail_id, recipient_key)"
)

# Every query of the writer finds its rows by key. While an import fills the tables their statistics lag behind, and
# a plan that scans a table costs more with every batch: leave the planner no such choice.
WRITER_SETTINGS: Final = (
    "SET enable_seqscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "CREATE TEMPORARY TABLE changed_from (LIKE delivery_from) ON COMMIT DELETE ROWS",
    "CREATE TEMPORARY TABLE changed_to (LIKE delivery_to) ON COMMIT DELETE ROWS",
)

# Shapes of unknown lines kept per host; whoever can write to syslog could otherwise fill the database.
MAX_UNKNOWN_SHAPES: Final = 2000
OTHER_SHAPE: Final = "(other)"

HOST_LOCK: Final = 0x6A70


class Stored(NamedTuple):
    """What a batch has done to the tables."""

    mails: int
    recipients: int
    rejected: int
    set_aside: int


class _Evidence(NamedTuple):
    """A row with the messages that it was made of."""

    row: Sequence[Any]
    lines: Sequence[int]


class Writer:
    """Stores batches over one connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.configure(*WRITER_SETTINGS)
        self._server_ids: dict[tuple[str, str], int] = {}

    def store(self, batch: Batch, begins: InputPosition | None, ends_at: int, last_time: float | None) -> Stored:
        """Store a batch that was read from `begins`; see store_deliveries."""
        database = self.database
        self._know_servers(batch)
        with database.transaction():
            for host in sorted({printable_host(message.host) for message in batch.messages}):
                database.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (HOST_LOCK, host))
            if begins is not None:
                self._advance(begins, ends_at, last_time, len(batch))
            refused: list[tuple[list[int], str]] = []
            entries = self._load(batch)
            noqueue = self._fold(batch, entries)
            stored = self._write(entries, noqueue, refused)
            self._count(batch)
            aside = self._set_aside(batch, refused)
        return Stored(*stored, aside)

    def _know_servers(self, batch: Batch) -> None:
        missing = {unit.server for unit in batch.units} - self._server_ids.keys()
        for host, instance in sorted(missing):
            found = self.database.fetch(
                "SELECT server_id FROM mail_server WHERE host = %s AND instance = %s", (host, instance)
            )
            if not found:
                self.database.execute(
                    "INSERT INTO mail_server (host, instance) VALUES (%s, %s) ON CONFLICT DO NOTHING", (host, instance)
                )
                found = self.database.fetch(
                    "SELECT server_id FROM mail_server WHERE host = %s AND instance = %s", (host, instance)
                )
            self._server_ids[host, instance] = found[0][0]

    def _advance(self, begins: InputPosition, ends_at: int, last_time: float | None, lines: int) -> None:
        moved = self.database.execute(
            "UPDATE input_position SET position = %s, last_time = %s, lines = lines + %s, updated = now() "
            "WHERE input_id = %s AND position = %s",
            (ends_at, timestamp(last_time), lines, begins.input_id, begins.position),
        )
        if not moved:
            raise InputBusyError(
                f"{begins.name}: another process has stored from it in the meantime; nothing was stored twice, "
                "wait until it is done and start again"
            )

    # Loading what the fold begins with.

    def _load(self, batch: Batch) -> QueueEntries:
        keys = dict.fromkeys(
            (self._server_ids[unit.server], unit.delivery.queue_id) for unit in batch.units if not is_noqueue(unit)
        )
        if not keys:
            return QueueEntries()
        rows = self.database.fetch(LOAD_FROM, ([key[0] for key in keys], [key[1] for key in keys]))
        entries = [_entry(row) for row in rows]
        if entries:
            self._load_recipients(batch, entries)
        return QueueEntries(entries)

    def _load_recipients(self, batch: Batch, entries: list[QueueEntry]) -> None:
        touched: dict[tuple[int, str], set[int]] = {(entry.server_id, entry.queue_id): set() for entry in entries}
        for unit in batch.units:
            columns = unit.delivery.recipient
            if columns is not None:
                keys = touched.get((self._server_ids[unit.server], unit.delivery.queue_id))
                if keys is not None:
                    keys.add(recipient_key(columns["recipient"], columns["orig_to"]))
        pairs = [(entry.mail_id, key) for entry in entries for key in touched[entry.server_id, entry.queue_id]]
        if not pairs:
            return
        by_id = {entry.mail_id: entry for entry in entries}
        for row in self.database.fetch(LOAD_TO, ([pair[0] for pair in pairs], [pair[1] for pair in pairs])):
            values = dict(zip(TO_ALL, row, strict=True))
            columns = {name: values[name] for name in RECIPIENT_COLUMNS}
            times = [values[name].timestamp() for name in TO_TIMES]
            known = Recipient(columns, times[0], times[1], times[2], values["attempts"], stored=True)
            by_id[values["mail_id"]].recipients[values["recipient_key"]] = known

    def _fold(self, batch: Batch, entries: QueueEntries) -> list[_Evidence]:
        noqueue: list[_Evidence] = []
        messages = batch.messages
        for unit in batch.units:
            line, server, component, delivery = unit
            time = messages[line].time
            if is_noqueue(unit):
                columns = delivery.columns
                row = (self._server_ids[server], timestamp(time), *[columns[name] for name in NOQUEUE_COLUMNS])
                noqueue.append(_Evidence(row, (line,)))
            else:
                entries.add(self._server_ids[server], delivery, time, component, line)
        return noqueue

    # Writing what it ends with.

    def _write(
        self, entries: QueueEntries, noqueue: list[_Evidence], refused: list[tuple[list[int], str]]
    ) -> tuple[int, int, int]:
        changed = entries.changed()
        new = [entry for entry in changed if not entry.stored]
        if new:
            ids = self.database.fetch(
                "SELECT nextval(pg_get_serial_sequence('delivery_from', 'mail_id')) FROM generate_series(1, %s)",
                (len(new),),
            )
            for entry, (mail_id,) in zip(new, ids, strict=True):
                entry.mail_id = mail_id
        lost = self._copy(COPY_FROM, [_Evidence(_from_row(entry), entry.lines) for entry in new], refused)
        missing = {evidence.row[0] for evidence in lost}
        old = [_Evidence(_from_row(entry), entry.lines) for entry in changed if entry.stored]
        self._update((CLEAR_CHANGED_FROM, UPDATE_FROM), COPY_CHANGED_FROM, old, refused)

        new_to: list[_Evidence] = []
        old_to: list[_Evidence] = []
        attempts: list[_Evidence] = []
        events: list[_Evidence] = []
        for entry in changed:
            if entry.mail_id in missing:
                continue
            lines = entry.lines
            for key, recipient in entry.recipients.items():
                if recipient.changed:
                    row = _to_row(entry.mail_id, key, recipient)
                    (old_to if recipient.stored else new_to).append(_Evidence(row, lines))
            for key, time, columns in entry.attempts:
                row = (entry.mail_id, key, timestamp(time), *[columns[name] for name in ATTEMPT_COLUMNS])
                attempts.append(_Evidence(row, lines))
            for event in entry.events:
                events.append(_Evidence((entry.mail_id, timestamp(event[0]), *event[1:]), lines))
        lost_to = self._copy(COPY_TO, new_to, refused)
        missing_to = {tuple(evidence.row[:2]) for evidence in lost_to}
        if missing_to:
            attempts = [evidence for evidence in attempts if tuple(evidence.row[:2]) not in missing_to]
        self._update((CLEAR_CHANGED_TO, UPDATE_TO), COPY_CHANGED_TO, old_to, refused)
        self._copy(COPY_ATTEMPT, attempts, refused)
        self._copy(COPY_EVENT, events, refused)
        lost_noqueue = self._copy(COPY_NOQUEUE, noqueue, refused)
        return len(new) - len(lost), len(new_to) - len(lost_to), len(noqueue) - len(lost_noqueue)

    def _copy(self, sql: str, rows: list[_Evidence], refused: list[tuple[list[int], str]]) -> list[_Evidence]:
        """COPY the rows; give those that the database refused."""
        return self._in_halves(rows, lambda part: self.database.copy(sql, [row.row for row in part]), refused)

    def _update(
        self, clear_and_update: tuple[str, str], copy: str, rows: list[_Evidence], refused: list[tuple[list[int], str]]
    ) -> None:
        clear, update = clear_and_update

        def write(part: list[_Evidence]) -> None:
            # Empty already, but for the second half of rows that were refused together.
            self.database.execute(clear)
            self.database.copy(copy, [row.row for row in part])
            self.database.execute(update)

        self._in_halves(rows, write, refused)

    def _in_halves(
        self,
        rows: list[_Evidence],
        write: Callable[[list[_Evidence]], None],
        refused: list[tuple[list[int], str]],
    ) -> list[_Evidence]:
        if not rows:
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
            self.database.execute_values(
                "INSERT INTO line_counter (host, component, action, lines, last_time) VALUES %s "
                "ON CONFLICT (host, component, action) DO UPDATE SET "
                "lines = line_counter.lines + excluded.lines, last_time = greatest(line_counter.last_time, excluded.last_time)",
                rows,
            )
        for host in sorted({host for host, _, _ in batch.unknown}):
            self._keep_unknown(host, batch)

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
        for (component, shape), group in shapes.items():
            if (component, shape) not in known:
                room -= 1
                if room < 0:
                    component, shape = "", OTHER_SHAPE
            self.database.execute(
                "INSERT INTO unknown_line (host, component, shape, lines, first_time, last_time, identifier, sample) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (host, component, shape) DO UPDATE SET lines = unknown_line.lines + excluded.lines, "
                "first_time = least(unknown_line.first_time, excluded.first_time), "
                "last_time = greatest(unknown_line.last_time, excluded.last_time)",
                (
                    host,
                    component,
                    shape,
                    group.lines,
                    timestamp(group.first),
                    timestamp(group.last),
                    group.identifier,
                    group.sample,
                ),
            )

    def _set_aside(self, batch: Batch, refused: list[tuple[list[int], str]]) -> int:
        rows = [(message, reason) for message, reason in batch.set_aside]
        rows += [(batch.messages[line], reason) for lines, reason in refused for line in lines]
        for message, reason in rows:
            self.database.execute(
                'INSERT INTO set_aside (host, "time", line, reason) VALUES (%s, %s, %s, %s)',
                (printable_host(message.host), timestamp(message.time), _line(message), reason),
            )
        return len(rows)


def _line(message: LogMessage) -> bytes:
    return f"{message.identifier}[{message.pid}]: {message.text}".encode("utf-8", "surrogatepass")


def _entry(row: Sequence[Any]) -> QueueEntry:
    values = dict(zip(FROM_ALL, row, strict=True))
    entry = QueueEntry(
        values["server_id"], values["queue_id"], values["began"].timestamp(), values["last_seen"].timestamp()
    )
    entry.mail_id = values["mail_id"]
    entry.ended = seconds(values["ended"])
    columns: Columns = {name: values[name] for name in FROM_TEXTS if values[name] is not None}
    for name in FROM_TIMES:
        if values[name] is not None:
            columns[name] = values[name].timestamp()
    columns["is_held"] = values["is_held"]
    entry.columns = columns
    entry.arrived = "origin" in columns
    entry.stored = True
    entry.changed = False
    return entry


def _from_row(entry: QueueEntry) -> list[Any]:
    get = entry.columns.get
    return [
        entry.mail_id,
        entry.server_id,
        entry.queue_id,
        timestamp(entry.began),
        timestamp(entry.last_seen),
        timestamp(entry.ended),
        get("is_held", False),
        *[timestamp(get(name)) for name in FROM_TIMES],
        *[get(name) for name in FROM_TEXTS],
    ]


def _to_row(mail_id: int, key: int, recipient: Recipient) -> list[Any]:
    columns = recipient.columns
    return [
        mail_id,
        key,
        columns["recipient"],
        columns["orig_to"],
        *[columns[name] for name in TO_MUTABLE[:-4]],
        recipient.attempts,
        timestamp(recipient.attempted),
        timestamp(recipient.first_attempt),
        timestamp(recipient.last_attempt),
    ]


def store_deliveries(
    writer: Writer, batch: Batch, begins: InputPosition | None, ends_at: int, last_time: float | None
) -> Stored:
    """Store a batch in one transaction, together with the position that it ends at.

    `begins` is the position that the batch was read from (None: an input without one, only in tests), `ends_at` the
    position behind its last message, `last_time` that message's time. Raises InputBusyError when someone else has
    stored from this input, StoreUnavailable when the database is away, StoreError when it refuses the whole.
    """
    return writer.store(batch, begins, ends_at, last_time)
