"""Real journal files for tests: made by systemd-journal-remote, read by Debian's python3-systemd.

Takes entries as dicts of fields, gives a directory of journal files. Both packages are the machine's; `MISSING` says
in one line which of them are not there, and a test module that needs them skips itself with it.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

Entry = Mapping[str, bytes | str]

BOOT = "b0" * 16
MACHINE = "a0" * 16
BEGIN_US = 1_795_000_000_000_000
_DEBIANS_SYSTEMD = Path("/usr/lib/python3/dist-packages/systemd")
_WRITER = "systemd-journal-remote"
_FILLERS = 300  # names of fields, of which a file's table of 333 may hold three quarters


def _find_writer() -> str | None:
    folders = ["/usr/lib/systemd", "/lib/systemd", *os.get_exec_path()]
    return shutil.which(_WRITER, path=os.pathsep.join(folders))


def offer_systemd() -> None:
    """Make Debian's `systemd` importable, and nothing else of Debian's, here and in the programs that tests start.

    A virtual environment does not see Debian's packages, and the one of PyPI has to be compiled.
    """
    if importlib.util.find_spec("systemd") or not any(
        _DEBIANS_SYSTEMD.glob(f"_reader.{sys.implementation.cache_tag}-*")
    ):
        return
    folder = tempfile.mkdtemp(prefix="journal-postfix-systemd-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder, "systemd").symlink_to(_DEBIANS_SYSTEMD)
    sys.path.append(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), folder)))


def _missing() -> str:
    packages = []
    if not importlib.util.find_spec("systemd"):
        packages.append("python3-systemd")
    if _find_writer() is None:
        packages.append(_WRITER)
    if not packages:
        return ""
    return f"reading journals is not tested (for this Python): sudo apt-get install {' '.join(packages)}"


offer_systemd()
MISSING = _missing()


def export(*entries: Entry, binary: bool = False) -> bytes:
    """Write entries as journalctl does: fields with a newline or control bytes length-prefixed."""
    data = []
    for entry in entries:
        for name, value in entry.items():
            raw = value.encode() if isinstance(value, str) else value
            if binary or any(byte < 32 and byte != 9 for byte in raw):
                data.append(name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n")
            else:
                data.append(name.encode() + b"=" + raw + b"\n")
        data.append(b"\n")
    return b"".join(data)


def entry(number: float, message: bytes | str | None = None, **fields: bytes | str | None) -> dict[str, bytes | str]:
    """Give an entry of Postfix's as Debian 12 has it, `number` seconds after BEGIN_US; None leaves a field out."""
    given: dict[str, bytes | str | None] = {
        "__REALTIME_TIMESTAMP": str(BEGIN_US + round(number * 1e6)),
        "__MONOTONIC_TIMESTAMP": str(5_000_000 + round(number * 1e6)),
        "_BOOT_ID": BOOT,
        "_MACHINE_ID": MACHINE,
        "_HOSTNAME": "mx",
        "_TRANSPORT": "syslog",
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "2",
        "SYSLOG_IDENTIFIER": "postfix/qmgr",
        "SYSLOG_PID": "42",
        "_PID": "42",
        "_UID": "101",
        "_EXE": "/usr/lib/postfix/sbin/qmgr",
        "_SYSTEMD_UNIT": "postfix@-.service",
        "MESSAGE": f"{number:g}" if message is None else message,
    }
    return {name: value for name, value in (given | fields).items() if value is not None}


def filler(number: float) -> dict[str, bytes | str]:
    """Give an entry that is no mail's and with which the file is full: the next one begins a new file."""
    fields = {f"FILLER_{index}": "x" for index in range(_FILLERS)}
    return entry(number, SYSLOG_FACILITY="3", SYSLOG_IDENTIFIER="filler", **fields)


def write_journal(path: Path, entries: Iterable[Entry]) -> Path:
    """Append entries to a journal file, which is made with its folder if it is not there; give the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with JournalWriter(path) as writer:
        writer.write(*entries)
    return path.parent


class JournalWriter:
    """A running systemd-journal-remote that appends to a file (and rotates it) as journald does."""

    def __init__(self, path: Path) -> None:
        program = _find_writer()
        assert program is not None, MISSING
        self._process = subprocess.Popen(
            [program, f"--output={path}", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def write(self, *entries: Entry) -> None:
        """Hand over entries, which are written a moment later."""
        self.write_raw(export(*entries))

    def write_raw(self, data: bytes) -> None:
        """Hand over text in the export format."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        output, _ = self._process.communicate()
        assert self._process.returncode == 0, output.decode("utf-8", "replace")
