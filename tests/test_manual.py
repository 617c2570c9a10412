"""The man page and the bash completion: made of the program as it is, and fit for man and bash."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from journal_postfix.cli.main import COMMANDS
from journal_postfix.settings import SETTINGS
from manual import COMPLETION, FILES, MAN_PAGE, roff


@pytest.mark.parametrize(("path", "make"), FILES, ids=["man page", "completion"])
def test_it_is_current(path: Path, make: Callable[[], str]) -> None:
    assert path.read_text(encoding="utf-8") == make(), "run: .venv/bin/python tools/manual.py"


def test_every_command_and_setting_is_in_the_page() -> None:
    text = MAN_PAGE.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f'.SS "{roff(name)}"' in text
    for setting in SETTINGS:
        assert f"\\fB{roff(setting.name)}\\fR" in text


@pytest.mark.parametrize(
    "command",
    [
        ["man", "--warnings", "--encoding=utf8", "-l", str(MAN_PAGE)],
        ["groff", "-man", "-Tutf8", "-ww", str(MAN_PAGE)],
        ["mandoc", "-T", "lint", "-W", "warning", str(MAN_PAGE)],
    ],
    ids=["man", "groff", "mandoc"],
)
def test_the_page_is_shown_without_a_warning(command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stderr) == (0, "")
    if command[0] == "mandoc":
        assert done.stdout == ""
    else:
        # Without overstriking, which is how groff prints bold.
        assert "journal-postfix search [OPTION" in re.sub(".\b", "", done.stdout)


def _complete(*words: str) -> list[str]:
    """Give what bash offers for the last word."""
    script = (
        f'source {COMPLETION}; COMP_WORDS=(journal-postfix "$@"); COMP_CWORD=$#; _journal_postfix; '
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-uc", script, "bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["cl"], ["cleanup"]),
        ([""], [*COMMANDS]),
        (["--config", "/etc/x.yml", "tr"], ["trace"]),
        (["--v"], ["--version"]),
        (["cleanup", "--d"], ["--dry-run"]),
        (["schema", ""], ["apply", "status"]),
        (["search", "--fate", "d"], ["deferred", "deliverable", "discarded"]),
        (["search", "--fate", "han"], ["handed\\ on"]),
        (["search", "--limit", "5", "--si"], ["--since"]),
        (["import", "--format", "ex"], ["export"]),
        (["search", "--sender", "x"], [""]),
        (["import", "/var/log/ma"], [""]),
        (["nonsense", "x"], [""]),
    ],
)
def test_the_completion_offers(words: list[str], offered: list[str]) -> None:
    assert _complete(*words) == offered
