"""The role's files agree with each other: what can be said without a server. molecule/ has the rest."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import role_readme
from paths import ROOT

ROLE = ROOT / "roles/journal_postfix"
SPECS: dict[str, Any] = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
DEFAULTS: dict[str, Any] = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))
VARS: dict[str, Any] = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))


def test_every_variable_has_a_spec_with_its_default() -> None:
    specified: dict[str, Any] = {}
    for spec in SPECS.values():
        for name, option in spec["options"].items():
            assert specified.setdefault(name, option["default"]) == option["default"]
            assert option["description"]
    assert specified == DEFAULTS


def test_truth_is_read_from_text() -> None:
    """On the command line (-e name=false) and in an inventory of the INI kind, what is true or false is text."""
    options = {name: option for spec in SPECS.values() for name, option in spec["options"].items()}
    names = "|".join(name for name, option in options.items() if option["type"] == "bool")
    paths = [path for folder in ("tasks", "handlers", "vars", "templates") for path in ROLE.glob(f"{folder}/*")]
    used = [use for path in paths for use in re.findall(rf"\b(?:{names})\b.{{0,7}}", path.read_text(encoding="utf-8"))]
    assert len(used) > len(names.split("|"))
    # "is false" stands in a message.
    assert {use.partition(" ")[2] for use in used} == {"| bool", "is fal"}


def test_misspelt_variables_are_looked_for_before_anything_is_done() -> None:
    first = {name: yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text(encoding="utf-8"))[0] for name in SPECS}
    assert first.pop("main")["ansible.builtin.import_tasks"] == "preflight.yml"
    first["preflight"] = yaml.safe_load((ROLE / "tasks/preflight.yml").read_text(encoding="utf-8"))[0]
    assert {task["ansible.builtin.import_tasks"] for task in first.values()} == {"names.yml"}


def test_the_readme_has_the_variables() -> None:
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    assert text == role_readme.readme(text), "run tools/role_readme.py"
    for name in DEFAULTS:
        assert f"| `{name}` |" in text


def test_the_link_to_the_programs_files_is_whole() -> None:
    assert (ROLE / "files").readlink() == Path("../../files")
    assert (ROLE / "files/journal-postfix/__main__.py").is_file()


def test_the_globs_find_the_whole_program_and_nothing_else() -> None:
    program = ROOT / "files/journal-postfix"
    found = {path for glob in VARS["__journal_postfix_globs"] for path in program.glob(glob)}
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard", program],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    shared = set((program / "share").rglob("*"))
    tracked = {ROOT / name for name in listed.stdout.splitlines()}
    assert found == {path for path in tracked if path.exists()} - shared


def _set_in(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (key, inner)
            yield from _set_in(inner)


def test_every_variable_is_off_its_default_in_a_scenario() -> None:
    tried = set()
    for path in ROOT.glob("molecule/*/inventory/*.yml"):
        for name, value in _set_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            if name in DEFAULTS and value != DEFAULTS[name]:
                tried.add(name)
    # False for a mere database server: site.yml sets it there.
    assert set(DEFAULTS) - tried == {"journal_postfix_mail_server"}


def test_the_example_inventory_has_one_server_and_variables_that_exist() -> None:
    text = (ROOT / "inventory.example").read_text(encoding="utf-8")
    hosts = [line for line in text.splitlines() if line and line[0] not in "#["]
    assert hosts == ["mail.example.org"]
    fleet = configparser.ConfigParser(allow_no_value=True, delimiters=("=",))
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    fleet.read_string("\n".join(lines[next(i for i, line in enumerate(lines) if line == "[database_server]") :]))
    for section in ("database_server:vars", "mail_servers:vars", "all:vars"):
        assert set(fleet[section]) <= set(DEFAULTS)


@pytest.mark.parametrize(
    "path",
    sorted(path for path in ROLE.glob("templates/*.j2") if path.name not in {"sandbox.j2", "database.sql.j2"}),
    ids=lambda path: path.name,
)
def test_what_the_role_writes_says_that_it_is_managed(path: Path) -> None:
    assert "# {{ ansible_managed }}" in path.read_text(encoding="utf-8").splitlines()[:2]
