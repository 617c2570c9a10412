"""`make try`: what it prints is true, what it proposes works, a second run adds nothing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

import demo
from journal_postfix.store import Database
from paths import STREAMS
from scratch_postgres import ScratchPostgresError


@pytest.fixture
def try_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep the data elsewhere than in the checkout, where the server's user can enter."""
    parent = Path(tempfile.mkdtemp(dir="/tmp"))
    parent.chmod(0o711)
    folder = parent / "try"
    monkeypatch.setattr(demo, "FOLDER", folder)
    monkeypatch.setattr(demo, "CONFIGURATION", folder / "main.yml")
    monkeypatch.setattr(demo, "CURRENT", folder / "database")
    yield folder
    shutil.rmtree(parent)


@pytest.mark.postgres
def test_shows_the_sample_and_proposes_what_works(try_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.report(None) == 0
    first = capfd.readouterr().out
    assert re.search(r"[1-9][0-9,]* new lines;", first)
    assert re.search(r"[1-9][0-9,]* mails, [1-9][0-9,]* recipients, [1-9][0-9,]* rejections", first)
    assert re.findall(r"^  ([0-9])\. [0-9,]+ recipient", first, re.MULTILINE) == ["1", "2", "3"]
    proposals = re.findall(r"^  \./try (.*?) +#", first, re.MULTILINE)
    assert len(proposals) == 5
    for proposal in proposals:
        assert demo.command(shlex.split(proposal)) == 0, proposal
        assert capfd.readouterr().out.strip(), proposal

    assert demo.report(None) == 0
    second = capfd.readouterr().out
    assert " 0 new lines" in second
    became = "What became of the mails"
    assert second.partition(became)[2] == first.partition(became)[2]


@pytest.mark.postgres
def test_a_log_of_your_own_has_its_own_database(try_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert demo.report(str(STREAMS / "deferred_thirty_times.log")) == 0
    assert "  1 mail, 1 recipient, 0 rejections" in capfd.readouterr().out
    assert demo.report(str(try_folder / "missing.log")) == 1
    told = capfd.readouterr()
    assert "missing.log: no such file" in told.err
    assert "  1 mail, 1 recipient, 0 rejections" in told.out
    assert demo.command(["trace", "NOSUCHID"]) == 0


@pytest.mark.postgres
def test_a_log_without_any_mail_changes_nothing_that_is_looked_at(
    try_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    missing = str(try_folder / "missing.log")
    assert demo.report(missing) == 1
    assert "no mail was found there" in capfd.readouterr().err
    assert demo.command(["status"]) == 1
    assert "begin with: make try" in capfd.readouterr().err
    before = "sample_00000000"
    demo.CURRENT.write_text(before, encoding="utf-8")
    assert demo.report(missing) == 1
    assert "goes on with the log before" in capfd.readouterr().err
    assert demo.CURRENT.read_text(encoding="utf-8") == before


def test_commands_before_anything_was_imported_say_what_to_do(
    try_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert demo.command(["status"]) == 1
    assert "make try" in capfd.readouterr().err


def test_a_name_that_is_no_database_of_ours_is_refused(try_folder: Path) -> None:
    with (
        pytest.raises(ScratchPostgresError, match="damaged"),
        demo.running_server("postgres; DROP DATABASE own"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_checkout_that_the_server_cannot_enter_has_its_data_elsewhere(
    try_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "FOLDER", tmp_path / ".try")  # pytest's folders are its user's alone
    monkeypatch.setattr(demo, "CACHE", try_folder.parent)
    demo.prepare_folder()
    elsewhere = (tmp_path / ".try").readlink()
    assert elsewhere.parent == try_folder.parent
    assert str(elsewhere) in capfd.readouterr().out
    elsewhere.rmdir()
    demo.prepare_folder()
    assert elsewhere.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_another_user_is_refused(try_folder: Path) -> None:
    try_folder.mkdir()
    os.chown(try_folder, 65534, 65534)
    with pytest.raises(ScratchPostgresError, match="belongs to another user"):
        demo.prepare_folder()


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        (
            "host mx.example.com[192.0.2.1] said: 550 5.1.1 <a@example.com>: no (in reply to RCPT TO command)",
            "550 5.1.1 …: no",
        ),
        (
            "delivery temporarily suspended: connect to mx.example.com[2001:db8::1]:25: timed out",
            "connect to mx.example.com: timed out",
        ),
        ('unknown user: "joe"', "unknown user: …"),
        ("", ""),
    ],
)
def test_replies_are_reduced_to_what_they_have_in_common(response: str, shown: str) -> None:
    assert demo.normalised(response) == shown


def test_worst_problems_join_replies_that_differ_in_addresses_only(database: str) -> None:
    """Straight from the tables: what the query takes as a problem, and in which order."""
    rows = [
        ("a@example.com", "deferred", "connect to mx.example.com[192.0.2.1]:25: timed out"),
        ("b@example.com", "deferred", "connect to mx.example.com[192.0.2.2]:25: timed out"),
        ("c@example.net", "bounced", 'unknown user: "c"'),
        ("d@example.net", "sent", "250 ok"),
    ]
    with closing(psycopg2.connect(database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO mail_server (host, instance) VALUES ('mx', 'postfix') RETURNING server_id")
        (server_id,) = cursor.fetchone() or (0,)
        cursor.execute(
            "INSERT INTO delivery_from (server_id, queue_id, began, last_seen) VALUES (%s, 'A1', now(), now()) "
            "RETURNING mail_id",
            (server_id,),
        )
        (mail_id,) = cursor.fetchone() or (0,)
        for key, (recipient, status, response) in enumerate(rows):
            cursor.execute(
                "INSERT INTO delivery_to (mail_id, recipient_key, recipient, status, response, component, attempts, "
                "attempted, first_attempt, last_attempt) VALUES (%s, %s, %s, %s, %s, 'smtp', 1, now(), now(), now())",
                (mail_id, key, recipient, status, response),
            )
    with closing(Database(database)) as views:
        problems = demo.worst_problems(views)
    assert [(problem.recipients, problem.fate, problem.domains) for problem in problems] == [
        (2, "deferred", ["example.com"]),
        (1, "bounced", ["example.net"]),
    ]
