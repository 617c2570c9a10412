"""Write docs/log-lines.md: every kind of log line that is read, what it tells, and what is made of it.

Takes docs/grammars.yaml (what Postfix logs, in our words), tests/corpus (real and hostile lines) and the program:
each line of the corpus is parsed and given to a `Batch`, and what lands there is what the page says. So the page
cannot say what the program does not do. Run by hand (`.venv/bin/python tools/log_lines.py`); a test fails when the
page is not current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "files" / "journal-postfix"))

from journal_postfix.extract import NOQUEUE, Columns, Effect
from journal_postfix.message import LogMessage
from journal_postfix.neighbour import COLUMNS as NEIGHBOUR_COLUMNS
from journal_postfix.parse import ENTRIES, NEIGHBOUR_ENTRIES
from journal_postfix.parse.engine import build_parser
from journal_postfix.parse.grammar import Convert, Entry, Fields
from journal_postfix.programs import DEFAULT_IDENTIFIERS, identifier_map
from journal_postfix.session import Kind
from journal_postfix.store.batch import Batch

ROOT: Final = Path(__file__).resolve().parent.parent
GRAMMARS: Final = ROOT / "docs" / "grammars.yaml"
CORPUS: Final = ROOT / "tests" / "corpus"
PAGE: Final = ROOT / "docs" / "log-lines.md"

MAX_EXAMPLE: Final = 300

# Only what a single line can do: Effect.ABORTED and Effect.PROXIED come of sessions.
EFFECTS: Final = {
    Effect.ARRIVED: "a mail begins",
    Effect.MESSAGE_ID: "the mail's message-id",
    Effect.QUEUED: "the mail is in the queue",
    Effect.ATTEMPTED: "an attempt for a recipient",
    Effect.ENDED: "the mail ends",
    Effect.EXPIRED: "the recipients that are still deferred are expired",
    Effect.DOOMED: "the mail will be thrown away",
    Effect.KEPT: "the mail is not expired after all, it stays in the queue",
    Effect.HELD: "the mail is on hold",
    Effect.RELEASED: "the mail is no longer on hold",
    Effect.NOTED: "noted with the mail",
    Effect.REQUEUED: "the mail of the old queue id ends, if it is known",
    Effect.NOQUEUE: "a row of its own",
}

STEPS: Final = {
    Kind.CONNECTED: "session: a new one begins",
    Kind.DISCONNECTED: "session: it is over, and a mail of it that was never accepted is canceled",
    Kind.RECEIVING_TLS: "session: its TLS is noted with the mails that arrive in it (`delivery_from`)",
    Kind.SENDER: "session: shows whose mail this is, so that what was decided for another sender is not joined to it",
    Kind.DECIDED: "session: also noted with the mail whose queue id the next `client=` names",
    Kind.ARRIVED: "session: takes what was logged of it before (TLS, decisions)",
    Kind.LOST: "session: the mail that was arriving is canceled, with this as an event (`mail_event`)",
    Kind.FRONT_ARRIVED: "session: the client is kept until the before-queue filter has answered",
    Kind.PROXIED: "session: the client, its TLS and log-in go to the mail that the reply names",
    Kind.PROXY_REFUSED: "session: the client is filled in",
    Kind.FAILED: "session: an event (`mail_event`) of the mail whose status line this process logs next",
    Kind.SENDING_TLS: "session: its TLS is noted with the deliveries over it (`delivery_to`)",
    Kind.ATTEMPTED: "session: takes what the process logged before (failed connections, TLS)",
}

# Columns of which the values say more than the name.
TELLING: Final = frozenset({"status", "ended_how", "origin"})


class Grammar(NamedTuple):
    """One kind of line, as docs/grammars.yaml has it; `since` and `until` are versions, '' for all."""

    name: str
    tells: str
    programs: list[str]
    severity: str
    tier: int
    since: str
    until: str
    formats: list[str]


class Line(NamedTuple):
    """A line of the corpus; `reader` is the grammar whose entry has read it, '' for none."""

    id: str
    source: str
    file: str
    identifier: str
    message: str
    parsed: Fields
    reader: str


class Use(NamedTuple):
    """What one line does: lines of one grammar with the same `kind` are told of together."""

    kind: tuple[tuple[str, str], ...]
    """In words, each with the table that it fills, '' for none."""
    action: str
    component: str
    queue_id: str
    stage: str
    line_id: str
    filled: dict[str, dict[str, set[str]]]
    """Table → column → values."""


def load_grammars() -> tuple[dict[str, list[Grammar]], dict[str, str]]:
    """Give the grammars by chapter, and what each trap is about."""
    data = yaml.safe_load(GRAMMARS.read_text(encoding="utf-8"))
    chapters = {
        chapter["title"]: [
            Grammar(name, **{"since": "", "until": "", **facts}) for name, facts in chapter["grammars"].items()
        ]
        for chapter in data["chapters"]
    }
    return chapters, data["traps"]


def load_corpus() -> list[Line]:
    """Give every line of the corpus, parsed, with the grammar that has read it."""
    read_by: list[str] = []

    def recorded(item: Entry) -> Convert:
        def convert(fields: Fields, match: re.Match[str]) -> bool:
            accepted = item.convert(fields, match)
            if accepted:
                read_by.append(item.name)
            return accepted

        return convert

    own, others = (
        [item._replace(convert=recorded(item)) for item in entries] for entries in (ENTRIES, NEIGHBOUR_ENTRIES)
    )
    parse = build_parser(own, others, identifier_map(DEFAULT_IDENTIFIERS))
    lines = []
    for path in sorted(CORPUS.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8")):
            read_by.clear()
            parsed = parse(case["identifier"], case["message"])
            # A remark may follow the name.
            source = case["source"].partition(",")[0]
            reader = read_by[-1] if read_by else ""
            lines.append(Line(case["id"], source, path.name, case["identifier"], case["message"], parsed, reader))
    return lines


def _done(line: Line) -> list[tuple[str, str, Columns]]:
    """Say what the program makes of a line, from what a batch holds of it: words, table, columns."""
    batch = Batch()
    batch.add(LogMessage("mx1", line.identifier, 1, 0.0, line.message, 0), line.parsed)
    done: list[tuple[str, str, Columns]] = []
    for unit in batch.units:
        delivery = unit.delivery
        if delivery is not None:
            words = EFFECTS[delivery.effect]
            if delivery.effect is Effect.NOQUEUE:
                done.append((words, "noqueue", delivery.columns))
            elif any(value is not None for value in delivery.columns.values()):
                done.append((words, "delivery_from", delivery.columns))
            elif delivery.effect not in (Effect.ATTEMPTED, Effect.NOTED):
                done.append((words, "", {}))
            if delivery.recipient is not None:
                words = words if delivery.effect is Effect.ATTEMPTED else "the fate of the recipient that it names"
                done.append((words, "delivery_to", delivery.recipient._asdict()))
            if delivery.event is not None:
                action, linked, detail = delivery.event
                columns = {"action": action, "linked_queue_id": linked, "detail": detail}
                done.append(("an event of its story", "mail_event", columns))
        if unit.step is not None:
            done.append((STEPS[unit.step.kind], "", {}))
    for *_, subject in batch.server_events:
        done.append(("counted by the hour", "server_event", {"subject": subject}))
    for _, values in batch.neighbour_events:
        done.append(("noted beside the mail", "neighbour_event", dict(zip(NEIGHBOUR_COLUMNS, values, strict=True))))
    if batch.unknown:
        done.append(("not understood: counted, with a sample", "unknown_line", {}))
    if batch.set_aside:
        done.append(("set aside", "set_aside", {}))
    return done or [("only counted", "", {})]


def use_of(line: Line) -> Use:
    """Say what the program makes of a line."""
    done = _done(line)
    filled: dict[str, dict[str, set[str]]] = {}
    for _, table, columns in done:
        for name, value in columns.items():
            if value is not None:
                filled.setdefault(table, {}).setdefault(name, set()).add(str(value))
    queue_id = line.parsed.get("queue_id")
    where = "without a queue id" if queue_id is None else "as NOQUEUE" if queue_id == NOQUEUE else "with a queue id"
    kind = tuple((words, table) for words, table, _ in done)
    get = line.parsed.get
    return Use(kind, line.parsed["action"], get("component", ""), where, get("reject_stage", ""), line.id, filled)


def _filling(table: str, columns: dict[str, set[str]]) -> str:
    if not table:
        return ""
    if table == "server_event":
        # Not the empty one, of a line that has nothing to be told apart by.
        subjects = sorted(filter(None, columns["subject"]), key=lambda text: (len(text), text))
        return f" (`{table}`, under a subject like `{subjects[0].replace('`', '?')}`)" if subjects else f" (`{table}`)"
    names = [
        f"{name} {'/'.join(sorted(values))}" if name in TELLING else name for name, values in sorted(columns.items())
    ]
    return f" (`{table}`: {', '.join(names)})" if names else f" (`{table}`)"


def _labels(groups: list[list[Use]]) -> list[str]:
    """Say which lines each group is of, no longer than it takes to tell them apart."""

    def of(group: list[Use], name: str) -> set[str]:
        return {getattr(use, name) for use in group}

    has_places = len({use.queue_id for group in groups for use in group}) > 1
    has_programs = len({frozenset(of(group, "component")) for group in groups}) > 1
    labels = []
    for group in groups:
        words = [", ".join(f"`{action}`" for action in sorted(of(group, "action")))]
        if has_programs:
            words.append("by " + ", ".join(sorted(of(group, "component"))))
        if has_places:
            words.append(group[0].queue_id)
        alike = [
            use
            for other in groups
            if other is not group
            for use in other
            if (not has_programs or use.component in of(group, "component"))
            and use.queue_id == group[0].queue_id
            and use.action in of(group, "action")
        ]
        stages = of(group, "stage")
        if alike and all(stages) and not stages & of(alike, "stage"):
            words.append("for example at " + ", ".join(sorted(stages)))
        elif alike:
            words.append(f"as in `{group[0].line_id}`")
        labels.append(" ".join(words))
    return labels


def made_of(uses: Iterable[Use]) -> list[str]:
    """Give one item for each thing that is made of a grammar's lines.

    >>> made_of([Use((("only counted", ""),), "stat", "anvil", "without a queue id", "", "anvil.stat-1", {})])
    ['`stat`: only counted']
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Use]] = {}
    for use in uses:
        groups.setdefault((use.queue_id, use.kind), []).append(use)
    items = []
    for label, ((_, kind), group) in zip(_labels(list(groups.values())), groups.items(), strict=True):
        tables: dict[str, dict[str, set[str]]] = {}
        for use in group:
            for table, columns in use.filled.items():
                for name, values in columns.items():
                    tables.setdefault(table, {}).setdefault(name, set()).update(values)
        items.append(f"{label}: " + "; ".join(words + _filling(table, tables.get(table, {})) for words, table in kind))
    return items


