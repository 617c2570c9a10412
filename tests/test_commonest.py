"""The commonest lines: read at once, they mean what parse() and the extraction make of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from journal_postfix.commonest import PROGRAMS
from journal_postfix.health import SERVER_EVENTS
from journal_postfix.message import LogMessage
from journal_postfix.parse import ENTRIES, parse
from journal_postfix.parse.engine import _HEAD, _table
from journal_postfix.store.batch import Batch
from test_parse_corpus import CASES

COMMON = [
    case
    for case in CASES
    if case["parsed"].get("component") in PROGRAMS
    and case["parsed"]["action"] in {action for action, _ in PROGRAMS[case["parsed"]["component"]].kinds.values()}
]
ACTIONS = sorted({(component, action) for component, item in PROGRAMS.items() for action, _ in item.kinds.values()})
# What somebody else's text may bring along, or what a syslog daemon makes of it.
PIECES = (*'\0\n :)>9x@"\\]é', ", ", "NOQUEUE: ", "warning: ", "4A5B6C7D: ")


def _state(batch: Batch) -> dict[str, Any]:
    """Give all that a batch has gathered; groups of lines as plain values."""
    state = {name: value for name, value in vars(batch).items() if name != "_parse"}
    for name in ("unknown", "forged", "server_events"):
        groups = state[name].items()
        state[name] = {
            key: (group.lines, group.first, group.last, group.identifier, group.sample) for key, group in groups
        }
    return state


def _assert_same(messages: list[LogMessage], aliases: dict[str, str] | None = None) -> None:
    taken, added = Batch(aliases), Batch(aliases)
    taken.take(messages)
    for message in messages:
        added.add(message, parse(message.identifier, message.text))
    assert _state(taken) == _state(added)


def _message(case: dict[str, Any], text: str) -> LogMessage:
    return LogMessage("mx1", case["identifier"], 7, 1.0, text, 0)


def _nearly(text: str) -> Iterator[str]:
    for place in range(len(text) + 1):
        yield text[:place]
        yield text[:place] + text[place + 1 :]
        yield text[:place] + text[place + 1 : place + 2] + text[place : place + 1] + text[place + 2 :]
        for piece in PIECES:
            yield text[:place] + piece + text[place:]


def test_every_line_is_taken_as_it_is_parsed() -> None:
    assert len(CASES) > 500
    _assert_same([_message(case, case["message"]) for case in CASES])


@pytest.mark.parametrize(("component", "action"), ACTIONS)
def test_what_is_nearly_a_common_line_is_taken_as_it_is_parsed(component: str, action: str) -> None:
    cases = [case for case in COMMON if (case["parsed"]["component"], case["parsed"]["action"]) == (component, action)]
    assert cases
    for case in sorted(cases, key=lambda case: len(case["message"]))[:4]:
        _assert_same([_message(case, text) for text in _nearly(case["message"][:300])])


@pytest.mark.parametrize(("component", "action"), ACTIONS)
def test_each_kind_of_common_line_is_read_at_once(component: str, action: str) -> None:
    program = PROGRAMS[component]
    read = set()
    for case in COMMON:
        if case["parsed"]["component"] == component:
            match = program.fullmatch(case["message"])
            if match is not None and match.lastindex is not None:
                read.add(program.kinds[match.lastindex][0])
    assert action in read


@pytest.mark.parametrize("case", COMMON, ids=[case["id"] for case in COMMON])
def test_what_is_read_at_once_is_read_by_the_first_entry_that_parse_tries(case: dict[str, Any]) -> None:
    message = case["message"]
    component = case["parsed"]["component"]
    if PROGRAMS[component].fullmatch(message) is None:
        return
    head = _HEAD.match(message)
    assert head is not None
    table = _table(ENTRIES, component, queue_id=head[2] is not None, severe=False)
    fullmatch, action, _ = table[head[3]][0]
    assert fullmatch(message, head.start(3)) is not None
    assert action == case["parsed"]["action"]


def test_no_common_line_tells_of_the_servers_health() -> None:
    assert not {action for _, action in ACTIONS} & set(SERVER_EVENTS)


LINE = "4A5B6C7D: client=mx1.example.com[192.0.2.1]"


@pytest.mark.parametrize(
    "message",
    [
        LogMessage("mx1", "postfix/smtpd", 0, 1.0, LINE, 0),
        LogMessage("mx1", "postfix/smtpd", 7, 1.0, LINE, 0, False, "user@1000.service"),
        LogMessage("mx\0" + "1", "postfix/smtpd", 7, 1.0, LINE, 0),
        LogMessage("m" * 256, "postfix/smtpd", 7, 1.0, LINE, 0),
        LogMessage("mx1", "postfix/" + "s" * 256 + "/smtpd", 7, 1.0, LINE, 0),
        LogMessage("mx1", "smtpd", 7, 1.0, LINE, 0),
        LogMessage("mx1", "postfix/rspamd/smtpd", 7, 1.0, LINE, 0),
        LogMessage("mx1", "postfix-in/submission/smtpd", 7, 1.0, LINE, 0),
    ],
    ids=["no_process", "forged", "nul", "long_host", "long_name", "foreign", "service", "alias"],
)
def test_who_logged_it_matters(message: LogMessage) -> None:
    _assert_same([message, message._replace(time=3.0), message._replace(time=2.0)], {"postfix-in": "postfix"})
