"""Lines that were cut: whatever byte a line of the corpus ends at, it has no element that is wrong.

Postfix cuts its own lines at 2000 bytes; syslog daemons cut at 1024 bytes (RFC 3164) or 8 KiB; a full disk and a killed
daemon cut anywhere. Each case compares the elements of the beginning of a line with those of the whole line: an element
is the same or missing, unless the table below says how else it may be, and why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from journal_postfix.extract import extract_delivery
from journal_postfix.parse import parse

CORPUS = Path(__file__).resolve().parent / "corpus"
CASES: list[dict[str, Any]] = [
    case for path in sorted(CORPUS.glob("*.yaml")) for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]

# Text to the end of the line, for people to read: its beginning is better than nothing. Empty: in every line.
TEXTS: dict[str, set[str]] = {
    "reason": set(),
    "response": set(),
    "text": set(),
    "header": {"checks"},
    "message_id": set(),
    "resent_message_id": set(),
    "sasl_username": set(),
    "tls_details": set(),
    "key": {"error"},
    "local_part": {"extension"},
    "path": {"corrupt"},
    "configuration": {"life"},
    "event": {"life"},
    "phase": {"psc_hangup"},
    "result": {"listed"},
    "reject_stage": {"end"},
    "limit_service": {"rate_limit"},
    "failure_type": {"tlsrpt"},
    "peer": {"session"},
    "transport": {"pass_transport"},
}

# What stands at the end of a line without any mark behind it: the beginning of a port is a port, and that of a queue id
# one of another file. Postfix writes no such line longer than some 300 bytes, but for the long addresses and user names
# that some have: no syslog daemon cuts it there. The cut line has to end with the value.
BARE_ENDS: dict[str, set[str]] = {
    "client_port": {"connect", "client", "disconnect", "session", "command", "dnsbl", "listed", "pass", "veto"},
    "relay_port": {"session", "pix", "tlsrpt"},
    "server_port": {"connect"},
    "bounce_queue_id": {"notification"},
    "orig_queue_id": {"uid", "client"},
    "queue_id": {"corrupt", "fatal"},
    "orig_client": {"client"},
    "sasl_sender": {"client", "reject"},
    "client_ip": {"hostname_mismatch"},
    "recipient": {"notification_failed", "postmaster_notice_failed"},
}

# Lines whose beginning is as whole as they are, because somebody wrote the end of a line into an address or a text:
# where (a pattern for the cut line) and why no parser can tell.
_REAL_BEHIND_FAKE = "a text, an address or a user name that holds a whole context; the real one is behind the cut"
_INTERNAL = "an address in the internal form of Postfix <= 3.4 that holds the end of its line"
_BAD_DOMAIN = "a domain that is none, as sendmail(1) takes it, and that holds the end of its line"
_NO_LINE = "what makes the whole line none of Postfix's stands at its end"
WHOLE_BEGINNINGS: dict[str, tuple[str, str]] = {
    "smtpd.action-own-2": (r"; from=<x> to=<y> proto=SMTP(?: helo=<z>)?$", _REAL_BEHIND_FAKE),
    "smtpd.action-own-sasl-sender": (
        r"<x@y\.example> proto=ESMTP",
        "what cannot be told of the whole line is certain there",
    ),
    "trap-4-own-1": (r" proto=SMTP$", _REAL_BEHIND_FAKE),
    "trap-4-own-2": (r"; from=<x@y> to=<z> proto=SMTP", _REAL_BEHIND_FAKE),
    "trap-4-own-3": (r"; from=<root>(?: to=<c>(?:: .*)?)?$", _REAL_BEHIND_FAKE),
    "trap-4-own-5": (r' proto=SMTP(?: helo=<z>(?:: "@b\.example)?)?$|: [^ ]*$', _REAL_BEHIND_FAKE),
    "trap-quoted-address-cleanup-own-1": (r"; from=<q>", _REAL_BEHIND_FAKE),
    "trap-6-own-1": (r"helo=<x>.*>$|helo=<x>$", _REAL_BEHIND_FAKE),
    "trap-quoted-backslash-postscreen-own-3": (r"helo=<a>$", "a HELO name that holds the end of its line"),
    "trap-raw-address-own-13": (r" to transport=x", _INTERNAL),
    "trap-raw-address-own-14": (r"from=<a b>(?: orig_id=X)?$", _INTERNAL),
    "trap-bad-domain-cleanup-own-2": (r"from=<a@x>$", _BAD_DOMAIN),
    "trap-bad-domain-pickup-own-2": (r"from=<a@x>(?: orig_id=[0-9A-F]*)?$", _BAD_DOMAIN),
    "trap-bad-domain-qmgr-own-2": (r"\(queue active\)$", _BAD_DOMAIN),
    "trap-bad-domain-qmgr-own-3": (r"returned to sender$", _BAD_DOMAIN),
    "bounce.failed-own-4": (r" to a: b?", "an address without quotes, which has the end of the address in it"),
    "maps.error-own-1": (r" c:?$", "a key that has the end of the key in it"),
    "trap-newline-own-1": (r"removed$", _NO_LINE),
    "trap-newline-own-2": (r"removed$", _NO_LINE),
    "trap-absurd-number-own-1": (r"\](?: ehlo=[0-9]*)?", _NO_LINE),
    "trap-absurd-number-own-8": (r":[0-9]{1,5}$", _NO_LINE),
}


def beginnings(message: str) -> Iterator[str]:
    """Cut at every byte; the log file's reader puts U+FFFD for a character that was cut."""
    data = message.encode("utf-8")
    for end in range(len(data)):
        yield data[:end].decode("utf-8", "replace")


