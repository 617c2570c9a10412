"""Lines that stand for others, in the database: as often as they say, wherever the import was cut."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from journal_postfix.settings import Settings
from journal_postfix.sources.logfile import LogfileOptions
from journal_postfix.store import Database
from pg.feed import feed_file

LOG = """\
Nov 23 10:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from a.example[192.0.2.1]: 450 4.7.1 no; proto=ESMTP
Nov 23 10:00:00 db postfix/smtpd[2]: NOQUEUE: reject: RCPT from b.example[192.0.2.2]: 450 4.7.1 no; proto=ESMTP
Nov 23 10:00:30 mx last message repeated 3 times
Nov 23 10:00:31 db last message repeated 1 time
Nov 23 10:01:00 mx last message repeated 2 times
Nov 23 10:01:01 mx postfix/smtpd[1]: disconnect from a.example[192.0.2.1] rcpt=0/6 commands=0/6
Nov 23 10:01:02 mx words
Nov 23 10:01:04 mx last message repeated 4 times
"""
ROWS = {
    "db": {"2026-11-23T10:00:00+00:00": 1, "2026-11-23T10:00:31+00:00": 1},
    "mx": {"2026-11-23T10:00:00+00:00": 1, "2026-11-23T10:00:30+00:00": 3, "2026-11-23T10:01:00+00:00": 2},
}
COUNTED = {("db", "reject"): 2, ("mx", "reject"): 6, ("mx", "disconnect"): 1, ("mx", "foreign"): 5}


def test_repeated_lines_count_as_often_as_they_say_wherever_the_import_was_cut(database: str, tmp_path: Path) -> None:
    options = LogfileOptions(year=2026)
    lines = LOG.splitlines(keepends=True)
    for cut in range(len(lines) + 1):
        path = tmp_path / f"{cut}.log"
        named = [line.replace(" mx ", f" mx{cut} ").replace(" db ", f" db{cut} ") for line in lines]
        for part in (named[:cut], named):
            path.write_text("".join(part), encoding="utf-8")
            os.utime(path, (1e9, 1e9))
            if part:
                feed_file(database, str(path), options, Settings(max_messages_per_commit=1 if cut % 2 else 100))
    with closing(Database(database)) as db:
        rejected = db.fetch('SELECT host, "time", count(*) FROM mail_rejected GROUP BY host, "time"')
        counted = db.fetch("SELECT host, action, sum(lines)::int FROM line_counter GROUP BY host, action")
    for cut in range(len(lines) + 1):
        for host, rows in ROWS.items():
            assert {time.isoformat(): count for name, time, count in rejected if name == f"{host}{cut}"} == rows
        assert {(name[:2], action): count for name, action, count in counted if name[2:] == str(cut)} == COUNTED
