"""The status line of every delivery agent: one line for one attempt at one recipient.

Takes nothing, gives `ENTRIES`. The line is `to=<R>, orig_to=<O>, relay=R, conn_use=N, delay=D, delays=A/B/C/D, tls=T,
dsn=X, status=S (TEXT)` (log_adhoc, src/global/log_adhoc.c): the addresses are quoted, the middle is Postfix's own, and
TEXT, which the remote server may choose, is everything behind the first `status=S (` that follows this middle. A line
that was cut at 2000 bytes lacks the closing parenthesis; whether a `)` at the very end of such a line is Postfix's or
the text's own cannot be told.

Postfix <= 3.4 logs addresses unquoted: then they end at the first `>, relay=` from which the line reads to its end. A
sender of that time who puts a whole fake line into a recipient's address cannot be told from a real one.

Since 3.5 only the domain can do that, which sendmail(1) takes as it is: `a@"x>, relay=…"`. No mail can go there, hence
the line is error(8)'s and ends with `relay=none, …, status=bounced (bad address syntax)`, and the address is all that
stands before. (An alias of such an address, `orig_to`, needs a table that matches anything.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .grammar import Convert, Fields, entry, named, unquoted, whole
from .queued import forwarded_as, queued_as
from .tokens import ADDRESS, ADDRESS_OR_LITERAL, DSN, NUMBER, RELAY, SECONDS, compiled, is_begun, last_places

_MIDDLE = (
    rf" relay={RELAY},(?: conn_use=({NUMBER}),)? delay=({SECONDS}),"
    rf" delays=({SECONDS})/({SECONDS})/({SECONDS})/({SECONDS}),"
    rf"(?: tls=([^ ,]++),)? dsn={DSN}, status=([A-Za-z-]++) \((.*)"
)
STATUS = rf"to=<{ADDRESS_OR_LITERAL}>,(?: orig_to=<{ADDRESS_OR_LITERAL}>,)?{_MIDDLE}"
_STATUS_LINE = compiled(STATUS)
_AFTER_ADDRESSES = compiled(_MIDDLE)
_RAW_END = compiled(">, (?=relay=)")
_BAD_ADDRESS_END = ">, relay=none, "
_TWO_ADDRESSES = compiled(rf"{ADDRESS_OR_LITERAL}>, orig_to=<{ADDRESS_OR_LITERAL}")


class _Seconds(dict[str, float]):
    """What a number of seconds means; a table of the usual ones, because a look-up takes a quarter of a conversion."""

    def __missing__(self, text: str) -> float:
        return float(text)


# Two significant digits are Postfix's default: 0.01 to 0.99, 1.1 to 9.9, whole seconds.
_SECONDS = _Seconds(
    {text: float(text) for number in range(1000) for text in (f"{number / 100:g}", f"{number / 10:g}", str(number))}
)


# The groups of `STATUS`: text, or None for those of an optional part.
_Groups = Sequence[Any]

# What a status line says, in the order of `status_values`.
STATUS_NAMES = (
    "recipient",
    "orig_to",
    "relay_host",
    "relay_ip",
    "relay_port",
    "relay_path",
    "conn_use",
    "delay",
    "delays",
    "tls",
    "dsn",
    "status",
    "response",
    "next_queue_id",
)

Next = Callable[[str, str], str | None]
"""Finds the next queue id in a status and a whole response."""


def no_next(status: str, response: str) -> str | None:
    """Find no queue id: the agent's response names none."""
    return None


def next_of_local(status: str, response: str) -> str | None:
    """Find the queue id of what local(8) forwarded."""
    return forwarded_as(response) if status == "sent" and response.startswith("forwarded as ") else None


def next_of_smtp(status: str, response: str) -> str | None:
    """Find the queue id that the next server gave the mail."""
    return queued_as(response) if status == "sent" and "queued as " in response else None


def status_values(groups: _Groups, next_of: Next) -> tuple[Any, ...]:
    """Give what the groups of `STATUS` mean, by `STATUS_NAMES`; None for what the line lacks.

    A response that lacks its end names no next queue id: it may be the beginning of another one.
    """
    (
        recipient,
        orig_to,
        relay_host,
        relay_ip,
        relay_port,
        relay_path,
        conn_use,
        delay,
        before,
        active,
        setup,
        transmission,
        tls,
        dsn,
        status,
        response,
    ) = groups
    next_queue_id = None
    if response[-1:] == ")":
        response = response[:-1]
        next_queue_id = next_of(status, response)
    return (
        recipient,
        orig_to,
        relay_host,
        relay_ip,
        relay_port and int(relay_port),
        relay_path,
        conn_use and int(conn_use),
        _SECONDS[delay],
        [_SECONDS[before], _SECONDS[active], _SECONDS[setup], _SECONDS[transmission]],
        tls,
        dsn,
        status,
        response,
        next_queue_id,
    )


