"""Entries of the journal as journalctl prints them: export and JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.message import LogMessage
from journal_postfix.sources.entries import (
    entry_format_of,
    is_from_postfix,
    iter_export_messages,
    json_message,
)
from journal_postfix.sources.lines import CHUNK_BYTES, LINE_BYTES
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from journals import export

ENTRY = {
    "__CURSOR": "s=1",
    "__REALTIME_TIMESTAMP": "1795405916123456",
    "_HOSTNAME": "mx",
    "SYSLOG_IDENTIFIER": "postfix/smtpd",
    "SYSLOG_PID": "77",
    "_PID": "78",
    "_UID": "0",
    "_SYSTEMD_UNIT": "postfix@-.service",
    "MESSAGE": "connect from a.example.com[192.0.2.1]",
}
MESSAGE = LogMessage("mx", "postfix/smtpd", 77, 1795405916.123456, ENTRY["MESSAGE"], 0, True)


def from_json(entry: Any, host: str | None = None) -> LogMessage:
    return json_message(entry if isinstance(entry, str) else json.dumps(entry), host, 5.0, 9)


def read_export(data: bytes, at: int = 0, piece: int = CHUNK_BYTES) -> list[LogMessage]:
    stream = io.BytesIO(data[at:])
    return list(iter_export_messages(lambda size: stream.read(min(size, piece)), lambda: False, None, at))


# ---- JSON


def test_json_entry() -> None:
    assert from_json(ENTRY) == MESSAGE._replace(position=9)
    assert from_json(ENTRY, "other").host == "other"


def test_message_and_identifier_suffice() -> None:
    entry = {"MESSAGE": "x", "SYSLOG_IDENTIFIER": "postfix/qmgr"}
    assert from_json(entry) == LogMessage("", "postfix/qmgr", 0, 0.0, "x", 9, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (list("größe".encode()), "größe"),
        (list(b"a\xffb"), "a\ufffdb"),
        (None, ""),
        (["one", "two"], "one\ntwo"),
        ([list(b"one"), "two", None], "one\ntwo"),
        ([], ""),
        (7, "7"),
        (True, ""),
        ({"a": 1}, ""),
        ([[[1]]], ""),
        ("a\x00b", "a\x00b"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_json_values(value: Any, text: str) -> None:
    message = from_json({"MESSAGE": value, "SYSLOG_IDENTIFIER": "x"})
    assert message.text == text
    message.text.encode()


@pytest.mark.parametrize(
    "line", ["", "x", "[1]", '"x"', "{", '{"MESSAGE": ', "[" * 60000, "{}x", '{"_PID": ' + "9" * 6000 + "}"]
)
def test_what_is_no_json_object_is_a_message_of_its_text(line: str) -> None:
    assert from_json(line) == LogMessage("", "", 0, 5.0, line, 9)


@pytest.mark.parametrize(("field", "value"), [("SYSLOG_PID", "x"), ("SYSLOG_PID", ""), ("SYSLOG_PID", "9" * 30)])
def test_pid_falls_back(field: str, value: str) -> None:
    assert from_json(ENTRY | {field: value}).pid == 78
    assert from_json({field: value}).pid == 0


def test_numbers_are_taken_as_numbers() -> None:
    message = from_json({"SYSLOG_PID": 12, "__REALTIME_TIMESTAMP": 1500000})
    assert (message.pid, message.time) == (12, 1.5)


@pytest.mark.parametrize("time", ["", "x", "-1", "9" * 40, "1e3"])
def test_time_that_is_none_is_zero(time: str) -> None:
    assert from_json({"__REALTIME_TIMESTAMP": time}).time == 0.0
    assert from_json({"__REALTIME_TIMESTAMP": time, "_SOURCE_REALTIME_TIMESTAMP": "2000000"}).time == 2.0


@pytest.mark.parametrize(
    ("unit", "uid", "trusted"),
    [
        ("", "", True),
        ("postfix.service", "", True),
        ("postfix.service", "1000", True),
        ("postfix@-.service", "108", True),
        ("postfix@out.service", "0", True),
        ("postfix-out.service", "0", True),
        ("", "0", True),
        ("session-4.scope", "0", True),
        ("session-4.scope", "1000", False),
        ("", "1000", False),
        ("cron.service", "0", False),
        ("user@1000.service", "1000", False),
        ("xpostfix.service", "0", False),
        ("postfix.service.scope", "1000", False),
        ("postfixx.service", "0", False),
    ],
)
def test_trust(unit: str, uid: str, trusted: bool) -> None:
    assert is_from_postfix(unit, uid) is trusted
    fields = {"_SYSTEMD_UNIT": unit, "_UID": uid}
    assert from_json({name: value for name, value in fields.items() if value}).trusted is trusted


def test_own_users_are_believed_without_a_unit() -> None:
    assert is_from_postfix("", "108", {"0", "108"})
    assert not is_from_postfix("cron.service", "108", {"0", "108"})


# ---- export


@pytest.mark.parametrize("binary", [False, True])
def test_export_entry(binary: bool) -> None:
    data = export(ENTRY, binary=binary)
    assert read_export(data) == [MESSAGE._replace(position=len(data))]


def test_binary_fields_may_hold_anything() -> None:
    text = "a\n\nMESSAGE=no\n\x00\x1b"
    data = export(ENTRY | {"MESSAGE": text}) + export(ENTRY)
    assert [message.text for message in read_export(data)] == [text, ENTRY["MESSAGE"]]


def test_repeated_messages_are_joined_and_invalid_bytes_replaced() -> None:
    data = b"MESSAGE=one\nMESSAGE=t\xffo\nSYSLOG_IDENTIFIER=x\n\n"
    assert read_export(data)[0].text == "one\nt\ufffdo"


def test_blank_lines_between_entries_are_no_entries() -> None:
    data = b"\n\n" + export(ENTRY) + b"\n\n\n" + export(ENTRY) + b"\n\n"
    assert len(read_export(data)) == 2


def test_last_entry_without_blank_line_or_newline() -> None:
    data = export(ENTRY)
    for cut in (1, 2):
        assert read_export(data[:-cut]) == [MESSAGE._replace(position=len(data) - cut)]


def test_text_that_is_no_field_is_the_message() -> None:
    messages = read_export(b"-- some words --\nothers\n\n" + export(ENTRY))
    assert [message.text for message in messages] == ["-- some words --\nothers", ENTRY["MESSAGE"]]


@pytest.mark.parametrize("size", [LINE_BYTES + 1, 3 * CHUNK_BYTES])
@pytest.mark.parametrize("name", ["MESSAGE", "COREDUMP"])
@pytest.mark.parametrize("control", ["", "\n"])
def test_of_a_large_field_only_the_beginning_is_kept(size: int, name: str, control: str) -> None:
    data = export({"SYSLOG_IDENTIFIER": "x", name: "y" * size + control}, ENTRY)
    messages = read_export(data)
    assert len(messages) == 2
    assert messages[0].text == ("y" * LINE_BYTES if name == "MESSAGE" else "")
    assert messages[1] == MESSAGE._replace(position=len(data))


def test_a_length_that_is_none_does_not_swallow_the_rest() -> None:
    data = b"SYSLOG_IDENTIFIER=x\nMESSAGE\n" + b"\xff" * 8 + b"y\n\n" + export(ENTRY)
    assert read_export(data)[-1] == MESSAGE._replace(position=len(data))


@pytest.mark.parametrize("binary", [False, True])
def test_an_unfinished_entry_can_be_left(binary: bool) -> None:
    data = export(ENTRY, ENTRY, binary=binary)
    begin = len(data) // 2
    for end in range(begin, len(data) + 1):
        asked: list[int] = []

        def leave(count: int, asked: list[int] = asked) -> bool:
            asked.append(count)
            return True

        stream = io.BytesIO(data[:end])
        messages = list(iter_export_messages(stream.read, lambda: False, None, 0, leave=leave))
        if end < len(data):
            assert messages == [MESSAGE._replace(position=begin)]
            assert asked == ([end - begin] if end > begin else [])
        else:
            assert len(messages) == 2


def test_the_rest_of_an_entry_is_nobodys_message() -> None:
    data = export(ENTRY)
    for cut in range(1, len(data)):
        stream = io.BytesIO((data + export(ENTRY))[cut:])
        before = data[max(cut - 2, 0) : cut]
        messages = list(iter_export_messages(stream.read, lambda: False, None, cut, before=before))
        if cut < len(data) - 2:
            assert messages[0].identifier == ""
            assert messages[0].position == len(data)
            del messages[0]
        assert messages == [MESSAGE._replace(position=2 * len(data))]


fields = st.dictionaries(
    st.sampled_from(["MESSAGE", "SYSLOG_IDENTIFIER", "_PID", "__REALTIME_TIMESTAMP", "OTHER"]),
    st.one_of(st.binary(max_size=30), st.sampled_from([b"12", b"1795405916123456", b"a\n\nb"])),
    min_size=1,
)


@given(st.lists(fields, max_size=5), st.integers(1, 50), st.booleans())
def test_any_entries_in_any_pieces_from_anywhere(found: list[dict[str, bytes | str]], piece: int, binary: bool) -> None:
    data = export(*found, binary=binary)
    messages = read_export(data)
    assert len(messages) == len(found)
    assert [m.text for m in messages] == [
        value.decode("utf-8", "replace") if isinstance(value := entry.get("MESSAGE", b""), bytes) else value
        for entry in found
    ]
    assert read_export(data, piece=piece) == messages
    for index, message in enumerate(messages):
        assert read_export(data, message.position) == messages[index + 1 :]


@given(st.binary(max_size=200))
def test_any_bytes_as_export(data: bytes) -> None:
    for message in read_export(data):
        message.text.encode()
    assert read_export(data, piece=1) == read_export(data)


@given(
    st.text(max_size=100)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps({"MESSAGE": value, "_PID": value, "__REALTIME_TIMESTAMP": value})
    )
)
def test_any_text_as_json(line: str) -> None:
    message = from_json(line)
    (message.text + message.host + message.identifier).encode()


# ---- as files


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"", ""),
        (b"Nov 23 04:13:11 mx postfix/smtpd[1]: MESSAGE=x", ""),
        (b"PATH=/bin\nHOME=/\n", ""),
        (b"__CURSOR=s=1\n", "export"),
        (b"\n__CURSOR=s=1\n", "export"),
        (b"MESSAGE\n\x03\0\0\0\0\0\0\0abc\n", "export"),
        (b'{"MESSAGE": "x"}', "json"),
        (b'\n {"SYSLOG_IDENTIFIER" : "x"', "json"),
        (b'x\n\n\xef\xbb\xbf{"__CURSOR":"x"}\n', "json"),
        (b'{"a": 1}\n', ""),
    ],
)
def test_format(head: bytes, found: str) -> None:
    assert entry_format_of(head) == found


def test_files_of_both_formats(tmp_path: Path) -> None:
    options = LogfileOptions()
    for name, data in (("e", export(ENTRY, ENTRY)), ("j", (json.dumps(ENTRY) + "\n").encode() * 2)):
        path = tmp_path / name
        path.write_bytes(data)
        with Logfile(str(path)) as logfile:
            messages = list(iter_logfile_messages(logfile, options))
            assert [message._replace(position=0) for message in messages] == [MESSAGE] * 2
            assert messages[-1].position == len(data)
            assert list(iter_logfile_messages(logfile, options, messages[0].position)) == messages[1:]
            assert logfile.first_time() == MESSAGE.time
