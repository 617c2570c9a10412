"""The journal as a source: opens it, finds the place where to go on, reads and follows.

Takes where the journal is and whom to believe; gives `LogMessage`s and `Gap`s in the journal's order, and the cursor
behind them. Reads only; never blocks but in `wait`. Content never raises; a journal that cannot be read raises
`InputError`. The one module that imports systemd.

Theory. A `Journal` stands at the entry that it gave last, and only that entry's cursor is asked for, when somebody
commits: asking at every entry would cost a fifth of the speed. The journal's order is that of the cursors (sequence
numbers, then the clock since boot, then the time of day), so a clock that is set back disturbs nothing as long as
journald goes on. Entries come raw from the base class of systemd.journal.Reader, which converts nothing.

What happens to the files in the meantime is looked at only when there is nothing more to read in those that are open
(`_see_to_files`): a file that was deleted stays readable until then, unless journald vacuumed it. Where the entry that
we stand at is gone by then, or was when reading began, what follows it may be gone too: that is a gap of kind
'vacuumed', unless the next entry has the next sequence number. libsystemd drops a damaged file without a word when it
comes to the damage; it is noticed by the disk usage that it tells, and what is lost is a gap of kind 'damaged'.
systemd: src/libsystemd/sd-journal/sd-journal.c; sd_journal_get_cursor(3), sd_journal_process(3).
"""

from __future__ import annotations

import contextlib
import enum
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from ..errors import InputError
from ..message import Gap, LogMessage
from .cursors import cursor_time, distance, identity, moved_on
from .entries import FIELD_LINE_BYTES, ROOT, Trust
from .journaldamage import DamageFinder, is_hollow
from .journalfiles import JournalFiles, shown_path
from .rawentries import SUPPRESSED_ID, USER_FACILITY, RawEntries

try:
    from systemd import _reader
except ImportError:
    _reader = None  # type: ignore[assignment]

MAIL_FACILITY: Final = "2"
# How often to see for ourselves whether there are other files, as libsystemd may not notice: it goes on without a word
# when it cannot watch a folder, or when inotify's queue has overflown (nobody empties it while the database is away).
LOOK_INTERVAL_S: Final = 60.0
MAX_SKIP: Final = 24  # 2 ** that many entries of a damaged file


class JournalOptions(NamedTuple):
    """Where the journal is, what is read of it, and whom to believe.

    `directory`: of journal files (collected ones, as a rule) instead of this host's journal; `namespace`: of this
    host's journald. `machine_id`: read the entries of one machine only. A directory with several machines' journals
    must be read machine by machine (`machine_ids`): one's entries that come late would stand before the place that
    reading has reached, and never be given. `host` is taken for every message, whatever the entry says.

    `facilities`: syslog's numbers, as Postfix's syslog_facility is mail = 2. `own_uids` and `units` as in
    `is_from_postfix`. `neighbours`: names, and the identifiers under which they log, whatever their facility.
    """

    directory: str | None = None
    namespace: str | None = None
    machine_id: str | None = None
    host: str | None = None
    own_uids: Set[str] = ROOT
    units: Set[str] = frozenset()
    facilities: Sequence[str] = (MAIL_FACILITY,)
    neighbours: Mapping[str, Sequence[str]] = {}


class Found(enum.Enum):
    """Where `Journal.seek` has come to."""

    EXACT = "exact"
    """Behind the entry of the cursor; nothing is missing."""
    NEXT = "next"
    """Before the oldest entry behind the cursor's, which is gone; a `Gap` comes first."""
    START = "start"
    """Where there was no cursor: at the time asked for, or the oldest entry."""


def machine_ids(directory: str) -> list[str]:
    """Give the ids of the machines whose entries a directory holds; raises InputError."""
    with Journal(JournalOptions(directory=directory)) as journal:
        return journal.machine_ids()


