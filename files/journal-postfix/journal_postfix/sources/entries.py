"""Reads entries of the journal as `journalctl -o export` and `journalctl -o json` print them.

Takes a stream of bytes (export) or one line of text (JSON) and gives log messages. Also the home of what the journal's
fields mean, which a source that reads the journal itself shares. Never raises for content; keeps no field that is not
needed, however large.
Formats: systemd's docs/JOURNAL_EXPORT_FORMATS.md; fields: systemd.journal-fields(7).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from ..message import LogMessage
from .heads import unwrap
from .lines import CHUNK_BYTES, LINE_BYTES, cut_lines, take_all

FIELDS = (
    "MESSAGE",
    "SYSLOG_IDENTIFIER",
    "SYSLOG_PID",
    "_PID",
    "_HOSTNAME",
    "__REALTIME_TIMESTAMP",
    "_SOURCE_REALTIME_TIMESTAMP",
    "_SYSTEMD_UNIT",
    "_UID",
    "_EXE",
    "_MACHINE_ID",
)
FIELD_VALUE_BYTES = 768 << 20  # journald stores nothing longer (DATA_SIZE_MAX); a larger length is no length
FIELD_LINE_BYTES = LINE_BYTES + 65  # a name, '=' and as much of a value as is kept
FIELD_VALUES = 64  # of one name in one entry: more are left out

_WANTED = {name.encode(): name for name in FIELDS}
_POSTFIX_UNIT = re.compile(r"postfix(?:@.*|-.*)?\.service", re.DOTALL)
# Where Postfix's programs are; as _EXE it is the kernel's word for what a process runs.
_POSTFIX_EXE = re.compile(r"/usr/(?:lib|libexec)/postfix/(?:[^/]+/)?[^/]+|/usr/s?bin/(?:post[a-z]+|sendmail)")
# What users run and is Postfix's word all the same: set-gid, these take neither name nor configuration from whoever
# runs them (global/mail_task.c), as sendmail does.
_SETGID_EXE = re.compile(r"/usr/s?bin/(postdrop|postqueue)")
# What root's own commands run in. Those of containers are not among them, where a user id may be anybody's.
_OWN_SCOPE = re.compile(r"(?:session-[^/]*|run-[^/]*|init)\.scope")
_PID = re.compile(r"[0-9]{1,9}")
_MICROSECONDS = re.compile(r"[0-9]{1,17}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FIELD_LINE = re.compile(rb"\s*[A-Z_][A-Z0-9_]{0,63}[=\n]")
_FIELD_NAME = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}")
_ENTRY_FIELD = re.compile(rb"^(?:MESSAGE|SYSLOG_IDENTIFIER|__REALTIME_TIMESTAMP|__CURSOR)[=\n]", re.MULTILINE)
_ENTRY_KEY = re.compile(rb'"(?:MESSAGE|SYSLOG_IDENTIFIER|__REALTIME_TIMESTAMP|__CURSOR)"\s*:')
_DETECT_LINES = 20
WRAPPED = ("/postlogd", "]")  # ends of identifiers whose text may hold the true one: see `unwrap`
ORIGIN_CHARS = 300
ROOT = frozenset({"0"})


def entry_format_of(head: bytes) -> str:
    """Say what the beginning of a file is: 'export', 'json' or '' for neither."""
    if _FIELD_LINE.match(head) and _ENTRY_FIELD.search(head.lstrip()):
        return "export"
    lines = head.split(b"\n", _DETECT_LINES)[:_DETECT_LINES]
    if any(line.lstrip(b" \t\x1e\xef\xbb\xbf").startswith(b"{") and _ENTRY_KEY.search(line) for line in lines):
        return "json"
    return ""


def is_postfix_unit(unit: str, units: Set[str] = frozenset()) -> bool:
    """Say whether a unit is Postfix's: by its name, or because it is one of `units`."""
    return _POSTFIX_UNIT.fullmatch(unit) is not None or unit in units


