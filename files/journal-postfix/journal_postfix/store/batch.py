"""What one transaction will store, gathered line by line.

Takes messages with what `parse` made of them; keeps their deliveries in the order of the input, the counters, the
lines that were not understood and those that no database can take. Never talks to the database.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any, Final

from ..commonest import NOTHING_COMMON, Program
from ..commonest import PROGRAMS as COMMONEST
from ..extract import Delivery, Effect, extract_delivery
from ..health import line_shape, subject_of
from ..message import Gap, LogMessage
from ..neighbour import neighbour_columns
from ..parse import Parser, parse
from ..programs import NEIGHBOURS, PROGRAMS
from ..session import Unit, step_of

# Bytes: host, instance and subject stand together in an index row, which PostgreSQL bounds at 2,704 bytes.
MAX_NAME: Final = 255
OTHER_PROGRAM: Final = "(other)"
HOUR_S: Final = 3600.0
_new: Final = tuple.__new__  # half of what making one by its name takes
EventKey = tuple[str, str, float, str, str, str]
"""Of a server event: host, instance, the hour's beginning, component, action, subject."""


class _Source:
    """What the commonest lines of one program on one host have in common, and how many there were."""

    __slots__ = ("component", "fullmatch", "kinds", "server", "service")

    def __init__(self, program: Program, component: str, service: str | None, server: tuple[str, str]) -> None:
        self.fullmatch = program.fullmatch
        self.component = component
        self.service = service
        self.server = server
        self.kinds: dict[int | None, list[Any]] = {
            number: [tell, 0, -inf, action] for number, (action, tell) in program.kinds.items()
        }
        """By `lastindex`: who reads it, how many lines there were, the last one's time, its action."""


class Group:
    """Lines that are counted together, with the first of them."""

    __slots__ = ("first", "identifier", "last", "lines", "sample")

    def __init__(self, message: LogMessage) -> None:
        self.lines = 0
        self.first = self.last = message.time
        self.identifier = message.identifier
        self.sample = message.text

    def add(self, time: float) -> None:
        """Count one line."""
        self.lines += 1
        self.first = min(self.first, time)
        self.last = max(self.last, time)

    def take(self, other: Group) -> None:
        """Count the lines of another group as lines of this one."""
        self.lines += other.lines
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)


def _problem(message: LogMessage) -> str | None:
    """Say what no database takes and no Postfix writes: it masks control characters."""
    if "\0" in message.text or "\0" in message.host or "\0" in message.identifier:
        return "it contains a NUL character"
    if _is_too_long(message.host) or _is_too_long(message.identifier):
        return f"its host or program name is longer than {MAX_NAME} bytes"
    return None


def _is_too_long(name: str) -> bool:
    return len(name) > MAX_NAME // 4 and len(name.encode("utf-8", "surrogatepass")) > MAX_NAME


def printable_host(host: str) -> str:
    """Give a host name that any table takes."""
    return host.replace("\0", "").encode("utf-8", "replace")[:MAX_NAME].decode("utf-8", "ignore")


