"""Imports point one way: the parser and the extraction are pure, one module alone imports the driver."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paths import PACKAGE

PURE = {"parse", "commonest.py", "extract.py", "session.py", "merge.py", "message.py", "neighbour.py", "programs.py"}
# What pure code may use of the standard library: nothing that knows a clock, a file, a process or a log.
PURE_MODULES = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "operator",
    "re",
    "string",
    "types",
    "typing",
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def _modules() -> list[Path]:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 20
    return modules


def _top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def _is_pure_name(name: str) -> bool:
    own = name.removeprefix("journal_postfix.").lstrip(".")
    if name.startswith((".", "journal_postfix")):
        return own.split(".")[0] not in {"store", "sources", "cli", "run", "settings"}
    return name.split(".", maxsplit=1)[0] in PURE_MODULES


def test_parser_extraction_and_merge_import_nothing_with_side_effects() -> None:
    impure = {
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in _modules()
        if _top(path) in PURE
        for name in _imports(path)
        if not _is_pure_name(name)
    }
    assert impure == set()


def test_one_module_alone_imports_the_driver() -> None:
    using = {
        str(path.relative_to(PACKAGE))
        for path in _modules()
        if any(name.split(".")[0] == "psycopg2" for name in _imports(path))
    }
    assert using == {"store/database.py"}


def test_one_module_alone_imports_systemd() -> None:
    using = {
        str(path.relative_to(PACKAGE))
        for path in _modules()
        if any(name.split(".")[0] == "systemd" for name in _imports(path))
    }
    assert using == {"sources/journal.py"}


def test_sources_and_parser_know_nothing_of_the_store() -> None:
    using = {
        str(path.relative_to(PACKAGE))
        for path in _modules()
        if _top(path) in {"sources", "parse"}
        for name in _imports(path)
        if "store" in name or "cli" in name
    }
    assert using == set()


@pytest.mark.parametrize("command", ["search", "trace", "problems", "stats", "status", "unknown"])
def test_a_look_up_loads_neither_grammars_nor_what_writes(command: str) -> None:
    """They are most of the program, and somebody is waiting for an answer."""
    code = (
        f"import sys; from journal_postfix.cli.main import main, command_module; command_module({command!r}); "
        "print(*(name.removeprefix('journal_postfix.') for name in sys.modules if name.startswith('journal_postfix.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert f"cli.{command}" in loaded
    assert not {name for name in loaded if name.startswith(("parse", "sources")) or name in ("store.write", "extract")}


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    long = {str(path.relative_to(PACKAGE)) for path in _modules() if len(path.read_text().splitlines()) > 600}
    assert long == set()


def test_no_pattern_has_a_possessive_group() -> None:
    """Debian 12's Python 3.11.2 matches them wrongly (mended in 3.11.5, gh-106052); possessive classes are sound."""
    possessive_group = re.compile(r"\)(?:[?*+]|\{[0-9,{}]+\})\+|\(\?>")
    found = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in _modules()
        for line in path.read_text(encoding="utf-8").splitlines()
        if possessive_group.search(line)
    }
    assert found == set()
