"""Finds the journal files that libsystemd cannot read to their end, which it drops without a word.

Takes the files and how to open one of them alone; gives the damaged ones. Reads what it must once and keeps the answer
for as long as the file does not change. Never raises for a file that is gone or damaged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from .journalfiles import JournalFiles


class _Reader(Protocol):
    """What is needed of libsystemd's reader; its times are microseconds, its usage that of the files that it has."""

    def close(self) -> None: ...
    def get_usage(self) -> int: ...
    def add_match(self, match: str, /) -> None: ...
    def flush_matches(self) -> None: ...
    def seek_head(self) -> None: ...
    def _next(self) -> bool: ...
    def _get_all(self) -> dict[str, bytes | list[bytes]]: ...
    def _get_start(self) -> int: ...
    def _get_end(self) -> int: ...


def is_hollow(reader: _Reader) -> bool:
    """Tell whether a file speaks of entries that cannot be found: its tables are overwritten (with zeros, by a crash).

    libsystemd takes such a file for one in which nothing is selected. Takes a reader of that file alone, which it
    leaves without matches.
    """
    with contextlib.suppress(OSError, ValueError):
        if not reader._get_end():
            return False
        reader.flush_matches()
        reader.seek_head()
        if not reader._next():
            return True
        fields = reader._get_all()
        for name in ("_BOOT_ID", "SYSLOG_FACILITY"):
            value = fields.get(name)
            if isinstance(value, bytes):
                reader.flush_matches()
                reader.add_match(f"{name}={value.decode('ascii')}")
                reader.seek_head()
                if not reader._next():
                    return True
        reader.flush_matches()
    return False


class DamageFinder:
    """Tells damaged files from sound ones; `open_alone` raises InputError where a file cannot be opened at all."""

    def __init__(self, files: JournalFiles, open_alone: Callable[[Path], _Reader]) -> None:
        self._files = files
        self._open_alone = open_alone
        self._sound: dict[tuple[str, int, int, int], bool] = {}

    def find(self, since: float) -> dict[Path, float]:
        """Find the damaged files that end at a time (UNIX seconds) or behind it, and when each begins."""
        damaged = {}
        with contextlib.suppress(OSError):
            for path in self._files.paths():
                begins = self._begins_if_damaged(path, since)
                if begins is not None:
                    damaged[path] = begins
        return damaged

    def _begins_if_damaged(self, path: Path, since: float) -> float | None:
        try:
            status = path.stat()
            reader = self._open_alone(path)
        except (OSError, InputError):
            return None  # gone, or told when the journal was opened
        with contextlib.closing(reader):
            try:
                begins, ends = reader._get_start() / 1e6, reader._get_end() / 1e6
            except OSError:
                return 0.0
            if ends < since:
                return None
            key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in self._sound:
                with contextlib.suppress(OSError):
                    while reader._next():
                        pass
                self._sound[key] = reader.get_usage() > 0
            return None if self._sound[key] else begins
