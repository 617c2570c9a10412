"""No seam between sources: what log files and the journal both tell is stored once.

Takes a batch and the input that it was read from; leaves out of the batch the lines that an input of another kind has
covered, and keeps the record of what this input covers. Works in the batch's transaction, behind the lock of its hosts.

Theory. Per input, host and program (the first part of the identifier) there are *stretches* of time without a gap. A
line of another input whose time lies inside a stretch, further than EDGE_S from its ends, is known already. Nearer to
an end, times do not decide (a file's stamps are whole seconds, and rsyslog's differ from the journal's by up to one):
there a line is left out if a line with the same identifier, process and text is among those that were kept of the
stretch's end, each of them for one line.

A stretch ends where nothing came for HOLE_S, where time went back, and where a gap is known: so a file from which lines
are missing covers no more than it has, and of a quiet server every line is compared. A selection of a log (mail.warn,
what grep found) could be dense enough to look like a whole: a stretch covers its inside only once a line came that no
selection by address or priority has. Two log files never cover each other: a file is known by its content, and at a
rotation the same second belongs to both. Two inputs from journals do (the daemon's, and what journalctl printed).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

from ..message import LogMessage
from .batch import Batch, InputPosition
from .database import Database, timestamp

SECOND: Final = 1_000_000
EDGE_S: Final = 2.0
EDGE: Final = int(EDGE_S * SECOND)
# How much of a stretch's end is kept: lines that stand as much as EDGE inside may have been outside by another clock.
KEPT: Final = 2 * EDGE
HOLE: Final = 60 * SECOND
BACK: Final = 5 * SECOND
# Bounds what is to be looked through, and how much a wrong stamp can claim.
LONGEST: Final = 3600 * SECOND
# Lines of one end that are kept; with more, which only a made-up log has, the rest is stored twice.
MAX_KEPT: Final = 100_000
HASHED_CHARACTERS: Final = 900  # rsyslog cuts long lines

Edge = list[tuple[int, int]]
"""Microseconds and hash of lines, in their order."""

Key = tuple[str, str]
"""Host and program."""

Match = tuple[int, int, int]
"""A line of a stretch's end for which another one was left out: coverage_id, microseconds, hash."""


def line_hash(message: LogMessage) -> int:
    """Give 64 bit of what two sources tell alike of a line."""
    text = f"{message.identifier}[{message.pid}]: {message.text[:HASHED_CHARACTERS].strip()}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


def micros(time: float) -> int:
    """Give UNIX seconds as whole microseconds."""
    return int(time * SECOND + 0.5)


class Stretch:
    """A time that an input has covered without a gap. Times in microseconds."""

    def __init__(self, began: int, ended: int, *, is_whole: bool) -> None:
        self.began = began
        self.ended = ended
        self.is_whole = is_whole
        self.head: Edge = []
        self.tail: Edge = []
        self.coverage_id = 0
        self._by_hash: dict[int, list[int]] | None = None

    def surely_covers(self, time: int) -> bool:
        """Tell whether a line at this time is known whatever it says."""
        return self.is_whole and self.began + EDGE < time < self.ended - EDGE

    def find(self, time: int, hashed: int, matched: Counter[Match]) -> Match | None:
        """Find a line of the ends that says the same at about this time, and was not found before."""
        if self._by_hash is None:
            self._by_hash = {}
            for kept_time, kept in (*self.head, *self.tail):
                self._by_hash.setdefault(kept, []).append(kept_time)
        counts: Counter[Match] = Counter()
        for kept_time in self._by_hash.get(hashed, ()):
            if abs(kept_time - time) <= EDGE:
                match = (self.coverage_id, kept_time, hashed)
                counts[match] += 1
                if counts[match] > matched[match]:
                    return match
        return None

    def extend(self, lines: Sequence[int], times: Sequence[int], messages: Sequence[LogMessage]) -> None:
        """Take lines that follow without a gap, in the order of the input."""
        head_ends = self.began + KEPT
        for line, time in zip(lines, times, strict=True):
            if time > head_ends + BACK:
                break
            if time <= head_ends and len(self.head) < MAX_KEPT:
                self.head.append((time, line_hash(messages[line])))
        self.ended = max(self.ended, *times)
        tail_begins = max(self.ended - KEPT, head_ends + 1)
        tail = []
        for line, time in zip(reversed(lines), reversed(times), strict=True):
            if time < tail_begins - BACK:
                break
            if time >= tail_begins:
                tail.append((time, line_hash(messages[line])))
        tail.reverse()
        self.tail = [*(kept for kept in self.tail if kept[0] >= tail_begins), *tail][-MAX_KEPT:]
        if not self.is_whole:
            self.is_whole = any(_is_of_a_whole(messages[line]) for line in lines)


