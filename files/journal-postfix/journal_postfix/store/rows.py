"""How queue entries and recipients stand in rows: the columns, the writer's SQL, and the way there and back.

Takes what `merge` folds, gives rows for COPY; takes rows, gives what `merge` begins with. The SQL is made of the column
names below, never of data. Never talks to the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from ..extract import Columns, RecipientColumns
from ..merge import QueueEntry, Recipient
from ..message import LogMessage
from ..neighbour import COLUMNS as NEIGHBOUR_COLUMNS
from ..verp import undo_verp
from .closing import SILENT
from .database import CopyInto, Statement, insert_rows, seconds, timestamp

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
    "tls_protocol",
    "tls_cipher",
    "tls_trust",
    "uid",
    "orig_queue_id",
    "orig_client",
    "sender",
    "sender_raw",
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
TO_ALL: Final = ("mail_id", "recipient_key", *RecipientColumns._fields, "attempts", *TO_TIMES)
TO_MUTABLE: Final = tuple(name for name in TO_ALL[2:] if name not in ("recipient", "orig_to"))

ATTEMPT_COLUMNS: Final = ("status", "dsn", "component", "relay_host", "relay_ip", "relay_port", "delay", "response")
_attempt_columns: Final = attrgetter(*ATTEMPT_COLUMNS)
NOQUEUE_COLUMNS: Final = (
    "component",
    "service",
    "action",
    "stage",
    "sender",
    "sender_raw",
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
    return ", ".join(f"{name} = excluded.{name}" for name in columns)


# Column names below come from the constants above, never from data.
COPY_FROM: Final = CopyInto("delivery_from", FROM_ALL)
COPY_TO: Final = CopyInto("delivery_to", TO_ALL)
COPY_ATTEMPT: Final = CopyInto("delivery_attempt", ("mail_id", "recipient_key", "attempted", *ATTEMPT_COLUMNS))
COPY_EVENT: Final = CopyInto("mail_event", ("mail_id", '"time"', "component", "action", "linked_queue_id", "detail"))
COPY_NOQUEUE: Final = CopyInto("noqueue", ("server_id", '"time"', *NOQUEUE_COLUMNS))
COPY_NEIGHBOUR_EVENT: Final = CopyInto("neighbour_event", ("host", '"time"', *NEIGHBOUR_COLUMNS))
# Prepared while the tables may still be empty, and planned without their values: so each leaves no choice but to take
# the keys one by one, and what is stored of each by its index.
LOAD_FROM: Final = Statement(
    "load_from",
    ("integer[]", "text[]", "timestamptz"),
    "SELECT f.* FROM unnest($1, $2) AS k (server_id, queue_id) CROSS JOIN LATERAL ("  # noqa: S608
    f"SELECT {_names(FROM_ALL)} FROM delivery_from AS f "
    "WHERE f.server_id = k.server_id AND f.queue_id = k.queue_id "
    # What ended long before the batch owns none of its lines; but a long queue id (merge.is_long_queue_id: the time in
    # it may hold a z, too) is never used again.
    "AND (ended IS NULL OR coalesce(last_seen, ended) >= $3 OR strpos(substr(queue_id, 11), 'z') > 0) "
    # What was lost owns what is older than the entry behind it alone: of that one more would have to be known.
    "AND NOT (ended IS NULL AND ended_how IS NOT DISTINCT FROM 'lost' AND EXISTS (SELECT FROM ("
    "SELECT began FROM delivery_from WHERE server_id = k.server_id AND queue_id = k.queue_id OFFSET 0"
    ") AS n WHERE n.began > f.began AND n.began <= $3)) "
    "OFFSET 0) AS f",
)
LOAD_TO: Final = Statement(
    "load_to",
    ("bigint[]", "bigint[]"),
    "SELECT t.* FROM unnest($1, $2) AS k (mail_id, recipient_key) CROSS JOIN LATERAL ("  # noqa: S608
    f"SELECT {_names(TO_ALL)} FROM delivery_to AS t "
    "WHERE t.mail_id = k.mail_id AND t.recipient_key = k.recipient_key OFFSET 0) AS t",
)
UPDATE_FROM: Final = insert_rows(
    "update_from", "delivery_from", FROM_ALL, f"(mail_id) DO UPDATE SET {_assignments(FROM_MUTABLE)}"
)
UPDATE_TO: Final = insert_rows(
    "update_to", "delivery_to", TO_ALL, f"(mail_id, recipient_key) DO UPDATE SET {_assignments(TO_MUTABLE)}"
)


def load_entry(row: Sequence[Any]) -> QueueEntry:
    """Give the queue entry of a row of LOAD_FROM, without recipients."""
    values = dict(zip(FROM_ALL, row, strict=True))
    last_seen = values["last_seen"] or values["ended"]
    entry = QueueEntry(values["server_id"], values["queue_id"], values["began"].timestamp(), last_seen.timestamp())
    entry.mail_id = values["mail_id"]
    entry.ended = seconds(values["ended"])
    columns: Columns = {name: values[name] for name in FROM_TEXTS if values[name] is not None}
    if "sender_raw" in columns:
        columns["sender"] = columns.pop("sender_raw")
    for name in FROM_TIMES:
        if values[name] is not None:
            columns[name] = values[name].timestamp()
    columns["is_held"] = values["is_held"]
    if columns.get("ended_how") == SILENT:
        del columns["ended_how"]
    entry.columns = columns
    entry.arrived = "origin" in columns
    entry.stored = True
    entry.changed = False
    return entry


def shown_sender(columns: Columns, verp_marker: str | None) -> Columns:
    """Give the columns with VERP undone in the sender, and the sender as it was logged beside it where they differ."""
    raw = columns.get("sender")
    if verp_marker is None or raw is None:
        return columns
    sender = undo_verp(raw, verp_marker)
    return columns if sender == raw else {**columns, "sender": sender, "sender_raw": raw}


def from_row(entry: QueueEntry, verp_marker: str | None) -> list[Any]:
    """Give the row of delivery_from (FROM_ALL)."""
    get = shown_sender(entry.columns, verp_marker).get
    # Compared as they are stored: of times that were read back the last bits may differ.
    last_seen, ended = timestamp(entry.last_seen), timestamp(entry.ended)
    return [
        entry.mail_id,
        entry.server_id,
        entry.queue_id,
        timestamp(entry.began),
        None if last_seen == ended else last_seen,
        ended,
        get("is_held", False),
        *map(timestamp, map(get, FROM_TIMES)),
        *map(get, FROM_TEXTS),
    ]


def to_row(mail_id: int, key: int, recipient: Recipient) -> list[Any]:
    """Give the row of delivery_to (TO_ALL)."""
    attempted, first, last = map(timestamp, (recipient.attempted, recipient.first_attempt, recipient.last_attempt))
    return [
        mail_id,
        key,
        *recipient.columns,
        None if recipient.attempts == 1 else recipient.attempts,
        attempted,
        None if first == attempted else first,
        None if last == attempted else last,
    ]


def attempt_row(mail_id: int, attempt: tuple[int, float, RecipientColumns, int]) -> Sequence[Any]:
    """Give the row of delivery_attempt."""
    key, time, columns, _ = attempt
    return (mail_id, key, timestamp(time), *_attempt_columns(columns))


def event_row(mail_id: int, event: tuple[float, str, str, str | None, str | None, int]) -> Sequence[Any]:
    """Give the row of mail_event."""
    return (mail_id, timestamp(event[0]), *event[1:-1])


def noqueue_row(server_id: int, columns: Columns, time: float, verp_marker: str | None) -> Sequence[Any]:
    """Give the row of noqueue."""
    get = shown_sender(columns, verp_marker).get
    return (server_id, timestamp(time), *[get(name) for name in NOQUEUE_COLUMNS])


def load_recipient(row: Sequence[Any]) -> tuple[int, int, Recipient]:
    """Give mail id, recipient key and recipient of a row of LOAD_TO."""
    values = dict(zip(TO_ALL, row, strict=True))
    columns = RecipientColumns._make(values[name] for name in RecipientColumns._fields)
    times = [(values[name] or values["attempted"]).timestamp() for name in TO_TIMES]
    attempts = 1 if values["attempts"] is None else values["attempts"]
    recipient = Recipient(columns, times[0], times[1], times[2], attempts, stored=True)
    return values["mail_id"], values["recipient_key"], recipient


def evidence_line(message: LogMessage) -> bytes:
    """Give a message as the line that it was."""
    return f"{message.identifier}[{message.pid}]: {message.text}".encode("utf-8", "surrogatepass")
