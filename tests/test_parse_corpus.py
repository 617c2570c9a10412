"""The corpus: every line of tests/corpus gives exactly what stands there, and every grammar entry has a line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from journal_postfix.parse import ENTRIES, NEIGHBOUR_ENTRIES, parse
from journal_postfix.parse.engine import build_parser
from journal_postfix.parse.grammar import Entry, Fields
from journal_postfix.parse.verbose import ENTRIES as VERBOSE
from journal_postfix.programs import DEFAULT_IDENTIFIERS, identifier_map

CORPUS = Path(__file__).resolve().parent / "corpus"
ALL_ENTRIES = (*ENTRIES, *NEIGHBOUR_ENTRIES)
CASES: list[dict[str, Any]] = [
    case for path in sorted(CORPUS.glob("*.yaml")) for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]

# RFC 2606 and RFC 6761 names, RFC 5737 and RFC 3849 addresses, loopback and link-local ones.
RESERVED_NAME = re.compile(r"(?:^|\.)(?:example(?:\.com|\.net|\.org)?|test|invalid|localhost)$")
RESERVED_ADDRESS = re.compile(r"127\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|0\.0\.0\.0")
# What has the form of a name or an address but is none: file names, versions, codes.
NO_NAME = re.compile(
    r"\.(?:c|cf|html|mbox|mx|sock)$|^[0-9]{3}-[0-9.]+$|^TLSv1\.[23]$|^3\.12-[0-9]{8}$|^(?:smtp-)?[0-9]{14}\.|^[0-9A-F]+\.[0-9]+$"
    r"|^[0-9.]+ms$|^smtp\.mailfrom$"
)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_line_gives_exactly_the_expected_elements(case: dict[str, Any]) -> None:
    parsed = parse(case["identifier"], case["message"])
    assert parsed == case["parsed"]
    # 1 == 1.0 == True for a comparison; the types are part of the contract, too.
    assert {name: type(value) for name, value in parsed.items()} == {
        name: type(value) for name, value in case["parsed"].items()
    }


def test_ids_are_unique() -> None:
    ids = [case["id"] for case in CASES]
    assert sorted(set(ids)) == sorted(ids)


def test_every_grammar_entry_reads_some_line() -> None:
    used: set[int] = set()

    def recorded(number: int, item: Entry) -> Entry:
        def convert(fields: Fields, match: re.Match[str]) -> bool:
            accepted = item.convert(fields, match)
            if accepted:
                used.add(number)
            return accepted

        return item._replace(convert=convert)

    recording = [recorded(number, item) for number, item in enumerate(ALL_ENTRIES)]
    recording_parse = build_parser(
        recording[: len(ENTRIES)], recording[len(ENTRIES) :], identifier_map(DEFAULT_IDENTIFIERS)
    )
    for case in CASES:
        assert recording_parse(case["identifier"], case["message"]) == case["parsed"]
    unused = [f"{item.name}: {item.pattern.pattern}" for number, item in enumerate(ALL_ENTRIES) if number not in used]
    assert not unused


def test_every_entry_is_named_in_the_source_of_some_line() -> None:
    sources = {case["source"] for case in CASES}
    assert not {item.name for item in ALL_ENTRIES} - sources


def test_no_ordinary_line_reads_as_a_verbose_one() -> None:
    """Not even if nothing else read it: the entries' order is not what keeps them apart."""
    parse_verbose = build_parser(VERBOSE)
    seen = {case["parsed"]["action"] for case in CASES}
    assert "verbose" in seen
    for case in CASES:
        if case["parsed"]["action"] != "verbose":
            assert parse_verbose(case["identifier"], case["message"])["action"] != "verbose", case["id"]


def test_names_and_addresses_are_reserved() -> None:
    found = set()
    for case in CASES:
        for word in re.findall(r"(?<![A-Za-z0-9.-])[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", case["message"]):
            if re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", word):
                if not RESERVED_ADDRESS.match(word):
                    found.add(word)
            elif re.search(r"[A-Za-z]", word) and not RESERVED_NAME.search(word) and not NO_NAME.search(word):
                found.add(word)
        found.update(
            word
            for word in re.findall(r"(?<![0-9a-z:])[0-9a-f:]*::[0-9a-f:]*", case["message"])
            if len(word) > 2 and not word.startswith(("2001:db8:", "fe80::"))
        )
    assert not found
