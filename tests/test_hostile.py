"""Text that others choose stays text: whatever stands in one element of a line, no other element changes.

Each situation builds the line as Postfix writes it (quoting of local parts, masking of HELO names and control bytes,
limits of header checks), once with a harmless text and once with a hostile one, and compares all other elements.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from journal_postfix.parse import context, parse, tokens
from journal_postfix.programs import PROGRAMS

Transform = Callable[[str], str]

# ------------------------------------------------------------------------------- what Postfix does to a text it logs


def masked(text: str) -> str:
    """printable(): each control character becomes `?`."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)


def quoted(local: str) -> str:
    """quote_822_local(): a local part that is no dot-atom goes into double quotes."""
    if re.fullmatch(r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+(?:\.[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+)*", local):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


def address(text: str) -> str:
    """An envelope address whose local part is `text`, as logged since Postfix 3.5."""
    return masked(f"{quoted(text)}@sender.example")


def unmasked_address(text: str) -> str:
    """The same by a Postfix (or a relay of its log) that lets control characters through."""
    return f"{quoted(text)}@sender.example"


def neutered(text: str) -> str:
    """NEUTER_CHARACTERS: what smtpd does to HELO names."""
    return re.sub(r'[ <>()\\";@\x00-\x1f\x7f]', "?", text)


def header_text(text: str) -> str:
    """A header in a check's log line: 200 bytes."""
    return masked(text)[:200]


def reply_text(text: str) -> str:
    """A reply that smtpd logs: control characters are blanks, 510 bytes."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text)[:510]


def same(text: str) -> str:
    """Raw text, for what nobody masked."""
    return text


# ---------------------------------------------------------------------------------------------------- the situations


class Situation(NamedTuple):
    """Where a text stands: `line` has `{}` in its place, `elements` may show it, `logged` is how Postfix writes it."""

    name: str
    identifier: str
    line: str
    elements: dict[str, str]
    logged: Transform


def situation(name: str, identifier: str, line: str, logged: Transform, **elements: str) -> Situation:
    """Take the elements that may show the text, each as a template of its own."""
    return Situation(name, f"postfix/{identifier}", line, elements, logged)


_CTX = "from=<a@client.example> to=<b@sink.example> proto=ESMTP helo=<client.example>"
_TO_END = "delay=1.9, delays=0.09/0.02/0.64/1.1, dsn=2.0.0, status=sent (250 2.0.0 Ok)"
_RELAY = "relay=mx.example.net[192.0.2.25]:25"
_REJECT = "NOQUEUE: reject: RCPT from unknown[192.0.2.66]: 554 5.7.1"

HELO = [
    situation(
        "reject",
        "smtpd",
        f"{_REJECT} <b@sink.example>: Relay access denied; from=<a@x.example> to=<b@sink.example> proto=SMTP"
        " helo=<{}>",
        neutered,
        helo="{}",
    ),
    situation(
        "reject at helo",
        "smtpd",
        "NOQUEUE: reject: EHLO from unknown[192.0.2.66]: 450 4.7.1 <{0}>: Helo command rejected: Host not found;"
        " proto=ESMTP helo=<{0}>",
        neutered,
        helo="{}",
        reason="<{}>: Helo command rejected: Host not found",
    ),
    situation(
        "milter",
        "cleanup",
        "1B43A216967: milter-reject: END-OF-MESSAGE from unknown[192.0.2.66]: 5.7.1 Spam; from=<a@x.example>"
        " to=<b@sink.example> proto=ESMTP helo=<{}>",
        neutered,
        helo="{}",
    ),
    situation(
        "header check",
        "cleanup",
        "1B43A216967: hold: header Subject: x from unknown[192.0.2.66]; from=<a@x.example> to=<b@sink.example>"
        " proto=ESMTP helo=<{}>: a rule's text",
        neutered,
        helo="{}",
    ),
    situation(
        "postscreen",
        "postscreen",
        "NOQUEUE: reject: RCPT from [203.0.113.5]:4711: 550 5.7.1 Service unavailable; client [203.0.113.5] blocked"
        " using dnsbl.example; from=<a@x.example>, to=<b@sink.example>, proto=ESMTP, helo=<{}>",
        masked,
        helo="{}",
    ),
]

SENDER = [
    situation("active", "qmgr", "B2335216943: from=<{}>, size=277, nrcpt=2 (queue active)", address, sender="{}"),
    situation("expired", "qmgr", "B2335216943: from=<{}>, status=expired, returned to sender", address, sender="{}"),
    situation("pickup", "pickup", "B2335216943: uid=33 from=<{}> orig_id=B0531216941", address, sender="{}"),
    situation(
        "reject",
        "smtpd",
        f"{_REJECT} <b@sink.example>: Relay access denied; from=<{{}}> to=<b@sink.example> proto=SMTP helo=<h>",
        address,
        sender="{}",
    ),
    situation(
        "reject of a sender with a user",
        "submission/smtpd",
        "NOQUEUE: reject: MAIL from unknown[192.0.2.66]: 553 5.7.1 <{0}>: Sender address rejected: not owned by user"
        " bob; from=<{0}> proto=ESMTP helo=<h> sasl_method=PLAIN sasl_username=bob",
        address,
        sender="{}",
        reason="<{}>: Sender address rejected: not owned by user bob",
    ),
    situation(
        "header check",
        "cleanup",
        "B2335216943: warning: header Subject: x from localhost[127.0.0.1]; from=<{}> to=<b@sink.example> proto=ESMTP"
        " helo=<h>: a rule's text",
        address,
        sender="{}",
    ),
    situation(
        "header check of local mail",
        "cleanup",
        "B2335216943: reject: header Subject: x from local; from=<{}> to=<b@sink.example>: 5.7.1 no",
        address,
        sender="{}",
    ),
    situation(
        "proxy",
        "smtpd",
        "proxy-reject: END-OF-MESSAGE: 550 5.7.1 no; from=<{}> proto=SMTP helo=<h>",
        address,
        sender="{}",
    ),
]

RECIPIENT = [
    situation("delivery", "smtp", f"3C2B41E5F0: to=<{{}}>, {_RELAY}, {_TO_END}", address, recipient="{}"),
    situation(
        "delivery, unmasked", "smtp", f"3C2B41E5F0: to=<{{}}>, {_RELAY}, {_TO_END}", unmasked_address, recipient="{}"
    ),
    situation(
        "delivery of an alias",
        "virtual",
        f"3C2B41E5F0: to=<b@sink.example>, orig_to=<{{}}>, relay=virtual, {_TO_END}",
        address,
        orig_to="{}",
    ),
    situation(
        "delivery, named twice",
        "local",
        "3C2B41E5F0: to=<{0}>, orig_to=<{0}>, relay=local, delay=0, delays=0/0/0/0, dsn=5.1.1, status=bounced"
        ' (unknown user: "{0}")',
        address,
        recipient="{}",
        orig_to="{}",
        response='unknown user: "{}"',
    ),
    situation("pass", "local", "2B1A32169B0: passing <{}> to transport=lda", address, recipient="{}"),
    situation(
        "reject",
        "smtpd",
        f"{_REJECT} <{{0}}>: Relay access denied; from=<a@x.example> to=<{{0}}> proto=SMTP helo=<h>",
        address,
        recipient="{}",
        reason="<{}>: Relay access denied",
    ),
    situation(
        "reject after a hostile sender",
        "smtpd",
        f"{_REJECT} <b>: no; from=<{quoted('; from=<x> to=<')}@x.example> to=<{{}}> proto=SMTP helo=<h>",
        address,
        recipient="{}",
    ),
    situation(
        "header check",
        "cleanup",
        "B2335216943: hold: header Subject: x from localhost[127.0.0.1]; from=<a@x.example> to=<{}> proto=ESMTP"
        " helo=<h>: a rule's text",
        address,
        recipient="{}",
    ),
]

SUBJECT = [
    situation(
        "header check",
        "cleanup",
        f"958182169C4: warning: header Subject: {{}} from localhost[127.0.0.1]; {_CTX}: a rule's text",
        header_text,
        header="Subject: {}",
        subject="{}",
    ),
    situation(
        "header check without text",
        "cleanup",
        f"958182169C4: info: header Subject: {{}} from localhost[127.0.0.1]; {_CTX}",
        header_text,
        header="Subject: {}",
        subject="{}",
    ),
    situation(
        "header check of local mail",
        "cleanup",
        "958182169C4: reject: header Subject: {} from local; from=<root> to=<b@sink.example>: 5.7.1 no",
        header_text,
        header="Subject: {}",
        subject="{}",
    ),
    situation(
        "body check",
        "cleanup",
        f"958182169C4: warning: body {{}} from localhost[127.0.0.1]; {_CTX}: a rule's text",
        header_text,
        header="{}",
    ),
    situation(
        "milter's header check",
        "cleanup",
        f"958182169C4: milter-header-hold: header X: {{}} from localhost[127.0.0.1]; {_CTX}: a rule's text",
        header_text,
        header="X: {}",
    ),
    situation(
        "mime error",
        "cleanup",
        "958182169C4: reject: mime-error nesting: {} from localhost[127.0.0.1]; from=<a@x.example> to=<b@sink.example>",
        header_text,
        header="{}",
    ),
    situation("message id", "cleanup", "958182169C4: message-id={}", masked, message_id="{}"),
]

SASL_USER = [
    situation(
        "client",
        "submission/smtpd",
        "D340C216971: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username={}",
        masked,
        sasl_username="{}",
    ),
    situation(
        "client with more behind it",
        "submission/smtpd",
        "D340C216971: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username={}, sasl_sender=x@y.example,"
        " orig_queue_id=B2335216943, orig_client=unknown[192.0.2.66]",
        masked,
        sasl_username="{}",
    ),
    situation(
        "failure",
        "smtpd",
        "warning: unknown[192.0.2.66]: SASL LOGIN authentication failed: authentication failure, sasl_username={}",
        lambda text: masked(text)[:100],
        sasl_username="{}",
    ),
    situation(
        "proxy",
        "smtpd",
        f"proxy-reject: END-OF-MESSAGE: 550 5.7.1 no; {_CTX} sasl_username=<{{}}>",
        masked,
        sasl_username="{}",
    ),
    situation(
        "reject",
        "submission/smtpd",
        f"{_REJECT} <b@sink.example>: Relay access denied; {_CTX} sasl_method=PLAIN sasl_username={{}}",
        masked,
        sasl_username="{}",
    ),
]

REMOTE_REPLY = [
    situation(
        "sent",
        "smtp",
        f"3C2B41E5F0: to=<b@sink.example>, {_RELAY}, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 {{}})",
        masked,
        response="250 {}",
    ),
    situation(
        "sent, unmasked",
        "lmtp",
        "3C2B41E5F0: to=<b@sink.example>, relay=mx.example.org[private/lmtp], delay=1, delays=0/0/0/1, dsn=2.0.0,"
        " status=sent (250 {})",
        same,
        response="250 {}",
    ),
    situation(
        "deferred",
        "smtp",
        f"3C2B41E5F0: to=<b@sink.example>, {_RELAY}, delay=1, delays=0/0/0/1, dsn=4.2.0, status=deferred (host"
        " mx.example.net[192.0.2.25] said: 450 4.2.0 {} (in reply to RCPT TO command))",
        masked,
        response="host mx.example.net[192.0.2.25] said: 450 4.2.0 {} (in reply to RCPT TO command)",
    ),
    situation(
        "command output",
        "pipe",
        "3C2B41E5F0: to=<b@sink.example>, relay=lda, delay=1, delays=0/0/0/1, dsn=4.3.0, status=deferred (temporary"
        " failure. Command output: {} )",
        masked,
        response="temporary failure. Command output: {} ",
    ),
    situation(
        "next server",
        "smtp",
        "CEE5421693E: host mx.example.net[192.0.2.25] said: 450 {} (in reply to RCPT TO command)",
        masked,
        response="host mx.example.net[192.0.2.25] said: 450 {} (in reply to RCPT TO command)",
    ),
    situation(
        "address verification",
        "smtpd",
        "EDEAC2169D0: reject: RCPT from localhost[127.0.0.1]: 450 4.1.1 <b@sink.example>: Recipient address rejected:"
        f" unverified address: host mx.example.net[192.0.2.25] said: 550 {{}}; {_CTX}",
        reply_text,
        reason="<b@sink.example>: Recipient address rejected: unverified address: host mx.example.net[192.0.2.25] said:"
        " 550 {}",
    ),
    situation(
        "address verification at connect",
        "smtpd",
        "NOQUEUE: reject: CONNECT from localhost[127.0.0.1]: 450 4.1.1 {}; proto=SMTP",
        reply_text,
        reason="{}",
    ),
    situation(
        "milter",
        "cleanup",
        f"09604216966: milter-hold: END-OF-MESSAGE from localhost[127.0.0.1]: {{}}; {_CTX}",
        masked,
        reason="{}",
    ),
    situation(
        "proxy",
        "smtpd",
        f"proxy-reject: END-OF-MESSAGE: 550 5.7.1 {{}}; {_CTX} sasl_username=<bob>",
        masked,
        reason="{}",
    ),
]

ELEMENTS = {
    "helo": HELO,
    "sender": SENDER,
    "recipient": RECIPIENT,
    "subject": SUBJECT,
    "sasl user": SASL_USER,
    "remote reply": REMOTE_REPLY,
}

FAKE_CONTEXT = "; from=<x> to=<y> proto=SMTP helo=<z>"
PAYLOADS = {
    "status": ", status=sent (250 ok)",
    "status with bracket": "), status=sent (250 ok",
    "relay": ">, relay=x",
    "removed": ": removed",
    "double quote": '"',
    "two double quotes": '" "',
    "single quotes": "'''",
    "backslash": "\\",
    "backslash and quote": '\\"',
    "format": "%s%n%(x)s{0}",
    "sql": "'); DROP TABLE delivery_to; --",
    "html": "<script>alert(1)</script>",
    "terminal escape": "\x1b[2J\x1b]0;title\x07",
    "newline": "x\nB2335216943: removed",
    "carriage return": "x\r\ny",
    "line separator": "x\u2028y\u0085z",
    "nul": "x\x00y",
    "long": "x" * 2000,
    "parentheses": "(" * 2000,
    "brackets": "]>)" * 300,
    "surrogate": "caf\udce9",
    "replacement": "caf\ufffd",
    "other digits": "٣٤٥",
    "context": FAKE_CONTEXT,
    "context of a user": f"{FAKE_CONTEXT} sasl_method=PLAIN sasl_username=root",
    "open context": "; from=<x> to=<",
    "open quoted context": '; from=<x> to=<"',
    "many open contexts": "; to=<" * 200,
    "context of postscreen": "; from=<x>, to=<y>, proto=SMTP, helo=<z>",
    "end of a context": "> proto=SMTP helo=<z>",
    "next recipient": "> to=<victim@sink.example",
    "origin": " from evil[192.0.2.4]; from=<x> to=<y> proto=SMTP helo=<z>: fake",
    "open origin": ' from evil[192.0.2.4]; from=<"',
    "origin of local mail": " from local; from=<x> to=<y>: 5.7.1 fake",
    "status line": ", relay=fake[192.0.2.9]:25, delay=0, delays=0/0/0/0, dsn=5.0.0, status=bounced (fake)",
    "status line of an address": ">, relay=fake[192.0.2.9]:25, delay=0, delays=0/0/0/0, dsn=5.0.0, status=sent (fake)",
    "whole status line": "B2335216943: to=<x>, relay=none, delay=0, delays=0/0/0/0, dsn=5.0.0, status=bounced (fake)",
    "active line": ">, size=1, nrcpt=1 (queue active)",
    "user": ", sasl_username=root",
    "blank user": " sasl_method=PLAIN sasl_username=root",
    "severity": "warning: ",
    "notification": "sender non-delivery notification: B2335216943",
    "transport": "> to transport=fake",
    "requeued": "> orig_id=B2335216944",
}


def is_undecidable(element: str, name: str, text: str) -> bool:
    """Tell what no parser can: a reject line ends with the raw user name.

    One that ends with a whole context is one; one that ends with a blank may have been cut in front of `sasl_sender=`.
    """
    return element == "sasl user" and name == "reject" and (text.startswith(FAKE_CONTEXT) or text.endswith(" "))


CASES = [
    pytest.param(where, text, id=f"{element}, {where.name}: {payload}")
    for element, situations in ELEMENTS.items()
    for where in situations
    for payload, text in PAYLOADS.items()
    if not is_undecidable(element, where.name, text)
]


# What the context tells: a line that was cut may lack it.
CONTEXT = {"sender", "recipient", "proto", "helo", "sasl_method", "sasl_username", "sasl_sender"}


def without_context(parsed: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Give `expected` without those elements of its context that `parsed` lacks, and with the context in the reason."""
    rest = {name: value for name, value in expected.items() if name in parsed or name not in CONTEXT}
    if "reason" in parsed and parsed["reason"].startswith(f"{expected['reason']}; "):
        rest["reason"] = parsed["reason"]
    return rest


@pytest.mark.parametrize("prefix", ["", "x"])
@pytest.mark.parametrize(("where", "text"), CASES)
def test_no_other_element_changes(where: Situation, text: str, prefix: str) -> None:
    expected = parse(where.identifier, where.line.format(where.logged("harmless")))
    assert expected["action"] not in ("unknown", "trouble")
    logged = where.logged(prefix + text)
    for element, template in where.elements.items():
        assert expected[element] == template.format(where.logged("harmless"))
        expected[element] = template.format(logged)
    if "subject" in expected:
        expected["subject"] = expected["subject"].lstrip(" ")
    line = where.line.format(logged)
    parsed = parse(where.identifier, line)
    if tokens.is_cut(line) and "reject_stage" in expected:
        expected = without_context(parsed, expected)
    assert parsed == expected


def test_a_login_name_with_a_whole_context_is_the_known_limit() -> None:
    """The last context wins. Only somebody whose account has such a name gets here; nothing of the text is lost."""
    line = f"{_REJECT} <b>: no; {_CTX} sasl_method=PLAIN sasl_username=root{FAKE_CONTEXT}"
    parsed = parse("postfix/smtpd", line)
    assert (parsed["sender"], parsed["recipient"], parsed["helo"]) == ("x", "y", "z")
    assert parsed["reason"] == f"<b>: no; {_CTX} sasl_method=PLAIN sasl_username=root"
    assert (parsed["action"], parsed["client_ip"], parsed["smtp_code"]) == ("reject", "192.0.2.66", 554)


@pytest.mark.parametrize("where", [item for item in REMOTE_REPLY if "status=" in item.line], ids=lambda item: item.name)
def test_a_status_line_that_was_cut_keeps_its_elements(where: Situation) -> None:
    """Postfix cuts at 2000 bytes; whatever is left of the response is its beginning."""
    line = where.line.format("x" * 3000 + ", status=bounced (no)")
    whole = parse(where.identifier, line)
    response = whole.pop("response")
    for length in (1000, 2000):
        cut = parse(where.identifier, line[:length])
        assert response.startswith(cut.pop("response"))
        assert cut == whole


@pytest.mark.parametrize("user", ["", " sasl_method=PLAIN sasl_username=root"])
@pytest.mark.parametrize("end", [1990, 1995, 2000])
def test_a_cut_context_is_not_replaced_by_a_fake_one(user: str, end: int) -> None:
    """A long sender pushes the end of the real context over the cut; the reply of the sender's server stays a reply."""
    text = f"<b@sink.example>: Sender address rejected: unverified address: host x said: 550 no{FAKE_CONTEXT}{user}"
    line = f"{_REJECT} {text}; from=<{'a' * 2000}@x.example> to=<b@sink.example> proto=SMTP helo=<h>"[:end]
    parsed = parse("postfix/smtpd", line)
    assert parsed.keys() & {"sender", "recipient", "helo", "proto", "sasl_username"} == set()
    assert parsed["reason"].startswith(text)
    assert (parsed["action"], parsed["client_ip"], parsed["smtp_code"]) == ("reject", "192.0.2.66", 554)


def cut_behind(line: str) -> str:
    """Make `line`, which has `{}` in a long element's place, end at byte 2000."""
    return line.format("x" * (2000 - len(line) + len("{}")))


SMTPD_PREFIXES = [
    f"{_REJECT} <b@sink.example>: Relay access denied",
    "NOQUEUE: hold: RCPT from unknown[192.0.2.66]: a rule's text",
    "NOQUEUE: milter-reject: RCPT from unknown[192.0.2.66]: 550 5.7.1 Spam",
    "NOQUEUE: proxy-reject: END-OF-MESSAGE: 550 5.7.1 no",
]


@pytest.mark.parametrize("prefix", SMTPD_PREFIXES)
@pytest.mark.parametrize("user", ["", " sasl_method=PLAIN sasl_username=admin", " sasl_username=<admin>"])
def test_a_line_cut_behind_a_fake_context_has_none(prefix: str, user: str) -> None:
    """The sender is quoted, but the end of it is gone: what it holds looks like the end of the line."""
    parsed = parse("postfix/smtpd", cut_behind(f'{prefix}; from=<"{{}}{FAKE_CONTEXT}{user}'))
    assert parsed.keys() & CONTEXT == set()
    assert parsed["reject_stage"] in prefix


def test_a_milter_s_line_cut_behind_a_fake_context_has_none() -> None:
    prefix = "1B43A216967: milter-reject: END-OF-MESSAGE from unknown[192.0.2.66]: 5.7.1 Spam"
    line = cut_behind(f'{prefix}; from=<"{{}}{FAKE_CONTEXT}')
    assert parse("postfix/cleanup", line) == {
        "action": "milter-reject",
        "instance": "postfix",
        "component": "cleanup",
        "queue_id": "1B43A216967",
        "reject_stage": "END-OF-MESSAGE",
        "client_hostname": "unknown",
        "client_ip": "192.0.2.66",
        "dsn": "5.7.1",
        "reason": line.partition("5.7.1 ")[2],
    }


def test_a_cut_context_lacks_what_may_be_shortened() -> None:
    """Whether the user is `bob` or `bobby`, and whether there is a HELO name, cannot be told."""
    line = f"{_REJECT} <b>: no; from=<{{}}@x.example> to=<b@sink.example> proto=ESMTP helo=<h> sasl_method=PLAIN"
    expected = {
        "action": "reject",
        "instance": "postfix",
        "component": "smtpd",
        "queue_id": "NOQUEUE",
        "reject_stage": "RCPT",
        "client_hostname": "unknown",
        "client_ip": "192.0.2.66",
        "smtp_code": 554,
        "dsn": "5.7.1",
        "reason": "<b>: no",
        "recipient": "b@sink.example",
    }
    for end in (" sasl_username=bob", "", " sasl_username=bob sasl_sender=x"):
        parsed = parse("postfix/smtpd", cut_behind(line + end))
        assert parsed.pop("sender").startswith("xxx")
        assert parsed == expected | {"proto": "ESMTP", "helo": "h"}
    parsed = parse("postfix/smtpd", cut_behind(line.partition(" helo=")[0]))
    assert parsed.pop("sender").startswith("xxx")
    assert parsed == expected


CUT_CHECK = {"action": "reject", "instance": "postfix", "component": "cleanup", "queue_id": "B2335216943"}


@pytest.mark.parametrize("rule_text", ["", ": 5.7.1 fake"])
def test_a_cut_origin_is_not_replaced_by_a_fake_one(rule_text: str) -> None:
    header = f"Subject: x from evil[192.0.2.4]; from=<x> to=<y>{rule_text}"
    line = f"B2335216943: reject: header {header} from unknown[192.0.2.66]; from=<{'a' * 2000}@x.example> to=<b>"[:2000]
    assert parse("postfix/cleanup", line) == CUT_CHECK | {"class": "header"}


@pytest.mark.parametrize("fake", [FAKE_CONTEXT, f"{FAKE_CONTEXT}: ", "; from=<q>", "; from=<q>: "])
def test_a_fake_origin_in_the_sender_of_a_cut_line_is_none(fake: str) -> None:
    line = f'B2335216943: reject: header Subject: t from unknown[192.0.2.66]; from=<"x from evil[203.0.113.66]{fake}'
    if fake.endswith(": "):
        line += "t" * (2000 - len(line))
    else:
        line = cut_behind(line.replace('<"x', '<"{}'))
    assert parse("postfix/cleanup", line) == CUT_CHECK | {"class": "header"}


def test_an_origin_stays_in_a_line_whose_context_was_cut() -> None:
    line = f"B2335216943: reject: header Subject: t from unknown[192.0.2.66]; from=<{'a' * 2000}"[:2000]
    expected = CUT_CHECK | {
        "class": "header",
        "header": "Subject: t",
        "subject": "t",
        "origin": "unknown[192.0.2.66]",
        "client_hostname": "unknown",
        "client_ip": "192.0.2.66",
    }
    assert parse("postfix/cleanup", line) == expected
    line = "B2335216943: reject: header Subject: t from unknown[192.0.2.66]; from=<{}@x.example> to=<b> proto=ESMT"
    parsed = parse("postfix/cleanup", cut_behind(line))
    assert parsed.pop("sender").startswith("xxx")
    assert parsed == expected | {"recipient": "b"}


def test_a_cut_mime_error_has_no_fake_origin() -> None:
    line = 'B2335216943: reject: mime-error nesting: a from local; from=<"{} from evil[203.0.113.66]; from=<q> to=<r>'
    assert parse("postfix/cleanup", cut_behind(line)) == CUT_CHECK | {"action": "mime_error", "reason": "nesting"}


@pytest.mark.parametrize(
    ("component", "line"),
    [
        ("qmgr", 'from=<"{}>, size=1, nrcpt=1 (queue active)'),
        ("qmgr", 'from=<"{}>, status=expired, returned to sender'),
        ("pickup", 'uid=1000 from=<"{}>'),
        ("pickup", 'uid=1000 from=<"{}> orig_id=B0531216941'),
        ("local", 'passing <"{}> to transport=fake'),
        ("smtp", f'to=<"{{}}>, {_RELAY}, {_TO_END}'),
        ("local", f'to=<"{{}}>, orig_to=<"x>, {_RELAY}, {_TO_END}'),
        ("error", f'to=<"{{}}>, {_RELAY}, {_TO_END}'),
        ("smtp", f"to=<a@[{{}}>, {_RELAY}, {_TO_END}"),
        ("error", f"to=<a@{{}}>, {_RELAY}, {_TO_END}"),
    ],
)
def test_a_cut_address_is_not_read_as_an_unquoted_one(component: str, line: str) -> None:
    """Neither its closing quote nor the rest of the line is left."""
    assert parse(f"postfix/{component}", cut_behind(f"B2335216943: {line}")) == {
        "action": "unknown",
        "instance": "postfix",
        "component": component,
        "queue_id": "B2335216943",
    }


@pytest.mark.parametrize("end", ["", ">"])
def test_a_cut_context_of_postscreen_is_not_replaced_by_a_fake_one(end: str) -> None:
    expected = {
        "action": "reject_rcpt",
        "instance": "postfix",
        "component": "postscreen",
        "queue_id": "NOQUEUE",
        "reject_stage": "RCPT",
        "client_ip": "203.0.113.5",
        "client_port": 4711,
        "smtp_code": 550,
        "dsn": "5.7.1",
    }
    prefix = "NOQUEUE: reject: RCPT from [203.0.113.5]:4711: 550 5.7.1 x"
    line = cut_behind(f'{prefix}; from=<"{{}}>, to=<fake@d.example>, proto=SMTP, helo=<evil{end}')
    assert parse("postfix/postscreen", line) == expected | {"reason": line.partition("5.7.1 ")[2]}
    parsed = parse("postfix/postscreen", cut_behind(f"{prefix}; from=<a>, to=<b>, proto=SMTP, helo=<{{}}"))
    assert parsed == expected | {"reason": "x", "sender": "a", "recipient": "b", "proto": "SMTP"}


def test_an_unquoted_address_with_a_context_of_a_user_is_the_known_limit() -> None:
    """Postfix <= 3.4: the same line would be a newer one's about a user whose name holds the end of a context."""
    address = f"x{FAKE_CONTEXT} sasl_method=a sasl_username=b@d.example"
    line = f"{_REJECT} <{address}>: Relay access denied; from=<s@x.example> to=<{address}> proto=ESMTP helo=<real>"
    parsed = parse("postfix/smtpd", line)
    assert (parsed["sender"], parsed["recipient"], parsed["helo"]) == ("x", "y", "z")
    assert parsed["sasl_username"] == "b@d.example> proto=ESMTP helo=<real>"
    assert (parsed["action"], parsed["client_ip"], parsed["smtp_code"]) == ("reject", "192.0.2.66", 554)


# ------------------------------------------------------------------------------------------------------ bounded work

_UNITS = [
    "(", "[", "<", '"', "\\", " ", ": ", "; ", ", ", "=", "a", "0", "A", "\n", "?",
    "; from=<", '; from=<"', FAKE_CONTEXT, "; from=<a>, to=<b>, proto=SMTP, helo=<", " from a[b]; from=<c> to=<d>: ",
    ">, relay=", ">, orig_to=<", "> proto=", " helo=<", "> to=<", ", sasl_sender=", "queued as ", ' lookup error for "',
    " -- ", " while ", "... from ", "a=1 ", '"@', "@a>", ">, relay=none, ", "@a>, to=<", ' from local; from=<"',
]  # fmt: skip
_HEADS = [
    "", "B2335216943: ", "NOQUEUE: ", "warning: ", "warning: B2335216943: ", "to=<", "B2335216943: to=<",
    'B2335216943: to=<"', f"B2335216943: to=<a@b>, {_RELAY}, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (",
    "B2335216943: from=<", "B2335216943: uid=0 from=<", "B2335216943: message-id=", "connect from ",
    "disconnect from a[192.0.2.1] ", "NOQUEUE: client=", "NOQUEUE: client=a[192.0.2.1], sasl_method=X, sasl_username=",
    "NOQUEUE: reject: RCPT from a[192.0.2.1]: ", "NOQUEUE: reject: RCPT from a[192.0.2.1]: x; from=<",
    "NOQUEUE: reject: RCPT from [192.0.2.1]:1: ", "B2335216943: reject: header ", "B2335216943: reject: mime-error x: ",
    "proxy-accept: END-OF-MESSAGE: ", "warning: a[192.0.2.1]: SASL X authentication failed: ", "warning: x:",
    "B2335216943: passing <", "B2335216943: host ", "statistics: max connection rate 1/60s for (",
    "Anonymous TLS connection established from ", "warning: sender notification failed to ", 'warning: service "',
    "warning: recipient ", "B2335216943: to=<a@[",
    "NOQUEUE: reject: RCPT from [192.0.2.1]:1: 550 x; from=<a@", 'B2335216943: hold: header x from local; from=<"',
]  # fmt: skip


@pytest.mark.parametrize(("size", "bound"), [(65536, 0.05), (1985, 0.02)], ids=["64 KiB", "not cut"])
@pytest.mark.parametrize("component", sorted(PROGRAMS))
def test_a_line_takes_bounded_time(component: str, size: int, bound: float) -> None:
    """A generous bound for a noisy machine: the best of several runs; the slowest lines take some 15 and 1 ms.

    Contexts are searched for in a line that was not cut only.
    """
    identifier = f"postfix/{component}"
    for head in _HEADS:
        for unit in _UNITS:
            line = (head + unit * (size // len(unit) + 1))[:size]
            elapsed = 1.0
            for _ in range(5):
                start = time.perf_counter()
                parse(identifier, line)
                elapsed = min(elapsed, time.perf_counter() - start)
                if elapsed < bound:
                    break
            assert elapsed < bound, (head, unit, elapsed)


class _Counted:
    """A pattern that counts how often it is tried."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.tries = 0

    def fullmatch(self, *arguments: Any) -> re.Match[str] | None:
        self.tries += 1
        return self.pattern.fullmatch(*arguments)


@pytest.mark.parametrize(
    ("name", "line", "unit"),
    [
        ("_CONTEXT", "NOQUEUE: reject: RCPT from a[192.0.2.1]: {}", FAKE_CONTEXT + "<"),
        ("_ACTION_CONTEXT", "B2335216943: reject: header {}", " from a[b]; from=<c> to=<d> helo=<"),
    ],
)
def test_candidates_of_a_context_are_bounded(monkeypatch: pytest.MonkeyPatch, name: str, line: str, unit: str) -> None:
    counted = _Counted(getattr(context, name))
    monkeypatch.setattr(context, name, counted)
    for size in (1_900, 2_000, 65_536, 262_144):
        counted.tries = 0
        parse("postfix/smtpd" if "RCPT" in line else "postfix/cleanup", line.format(unit * (size // len(unit))))
        # A line that was cut is read in one place or not at all.
        assert 0 < counted.tries <= 1 + 2 * (size // len(unit)) if size < 2_000 else counted.tries == 0
