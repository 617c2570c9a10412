"""What the contestants of compare.py read: one log, in the forms that they need, and what is in it by plain counting.

Takes a log file; gives a folder with the log as plain text, one with traditional stamps for who reads no others, and a
journal of the same lines. What it counts owes nothing to any parser: lines that end in `: removed`, that have
`status=sent`.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from journal_rate import entries
from journals import MISSING as NO_JOURNAL
from journals import write_journal
from multiply import Template, is_long_queue_id, open_log, write_multiplied

_RFC3339: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9:]{8})(?:\.[0-9]+)?(?:Z|[+-][0-9:]{5,6})? ")
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


@dataclass(frozen=True)
class Inputs:
    """The log in its forms, and counts; `classic` is `log` itself where that has traditional stamps already."""

    log: Path
    classic: Path
    journal: Path | None
    lines: int
    size: int
    removed: int
    long_ids: int
    """Of the mails removed, those with long queue ids."""
    sent: int


def prepare(source: Path, lines: int | None, folder: Path) -> Inputs:
    """Make the forms in a folder; of a log that is multiplied, so many lines."""
    log = folder / "mail.log"
    if lines is None:
        with open_log(source) as text, log.open("w", encoding="latin-1", newline="\n") as copy:
            shutil.copyfileobj(text, copy)
    else:
        write_multiplied(source, lines, log)
    classic = folder / "classic.log"
    count = removed = long_ids = sent = converted = 0
    with open_log(log) as text, classic.open("w", encoding="latin-1", newline="\n") as out:
        for line in text:
            count += 1
            if line.endswith(": removed\n"):
                removed += 1
                long_ids += is_long_queue_id(line.split()[-2])
            sent += "status=sent" in line
            if stamp := _RFC3339.match(line):
                converted += 1
                month = _MONTHS[int(stamp[2]) - 1]
                out.write(f"{month} {int(stamp[3]):2} {stamp[4]} {line[stamp.end() :]}")
            else:
                out.write(line)
    if not converted:
        classic.unlink()
        classic = log
    journal = None if NO_JOURNAL else write_journal(folder / "journal" / "a.journal", entries(log))
    return Inputs(log, classic, journal, count, log.stat().st_size, removed, long_ids, sent)


def lines_of(source: Path) -> int:
    """Give how many lines a log has."""
    return len(Template(source).ends)