def is_neighbour_unit(name: str, unit: str) -> bool:
    """Say whether a unit is that of the neighbour `name`: amavis has amavis.service and amavisd-new.service."""
    return unit.startswith(name) and unit.endswith(".service")


def is_from_postfix(
    unit: str, uid: str, own_uids: Set[str] = ROOT, exe: str = "", units: Set[str] = frozenset()
) -> bool:
    """Judge by the fields that journald itself sets whether Postfix (or root by hand) logged an entry.

    `own_uids`: whom to believe when there is no unit, as for processes that ended at once, when the unit is a session,
    and when the program is one of Postfix's (postsuper run by cron). Anybody may run postlog or sendmail, so the
    program alone says nothing. `units`: further units of Postfix. An entry with neither unit nor user comes from
    something that is not journald, and there is nothing to judge by.
    """
    if not unit and not uid:
        return True
    if is_postfix_unit(unit, units):
        return True
    return uid in own_uids and (
        not unit or _OWN_SCOPE.fullmatch(unit) is not None or _POSTFIX_EXE.fullmatch(exe) is not None
    )


def is_from_setgid_program(identifier: str, exe: str) -> bool:
    """Judge whether it is one of Postfix's set-gid programs, by its own name: they tell of mail that was not taken."""
    program = _SETGID_EXE.fullmatch(exe)
    return program is not None and identifier.rpartition("/")[2] == program[1]


def is_from_own_unit(unit: str, identifier: str) -> bool:
    """Judge whether a program other than Postfix logged under its own name: `dovecot` in dovecot.service.

    Units are root's. What is called like Postfix must come from Postfix: see `is_from_postfix`.
    """
    if not identifier or identifier.startswith("postfix"):
        return False
    name = unit.removesuffix(".service")
    return name != unit and (
        name in (identifier, f"{identifier}d") or name.startswith((f"{identifier}@", f"{identifier}-"))
    )


def is_from_neighbour(name: str, unit: str, uid: str, units: Set[str] = frozenset()) -> bool:
    """Judge in the same way whether the neighbour `name` logged an entry: its unit, one of Postfix's, or root."""
    return uid == "0" or is_neighbour_unit(name, unit) or is_postfix_unit(unit, units)


def origin_of(unit: str, uid: str, exe: str) -> str:
    """Say where an entry comes from by the fields that journald itself sets, as `cron.service, uid 1000, /bin/x`."""
    parts = (unit, f"uid {uid}" if uid else "", exe)
    return ", ".join(part for part in parts if part)[:ORIGIN_CHARS]


class Trust(NamedTuple):
    """Whom to believe: see `is_from_postfix`. `neighbours` maps the identifiers of the neighbours to their names.

    `machine_id`: whose `own_uids` these are; of another machine's users only root is known (empty: every entry's).
    """

    own_uids: Set[str] = ROOT
    units: Set[str] = frozenset()
    neighbours: Mapping[str, str] = {}
    machine_id: str = ""

    def judge(self, identifier: str, unit: str, uid: str, exe: str, machine_id: str = "") -> bool:
        """Say whether an entry comes from the program that it names."""
        if (name := self.neighbours.get(identifier)) is not None:
            return is_from_neighbour(name, unit, uid, self.units)
        own_uids = self.own_uids if self.machine_id in ("", machine_id) else ROOT
        return (
            is_from_postfix(unit, uid, own_uids, exe, self.units)
            or is_from_own_unit(unit, identifier)
            or is_from_setgid_program(identifier, exe)
        )


DEFAULT_TRUST = Trust()


