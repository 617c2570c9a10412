"""Put log lines into a database the way `import` does: for tests that look at what comes out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from journal_postfix.message import LogMessage
from journal_postfix.run import Summary, run_loop
from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journal_postfix.store import Database
from journal_postfix.store.positions import InputPosition, find_position
from journal_postfix.store.write import Writer


def feed_file(dsn: str, path: str, options: LogfileOptions | None = None, settings: Settings | None = None) -> Summary:
    """Import one log file."""
    with closing(Database(dsn)) as database, Logfile(path) as logfile:
        options = options or LogfileOptions()
        begins = find_position(database, "logfile", path, logfile.head())
        begins = begins._replace(is_journal=logfile.format(options) != "syslog")
        messages = iter_logfile_messages(logfile, options, offset=begins.position, last_time=begins.last_time)
        settings = settings or Settings()
        return run_loop(messages, Writer(database, settings.verp_marker), begins, settings)


def feed_messages(
    dsn: str, messages: Iterable[LogMessage], name: str = "test", settings: Settings | None = None
) -> Summary:
    """Store messages whose positions count from wherever the input of this name stands."""
    with closing(Database(dsn)) as database:
        begins = find_position(database, "logfile", name, name.encode())
        settings = settings or Settings()
        return run_loop(_numbered(messages, begins), Writer(database, settings.verp_marker), begins, settings)


def _numbered(messages: Iterable[LogMessage], begins: InputPosition) -> Iterator[LogMessage]:
    for number, message in enumerate(messages, begins.position + 1):
        yield message._replace(position=number)


def feed_lines(dsn: str, lines: Iterable[str], name: str = "test", settings: Settings | None = None) -> Summary:
    """Store lines of the form `TIME HOST IDENT[PID]: TEXT` with RFC 3339 stamps."""
    return feed_messages(dsn, messages_of(lines), name, settings)


def messages_of(lines: Iterable[str]) -> list[LogMessage]:
    """Read lines as the log file source does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lines.log")
        path.write_text("".join(line.rstrip("\n") + "\n" for line in lines), encoding="utf-8")
        with Logfile(str(path)) as logfile:
            return list(iter_logfile_messages(logfile, LogfileOptions()))