def _put_status(fields: Fields, groups: _Groups, next_of: Next) -> None:
    for name, value in zip(STATUS_NAMES, status_values(groups, next_of), strict=True):
        if value is not None:
            fields[name] = value


def _plain(fields: Fields, groups: _Groups) -> None:
    _put_status(fields, groups, no_next)


def _local(fields: Fields, groups: _Groups) -> None:
    _put_status(fields, groups, next_of_local)
    if "next_queue_id" in fields:
        fields["next_kind"] = "forwarded"


def _smtp(fields: Fields, groups: _Groups) -> None:
    _put_status(fields, groups, next_of_smtp)
    if "next_queue_id" in fields:
        fields["next_kind"] = "queued"


_Put = Callable[[Fields, _Groups], None]


def _quoted(put: _Put) -> Convert:
    """Convert a line whose addresses are in the external form."""

    def convert(fields: Fields, match: re.Match[str]) -> bool:
        put(fields, match.groups())
        return True

    return convert


def _is_relayless(groups: _Groups) -> bool:
    """Tell whether `relay=none`, as in every line of an agent that goes nowhere."""
    relay = groups[2:6]
    return relay == ("none", None, None, None)


def _quoted_relayless(fields: Fields, match: re.Match[str]) -> bool:
    groups = match.groups()
    if not _is_relayless(groups):
        return False
    _plain(fields, groups)
    return True


def _bad_address(fields: Fields, match: re.Match[str]) -> bool:
    """Convert error(8)'s line about an address that is none, which ends with the line's last `>, relay=none`."""
    rest: str = match[1]
    at = rest.rfind(_BAD_ADDRESS_END)
    middle = _AFTER_ADDRESSES.fullmatch(rest, at + 2) if at >= 0 else None
    if middle is None:
        return False
    # Only here a remote server's words, which may be such an end, are in a line of error(8).
    usual = _STATUS_LINE.fullmatch(match.string, match.start())
    if usual is not None and usual.groups()[-1].startswith("delivery temporarily suspended: "):
        return False
    addresses = rest[:at]
    both = _TWO_ADDRESSES.fullmatch(addresses)
    _plain(fields, (*(both.groups() if both is not None else (addresses, None)), *middle.groups()))
    return True


def _raw(put: _Put, relayless: bool) -> Convert:
    """Convert a line whose addresses are in the internal form of Postfix <= 3.4."""

    def convert(fields: Fields, match: re.Match[str]) -> bool:
        rest: str = match[1]
        for at in reversed(last_places(_RAW_END, rest)):
            middle = _AFTER_ADDRESSES.fullmatch(rest, at + 2)
            if middle is not None and (not relayless or _is_relayless((None, None, *middle.groups()))):
                recipient, mark, orig_to = rest[:at].partition(">, orig_to=<")
                if is_begun(recipient) or is_begun(orig_to):
                    return False
                put(fields, (recipient, orig_to if mark else None, *middle.groups()))
                return True
        return False

    return convert


_RELAYLESS = "error qmgr oqmgr cleanup"
_AGENTS: tuple[tuple[str, Convert, Convert], ...] = (
    ("smtp lmtp", _quoted(_smtp), _raw(_smtp, relayless=False)),
    ("local", _quoted(_local), _raw(_local, relayless=False)),
    ("virtual pipe discard", _quoted(_plain), _raw(_plain, relayless=False)),
    (_RELAYLESS, _quoted_relayless, _raw(_plain, relayless=True)),
)
_PASSED = named("recipient", "transport")

ENTRIES = (
    entry("delivery.status", "error", "to", r"to=<(.*\(bad address syntax\))", whole(_bad_address), action="delivery"),
    *(entry("delivery.status", who, "to", STATUS, quoted, action="delivery") for who, quoted, _ in _AGENTS),
    *(entry("delivery.status", who, "to", r"to=<(.*)", whole(raw), action="delivery") for who, _, raw in _AGENTS),
    *(
        entry(
            "delivery.pass",
            "smtp lmtp local virtual",
            "passing",
            rf"passing <{address}> to transport=([^ ]++)",
            convert,
            action="pass_transport",
        )
        for address, convert in ((ADDRESS, _PASSED), ("(.*)", unquoted(_PASSED)))
    ),
)