def _is_of_a_whole(message: LogMessage) -> bool:
    """Tell a line that no selection by address or by priority contains."""
    text = message.text
    return text.startswith(("connect from ", "disconnect from ")) or text.endswith(": removed")


class _Program:
    """What an input covers of one program of a host: the stretch that the next line may go on, and what changed."""

    def __init__(self, current: Stretch | None, matched: Counter[Match]) -> None:
        self.current = current
        self.matched = matched
        self.changed: list[Stretch] = []

    def grow(
        self, lines: Sequence[int], times: Sequence[int], messages: Sequence[LogMessage], cuts: Sequence[int]
    ) -> None:
        """Take a batch's lines; `cuts` are the numbers of the lines before which something is missing."""
        for begin, end, is_new in self._cut(lines, times, cuts):
            if is_new:
                # What has no parts in its name is no Postfix, and there is nothing to tell a selection by.
                is_whole = "/" not in messages[lines[begin]].identifier
                self.current = Stretch(times[begin], times[begin], is_whole=is_whole)
            assert self.current is not None
            self.current.extend(lines[begin:end], times[begin:end], messages)
            self.changed.append(self.current)
        ended = times[-1]
        self.matched = +Counter(
            {match: count for match, count in self.matched.items() if abs(match[1] - ended) <= KEPT + BACK}
        )

    def _cut(self, lines: Sequence[int], times: Sequence[int], cuts: Sequence[int]) -> Iterator[tuple[int, int, bool]]:
        """Yield the parts of the lines that no gap cuts, as places, and whether a new stretch begins with each."""
        is_new = self.current is None
        began = self.current.began if self.current else times[0]
        ended = self.current.ended if self.current else times[0]
        waiting = iter(cuts)
        cut = next(waiting, None)
        begin = 0
        for place, time in enumerate(times):
            is_cut = False
            while cut is not None and cut <= lines[place]:
                is_cut = True
                cut = next(waiting, None)
            if is_cut or time - ended > HOLE or time < ended - BACK or time - began > LONGEST:
                if place > begin:
                    yield begin, place, is_new
                begin = place
                is_new = True
                began = ended = time
            elif time > ended:
                ended = time
        yield begin, len(times), is_new


def cover(database: Database, batch: Batch, begins: InputPosition) -> None:
    """Leave out of a batch what is known from elsewhere, and record what its input covers now."""
    groups = _by_program(batch)
    times = {key: [micros(batch.messages[line].time) for line in lines] for key, lines in groups.items()}
    programs = _load_own(database, begins, list(groups))
    others = _load_others(database, begins, times)
    covered: set[int] = set()
    for key, stretches in others.items():
        covered |= _find_covered(batch.messages, groups[key], times[key], stretches, programs[key].matched)
    cuts = [line for line, _ in batch.gaps]
    for key, program in programs.items():
        program.grow(groups[key], times[key], batch.messages, cuts)
    _save(database, begins, programs)
    if cuts:
        _close_before(database, begins, [key for key, lines in groups.items() if lines[-1] >= cuts[-1]])
    if covered:
        batch.leave_out(covered)


def _by_program(batch: Batch) -> dict[Key, list[int]]:
    """Give the lines of Postfix (and its neighbours) by host and program."""
    groups: dict[Key, list[int]] = {}
    by_identifier: dict[Key, list[int]] = {}
    left_out = batch.not_postfix
    for line, message in enumerate(batch.messages):
        if left_out and line in left_out:
            continue
        key = (message[0], message[1])
        lines = by_identifier.get(key)
        if lines is None:
            program = message.identifier.partition("/")[0]
            lines = by_identifier[key] = groups.setdefault((message.host, program), [])
        lines.append(line)
    return groups


def _find_covered(
    messages: Sequence[LogMessage],
    lines: Sequence[int],
    times: Sequence[int],
    stretches: Sequence[Stretch],
    matched: Counter[Match],
) -> set[int]:
    covered = set()
    for line, time in zip(lines, times, strict=True):
        near = [stretch for stretch in stretches if stretch.began - EDGE <= time <= stretch.ended + EDGE]
        if any(stretch.surely_covers(time) for stretch in near):
            covered.add(line)
        elif near:
            hashed = line_hash(messages[line])
            # The same line may be in several stretches (two files and the journal): it is used up in each.
            found = [match for stretch in near if (match := stretch.find(time, hashed, matched))]
            if found:
                matched.update(found)
                covered.add(line)
    return covered


# ---- in the database


