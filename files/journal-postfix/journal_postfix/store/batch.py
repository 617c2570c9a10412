"""What one transaction will store, gathered line by line.

Takes messages with what `parse` made of them; keeps their deliveries in the order of the input, the counters, the
lines that were not understood and those that no database can take. Never talks to the database.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from ..extract import Delivery, Effect, extract_delivery
from ..message import LogMessage
from ..parse import parse
from ..parse.engine import PROGRAMS

# What makes two lines of one kind different: ids, numbers, addresses, quoted text.
VARIABLE_RE: Final = re.compile(r'<[^<>]{0,300}>|"[^"]{0,300}"|\[[^\[\]]{0,300}\]|\b[0-9A-Fa-f]*[0-9][0-9A-Za-z]*\b')
MAX_SHAPE: Final = 160
MAX_NAME: Final = 255
OTHER_PROGRAM: Final = "(other)"


class Unit(NamedTuple):
    """One line's delivery on its way into the fold; `line` indexes the batch's messages."""

    line: int
    server: tuple[str, str]
    component: str
    delivery: Delivery


class Unknown:
    """Lines of one shape that were not understood."""

    __slots__ = ("first", "identifier", "last", "lines", "sample")

    def __init__(self, message: LogMessage) -> None:
        self.lines = 0
        self.first = self.last = message.time
        self.identifier = message.identifier
        self.sample = message.text

    def take(self, other: Unknown) -> None:
        """Count the lines of another shape as lines of this one."""
        self.lines += other.lines
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)


class InputPosition(NamedTuple):
    """How far an input is stored: `position` is where to go on, `last_time` the time of the message before.

    Of the journal, `position` counts entries, and `cursor` is the entry before. `is_journal` is also true of files that
    journalctl printed. `read_again_below`: see `coverage`.
    """

    input_id: int
    kind: str
    name: str
    position: int
    last_time: float | None
    lines: int
    cursor: str | None = None
    is_journal: bool = False
    read_again_below: int = 0


class Gap(NamedTuple):
    """What is missing in an input: `kind` vacuumed, suppressed or skipped; times in UNIX seconds; lines if known."""

    kind: str
    began: float
    ended: float
    lines: int | None
    detail: str | None


def line_shape(text: str) -> str:
    """Give the shape of a line: what is variable in it replaced by #.

    >>> line_shape('table "x" 4A5B: weird 17 times from mx[192.0.2.1]')
    'table # #: weird # times from mx#'
    """
    return VARIABLE_RE.sub("#", text[: MAX_SHAPE * 4])[:MAX_SHAPE]


def _problem(message: LogMessage) -> str | None:
    """Say what no database takes and no Postfix writes: it masks control characters."""
    if "\0" in message.text or "\0" in message.host or "\0" in message.identifier:
        return "it contains a NUL character"
    if len(message.host) > MAX_NAME or len(message.identifier) > MAX_NAME:
        return f"its host or program name is longer than {MAX_NAME} characters"
    return None


def printable_host(host: str) -> str:
    """Give a host name that any table takes."""
    return host.replace("\0", "")[:MAX_NAME]


class Batch:
    """Messages that are stored together, in the order of their input."""

    def __init__(self, instance_aliases: dict[str, str] | None = None) -> None:
        self.messages: list[LogMessage] = []
        self.characters = 0
        self.units: list[Unit] = []
        self.counters: dict[tuple[str, str, str], list[Any]] = {}
        self.unknown: dict[tuple[str, str, str], Unknown] = {}
        self.set_aside: list[tuple[LogMessage, str]] = []
        self.gaps: list[tuple[int, Gap]] = []
        """Each with how many messages came before it."""
        self.not_postfix: set[int] = set()
        """Which messages are foreign, forged, or no lines at all."""
        self.covered = 0
        self._aliases = instance_aliases or {}

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, message: LogMessage, parsed: dict[str, Any]) -> None:
        """Take one message and what it was parsed to."""
        action = parsed["action"]
        component = parsed.get("component", "")
        if component not in PROGRAMS:
            component = OTHER_PROGRAM if component else ""
        line = len(self.messages)
        self.messages.append(message)
        self.characters += len(message.text)
        host = message.host
        problem = _problem(message)
        if problem is not None:
            action = "set aside"
            component = ""
            host = printable_host(host)
            self.set_aside.append((message, problem))
            self.not_postfix.add(line)
        elif action == "foreign":
            self.not_postfix.add(line)
        elif not message.trusted:
            action = "forged"
            component = ""
            self.not_postfix.add(line)
        elif action == "unknown":
            self._add_unknown(host, component, message)
        else:
            delivery = extract_delivery(parsed)
            if delivery is not None:
                instance = parsed["instance"]
                if instance in self._aliases:
                    instance = self._aliases[instance]
                self.units.append(Unit(line, (host, instance), component, delivery))
                if delivery.effect is Effect.ARRIVED and component == "pickup" and delivery.columns["orig_queue_id"]:
                    # `postsuper -r ALL` logs no queue ids: that the mail came back is all that is told of its old one.
                    old = Delivery(delivery.columns["orig_queue_id"], Effect.REQUEUED, {})
                    self.units.append(Unit(line, (host, instance), component, old))
        key = (host, component, action)
        counter = self.counters.get(key)
        if counter is None:
            self.counters[key] = [1, message.time]
        else:
            counter[0] += 1
            if message.time > counter[1]:
                counter[1] = message.time

    def add_gap(self, gap: Gap) -> None:
        """Take note of a gap before the next message."""
        self.gaps.append((len(self.messages), gap))

    def leave_out(self, covered: set[int]) -> None:
        """Only count these messages, as covered: what they tell is known from another source."""
        rest = Batch(self._aliases)
        for line, message in enumerate(self.messages):
            if line in covered:
                rest.messages.append(message)
                counter = rest.counters.setdefault((message.host, "", "covered"), [0, message.time])
                counter[0] += 1
                counter[1] = max(counter[1], message.time)
            else:
                rest.add(message, parse(message.identifier, message.text))
        self.units, self.counters, self.unknown = rest.units, rest.counters, rest.unknown
        self.covered = len(covered)

    def give_up(self, server: tuple[str, str], reason: str) -> None:
        """Set aside all lines of a server."""
        lines = dict.fromkeys(unit.line for unit in self.units if unit.server == server)
        self.units = [unit for unit in self.units if unit.server != server]
        self.set_aside += [(self.messages[line], reason) for line in lines]

    def _add_unknown(self, host: str, component: str, message: LogMessage) -> None:
        key = (host, component, line_shape(message.text))
        group = self.unknown.get(key)
        if group is None:
            group = self.unknown[key] = Unknown(message)
        group.lines += 1
        group.first = min(group.first, message.time)
        group.last = max(group.last, message.time)


def is_noqueue(unit: Unit) -> bool:
    """Tell whether a unit is a row of noqueue rather than part of a queue entry."""
    return unit.delivery.effect is Effect.NOQUEUE
