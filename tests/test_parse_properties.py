"""Properties of the parser: total on any text, the inverse of writing a line, pure.

Invariant of everything below: `parse` gives a dict with `action`, and raises nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from journal_postfix.parse import ENTRIES, engine, parse
from journal_postfix.parse.engine import build_parser
from journal_postfix.programs import DEFAULT_IDENTIFIERS, PROGRAMS, identifier_map

CORPUS = Path(__file__).resolve().parent / "corpus"
CASES: list[dict[str, Any]] = [
    case for path in sorted(CORPUS.glob("*.yaml")) for case in yaml.safe_load(path.read_text(encoding="utf-8"))
]
COMPONENTS = sorted({case["identifier"].rpartition("/")[2] for case in CASES} | PROGRAMS)

# Surrogates too: bytes that are no UTF-8 arrive as these.
any_text = st.text(st.characters(exclude_categories=[]), max_size=300)
NEIGHBOURS = identifier_map(DEFAULT_IDENTIFIERS)
identifiers = st.one_of(
    st.sampled_from([f"postfix/{name}" for name in COMPONENTS]), st.sampled_from(sorted(NEIGHBOURS)), any_text
)
fragments = st.sampled_from(
    sorted({word + mark for case in CASES for mark in " ,:;=<>[]()" for word in case["message"].split(mark)})
)
patchwork = st.lists(st.one_of(fragments, any_text), max_size=12).map("".join)


@given(identifiers, st.one_of(any_text, patchwork))
def test_any_text_of_any_identifier_gives_an_action(identifier: str, message: str) -> None:
    parsed = parse(identifier, message)
    assert isinstance(parsed["action"], str)
    if identifier in NEIGHBOURS:
        assert parsed["component"] == NEIGHBOURS[identifier]
        assert "instance" not in parsed
    elif parsed["action"] != "foreign":
        assert {"instance", "component"} <= parsed.keys()


@given(st.sampled_from(CASES), st.data())
def test_a_changed_line_gives_an_action(case: dict[str, Any], data: st.DataObject) -> None:
    message = case["message"]
    start = data.draw(st.integers(0, len(message)))
    end = data.draw(st.integers(start, len(message)))
    changed = message[:start] + data.draw(st.one_of(any_text, fragments)) + message[end:]
    assert parse(case["identifier"], changed)["action"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_prefix_of_a_line_gives_an_action(case: dict[str, Any]) -> None:
    message = case["message"]
    for end in range(len(message)):
        assert parse(case["identifier"], message[:end])["action"]


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_line_of_every_neighbour_gives_an_action(case: dict[str, Any]) -> None:
    for identifier, name in NEIGHBOURS.items():
        parsed = parse(identifier, case["message"])
        assert parsed["component"] == name
        assert "instance" not in parsed


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_line_of_every_component_gives_an_action(case: dict[str, Any]) -> None:
    for component in COMPONENTS:
        parsed = parse(f"postfix-x/{component}", case["message"])
        assert (parsed["instance"], parsed["component"]) == ("postfix-x", component)


# ----------------------------------------------------------------------------- elements → line → the same elements

printable = st.characters(exclude_categories=["Cc", "Cs"])
queue_ids = st.one_of(
    st.from_regex(r"[0-9A-F]{6,16}", fullmatch=True),
    st.from_regex(r"[0-9BCDFGHJ-NP-TV-Zb-df-hj-np-tv-z]{10}z[0-9BCDFGHJ-NP-TV-Zb-df-hj-np-tv-y]{1,8}", fullmatch=True),
)
hostnames = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z0-9]{1,8}){0,3}", fullmatch=True)
addresses_ip = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ports = st.integers(1, 65535)
local_parts = st.one_of(
    st.from_regex(r"[A-Za-z0-9+_=-]{1,20}", fullmatch=True),
    st.text(printable, min_size=1, max_size=30).map(
        lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ),
)
mail_addresses = st.one_of(st.just(""), local_parts, st.builds("{}@{}".format, local_parts, hostnames))
helo_names = st.text(printable.filter(lambda char: char not in ' <>()\\";@'), max_size=30)
texts = st.text(printable, max_size=120)
seconds = st.one_of(st.integers(0, 999_999).map(str), st.decimals(0, 9999, places=2).map(str))
dsns = st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True)
no_queued = texts.filter(lambda text: "queued as " not in text)


def _base(component: str, action: str, queue_id: str) -> dict[str, Any]:
    return {"action": action, "instance": "postfix", "component": component, "queue_id": queue_id}


@given(
    queue_ids,
    mail_addresses,
    st.none() | mail_addresses,
    st.none() | st.tuples(hostnames, addresses_ip, ports),
    st.none() | st.integers(2, 10**9),
    st.lists(seconds, min_size=5, max_size=5),
    st.none() | st.from_regex(r"[a-z!?:/]{1,20}", fullmatch=True),
    dsns,
    st.sampled_from(["sent", "deferred", "bounced", "SOFTBOUNCE", "undeliverable-but-not-cached"]),
    no_queued,
)
def test_delivery_line_and_back(
    queue_id: str,
    recipient: str,
    orig_to: str | None,
    relay: tuple[str, str, int] | None,
    conn_use: int | None,
    times: list[str],
    tls: str | None,
    dsn: str,
    status: str,
    response: str,
) -> None:
    expected = _base("smtp", "delivery", queue_id) | {"recipient": recipient}
    line = f"{queue_id}: to=<{recipient}>"
    if orig_to is not None:
        line += f", orig_to=<{orig_to}>"
        expected["orig_to"] = orig_to
    if relay is None:
        line += ", relay=none"
        expected["relay_host"] = "none"
    else:
        line += ", relay={}[{}]:{}".format(*relay)
        expected |= dict(zip(("relay_host", "relay_ip", "relay_port"), relay, strict=True))
    if conn_use is not None:
        line += f", conn_use={conn_use}"
        expected["conn_use"] = conn_use
    line += f", delay={times[0]}, delays={'/'.join(times[1:])}"
    expected |= {"delay": float(times[0]), "delays": [float(value) for value in times[1:]]}
    if tls is not None:
        line += f", tls={tls}"
        expected["tls"] = tls
    line += f", dsn={dsn}, status={status} ({response})"
    expected |= {"dsn": dsn, "status": status, "response": response}
    assert parse("postfix/smtp", line) == expected


@given(queue_ids, queue_ids, no_queued)
def test_next_queue_id_and_back(queue_id: str, next_queue_id: str, text: str) -> None:
    line = (
        f"{queue_id}: to=<b@sink.example>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent"
        f" ({text}queued as {next_queue_id})"
    )
    parsed = parse("postfix/lmtp", line)
    assert (parsed["next_queue_id"], parsed["next_kind"]) == (next_queue_id, "queued")


@given(
    queue_ids | st.just("NOQUEUE"),
    hostnames,
    addresses_ip,
    st.none() | ports,
    st.none() | st.tuples(st.sampled_from(["PLAIN", "LOGIN", "SCRAM-SHA-256"]), texts),
    st.none() | st.from_regex(r"[!-*,-<>-~]{1,20}", fullmatch=True),
    st.none() | queue_ids,
    st.none() | st.builds("{}[{}]".format, hostnames, addresses_ip),
)
def test_client_line_and_back(
    queue_id: str,
    hostname: str,
    ip: str,
    port: int | None,
    sasl: tuple[str, str] | None,
    sasl_sender: str | None,
    orig_queue_id: str | None,
    orig_client: str | None,
) -> None:
    # What the log cannot tell: a user name that ends like the elements behind it.
    if sasl is not None and any(mark in sasl[1] for mark in (", sasl_sender=", ", orig_")):
        return
    if sasl_sender is not None and any(mark in sasl_sender for mark in '"<\\'):
        # In quotes there can be blanks, and so all that follows.
        return
    elements = {
        "sasl_method": sasl and sasl[0],
        "sasl_username": sasl and sasl[1],
        "sasl_sender": sasl_sender,
        "orig_queue_id": orig_queue_id,
        "orig_client": orig_client,
    }
    line = f"{queue_id}: client={hostname}[{ip}]" + (f":{port}" if port else "")
    expected = _base("smtpd", "client", queue_id) | {"client_hostname": hostname, "client_ip": ip}
    if port:
        expected["client_port"] = port
    for name, value in elements.items():
        if value is not None:
            line += f", {name}={value}"
            expected[name] = value
    assert parse("postfix/smtpd", line) == expected


@given(queue_ids, mail_addresses, st.integers(0, 10**17), st.integers(1, 10**9))
def test_active_line_and_back(queue_id: str, sender: str, size: int, nrcpt: int) -> None:
    line = f"{queue_id}: from=<{sender}>, size={size}, nrcpt={nrcpt} (queue active)"
    elements = {"sender": sender, "size": size, "nrcpt": nrcpt, "queue": "active"}
    assert parse("postfix/qmgr", line) == _base("qmgr", "active", queue_id) | elements


@given(
    queue_ids | st.just("NOQUEUE"),
    st.sampled_from(["RCPT", "MAIL", "DATA", "END-OF-MESSAGE", "CONNECT"]),
    hostnames,
    addresses_ip,
    st.none() | ports,
    st.integers(400, 599),
    dsns,
    texts,
    st.none() | mail_addresses,
    st.none() | mail_addresses,
    st.sampled_from(["SMTP", "ESMTP"]),
    st.none() | helo_names,
    st.none() | st.text(printable.filter(lambda char: char not in "<;="), min_size=1, max_size=20),
)
def test_reject_line_and_back(
    queue_id: str,
    stage: str,
    hostname: str,
    ip: str,
    port: int | None,
    code: int,
    dsn: str,
    reason: str,
    sender: str | None,
    recipient: str | None,
    proto: str,
    helo: str | None,
    user: str | None,
) -> None:
    line = f"{queue_id}: reject: {stage} from {hostname}[{ip}]" + (f":{port}" if port else "")
    line += f": {code} {dsn} {reason};"
    expected = _base("smtpd", "reject", queue_id) | {
        "reject_stage": stage,
        "client_hostname": hostname,
        "client_ip": ip,
        "smtp_code": code,
        "dsn": dsn,
        "reason": reason,
    }
    if port:
        expected["client_port"] = port
    for name, mark, value in (("sender", "from", sender), ("recipient", "to", recipient)):
        if value is not None:
            line += f" {mark}=<{value}>"
            expected[name] = value
    line += f" proto={proto}"
    expected["proto"] = proto
    if helo is not None:
        line += f" helo=<{helo}>"
        expected["helo"] = helo
    if user is not None:
        line += f" sasl_method=PLAIN sasl_username={user}"
        expected |= {"sasl_method": "PLAIN", "sasl_username": user}
    assert parse("postfix/smtpd", line) == expected


# -------------------------------------------------------------------------------------------------------------- purity


def test_what_a_caller_does_to_a_result_changes_no_other() -> None:
    for case in CASES:
        first = parse(case["identifier"], case["message"])
        for value in first.values():
            if isinstance(value, dict | list):
                value.clear()
        first.clear()
        assert parse(case["identifier"], case["message"]) == case["parsed"]


def test_identifiers_do_not_pile_up() -> None:
    own_parse = build_parser(ENTRIES)
    seen: dict[str, object] = next(
        cell.cell_contents
        for cell in (own_parse.__closure__ or ())
        if isinstance(cell.cell_contents, dict) and not cell.cell_contents
    )
    for number in range(5000):
        assert own_parse(f"postfix-{number}/qmgr", "B2335216943: removed")["action"] == "removed"
    assert 0 < len(seen) <= 1024


def test_the_package_imports_nothing_with_side_effects() -> None:
    folder = Path(engine.__file__).parent
    imported: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module or "")
    assert imported <= {"__future__", "re", "collections.abc", "functools", "typing"}
