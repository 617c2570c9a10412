"""The rules that say what a reply, a rejection or an event means: its class, an explanation, and what to do.

Takes YAML: the shipped problem_rules.yaml and, before it, an administrator's own file of the same form. Gives Rules,
whose `classify` names the class of a Reason; or ConfigurationError with every problem of the file at once. Reads those
two files and nothing else.

What a rule compares. Replies differ in addresses, ids and times, and there are millions of them: so they are grouped
first by what stays of them, their shape (no words that hold a digit, # for names and addresses), and only the shapes
are classified. Rules therefore hold phrases without digits; codes have conditions of their own.

Why there are no regular expressions in rules: replies are chosen by others, and a pattern that an administrator wrote
in haste must not take hours over one of them. A phrase is words, * stands for any text, the case does not matter; it
takes time in proportion to the text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from .errors import ConfigurationError
from .settings import read_yaml, shown

_FAST_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

SHIPPED_PATH: Final = Path(__file__).parent / "problem_rules.yaml"

UNCLASSIFIED: Final = "unclassified"

KINDS: Final = ("delivery", "rejection", "event")

# What is variable in a text besides words with digits: host names with their addresses, addresses, quoted text, URLs.
_VARIABLE_RE: Final = re.compile(
    r"[\w.-]{0,255}\[[^\[\]]{0,255}\]"
    r"|<[^<>]{0,255}>?"
    r'|"[^"]{0,255}"?'
    r"|[\w.+=-]{1,64}@[\w.-]{1,255}"
    r"|https?://[^\s()<>]{0,255}"
    r"|(?<= name=)\S{1,255}"
    # Ids: words of letters that no language has.
    r"|\b[bcdfghjklmnpqrstvwxz]{7,255}\b",
    re.IGNORECASE,
)
_FILLING_RE: Final = re.compile(r"[\s#:.,;-]{0,255}#[\s#:.,;-]{0,255}|[\s.,:;-]{2,255}|\s")
MAX_SHAPE: Final = 160

_CLASS_KEYS: Final = ("explanation", "advice", "alarm", "single", "hidden")
_RULE_KEYS: Final = ("class", "kind", "text", "dsn", "code", "component", "action", "explanation", "advice")
_NAME_RE: Final = re.compile(r"[a-z][a-z-]{1,39}", re.ASCII)
_CODE_RE: Final = re.compile(r"[245](?:\d{0,2}|\.\d{0,3}|\.\d{1,3}\.\d{0,3})", re.ASCII)
MAX_PHRASE: Final = 200


def reply_shape(text: str) -> str:
    """Give what stays of a text when names, addresses, ids and punctuation around them are taken out.

    The words that hold a digit have been taken out by the database (function problem_text).

    >>> reply_shape("<ann@example.org>: Recipient rejected: mx.example.net[private/lmtp] says no, see https://a.test/")
    '# Recipient rejected # says no see #'
    """
    return _filled(_VARIABLE_RE.sub(" # ", text))[:MAX_SHAPE]


def _filled(text: str) -> str:
    """Make what stands between words one blank, or one # where something was taken out."""
    return _FILLING_RE.sub(lambda match: " # " if "#" in match[0] else " ", text).strip()


class Reason(NamedTuple):
    """What one group of failures has in common: the rules' input.

    `action` is what was done (deferred, bounced, rejected, expired; of an event its own).
    """

    kind: str
    component: str
    action: str
    dsn: str
    code: str
    shape: str


class ProblemClass(NamedTuple):
    """A kind of problem.

    `is_alarm`: one of it is enough to be called; `is_single`: it is about one recipient or mail, and says nothing of
    the destination; `is_hidden`: it is none, but everyday life.
    """

    name: str
    explanation: str
    advice: str = ""
    is_alarm: bool = False
    is_single: bool = False
    is_hidden: bool = False


