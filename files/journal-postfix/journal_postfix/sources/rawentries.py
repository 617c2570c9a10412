"""Makes log messages of the journal's raw entries: the fields as libsystemd gives them, undecoded.

Takes a dict of bytes (of a list of bytes where a field is repeated), gives a `LogMessage`, or a `Gap` where journald
says that it dropped lines. Never raises for content, never reads anything. This is the hot path of following, so what
the entries of one process have in common is looked up as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ..message import Gap, LogMessage
from .entries import FIELD_VALUES, FIELDS, WRAPPED, Trust, is_neighbour_unit, is_postfix_unit, message_from_fields
from .lines import LINE_BYTES

# What logger(1) and syslog(3) take if they are told nothing: so who does not know better forges Postfix's lines.
USER_FACILITY: Final = "1"
SUPPRESSED_ID: Final = "a596d6fe7bfa4994828e72309e95d61e"  # SD_MESSAGE_JOURNAL_DROPPED
HEADS: Final = 4096  # kept in the cache,
HEAD_BYTES: Final = 256  # and how long each of their fields may be

_SUPPRESSED = re.compile(r"Suppressed ([0-9]{1,9}) messages from (\S+)")
_COUNT = re.compile(r"[0-9]{1,9}")

_Value = bytes | list[bytes]


class RawEntries:
    """Converts entries; all its state is a cache. `host` is taken for every message, whatever the entry says.

    `facilities` are those that Postfix logs to; of USER_FACILITY only forged lines are given, unless it is one of them.
    """

    def __init__(self, trust: Trust, host: str | None, facilities: Sequence[str]) -> None:
        self._is_user_facility_ours = USER_FACILITY in facilities
        self._trust = trust
        self._host = host
        self._heads: dict[tuple[_Value | None, ...], tuple[str, str, bool, str]] = {}

    def convert(self, fields: dict[str, _Value], at: float, position: int) -> LogMessage | Gap | None:
        """Make a message of an entry's fields and its time; None of a gap or a line that is nobody's here."""
        get = fields.get
        head = (
            get("SYSLOG_IDENTIFIER"),
            get("_SYSTEMD_UNIT"),
            get("_UID"),
            get("_EXE"),
            get("_HOSTNAME"),
            get("SYSLOG_FACILITY"),
        )
        pid = get("SYSLOG_PID")
        text = get("MESSAGE")
        try:
            known = self._heads.get(head)
        except TypeError:  # a field that is repeated
            known = None
        if known is not None and type(pid) is bytes and pid.isdigit() and len(pid) < 10 and type(text) is bytes:
            host, identifier, trusted, origin = known
            line = text[:LINE_BYTES].decode("utf-8", "replace")
            return tuple.__new__(LogMessage, (host, identifier, int(pid), at, line, position, trusted, origin))
        return self._other(fields, head, at, position)

    def _other(
        self, fields: dict[str, _Value], head: tuple[_Value | None, ...], at: float, position: int
    ) -> LogMessage | Gap | None:
        """Read an entry that is the first of its head, or unusual; None for what is somebody else's."""
        texts = {name: _texts(fields[name]) for name in FIELDS if name in fields}
        if fields.get("_TRANSPORT") == b"driver" and fields.get("MESSAGE_ID") == SUPPRESSED_ID.encode():
            return self._suppressed(fields, texts, at, position)
        texts["__REALTIME_TIMESTAMP"] = [str(round(at * 1e6))]
        message = message_from_fields(texts, self._host, position, self._trust)
        if "_UID" not in texts and "_SYSTEMD_UNIT" not in texts:
            message = message._replace(trusted=False)  # unlike in a file, where it may be that nobody wrote them
        identifier = (texts.get("SYSLOG_IDENTIFIER") or [""])[0]
        if fields.get("SYSLOG_FACILITY") == USER_FACILITY.encode() and not self._is_user_facility_ours:
            is_forged = not message.trusted and identifier.startswith("postfix")
            if not is_forged and identifier not in self._trust.neighbours:
                return None
        short = all(value is None or (isinstance(value, bytes) and len(value) <= HEAD_BYTES) for value in head)
        if short and not identifier.endswith(WRAPPED):
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[head] = (message.host, message.identifier, message.trusted, message.origin)
        return message

    def _suppressed(
        self, fields: dict[str, _Value], texts: dict[str, list[str]], at: float, position: int
    ) -> Gap | None:
        match = _SUPPRESSED.fullmatch("\n".join(texts.get("MESSAGE", ())))
        unit = (_texts(fields.get("OBJECT_SYSTEMD_UNIT", b"")) or [""])[0] or (match[2] if match else "")
        ours = is_postfix_unit(unit, self._trust.units)
        if not ours and not any(is_neighbour_unit(name, unit) for name in self._trust.neighbours.values()):
            return None
        count = (_texts(fields.get("N_DROPPED", b"")) or [""])[0]
        if not _COUNT.fullmatch(count):
            count = match[1] if match else ""
        host = self._host or (texts.get("_HOSTNAME") or [""])[0]
        return Gap("suppressed", host, None, at, int(count) if count else None, unit, position)


def _texts(value: _Value) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [one[:LINE_BYTES].decode("utf-8", "replace") for one in values[:FIELD_VALUES]]
