"""The few kinds of lines that every mail has, straight from their text to what they mean.

Takes the text of a line that a component of Postfix has logged; gives its delivery and its step, the same that
`extract_delivery` and `step_of` make of what `parse` gives, or None: then that longer way is to be gone. Pure.

Why: most lines are a connection, its TLS, an arrival, a Message-ID, a message that becomes active, an attempt, the end.
To split the head off each, try the entries of its first word, put the elements into a dict and take them out again
takes more than twice as long as to read a component's commonest lines by one pattern and make columns of its groups.

Nothing is said twice. The patterns are those of the grammar, each of the first entry that `parse` tries for its lines;
values and columns come from the functions that the longer way uses (`status_values`, `client_rest`; `arrived`,
`attempted` … of `extract`). Tests go both ways with every line of the corpus, and with many that are nearly such lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from .extract import Delivery, arrived, attempted, named, queued, removed
from .parse import ENTRIES
from .parse.delivery import Next, next_of_local, next_of_smtp, no_next, status_values
from .parse.grammar import Fields
from .parse.smtpd import DISCONNECT_REST, client_rest, counts_of
from .parse.tls import put_summary
from .parse.tokens import CLIENT, QUEUE_ID, compiled
from .session import ARRIVED, CONNECTED, DISCONNECTED, SENDING, Step, attempted_step, is_without_mail, summary_step

Told = tuple[Delivery | None, Step | None]
Tell = Callable[[re.Match[str], str, str | None], Told | None]
"""Takes a match, the component and the service."""


class Program(NamedTuple):
    """How the commonest lines of a component are read.

    `kinds` has their actions and readers, by the match's `lastindex`: an empty group ends each kind's pattern.
    """

    fullmatch: Callable[[str], re.Match[str] | None]
    kinds: dict[int, tuple[str, Tell]]


def _grammar(name: str, component: str) -> str:
    return next(item.pattern.pattern for item in ENTRIES if item.name == name and component in item.components)


def _connect(match: re.Match[str], component: str, service: str | None) -> Told:
    return None, CONNECTED


def _disconnect(match: re.Match[str], component: str, service: str | None) -> Told | None:
    step = _disconnected(match[4])
    return None if step is None else (None, step)


_DISCONNECT_REST = compiled(DISCONNECT_REST)


@lru_cache(maxsize=1024)
def _disconnected(rest: str) -> Step | None:
    """Read the end of smtpd's line: most sessions of a server share a few of these texts."""
    match = _DISCONNECT_REST.fullmatch(rest)
    if match is None:
        return None
    counts = counts_of(match[1]) if match[1] else None
    return DISCONNECTED[is_without_mail(None if counts is None else {name: (good,) for name, good, _ in counts})]


def _client(match: re.Match[str], component: str, service: str | None) -> Told | None:
    queue_id, hostname, ip, port, rest = match.group(10, 11, 12, 13, 14)
    more = client_rest(rest) if rest else {}
    if more is None:
        return None
    number = None if port is None else int(port)
    return arrived(queue_id, component, service, hostname, ip, number, more), ARRIVED


def _message_id(match: re.Match[str], component: str, service: str | None) -> Told:
    queue_id, message_id = match.groups()
    return named(queue_id, message_id), None


def _removed(match: re.Match[str], component: str, service: str | None) -> Told:
    return removed(match[1]), None


def _active(match: re.Match[str], component: str, service: str | None) -> Told:
    queue_id, _, sender, size, nrcpt, _, _ = match.groups()
    return queued(queue_id, sender, int(size), int(nrcpt)), None


def _summary(first: int) -> Tell:
    """Give the reader of TLS' summary whose groups begin behind the `first` ones."""

    def summary(match: re.Match[str], component: str, service: str | None) -> Told:
        fields: Fields = {"component": component}
        put_summary(fields, match.groups()[first:-1])
        return None, summary_step(fields)

    return summary


_SMTPD: Final = Program(
    compiled(
        rf"disconnect from {CLIENT}(.*)()|{_grammar('smtpd.connect', 'smtpd')}()"
        rf"|({QUEUE_ID}): {_grammar('smtpd.client', 'smtpd')}()|{_grammar('tls.summary', 'smtpd')}()"
    ).fullmatch,
    {5: ("disconnect", _disconnect), 9: ("connect", _connect), 15: ("client", _client), 29: ("summary", _summary(15))},
)
_CLEANUP: Final = Program(
    compiled(rf"({QUEUE_ID}): {_grammar('cleanup.message_id', 'cleanup')}").fullmatch,
    {2: ("message_id", _message_id)},
)
_QMGR: Final = Program(
    compiled(rf"({QUEUE_ID}): (?:{_grammar('qmgr.removed', 'qmgr')}()|{_grammar('qmgr.active', 'qmgr')}())").fullmatch,
    {2: ("removed", _removed), 7: ("active", _active)},
)


def _agent(component: str, next_of: Next) -> Program:
    def attempt(match: re.Match[str], component: str, service: str | None) -> Told:
        values = status_values(match.groups()[1:end], next_of)
        delivery = attempted(match[1], component, service, values)
        return delivery, attempted_step(values[2:6]) if is_sending else None

    is_sending = component in SENDING
    pattern = rf"({QUEUE_ID}): {_grammar('delivery.status', component)}()"
    end = compiled(pattern).groups - 1
    kinds: dict[int, tuple[str, Tell]] = {end + 1: ("delivery", attempt)}
    if is_sending:
        pattern += rf"|{_grammar('tls.summary', component)}()"
        kinds[compiled(pattern).groups] = ("summary", _summary(end + 1))
    return Program(compiled(pattern).fullmatch, kinds)


NOTHING_COMMON: Final = Program(compiled(r"(?!)").fullmatch, {})

PROGRAMS: Final = {
    "smtpd": _SMTPD,
    "cleanup": _CLEANUP,
    "qmgr": _QMGR,
    "smtp": _agent("smtp", next_of_smtp),
    "lmtp": _agent("lmtp", next_of_smtp),
    "local": _agent("local", next_of_local),
    "virtual": _agent("virtual", no_next),
    "pipe": _agent("pipe", no_next),
}
