"""200 hostile values in the place of each text that others choose, in every line of the corpus.

Invariant: the element is the value, and every other element is what it is in the line as it stands in the corpus. The
values are random pieces of log syntax, written as Postfix writes that element: quoted, masked, shortened, or of the
alphabet that Postfix demands. What the log itself leaves undecidable is in `UNDECIDABLE`, each kind with its reason.

test_hostile.py has the hand-made attacks; what a cut line makes of them is there and in test_cut_lines.py.
"""

from __future__ import annotations

import itertools
import random
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from journal_postfix.parse import parse, tokens

CORPUS = Path(__file__).resolve().parent / "corpus"
# Lines that were cut, where the end of a text is the end of what is left: test_cut_lines.py has them.
CUT = {
    "delivery.status-34", "trap-2-own-1", "trap-2-own-2", "trap-2-own-4", "trap-2-own-5", "trap-2-own-9",
    "trap-newline-own-3",
}  # fmt: skip
CASES: list[dict[str, Any]] = [
    case
    for path in sorted(CORPUS.glob("*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))
    if "instance" in case["parsed"]
    and case["parsed"]["action"] not in ("unknown", "trouble", "verbose")
    and case["id"] not in CUT
]
VALUES = 200

# -------------------------------------------------------------------------------------------------------- hostile texts

_FRAGMENTS = [
    "to=<", ">, to=<", "from=<", "; from=<", "> to=<", "> proto=ESMTP", " helo=<", ", helo=<", ">, relay=none",
    ", relay=", ">, orig_to=<", "; from=<x> to=<y> proto=SMTP helo=<z>", " from evil[203.0.113.66]; from=<q> to=<r>: ",
    " from evil[203.0.113.66]; from=<q> to=<r> proto=SMTP helo=<z>", " from local; from=<root>",
    " from unknown[unknown]: ", ", delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)", "status=sent (",
    "status=bounced (", "(queue active)", ">, size=1, nrcpt=1 (queue active)", ">, status=expired, returned to sender",
    "> to transport=lda", "> orig_id=B2335216943", " sasl_method=PLAIN sasl_username=root",
    ", sasl_method=PLAIN, sasl_username=root", " sasl_username=<root>", " sasl_sender=root", ", sasl_sender=root",
    ", orig_queue_id=B2335216943", ", orig_client=evil[203.0.113.66]", "removed", ": removed", "NOQUEUE: ",
    "B2335216943: ", "4jXstY5frqzJTsZ: ", "warning: ", "fatal: ", "panic: ", "error: ", "reject: RCPT from ",
    "message-id=<", "client=evil[203.0.113.66]", "disconnect from evil[203.0.113.66] ehlo=1 commands=1", "queued as ",
    "forwarded as ", "250 2.0.0 Ok: ", "550 5.7.1 ", "5.7.1 ", " (in reply to RCPT TO command)", " said: 550 ",
    "... from ", ' lookup error for "', '"', "'", "\\", "\\\\", '\\"', '"@', '">', '"@b.example>, relay=none', "<",
    ">", "<>", "><", "[", "]", "[192.0.2.1]", "[192.0.2.1]:25", "(", ")", "()", ";", "; ", ",", ", ", ":", ": ", "=",
    "?", "??", "%s", "%n", "$1", "{0}", " ", "  ", "@", "@b.example", "a", "0", "65535", "\n", "\r\n", "\t", "\x00",
    "\x7f", "\x1b[31m", "\u2028", "\u0085", "\u202e", "\xa0", "é", "ÿ", "人", "٣", "𝟘", "\U0001f4e7", "\ufeff",
    "\ufffd", " while ", " -- ", " after RCPT", " listed by domain ", " with cipher X (1/1 bits)", " to ", " from ",
    " not matched", " for service smtp", "limit exceeded", " dropped: ",
]  # fmt: skip


def raw_texts(rng: random.Random) -> Iterator[str]:
    """Every fragment alone, then random rows of them, some very long."""
    yield from _FRAGMENTS
    while True:
        text = "".join(rng.choices(_FRAGMENTS, k=rng.randint(1, 7)))
        yield text * (1 + 700 // (len(text) + 1)) if rng.random() < 0.03 else text


# ------------------------------------------------------------------------------------ what Postfix makes of such a text

# quote_822_local: RFC 5322 atoms; bytes that are no ASCII stay bare (SMTPUTF8).
_DOT_ATOM = re.compile(r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+(?:\.[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+)*")
_DOMAINS = ["", "@b.example", "@sub.b.example", "@[192.0.2.7]", "@[IPv6:2001:db8::7]", "@bücher.example"]


def masked(text: str, rng: random.Random) -> str:
    """printable(): each control character becomes `?`."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)


def address(text: str, rng: random.Random) -> str:
    """An address in the external form; domains that are none are in the corpus, as `trap-bad-domain`."""
    local = text if _DOT_ATOM.fullmatch(text) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return masked(local, rng) + rng.choice(_DOMAINS)


def neutered(text: str, rng: random.Random) -> str:
    """NEUTER_CHARACTERS, what smtpd does to HELO names."""
    return re.sub(r'[ <>()\\";@\x00-\x1f\x7f]', "?", text)


def xtext(text: str, rng: random.Random) -> str:
    """RFC 3461 §4."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char) & 255:02X}" for char in text)


def header_text(text: str, rng: random.Random) -> str:
    """The content of a header or a body line in a check's line: at most 200 bytes, and no blank before it counts."""
    return masked(text, rng)[:120]


def reply_text(text: str, rng: random.Random) -> str:
    """A reply that smtpd logs: 510 bytes, control characters are blanks."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)[:400]


def hundred(text: str, rng: random.Random) -> str:
    """What is shown as 100 bytes."""
    return masked(text, rng)[:90]


def escaped(text: str, rng: random.Random) -> str:
    r"""C escapes: what is no ASCII becomes `\ooo`, a hundred bytes of the input."""
    named = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", "\b": r"\b"}
    return "".join(
        named.get(char) or (char if " " <= char <= "~" else "".join(f"\\{byte:03o}" for byte in char.encode()))
        for char in text[:60]
    )


def hostname(text: str, rng: random.Random) -> str:
    """valid_hostname(): letters, digits, `_`, and `-` and `.` within: all that a PTR, an MX or an SNI can bring."""
    labels = [label.strip("-")[:63] for label in re.split(r"[^A-Za-z0-9_-]+", text)]
    last = rng.choice(["example", "from", "unknown", "to", "b-1"])
    return ".".join([*[label for label in labels if label][:4], last])


_BASE_52 = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


def queue_id(text: str, rng: random.Random) -> str:
    """A Postfix queue id of either form."""
    if rng.random() < 0.5:
        return "".join(rng.choices("0123456789ABCDEF", k=rng.randint(6, 16)))
    return "".join(rng.choices(_BASE_52, k=10)) + "z" + "".join(rng.choices(_BASE_52[:-1], k=rng.randint(1, 9)))


def any_queue_id(text: str, rng: random.Random) -> str:
    """mail_queue_id_ok(): what XFORWARD IDENT and a file in the maildrop may be called."""
    return (re.sub(r"[^A-Za-z0-9_]", "", text) or "x")[:100]


def mechanism(text: str, rng: random.Random) -> str:
    """A SASL mechanism as a client names it: a word of at most 100 bytes."""
    return re.sub(r"[ \t]", "", masked(text, rng))[:90] or "x"


Logged = Callable[[str, random.Random], str]


# --------------------------------------------------------------------------------------------- where the elements stand


class Place(NamedTuple):
    """An element that others choose: `marks` have `{}` in its place, `kept` tells what of a text stays before it."""

    marks: tuple[str, ...]
    logged: Logged
    kept: str = ""


_ANY = ("{}",)
# A text keeps its first word or all of it: what Postfix puts before that of others.
_TEXT = r"\S*\s|.*"
PLACES: dict[str, Place] = {
    "sender": Place(("from=<{}>",), address),
    "recipient": Place(
        ("to=<{}>", "passing <{}>", "failed to {}", "bouncing to {}", "warning {}", "recipient {}:"), address
    ),
    "orig_to": Place(("orig_to=<{}>",), address),
    "helo": Place(("helo=<{}>",), neutered),
    "sasl_username": Place(("sasl_username=<{}>", "sasl_username={}"), masked),
    "sasl_sender": Place(("sasl_sender={}",), xtext),
    "sasl_method": Place((": SASL {} authentication",), mechanism),
    "message_id": Place(("message-id={}",), masked),
    "resent_message_id": Place(("message-id={}",), masked),
    "header": Place(_ANY, header_text, r"[^:]*:\s?|"),
    "response": Place(_ANY, masked, _TEXT),
    "reason": Place(_ANY, reply_text, _TEXT),
    "text": Place(_ANY, escaped, _TEXT),
    "client_hostname": Place(("{}[", "hostname {} "), hostname),
    "relay_host": Place(("{}[",), hostname),
    "peer": Place(("{}",), hostname),
    "orig_client": Place(("orig_client={}",), hostname),
    "orig_queue_id": Place(("orig_queue_id={}", "orig_id={}"), any_queue_id),
    "next_queue_id": Place(("queued as {}",), queue_id),
    "sni": Place((" to {}:", "SNI {} "), hostname),
    "domain": Place(("domain={},", "domain {} "), hostname),
    "site": Place(("ETRN {}...",), hundred),
    "key": Place(('"{}"', "key {}:"), masked),
    "tls_details": Place(_ANY, masked, _TEXT),
    "local_part": Place(_ANY, masked),
}


class Target(NamedTuple):
    """One element of one corpus line: `line` has `{}` in its place, `prefix` is what the value has before it."""

    case: dict[str, Any]
    element: str
    before: str
    after: str
    prefix: str
    suffix: str

    def line(self, value: str) -> str:
        return self.before + value + self.after

    def expected(self, value: str) -> dict[str, Any]:
        """Give what the line with this value must be read as."""
        fields = dict(self.case["parsed"])
        whole = self.prefix + value + self.suffix
        old = fields[self.element]
        fields[self.element] = whole
        if self.element == "header" and "subject" in fields:
            fields["subject"] = whole[len("subject:") :].lstrip(" ")
        if self.element == "client_hostname" and "origin" in fields:
            fields["origin"] = fields["origin"].replace(f"{old}[", f"{whole}[", 1)
        if self.element == "next_queue_id" or (fields["action"], self.element) in LINKED:
            name = "response" if "response" in fields else "reason"
            fields[name] = fields[name].replace(old, whole, 1)
        return fields


# Elements that are told once more within the line's reason.
LINKED = {("warn", "recipient"), ("refuse_tls", "client_hostname")}
HARMLESS = {"next_queue_id": "B2335216943"}


def read(target: Target, value: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what the line with this value is read as, and what it must be read as.

    The next queue id is what a reply says it is: only a reply without its mark must have none.
    """
    parsed = parse(target.case["identifier"], target.line(value))
    expected = target.expected(value)
    if target.element in ("response", "reason"):
        says_it = "queued as " in expected[target.element]
        for name in ("next_queue_id", "next_kind"):
            expected.pop(name, None)
            if says_it:
                parsed.pop(name, None)
    return parsed, expected


def splits(element: str, value: str) -> Iterator[tuple[str, str]]:
    """Give what may stay of a value, before and behind the part that others choose: the least first."""
    if element in ("peer", "orig_client"):
        yield "", value[value.find("[") :]
        return
    for pattern in PLACES[element].kept.split("|"):
        match = re.match(pattern, value, re.DOTALL)
        if match is not None:
            yield match[0], ""


def find_target(case: dict[str, Any], element: str) -> Target | None:
    """Give the place of an element, which a harmless value shows to be the right one."""
    message, value = case["message"], case["parsed"][element]
    for mark in PLACES[element].marks:
        before_mark, after_mark = mark.split("{}")
        marked = before_mark + value + after_mark
        for prefix, suffix in splits(element, value):
            for found in re.finditer(f"(?={re.escape(marked)})", message):
                start = found.start() + len(before_mark)
                end = start + len(value)
                target = Target(
                    case, element, message[: start + len(prefix)], message[end - len(suffix) :], prefix, suffix
                )
                parsed, expected = read(target, HARMLESS.get(element, "harmless"))
                if parsed == expected:
                    return target
    return None


# Reasons that Postfix, a library or the administrator words, with nothing of a stranger's in them: by action.
OWN_REASONS = {
    "end", "removed", "mime_error", "fatal", "norcpt", "sasl_failed", "notification_failed", "error",
}  # fmt: skip
OWN_SOURCES = {"smtpd.local_error", "submit.fatal", "cleanup.io", "virtual.warn"}


# Lines with an address in the internal form of Postfix <= 3.4, or with a domain that is none, have no quoted address
# beside it: where the other one ends is told by what neither can hold, and quotes could be the text's own.
UNQUOTED = re.compile(r"trap-raw-address-own-[0-9]+|trap-bad-domain-cleanup-own-[0-9]+")


def is_chosen(case: dict[str, Any], element: str) -> bool:
    """Tell whether others choose the element; a rule's text and a service's name are the administrator's."""
    parsed = case["parsed"]
    if element == "relay_host":
        return "relay_ip" in parsed
    if element == "sasl_method":
        return bool(parsed["action"] == "sasl_failed")
    if element in ("sender", "recipient", "orig_to") and UNQUOTED.fullmatch(case["id"]):
        return False
    if element == "reason":
        return not (
            parsed["action"] in OWN_REASONS
            or case["source"] in OWN_SOURCES
            or parsed["component"] == "postscreen"
            or ("class" in parsed and parsed["action"] != "checks")
        )
    return element in PLACES


TARGETS: dict[str, Target | None] = {
    f"{case['id']}-{element}": find_target(case, element)
    for case in CASES
    for element in case["parsed"]
    if is_chosen(case, element)
}

# Texts without a place for a hostile value (patterns for `case-element`), and why.
PLACELESS: dict[str, str] = {
    r"delivery\.status-17-next_queue_id": "local's own `forwarded as ID`",
    r"trap-raw-address-own-11-next_queue_id": "local's own `forwarded as ID`",
    r"smtp\.peer_warn-2-reason": "a domain in a sentence of Postfix's own, to its end",
    r"smtpd\.action-own-1-reason": "an empty reason",
}

# Values that the log leaves undecidable: in which `case-element`, which values (patterns), and why no parser can tell.
UNDECIDABLE: list[tuple[str, str, str]] = [
    (
        r"^smtpd\.action-own-sasl-sender-reason$",
        r";",
        "a context that nobody can tell from a text is left in the text; with nothing of it left, it ends differently",
    ),
    (
        r"-sasl_(?:sender|method)$",
        r'["<\\]',
        "a word of an SMTP command that is quoted can hold blanks, and so all that is logged behind it: see smtpd.py",
    ),
    (
        r"^trap-raw-address-own-15-sasl_username$",
        r"; from=<|; to=<|; proto=| helo=<|> proto=",
        "an address without quotes (Postfix <= 3.4), whose end a user's name with a part of a context has, too",
    ),
    (
        r"^trap-rule-text-cleanup-own-1-",
        r"; from=<",
        "a rule's text that holds the end of a quoted address: all but the check's action and class is left out",
    ),
    (
        r"^(?:smtpd\.client|trap-raw-sasl-user).*-sasl_username$",
        r", (?:sasl_sender|orig_queue_id|orig_client)=",
        "a user's name is logged raw: it may end like the elements behind it",
    ),
    (
        r"^(?:smtpd\.client|trap-raw-sasl-user).*-sasl_(?:username|sender)$",
        r",\s?$",
        "what ends with the beginning of the next mark, as a line does that was cut there",
    ),
    (
        r"^(?:smtpd\.action|trap-raw-sasl-user).*-sasl_username$",
        r" $",
        "the same in a reject's context",
    ),
    (
        r"^smtpd\.action-.*-sasl_username$",
        r" sasl_sender=",
        "a user's name is logged raw: it may end like the element behind it",
    ),
    (
        r"^(?:smtpd\.action|trap-raw-sasl-user).*-sasl_username$",
        r"; from=<.* proto=",
        "a user whose login name is a whole context: see context.py",
    ),
]


def values(name: str, target: Target) -> Iterator[str]:
    """Give more than enough hostile values for an element, the same ones in every run; no line of them is cut."""
    rng = random.Random(zlib.crc32(name.encode()))
    logged = PLACES[target.element].logged
    if target.element == "helo" and target.case["parsed"]["component"] == "postscreen":
        logged = masked  # which neuters nothing
    for raw in itertools.islice(raw_texts(rng), 3 * VALUES):
        value = logged(raw, rng)
        if not tokens.is_cut(target.line(value)):
            yield value


def test_every_chosen_text_has_a_place() -> None:
    placeless = {name for name, target in TARGETS.items() if target is None}
    assert placeless == {name for pattern in PLACELESS for name in TARGETS if re.fullmatch(pattern, name)}


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target is not None])
def test_no_value_changes_another_element(name: str) -> None:
    target = TARGETS[name]
    assert target is not None
    undecidable = [pattern for targets, pattern, _ in UNDECIDABLE if re.search(targets, name)]
    tried = 0
    for value in values(name, target):
        if any(re.search(pattern, value) for pattern in undecidable):
            continue
        parsed, expected = read(target, value)
        assert parsed == expected, target.line(value)
        tried += 1
        if tried == VALUES:
            return
    pytest.fail(f"{tried} values only")


@pytest.mark.parametrize(("targets", "pattern"), [item[:2] for item in UNDECIDABLE])
def test_what_is_listed_as_undecidable_is_that(targets: str, pattern: str) -> None:
    """Some value of each kind does make another element wrong, or one missing."""
    for name, target in TARGETS.items():
        if target is not None and re.search(targets, name):
            for value in values(name, target):
                if re.search(pattern, value):
                    parsed, expected = read(target, value)
                    if parsed != expected:
                        return
    pytest.fail("no value is undecidable")
