"""A journal and a log file of the same lines give the same rows, however the reading is cut."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

import journals
from paths import SAMPLE
from pg.dump import dump
from pg.feed import feed_file

if journals.MISSING:
    pytest.skip(journals.MISSING, allow_module_level=True)

from journal_postfix.message import LogMessage
from journal_postfix.run import run_loop
from journal_postfix.settings import Settings
from journal_postfix.sources.journal import Journal, JournalOptions, iter_journal_messages_since
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journal_postfix.store import Database
from journal_postfix.store.positions import InputPosition, find_position
from journal_postfix.store.write import Writer

LOG = SAMPLE / "mail.log"


@pytest.fixture(scope="module")
def sample_journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a journal of the sample log's lines, in two files."""
    with Logfile(str(LOG)) as logfile:
        messages = list(iter_logfile_messages(logfile, LogfileOptions()))
    entries = [
        journals.entry(
            number,
            message.text,
            __REALTIME_TIMESTAMP=str(round(message.time * 1e6)),
            _HOSTNAME=message.host,
            SYSLOG_IDENTIFIER=message.identifier,
            SYSLOG_PID=str(message.pid),
            _UID="0",
            _SYSTEMD_UNIT="postfix.service",
        )
        for number, message in enumerate(messages)
    ]
    entries.insert(len(entries) // 2, journals.filler(len(entries) / 2))
    return journals.write_journal(tmp_path_factory.mktemp("sample") / "system.journal", entries)


def begins(database: Database) -> InputPosition:
    return find_position(database, "journal", "journal", b"journal")


def feed_journal(dsn: str, folder: Path, cursor: str | None, at_most: int) -> str | None:
    """Store some messages behind a cursor; give the cursor behind them, or None where there were none."""
    with closing(Database(dsn)) as database, Journal(JournalOptions(directory=str(folder))) as journal:
        position = begins(database)
        journal.seek(cursor, None, position.position)
        messages = [message for message in journal.read(at_most) if isinstance(message, LogMessage)]
        run_loop(messages, Writer(database), position, Settings())
        return journal.cursor() if messages else None


def test_journal_gives_the_rows_of_the_log_file(database: str, empty_database: str, sample_journal: Path) -> None:
    from journal_postfix.store import apply_schema

    with closing(Database(empty_database)) as other:
        apply_schema(other)
    feed_file(empty_database, str(LOG))
    expected = dump(empty_database)
    assert len(expected["delivery_to"]) > 100
    with closing(Database(database)) as connection:
        with Journal(JournalOptions(directory=str(sample_journal))) as journal:
            messages = (message for message in iter_journal_messages_since(journal) if isinstance(message, LogMessage))
            summary = run_loop(messages, Writer(connection), begins(connection), Settings(max_messages_per_commit=700))
        assert begins(connection).position == summary.lines == len(LOG.read_bytes().splitlines())
    assert dump(database) == expected


def test_restarts_change_nothing(database: str, empty_database: str, sample_journal: Path) -> None:
    from journal_postfix.store import apply_schema

    with closing(Database(empty_database)) as other:
        apply_schema(other)
    feed_file(empty_database, str(LOG))
    cursor = feed_journal(database, sample_journal, None, 613)
    while following := feed_journal(database, sample_journal, cursor, 613):
        cursor = following
    assert dump(database) == dump(empty_database)
