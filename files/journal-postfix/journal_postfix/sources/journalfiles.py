"""Where the journal's files are, and which of them may be read: what libsystemd keeps to itself.

Takes a directory, or a namespace of this host's journal; gives paths. libsystemd leaves out what it may not read and
shows an empty journal, so this raises InputError instead. Opens nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from ..errors import InputError

LOCAL_FOLDERS: Final = ("/var/log/journal", "/run/log/journal")
MACHINE_ID: Final = "/etc/machine-id"
# libsystemd looks into no other ones: not into a file system's lost+found, which nobody may read.
MACHINE_FOLDER: Final = re.compile(r"[0-9a-fA-F-]{32,36}(?:\..+)?", re.DOTALL)


def shown_path(path: str | Path) -> str:
    """Give a path as text that any log and database take: a name may hold any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class JournalFiles(NamedTuple):
    """The files of a journal; `name` names it for people, as errors do."""

    name: str
    directory: str | None
    namespace: str | None

    def paths(self) -> list[Path]:
        """Give all files that libsystemd opens if it may; raises OSError."""
        files = []
        for folder in self._folders():
            with contextlib.suppress(FileNotFoundError):
                files += [path for path in folder.iterdir() if path.name.endswith((".journal", ".journal~"))]
        return sorted(files)

    def identities(self) -> frozenset[tuple[str, int]]:
        """Give the files' names and inodes, to see whether others have come; empty if the folders cannot be read."""
        found = set()
        with contextlib.suppress(OSError):
            for path in self.paths():
                with contextlib.suppress(FileNotFoundError):
                    found.add((str(path), path.stat().st_ino))
        return frozenset(found)

    def readable(self) -> tuple[list[Path], list[Path]]:
        """Give the files that may be read and those that may not; raises InputError where the journal may not be."""
        refused = f"{self.name}: may not be read by this user: add it to the group systemd-journal"
        try:
            if not self._folders():
                raise InputError(
                    f"{self.name}: there is none in {' or '.join(LOCAL_FOLDERS)}: is systemd-journald running? "
                    f"(its namespaces are folders there)"
                )
            files = self.paths()
        except PermissionError as error:
            raise InputError(refused) from error
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror or error}") from error
        readable = [path for path in files if os.access(path, os.R_OK)]
        # Users may read the files of their own, which are no mail server's: user-1000.journal.
        of_system = [path for path in files if not path.name.startswith("user-")]
        if of_system and not any(path in readable for path in of_system):
            raise InputError(refused)
        return readable, [path for path in files if path not in readable]

    def _folders(self) -> list[Path]:
        if self.directory is not None:
            folder = Path(self.directory)
            inner = [path for path in folder.iterdir() if MACHINE_FOLDER.fullmatch(path.name)]
            return [folder, *(path for path in inner if path.is_dir())]
        try:
            machine = Path(MACHINE_ID).read_text(encoding="ascii").strip() or "*"
        except (OSError, ValueError):
            machine = "*"
        if self.namespace is not None:
            machine += f".{self.namespace}"
        return [path for folder in LOCAL_FOLDERS for path in Path(folder).glob(machine)]
