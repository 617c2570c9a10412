"""Every example of the README is run, and gives what the README shows; every setting and command is in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from journal_postfix.cli.main import COMMANDS
from journal_postfix.settings import SETTINGS
from paths import PROGRAM, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```\n", README, re.MULTILINE | re.DOTALL)
EXAMPLES = [block for block in BLOCKS if block.startswith("$ journal-postfix ")]


def examples_of(block: str) -> list[tuple[str, str]]:
    """Give (command line, output) of a block with one or more `$ command` lines."""
    parts = re.split(r"^\$ (journal-postfix .*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def run_example(command: str, config: Path) -> str:
    """Run a command line of the README in the checkout; give what it prints."""
    program = f"{sys.executable} {PROGRAM} --config {config}"
    done = subprocess.run(
        command.replace("journal-postfix", program, 1), shell=True, cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "main.yml"
    path.write_text(f"database: '{database}'\n", encoding="utf-8")
    return path


def test_the_examples_give_what_the_readme_shows(config: Path) -> None:
    assert len(EXAMPLES) >= 4
    for block in EXAMPLES:
        for command, output in examples_of(block):
            assert run_example(command, config) == output, command


def test_every_command_and_setting_is_described() -> None:
    for name in COMMANDS:
        assert re.search(rf"\b{name}\b", README), name
    for setting in SETTINGS:
        default = "null" if setting.default is None else str(setting.default)
        assert f"| `{setting.name}` | `{default}` | {setting.help} |" in README, setting.name
