#!/usr/bin/python3
"""Make a folder hold exactly the given text files.

Takes contents from the action plugin of the same name; writes what differs, removes everything else below the folder,
and tells what it did as a diff. Every file is renamed into its place whole. Follows no symbolic link out of the folder.
Python's files are compiled, by the Python that will run them: who may not write there would compile them at each call.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: journal_postfix_tree
short_description: Make a folder hold exactly the given files
description:
  - Copies the files that O(globs) find in O(src) on the controller, and removes everything else from O(dest).
  - Compiles those of Python.
options:
  src: {type: path, required: true, description: Folder on the controller.}
  globs: {type: list, elements: str, required: true, description: Which files below it, as of pathlib.}
  dest: {type: path, required: true, description: Folder on the server.}
author: [journal-postfix]
"""
# As the units and the command call it.
PYTHON = "/usr/bin/python3"
# Of compiled files it names those that it could not load. Where a disk gets full, Python (before 3.13.1) cuts what it
# compiles short and says nothing, but whoever loads that dies of it.
LOAD = """
import marshal, sys
for path in sys.argv[1:]:
    try:
        with open(path, "rb") as file:
            marshal.loads(file.read()[16:])
    except Exception:
        print(path)
"""
EXAMPLES = r"""
- name: Install the program
  journal_postfix_tree:
    src: "{{ role_path }}/files/journal-postfix"
    globs: ["**/*.py"]
    dest: /usr/local/lib/journal-postfix
"""


def present(dest: Path) -> list[Path]:
    """Give all that lies below a folder, the deepest first, or what is in its place; links are not followed."""
    if dest.is_symlink() or not dest.is_dir():
        return [dest] if os.path.lexists(dest) else []
    found = [Path(folder) / name for folder, folders, files in os.walk(dest) for name in folders + files]
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def is_right(path: Path, mode: int) -> bool:
    """Tell whether owner and mode are what they must be."""
    state = path.lstat()
    return (state.st_uid, state.st_gid, state.st_mode & 0o7777) == (0, 0, mode)


def text_of(path: Path) -> str | None:
    """Give a regular file's text; None where there is none."""
    if path.is_symlink() or not path.is_file():
        return None
    return path.read_bytes().decode("utf-8", "backslashreplace")


def write(path: Path, text: str) -> None:
    """Put a file into its place at once."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        os.fchown(file.fileno(), 0, 0)
        os.fchmod(file.fileno(), 0o644)
    Path(name).replace(path)


def compiler() -> tuple[str, bytes]:
    """Give the tag in the names of what PYTHON compiles, and the bytes with which it begins."""
    tell = "import importlib.util, sys; print(sys.implementation.cache_tag, importlib.util.MAGIC_NUMBER.hex())"
    done = subprocess.run([PYTHON, "-I", "-c", tell], capture_output=True, text=True, check=True)
    tag, magic = done.stdout.split()
    return tag, bytes.fromhex(magic)


def is_compiled(source: Path, compiled: Path, magic: bytes) -> bool:
    """Tell whether what is compiled is of this source: by the same marks by which Python tells (PEP 552)."""
    if compiled.is_symlink() or not compiled.is_file() or not source.is_file() or not is_right(compiled, 0o644):
        return False
    state = source.stat()
    marks = [0, int(state.st_mtime) & 0xFFFFFFFF, state.st_size & 0xFFFFFFFF]
    with compiled.open("rb") as file:
        return file.read(16) == magic + b"".join(mark.to_bytes(4, "little") for mark in marks)


def damaged(compiled: list[Path]) -> list[Path]:
    """Give those of these compiled files that PYTHON cannot load."""
    command = [PYTHON, "-I", "-c", LOAD, *map(str, compiled)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [Path(name) for name in done.stdout.splitlines()] if done.returncode == 0 else compiled


def compile_all(compiled: dict[Path, Path]) -> str:
    """Compile these files, to what stands beside each; give what is wrong with them."""
    os.umask(0o022)
    # By the marks that is_compiled knows, even where SOURCE_DATE_EPOCH asks for others.
    command = [PYTHON, "-I", "-m", "compileall", "-qf", "--invalidation-mode", "timestamp", *map(str, compiled)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    bad = damaged([path for path in compiled.values() if path.is_file()])
    for path in bad:
        path.unlink()
    if done.returncode != 0:
        return (done.stdout + done.stderr)[:1000]
    return f"{bad[0]} is cut short; is the disk full?" if bad else ""


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    """Compare, and unless in check mode, write and remove."""
    arguments = {"dest": {"type": "path", "required": True}, "files": {"type": "dict", "required": True}}
    # no_log: the module's arguments are a megabyte that syslog need not have.
    module = AnsibleModule(argument_spec=arguments, supports_check_mode=True, no_log=True)
    dest = Path(module.params["dest"])
    wanted: dict[Path, str] = {dest / name: text for name, text in module.params["files"].items()}
    tag, magic = compiler()
    compiled = {path: path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in wanted if path.suffix == ".py"}
    files = {*wanted, *compiled.values()}
    folders = {dest} | {folder for path in files for folder in path.parents if folder.is_relative_to(dest)}
    changes: list[str] = []
    diff: list[dict[str, Any]] = []

    for path in present(dest):
        if not path.is_symlink() and ((path in folders and path.is_dir()) or (path in files and path.is_file())):
            continue
        changes.append(f"{path} removed")
        before = text_of(path) if path.suffix != ".pyc" else None
        diff.append({"before_header": str(path), "before": before or "", "after_header": "/dev/null", "after": ""})
        if not module.check_mode and os.path.lexists(path):
            remove(path)
    for folder in sorted(folders):
        if folder.is_dir() and is_right(folder, 0o755):
            continue
        changes.append(f"{folder} made")
        if not module.check_mode:
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, 0, 0)
            folder.chmod(0o755)
    stale = {path for path, to in compiled.items() if not is_compiled(path, to, magic)}
    bad = set(damaged([to for path, to in compiled.items() if path not in stale]))
    stale |= {path for path, to in compiled.items() if to in bad}
    for path, text in sorted(wanted.items()):
        before = text_of(path)
        if before == text and is_right(path, 0o644):
            continue
        changes.append(f"{path} written")
        stale.add(path)
        if before is not None:
            diff.append({"before_header": str(path), "before": before, "after_header": str(path), "after": text})
        if not module.check_mode:
            write(path, text)
    stale &= compiled.keys()
    if stale:
        changes.append(f"{len(stale)} files compiled")
        if not module.check_mode:
            problem = compile_all({path: compiled[path] for path in sorted(stale)})
            if problem:
                module.fail_json(msg=f"{PYTHON} cannot compile what was installed: {problem}")
    # Files that are new are only named: on a first run their text would be the whole program.
    diff.append({"prepared": "".join(f"{change}\n" for change in changes)})
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
