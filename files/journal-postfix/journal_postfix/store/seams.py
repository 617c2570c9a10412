"""No seam between sources: what log files and the journal both tell is stored once.

Takes a batch and the input that it was read from; leaves out of the batch the lines that an input of another kind has
told, and keeps a record of those that this one tells. Works in the batch's transaction, behind the lock of its hosts.

Theory. Of every line that an input told and that was stored, a hash and the time to a tenth of a second are kept. A
line is left out if others have told one with the same hash WITHIN two seconds (a file's stamps are whole seconds, and
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
from struct import Struct
from typing import Any, Final

from ..message import LogMessage
from .batch import Batch, InputPosition
from .database import Database, timestamp

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
PACKED: Final = Struct("<8sh")

Told = tuple[bytes, int]
"""Hash and time of a line."""


def line_hash(message: LogMessage) -> bytes:
    """Give 8 bytes of what two sources tell alike of a line."""
    text = message.identifier + str(message.pid) + message.text[:HASHED_CHARACTERS].strip()
    return blake2b(text.encode("ascii", "replace")).digest()[:8]


def line_hashes(messages: Iterable[LogMessage]) -> list[bytes]:
    """Give line_hash of each."""
    return [line_hash(message) for message in messages]


def tenths(time: float) -> int:
    """Give UNIX seconds as whole tenths."""
    return int(time * SECOND)


def leave_out_known(database: Database, batch: Batch, begins: InputPosition) -> None:
    """Leave out of a batch what is known from elsewhere, and record what it tells."""
    known: set[int] = set()
    for host, lines in _by_host(batch).items():
        messages = [batch.messages[line] for line in lines]
        hashes = [batch.hashes[line] for line in lines] if batch.hashes else line_hashes(messages)
        told = [(hashed, tenths(message.time)) for hashed, message in zip(hashes, messages, strict=True)]
        found = _find_known(database, begins, host, lines, told, batch.forged_lines)
        _record(
            database,
            begins,
            host,
            [found.get(line, pair) for line, pair in zip(lines, told, strict=True)],
            [line in found for line in lines],
        )
        known.update(found)
    if known:
        batch.leave_out(known)


def _by_host(batch: Batch) -> dict[str, list[int]]:
    """Give the lines of Postfix and its neighbours, and of who says to be Postfix, by host."""
    groups: dict[str, list[int]] = {}
    neither = batch.not_postfix - batch.forged_lines
    for line, message in enumerate(batch.messages):
        if neither and line in neither:
            continue
        lines = groups.get(message.host)
        if lines is None:
            lines = groups[message.host] = []
        lines.append(line)
    return groups


def _find_known(
    database: Database, begins: InputPosition, host: str, lines: Sequence[int], told: Sequence[Told], forged: set[int]
) -> dict[int, Told]:
    """Give the lines that others have told, each with the one of theirs that it is."""
    wanted = {hashed for hashed, _ in told}
    ranges = list(_ranges(told))
    by_others = _load(database, _TOLD_BY_OTHERS, host, ranges, (begins.input_id, begins.is_journal), wanted)
    if not by_others:
        return {}
    for hashed, times in _load(database, _LEFT_OUT, host, ranges, (begins.input_id,), set(by_others)).items():
        for time in times:
            place = bisect_left(by_others[hashed], time)
            if by_others[hashed][place : place + 1] == [time]:
                del by_others[hashed][place]
    known = {}
    for line, (hashed, time) in zip(lines, told, strict=True):
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


def _ranges(told: Sequence[Told]) -> Iterator[tuple[int, int]]:
    """Give the stretches of time in which the lines lie, and what is near enough to matter."""
    times = sorted({time for _, time in told})
    first = last = times[0]
    for time in times:
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
    f"SELECT t.input_told_id, t.base, t.told {_IN_RANGES} WHERE t.input_id <> %s AND (t.is_journal OR %s)"
)
_LEFT_OUT: Final = f"SELECT t.input_told_id, t.base, t.left_out {_IN_RANGES} WHERE t.input_id = %s"


def _load(
    database: Database, query: str, host: str, ranges: Sequence[tuple[int, int]], own: Sequence[Any], wanted: set[bytes]
) -> dict[bytes, list[int]]:
    """Give when lines with these hashes were told, sorted; `own` are the query's last parameters."""
    found: dict[bytes, list[int]] = {}
    seen = set()
    for some in range(0, len(ranges), LOOK_UPS):
        chunk = ranges[some : some + LOOK_UPS]
        bounds = [[_timestamp(bound[side]) for bound in chunk] for side in (0, 1)]
        for input_told_id, base, packed in database.fetch(query, (*bounds, host, *own)):
            if input_told_id in seen:
                continue
            seen.add(input_told_id)
            base = round(base.timestamp() * SECOND)
            for hashed, offset in PACKED.iter_unpack(packed):
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
        self.told: list[bytes] = []
        self.left_out: list[bytes] = []

    def add(self, lines: Sequence[Told], is_known: Sequence[bool]) -> None:
        """Take lines whose times are within SPAN."""
        times = [time for _, time in lines]
        self.began = min(self.began, *times)
        self.ended = max(self.ended, *times)
        base, pack = self.base, PACKED.pack
        for (hashed, time), known in zip(lines, is_known, strict=True):
            (self.left_out if known else self.told).append(pack(hashed, time - base))

    def columns(self) -> tuple[Any, ...]:
        """Give base, began, ended, told, left_out."""
        times = (self.base, self.began, self.ended)
        return (*map(_timestamp, times), b"".join(self.told), b"".join(self.left_out))


def _record(
    database: Database, begins: InputPosition, host: str, lines: Sequence[Told], is_known: Sequence[bool]
) -> None:
    """Keep what an input told of a host, and for what it was left out."""
    row = _growing_row(database, begins, host, len(lines)) if len(lines) <= GROWING_LINES else None
    rows = []
    place = 0
    while place < len(lines):
        if row is None:
            time = lines[place][1]
            row = _Row(0, time, time, time)
        base = row.base
        end = next((n for n in range(place, len(lines)) if abs(lines[n][1] - base) > SPAN), len(lines))
        if end > place:
            row.add(lines[place:end], is_known[place:end])
            rows.append(row)
        row, place = None, end
    for row in rows:
        if row.number:
            _, began, ended, told, left_out = row.columns()
            database.execute(
                "UPDATE input_told SET began = %s, ended = %s, told = told || %s, left_out = left_out || %s "
                "WHERE input_told_id = %s",
                (began, ended, told, left_out, row.number),
            )
    new = [(begins.input_id, begins.is_journal, host, *row.columns()) for row in rows if not row.number]
    if new:
        database.execute_values(
            "INSERT INTO input_told (input_id, is_journal, host, base, began, ended, told, left_out) VALUES %s", new
        )


def _growing_row(database: Database, begins: InputPosition, host: str, count: int) -> _Row | None:
    """Give the newest row if it may take so many lines more."""
    rows = database.fetch(
        "SELECT input_told_id, base, began, ended FROM input_told WHERE input_told_id = ("
        "SELECT max(input_told_id) FROM input_told WHERE input_id = %s AND host = %s) "
        "AND octet_length(told) + octet_length(left_out) <= %s",
        (begins.input_id, host, (GROWING_LINES - count) * PACKED.size),
    )
    for number, *times in rows:
        base, began, ended = (round(time.timestamp() * SECOND) for time in times)
        return _Row(number, base, began, ended)
    return None


def _timestamp(time: int) -> str:
    text = timestamp(time / SECOND)
    assert text is not None
    return text
