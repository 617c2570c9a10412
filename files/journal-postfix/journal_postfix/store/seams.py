"""No seam between sources: what log files and the journal both tell is stored once.

Takes a batch and the input that it was read from; leaves out of the batch the lines that an input of another kind has
told, and keeps a record of those that this one tells. Works in the batch's transaction, behind the lock of its hosts.

Theory. Of every line that an input told and that was stored, a hash and the time to a tenth of a second are kept (48
bits suffice: they are compared within seconds, and a thousand lines make a wrong match of one line in 10^11). A line is
left out if others have told one with the same hash WITHIN two seconds (a file's stamps are whole seconds, and
rsyslog's differ from the journal's) for which no line of this input was left out before; that one is kept, too. So
each line stands for one line, and that a source covers a time drops nothing: what one source alone has (the other was
rate-limited, or is what grep found) is stored. All that decides is in the record, so any grouping of lines into
batches gives the same.

Two log files never tell the same: a file is known by its content, and at a rotation the same second belongs to both.
Two inputs from journals do (the daemon's, and what journalctl printed). What is forged in the journal was told, too: a
log file cannot tell it from Postfix's own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import compress
from operator import not_
from struct import Struct
from typing import Any, Final

from ..message import LogMessage
from .batch import Batch
from .database import Database, Statement, timestamp
from .positions import InputPosition

SECOND: Final = 10  # all times here are whole tenths
WITHIN: Final = 2 * SECOND
# How far the lines of one row may be from its first one: what 16 bits hold.
SPAN: Final = 3000 * SECOND
# A row grows by small batches up to this; it stays in its page, and old versions of it are small.
GROWING_LINES: Final = 150
# Times that are this near are looked up as one; so many look-ups at once.
NEAR: Final = 60 * SECOND
LOOK_UPS: Final = 64

HASHED_CHARACTERS: Final = 900  # rsyslog cuts long lines
# Apart from each other: hashes cannot be compressed, times of one second after the other can.
PACKED_HASH: Final = Struct("<6s")
PACKED_TIME: Final = Struct("<h")

Told = tuple[bytes, int]
"""Hash and time of a line."""


def line_hash(message: LogMessage) -> bytes:
    """Give 6 bytes of what two sources tell alike of a line."""
    return line_hashes([message])[0]


def line_hashes(messages: Iterable[LogMessage]) -> list[bytes]:
    """Give line_hash of each."""
    cut = HASHED_CHARACTERS
    # By number: identifier, process id, text.
    return [
        blake2b(f"{message[1]}{message[2]}{message[4][:cut].strip()}".encode("ascii", "replace")).digest()[:6]
        for message in messages
    ]


def tenths(time: float) -> int:
    """Give UNIX seconds as whole tenths."""
    return int(time * SECOND)


def leave_out_known(database: Database, batch: Batch, begins: InputPosition) -> bool:
    """Leave out of a batch what is known from elsewhere, and record what it tells; tell whether any line was."""
    known: set[int] = set()
    for host, lines in _by_host(batch).items():
        messages = list(map(batch.messages.__getitem__, lines))
        hashes = [batch.hashes[line] for line in lines] if batch.hashes else line_hashes(messages)
        times = [int(message[3] * SECOND) for message in messages]
        found = _find_known(database, begins, host, lines, hashes, times, batch.forged_lines)
        for place, line in enumerate(lines if found else ()):
            if line in found:
                hashes[place], times[place] = found[line]
        _record(database, begins, host, hashes, times, {place for place, line in enumerate(lines) if line in found})
        known.update(found)
    if known:
        batch.leave_out(known)
    return bool(known)


def _by_host(batch: Batch) -> dict[str, Sequence[int]]:
    """Give the lines of Postfix and its neighbours, and of who says to be Postfix, by host."""
    neither = batch.not_postfix - batch.forged_lines
    messages = batch.messages
    if not neither and len({host for host, _, _ in batch.counters}) == 1:
        return {messages[0].host: range(len(messages))}
    groups: dict[str, list[int]] = {}
    for line, message in enumerate(messages):
        if line not in neither:
            groups.setdefault(message.host, []).append(line)
    return dict(groups)


def _find_known(
    database: Database,
    begins: InputPosition,
    host: str,
    lines: Sequence[int],
    hashes: Sequence[bytes],
    times: Sequence[int],
    forged: set[int],
) -> dict[int, Told]:
    """Give the lines that others have told, each with the one of theirs that it is."""
    ranges = list(_ranges(times))
    packed_by_others = _fetch(database, _TOLD_BY_OTHERS, host, ranges, (begins.input_id, begins.is_journal))
    if not packed_by_others:
        return {}
    by_others = _unpack(packed_by_others, set(hashes))
    if not by_others:
        return {}
    left_out = _fetch(database, _LEFT_OUT, host, ranges, (begins.input_id,))
    for hashed, at in _unpack(left_out, set(by_others)).items():
        for time in at:
            place = bisect_left(by_others[hashed], time)
            if by_others[hashed][place : place + 1] == [time]:
                del by_others[hashed][place]
    known = {}
    for line, hashed, time in zip(lines, hashes, times, strict=True):
        # What is forged stays so whoever told it before.
        if hashed in by_others and line not in forged:
            same = _take(by_others[hashed], time)
            if same is not None:
                known[line] = (hashed, same)
    return known


def _take(times: list[int], time: int) -> int | None:
    """Take the time that is nearest to one, and WITHIN, out of sorted times; of the same second the first.

    The nearest, or lines all alike would shift: the last one of a source would stand for what only another one has.
    """
    second = time - time % SECOND
    place = bisect_left(times, second)
    if place == len(times) or times[place] >= second + SECOND:
        if place and (place == len(times) or time - times[place - 1] <= times[place] - time):
            place -= 1
        if place == len(times) or abs(times[place] - time) > WITHIN:
            return None
    return times.pop(place)


def _ranges(times: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Give the stretches of time in which the lines lie, and what is near enough to matter."""
    distinct = sorted(set(times))
    first = last = distinct[0]
    for time in distinct:
        if time - last > NEAR:
            yield first - WITHIN, last + WITHIN
            first = time
        last = time
    yield first - WITHIN, last + WITHIN