def trouble_texts(message: str) -> list[str]:
    """What stands behind the severity, with and without a queue id."""
    match = re.fullmatch(r"(?:\w+: )?((?:\w+: )?(.*))", message, re.DOTALL)
    assert match is not None
    return [match[1], match[2]]


def is_beginning(value: object, whole: object) -> bool:
    return str(whole).startswith(str(value).removesuffix("\ufffd"))


def wrong_elements(cut: str, parsed: dict[str, Any], case: dict[str, Any]) -> list[str]:
    """Name the elements that a cut line must not have."""
    whole = case["parsed"]
    action = parsed["action"]
    if action == "trouble":
        reason = parsed.pop("reason")
        wrong = [] if any(is_beginning(reason, text) for text in trouble_texts(case["message"])) else ["reason"]
    else:
        wrong = [] if action in (whole["action"], "unknown") else ["action"]
    for name, value in parsed.items():
        if name == "action" or (name in whole and value == whole[name]):
            continue
        if name in whole and is_beginning(value, whole[name]):
            if name in TEXTS and (not TEXTS[name] or action in TEXTS[name]):
                continue
            if action in BARE_ENDS.get(name, ()) and cut.endswith(str(value)):
                continue
        wrong.append(name)
    return wrong


POSTFIX_CASES = [case for case in CASES if "instance" in case["parsed"] or case["parsed"]["action"] == "foreign"]
NEIGHBOUR_CASES = [case for case in CASES if case not in POSTFIX_CASES]
# What alone joins a neighbour's line to a mail, and has to be whole. (A client's address does so only with the sender
# and the recipient behind it.)
JOINING = ("queue_id", "session")
# A whole result in a quoted address, in front of the real one, which is cut off.
NEIGHBOUR_FAKES = {"neighbour.amavis.scanned-6"}


@pytest.mark.parametrize("case", NEIGHBOUR_CASES, ids=[case["id"] for case in NEIGHBOUR_CASES])
def test_no_cut_of_a_neighbour_s_line_joins_it_to_another_mail(case: dict[str, Any]) -> None:
    for cut in beginnings(case["message"]):
        parsed = parse(case["identifier"], cut)
        wrong = [name for name in JOINING if name in parsed and parsed[name] != case["parsed"].get(name)]
        assert not wrong or case["id"] in NEIGHBOUR_FAKES, cut


@pytest.mark.parametrize("case", POSTFIX_CASES, ids=[case["id"] for case in POSTFIX_CASES])
def test_no_cut_makes_an_element_wrong(case: dict[str, Any]) -> None:
    pattern, _ = WHOLE_BEGINNINGS.get(case["id"], ("(?!)", ""))
    whole_beginnings = 0
    for cut in beginnings(case["message"]):
        parsed = parse(case["identifier"], cut)
        extract_delivery(parsed)  # must do with what is left
        wrong = wrong_elements(cut, parsed, case)
        if wrong and re.search(pattern, cut):
            whole_beginnings += 1
            continue
        assert not wrong, cut
    # What is listed as undecidable and is not must not be listed.
    assert bool(whole_beginnings) == (case["id"] in WHOLE_BEGINNINGS)
