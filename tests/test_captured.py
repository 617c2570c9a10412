"""What real Postfix 3.7 and 3.10 logged in every scenario: all there, all understood, reserved names only."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
from collections import Counter
from types import ModuleType

import pytest

from captures import VERSIONS, logs, scenarios
from journal_postfix.message import LogMessage
from journal_postfix.parse import ENTRIES, parse
from journal_postfix.parse.engine import build_parser
from journal_postfix.parse.grammar import Entry, Fields
from journal_postfix.sources.logfile import Logfile, LogfileOptions, iter_logfile_messages
from paths import SAMPLE

# What has a queue id, or tells of a mail that got none: the lines that decide what the database says of a mail.
TIER_1 = frozenset(
    """
    bounce.discarded bounce.failed bounce.notification cleanup.action cleanup.io cleanup.message_id cleanup.milter
    cleanup.milter_checks cleanup.mime_error cleanup.not_accepted cleanup.rejected cleanup.removed delivery.pass
    delivery.status pickup.uid postsuper.one postsuper.summary psc.reject_rcpt qmgr.active qmgr.expired
    qmgr.notify_failed qmgr.removed qmgr.skipped qmqpd.client queue.corrupt queue.io_fatal smtp.try_next smtpd.action
    smtpd.client smtpd.milter smtpd.proxy smtpd.size tls.summary
    """.split()
)

# What a release never logs.
NOT_MET = {
    "3.7": {"cleanup.removed": "since Postfix 3.10", "bounce.failed": "since Postfix 3.11"},
    "3.10": {"bounce.failed": "since Postfix 3.11"},
}


def messages(version: str) -> list[LogMessage]:
    """Read the captured logs of a release as import does."""
    result: list[LogMessage] = []
    for path in logs(version):
        with Logfile(str(path)) as logfile:
            result += iter_logfile_messages(logfile, LogfileOptions())
    return result


def check_sample() -> ModuleType:
    """Load sample/check-sample, which knows what names and addresses are reserved."""
    loader = importlib.machinery.SourceFileLoader("check_sample", str(SAMPLE / "check-sample"))
    spec = importlib.util.spec_from_loader("check_sample", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def names_read(found: list[LogMessage]) -> Counter[str]:
    """Count by which grammar entries the messages were read."""
    used: Counter[str] = Counter()

    def recorded(item: Entry) -> Entry:
        def convert(fields: Fields, match: re.Match[str]) -> bool:
            accepted = item.convert(fields, match)
            if accepted:
                used[item.name] += 1
            return accepted

        return item._replace(convert=convert)

    recording_parse = build_parser([recorded(item) for item in ENTRIES])
    for message in found:
        recording_parse(message.identifier, message.text)
    return used


@pytest.mark.parametrize("version", VERSIONS)
def test_every_scenario_is_in_the_log(version: str) -> None:
    text = "\n".join(path.read_text(encoding="utf-8", errors="surrogateescape") for path in logs(version))
    table = scenarios(version)
    assert len({scenario.name for scenario in table}) == len(table) >= 200
    assert not [scenario.name for scenario in table if not re.search(scenario.pattern, text)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_tier_1_grammar_is_met(version: str) -> None:
    met = names_read(messages(version))
    assert TIER_1 - met.keys() == NOT_MET[version].keys()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_line_is_understood(version: str) -> None:
    assert not [
        f"{message.identifier}: {message.text}"
        for message in messages(version)
        if parse(message.identifier, message.text)["action"] == "unknown"
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_names_and_addresses_are_reserved(version: str) -> None:
    found = messages(version)
    assert {message.host for message in found} <= {"mx1", "file"}
    # In the form that check-sample expects.
    lines = [f"2026 mx1 postfix {message.identifier}: {message.text}" for message in found]
    assert check_sample().reserved_only(lines) == []