# ---- in the database

_IN_RANGES: Final = (
    "FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS r (first_time, last_time) INNER JOIN input_told AS t "
    "ON t.host = %s AND t.ended >= r.first_time AND t.began <= r.last_time "
    f"AND t.ended <= r.last_time + INTERVAL '{2 * SPAN // SECOND} seconds' "
)
_TOLD_BY_OTHERS: Final = (
    f"SELECT t.input_told_id, t.base, t.told, t.told_times {_IN_RANGES} WHERE t.input_id <> %s AND (t.is_journal OR %s)"
)
_LEFT_OUT: Final = f"SELECT t.input_told_id, t.base, t.left_out, t.left_out_times {_IN_RANGES} WHERE t.input_id = %s"
_GROW: Final = Statement(
    "grow",
    ("timestamptz", "timestamptz", "bytea", "bytea", "bytea", "bytea", "bigint"),
    "UPDATE input_told SET began = $1, ended = $2, told = told || $3, left_out = left_out || $4, "
    "told_times = told_times || $5, left_out_times = left_out_times || $6 WHERE input_told_id = $7",
)
_BEGIN: Final = Statement(
    "begin_told",
    ("bigint", "boolean", "text", "timestamptz", "timestamptz", "timestamptz", "bytea", "bytea", "bytea", "bytea"),
    "INSERT INTO input_told (input_id, is_journal, host, base, began, ended, told, left_out, told_times, "
    "left_out_times) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
)
STATEMENTS: Final = (_GROW, _BEGIN)


def _fetch(
    database: Database, query: str, host: str, ranges: Sequence[tuple[int, int]], own: Sequence[Any]
) -> dict[int, tuple[int, Any, Any]]:
    """Give base, packed hashes and times of the rows about these times, by number; `own` are the last parameters."""
    rows = {}
    for some in range(0, len(ranges), LOOK_UPS):
        chunk = ranges[some : some + LOOK_UPS]
        bounds = [[_timestamp(bound[side]) for bound in chunk] for side in (0, 1)]
        for number, base, hashes, offsets in database.fetch(query, (*bounds, host, *own)):
            rows[number] = (round(base.timestamp() * SECOND), hashes, offsets)
    return rows