def id_list(ids: Iterable[str]) -> str:
    """Give ids shortly, in their order.

    >>> id_list(["a-1", "a-2", "a-3", "a-own-1", "b"])
    '`a-1` to `-3`, `a-own-1`, `b`'
    """
    runs: list[tuple[str, int, int]] = []
    for name in ids:
        stem, _, number = name.rpartition("-")
        if not (stem and number.isdigit()):
            runs.append((name, -1, -1))
        elif runs and runs[-1][0] == stem and runs[-1][2] == int(number) - 1:
            runs[-1] = (stem, runs[-1][1], int(number))
        else:
            runs.append((stem, int(number), int(number)))
    return ", ".join(
        f"`{stem}`" if first < 0 else f"`{stem}-{first}`" + (f" to `-{last}`" if last > first else "")
        for stem, first, last in runs
    )


def anchor(heading: str) -> str:
    """Give the anchor that a forge makes of a heading.

    >>> anchor("TLS: smtpd.end_39, x")
    'tls-smtpdend_39-x'
    """
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def link(heading: str) -> str:
    """Give a link to a heading of the page."""
    return f"[{heading}](#{anchor(heading)})"


def _example(line: Line) -> str:
    text = f"{line.identifier}: {line.message.rstrip()}"
    # As the program shows text from outside: nothing that a terminal or a page would obey.
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= MAX_EXAMPLE else text[: MAX_EXAMPLE - 1] + "…"


