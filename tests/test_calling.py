"""How the program is called: what goes wrong before a command has begun."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from types import ModuleType

import pytest

from journal_postfix.cli import main as program
from paths import PACKAGE, ROOT


def test_a_module_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(_: str) -> ModuleType:
        raise PermissionError(errno.EACCES, "Permission denied", "/usr/local/lib/search.py")

    monkeypatch.setattr(program, "command_module", unreadable)
    monkeypatch.setattr(program, "_silence", lambda _: None)  # the output is pytest's
    assert program.main(["search"]) == 1
    assert capsys.readouterr().err == "journal-postfix: /usr/local/lib/search.py: Permission denied\n"


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    """A shell has what it runs in a script's background ignore it: another command's Ctrl-C is none of its."""
    lines = (ROOT / "sample/mail.log").read_bytes().splitlines(keepends=True)[:300]
    was = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = [sys.executable, str(PACKAGE.parent), "parse", "-"]
        process = subprocess.Popen(  # without a buffer, which communicate() would not look into
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, was)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"".join(lines[:-1]))
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(lines[-1])
    assert (process.returncode, complaints) == (0, b"")
    assert (first + rest).count(b"\n") == len(lines)