class Rule(NamedTuple):
    """Conditions that must all hold, each of them one of several; and the class that they give."""

    name: str
    phrases: tuple[tuple[re.Pattern[str], ...], ...] = ()
    kinds: tuple[str, ...] = ()
    dsns: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    explanation: str | None = None
    advice: str | None = None

    def fits(self, reason: Reason) -> bool:
        """Tell whether all conditions hold."""
        return (
            (not self.kinds or reason.kind in self.kinds)
            and (not self.components or reason.component in self.components)
            and (not self.actions or reason.action in self.actions)
            and (not self.dsns or _begins(reason.dsn, self.dsns))
            and (not self.codes or reason.code.startswith(self.codes))
            and (not self.phrases or any(_holds(reason.shape, phrase) for phrase in self.phrases))
        )


def _begins(dsn: str, beginnings: tuple[str, ...]) -> bool:
    """Tell whether a status code begins with one of these, part by part: 5.1 is no beginning of 5.10.0."""
    return any(dsn == part or dsn.startswith(part if part.endswith(".") else part + ".") for part in beginnings)


def _holds(text: str, phrase: tuple[re.Pattern[str], ...]) -> bool:
    """Tell whether a text has the pieces of a phrase one after the other: the earliest place of each is the best."""
    position = 0
    for piece in phrase:
        match = piece.search(text, position)
        if match is None:
            return False
        position = match.end()
    return True


@dataclass(frozen=True)
class Rules:
    """All rules in the order in which they are asked, and the classes that they give."""

    classes: dict[str, ProblemClass] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def classify(self, reason: Reason) -> ProblemClass:
        """Give the class of the first rule that fits, with that rule's own words where it has some."""
        for rule in self.rules:
            if rule.fits(reason):
                found = self.classes[rule.name]
                if rule.explanation is not None:
                    found = found._replace(explanation=rule.explanation)
                if rule.advice is not None:
                    found = found._replace(advice=rule.advice)
                return found
        return ProblemClass(UNCLASSIFIED, "No rule says what this means.", "See `problems --unclassified`.")


@cache
def shipped_rules() -> Rules:
    """Read the rules that come with the program."""
    return _rules(SHIPPED_PATH, Rules())


def load_rules(path: str | None) -> Rules:
    """Read the rules: an administrator's own first, if a file of them is given, then the shipped ones.

    A class of the own file takes the place of the shipped one of this name, key by key. Raises ConfigurationError with
    all problems of the file.
    """
    return shipped_rules() if path is None else _rules(Path(path), shipped_rules())


# Reading and checking.


def _rules(path: Path, later: Rules) -> Rules:
    name = shown(path)
    # The C library reads the shipped file ten times as fast; what others wrote gets the reader that is stricter.
    values = yaml.load(path.read_bytes(), _FAST_LOADER) if path == SHIPPED_PATH else read_yaml(path)  # noqa: S506
    if values is None:
        return later
    if not isinstance(values, dict) or not set(values) <= {"classes", "rules"}:
        raise ConfigurationError([f"{name}: must be a map with classes: and rules:"])
    problems: list[str] = []
    classes = dict(later.classes)
    given_classes = values.get("classes") or {}
    given_rules = values.get("rules") or []
    if not isinstance(given_classes, dict):
        problems.append("classes: must map names to what is said of them")
        given_classes = {}
    if not isinstance(given_rules, list):
        problems.append("rules: must be a list")
        given_rules = []
    for key, given in given_classes.items():
        found, wrong = _class(key, given, classes.get(key) if isinstance(key, str) else None)
        problems.extend(f"classes: {shown(key)}: {problem}" for problem in wrong)
        if found is not None:
            classes[found.name] = found
    rules = []
    # What was meant to be a class, however wrong, is not reported as missing by every rule that names it.
    known = set(classes) | {key for key in given_classes if isinstance(key, str)}
    for number, given in enumerate(given_rules, 1):
        rule, wrong = _rule(given, known)
        problems.extend(f"rules: number {number}: {problem}" for problem in wrong)
        if rule is not None:
            rules.append(rule)
    if problems:
        raise ConfigurationError([f"{name}: {problem}" for problem in problems])
    return Rules(classes, (*rules, *later.rules))


