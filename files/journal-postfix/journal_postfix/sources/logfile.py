"""Log files as a source: opens, recognises and reads them, whatever their compression and format.

Takes paths ('-' for standard input), gives `LogMessage`s. Reads only; waits at most a second, for the end of a line
that a writer has begun. Content never raises; a file that cannot be read (any further) raises `InputError`, after all
that could be read of it has been given.

Positions are offsets in the decompressed bytes. To go on after a message one needs its position and its time, nothing
else, and the result is that of an uninterrupted reading. One line can stand for many messages (`message repeated N
times`): all of them but the last have the position of the message before. So a batch may end only at a message whose
position is greater than that of the message before it.

An unfinished last line (or entry) of a plain file that somebody has written to within the last minute is left alone:
the position stays before it, `Logfile.unfinished` says so. One that has been standing for longer is taken. Should it be
finished after all, its rest is a message without identifier, whatever it looks like.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from types import TracebackType
from typing import Self

from ..errors import InputError
from ..message import LogMessage
from . import entries, stamps
from .before import SEED_BYTES, LinesBefore
from .decompress import NoDecoder, Stream, StreamDamaged
from .lines import cut_first, iter_blocks, take_all
from .ownmachine import OwnMachine
from .syslog import SyslogReader

FORMATS = ("auto", "syslog", "export", "json")
HEAD_BYTES = 65536
WAIT_S = 1.0  # for the rest of a line, in all
WAIT_STEP_S = 0.05
WRITER_GONE_S = 60.0  # nobody is in the middle of a line that has been standing for so long
FIRST_TIME_BYTES = 1 << 20
OPEN_FILES = 256  # of a sorted list; the others are opened again when their turn comes

_JOURNAL_MAGIC = b"LPKSHHRH"


@dataclass(frozen=True)
class LogfileOptions:
    """What the operator says about log files; the defaults find everything out.

    `host` is taken for every message, whatever the lines say; `year` is that of a file's first line; `timezone` is that
    of stamps without offset (None: the system's). `own_machine` is the one that they are read on, where that is
    one of those that wrote them: lines with the first label of its name alone, which is what syslog daemons make of it,
    are its own, and what its journal's entries say of users is believed.
    """

    format: str = "auto"
    host: str | None = None
    year: int | None = None
    timezone: tzinfo | None = None
    own_machine: OwnMachine | None = None


class Logfile:
    """One opened log file, or standard input; decompresses by content, never by name.

    A regular file (also as standard input) can be looked at as often as needed. Of a pipe, looking ahead waits for the
    bytes asked for; they are not lost to the reading. `clock` and `sleep` are for tests.
    """

    def __init__(
        self, path: str, *, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        # Printable, whatever bytes the name is of.
        self.name = "stdin" if path == "-" else os.fsencode(path).decode("utf-8", "backslashreplace")
        self.unfinished = 0  # bytes of a last line that the reading has left alone
        self._path = path
        self._clock = clock
        self._sleep = sleep
        self._fd: int | None = None
        self._stream: Stream | None = None
        self._extra_fd: int | None = None  # the reading's own, of a regular file
        self._turns: stamps.Turns | None = None
        self._patience = WAIT_S
        try:
            status = self._open()
            self.regular = stat.S_ISREG(status.st_mode)
            if self.regular and path == "-" and os.lseek(0, 0, os.SEEK_CUR):
                self.regular = False  # another program has read the beginning: go on where it stopped
            self.reference = status.st_mtime if self.regular else clock()
            self.compression = ""
            self._head = self._look_at_head()
        except OSError as error:
            self.close()
            raise InputError(f"{self.name}: {_reason(error)}") from error
        except NoDecoder as error:
            self.close()
            raise InputError(f"{self.name}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _open(self) -> os.stat_result:
        self._fd = 0 if self._path == "-" else os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            status = os.fstat(self._fd)
        except OSError as error:
            raise InputError(f"{self.name}: is closed") from error
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{self.name}: is a directory; name the log files in it")
        self._identity = (status.st_dev, status.st_ino)
        return status

    def _look_at_head(self) -> bytes:
        """Take the beginning for finding out what it is; of a pipe no more than its first line."""
        if self.regular:
            fd = self._another_fd()
            try:
                stream = Stream(fd, seekable=True)
                self.compression = stream.compression
                try:
                    head = stream.peek(lambda data: len(data) >= HEAD_BYTES)[:HEAD_BYTES]
                finally:
                    stream.close()
            finally:
                os.close(fd)
        else:
            stream = self._stream = Stream(self._descriptor(), seekable=False)
            self.compression = stream.compression
            head = stream.peek(lambda data: b"\n" in data.lstrip() or len(data) >= HEAD_BYTES)[:HEAD_BYTES]
        if not head and stream.damage is not None:
            raise _damaged(self.name, stream.damage, 0)
        if head.startswith(_JOURNAL_MAGIC):
            raise InputError(
                f"{self.name}: is a journal, not a log file; read it with: "
                f"journalctl --file {self.name} -o export | journal-postfix import -"
            )
        if b"\0" in head and not entries.entry_format_of(head) and not stamps.has_stamp(head):
            raise InputError(
                f"{self.name}: is a binary file, not a log file (NUL bytes and no line with a time stamp at its "
                f"beginning; if a log follows, give it through: tr -d '\\000')"
            )
        return head

    def _descriptor(self) -> int:
        """Give the file's descriptor, opened again if it had been let go."""
        if self._fd is None:
            identity = self._identity
            self._open()
            if identity != self._identity:
                raise InputError(f"{self.name}: was replaced by another file in the meantime; run again")
        assert self._fd is not None
        return self._fd

    def _another_fd(self) -> int:
        """Open the same regular file once more, at its beginning, even if it has been renamed or deleted since."""
        fd = self._descriptor()
        flags = os.O_RDONLY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{fd}", flags)
        except OSError:
            other = os.open(self._path, flags)
            status = os.fstat(other)
            if (status.st_dev, status.st_ino) != self._identity:
                os.close(other)
                raise InputError(f"{self.name}: was replaced by another file in the meantime; run again") from None
            return other

    def let_go(self) -> None:
        """Give a regular file's descriptor back until it is needed again."""
        if self.regular and self._path != "-" and self._fd is not None:
            os.close(self._fd)
            self._fd = None

    # ---- looking at it

    def head(self) -> bytes:
        """Give the decompressed beginning, `HEAD_BYTES` or all there is: by it a log is known again."""
        return self._first_bytes(HEAD_BYTES)

    def _first_bytes(self, size: int) -> bytes:
        if not self.regular:
            if self._stream is not None and not self._stream.consumed and len(self._head) < size:
                self._head = self._stream.peek(lambda data: len(data) >= size)[:HEAD_BYTES]
        elif len(self._head) < size:
            self._head = self._look_at_head()  # it may have grown
        return self._head[:size]

    def format(self, options: LogfileOptions) -> str:
        """Give the format to read it in: 'syslog', 'export' or 'json'."""
        if options.format not in FORMATS:
            raise ValueError(f"unknown log format {options.format!r}")
        if options.format != "auto":
            return options.format
        return entries.entry_format_of(self._head) or "syslog"

    def first_time(self, options: LogfileOptions | None = None) -> float | None:
        """Give the time of the first line with a stamp (near the beginning), None if there is none."""
        options = options or LogfileOptions()
        blocks = self._iter_look() if self.regular else iter((self._first_bytes(HEAD_BYTES),))
        done = 0

        def read(_: int) -> bytes:
            nonlocal done
            block = next(blocks, b"") if done < FIRST_TIME_BYTES else b""
            done += len(block)
            return block

        messages = _iter_messages(read, lambda: False, take_all, b"", self, options, 0, None)
        return next((message.time for message in messages if message.time), None)

    def _iter_look(self) -> Iterator[bytes]:
        """Yield blocks of whole lines of a regular file, apart from the reading and as far as it can be read."""
        fd = self._another_fd()
        try:
            stream = Stream(fd, seekable=True)
            try:
                for block, _ in iter_blocks(stream.read, lambda: False):
                    yield block
            except StreamDamaged:
                return
            finally:
                stream.close()
        finally:
            os.close(fd)

    def year_of_first(self, stamp: stamps.Stamp, options: LogfileOptions) -> int:
        """Find the year of the file's first traditional stamp."""
        if options.year is not None:
            return options.year
        if self._turns is None:
            if self.regular:
                self._turns = stamps.scan_turns(self._iter_look())
            else:
                leap = {0} if stamp[:2] == (2, 29) else set()
                self._turns = stamps.Turns(first=stamp, last=stamp, leap_turns=leap)
        return stamps.first_year(self._turns, self.reference, options.timezone)

    # ---- reading it

    def open_stream(self, offset: int) -> Stream:
        """Begin to read at `offset`; a pipe can only go on from where it is."""
        self.unfinished = 0
        if self.regular:
            self._close_reading()
            self._extra_fd = self._another_fd()
            self._stream = Stream(self._extra_fd, seekable=True)
            if not self._stream.compression:
                self._stream.seek_plain(offset, SEED_BYTES)
        if self._stream is None:
            raise InputError(f"{self.name}: is closed")
        if offset < self._stream.consumed:
            raise InputError(f"{self.name}: cannot be read again from byte {offset}")
        self._stream.skip_to(offset, SEED_BYTES)
        return self._stream

    def wait_for_more(self) -> bool:
        """Wait a little for the rest of a line; False when it is not worth while (any longer)."""
        if self._patience <= 0 or not self._is_being_written():
            return False
        self._patience -= WAIT_STEP_S
        self._sleep(WAIT_STEP_S)
        return True

    def leave_unfinished(self, count: int) -> bool:
        """Say whether to leave `count` bytes of an unfinished line for the next time, and remember them."""
        if not self._is_being_written():
            return False
        self.unfinished = count
        return True

    def _is_being_written(self) -> bool:
        if not self.regular or self.compression:
            return False
        return abs(self._clock() - os.fstat(self._descriptor()).st_mtime) <= WRITER_GONE_S

    def progress(self) -> tuple[int, int | None]:
        """Give how many raw bytes have been read, and of how many (None for pipes)."""
        done = self._stream.raw_count if self._stream else 0
        if not self.regular:
            return done, None
        return done, os.fstat(self._descriptor()).st_size

    @property
    def consumed(self) -> int:
        """How many decompressed bytes the reading has been given."""
        return self._stream.consumed if self._stream else 0

    def _close_reading(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._extra_fd is not None:
            os.close(self._extra_fd)
            self._extra_fd = None

    def close(self) -> None:
        """End the reading; standard input itself stays open."""
        self._close_reading()
        if self._fd is not None and self._path != "-":
            os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _damaged(name: str, damage: StreamDamaged, consumed: int) -> InputError:
    return InputError(
        f"{name}: {damage}, after {consumed} decompressed bytes; the whole lines up to there were read; "
        f"get a whole copy of the file and run again"
    )


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "may not be read by this user (logs belong to root and group adm)"
    return (error.strerror or str(error)).lower()


def open_in_time_order(paths: Sequence[str], options: LogfileOptions) -> tuple[list[Logfile], list[InputError]]:
    """Open log files and sort them by their first lines' times, so that rotated files can be given in any order.

    Files without any stamp come last; a single file is not looked at. What cannot be opened is left out and told in
    the second list.
    """
    dated: list[tuple[bool, float, int, Logfile]] = []
    errors: list[InputError] = []
    for index, path in enumerate(paths):
        try:
            file = Logfile(path)
        except InputError as error:
            errors.append(error)
            continue
        try:
            first = file.first_time(options) if len(paths) > 1 else None
        except InputError as error:
            file.close()
            errors.append(error)
            continue
        dated.append((first is None, first or 0.0, index, file))
        if len(paths) > OPEN_FILES:
            file.let_go()
    return [file for _, _, _, file in sorted(dated, key=lambda one: one[:3])], errors


def iter_logfile_messages(
    logfile: Logfile,
    options: LogfileOptions,
    offset: int = 0,
    last_time: float | None = None,
    *,
    take_unfinished: bool = False,
) -> Iterator[LogMessage]:
    """Yield one message at least for every line or entry, from `offset` of the decompressed bytes on.

    `last_time` is the time of the message before `offset`. Lines that are no log lines, and blank ones, have the
    identifier '' and the time of the line before. Raises `InputError` where the file is damaged. `take_unfinished` is
    for who will not come back: the last line is given even if it may be in the middle of being written.
    """
    leave = take_all if take_unfinished else logfile.leave_unfinished
    try:
        stream = logfile.open_stream(offset)
        yield from _iter_messages(
            stream.read, logfile.wait_for_more, leave, stream.before, logfile, options, offset, last_time
        )
    except StreamDamaged as damage:
        raise _damaged(logfile.name, damage, logfile.consumed) from damage
    except NoDecoder as error:
        raise InputError(f"{logfile.name}: {error}") from error
    except OSError as error:
        raise InputError(f"{logfile.name}: {_reason(error)}, after {logfile.consumed} bytes; run again") from error


def _iter_messages(
    read: Callable[[int], bytes],
    more: Callable[[], bool],
    leave: Callable[[int], bool],
    before: bytes,
    logfile: Logfile,
    options: LogfileOptions,
    offset: int,
    last_time: float | None,
) -> Iterator[LogMessage]:
    kind = logfile.format(options)
    own = options.own_machine
    trust = entries.DEFAULT_TRUST if own is None else entries.Trust(own.uids, machine_id=own.machine_id)
    if kind == "export":
        yield from entries.iter_export_messages(
            read, more, options.host, offset, leave=leave, before=before, trust=trust
        )
        return
    lines_before = LinesBefore(before, offset)
    blocks = lines_before.watch(iter_blocks(read, more, leave))
    if before and not before.endswith(b"\n"):
        # The rest of a line that was taken unfinished: no line, even if it looks like one.
        first = cut_first(blocks, offset)
        if first is None:
            return
        text, offset, blocks = first
        if text:
            yield LogMessage(options.host or "", "", 0, last_time or 0.0, text, offset)
    if kind == "json":
        yield from entries.iter_json_messages(blocks, options.host, offset, last_time or 0.0, trust)
        return
    reader = stamps.StampReader(options.timezone, lambda stamp: logfile.year_of_first(stamp, options), last_time)
    own_host = None if own is None else own.host
    yield from SyslogReader(reader, options.host, lines_before, own_host).read(blocks, offset)
