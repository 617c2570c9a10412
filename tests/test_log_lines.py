"""docs/log-lines.md is current, and knows every kind of line; the corpus has a line of every kind."""

from __future__ import annotations

import re

import pytest

import log_lines
from journal_postfix.extract import Effect
from journal_postfix.parse import ENTRIES, NEIGHBOUR_ENTRIES
from journal_postfix.programs import NEIGHBOURS
from journal_postfix.session import Kind

CHAPTERS, TRAPS = log_lines.load_grammars()
GRAMMARS = {grammar.name: grammar for grammars in CHAPTERS.values() for grammar in grammars}
LINES = log_lines.load_corpus()
PAGE = log_lines.PAGE.read_text(encoding="utf-8")

# A milter's words that look like an access rule's, and mean the same.
READ_BY_ANOTHER = {
    "smtpd.milter-own-2": "smtpd.action",
    "smtpd.milter-own-bracketed-user": "smtpd.action",
}


def made_of(name: str) -> str:
    """Give what the page says is made of a kind of line."""
    block = PAGE.split(f"\n### {name}\n")[1].split("\n### ")[0]
    return "\n".join(line for line in block.splitlines() if line.startswith("- ") and not line.startswith("- tests: "))


def test_the_page_is_current() -> None:
    assert log_lines.make_page() == PAGE, "run tools/log_lines.py"


def test_every_kind_of_line_is_known_and_read() -> None:
    *catalogue, verbose = map(len, CHAPTERS.values())
    assert (sum(catalogue), verbose) == (117, 5)
    assert len(GRAMMARS) == sum(map(len, CHAPTERS.values()))
    assert set(GRAMMARS) == {item.name for item in ENTRIES}


def test_the_programs_are_those_whose_lines_are_read() -> None:
    read: dict[str, set[str]] = {}
    for item in ENTRIES:
        read.setdefault(item.name, set()).update(item.components)
    stated = {name: set(grammar.programs) for name, grammar in GRAMMARS.items()}
    # Those that any program can log name the ones that do.
    stated |= {name: read[name] for name in GRAMMARS if "*" in read[name]}
    assert stated == read


def test_every_kind_of_line_is_in_the_corpus_and_read_as_what_it_is() -> None:
    assert set(GRAMMARS) <= {line.source for line in LINES}
    misread = {line.id: line.reader for line in LINES if line.source in GRAMMARS and line.reader != line.source}
    assert misread == READ_BY_ANOTHER


def test_every_source_is_a_kind_of_line_or_a_stated_trap() -> None:
    neighbour_sources = {item.name for item in NEIGHBOUR_ENTRIES}
    # What a neighbour's own entries do not read is named for the module that reads the rest.
    kinds = {name.partition(".")[0] for name in neighbour_sources}
    neighbour_sources |= {f"{kind}.{rest}" for kind in kinds for rest in ("other", "another_format")}
    sources = {line.source for line in LINES}
    assert sources - set(GRAMMARS) - neighbour_sources == set(TRAPS)
    for line in LINES:
        if line.source in neighbour_sources:
            assert line.parsed["component"] in NEIGHBOURS
            assert "instance" not in line.parsed


def test_severity_is_that_of_the_lines() -> None:
    for line in LINES:
        if line.reader in GRAMMARS:
            severity = GRAMMARS[line.reader].severity
            assert line.parsed.get("severity", "info") == severity, line.id


def test_the_tests_of_each_kind_are_named() -> None:
    for name, block in re.findall(r"^### ([^\n]*)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL):
        told = set()
        tests = block.partition("\n- tests: ")[2]
        for stem, first, last in re.findall(r"`([^`]+)-([0-9]+)`(?: to `-([0-9]+)`)?", tests):
            told |= {f"{stem}-{number}" for number in range(int(first), int(last or first) + 1)}
        told |= {line.id for line in LINES if f"`{line.id}`" in tests}
        own = {
            line.id
            for line in LINES
            if name in (line.source, line.reader)
            or (name == line.parsed.get("component") and "instance" not in line.parsed)
        }
        assert own
        assert told == own


def test_links_lead_to_headings() -> None:
    # What stands in code blocks is no heading and no link.
    text = re.sub(r"^```\n.*?^```\n", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    anchors = [log_lines.anchor(heading) for heading in re.findall(r"^#{2,3} (.*)$", text, re.MULTILINE)]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\[[^\]]+\]\(#([^)]+)\)", text)
    assert len(links) > 2 * 117
    assert set(links) == set(anchors) - NEIGHBOURS - {"contents"}


def test_code_blocks_hold_nothing_that_ends_them() -> None:
    assert not [line.id for line in LINES if "```" in line.message]
    assert PAGE.isprintable() or set(filter(lambda char: not char.isprintable(), PAGE)) == {"\n"}


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("smtpd.client", ["a mail begins (`delivery_from`: ", "client_ip", "`client` as NOQUEUE: session: "]),
        (
            "delivery.status",
            ["an attempt for a recipient (`delivery_to`: ", "status bounced/defer", " by lmtp, smtp: "],
        ),
        ("psc.reject_rcpt", ["a row of its own (`noqueue`: "]),
        ("bounce.notification", ["an event of its story (`mail_event`: action, detail, linked_queue_id)"]),
        ("pickup.uid", ["the mail of the old queue id ends"]),
        ("tls.summary", ["by smtpd: session: ", "by lmtp, smtp: session: ", "by tlsproxy: only counted"]),
        ("smtp.connect_failed", ["session: an event", "counted by the hour (`server_event`, under a subject like "]),
        ("anvil.stat", ["`stat`: only counted"]),
        ("dovecot", ["noted beside the mail (`neighbour_event`: ", "`other`: only counted"]),
    ],
)
def test_what_is_made_of_a_line(name: str, parts: list[str]) -> None:
    told = made_of(name)
    assert not [part for part in parts if part not in told], told


def test_every_effect_and_step_is_shown_by_some_line() -> None:
    words = {words for line in LINES for words, _ in log_lines.use_of(line).kind}
    assert not {*log_lines.EFFECTS.values(), *log_lines.STEPS.values()} - words
    assert set(log_lines.STEPS) == set(Kind)
    assert set(Effect) - set(log_lines.EFFECTS) == {Effect.ABORTED, Effect.PROXIED}
