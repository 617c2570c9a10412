"""The journal as a source, on real journal files."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import journals
from journals import BEGIN_US, JournalWriter, entry, export, filler, write_journal

if journals.MISSING:
    pytest.skip(journals.MISSING, allow_module_level=True)

from journal_postfix.errors import InputError
from journal_postfix.message import Gap, LogMessage
from journal_postfix.sources import journal as source
from journal_postfix.sources import journalfiles
from journal_postfix.sources.entries import ROOT, Trust, iter_export_messages
from journal_postfix.sources.journal import (
    Found,
    Journal,
    JournalOptions,
    iter_journal_messages_follow,
    iter_journal_messages_since,
    machine_ids,
)
from journal_postfix.sources.lines import LINE_BYTES
from journal_postfix.sources.ownmachine import own_machine

BEGIN = BEGIN_US / 1e6
NOBODY = 65534
WAIT_S = 30.0  # much more than anything takes


def options(folder: Path, **more: Any) -> JournalOptions:
    return JournalOptions(directory=str(folder), **more)


def read_all(
    folder: Path, cursor: str | None = None, since: float | None = None, **more: Any
) -> list[LogMessage | Gap]:
    with Journal(options(folder, **more)) as journal:
        return list(iter_journal_messages_since(journal, cursor, since))


def texts(messages: list[LogMessage | Gap]) -> list[str]:
    """Give the messages' texts, of a gap its kind in brackets."""
    return [f"[{message.kind}]" if isinstance(message, Gap) else message.text for message in messages]


def cursors(folder: Path) -> dict[str, str]:
    """Give the cursor behind each message."""
    found = {}
    with Journal(options(folder)) as journal:
        for message in iter_journal_messages_since(journal):
            cursor = journal.cursor()
            assert isinstance(message, LogMessage)
            assert cursor is not None
            found[message.text] = cursor
    return found


def next_messages(journal: Journal, count: int) -> list[LogMessage | Gap]:
    """Wait for messages that are on their way."""
    messages: list[LogMessage | Gap] = []
    while len(messages) < count:
        messages += journal.read(count - len(messages)) or []
        assert len(messages) == count or journal.wait(WAIT_S), texts(messages)
    return messages


