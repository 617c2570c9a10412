"""What replies mean: every shipped rule decides a case; own rules come first, and are checked as a whole."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from journal_postfix.cli.main import main
from journal_postfix.errors import ConfigurationError
from journal_postfix.rules import UNCLASSIFIED, Reason, load_rules, reply_shape, shipped_rules
from journal_postfix.store import Database
from paths import ROOT

CASES = yaml.safe_load((ROOT / "tests" / "problem_cases.yaml").read_text(encoding="utf-8"))


def reasons(dsn: str, cases: list[list[str]]) -> list[Reason]:
    """Bring the cases' texts into the form that rules see, by way of the database as `problems` does."""
    with closing(Database(dsn)) as connection:
        rows = connection.fetch(
            "SELECT coalesce(problem_text(t, NULL), ''), coalesce(problem_code(t), '') "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS x (t, n) ORDER BY n",
            ([case[5] for case in cases],),
        )
    return [
        Reason(kind, component, action, dsn_code, code, reply_shape(text))
        for (_, kind, component, action, dsn_code, _), (text, code) in zip(cases, rows, strict=True)
    ]


def test_each_case_gets_its_class_and_each_rule_decides_one(database: str) -> None:
    rules = shipped_rules()
    deciding = set()
    wrong = []
    for case, reason in zip(CASES, reasons(database, CASES), strict=True):
        found = rules.classify(reason)
        if found.name != case[0]:
            wrong.append((case[0], found.name, reason))
        deciding.add(next((number for number, rule in enumerate(rules.rules) if rule.fits(reason)), None))
    assert wrong == []
    idle = [rule for number, rule in enumerate(rules.rules) if number not in deciding]
    assert [(rule.name, rule.kinds, rule.phrases[:1], rule.dsns, rule.actions) for rule in idle] == []


def test_every_class_is_given_by_a_rule_and_says_what_to_do() -> None:
    rules = shipped_rules()
    assert set(rules.classes) == {rule.name for rule in rules.rules}
    for found in rules.classes.values():
        assert found.explanation.endswith("."), found
        assert found.is_hidden or found.advice, found
        assert "\n" not in found.explanation + found.advice


def test_replies_that_differ_in_ids_and_addresses_only_are_one(database: str) -> None:
    texts = [
        f"host mx{number}.example[198.51.100.{number}] said: 550 5.1.1 <user{number}@example.net>: no such user here; "
        f"id 4jX{number}zJTsZ at {number}:00 (in reply to RCPT TO command)"
        for number in range(50)
    ]
    found = set(reasons(database, [["", "delivery", "smtp", "bounced", "5.1.1", text] for text in texts]))
    assert len(found) == 1


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "rules.yml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_own_rules_come_first_and_change_classes_key_by_key(tmp_path: Path) -> None:
    path = own(
        tmp_path,
        "classes:\n  partner: {explanation: Our partner's filter., alarm: true}\n  greylisted: {alarm: true}\n"
        "rules:\n  - {class: partner, text: \"no such user\"}\n  - {class: greylisted, dsn: '4.9', advice: Wait.}\n",
    )
    rules = load_rules(path)
    reason = Reason("delivery", "smtp", "bounced", "5.1.1", "550", "no such user here")
    assert shipped_rules().classify(reason).name == "unknown-recipient"
    assert rules.classify(reason).name == "partner"
    assert rules.classify(reason).is_alarm
    greylisted = rules.classify(reason._replace(shape="x", dsn="4.9.1"))
    assert (greylisted.name, greylisted.advice, greylisted.is_alarm) == ("greylisted", "Wait.", True)
    assert greylisted.explanation == shipped_rules().classes["greylisted"].explanation
    assert rules.classify(reason._replace(shape="x", dsn="4.99.1")).name == UNCLASSIFIED


