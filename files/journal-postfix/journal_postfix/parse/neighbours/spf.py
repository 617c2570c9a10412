r"""The SPF policy servers for Postfix, in Python and in Perl.

Takes nothing, gives `ENTRIES`. Sources: postfix-policyd-spf-python 2.9/3.0, main in spf_engine/policyd_spf.py and
_spfcheck in spf_engine/__init__.py (`QID: prepend HEADER`; a queue id stands there only from DATA on, and all values
are in lower case); postfix-policyd-spf-perl 2.011 (`Policy action=ANSWER`, logged as postfix/policy-spf), whose
header is made by Mail::SPF::Result::received_spf_header.

The explanation in parentheses can come from the sender's DNS, HELO name and sender come from the client. The result
stands before them. The rest is taken only where its marks are there once; in Perl's line values are quoted.
"""

from __future__ import annotations

import re

from ..grammar import Fields, entry, named
from ..tokens import DSN, compiled, only_place

_COMPONENT = "policyd-spf"

_PYTHON = compiled(
    r"(?:identity=(?P<identity>helo|mailfrom); )?client-ip=(?P<client_ip>[0-9A-Fa-f.:]+); "
    r"helo=(?P<helo>.*); envelope-from=(?P<sender>.*); receiver=(?P<receiver>[^;() ]*)\)? ?\Z"
)
_MARKS = ("client-ip=", "; helo=", "; envelope-from=", "; receiver=")
_VALUE = r'(?:[^ ;"\\]+|"(?:[^"\\]|\\.)*")'
_PERL = compiled(
    rf"\) receiver={_VALUE}; identity=(?P<identity>helo|mailfrom); (?:helo|envelope-from)={_VALUE}"
    rf"(?:; helo={_VALUE})?; client-ip=(?P<client_ip>{_VALUE})"
)
_END_OF_EXPLANATION = compiled(r"\) receiver=")
_PERL_NAMES = compiled(rf"; (envelope-from|helo)=({_VALUE})(?=; )")


def _prepended(fields: Fields, match: re.Match[str]) -> bool:
    """Convert the header of policyd-spf-python, or what it says at debugLevel 2."""
    rest = match[match.re.groups]
    result = next((word for word in match.groups()[:-1] if word is not None), None)
    if result is not None:
        fields["result"] = result.lower()
    if all(rest.count(mark) == 1 for mark in _MARKS):
        elements = _PYTHON.search(rest)
        if elements is not None:
            for name, value in elements.groupdict().items():
                if value and (name != "receiver" or value.lower() not in ("<unknown>", "none")):
                    fields[name] = "" if name == "sender" and value == "<>" else value
    return True


def _answered(fields: Fields, match: re.Match[str]) -> bool:
    """Convert the header of policyd-spf-perl."""
    result, rest = match.groups()
    fields["result"] = result
    at = only_place(_END_OF_EXPLANATION, rest)
    elements = None if at is None else _PERL.fullmatch(rest, at)
    if elements is not None:
        fields["identity"] = elements["identity"]
        fields["client_ip"] = _unquoted(elements["client_ip"])
        for name, value in _PERL_NAMES.findall(rest, elements.end("identity")):
            fields["helo" if name == "helo" else "sender"] = _unquoted(value)
    return True


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL) if value.startswith('"') else value


ENTRIES = (
    entry(
        "spf.spf",
        _COMPONENT,
        "prepend Header",
        r"(?:prepend|Header field not prepended:) "
        r"(?:Received-SPF: ([A-Z][a-z]+) |Authentication-Results: [^;]*; spf=([a-z]+) )?"
        r"(.*)",
        _prepended,
        queue_id=None,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "Pass Fail Softfail Neutral None Temperror Permerror",
        r"([A-Z][a-z]+); (identity=.*)",
        _prepended,
        queue_id=None,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "",
        rf"(4[0-9][0-9]|5[0-9][0-9])(?: {DSN})? (.*)",
        named("smtp_code:int", "dsn", "reason"),
        queue_id=None,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "defer_if_permit",
        rf"(defer_if_permit)(?: {DSN})? (.*)",
        named("verdict", "dsn", "reason"),
        queue_id=None,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "Policy",
        r"Policy action=PREPEND Received-SPF: ([a-z]+) (.*)",
        _answered,
        queue_id=False,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "Policy",
        rf"Policy action=(4[0-9][0-9]|5[0-9][0-9])(?: {DSN})? (.*)",
        named("smtp_code:int", "dsn", "reason"),
        queue_id=False,
    ),
    entry(
        "spf.spf",
        _COMPONENT,
        "Policy",
        r"Policy action=(DEFER_IF_PERMIT) (.*)",
        named("verdict", "reason"),
        queue_id=False,
    ),
)
