"""The commands as an operator calls them: what goes well, and what each kind of bad input gets."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from journal_postfix.store import Database
from paths import PROGRAM, STREAMS

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LOG = STREAMS / "content_filter.log"


@pytest.fixture
def config(database: str, tmp_path: Path) -> Path:
    path = tmp_path / "main.yml"
    path.write_text(f"database: '{database}'\n", encoding="utf-8")
    return path


def call(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run journal-postfix; no command ever shows a traceback."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(command, **given, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def run(config: Path) -> Run:
    return lambda *arguments, **keywords: call("--config", config, *arguments, **keywords)


def test_import_says_what_it_read_and_understood(run: Run) -> None:
    done = run("import", LOG)
    assert done.returncode == 0
    assert "15 new lines; 15 lines of Postfix, 100.00 % understood" in done.stdout
    assert "new: 3 mails, 4 recipients, 0 entries in noqueue" in done.stdout
    again = run("import", LOG)
    assert "0 new lines, 15 known already" in again.stdout


def test_import_as_json(run: Run) -> None:
    done = run("import", "--json", LOG, STREAMS / "noqueue_rejections.log")
    # The older one first, whatever the order of the arguments.
    second, first = [json.loads(line) for line in done.stdout.splitlines()]
    assert first == {
        "file": str(LOG),
        "lines_before": 0,
        "lines": 15,
        "postfix_lines": 15,
        "neighbour_lines": 0,
        "understood": 15,
        "unknown": 0,
        "foreign": 0,
        "forged": 0,
        "set_aside": 0,
        "covered": 0,
        "unfinished_bytes": 0,
        "mails": 3,
        "recipients": 4,
        "rejected": 0,
    }
    assert second["rejected"] == 8


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_are_read(pack: Callable[[bytes], bytes], run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(LOG.read_bytes()))
    assert "15 new lines" in run("import", path).stdout


def _missing(tmp_path: Path) -> Path:
    return tmp_path / "missing.log"


def _directory(tmp_path: Path) -> Path:
    return tmp_path


def _binary(tmp_path: Path) -> Path:
    path = tmp_path / "binary.log"
    path.write_bytes(bytes(range(256)) * 40)
    return path


def _torn(tmp_path: Path) -> Path:
    path = tmp_path / "torn.log.gz"
    path.write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:-900])
    return path


@pytest.mark.parametrize("make", [_missing, _directory, _binary, _torn])
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_imported(
    make: Callable[[Path], Path], run: Run, tmp_path: Path
) -> None:
    path = make(tmp_path)
    done = run("import", path, LOG)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "15 new lines" in done.stdout


def test_a_file_without_a_line_of_postfix_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.log"
    path.write_text("2026-11-20T08:00:00+00:00 mx cron[5]: hello\n" * 3, encoding="utf-8")
    done = run("import", path, LOG)
    assert done.returncode == 1
    assert "15 new lines" in done.stdout
    assert "3 new lines; 0 lines of Postfix" in done.stdout
    assert f"{path}: not a single line of Postfix in it" in done.stderr
    # A file that was just rotated.
    empty = tmp_path / "empty.log"
    empty.touch()
    done = run("import", empty)
    assert done.returncode == 0
    assert "0 new lines; 0 lines of Postfix" in done.stdout
    # Nothing new is no fault.
    assert run("import", LOG).returncode == 0


def test_output_that_cannot_be_written_is_said_in_one_line(run: Run, config: Path) -> None:
    run("import", LOG)
    program = f"{sys.executable} {PROGRAM} --config {config}"
    for command in (f"parse {LOG}", "search example", "status"):
        for redirection, status in ((">/dev/full", 1), (">&-", None), ("| head -n 0", 0)):
            done = subprocess.run(
                f"{program} {command} {redirection}", shell=True, capture_output=True, text=True, check=False
            )
            assert "Traceback" not in done.stderr, (command, redirection, done.stderr)
            assert len(done.stderr.splitlines()) <= 1
            if status is not None:
                assert done.returncode == status


def test_a_closed_standard_input_is_not_another_file(config: Path) -> None:
    program = f"{sys.executable} {PROGRAM} --config {config}"
    done = subprocess.run(f"{program} import - <&-", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "0 lines of Postfix" in done.stdout


def test_unknown_lines_are_counted_and_listed(run: Run) -> None:
    done = run("import", STREAMS / "foreign_and_misleading.log")
    assert "1 unknown" in done.stdout
    assert "something nobody has seen yet 17" in run("unknown").stdout


def test_parse_gives_one_object_per_line_in_order() -> None:
    text = (STREAMS / "foreign_and_misleading.log").read_text(encoding="utf-8")
    done = call("parse", stdin=text)
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["action"] for one in objects] == [
        "saved",
        "client",
        "foreign",
        "warning",
        "message_id",
        "unknown",
        "foreign",
        "active",
        "delivery",
    ]
    assert objects[8]["status"] == "deferred"
    assert objects[8]["time"] == "2026-11-20T08:00:01.000000Z"


def test_parse_takes_what_the_journal_prints() -> None:
    entry = {"MESSAGE": "ABCDEF1: removed", "SYSLOG_IDENTIFIER": "postfix/qmgr"}
    done = call("parse", "--format", "json", stdin=json.dumps(entry) + "\n")
    assert json.loads(done.stdout) == {
        "identifier": "postfix/qmgr",
        "instance": "postfix",
        "component": "qmgr",
        "action": "removed",
        "queue_id": "ABCDEF1",
    }


def test_no_database_says_what_to_look_at(tmp_path: Path) -> None:
    config = tmp_path / "main.yml"
    config.write_text(f"database: 'host={tmp_path} dbname=none'\n", encoding="utf-8")
    for command in (["import", str(LOG)], ["status"], ["search", "x"], ["schema", "status"]):
        done = call("--config", config, *command)
        assert done.returncode == 1
        # status is for monitoring, which reads standard output.
        told = (done.stdout + done.stderr).splitlines()
        assert sum("database: cannot connect" in line for line in told) == 1


def test_a_database_without_schema_says_what_to_do(empty_database: str, tmp_path: Path) -> None:
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{empty_database}'\n", encoding="utf-8")
    done = call("--config", config, "import", LOG)
    assert done.returncode == 1
    assert "journal-postfix schema apply" in done.stderr
    assert call("--config", config, "schema", "status").returncode == 1
    assert "tables: applied" in call("--config", config, "schema", "apply").stdout
    assert "nothing to do" in call("--config", config, "schema", "apply").stdout
    assert call("--config", config, "schema", "status").returncode == 0
    assert call("--config", config, "import", LOG).returncode == 0


def test_a_newer_schema_is_refused(database: str, run: Run) -> None:
    with closing(Database(database)) as connection:
        connection.execute("INSERT INTO schema_step (step, name, checksum) VALUES (9999, 'future', 'x')")
    done = run("import", LOG)
    assert done.returncode == 1
    assert "newer than this program knows" in done.stderr
    assert run("schema", "apply").returncode == 1


def test_a_step_that_was_changed_is_refused(database: str, run: Run) -> None:
    with closing(Database(database)) as connection:
        connection.execute("UPDATE schema_step SET checksum = 'x' WHERE step = 1")
    done = run("import", LOG)
    assert done.returncode == 1
    assert "is not the one that this program has" in done.stderr


def test_a_configuration_with_problems_ends_with_78(tmp_path: Path) -> None:
    config = tmp_path / "main.yml"
    config.write_text("databse: x\nmax_messages_per_commit: 0\n", encoding="utf-8")
    for arguments in (["--config", str(config), "status"], ["check-config", str(config)]):
        done = call(*arguments)
        assert done.returncode == 78
        assert "did you mean database?" in done.stderr
        assert "max_messages_per_commit: must be a whole number" in done.stderr
    config.write_text("database: dbname=x\n", encoding="utf-8")
    assert call("check-config", str(config)).returncode == 0


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["import"], ["import", "--year", "12", "x"], ["import", "--format", "xml", "x"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    assert call(*arguments).returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        "import",
        "parse",
        "search",
        "trace",
        "problems",
        "stats",
        "unknown",
        "status",
        "cleanup",
        "schema",
        "check-config",
    ],
)
def test_every_command_has_help(command: str) -> None:
    done = call(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: journal-postfix {command}")


def test_a_progress_bar_is_drawn_on_a_terminal_only(config: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.yml"
    small.write_text(config.read_text(encoding="utf-8") + "max_messages_per_commit: 1\n", encoding="utf-8")
    master, slave = pty.openpty()
    command = [sys.executable, str(PROGRAM), "--config", str(small), "import", str(LOG)]
    subprocess.run(command, stdout=subprocess.PIPE, stderr=slave, check=True)
    os.close(slave)
    drawn = os.read(master, 65536).decode()
    os.close(master)
    assert "content_filter.log [" in drawn
    assert "%" in drawn
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stderr == ""


def test_rotated_files_may_be_given_in_any_order(run: Run, tmp_path: Path) -> None:
    lines = (STREAMS / "reused_queue_id.log").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "mail.log.2").write_text("".join(lines[:2]), encoding="utf-8")
    (tmp_path / "mail.log.1").write_text("".join(lines[2:7]), encoding="utf-8")
    (tmp_path / "mail.log").write_text("".join(lines[7:]), encoding="utf-8")
    done = run("import", "--json", tmp_path / "mail.log", tmp_path / "mail.log.1", tmp_path / "mail.log.2")
    files = [Path(json.loads(line)["file"]).name for line in done.stdout.splitlines()]
    assert files == ["mail.log.2", "mail.log.1", "mail.log"]
    found = [json.loads(line) for line in run("search", "--queue-id", "1A2B3C4D5E", "--json").stdout.splitlines()]
    assert [one["recipients"][0]["fate"] for one in found] == ["bounced", "sent"]


def test_a_name_that_is_no_utf8_is_imported_and_shown_escaped(config: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/b\xff\x1b[31m.log"
    Path(os.fsdecode(path)).write_bytes(LOG.read_bytes())
    command = [sys.executable, str(PROGRAM), "--config", str(config), "import"]
    done = subprocess.run([*map(os.fsencode, command), path], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"15 new lines" in done.stdout
    assert b"\x1b" not in done.stdout
    missing = subprocess.run([*map(os.fsencode, command), path + b"x"], capture_output=True, check=False)
    assert missing.returncode == 1
    assert b"no such file" in missing.stderr
    assert b"\x1b" not in missing.stderr
    wrong = [*map(os.fsencode, command), b"--host", b"\xff", path]
    assert subprocess.run(wrong, capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize("there", [[], [yaml]])
def test_a_python_without_the_packages_is_told_their_names(there: list[ModuleType], tmp_path: Path) -> None:
    for module in there:
        (tmp_path / module.__name__).symlink_to(Path(str(module.__file__)).parent)
    done = subprocess.run(
        [sys.executable, "-S", PROGRAM, "import", LOG],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    (told,) = done.stderr.splitlines()
    assert f"has no module {'psycopg2' if there else 'yaml'};" in told
    assert "apt-get install python3-psycopg2 python3-yaml" in told


def test_arguments_that_a_command_does_not_know_are_answered_by_its_own_usage() -> None:
    done = call("trace", "0A1A1A1A1A", "--recipient\x1b[31m")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: journal-postfix trace ")
    assert "unrecognized arguments: --recipient\\x1b[31m" in done.stderr