def message_from_fields(
    fields: Mapping[str, list[str]], host: str | None, position: int, trust: Trust = DEFAULT_TRUST
) -> LogMessage:
    """Make a log message of an entry's fields, each a list since fields can be repeated; `host` overrides."""

    def first(name: str) -> str:
        values = fields.get(name)
        return values[0] if values else ""

    pid = first("SYSLOG_PID").strip()
    if not _PID.fullmatch(pid):
        pid = first("_PID")
    time = first("__REALTIME_TIMESTAMP")
    if not _MICROSECONDS.fullmatch(time):
        time = first("_SOURCE_REALTIME_TIMESTAMP")
    identifier = first("SYSLOG_IDENTIFIER")
    source = (first("_SYSTEMD_UNIT"), first("_UID"), first("_EXE"))
    number = int(pid) if _PID.fullmatch(pid) else 0
    text = "\n".join(fields.get("MESSAGE", ()))
    if identifier.endswith(WRAPPED):
        identifier, number, text = unwrap(identifier, number, text)
    trusted = trust.judge(identifier, *source, first("_MACHINE_ID"))
    return LogMessage(
        host or first("_HOSTNAME"),
        identifier,
        number,
        int(time) / 1e6 if _MICROSECONDS.fullmatch(time) else 0.0,
        text,
        position,
        trusted,
        "" if trusted else origin_of(*source),
    )


# ---- JSON


def _json_texts(value: Any) -> list[str]:
    """Give the values of a JSON field: a string, an array of bytes, null, a number, or an array of those."""
    if isinstance(value, str):
        return [_SURROGATE.sub("\ufffd", value)]
    if isinstance(value, bool) or value is None or isinstance(value, dict):
        return []
    if isinstance(value, int | float):
        return [str(value)]
    if value and all(isinstance(item, int) and 0 <= item <= 255 for item in value):
        return [bytes(value).decode("utf-8", "replace")]
    return [text for item in value[:FIELD_VALUES] if not _is_nested(item) for text in _json_texts(item)]


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, list) for item in value)


def json_message(
    line: str, host: str | None, last_time: float, position: int, trust: Trust = DEFAULT_TRUST
) -> LogMessage:
    """Make a log message of a line of JSON; of one that is no JSON object, a message that is its text."""
    try:
        entry = json.loads(line.lstrip("\ufeff\x1e"))
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        return LogMessage(host or "", "", 0, last_time, line, position)
    fields = {name: _json_texts(entry[name]) for name in FIELDS if name in entry}
    return message_from_fields(fields, host, position, trust)


def iter_json_messages(
    blocks: Iterable[tuple[bytes, int]], host: str | None, position: int, last_time: float, trust: Trust = DEFAULT_TRUST
) -> Iterator[LogMessage]:
    """Yield a log message per line of the blocks (`iter_blocks`), the first of which begins at `position`."""
    for data, dropped in blocks:
        lines, ends = cut_lines(data, dropped, position)
        for line, position in zip(lines, ends, strict=True):
            message = json_message(line, host, last_time, position, trust)
            last_time = message.time
            yield message


# ---- export


class _Buffer:
    """A window on the stream: what has been read and not yet been taken."""

    def __init__(self, read: Callable[[int], bytes], more: Callable[[], bool], position: int) -> None:
        self._read = read
        self._more = more
        self.data = b""
        self.at = 0
        self._start = position  # of data[0]
        self._unfinished = False  # what has been read ends within an entry

    @property
    def position(self) -> int:
        return self._start + self.at

    def fill(self) -> bool:
        """Read on; False at the end."""
        while not (chunk := self._read(CHUNK_BYTES)):
            if not self._unfinished or not self._more():
                return False
        self._start += self.at
        self.data = self.data[self.at :] + chunk
        self.at = 0
        self._unfinished = not self.data.endswith(b"\n\n")
        return True

    def take_entry(self) -> bytes | None:
        """Take what stands before the next blank line, if that is near; binary fields may hold blank lines, too."""
        searched = self.at
        while (end := self.data.find(b"\n\n", searched)) < 0:
            searched = max(len(self.data) - self.at - 1, 0)
            if len(self.data) - self.at > CHUNK_BYTES or not self.fill():
                return None
        entry = self.data[self.at : end]
        self.at = end + 2
        return entry

    def give_back(self, count: int) -> None:
        """Undo the last `count` bytes of a `take_entry`."""
        self.at -= count

    def take_line(self) -> bytes | None:
        """Take a line, of a long one only the beginning; None at the end."""
        kept = b""
        some = False
        while (end := self.data.find(b"\n", self.at)) < 0:
            some = some or self.at < len(self.data)
            kept += self.data[self.at : self.at + FIELD_LINE_BYTES - len(kept)]
            self.at = len(self.data)
            if not self.fill():
                return kept if some else None
        kept += self.data[self.at : min(end, self.at + FIELD_LINE_BYTES - len(kept))]
        self.at = end + 1
        return kept

    def take_bytes(self, size: int) -> bytes:
        """Take `size` bytes, or what there is; of many only the beginning is given."""
        kept = b""
        while True:
            piece = self.data[self.at : self.at + size]
            kept += piece[: max(LINE_BYTES - len(kept), 0)]
            self.at += len(piece)
            size -= len(piece)
            if not size or not self.fill():
                return kept