@pytest.mark.parametrize(
    ("phrase", "text", "fits"),
    [
        ("quota", "the quota is used", True),
        ("quota", "a quotation", False),
        ("quota*", "a quotation", True),
        ("*tation", "a quotation", True),
        ("quota", "QUOTA!", True),
        ("no * user", "no such user", True),
        ("no * user", "user has no", False),
        ("service unavailable; client host", "Service unavailable Client host", True),
        ("50%", "about 50%", None),
        ("(a+)+$", "aaaa", False),
        ("(a+)+$", "it said (a+)+$", True),
    ],
)
def test_a_phrase_is_words_and_stars(tmp_path: Path, phrase: str, text: str, fits: bool | None) -> None:
    path = own(tmp_path, f"rules: [{{class: spam, text: '{phrase}'}}]\n")
    if fits is None:
        with pytest.raises(ConfigurationError, match="hold a digit"):
            load_rules(path)
        return
    reason = Reason("delivery", "x", "x", "", "", text)
    assert (load_rules(path).rules[0].fits(reason)) is fits


def test_no_phrase_takes_long_over_any_text(tmp_path: Path) -> None:
    stars = "a*" * 90
    path = own(tmp_path, f"rules: [{{class: spam, text: '{stars}b'}}]\n")
    reason = Reason("delivery", "x", "x", "", "", "a" * 20_000)
    begin = time.process_time()
    assert not load_rules(path).rules[0].fits(reason)
    assert time.process_time() - begin < 1


def test_no_text_takes_long_to_be_brought_into_shape() -> None:
    begin = time.process_time()
    for char in 'a.[<"@:/ #=-xb':
        assert len(reply_shape(char * 200)) <= 160
        assert len(reply_shape(f"b{char}" * 100)) <= 160
    assert time.process_time() - begin < 1


BAD = """
classes:
  Bad Name: {explanation: x}
  other: {explanation: "", colour: red}
  third: {advice: y, alarm: maybe}
  unclassified: {explanation: z}
rules:
  - {class: greylistd, text: x}
  - {class: spam}
  - {class: spam, text: "error 17"}
  - {class: spam, dsn: 5.1}
  - {class: spam, dsn: "nonsense", kind: mail}
  - {class: spam, text: "***", txt: z}
  - spam
"""


def test_all_problems_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    path = own(tmp_path, BAD)
    with pytest.raises(ConfigurationError) as caught:
        load_rules(path)
    told = caught.value.problems
    assert all(problem.startswith(path) for problem in told)
    for words in (
        "Bad Name: is no name",
        "other: explanation: must be a text",
        "other: there is no key colour",
        "third: alarm: must be true or false",
        "third: explanation: is missing",
        "unclassified: is no name",
        "number 1: class: there is no class greylistd; did you mean greylisted?",
        "number 2: has no condition",
        "number 3: text: error 17: words that hold a digit",
        "number 4: dsn: must be a text or a list of texts (codes in quotes",
        "number 5: kind: there is no kind mail",
        "number 5: dsn: nonsense is no code",
        "number 6: there is no key txt; did you mean text?",
        "number 6: text: ***: must have letters",
        "number 7: must be a map",
    ):
        assert any(words in problem for problem in told), (words, told)
    assert len(told) == 15


def test_bad_rules_are_a_problem_of_the_configuration(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "main.yml"
    config.write_text(f"database: '{database}'\nproblem_rules: {own(tmp_path, BAD)}\n", encoding="utf-8")
    for arguments in (["check-config", str(config)], ["--config", str(config), "problems"]):
        assert main(arguments) == 78
        assert len(capsys.readouterr().err.splitlines()) == 15
    config.write_text("database: '= ='\nproblem_rules: /nonexistent/rules.yml\n", encoding="utf-8")
    assert main(["check-config", str(config)]) == 78
    told = capsys.readouterr().err
    assert "connection string" in told
    assert "No such file" in told


@pytest.mark.parametrize(
    "text", ["- a\n", "rules: 5\n", "classes: [a]\n", "unknown: {}\n", "rules: [\n", "a: &x 1\nb: *x\n"]
)
def test_what_is_no_file_of_rules_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        load_rules(own(tmp_path, text))


def test_the_example_in_the_documentation_is_good(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "problems.md").read_text(encoding="utf-8")
    rules = load_rules(own(tmp_path, page.split("```yaml\n")[1].split("```")[0]))
    reason = Reason("delivery", "smtp", "bounced", "5.7.1", "550", "Subject of yours not permitted")
    assert rules.classify(reason).name == "partner-filter"
    assert not rules.classes["greylisted"].is_alarm


def test_an_empty_file_of_rules_changes_nothing(tmp_path: Path) -> None:
    given: Any = load_rules(own(tmp_path, "---\n"))
    assert given == shipped_rules()
