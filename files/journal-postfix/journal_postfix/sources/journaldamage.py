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
    def _next(self) -> bool: ...
    def _get_start(self) -> int: ...
    def _get_end(self) -> int: ...


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