def iter_export_messages(
    read: Callable[[int], bytes],
    more: Callable[[], bool],
    host: str | None,
    position: int,
    *,
    leave: Callable[[int], bool] = take_all,
    before: bytes = b"",
    trust: Trust = DEFAULT_TRUST,
) -> Iterator[LogMessage]:
    """Yield a log message per entry of `journalctl -o export`'s output, which begins at `position`.

    `leave` is asked, with the bytes that there are of it, whether to leave an entry alone that no blank line ends.
    `before` is what stands before `position`, as much of two bytes as there is: what the rest of an entry is of which
    the beginning was taken is a message without identifier.
    """
    buffer = _Buffer(read, more, position)
    is_rest = _begins_within_entry(buffer, before)
    while True:
        while buffer.at < len(buffer.data) or buffer.fill():
            if not buffer.data.startswith(b"\n", buffer.at):
                break
            buffer.at += 1
        else:
            return
        begin = buffer.position
        ended = True
        fields = _text_entry(buffer)
        if fields is None:
            fields, ended = _any_entry(buffer)
        if not ended and leave(buffer.position - begin):
            return
        message = message_from_fields(fields, host, buffer.position, trust)
        yield message._replace(identifier="") if is_rest else message
        is_rest = False


def _begins_within_entry(buffer: _Buffer, before: bytes) -> bool:
    """Say whether what comes next is the rest of an entry, and more than the newlines that end it."""
    if not before or before.endswith(b"\n\n"):
        return False
    end = b"\n" if before.endswith(b"\n") else b"\n\n"
    while len(buffer.data) < len(end) and buffer.fill():
        pass
    return not buffer.data.startswith(end)


def _text_entry(buffer: _Buffer) -> dict[str, list[str]] | None:
    """Read an entry all of whose fields are `FIELD=value`, as nearly all are; else None, and nothing is taken."""
    entry = buffer.take_entry()
    if entry is None:
        return None
    fields: dict[str, list[str]] = {}
    for line in entry.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if not equals:
            buffer.give_back(len(entry) + 2)
            return None
        if name := _WANTED.get(key):
            _add(fields, name, value)
    return fields


def _any_entry(buffer: _Buffer) -> tuple[dict[str, list[str]], bool]:
    """Read an entry field by field; text that is no field is the message if there is no other.

    Gives with it whether a blank line ended it, not the end of the data.
    """
    fields: dict[str, list[str]] = {}
    foreign: list[str] = []
    while line := buffer.take_line():
        key, equals, value = line.partition(b"=")
        name = _WANTED.get(key)
        if not equals and _FIELD_NAME.fullmatch(line):
            size = int.from_bytes(buffer.take_bytes(8), "little")
            if size > FIELD_VALUE_BYTES:
                continue
            value = buffer.take_bytes(size)
            buffer.take_bytes(1)  # the newline behind it
        elif not equals and len(foreign) < FIELD_VALUES:
            foreign.append(line.decode("utf-8", "replace"))
        if name:
            _add(fields, name, value)
    if foreign:
        fields.setdefault("MESSAGE", foreign)
    return fields, line is not None


def _add(fields: dict[str, list[str]], name: str, value: bytes) -> None:
    values = fields.setdefault(name, [])
    if len(values) < FIELD_VALUES:
        values.append(value[:LINE_BYTES].decode("utf-8", "replace"))