def _class(key: Any, given: Any, before: ProblemClass | None) -> tuple[ProblemClass | None, list[str]]:
    if not isinstance(key, str) or not _NAME_RE.fullmatch(key) or key == UNCLASSIFIED:
        return None, ["is no name: small letters and -, at most 40"]
    if not isinstance(given, dict):
        return None, [f"must be a map with {', '.join(_CLASS_KEYS)}"]
    problems = list(_unknown_keys(given, _CLASS_KEYS))
    for name in ("explanation", "advice"):
        problems.extend(_text_problem(given, name))
    for name in ("alarm", "single", "hidden"):
        if not isinstance(given.get(name, False), bool):
            problems.append(f"{name}: must be true or false")
    if before is None and "explanation" not in given:
        problems.append("explanation: is missing")
    if problems:
        return None, problems
    base = before or ProblemClass(key, "")
    return (
        ProblemClass(
            key,
            given.get("explanation", base.explanation),
            given.get("advice", base.advice),
            given.get("alarm", base.is_alarm),
            given.get("single", base.is_single),
            given.get("hidden", base.is_hidden),
        ),
        [],
    )


def _rule(given: Any, classes: set[str]) -> tuple[Rule | None, list[str]]:
    if not isinstance(given, dict):
        return None, [f"must be a map with {', '.join(_RULE_KEYS)}"]
    problems = list(_unknown_keys(given, _RULE_KEYS))
    name = given.get("class")
    if not isinstance(name, str) or name not in classes:
        problems.append(f"class: {_no_such(name, classes, 'class')}" if name is not None else "class: is missing")
    for key in ("explanation", "advice"):
        problems.extend(_text_problem(given, key))
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("kind", "text", "dsn", "code", "component", "action"):
        value = given.get(key, [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            # YAML reads 5.1 as a number, and 550 too.
            problems.append(f"{key}: must be a text or a list of texts (codes in quotes: '5.1')")
        elif key in given and not texts:
            problems.append(f"{key}: is empty")
        else:
            lists[key] = tuple(texts)
    problems.extend(
        f"kind: {_no_such(kind, set(KINDS), 'kind')}" for kind in lists.get("kind", ()) if kind not in KINDS
    )
    for key in ("dsn", "code"):
        problems.extend(
            f"{key}: {shown(text)} is no code" for text in lists.get(key, ()) if not _CODE_RE.fullmatch(text)
        )
    phrases = []
    for text in lists.get("text", ()):
        problem = _phrase_problem(text)
        if problem:
            problems.append(f"text: {shown(text)}: {problem}")
        else:
            phrases.append(_phrase(text))
    if not problems and not any(lists.values()):
        problems.append("has no condition, and would fit everything")
    if problems:
        return None, problems
    return (
        Rule(
            str(name),
            tuple(phrases),
            lists["kind"],
            lists["dsn"],
            lists["code"],
            lists["component"],
            lists["action"],
            given.get("explanation"),
            given.get("advice"),
        ),
        [],
    )


def _unknown_keys(given: dict[Any, Any], known: tuple[str, ...]) -> Iterator[str]:
    for key in given:
        if key not in known:
            yield _no_such(key, set(known), "key")


def _no_such(name: Any, known: set[str], what: str) -> str:
    near = difflib.get_close_matches(str(name)[:100], sorted(known), n=1)
    return f"there is no {what} {shown(name)}" + (f"; did you mean {near[0]}?" if near else "")


def _text_problem(given: dict[Any, Any], key: str) -> Iterator[str]:
    text = given.get(key, "text")
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        yield f"{key}: must be a text on one line"


def _phrase_problem(text: str) -> str | None:
    if len(text) > MAX_PHRASE:
        return f"is longer than {MAX_PHRASE} characters"
    if any(char.isdigit() for char in text):
        return "words that hold a digit are left out of what is compared; for codes there are dsn: and code:"
    if not any(char.isalpha() for char in text):
        return "must have letters"
    return None


def _phrase(text: str) -> tuple[re.Pattern[str], ...]:
    """Compile the pieces between the *: literal texts that begin and end with a word unless a * stands there."""
    pieces = text.split("*")
    patterns = []
    for number, piece in enumerate(pieces):
        words = _filled(piece)
        if not words:
            continue
        begin = r"\b" if words[0].isalnum() and (number == 0 or piece[0].isspace()) else ""
        end = r"\b" if words[-1].isalnum() and (number == len(pieces) - 1 or piece[-1].isspace()) else ""
        patterns.append(re.compile(begin + re.escape(words) + end, re.IGNORECASE))
    return tuple(patterns)