class Batch:
    """Messages that are stored together, in the order of their input."""

    def __init__(self, instance_aliases: dict[str, str] | None = None, parse: Parser = parse) -> None:
        self.messages: list[LogMessage] = []
        self.characters = 0
        self.units: list[Unit] = []
        self.counters: dict[tuple[str, str, str], list[Any]] = {}
        self.unknown: dict[tuple[str, str, str], Group] = {}
        self.set_aside: list[tuple[LogMessage, str]] = []
        self.forged: dict[tuple[str, str], Group] = {}
        """By host and true origin."""
        self.gaps: list[tuple[int, Gap]] = []
        """Each with how many messages came before it."""
        self.not_postfix: set[int] = set()
        """Which messages are foreign, forged, or no lines at all."""
        self.forged_lines: set[int] = set()
        self.server_events: dict[EventKey, Group] = {}
        self.neighbour_events: list[tuple[int, tuple[Any, ...]]] = []
        """Line and columns (neighbour.COLUMNS) of what neighbours say about a mail."""
        self.hashes: list[bytes] = []
        """Of each message its line_hash (seams.py), where that is known already."""
        self._aliases = instance_aliases or {}
        self._parse = parse

    def __len__(self) -> int:
        return len(self.messages)

    def take(self, messages: Iterable[LogMessage]) -> None:
        """Take messages: parse and `add` each, or what comes to the same for the commonest lines.

        One loop over many, because a call for each is a tenth of what it costs to read a line.
        """
        sources: dict[tuple[str, str], _Source] = {}
        servers: dict[tuple[str, str], tuple[str, str]] = {}
        # Of each program the host that logged last: a log has few hosts, and one string is looked up faster than two.
        latest: dict[str, _Source] = {}
        kept, keep = self.messages, self.messages.append
        keep_unit = self.units.append
        parse = self._parse
        characters = 0
        for message in messages:
            host, identifier, pid, time, text, _, trusted, _ = message
            source = latest.get(identifier)
            if source is None or source.server[0] != host:
                source = sources.get((host, identifier)) or self._source(message, servers)
                sources[host, identifier] = latest[identifier] = source
            if pid and trusted and (match := source.fullmatch(text)) is not None and "\0" not in text:
                kind = source.kinds[match.lastindex]
                told = kind[0](match, source.component, source.service)
                if told is not None:
                    delivery, step = told
                    keep_unit(_new(Unit, (len(kept), source.server, source.component, delivery, step, time)))
                    keep(message)
                    characters += len(text)
                    kind[1] += 1
                    if time > kind[2]:
                        kind[2] = time
                    continue
            self.add(message, parse(identifier, text))
        self.characters += characters
        for source in sources.values():
            for _, lines, last, action in source.kinds.values():
                if lines:
                    self._count((source.server[0], source.component, action), lines, last)

    def _source(self, message: LogMessage, servers: dict[tuple[str, str], tuple[str, str]]) -> _Source:
        """Find out how a program's commonest lines are read, if it has any that are stored.

        Of `servers` all programs of one get the same tuple: who compares units sees that without comparing texts.
        """
        parsed = self._parse(message.identifier, "")
        component = parsed.get("component", "")
        instance: str = parsed.get("instance", "")
        is_stored = "instance" in parsed and _problem(message._replace(text="")) is None
        program = COMMONEST.get(component, NOTHING_COMMON) if is_stored else NOTHING_COMMON
        server = (message.host, self._aliases.get(instance, instance))
        return _Source(program, component, parsed.get("service"), servers.setdefault(server, server))

    def _count(self, key: tuple[str, str, str], lines: int, last: float) -> None:
        counter = self.counters.get(key)
        if counter is None:
            self.counters[key] = [lines, last]
        else:
            counter[0] += lines
            if last > counter[1]:
                counter[1] = last

    def add(self, message: LogMessage, parsed: dict[str, Any]) -> None:
        """Take one message and what it was parsed to."""
        action = parsed["action"]
        component = parsed.get("component", "")
        # A neighbour has no instance; a `postfix/dovecot` is none.
        is_neighbour = component in NEIGHBOURS and "instance" not in parsed
        if component not in PROGRAMS and not is_neighbour:
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
            self.forged_lines.add(line)
            self.forged.setdefault((host, message.origin.replace("\0", "")), Group(message)).add(message.time)
        elif action == "unknown":
            self._add_unknown(host, component, message)
        elif is_neighbour:
            columns = neighbour_columns(parsed)
            if columns is not None:
                self.neighbour_events.append((line, columns))
        else:
            delivery = extract_delivery(parsed)
            # A log that names no processes has nothing to join by.
            step = step_of(parsed, delivery) if message.pid else None
            if delivery is not None or step is not None:
                instance = parsed["instance"]
                if instance in self._aliases:
                    instance = self._aliases[instance]
                self.units.append(Unit(line, (host, instance), component, delivery, step, message.time))
                if component == "pickup" and action == "uid" and "orig_queue_id" in parsed:
                    # `postsuper -r ALL` logs no queue ids: that the mail came back is all that is told of its old one.
                    old = Delivery(parsed["orig_queue_id"], Effect.REQUEUED, {})
                    self.units.append(Unit(line, (host, instance), component, old, None, message.time))
            subject = subject_of(parsed)
            if subject is not None:
                self._add_event(message, parsed["instance"], component, action, subject)
        self._count((host, component, action), 1, message.time)

    def add_gap(self, gap: Gap) -> None:
        """Take note of a gap before the next message."""
        self.gaps.append((len(self.messages), gap))

    def leave_out(self, covered: set[int]) -> None:
        """Only count these messages, as covered: what they tell is known from another source."""
        rest = Batch(self._aliases, self._parse)
        for line, message in enumerate(self.messages):
            if line in covered:
                rest.messages.append(message)
                counter = rest.counters.setdefault((message.host, "", "covered"), [0, message.time])
                counter[0] += 1
                counter[1] = max(counter[1], message.time)
            else:
                rest.add(message, self._parse(message.identifier, message.text))
        rest.gaps = self.gaps
        vars(self).update(vars(rest))

    def give_up(self, server: tuple[str, str], reason: str) -> None:
        """Set aside all lines of a server."""
        lines = dict.fromkeys(unit.line for unit in self.units if unit.server == server)
        self.units = [unit for unit in self.units if unit.server != server]
        self.server_events = {key: group for key, group in self.server_events.items() if key[:2] != server}
        self.set_aside += [(self.messages[line], reason) for line in lines]

    def _add_unknown(self, host: str, component: str, message: LogMessage) -> None:
        key = (host, component, line_shape(message.text))
        group = self.unknown.get(key)
        if group is None:
            group = self.unknown[key] = Group(message)
        group.add(message.time)

    def _add_event(self, message: LogMessage, instance: str, component: str, action: str, subject: str) -> None:
        hour = message.time - message.time % HOUR_S
        key = (message.host, self._aliases.get(instance, instance), hour, component, action, subject)
        group = self.server_events.get(key)
        if group is None:
            group = self.server_events[key] = Group(message)
        group.add(message.time)
