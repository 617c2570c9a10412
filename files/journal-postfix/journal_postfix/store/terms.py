"""What a user's term means: as a condition on one column, or as the kind of thing that it looks like.

Takes a term and the name of a column; gives a Condition, SQL with its parameters. The SQL is made of this module's
constants and of column names that the callers have as constants; the term itself goes into parameters only, with
LIKE's own characters escaped.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN_RE: Final = re.compile(rf"(?:{_LABEL}\.)+(?:[a-z]{{2,63}}|xn--[a-z0-9-]{{1,59}})", re.IGNORECASE | re.ASCII)
_IPV4_PART_RE: Final = re.compile(r"(?:\d{1,3}\.){1,3}", re.ASCII)
_SHORT_ID_RE: Final = re.compile(r"(?=.*\d)[0-9A-F]{6,20}", re.ASCII)
# Seconds and microseconds in base 52, then z, then the inode in base 51 (Postfix, src/global/mail_queue.h).
_LONG_ID_RE: Final = re.compile(r"[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,14}z[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-y]{1,16}")


class Condition(NamedTuple):
    """A condition in SQL with its parameters; and how to ask an index first, where one serves it.

    `since_sql` is the same for what began at a time or later, its last parameter: where that helps beyond the mail's
    own time. `is_exact`: the planner knows well how few rows it leaves.
    """

    sql: str
    parameters: tuple[Any, ...] = ()
    probes: tuple[Probe, ...] = ()
    since_sql: str | None = None
    is_exact: bool = False


class Probe(NamedTuple):
    """A query by index for the ids of rows that a condition can be true for; all its probes together give all."""

    sql: str
    parameters: tuple[Any, ...]


def both(conditions: Sequence[Condition]) -> Condition:
    """All of these conditions as one."""
    return Condition(
        " AND ".join(condition.sql for condition in conditions),
        tuple(parameter for condition in conditions for parameter in condition.parameters),
        next((condition.probes for condition in conditions if condition.probes), ()),
        # Its parameter is the last one, so only the last condition can have one.
        " AND ".join([*(condition.sql for condition in conditions[:-1]), conditions[-1].since_sql])
        if conditions and conditions[-1].since_sql is not None
        else None,
    )


def looks_like_queue_id(text: str) -> bool:
    """Tell whether a term has the form of a short or of a long queue id."""
    return bool(_SHORT_ID_RE.fullmatch(text) or _LONG_ID_RE.fullmatch(text))


def is_domain(text: str) -> bool:
    """Tell whether a term is read as a whole domain: has a dot, no @, and ends like a top-level domain."""
    return bool(_DOMAIN_RE.fullmatch(text))


# What a term means for one column.


def like_text(text: str) -> str:
    r"""Give a LIKE pattern that matches this text and nothing else.

    >>> print(like_text(r"50%_\\"))
    50\%\_\\\\
    """
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def part(column: str, text: str) -> Condition:
    """Any part of a text."""
    # ILIKE on the bare column: what is known of its most common values tells the planner how many will match.
    return Condition(f"{column} ILIKE %s", (f"%{like_text(text)}%",))


def address(column: str, term: str) -> Condition:
    """An address, a whole domain (`@example.com`, `example.com`; `.example.com` below it), or a part."""
    reversed_column = f"left(reverse(lower({column})), 250)"
    bare = term[1:-1] if term.startswith("<") and term.endswith(">") else term
    if not bare:
        return Condition(f"{reversed_column} = '' AND {column} = ''")
    local, at, domain = bare.rpartition("@")
    if at and not local:
        ending = f"@{domain}"
    elif not at and is_domain(bare):
        ending = f"@{bare}"
    elif not at and bare.startswith(".") and is_domain(bare[1:]):
        ending = bare
    elif at and (is_domain(domain) or domain.startswith("[")):
        return Condition(
            f"{reversed_column} = left(reverse(lower(%s)), 250) AND lower({column}) = lower(%s)", (bare, bare)
        )
    else:
        return part(column, bare)
    return Condition(f"{reversed_column} ^@ left(reverse(lower(%s)), 250)", (ending,))


def network(text: str) -> str | None:
    """Give an address, a CIDR prefix or the beginning of an IPv4 address (`192.0.2.`) as PostgreSQL reads it."""
    text = text.strip("[]")
    if "%" in text:
        return None
    if _IPV4_PART_RE.fullmatch(text):
        octets = text.rstrip(".").split(".")
        text = ".".join((octets + ["0"] * 3)[:4]) + f"/{len(octets) * 8}"
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return None


def peer(name_column: str, address_column: str, term: str) -> Condition:
    """A host by name, by a part of its name, by address or by CIDR prefix."""
    prefix = network(term)
    if prefix is not None:
        return Condition(f"{address_column} <<= %s::inet", (prefix,))
    return part(name_column, term)


def user(column: str, term: str) -> Condition:
    """A login: itself, or what stands before its @; `@domain` for all of a domain."""
    if term.startswith("@"):
        return Condition(f"lower({column}) LIKE lower(%s)", ("%" + like_text(term),))
    return Condition(f"(lower({column}) = lower(%s) OR lower({column}) LIKE lower(%s))", (term, like_text(term) + "@%"))


def dsn(column: str, term: str) -> Condition:
    """A status code or its beginning: 4, 4., 5.1, 5.1.1."""
    code = term.rstrip(".")
    return Condition(f"({column} = %s OR {column} LIKE %s)", (code, like_text(code) + ".%"))