class Journal:
    """An open journal; see the module's head. Raises InputError when there is none, or none that may be read.

    `name` names it for people. `position` counts the messages given since the seek, on from what that was told.
    `problems` says which files cannot be read; what is readable of the others is.
    """

    def __init__(self, options: JournalOptions | None = None) -> None:
        self._options = options or JournalOptions()
        self.name = _name(self._options)
        self.position = 0
        self.problems: list[str] = []
        self._identifiers = {one: name for name, all_ in self._options.neighbours.items() for one in all_}
        trust = Trust(self._options.own_uids, self._options.units, self._identifiers)
        self._entries = RawEntries(trust, self._options.host, self._options.facilities)
        self._cursor: str | None = None  # of the last entry given, as far as `_uncounted` is 0
        self._uncounted = 0  # entries given since
        self._pending = False  # the reader stands at an entry that is still to be given
        self._gaps: list[Gap] = []  # to be given before the next entry
        self._time: float | None = None  # of the last entry
        self._sound_time: float | None = None  # of the last entry when the files were last known to be there
        self._standing = False  # the reader stands at the entry of the cursor, or a later one
        self._broken = False  # the file that we stood in was dropped
        self._skip_after = 0.0  # when to look again for what is behind damage, on the monotonic clock
        self._since = 0  # where to begin without a cursor, microseconds
        self._files = JournalFiles(self.name, self._options.directory, self._options.namespace)
        self._damage = DamageFinder(self._files, lambda path: self._open([str(path)]))
        self._known: frozenset[tuple[str, int]] = frozenset()  # the files when they were opened
        self._ends: list[float] = []  # when the files end that were there at first and are not read yet, the next last
        self._look_at_files()
        self._reader = self._open()
        self._look_after = time.monotonic() + LOOK_INTERVAL_S
        self._usage = self._reader.get_usage()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    # ---- where to read

    def seek(self, cursor: str | None, since: float | None = None, position: int = 0) -> Found:
        """Go behind the entry of a cursor; without one to the first entry not older than `since` (UNIX seconds).

        A cursor that is none is taken as one that is gone, and `since` as the time of its entry.
        """
        self.position = position
        self._cursor = cursor
        self._uncounted = 0
        self._broken = False
        self._gaps = []
        self._time = self._sound_time = since
        self._since = max(round((since or 0.0) * 1e6), 0)
        if cursor is None:
            return self._seek_time()
        self._time = self._sound_time = cursor_time(cursor) or since
        with self._translated():
            found = self._seek_cursor(cursor)
        if found is None:
            self._cursor = None
            self._since += 1
            self._seek_time()
            self._gaps = [self._missing("vacuumed", since, None)]
            return Found.NEXT
        return found

    def _seek_time(self) -> Found:
        self._standing = self._pending = False
        self._reader.seek_realtime(self._since)
        return Found.START

    def _seek_cursor(self, cursor: str) -> Found | None:
        """Go behind an entry or to what follows it; None if the cursor is none.

        The entry is looked for among all: it may be one that another configuration selected.
        """
        reader = self._reader
        reader.flush_matches()
        try:
            reader.seek_cursor(cursor)
            stands = reader._next()
            exact = stands and self._is_entry(cursor)
        except (ValueError, OSError):
            self._add_matches(reader)
            return None
        here = reader._get_cursor() if stands else cursor
        oldest = reader._get_realtime() / 1e6 if stands else None
        self._add_matches(reader)
        reader.seek_cursor(here)
        self._pending = reader._next()
        self._standing = False
        if exact:
            self._cursor = here
            if self._pending and reader.test_cursor(here):
                self._standing = True
                self._pending = False
            return Found.EXACT
        if stands and distance(cursor, here) == 1:
            return Found.EXACT
        self._gaps.append(self._missing("vacuumed", self._time, oldest))
        return Found.NEXT

    def _is_entry(self, cursor: str) -> bool:
        """Say whether the entry that we stand at, or one of the same instant behind it, is that of the cursor.

        An entry that was copied into another file (at boot, from /run to /var) has got another sequence number.
        """
        reader = self._reader
        if reader.test_cursor(cursor):
            return True
        entry = identity(cursor)
        here = identity(reader._get_cursor())
        while entry and here and here[:3] == entry[:3]:
            if here == entry:
                return True
            if not reader._next():
                reader.seek_cursor(cursor)
                reader._next()
                return False
            here = identity(reader._get_cursor())
        if not reader.test_cursor(cursor):
            reader.seek_cursor(cursor)
            reader._next()
        return False

    def cursor(self) -> str | None:
        """Give the cursor of the entry given last: reading goes on behind it. None if there is none yet."""
        with self._translated():
            self._see_to_vanished()
            if self._uncounted:
                try:
                    self._cursor = self._reader._get_cursor()
                except OSError:
                    self._count_again()
                    self._broken = True
                self._uncounted = 0
            self._check_usage()
        return self._cursor

    def oldest(self) -> float | None:
        """Give the time of the oldest message that the journal holds, UNIX seconds; None if it holds none."""
        return self._time_at_end(newest=False)

    def newest(self) -> float | None:
        """Give the time of the newest message."""
        return self._time_at_end(newest=True)

    def _time_at_end(self, *, newest: bool) -> float | None:
        reader = self._open()
        try:
            if newest:
                reader.seek_tail()
            else:
                reader.seek_head()
            found = reader._previous() if newest else reader._next()
            return reader._get_realtime() / 1e6 if found else None
        finally:
            reader.close()

    def machine_ids(self) -> list[str]:
        """Give the ids of the machines whose entries there are."""
        with self._translated():
            return sorted(value.decode("ascii", "replace") for value in self._reader.query_unique("_MACHINE_ID"))

    # ---- reading

    def read(self, limit: int) -> list[LogMessage | Gap]:
        """Give up to `limit` messages that are there now, [] when there are none; `cursor` is that of the last."""
        return list(itertools.islice(self.messages(), limit))

    def messages(self) -> Iterator[LogMessage | Gap]:
        """Yield what is there now; `cursor` is always that of the message yielded last."""
        with self._translated():
            yield from self._messages()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror or error}") from error

    def _messages(self) -> Iterator[LogMessage | Gap]:
        convert = self._entries.convert
        while True:
            reader = self._reader
            next_, get_all, get_time = reader._next, reader._get_all, reader._get_realtime
            end = self._next_end(self._time)
            while self._pending or next_():
                self._pending = True
                message: LogMessage | Gap | None
                at = self._time or 0.0
                try:
                    at = get_time() / 1e6
                    if at > end:  # in another file, probably: has the one before been read to its end?
                        if self._has_dropped(at):
                            break
                        end = self._next_end(at)
                    if self._gaps:
                        yield from self._take_gaps(at)
                    message = convert(get_all(), at, self.position + 1)
                except (OSError, ValueError):  # this entry is damaged
                    message = self._missing("damaged", at, at)._replace(lines=1, position=self.position + 1)
                self._time = at
                self._pending = False
                self._standing = True
                self._uncounted += 1
                if message is not None:
                    self.position += 1
                    yield message
                    if reader is not self._reader:
                        break
            else:
                if not self._see_to_files():
                    return

    def _next_end(self, at: float | None) -> float:
        """Give when the next of the files ends that were there at first."""
        while self._ends and at is not None and self._ends[-1] < at:
            self._ends.pop()
        return self._ends[-1] if self._ends else math.inf

    def _take_gaps(self, at: float) -> Iterator[Gap]:
        while self._gaps:
            gap = self._gaps.pop(0)
            yield gap if gap.ends is not None else gap._replace(ends=at)

    def _missing(self, kind: str, begins: float | None, ends: float | None) -> Gap:
        return Gap(kind, self._options.host or "", begins, ends, None, "", self.position)

    # ---- following

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may have come; False if nothing has been noticed. A signal does not shorten it.

        Read on in any case: where the files cannot be watched, only reading tells.
        """
        if self._pending:
            return True
        self.cursor()  # its file may vanish
        return self._changed(self._reader.wait(round(timeout_s * 1e6)))

    def _see_to_files(self) -> bool:
        """See, at the end of what is open, which files have come, gone or broken; say whether to read on."""
        self.cursor()
        if self._broken or (self._standing and not self._stands()):
            self._broken = False
            if time.monotonic() >= self._skip_after:
                damaged = list(self._damage.find(self._sound_time or 0.0))
                if damaged and self._skip_damage(damaged):
                    return True
                self._skip_after = time.monotonic() + LOOK_INTERVAL_S
        if self._changed(self._reader.process()):
            return True
        if time.monotonic() >= self._look_after:
            self._look_after = time.monotonic() + LOOK_INTERVAL_S
            if self._known != self._files.identities():
                self._reopen()
                return True
        return False

    def _changed(self, state: int) -> bool:
        """Take note of what the watching of the files has told; say whether something may have come."""
        if state == _reader.INVALIDATE:
            if self._standing and not self._stands():
                self._go_on()  # the entry that we stand at was deleted
            self._usage = self._reader.get_usage()
        return state != _reader.NOP

    def _stands(self) -> bool:
        try:
            self._reader._get_cursor()
        except OSError:
            return False
        return True

    def _reopen(self) -> None:
        self._look_at_files()
        self._reader.close()
        self._reader = self._open()
        self._usage = self._reader.get_usage()
        self._go_on()

    def _go_on(self) -> None:
        """Find the place again."""
        if self._cursor is None:
            self._seek_time()
        elif self._seek_cursor(self._cursor) is None:
            raise InputError(f"{self.name}: has become another one")

    # ---- damage

    def _has_dropped(self, at: float) -> bool:
        """Say whether the reader has come to the entry of this time over a damaged file; if so it goes back before it.

        What is readable behind the damage comes first.
        """
        if self._see_to_vanished():
            return True
        damaged = self._find_dropped(at)
        if not damaged:
            return False
        self._count_again()
        if not self._skip_damage(damaged):
            self._note_loss(self._time)
            self._usage = 0  # it will be dropped again
        return True

    def _count_again(self) -> None:
        """Stand at the entry given last again, after the reader has lost it."""
        count, cursor, gaps = self._uncounted, self._cursor, self._gaps.copy()
        self._reader.close()
        self._reader = self._open()
        self._usage = self._reader.get_usage()
        found = self._seek_time() if cursor is None else self._seek_cursor(cursor)
        self._gaps = gaps
        if count:
            count -= self._pending
            self._pending = False
            is_same = found in {Found.START, Found.EXACT} and all(self._reader._next() for _ in range(count))
            if not is_same or self._reader._get_realtime() / 1e6 != self._time:
                raise InputError(f"{self.name}: cannot be read twice alike; its files are damaged or change")
            self._cursor = self._reader._get_cursor()
            self._standing = True
            self._uncounted = 0

    def _see_to_vanished(self) -> bool:
        """Read again what was read since the last commit if files are gone; say whether that was so.

        Journald overwrites with zeros what it vacuums, and libsystemd drops such a file without a word, in the middle
        of it perhaps. Where the entry of the cursor is still there so is all behind it. Raises InputError where it is
        not: what was read since must not be taken for all that there was.
        """
        is_reading = self._uncounted or self._pending
        if not is_reading or self._reader.get_usage() >= self._usage or self._known <= self._files.identities():
            return False
        if self._uncounted:
            self._look_at_files()
            self._count_again()
        else:
            self._reopen()
        return True

    def _skip_damage(self, damaged: list[Path]) -> bool:
        """Look for a readable entry behind damage, and stand there before it.

        Without the sequence number of the entry before it, the time tells what is behind.
        """
        self._tell(damaged)
        here = self._cursor or ""
        for power in range(MAX_SKIP):
            reader = self._open([str(path) for path in damaged])
            with contextlib.closing(reader):
                target = moved_on(here, 1 << power)
                if target is not None:
                    reader.seek_cursor(target)
                else:
                    begin = max(self._since, round((self._time or 0.0) * 1e6), reader._get_start())
                    reader.seek_realtime(begin + (1000 << power))
                if not reader._next():
                    continue
                there = reader._get_cursor()
                ahead = distance(here, there)
                if not (reader._get_realtime() / 1e6 > (self._time or 0.0) if ahead is None else ahead > 0):
                    continue
            reader = self._open()
            reader.seek_cursor(there)
            if reader._next() and reader.test_cursor(there):
                self._reader.close()
                self._reader = reader
                self._usage = reader.get_usage()
                self._pending = True
                self._note_loss(self._time)
                return True
            reader.close()
        return False

    def _note_loss(self, begins: float | None) -> None:
        """Note a gap up to the next entry, once: what is behind damage may be looked for again and again."""
        if not any(gap.kind == "damaged" for gap in self._gaps):
            self._gaps.append(self._missing("damaged", begins, None))

    def _find_dropped(self, until: float) -> list[Path]:
        """Find the damaged files that the reader has dropped, where they begin before a time.

        That some file has been dropped is seen by the disk usage; that it was for damage, by reading files alone. A
        file is dropped when its next entry is looked for, which may be long before its turn comes.
        """
        usage = self._reader.get_usage()
        if usage >= self._usage:
            self._usage = usage
            return []
        damaged = self._damage.find(self._sound_time or 0.0)
        reached = [path for path, begins in damaged.items() if begins <= until]
        if len(reached) == len(damaged):
            self._usage = usage
        self._tell(reached)
        return reached

    def _tell(self, damaged: list[Path]) -> None:
        problems = [f"{shown_path(path)}: is damaged, some of its messages are lost" for path in damaged]
        self.problems += [problem for problem in problems if problem not in self.problems]

    def _check_usage(self) -> None:
        """Note what was lost since the last check."""
        if not self._broken and self._find_dropped(math.inf if self._time is None else self._time):
            self._note_loss(self._sound_time)
            self._broken = self._cursor is None
        self._sound_time = self._time

    # ---- files

    def _open(self, files: list[str] | None = None) -> _reader._Reader:
        if _reader is None:
            raise InputError(f"{self.name}: Python cannot read it: install Debian's package python3-systemd")
        options = self._options
        try:
            if files is not None:
                reader = _reader._Reader(0, None, files)
            elif options.directory is not None:
                reader = _reader._Reader(0, options.directory)
            else:
                reader = _reader._Reader(_reader.LOCAL_ONLY, None, None, options.namespace)
            reader.data_threshold = FIELD_LINE_BYTES
            self._add_matches(reader)
            if files is None:
                reader.fileno()  # files are watched from now on
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror or error}") from error
        return reader

    def _add_matches(self, reader: _reader._Reader) -> None:
        """Select what may be mail's, and what journald says about lines that it dropped."""
        options = self._options
        for facility in {*options.facilities, USER_FACILITY}:
            reader.add_match(f"SYSLOG_FACILITY={facility}")
        reader.add_disjunction()
        for identifier in sorted(self._identifiers):
            reader.add_match(f"SYSLOG_IDENTIFIER={identifier}")
        reader.add_disjunction()
        reader.add_match(f"MESSAGE_ID={SUPPRESSED_ID}")
        reader.add_match("_TRANSPORT=driver")  # journald itself; others may write any MESSAGE_ID
        if options.machine_id is not None:
            reader.add_conjunction()
            reader.add_match(f"_MACHINE_ID={options.machine_id}")

    def _look_at_files(self) -> None:
        """Note which files cannot be read, and where the others end; raises InputError where none may be read."""
        readable, refused = self._files.readable()
        self._known = self._files.identities()
        self.problems = [f"{shown_path(path)}: may not be read by this user" for path in refused]
        ends = set()
        for path in readable:
            try:
                reader = self._open([str(path)])
            except InputError as error:
                if path.exists():
                    reason = str(error).removeprefix(f"{self.name}: ")
                    self.problems.append(f"{shown_path(path)}: is damaged and left out ({reason})")
                continue
            with contextlib.suppress(OSError):
                ends.add(reader._get_end() / 1e6)
            if is_hollow(reader):
                self.problems.append(f"{shown_path(path)}: is damaged, its messages cannot be found")
            reader.close()
        self._ends = sorted(ends, reverse=True)


def iter_journal_messages_since(
    journal: Journal, cursor: str | None = None, since: float | None = None, position: int = 0
) -> Iterator[LogMessage | Gap]:
    """Yield what is there now behind a cursor (or since a time, see `Journal.seek`)."""
    journal.seek(cursor, since, position)
    yield from journal.messages()


def iter_journal_messages_follow(journal: Journal, *, poll_interval_s: float) -> Iterator[LogMessage | Gap | None]:
    """Go on from where the journal stands, for ever.

    Yields None whenever there is nothing more at hand: at once, and then again after each interval in which nothing
    came.
    """
    while True:
        yield from journal.messages()
        yield None
        journal.wait(poll_interval_s)


def _name(options: JournalOptions) -> str:
    name = "journal"
    if options.directory is not None:
        name = f"journal in {shown_path(options.directory)}"
    elif options.namespace is not None:
        name = f"journal of namespace {options.namespace}"
    return name + (f", machine {options.machine_id}" if options.machine_id else "")
