"""What the role compiles is whole, or the play stops and nothing damaged is left; molecule has the module's rest."""

from __future__ import annotations

import importlib.util
import resource
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from paths import ROOT

TEXT = "NUMBERS = [\n" + "".join(f"    'number {number}',\n" for number in range(2000)) + "]\n"


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, of which nothing is called that needs Ansible."""
    basic = ModuleType("ansible.module_utils.basic")
    basic.AnsibleModule = None  # type: ignore[attr-defined]
    for name in ("ansible", "ansible.module_utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, basic.__name__, basic)
    path = ROOT / "roles/journal_postfix/library/journal_postfix_tree.py"
    spec = importlib.util.spec_from_file_location("journal_postfix_tree", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PYTHON", sys.executable)
    return module


@pytest.fixture
def compiled(tmp_path: Path) -> dict[Path, Path]:
    """Two files, and what they compile to."""
    files: dict[Path, Path] = {}
    for name, text in (("small", "NUMBER = 1\n"), ("large", TEXT)):
        source = tmp_path / f"{name}.py"
        source.write_text(text, encoding="utf-8")
        files[source] = tmp_path / "__pycache__" / f"{name}.{sys.implementation.cache_tag}.pyc"
    return files


def test_what_is_compiled_is_loaded(tree: Any, compiled: dict[Path, Path]) -> None:
    assert tree.compile_all(compiled) == ""
    assert [path.is_file() for path in compiled.values()] == [True, True]
    assert tree.damaged(list(compiled.values())) == []


def test_what_is_cut_short_is_found(tree: Any, compiled: dict[Path, Path]) -> None:
    """Its first 16 bytes, by which Python tells whose it is, are right."""
    assert tree.compile_all(compiled) == ""
    small, large = compiled.values()
    large.write_bytes(large.read_bytes()[:5000])
    assert tree.damaged([small, large]) == [large]
    large.write_bytes(large.read_bytes()[:16] + bytes(5000))
    assert tree.damaged([small, large]) == [large]
    large.unlink()
    assert tree.damaged([small, large]) == [large]


def test_where_the_disk_gets_full_that_is_said_and_nothing_damaged_is_left(
    tree: Any, compiled: dict[Path, Path]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        problem = tree.compile_all(compiled)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    small, large = compiled.values()
    # Python before 3.13.1 notices nothing itself.
    assert "is the disk full?" in problem or "large.py" in problem
    assert small.is_file()
    assert not large.exists()


def test_the_marks_are_those_that_are_looked_for(
    tree: Any, compiled: dict[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SOURCE_DATE_EPOCH has Python compile by a hash of the source: each play would compile all again."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setattr(tree, "is_right", lambda *_: True)  # root's, which these are not
    assert tree.compile_all(compiled) == ""
    tag, magic = tree.compiler()
    assert tag == sys.implementation.cache_tag
    assert [tree.is_compiled(source, path, magic) for source, path in compiled.items()] == [True, True]
    (source, path), _ = compiled.items()
    source.write_text("NUMBER = 12\n", encoding="utf-8")
    assert not tree.is_compiled(source, path, magic)


def test_what_stands_in_the_folders_place_is_seen_and_no_link_followed(tree: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").touch()
    link = tmp_path / "link"
    link.symlink_to("elsewhere")
    assert tree.present(link) == [link]
    assert tree.present(tmp_path / "elsewhere/precious") == [tmp_path / "elsewhere/precious"]
    assert tree.present(tmp_path / "missing") == []
    assert set(tree.present(tmp_path)) == {tmp_path / "elsewhere/precious", link, tmp_path / "elsewhere"}
