"""bench/multiply.py: each copy of a log tells the same of other mails, at later times."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from captures import CAPTURED
from journal_postfix.message import LogMessage
from journal_postfix.parse import parse
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from multiply import GAP_S, NoLog, Template, write_multiplied
from paths import TESTS

LOGS = [TESTS.parent / "sample" / "mail.log", *sorted(CAPTURED.glob("*.log"))]
COPIES = 3
# What names a queue entry, a message or a person; all else must be as it was.
QUEUE_IDS = ("queue_id", "bounce_queue_id", "orig_queue_id", "next_queue_id")


def read(path: Path, tmp_path: Path) -> list[list[LogMessage]]:
    """Give the messages of the first copies of a log, each with its own."""
    out = tmp_path / "multiplied.log"
    lines = len(Template(path).ends)
    write_multiplied(path, COPIES * lines, out)
    with Logfile(str(out)) as logfile:
        messages = iter_logfile_messages(logfile, LogfileOptions(), take_unfinished=True)
        parts = out.read_bytes().splitlines(keepends=True)
        assert len(parts) == COPIES * lines
        copies: list[list[LogMessage]] = [[] for _ in range(COPIES)]
        bounds = [sum(map(len, parts[: lines * (number + 1)])) for number in range(COPIES)]
        for message in messages:
            copies[next(number for number, bound in enumerate(bounds) if message.position <= bound)].append(message)
    return copies


def parsed(message: LogMessage) -> dict[str, Any]:
    return parse(message.identifier, message.text)


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_every_line_of_a_copy_is_read_as_the_one_it_was_made_of(log: Path, tmp_path: Path) -> None:
    first, *others = read(log, tmp_path)
    for copy in others:
        assert len(copy) == len(first)
        for before, after in zip(first, copy, strict=True):
            assert (after.host, after.identifier, after.pid) == (before.host, before.identifier, before.pid)
            old, new = parsed(before), parsed(after)
            assert (list(new), new["action"]) == (list(old), old["action"]), after.text
            assert new.get("client_ip") == old.get("client_ip")
            assert new.get("recipient", "").rpartition("@")[2] == old.get("recipient", "").rpartition("@")[2]


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_queue_ids_are_changed_alike_wherever_they_stand_and_are_no_other_copys(log: Path, tmp_path: Path) -> None:
    copies = read(log, tmp_path)
    of_copy: list[dict[str, str]] = []
    for copy in copies:
        new_of: dict[str, str] = {}
        for before, after in zip(copies[0], copy, strict=True):
            old, new = parsed(before), parsed(after)
            for name in QUEUE_IDS:
                if name in old:
                    assert new_of.setdefault(old[name], new[name]) == new[name], after.text
        assert len(set(new_of.values())) == len(new_of)
        of_copy.append(new_of)
    assert of_copy[0] == {one: one for one in of_copy[0]}
    template = Template(log)
    own = [{new for old, new in new_of.items() if old in template._queue_ids} for new_of in of_copy]
    assert all(own)
    assert not own[0] & own[1] | own[0] & own[2] | own[1] & own[2]


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_message_ids_are_each_copys_own(log: Path, tmp_path: Path) -> None:
    ids = []
    for copy in read(log, tmp_path):
        ids.append({found for message in copy if "@" in (found := parsed(message).get("message_id", ""))})
        assert ids[-1]
    assert not ids[0] & ids[1] | ids[1] & ids[2]


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.name)
def test_a_copy_begins_after_the_end_of_the_one_before(log: Path, tmp_path: Path) -> None:
    times = [[message.time for message in copy] for copy in read(log, tmp_path)]
    for before, after in pairwise(times):
        assert min(after) - max(before) >= GAP_S - 1
        assert {round(new - old, 3) for old, new in zip(before, after, strict=True)} == {round(after[0] - before[0], 3)}


LINE = "{} mx1 postfix/{}[12]: {}\n"
LONG = "4jXsH23Y7KzCjw5"


def write(path: Path, *lines: tuple[str, str, str]) -> Path:
    path.write_text("".join(LINE.format(*line) for line in lines), encoding="utf-8")
    return path


def test_replies_and_addresses_go_along_and_other_texts_stay(tmp_path: Path) -> None:
    agent = f"{LONG}: to=<a@b.example>, relay=m.example[192.0.2.2]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent "
    reply = "(250 Ok: queued as 0123456789AB, DEADBEEF01 @ no@ 4jXsH23Y7KzCjw6)"
    arrival = f"{LONG}: client=a.example[192.0.2.1]"
    lines = ("Dec 31 23:59:55", "smtpd", arrival), ("Dec 31 23:59:58", "smtp", agent + reply)
    log = write(tmp_path / "log", *lines)
    out = tmp_path / "out"
    write_multiplied(log, 4, out)
    _, _, first, second = out.read_text().splitlines()
    # 13 seconds later: three, and the gap.
    assert first == "Jan  1 00:00:08 mx1 postfix/smtpd[12]: 4jXsHH3Y7KzCjw5: client=a.example[192.0.2.1]"
    assert second.endswith(
        agent.replace(LONG, "4jXsHH3Y7KzCjw5").replace("a@", "a.n1@") + reply.replace("45678", "415678")
    )


def test_lines_are_cut_where_asked_and_memory_does_not_grow_with_them(tmp_path: Path) -> None:
    log = write(tmp_path / "log", ("2026-11-23T08:42:41.24+01:00", "qmgr", "0C79D27FBEA: removed"))
    template = Template(log)
    for lines in (1, 2, 1001):
        assert sum(text.count("\n") for number in range(lines) for text in template.copy(number, 1)) == lines
    (last,) = islice(template.copy(1000, 1), 1)
    assert last == "2026-11-23T11:29:21.24+01:00 mx1 postfix/qmgr[12]: 0C79D3E827FBEA: removed\n"
    assert template._every == timedelta(seconds=GAP_S)


def test_what_cannot_be_moved_on_is_named(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("no stamp\n", encoding="utf-8")
    with pytest.raises(NoLog, match="no line begins with a time stamp"):
        Template(tmp_path / "none")
    log = write(tmp_path / "turn", ("Dec 31 23:59:55", "qmgr", "x"), ("Jan  1 00:00:01", "qmgr", "x"))
    with pytest.raises(NoLog, match="the year turns"):
        Template(log)