def _code(lines: Iterable[str]) -> list[str]:
    return ["```", *lines, "```"]


def _proof(lines: list[Line]) -> str:
    files: dict[str, list[str]] = {}
    for line in lines:
        files.setdefault(line.file, []).append(line.id)
    return "; ".join(f"{file}: {id_list(ids)}" for file, ids in files.items())


def _block(grammar: Grammar, lines: list[Line]) -> list[str]:
    own = [line for line in lines if line.source == grammar.name]
    read = [line for line in lines if line.reader == grammar.name]
    facts = [", ".join(grammar.programs), grammar.severity, f"tier {grammar.tier}"]
    facts += [f"since {grammar.since}"] if grammar.since else []
    facts += [f"until {grammar.until}"] if grammar.until else []
    traps = [line for line in read if line.source != grammar.name]
    return [
        f"### {grammar.name}",
        grammar.tells,
        "",
        f"*{' · '.join(facts)}*",
        "",
        *_code(grammar.formats),
        "For example:",
        *_code([_example(own[0])]),
        *(f"- {item}" for item in made_of(map(use_of, read))),
        f"- tests: {_proof(own)}" + (f"; traps: {id_list(line.id for line in traps)}" if traps else ""),
        "",
    ]


def _neighbours(lines: list[Line]) -> list[str]:
    page = [
        "## Neighbours",
        "Lines of other programs, under the identifiers that the setting `neighbours` names. `other` are lines that",
        "tell nothing about a mail. Which mail a line is about is decided when one looks (view `mail_neighbour`).",
        "",
    ]
    for name, identifiers in DEFAULT_IDENTIFIERS.items():
        own = [line for line in lines if line.parsed.get("component") == name and "instance" not in line.parsed]
        page += [f"### {name}", f"*{', '.join(identifiers)}*", ""]
        examples: dict[str, Line] = {}
        for line in own:
            examples.setdefault(line.parsed["action"], line)
        page += _code(_example(line) for line in examples.values())
        page += [f"- {item}" for item in made_of(map(use_of, own))]
        page += [f"- tests: {_proof(own)}", ""]
    return page


