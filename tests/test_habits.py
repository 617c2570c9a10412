"""Habits of syslog daemons and postlogd: how they write heads, what they do to texts, lines that stand for others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.message import LogMessage
from journal_postfix.parse import parse
from journal_postfix.sources.before import REACH_BYTES, SEED_BYTES, LinesBefore
from journal_postfix.sources.heads import cleaned, read_head
from journal_postfix.sources.lines import LINE_BYTES, iter_blocks
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journal_postfix.sources.syslog import REPEATS

Read = Callable[..., list[LogMessage]]

OPTIONS = LogfileOptions(year=2026, timezone=UTC, format="syslog")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
STAMP = "Nov 23 12:00:00 "
MESSAGE = LogMessage("mx", "postfix/smtpd", 7, NOON, "connect from a.example.com[192.0.2.1]: x", 0)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    path = tmp_path / "log"

    def read(*lines: str, offset: int = 0, options: LogfileOptions = OPTIONS) -> list[LogMessage]:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.utime(path, (1e9, 1e9))
        with Logfile(str(path)) as logfile:
            return list(iter_logfile_messages(logfile, options, offset, NOON if offset else None))

    return read


# ---- what stands around a text


@pytest.mark.parametrize(
    "line",
    [
        "Nov 23 12:00:00 mx postfix/smtpd[7]: {}",
        "Nov 23 12:00:00 mx postfix/smtpd[7]:{}",
        "Nov 23 12:00:00 mx  postfix/smtpd[7]: {}",
        "<22>Nov 23 12:00:00 mx postfix/smtpd[7]: {}",
        "Nov 23 12:00:00 mx mail.info postfix/smtpd[7]: {}",  # BusyBox
        "Nov 23 12:00:00 <mail.info> mx postfix/smtpd[7]: {}",  # FreeBSD, -vv
        "Nov 23 12:00:00 <2.6> mx postfix/smtpd[7]: {}",  # FreeBSD, -v
        "Nov 23 12:00:00 mail.info mx postfix/smtpd[7]: {}",
        "mail.info Nov 23 12:00:00 mx postfix/smtpd[7]: {}",
        "mail.info: Nov 23 12:00:00 mx postfix/smtpd[7]: {}",
        "Nov 23 12:00:00 mx postfix/smtpd[7]: [ID 197553 mail.info] {}",  # Solaris
        "Nov 23 12:00:00 mx/192.0.2.1 postfix/smtpd[7]: {}",  # syslog-ng
        "Nov 23 12:00:00 s_local@mx/relay/192.0.2.1 postfix/smtpd[7]: {}",
        "2026-11-23T12:00:00.000+00:00 mx postfix/smtpd[7]: {}",
        "1 2026-11-23T12:00:00Z mx postfix/smtpd 7 - - {}",
        "<22>1 2026-11-23T12:00:00Z mx postfix/smtpd 7 - - {}",
        "2026-11-23T12:00:00Z mx postfix/smtpd 7 - - {}",
        '2026-11-23T12:00:00Z mx postfix/smtpd 7 ID [a@1 b="]: "] {}',
        "2026-11-23T13:00:00+0100 mx postfix/smtpd[7]: {}",  # journalctl -o short-iso
        "Nov 23 12:00:00.000000 mx postfix/smtpd[7]: {}",  # journalctl -o short-precise
        "Mon 2026-11-23 12:00:00 UTC mx postfix/smtpd[7]: {}",  # journalctl -o short-full
        "Mon 2026-11-23 14:30:00 +0230 mx postfix/smtpd[7]: {}",
        "Mon 2026-11-23 15:00:00 +03 mx postfix/smtpd[7]: {}",
        "1795435200.000000 mx postfix/smtpd[7]: {}",  # journalctl -o short-unix
        "Nov 23 12:00:00 mx postfix/postlogd[9]: postfix/smtpd[7]: {}",
        "Nov 23 12:00:00 mx postfix/smtpd[7][9]: {}",
        "\ufeffNov 23 12:00:00 mx postfix/smtpd[7]: {}",
        "Nov 23 12:00:00 mx postfix/smtpd[7]: \ufeff{}",
        "Nov 23 12:00:00 mx postfix/smtpd[7]: {}\r",
    ],
)
def test_head(line: str, read: Read) -> None:
    message = MESSAGE
    found = read(*[line.format(message.text)] * 3)
    assert [one._replace(position=0) for one in found] == [message] * 3
    assert len({one.position for one in found}) == 3


@pytest.mark.parametrize(
    "line",
    [
        "Nov 23 12:00:00 postfix/smtpd[7]: {}",  # BusyBox -S, journalctl --no-hostname
        "Mon Nov 23 12:00:00 2026 mail.info postfix/smtpd[7]: {}",  # OpenWrt's logread
    ],
)
def test_head_without_host(line: str, read: Read) -> None:
    assert [one._replace(position=0) for one in read(line.format("a b[3]: c"))] == [
        MESSAGE._replace(host="", text="a b[3]: c")
    ]
    [named] = read(line.format("x"), options=LogfileOptions(year=2026, timezone=UTC, host="mx"))
    assert named.host == "mx"


@pytest.mark.parametrize(
    ("rest", "identifier", "pid", "text"),
    [
        ("mx postfix/smtpd: x", "postfix/smtpd", 0, "x"),
        ("mx postfix/smtpd:x: y", "postfix/smtpd", 0, "x: y"),
        ("mx a::b: x", "a::b", 0, "x"),
        ("mx postfix/smtpd[7]:", "postfix/smtpd", 7, ""),
        ("mx postfix/smtpd[7]:4A5B6C7D: client=x[y]: z", "postfix/smtpd", 7, "4A5B6C7D: client=x[y]: z"),
        ("mx mail-in/relay/smtp[7]: x", "mail-in/relay/smtp", 7, "x"),
        ("mx last 12 words of - x", "", 0, "last 12 words of - x"),
        ("mx postfix/postlogd[9]: warning: odd", "postfix/postlogd", 9, "warning: odd"),
        ("mx postfix-out/postlogd[9]: postfix-out/smtp[7]: x", "postfix-out/smtp", 7, "x"),
        ("mx postfix/smtpd[9]: postfix/smtp[7]: x", "postfix/smtpd", 9, "postfix/smtp[7]: x"),
        ("mail.info postfix/smtpd[7]: x", "postfix/smtpd", 7, "x"),  # a host of this name
    ],
)
def test_program_and_process(rest: str, identifier: str, pid: int, text: str) -> None:
    assert read_head(rest)[1:] == (identifier, pid, text)


@given(st.text(max_size=80), st.sampled_from(["", "mx ", "mx postfix/smtpd[7]: ", "mx postfix/postlogd[1]: "]))
def test_any_text_has_a_head(text: str, before: str) -> None:
    head = read_head(before + text)
    assert (before + text).endswith(head.text)


@pytest.mark.parametrize(
    "piece", ["a/", "a:", "[1]", "a ", "[1]:", "mail.info ", "postfix/postlogd[1]: ", "#303#274", '- [a b="\\" ']
)
def test_heads_are_read_in_bounded_time(piece: str) -> None:
    line = ("mx " + piece * LINE_BYTES)[:LINE_BYTES]
    began = time.process_time()
    read_head(line)
    cleaned(line)
    assert time.process_time() - began < 0.5


def test_a_host_without_a_name_of_its_own_has_its_relays(read: Read) -> None:
    assert read(STAMP + "localhost/192.0.2.1 x: y", STAMP + "localhost x: y", STAMP + "2001:db8::1 x: y")[0].host == (
        "192.0.2.1"
    )


@pytest.mark.parametrize(
    ("stamp", "moment"),
    [
        ("Sun 2026-10-25 02:30:00 CEST", "2026-10-25T00:30:00"),
        ("Sun 2026-10-25 02:30:00 CET", "2026-10-25T01:30:00"),
        ("Thu 2026-10-29 02:30:00 CET", "2026-10-29T01:30:00"),
        ("Thu 2026-10-29 02:30:00 XYZ", "2026-10-29T01:30:00"),
        ("Thu 2026-10-29 02:30:00.25 UTC", "2026-10-29T02:30:00.250000"),
        ("Thu Oct 29 02:30:00 2026", "2026-10-29T01:30:00"),
        ("Sat 2016-12-31 23:59:60 UTC", "2017-01-01T00:00:00"),
    ],
)
def test_stamps_with_a_weekday(stamp: str, moment: str, read: Read) -> None:
    options = LogfileOptions(timezone=ZoneInfo("Europe/Berlin"), format="syslog")
    for message in read(*[f"{stamp} mx x: y"] * 2, options=options):
        assert datetime.fromtimestamp(message.time, UTC) == datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_a_zone_by_name_where_only_the_system_knows_it(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        [message] = read("Sun 2026-10-25 02:30:00 CET mx x: y", options=LogfileOptions(format="syslog"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert message.time == datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("stamp", ["Mon 2026-02-30 12:00:00 UTC", "Xyz 2026-11-23 12:00:00 UTC", "123.456789"])
def test_what_only_looks_like_such_a_stamp(stamp: str, read: Read) -> None:
    [message] = read(f"{stamp} mx x: y")
    assert (message.time, message.text) == (0.0, f"{stamp} mx x: y")


# ---- texts


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("M#303#274ller", "Müller"),
        ("#342#202#254 #360#237#230#200", "€ 😀"),
        ("ticket #012, order #101, line #303", "ticket #012, order #101, line #303"),
        ("a#011b#033[31m#177", "a#011b#033[31m#177"),
        ("no #303#050 sequence, #300#200 overlong, #355#240#200 surrogate", None),
        ("M#303#274ller of an ä", None),
        (r"M\xc3\xbcller ^I M-C \x09", None),
        ("a#303", None),
    ],
)
def test_escapes(text: str, meant: str | None, read: Read) -> None:
    assert read(f"{STAMP}mx x[1]: {text}")[0].text == (text if meant is None else meant)


def test_postlogd_is_believed_in_the_journal_too(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        '{"SYSLOG_IDENTIFIER": "postfix/postlogd", "SYSLOG_PID": "9", "MESSAGE": "postfix/smtpd[7]: warning: x"}\n'
        '{"SYSLOG_IDENTIFIER": "postfix/smtpd[7]", "SYSLOG_PID": "9", "MESSAGE": "warning: x"}\n'
        '{"SYSLOG_IDENTIFIER": "postfix/smtpd", "SYSLOG_PID": "9", "MESSAGE": "postfix/smtp[7]: warning: x"}\n',
        encoding="utf-8",
    )
    with Logfile(str(path)) as logfile:
        found = [message[1:3] + message[4:5] for message in iter_logfile_messages(logfile, LogfileOptions())]
    assert found == [("postfix/smtpd", 7, "warning: x")] * 2 + [("postfix/smtpd", 9, "postfix/smtp[7]: warning: x")]


# ---- lines that stand for others


def shown(messages: list[LogMessage]) -> list[str]:
    return [f"{message.host} {message.identifier}[{message.pid}]: {message.text}" for message in messages]


@pytest.mark.parametrize(
    "line",
    [
        "mx last message repeated 3 times",
        "mx syslogd: last message repeated 3 times",
        "mx syslogd[3]: last message repeated 3 times",
        "--- last message repeated 3 times ---",
        "mx postfix/smtpd[7]: Last message 'connect from a.' repeated 3 times, suppressed by syslog-ng on mx",
        "mx postfix/smtpd: Last message 'connect from a.' repeated 3 times, suppressed by syslog-ng on mx",
        "mx postfix/smtpd[7]: message repeated 3 times: [ connect from a.example.com[192.0.2.1]: x]",
    ],
)
def test_repeats_are_unfolded_and_advance_once(line: str, read: Read) -> None:
    first, *copies, last = read(
        f"{STAMP}mx postfix/smtpd[7]: {MESSAGE.text}", "Nov 23 12:00:30 " + line, STAMP + "mx x: y"
    )
    assert [one._replace(position=0) for one in copies] == [MESSAGE._replace(time=NOON + 30)] * 3
    assert copies[0].position == copies[1].position == first.position < copies[2].position < last.position


def test_each_host_has_its_own_last_message(read: Read) -> None:
    lines = [
        "mx a[1]: 1",
        "db b[2]: 2",
        "mx last message repeated 2 times",
        "db last message repeated 1 time",
        "mx last message repeated 1 time",
        "words",
        "mx.example.com c[3]: 3",
        "mx last message repeated 1 time",
        "db [ID 1 mail.info] x",
        "db d[4]: message repeated 2 times: [ 4]",
        "db last message repeated 1 time",
    ]
    assert shown(read(*[STAMP + line for line in lines])) == [
        *["mx a[1]: 1", "db b[2]: 2", "mx a[1]: 1", "mx a[1]: 1", "db b[2]: 2", "mx a[1]: 1"],
        *["words [0]: ", "mx.example.com c[3]: 3", "mx a[1]: 1", "db [0]: x"],
        *["db d[4]: 4"] * 3,
    ]


def test_the_hosts_are_those_of_the_lines_whatever_the_operator_calls_them(read: Read) -> None:
    lines = ["mx a[1]: 1", "db b[2]: 2", "mx last message repeated 1 time"]
    found = read(*[STAMP + line for line in lines], options=LogfileOptions(year=2026, host="all"))
    assert shown(found) == ["all a[1]: 1", "all b[2]: 2", "all a[1]: 1"]


def test_a_last_message_that_is_not_there_is_seen_as_unknown(read: Read) -> None:
    [message] = read(STAMP + "mx last message repeated 2 times")
    assert shown([message]) == ["mx postfix[0]: last message repeated 2 times"]
    assert parse(message.identifier, message.text)["action"] == "unknown"
    filler = [f"{STAMP}db x: {'y' * 1000}"] * (REACH_BYTES // 1000)
    far = read(f"{STAMP}mx a[1]: 1", *filler, STAMP + "mx last message repeated 2 times")
    assert far[-1]._replace(position=0) == message._replace(position=0)


def test_a_line_that_stands_for_too_many_is_itself_once(read: Read) -> None:
    text = f"last message repeated {REPEATS + 1} times"
    assert shown(read(f"{STAMP}mx a[1]: 1", f"{STAMP}mx {text}")) == ["mx a[1]: 1", f"mx a[1]: {text}"]


def test_only_the_syslog_daemon_says_what_was_repeated(read: Read) -> None:
    lines = [
        "mx a[1]: 1",
        "mx postfix/smtpd[7]: last message repeated 2 times",
        "mx a[1]: last orders",
        "mx a[1]: [ID x",
    ]
    assert shown(read(*[STAMP + line for line in lines])) == lines


def test_many_hosts_that_repeat_what_is_not_there_take_no_long_time(read: Read) -> None:
    lines = [f"{STAMP}h{number} last message repeated 2 times" for number in range(5000)]
    began = time.process_time()
    assert len(read(*lines)) == 5000
    assert time.process_time() - began < 10


def test_amnesiac_lines_are_of_the_machine_whose_file_it_is(read: Read) -> None:
    lines = [
        "amnesiac postfix/a[1]: 1",
        "mx b[2]: 2",
        "amnesiac postfix/a[1]: 3",
        "amnesiac postfix/a[1]: 4",
        "mx b[2]: 5",
    ]
    found = read(*[STAMP + line for line in lines])
    assert [message.host for message in found] == ["amnesiac", "mx", "mx", "mx", "mx"]
    assert [message.text for message in found] == ["1", "2", "3", "4", "5"]
    named = read(*[STAMP + line for line in lines], options=LogfileOptions(year=2026, host="mx1"))
    assert {message.host for message in named} == {"mx1"}


# ---- the lines before


@given(
    st.lists(
        st.one_of(st.binary(max_size=9), st.sampled_from([LINE_BYTES - 1, LINE_BYTES, LINE_BYTES + 9])), max_size=9
    ),
    st.integers(1, 5),
    st.data(),
)
def test_lines_before_depend_on_the_file_and_the_position_only(
    found: list[bytes | int], piece: int, data: st.DataObject
) -> None:
    lines = [line.replace(b"\n", b"") if isinstance(line, bytes) else b"y" * line for line in found] + [b"last"]
    text = b"".join(line + b"\n" for line in lines)
    ends = [0]
    for line in lines:
        ends.append(ends[-1] + len(line) + 1)

    def before(start: int) -> list[tuple[str, int, int]]:
        rest = text[start:]

        def read_some(size: int) -> bytes:
            nonlocal rest
            size = min(size, piece * 1000)
            some, rest = rest[:size], rest[size:]
            return some

        lines_before = LinesBefore(text[max(start - SEED_BYTES, 0) : start], start)
        for _ in lines_before.watch(iter_blocks(read_some, lambda: False)):
            pass
        return list(lines_before.back_from(ends[-2]))

    expected = [
        (line[:LINE_BYTES].decode("utf-8", "replace").removesuffix("\r"), ends[index], ends[index + 1])
        for index, line in enumerate(lines[:-1])
        if ends[index] >= ends[-2] - REACH_BYTES
    ][::-1]
    assert before(0) == expected
    assert before(data.draw(st.sampled_from(ends[:-1]))) == expected
    assert before(data.draw(st.integers(0, ends[-2]))) == expected