def archived(folder: Path) -> list[Path]:
    """Give the files that are full, the oldest first."""
    return sorted(folder.glob("system@*.journal"), key=lambda path: path.name.split("-")[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a journal with the messages 1 to 5."""
    return write_journal(tmp_path / "system.journal", [entry(number) for number in range(1, 6)])


# ---- what an entry becomes


def test_message_has_what_journald_recorded(tmp_path: Path) -> None:
    write_journal(tmp_path / "system.journal", [entry(1.000001, "4BCdEF: removed")])
    assert read_all(tmp_path) == [
        LogMessage("mx", "postfix/qmgr", 42, BEGIN + 1.000001, "4BCdEF: removed", 1, True, "")
    ]
    message = read_all(tmp_path, host="mail.example.com")[0]
    assert message.host == "mail.example.com"


ODD_ENTRIES = [
    entry(1, None, MESSAGE=None),
    entry(2, b"not UTF-8: \xff\xc3("),
    entry(3, "größer"),
    entry(4, "two\nlines\n\nMESSAGE=none"),
    entry(5, b"NUL \0 and escape \x1b[2J"),
    entry(6, "a" * 1_000_000),
    entry(7, os.urandom(200_000)),
    entry(8, ""),
    entry(9, SYSLOG_PID=None),
    entry(10, SYSLOG_PID="x"),
    entry(11, SYSLOG_PID=" 7 "),
    entry(12, SYSLOG_PID="9" * 12, _PID="9"),
    entry(13, SYSLOG_PID="1_0"),
    entry(14, SYSLOG_PID=None, _PID=None),
    entry(15, SYSLOG_IDENTIFIER=None),
    entry(16, SYSLOG_IDENTIFIER=b"postfix/\xff"),
    entry(17, SYSLOG_IDENTIFIER="postfix/" + "x" * 3000),
    entry(18, _HOSTNAME=None),
    entry(19, _UID="1000", _SYSTEMD_UNIT="cron.service", _EXE="/usr/bin/logger"),
    entry(20, _UID="0", _SYSTEMD_UNIT="session-4.scope", _EXE=None),
    entry(21, _UID="0", _SYSTEMD_UNIT="cron.service", _EXE="/usr/sbin/postsuper"),
    entry(22, "again"),
    entry(23, "again"),
    entry(24, "postfix/smtpd[7]: connect from unknown[192.0.2.1]", SYSLOG_IDENTIFIER="postfix/postlogd"),
    entry(25, "postfix/smtp[8]: x", SYSLOG_IDENTIFIER="postfix/postlogd"),
    entry(26, "x", SYSLOG_IDENTIFIER="postfix/smtpd[7]"),
    entry(27, "x", SYSLOG_IDENTIFIER="spamd", _SYSTEMD_UNIT="spamd.service"),
]


def test_direct_reading_gives_what_the_export_of_the_same_entries_gives(tmp_path: Path) -> None:
    write_journal(tmp_path / "system.journal", ODD_ENTRIES)
    data = io.BytesIO(export(*ODD_ENTRIES))
    expected = list(iter_export_messages(data.read, lambda: False, None, 0))
    numbered = [message._replace(position=number) for number, message in enumerate(expected, 1)]
    assert read_all(tmp_path) == numbered
    assert len(numbered[5].text) == LINE_BYTES


def test_repeated_fields_are_joined_or_the_first_is_taken(tmp_path: Path) -> None:
    raw = export(entry(1, "one")).rstrip(b"\n") + b"\nMESSAGE=two\nSYSLOG_IDENTIFIER=postfix/smtp\nSYSLOG_PID=43\n\n"
    with JournalWriter(tmp_path / "system.journal") as writer:
        writer.write_raw(raw)
    (message,) = read_all(tmp_path)
    assert isinstance(message, LogMessage)
    assert sorted(message.text.split("\n")) == ["one", "two"]
    assert message.identifier in {"postfix/qmgr", "postfix/smtp"}
    assert message.pid in {42, 43}


def test_other_facilities_are_not_read_unless_named(tmp_path: Path) -> None:
    entries = [entry(1), entry(2, SYSLOG_FACILITY="3"), entry(3, SYSLOG_FACILITY="16"), entry(4, SYSLOG_FACILITY=None)]
    write_journal(tmp_path / "system.journal", entries)
    assert texts(read_all(tmp_path)) == ["1"]
    assert texts(read_all(tmp_path, facilities=("2", "16"))) == ["1", "3"]


def test_of_the_facility_that_logger_takes_only_what_is_forged_is_given(tmp_path: Path) -> None:
    by_user = {"SYSLOG_FACILITY": "1", "_UID": "1000", "_SYSTEMD_UNIT": "session-3.scope", "_EXE": "/usr/bin/logger"}
    entries = [
        entry(1, "ABCDEF: removed", **by_user),
        entry(2, "ABCDEF: removed", SYSLOG_FACILITY="1"),
        entry(3, "anything", **by_user | {"SYSLOG_IDENTIFIER": "backup"}),
        entry(4, "ABCDEF: removed", **by_user | {"SYSLOG_FACILITY": "2"}),
    ]
    write_journal(tmp_path / "system.journal", entries)

    def found(facilities: tuple[str, ...]) -> list[tuple[float, bool]]:
        messages = read_all(tmp_path, facilities=facilities)
        return [(message.time - BEGIN, message.trusted) for message in messages if isinstance(message, LogMessage)]

    assert found(("2",)) == [(1, False), (4, False)]
    assert found(("1",)) == [(1, False), (2, True), (3, False)]


def test_neighbours_are_read_whatever_their_facility(tmp_path: Path) -> None:
    entries = [
        entry(1, SYSLOG_IDENTIFIER="rspamd", SYSLOG_FACILITY="3", _UID="111", _SYSTEMD_UNIT="rspamd.service"),
        entry(2, SYSLOG_IDENTIFIER="cron", SYSLOG_FACILITY="9"),
        entry(3, SYSLOG_IDENTIFIER="dovecot", SYSLOG_FACILITY="3", _UID="1000", _SYSTEMD_UNIT="user@1000.service"),
    ]
    write_journal(tmp_path / "system.journal", entries)
    assert read_all(tmp_path) == []
    found = read_all(tmp_path, neighbours={"dovecot": ["dovecot"], "rspamd": ["rspamd"]})
    assert [(message.text, message.trusted) for message in found if isinstance(message, LogMessage)] == [
        ("1", True),
        ("3", False),
    ]


# ---- whom to believe


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        (
            {"_UID": "1000", "_SYSTEMD_UNIT": "session-3.scope", "_EXE": "/usr/bin/logger"},
            "session-3.scope, uid 1000, /usr/bin/logger",
        ),
        ({"_UID": "1000", "_SYSTEMD_UNIT": None, "_EXE": None}, "uid 1000"),
        (
            {"_UID": "1000", "_SYSTEMD_UNIT": "cron.service", "_EXE": "/usr/sbin/postlog"},
            "cron.service, uid 1000, /usr/sbin/postlog",
        ),
        (
            {"_UID": "0", "_SYSTEMD_UNIT": "rsyslog.service", "_EXE": "/usr/sbin/rsyslogd"},
            "rsyslog.service, uid 0, /usr/sbin/rsyslogd",
        ),
        ({"_UID": None, "_SYSTEMD_UNIT": None, "_EXE": None}, ""),
    ],
)
def test_what_is_not_postfixs_is_given_with_its_true_origin(
    tmp_path: Path, fields: dict[str, str | None], origin: str
) -> None:
    write_journal(tmp_path / "system.journal", [entry(1, **fields), entry(2), entry(3, **fields)])
    found = [message for message in read_all(tmp_path) if isinstance(message, LogMessage)]
    assert [(message.trusted, message.origin) for message in found] == [(False, origin), (True, ""), (False, origin)]


@pytest.mark.parametrize(
    ("identifier", "unit", "uid", "exe", "trusted"),
    [
        ("postfix/smtp", "postfix.service", "0", "", True),
        ("postfix/smtp", "", "101", "", True),
        ("postfix/smtp", "", "102", "", False),
        ("postfix/postsuper", "cron.service", "0", "/usr/sbin/postsuper", True),
        ("postfix/postsuper", "cron.service", "0", "/usr/bin/logger", False),
        ("postfix/smtp", "cron.service", "1000", "/usr/sbin/postlog", False),
        ("postfix/smtp", "mta.service", "101", "", True),
        ("postfix/smtp", "dovecot.service", "105", "", False),
        ("postfix/postsuper", "session-c3.scope", "0", "", True),
        ("postfix/postsuper", "run-r1.scope", "0", "", True),
        ("postfix/smtp", "docker-0a.scope", "101", "/usr/bin/logger", False),
        ("postfix/smtp", "libpod-0a.scope", "0", "", False),
        ("postfix/smtp", "machine-session-1.scope", "0", "", False),
        ("postfix/smtp", "user@101.service", "101", "/usr/bin/logger", False),
        ("postfix/postdrop", "apache2.service", "33", "/usr/sbin/postdrop", True),
        ("postfix-out/postdrop", "user@1000.service", "1000", "/usr/sbin/postdrop", True),
        ("postfix/qmgr", "apache2.service", "33", "/usr/sbin/postdrop", False),
        ("postfix/postdrop", "apache2.service", "33", "/usr/local/sbin/postdrop", False),
        ("postfix/sendmail", "apache2.service", "33", "/usr/sbin/sendmail", False),
        ("dovecot", "dovecot.service", "105", "", True),
        ("dovecot", "postfix@-.service", "105", "", True),
        ("dovecot", "mta.service", "105", "", True),
        ("dovecot", "cron.service", "0", "", True),
        ("dovecot", "rspamd.service", "105", "", False),
        ("dovecot", "session-1.scope", "1000", "", False),
        ("dovecot", "dovecot-1.scope", "1000", "", False),
        ("amavisd", "amavisd-new.service", "110", "", True),
    ],
)
def test_trust_with_all_that_can_be_configured(identifier: str, unit: str, uid: str, exe: str, trusted: bool) -> None:
    trust = Trust(frozenset({"0", "101"}), frozenset({"mta.service"}), {"dovecot": "dovecot", "amavisd": "amavis"})
    assert trust.judge(identifier, unit, uid, exe) is trusted


def test_whose_number_it_is_is_known_of_the_own_machine_only() -> None:
    trust = Trust(frozenset({"0", "101"}), machine_id="a0")
    assert trust.judge("postfix/smtpd", "", "101", "", "a0")
    assert not trust.judge("postfix/smtpd", "", "101", "", "b0")
    assert not trust.judge("postfix/smtpd", "", "101", "")
    assert trust.judge("postfix/postsuper", "", "0", "", "b0")


def test_own_uids_are_root_and_postfix_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_machine().uids >= ROOT
    assert own_machine("no-such-user").uids == ROOT


# ---- going on


def test_reading_goes_on_exactly_behind_every_message(folder: Path) -> None:
    for text, cursor in cursors(folder).items():
        with Journal(options(folder)) as journal:
            assert journal.seek(cursor, None, position=70) is Found.EXACT
            assert journal.cursor() == cursor
            rest = list(journal.messages())
        assert texts(rest) == [str(number) for number in range(int(text) + 1, 6)]
        assert [message.position for message in rest] == list(range(71, 71 + len(rest)))


def test_pieces_of_any_size_make_the_whole(folder: Path) -> None:
    for size in range(1, 7):
        cursor: str | None = None
        found: list[str] = []
        while True:
            with Journal(options(folder)) as journal:
                journal.seek(cursor)
                piece = journal.read(size)
                cursor = journal.cursor()
            if not piece:
                break
            found += texts(piece)
        assert found == ["1", "2", "3", "4", "5"]


def test_cursor_is_that_of_the_message_yielded_last(folder: Path) -> None:
    known = cursors(folder)
    with Journal(options(folder)) as journal:
        assert journal.cursor() is None
        messages = iter_journal_messages_since(journal)
        next(messages)
        next(messages)
        assert journal.cursor() == known["2"]
        assert texts(list(messages)) == ["3", "4", "5"]
        assert journal.cursor() == known["5"]


def test_since_includes_its_own_instant(folder: Path) -> None:
    assert texts(read_all(folder, since=BEGIN + 3)) == ["3", "4", "5"]
    assert texts(read_all(folder, since=BEGIN + 3.000001)) == ["4", "5"]
    assert read_all(folder, since=BEGIN + 9) == []
    with Journal(options(folder)) as journal:
        assert journal.seek(None, BEGIN + 3) is Found.START


@pytest.mark.parametrize("cursor", ["", "x", "s=", "i=zz", "a\0b", "s=é", "x" * 100_000])
def test_malformed_cursor_counts_as_gone_and_nothing_comes_twice(folder: Path, cursor: str) -> None:
    with Journal(options(folder)) as journal:
        assert journal.seek(cursor, BEGIN + 3) is Found.NEXT
        found = list(journal.messages())
    assert texts(found) == ["[vacuumed]", "4", "5"]
    assert found[0] == Gap("vacuumed", "", BEGIN + 3, BEGIN + 4, None, "", 0)
    assert texts(read_all(folder, cursor)) == ["[vacuumed]", "1", "2", "3", "4", "5"]


def test_vacuumed_journal_goes_on_with_what_is_left_and_tells_the_gap(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    write_journal(path, [entry(1), entry(2), filler(3), entry(4), filler(5), entry(6), entry(7)])
    known = cursors(tmp_path)
    for file in archived(tmp_path):
        file.unlink()
    with Journal(options(tmp_path)) as journal:
        assert journal.seek(known["1"], None, position=1) is Found.NEXT
        assert journal.cursor() == known["1"]
        found = list(journal.messages())
        assert journal.cursor() == known["7"]
    assert texts(found) == ["[vacuumed]", "6", "7"]
    assert found[0] == Gap("vacuumed", "", BEGIN + 1, BEGIN + 6, None, "", 1)
    assert found[1].position == 2


def test_nothing_is_missing_when_only_what_was_read_is_vacuumed(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    full = {f"FILLER_{index}": "x" for index in range(300)}
    write_journal(path, [entry(1), entry(2, **full), entry(3), entry(4)])
    known = cursors(tmp_path)
    (old,) = archived(tmp_path)
    old.unlink()
    with Journal(options(tmp_path)) as journal:
        assert journal.seek(known["2"]) is Found.EXACT
        assert texts(list(journal.messages())) == ["3", "4"]


def test_everything_vacuumed_and_nothing_new_yet(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    write_journal(path, [entry(1), filler(2), filler(3)])
    known = cursors(tmp_path)
    for file in archived(tmp_path):
        file.unlink()
    path.unlink()
    with Journal(options(tmp_path)) as journal:
        assert journal.seek(known["1"]) is Found.NEXT
        assert journal.read(9) == []
        assert journal.cursor() == known["1"]
        with JournalWriter(path) as writer:
            writer.write(entry(9))
        found = next_messages(journal, 2)
    assert texts(found) == ["[vacuumed]", "9"]
    assert found[0][2:4] == (BEGIN + 1, BEGIN + 9)


def test_cursor_of_another_machine_goes_on_by_its_time(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    write_journal(other / "system.journal", [entry(2.5, _BOOT_ID="c0" * 16, _MACHINE_ID="d0" * 16)])
    (cursor,) = cursors(other).values()
    shutil.rmtree(other)
    with Journal(options(folder)) as journal:
        assert journal.seek(cursor) is Found.NEXT
        assert texts(list(journal.messages())) == ["[vacuumed]", "3", "4", "5"]


def test_entry_that_was_copied_to_another_file_is_the_same(tmp_path: Path) -> None:
    """As journald copies them from /run to /var at boot, with other sequence numbers."""
    volatile, persistent = tmp_path / "run", tmp_path / "var"
    twins = [entry(2, "a"), entry(2, "b"), entry(2, "c")]  # of one instant
    write_journal(volatile / "system.journal", [entry(1), *twins, entry(3)])
    write_journal(persistent / "system.journal", [filler(0), entry(1), *twins, entry(3), entry(4)])
    after = {"1": "abc34", "a": "bc34", "b": "c34", "c": "34", "3": "4"}
    for text, cursor in cursors(volatile).items():
        with Journal(options(persistent)) as journal:
            assert journal.seek(cursor) is Found.EXACT
            assert "".join(texts(list(journal.messages()))) == after[text]


def test_another_line_of_the_same_instant_is_not_taken_for_the_one_that_is_gone(tmp_path: Path) -> None:
    volatile, persistent = tmp_path / "run", tmp_path / "var"
    write_journal(volatile / "system.journal", [entry(2, "a")])
    write_journal(persistent / "system.journal", [entry(1), entry(2, "b"), entry(2, "c"), entry(3)])
    (cursor,) = cursors(volatile).values()
    assert texts(read_all(persistent, cursor)) == ["[vacuumed]", "b", "c", "3"]


def test_entry_that_is_no_longer_selected_is_found_all_the_same(tmp_path: Path) -> None:
    rspamd = {"SYSLOG_IDENTIFIER": "rspamd", "SYSLOG_FACILITY": "3"}
    write_journal(tmp_path / "system.journal", [entry(1), entry(2, **rspamd), entry(3, **rspamd), entry(4)])
    with Journal(options(tmp_path, neighbours={"rspamd": ["rspamd"]})) as journal:
        assert texts(journal.read(2)) == ["1", "2"]
        cursor = journal.cursor()
    with Journal(options(tmp_path)) as journal:
        assert journal.seek(cursor) is Found.EXACT
        assert texts(list(journal.messages())) == ["4"]


def test_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    times = [10, 11, 3, 4, 12]
    entries = [entry(time, str(time), __MONOTONIC_TIMESTAMP=str(number)) for number, time in enumerate(times, 1)]
    write_journal(tmp_path / "system.journal", entries)
    assert texts(read_all(tmp_path)) == ["10", "11", "3", "4", "12"]
    known = cursors(tmp_path)
    assert texts(read_all(tmp_path, known["11"])) == ["3", "4", "12"]
    assert texts(read_all(tmp_path, known["3"])) == ["4", "12"]


def test_boots_follow_each_other(tmp_path: Path) -> None:
    later = [
        entry(number, _BOOT_ID="b1" * 16, __MONOTONIC_TIMESTAMP=str(monotonic))
        for number, monotonic in [(3, 1000), (4, 2000)]
    ]
    write_journal(tmp_path / "system.journal", [entry(1), entry(2), *later])
    assert texts(read_all(tmp_path)) == ["1", "2", "3", "4"]
    for text, cursor in cursors(tmp_path).items():
        assert texts(read_all(tmp_path, cursor)) == ["1", "2", "3", "4"][int(text) :]


def test_oldest_and_newest_are_those_of_mail(tmp_path: Path, folder: Path) -> None:
    write_journal(tmp_path / "all" / "system.journal", [filler(1), entry(2), entry(3), filler(4)])
    with Journal(options(tmp_path / "all")) as journal:
        assert (journal.oldest(), journal.newest()) == (BEGIN + 2, BEGIN + 3)
        assert texts(journal.read(9)) == ["2", "3"]  # the place is not lost
        assert (journal.oldest(), journal.newest()) == (BEGIN + 2, BEGIN + 3)
    empty = tmp_path / "empty"
    empty.mkdir()
    with Journal(options(empty)) as journal:
        assert (journal.oldest(), journal.newest(), journal.read(9)) == (None, None, [])


# ---- following


def test_what_is_written_while_following_comes_at_once(folder: Path) -> None:
    with Journal(options(folder)) as journal, JournalWriter(folder / "system.journal") as writer:
        following = iter_journal_messages_follow(journal, poll_interval_s=WAIT_S)
        assert [next(following).text for _ in range(5)] == ["1", "2", "3", "4", "5"]  # type: ignore[union-attr]
        assert next(following) is None
        writer.write(entry(6))
        message = next(following) or next(following)
        assert isinstance(message, LogMessage)
        assert (message.text, message.position) == ("6", 6)


def test_follower_says_when_nothing_comes(folder: Path) -> None:
    with Journal(options(folder)) as journal:
        following = iter_journal_messages_follow(journal, poll_interval_s=0.0)
        assert sum(next(following) is not None for _ in range(9)) == 5


@pytest.mark.parametrize("watched", [True, False])
def test_rotation_loses_nothing(folder: Path, watched: bool) -> None:
    with Journal(options(folder)) as journal, JournalWriter(folder / "system.journal") as writer:
        assert len(journal.read(9)) == 5
        for number in range(6, 30, 2):
            if not watched:
                journal._look_after = 0.0  # nobody has looked for long
            writer.write(entry(number), filler(number), entry(number + 1))
            assert texts(next_messages(journal, 2)) == [str(number), str(number + 1)]
    assert len(archived(folder)) == 12


def test_many_rotations_between_two_looks_lose_nothing(folder: Path) -> None:
    with Journal(options(folder)) as journal:
        assert len(journal.read(9)) == 5
        for number in range(6, 12):
            write_journal(folder / "system.journal", [entry(number), filler(number)])
        assert texts(next_messages(journal, 6)) == ["6", "7", "8", "9", "10", "11"]


def test_files_that_come_unnoticed_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LOOK_INTERVAL_S", 0.0)
    with Journal(options(folder)) as journal:
        assert len(journal.read(9)) == 5
        silent, writer = os.pipe2(os.O_NONBLOCK)
        os.dup2(silent, journal._reader.fileno())  # what is watched now never says a word
        journal._look_after = 0.0
        write_journal(folder / "system.journal", [entry(6), filler(7), entry(8)])
        assert texts(journal.read(9)) == ["6", "8"]
        os.close(silent)
        os.close(writer)


def test_what_is_deleted_unread_while_following_is_a_gap(folder: Path) -> None:
    with Journal(options(folder)) as journal:
        assert len(journal.read(9)) == 5
        write_journal(folder / "system.journal", [filler(6), entry(7), filler(8), entry(9)])
        for file in archived(folder):
            file.unlink()
        found = next_messages(journal, 2)
        assert texts(found) == ["[vacuumed]", "9"]
        assert found[0] == Gap("vacuumed", "", BEGIN + 5, BEGIN + 9, None, "", 5)
        assert found[1].position == 6


def test_files_that_are_deleted_are_read_to_their_end_first(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    write_journal(path, [entry(1), entry(2), filler(3), entry(4), filler(5), entry(6)])
    with Journal(options(tmp_path)) as journal:
        assert texts(journal.read(1)) == ["1"]
        for file in archived(tmp_path):
            file.unlink()
        assert texts(next_messages(journal, 3)) == ["2", "4", "6"]


def vacuum(path: Path) -> None:
    """Delete a file as journald does: overwritten, so that who reads it finds zeros."""
    subprocess.run(["fallocate", "--punch-hole", f"--length={path.stat().st_size}", path], check=True)
    path.unlink()


@pytest.mark.parametrize("is_at_end", [False, True])
@pytest.mark.parametrize("begin", [2, 900])
def test_what_is_vacuumed_while_it_is_read_is_not_passed_over(tmp_path: Path, begin: int, is_at_end: bool) -> None:
    path = tmp_path / "system.journal"
    write_journal(path, [*(entry(number) for number in range(1000)), filler(1000), entry(1001)])
    with Journal(options(tmp_path)) as journal:
        journal.seek(None, BEGIN)
        messages = journal.messages()
        next(messages)
        committed = journal.cursor()
        assert len(list(itertools.islice(messages, begin - 1))) == begin - 1
        vacuum(archived(tmp_path)[0])
        with pytest.raises(InputError, match="cannot be read twice alike"):
            list(messages) if is_at_end else journal.cursor()
    found = read_all(tmp_path, committed)
    assert texts(found) == ["[vacuumed]", "1001"]
    assert isinstance(found[0], Gap)
    assert (found[0].begins, found[0].ends) == (BEGIN, BEGIN + 1001)


def test_what_is_vacuumed_behind_the_last_commit_is_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    write_journal(path, [*(entry(number) for number in range(1000)), filler(1000), entry(1001)])
    with Journal(options(tmp_path)) as journal:
        journal.seek(None, BEGIN)
        messages = journal.messages()
        next(messages)
        assert journal.cursor() is not None
        vacuum(archived(tmp_path)[0])
        given = list(messages)
    assert texts(given) == ["[vacuumed]", "1001"]
    assert isinstance(given[0], Gap)
    assert (given[0].begins, given[0].ends) == (BEGIN, BEGIN + 1001)


def test_vacuum_of_what_was_read_before_the_last_commit_disturbs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "system.journal"
    later = [entry(number) for number in range(2, 100)]
    write_journal(path, [entry(1), filler(1), *later, filler(100), entry(101)])
    with Journal(options(tmp_path)) as journal:
        messages = journal.messages()
        given = list(itertools.islice(messages, 10))
        committed = journal.cursor()
        vacuum(archived(tmp_path)[0])
        given += itertools.islice(messages, 20)
        assert journal.cursor() != committed
        given += messages
    assert texts(given) == [str(number) for number in (*range(1, 100), 101)]


def test_journal_that_begins_later_is_followed(tmp_path: Path) -> None:
    with Journal(options(tmp_path)) as journal:
        assert journal.read(9) == []
        assert journal.cursor() is None
        write_journal(tmp_path / "system.journal", [entry(1)])
        assert texts(next_messages(journal, 1)) == ["1"]


# ---- several machines in one directory


def test_machines_are_read_apart_so_that_none_is_late(tmp_path: Path) -> None:
    one, two = "a1" * 16, "a2" * 16
    write_journal(tmp_path / "remote-one.journal", [entry(5, _MACHINE_ID=one, _HOSTNAME="one")])
    write_journal(tmp_path / "remote-two.journal", [entry(1, _MACHINE_ID=two, _HOSTNAME="two")])
    assert machine_ids(str(tmp_path)) == [one, two]
    with Journal(options(tmp_path, machine_id=two)) as journal:
        assert texts(journal.read(9)) == ["1"]
        cursor = journal.cursor()
        write_journal(tmp_path / "remote-two.journal", [entry(2, _MACHINE_ID=two, _HOSTNAME="two")])
        assert texts(next_messages(journal, 1)) == ["2"]
    (message,) = read_all(tmp_path, cursor, machine_id=two)
    assert (message.host, texts([message])) == ("two", ["2"])


# ---- what journald says it dropped


def suppressed(number: float, unit: str | None = "postfix@-.service", **fields: str | None) -> dict[str, bytes | str]:
    own: dict[str, bytes | str | None] = {
        "_TRANSPORT": "driver",
        "SYSLOG_FACILITY": "3",
        "SYSLOG_IDENTIFIER": "systemd-journald",
        "SYSLOG_PID": None,
        "_UID": "0",
        "_SYSTEMD_UNIT": "systemd-journald.service",
        "MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e",
        "N_DROPPED": "32543",
        "OBJECT_SYSTEMD_UNIT": unit,
    }
    return entry(number, f"Suppressed 32543 messages from {unit}", **(own | fields))


def test_suppressed_messages_are_a_gap_with_their_number(tmp_path: Path) -> None:
    write_journal(tmp_path / "system.journal", [entry(1), suppressed(2), entry(3)])
    found = read_all(tmp_path)
    assert texts(found) == ["1", "[suppressed]", "3"]
    assert found[1] == Gap("suppressed", "mx", None, BEGIN + 2, 32543, "postfix@-.service", 2)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"N_DROPPED": None}, 32543),
        ({"N_DROPPED": "x", "MESSAGE": "?"}, None),
        ({"OBJECT_SYSTEMD_UNIT": None}, 32543),
    ],
)
def test_suppressed_messages_as_other_journalds_tell_them(
    tmp_path: Path, fields: dict[str, str | None], expected: int | None
) -> None:
    write_journal(tmp_path / "system.journal", [suppressed(1, **fields)])
    (gap,) = read_all(tmp_path)
    assert isinstance(gap, Gap)
    assert (gap.lines, gap.unit) == (expected, "postfix@-.service")


def test_what_others_lost_is_no_gap_but_that_of_neighbours_is(tmp_path: Path) -> None:
    entries = [entry(1), suppressed(2, "cron.service"), suppressed(3, "dovecot.service"), suppressed(4, "x.service")]
    write_journal(tmp_path / "system.journal", [*entries, entry(5)])
    assert texts(read_all(tmp_path)) == ["1", "5"]
    assert texts(read_all(tmp_path, neighbours={"dovecot": ["dovecot"]})) == ["1", "[suppressed]", "5"]
    assert texts(read_all(tmp_path, units=frozenset({"x.service"}))) == ["1", "[suppressed]", "5"]
    assert [message.position for message in read_all(tmp_path)] == [1, 2]


def test_only_journald_speaks_for_journald(tmp_path: Path) -> None:
    forged = [suppressed(1, _TRANSPORT="journal"), suppressed(2, _TRANSPORT="syslog", SYSLOG_FACILITY="2")]
    write_journal(tmp_path / "system.journal", forged)
    (message,) = read_all(tmp_path)
    assert isinstance(message, LogMessage)
    assert message.text.startswith("Suppressed")


# ---- journals that cannot be read, or not wholly


def as_nobody(function: Callable[[], str]) -> str:
    """Call a function as a user without rights, in a process of its own where this one has them."""
    if os.geteuid() != 0:
        return function()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(writer, function().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


def refusal(folder: Path, **more: Any) -> str:
    try:
        with Journal(options(folder, **more)) as journal:
            return f"{texts(journal.read(9))} {journal.problems}"
    except InputError as error:
        return str(error)


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a folder that everybody can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_is_in_folders_of_other_names_is_not_the_journals(tmp_path: Path, folder: Path) -> None:
    for name in ("lost+found", "remote"):
        write_journal(folder / name / "system.journal", [entry(9)])
    write_journal(folder / ("a1" * 16) / "system.journal", [entry(6)])
    assert texts(read_all(folder)) == ["1", "2", "3", "4", "5", "6"]
    paths = journalfiles.JournalFiles("journal", str(folder), None).paths()
    assert paths == [folder / ("a1" * 16) / "system.journal", folder / "system.journal"]


def test_a_file_name_that_is_no_text_is_told_as_text(folder: Path) -> None:
    (folder / os.fsdecode(b"system@\xff.journal")).write_bytes(b"nothing")
    with Journal(options(folder)) as journal:
        (problem,) = journal.problems
    assert problem.startswith(f"{folder}/system@\\xff.journal: is damaged")


def test_what_the_library_cannot_do_is_an_error_of_the_input(folder: Path) -> None:
    with Journal(options(folder)) as journal:
        journal.close()
        with pytest.raises(InputError, match="journal in"):
            journal.read(1)


def test_no_such_directory(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"journal in {tmp_path}/none: No such file or directory"
    (tmp_path / "file").touch()
    assert refusal(tmp_path / "file") == f"journal in {tmp_path}/file: Not a directory"


def test_files_that_may_not_be_read_are_no_empty_journal(public: Path) -> None:
    write_journal(public / "system.journal", [entry(1)])
    write_journal(public / "user-1000.journal", [entry(2)])
    (public / "system.journal").chmod(0)
    (public / "user-1000.journal").chmod(0o644)
    answer = as_nobody(lambda: refusal(public))
    assert answer == f"journal in {public}: may not be read by this user: add it to the group systemd-journal"


def test_directory_that_may_not_be_read(public: Path) -> None:
    folder = write_journal(public / "inner" / "system.journal", [entry(1)])
    folder.chmod(0)
    answer = as_nobody(lambda: refusal(folder))
    folder.chmod(0o755)
    assert answer == f"journal in {folder}: may not be read by this user: add it to the group systemd-journal"


def test_one_file_that_may_not_be_read_is_told(public: Path) -> None:
    write_journal(public / "system.journal", [entry(1)])
    write_journal(public / "system@1.journal", [entry(2)])
    (public / "system.journal").chmod(0o644)
    (public / "system@1.journal").chmod(0)
    answer = as_nobody(lambda: refusal(public))
    assert answer == f"['1'] ['{public}/system@1.journal: may not be read by this user']"


def test_host_without_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journalfiles, "LOCAL_FOLDERS", (str(tmp_path),))
    with pytest.raises(InputError, match=r"journal: there is none in .*: is systemd-journald running"):
        Journal()
    with pytest.raises(InputError, match="journal of namespace mail: there is none in"):
        Journal(JournalOptions(namespace="mail"))


def test_missing_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_reader", None)
    assert "install Debian's package python3-systemd" in refusal(folder)


def test_file_that_is_none_is_told_and_the_others_are_read(folder: Path) -> None:
    (folder / "system@1.journal").write_bytes(b"LPKSHHRH" + b"x" * 5000)
    with Journal(options(folder)) as journal:
        assert len(journal.read(9)) == 5
        assert len(journal.problems) == 1
        assert journal.problems[0].startswith(f"{folder}/system@1.journal: is damaged and left out (")


FILES = 3
ENTRIES = 2000  # in each
LAST = 9000  # the number of one more
TABLES_IN_HEADER = 104  # offset and size of each of a file's two hash tables (systemd's docs/JOURNAL_FILE_FORMAT.md)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a journal of three files with some thousand messages, their times their numbers."""
    entries = []
    for number in range(FILES * ENTRIES):
        if number and number % ENTRIES == 0:
            entries.append(filler(number - 0.5))
        entries.append(entry(number, f"{number} {'x' * (number % 90)}"))
    return write_journal(tmp_path_factory.mktemp("chain") / "system.journal", entries)


def damage(folder: Path, file: int, share: float, size: int) -> None:
    """Overwrite some bytes of the nth file, the given share of the way from its first entry to its last."""
    path = [*archived(folder), folder / "system.journal"][file]
    data = bytearray(path.read_bytes())
    offset, length, other_offset, other_length = struct.unpack_from("<4Q", data, TABLES_IN_HEADER)
    first = max(offset + length, other_offset + other_length)
    at = first + round(share * (len(data.rstrip(b"\0")) - first))
    data[at : at + size] = b"\xff" * size
    path.write_bytes(data)


def begin_new_file(folder: Path) -> None:
    """Put the current file aside and write LAST to a new one, as journald does with a file that it finds damaged."""
    (folder / "system.journal").rename(folder / "system@0-f-0.journal~")
    write_journal(folder / "system.journal", [entry(LAST, str(LAST))])


def numbers(messages: list[LogMessage | Gap]) -> list[int]:
    return [int(message.text.split()[0]) for message in messages if isinstance(message, LogMessage) and message.text]


@pytest.mark.parametrize("file", range(FILES))
@pytest.mark.parametrize(("share", "size"), [(0.15, 30_000), (0.5, 4096), (0.75, 30_000)])
def test_what_is_readable_of_a_damaged_file_is_read_and_the_rest_is_a_gap(
    chain: Path, tmp_path: Path, file: int, share: float, size: int
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(chain, folder)
    damage(folder, file, share, size)
    begin_new_file(folder)
    with Journal(options(folder)) as journal:
        found = list(iter_journal_messages_since(journal))
        last = journal.cursor()
        problems = journal.problems
    read = numbers(found)
    assert read == sorted(set(read))
    assert read[-1] == LAST
    lost = sorted(set(range(FILES * ENTRIES)) - set(read))
    assert min(lost, default=file * ENTRIES) // ENTRIES == max(lost, default=file * ENTRIES) // ENTRIES == file
    gaps = [message for message in found if isinstance(message, Gap)]
    empty = [message.time for message in found if isinstance(message, LogMessage) and not message.text]
    for number in lost:
        at = BEGIN + number
        assert at in empty or any(gap.begins <= at <= gap.ends for gap in gaps if gap.begins and gap.ends)
    assert {gap.kind for gap in gaps} <= {"damaged"}
    if gaps:
        assert [problem.partition(": ")[2] for problem in problems] == ["is damaged, some of its messages are lost"]
    # The same in pieces, each by a journal that is opened anew.
    cursor, position = None, 0
    pieces: list[LogMessage | Gap] = []
    while True:
        with Journal(options(folder)) as journal:
            journal.seek(cursor, None, position)
            piece = journal.read(700)
            cursor, position = journal.cursor(), journal.position
        if not piece:
            break
        pieces += piece
    assert numbers(pieces) == read
    assert ("[damaged]" in texts(pieces)) == bool(gaps)
    assert cursor == last


@pytest.mark.parametrize("file", range(FILES))
def test_file_that_is_damaged_from_its_first_entry_on(chain: Path, tmp_path: Path, file: int) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(chain, folder)
    damage(folder, file, 0.0, 300_000)
    begin_new_file(folder)
    found = read_all(folder)
    others = [number for number in range(FILES * ENTRIES) if number // ENTRIES != file]
    assert [number for number in numbers(found) if number // ENTRIES != file] == [*others, LAST]
    (gap,) = [message for message in found if isinstance(message, Gap)]
    assert gap.kind == "damaged"
    assert gap.begins == (None if file == 0 else BEGIN + file * ENTRIES - 1)
    assert gap.ends == BEGIN + (LAST if file == FILES - 1 else (file + 1) * ENTRIES)


@pytest.mark.parametrize("what", ["tables", "all but the header"])
def test_file_whose_tables_are_overwritten_is_told(chain: Path, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(chain, folder)
    path = archived(folder)[0]
    data = bytearray(path.read_bytes())
    offset, length, other_offset, other_length = struct.unpack_from("<4Q", data, TABLES_IN_HEADER)
    begin = min(offset, other_offset)
    end = max(offset + length, other_offset + other_length) if what == "tables" else len(data)
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    with Journal(options(folder)) as journal:
        assert numbers(list(iter_journal_messages_since(journal))) == list(range(ENTRIES, FILES * ENTRIES))
        assert journal.problems == [f"{path}: is damaged, its messages cannot be found"]


def test_damage_that_ends_the_journal_is_told_with_what_comes_next(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(chain, folder)
    damage(folder, FILES - 1, 0.15, 300_000)
    with Journal(options(folder)) as journal:
        before = list(iter_journal_messages_since(journal))
        cursor = journal.cursor()
        assert len(before) < FILES * ENTRIES
        begin_new_file(folder)
        found = next_messages(journal, 2)
        assert texts(found) == ["[damaged]", str(LAST)]
        assert isinstance(before[-1], LogMessage)
        assert found[0] == Gap("damaged", "", before[-1].time, BEGIN + LAST, None, "", len(before))
        assert journal.read(9) == []
    assert texts(read_all(folder, cursor)) == ["[damaged]", str(LAST)]  # after a restart in between, too


def test_file_that_was_cut_off_is_told_and_the_others_are_read(chain: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(chain, folder)
    path = archived(folder)[0]
    os.truncate(path, 1_000_000)
    with Journal(options(folder)) as journal:
        assert numbers(list(iter_journal_messages_since(journal))) == list(range(ENTRIES, FILES * ENTRIES))
        assert [problem.split(" (")[0] for problem in journal.problems] == [f"{path}: is damaged and left out"]