def _unpack(rows: dict[int, tuple[int, Any, Any]], wanted: set[bytes]) -> dict[bytes, list[int]]:
    """Give when lines with these hashes were told, sorted."""
    found: dict[bytes, list[int]] = {}
    for base, hashes, offsets in rows.values():
        unpacked = zip(PACKED_HASH.iter_unpack(hashes), PACKED_TIME.iter_unpack(offsets), strict=True)
        for (hashed,), (offset,) in unpacked:
            if hashed in wanted:
                found.setdefault(hashed, []).append(base + offset)
    for times in found.values():
        times.sort()
    return found


class _Row:
    """A row of input_told: one that grows, or a new one (`number` 0)."""

    def __init__(self, number: int, base: int, began: int, ended: int) -> None:
        self.number = number
        self.base = base
        self.began = began
        self.ended = ended
        self.told = self.told_times = b""
        self.left_out = self.left_out_times = b""

    def add(self, hashes: Sequence[bytes], times: Sequence[int], is_known: Sequence[bool]) -> None:
        """Take lines whose times are within SPAN; `is_known` is empty where none is."""
        self.began = min(self.began, *times)
        self.ended = max(self.ended, *times)
        base = self.base
        packed = [PACKED_TIME.pack(time - base) for time in times]
        if not is_known:
            self.told, self.told_times = b"".join(hashes), b"".join(packed)
            return
        is_told = list(map(not_, is_known))
        self.told, self.told_times = b"".join(compress(hashes, is_told)), b"".join(compress(packed, is_told))
        self.left_out, self.left_out_times = b"".join(compress(hashes, is_known)), b"".join(compress(packed, is_known))

    def columns(self) -> tuple[Any, ...]:
        """Give base, began, ended, told, left_out, and the times of these two."""
        times = map(_timestamp, (self.base, self.began, self.ended))
        return (*times, self.told, self.left_out, self.told_times, self.left_out_times)


def _record(
    database: Database,
    begins: InputPosition,
    host: str,
    hashes: Sequence[bytes],
    times: Sequence[int],
    known: set[int],
) -> None:
    """Keep what an input told of a host, and for what it was left out (the places in `known`)."""
    count = len(hashes)
    row = _growing_row(database, begins, host, count) if count <= GROWING_LINES else None
    is_known = [place in known for place in range(count)] if known else []
    rows = []
    place = 0
    while place < count:
        if row is None:
            row = _Row(0, times[place], times[place], times[place])
        end = _end_of_row(times, place, row.base)
        if end > place:
            row.add(hashes[place:end], times[place:end], is_known[place:end])
            rows.append(row)
        row, place = None, end
    for row in rows:
        if row.number:
            database.defer(_GROW.command, (*row.columns()[1:], row.number))
        else:
            database.defer(_BEGIN.command, (begins.input_id, begins.is_journal, host, *row.columns()))


def _end_of_row(times: Sequence[int], place: int, base: int) -> int:
    """Give the first place from this one on whose time is too far from the row's."""
    if place == 0 and max(times) - base <= SPAN and base - min(times) <= SPAN:
        return len(times)
    return next((n for n in range(place, len(times)) if abs(times[n] - base) > SPAN), len(times))


def _growing_row(database: Database, begins: InputPosition, host: str, count: int) -> _Row | None:
    """Give the newest row if it may take so many lines more."""
    rows = database.fetch(
        "SELECT input_told_id, base, began, ended FROM input_told WHERE input_told_id = ("
        "SELECT max(input_told_id) FROM input_told WHERE input_id = %s AND host = %s) "
        "AND octet_length(told) + octet_length(left_out) <= %s",
        (begins.input_id, host, (GROWING_LINES - count) * PACKED_HASH.size),
    )
    for number, *times in rows:
        base, began, ended = (round(time.timestamp() * SECOND) for time in times)
        return _Row(number, base, began, ended)
    return None


def _timestamp(time: int) -> str:
    text = timestamp(time / SECOND)
    assert text is not None
    return text