def _traps(traps: dict[str, str], lines: list[Line]) -> list[str]:
    page = [
        "## Traps",
        "Lines that look like something else, most of them because a sender chose so.",
        "",
        "| trap | | tests |",
        "| --- | --- | --- |",
    ]
    for name, about in traps.items():
        own = [line for line in lines if line.source == name]
        page.append(f"| {name} | {about} | {_proof(own)} |".replace("<", "&lt;"))
    return [*page, ""]


def _programs(chapters: dict[str, list[Grammar]]) -> list[str]:
    programs: dict[str, list[str]] = {}
    for grammars in chapters.values():
        for grammar in grammars:
            for program in grammar.programs:
                programs.setdefault(program, []).append(grammar.name)
    return [
        "## By program",
        "The program is the last part of the identifier: `postfix/submission/smtpd[4711]` is smtpd.",
        "",
        "| program | kinds of lines |",
        "| --- | --- |",
        *(f"| {program} | {' '.join(map(link, names))} |" for program, names in sorted(programs.items())),
        "",
    ]


HEAD: Final = """\
# Log lines, and what is made of them
Made by `tools/log_lines.py` of `docs/grammars.yaml`, `tests/corpus` and the program itself; do not edit.

{count} kinds of lines of Postfix 3.0 to 3.12, and those of the neighbours. To find a strange line: search this page for
its constant words, or see {programs}. `journal-postfix parse` reads a line and tells its `action`.

Of each kind: what it tells; the programs that log it, its severity (`warning: ` and the like stand before the text),
its tier (1 tells of a mail's fate, 2 helps to explain it, 3 is only recognised), the Postfix versions that log it where
not all do; its formats; an example; then what is made of it, by `action`, and the tests that prove it. In a format
words in capitals stand for what varies, `{{A|B}}` is one of several, `{{…}}?` may be missing, `{{…}}*` comes any number
of times, `...` is any text, QID is a queue id.

What is made of it is found by giving the lines of the tests to the program:
- A table and its columns, those that the tests' lines fill: `delivery_from` (the mail), `delivery_to` (its recipients;
  attempts that were overtaken are kept in `delivery_attempt`), `mail_event` (its story), `noqueue` (what was rejected
  or treated before it had a queue id), `server_event` (what tells of the server), `neighbour_event`.
- *session*: the line is joined to others of the same process, and so to a mail.
- *only counted*: by host, program and action (`line_counter`), as every line is.

A line of none of these kinds is `unknown` (`journal-postfix unknown` lists them); with a severity it is `trouble`,
counted by the hour under its shape (`server_event`) and noted with the mail whose queue id it names.

## Contents
"""


def make_page() -> str:
    """Give the whole page."""
    chapters, traps = load_grammars()
    lines = load_corpus()
    count = sum(map(len, chapters.values()))
    page = [HEAD.format(count=count, programs=link("By program")).rstrip("\n")]
    page += [
        f"- {link(title)}: {' '.join(link(grammar.name) for grammar in grammars)}"
        for title, grammars in chapters.items()
    ]
    page += [f"- {link(title)}" for title in ("By program", "Neighbours", "Traps")]
    page += ["", *_programs(chapters)]
    for title, grammars in chapters.items():
        page += [f"## {title}"]
        for grammar in grammars:
            page += _block(grammar, lines)
    page += _neighbours(lines)
    page += _traps(traps, lines)
    return "\n".join(page).rstrip("\n") + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(make_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