def _load_own(database: Database, begins: InputPosition, keys: list[Key]) -> dict[Key, _Program]:
    """Give what the input covers of these programs so far."""
    programs = {key: _Program(None, Counter()) for key in keys}
    if not keys:
        return programs
    rows = database.fetch(
        "SELECT c.host, c.program, c.matched, c.is_closed, c.coverage_id, c.began, c.ended, c.is_whole, c.head, c.tail "
        "FROM unnest(%s::text[], %s::text[]) AS k (host, program) CROSS JOIN LATERAL ("
        "SELECT * FROM input_coverage AS i WHERE i.input_id = %s AND i.host = k.host AND i.program = k.program "
        "ORDER BY i.coverage_id DESC LIMIT 1) AS c",
        ([host for host, _ in keys], [program for _, program in keys], begins.input_id),
    )
    for host, program, matched, is_closed, *columns in rows:
        known = programs[host, program]
        known.matched = Counter(_unpacked(matched, 3))
        if not is_closed:
            known.current = _stretch(columns)
    return programs


def _load_others(database: Database, begins: InputPosition, times: dict[Key, list[int]]) -> dict[Key, list[Stretch]]:
    """Give the stretches that may cover lines of these times."""
    others: dict[Key, list[Stretch]] = {}
    if times:
        rows = database.fetch(
            "SELECT c.host, c.program, c.coverage_id, c.began, c.ended, c.is_whole, c.head, c.tail "
            "FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[]) "
            "AS k (host, program, first_time, last_time) INNER JOIN input_coverage AS c "
            "ON c.host = k.host AND c.program = k.program AND c.ended >= k.first_time "
            "AND c.ended <= k.last_time + %s * INTERVAL '1 microsecond' AND c.began <= k.last_time "
            "WHERE c.input_id <> %s AND (c.is_journal OR %s)",
            (
                [host for host, _ in times],
                [program for _, program in times],
                [_timestamp(min(group) - EDGE) for group in times.values()],
                [_timestamp(max(group) + EDGE) for group in times.values()],
                LONGEST + BACK,
                begins.input_id,
                begins.is_journal,
            ),
        )
        for host, program, *columns in rows:
            others.setdefault((host, program), []).append(_stretch(columns))
    return others


def _save(database: Database, begins: InputPosition, programs: dict[Key, _Program]) -> None:
    new = []
    for (host, program), known in programs.items():
        for stretch in known.changed:
            matched = _packed(known.matched.elements()) if stretch is known.current else b""
            times = (_timestamp(stretch.began), _timestamp(stretch.ended))
            ends = (_packed(stretch.head), _packed(stretch.tail), matched)
            if stretch.coverage_id:
                database.execute(
                    "UPDATE input_coverage SET ended = %s, is_whole = %s, head = %s, tail = %s, matched = %s "
                    "WHERE coverage_id = %s",
                    (times[1], stretch.is_whole, *ends, stretch.coverage_id),
                )
            else:
                new.append((begins.input_id, begins.is_journal, host, program, *times, stretch.is_whole, False, *ends))
    if new:
        database.execute_values(
            "INSERT INTO input_coverage (input_id, is_journal, host, program, began, ended, is_whole, is_closed, head, "
            "tail, matched) VALUES %s",
            new,
        )


def _close_before(database: Database, begins: InputPosition, gone_on: list[Key]) -> None:
    """Let no line that comes go on a stretch of before a gap; `gone_on` are those that have lines behind it already."""
    database.execute(
        "UPDATE input_coverage SET is_closed = TRUE WHERE input_id = %s AND NOT is_closed "
        "AND NOT ((host, program) IN (SELECT * FROM unnest(%s::text[], %s::text[])))",
        (begins.input_id, [host for host, _ in gone_on], [program for _, program in gone_on]),
    )


def _stretch(columns: Sequence[Any]) -> Stretch:
    coverage_id, began, ended, is_whole, head, tail = columns
    stretch = Stretch(micros(began.timestamp()), micros(ended.timestamp()), is_whole=is_whole)
    stretch.coverage_id = coverage_id
    stretch.head = [(time, hashed) for time, hashed in _unpacked(head, 2)]
    stretch.tail = [(time, hashed) for time, hashed in _unpacked(tail, 2)]
    return stretch


def _timestamp(time: int) -> str:
    text = timestamp(time / SECOND)
    assert text is not None
    return text


def _packed(rows: Iterable[tuple[int, ...]]) -> bytes:
    return array("q", [number for row in rows for number in row]).tobytes()


def _unpacked(data: Any, width: int) -> Iterator[tuple[Any, ...]]:
    numbers = array("q", bytes(data))
    return zip(*[iter(numbers)] * width, strict=True)
