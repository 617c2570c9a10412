"""The queries behind `problems`: what failed in a span of time, grouped; and what the same span before it had.

Takes a window of time, perhaps of one host, and the rules; gives groups by class, destination and host, or the shapes
that have no class. Reads the public views only.

How it stays fast: the database takes out of each reason what is cheap to take out (addresses, words with digits) and
groups by what is left; these few thousand texts, not the millions of rows, are brought into their final shape and
classified here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from ..rules import UNCLASSIFIED, ProblemClass, Reason, Rules, reply_shape
from .database import Database
from .terms import like_text

# An hour is what events are counted by: of shorter spans they have no "before".
_EVENT_LENGTH: Final = timedelta(hours=1)


class Window(NamedTuple):
    """A span of time, from `since` up to, not including, `until`; and on which host (None: all)."""

    since: datetime
    until: datetime
    host: str | None = None

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.until - self.since

    @property
    def before(self) -> datetime:
        """When the same span before it begins."""
        return self.since - self.length

    def parameters(self) -> dict[str, Any]:
        """Give what the queries of this module and of alarms.py take."""
        host = None if self.host is None else self.host.lower().rstrip(".")
        return {
            "since": self.since,
            "until": self.until,
            "before": self.before,
            "host": host,
            "host_begins": None if host is None else like_text(host) + ".%",
        }


class Counted(NamedTuple):
    """What the database counted of one text, and what it means."""

    found: ProblemClass
    reason: Reason
    row: dict[str, Any]


@dataclass
class Group:
    """Failures of one class at one destination as one host logged them; or, without a class, of one shape.

    `count` in the window, of which `waiting` attempts were put off, not the end; `before` in the same span before.
    The words, reason and example are those of its most frequent text.
    """

    found: ProblemClass
    reason: Reason
    host: str
    destination: str | None
    row: dict[str, Any]
    count: int = 0
    waiting: int = 0
    before: int = 0
    first: datetime | None = None
    last: datetime | None = None
    example: dict[str, Any] | None = None

    def add(self, counted: Counted) -> None:
        """Add what was counted of one text."""
        row = counted.row
        self.count += row["count"]
        self.before += row["before"]
        self.waiting += row["count"] if counted.reason.action == "deferred" else 0
        if row["count"]:
            self.first = row["first"] if self.first is None else min(self.first, row["first"])
            self.last = row["last"] if self.last is None else max(self.last, row["last"])
        if row["count"] > self.row["count"]:
            self.found, self.reason, self.row = counted


_ON_HOST: Final = "(%(host)s::text IS NULL OR lower(p.host) = %(host)s OR lower(p.host) LIKE %(host_begins)s)"

_FAILURES: Final = """
SELECT
    p.kind, p.action, {host} AS host, p.component, p.destination, coalesce(p.dsn, '') AS dsn,
    coalesce(p.smtp_code, '') AS code, coalesce(p.reason_text, '') AS reason_text,
    count(*) FILTER (WHERE p."time" >= %(since)s) AS count,
    count(*) FILTER (WHERE p."time" < %(since)s) AS before,
    min(p."time") FILTER (WHERE p."time" >= %(since)s) AS first,
    max(p."time") FILTER (WHERE p."time" >= %(since)s) AS last,
    max(p.mail_id) FILTER (WHERE p."time" >= %(since)s) AS mail_id,
    max(p.noqueue_id) FILTER (WHERE p."time" >= %(since)s) AS noqueue_id
FROM mail_problem AS p
WHERE p."time" >= %(before)s AND p."time" < %(until)s{condition}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
_FAILURES_OF_ALL: Final = _FAILURES.format(host="p.host", condition=" AND " + _ON_HOST)
# Where all mail is one host's nobody has to look up whose it was.
_FAILURES_OF_ONE: Final = _FAILURES.format(host="%(only)s::text", condition="")

# Counted by the hour: an hour belongs to the window when it begins in it, or when `since` lies in it.
_EVENTS: Final = f"""
SELECT
    'event' AS kind, p.action, p.host, p.component, p.subject AS destination, '' AS dsn, '' AS code,
    problem_text(p.sample, NULL) AS reason_text,
    coalesce(sum(p.lines) FILTER (WHERE p.hour >= date_trunc('hour', %(since)s::timestamptz)), 0)::bigint AS count,
    coalesce(sum(p.lines) FILTER (WHERE p.hour < date_trunc('hour', %(since)s::timestamptz)), 0)::bigint AS before,
    min(p.first_time) FILTER (WHERE p.hour >= date_trunc('hour', %(since)s::timestamptz)) AS first,
    max(p.last_time) FILTER (WHERE p.hour >= date_trunc('hour', %(since)s::timestamptz)) AS last,
    max(p.sample) FILTER (WHERE p.hour >= date_trunc('hour', %(since)s::timestamptz)) AS sample
FROM mail_server_event AS p
WHERE p.hour >= date_trunc('hour', %(before)s::timestamptz) AND p.hour < %(until)s AND {_ON_HOST}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""  # noqa: S608 (constants)

_EARLIEST: Final = """
SELECT least(
    (SELECT m.began FROM mail AS m ORDER BY m.began LIMIT 1),
    (SELECT r."time" FROM mail_rejected AS r ORDER BY r."time" LIMIT 1)
)
"""

# The list of mails, which the join says again, is what leads to the rows by index.
_EXAMPLES: Final = """
SELECT DISTINCT ON (w.number) w.number, p."time", p.queue_id, p.sender, p.recipient, p.client_ip, p.reason
FROM
    unnest(%(mail_ids)s::bigint[], %(actions)s::text[], %(texts)s::text[], %(destinations)s::text[])
    WITH ORDINALITY AS w (mail_id, action, reason_text, destination, number)
INNER JOIN mail_problem AS p
    ON
        w.mail_id = p.mail_id
        AND w.action = p.action
        AND w.reason_text = coalesce(p.reason_text, '')
        AND w.destination IS NOT DISTINCT FROM p.destination
WHERE p.mail_id = ANY(%(mail_ids)s::bigint[]) AND p."time" >= %(since)s AND p."time" < %(until)s
ORDER BY w.number, p."time" DESC
"""
_REJECTED_EXAMPLES: Final = """
SELECT r.noqueue_id, r."time", r.sender, r.recipient, r.client_ip, r.reason
FROM mail_rejected AS r WHERE r.noqueue_id = ANY(%s)
"""


@contextmanager
def report(database: Database) -> Iterator[None]:
    """Run the queries of one report on one state of the database, with room to count in memory.

    random_page_cost: the rows of a day lie together, and reading all of a table for them is what must not happen.
    """
    with database.transaction():
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        database.execute("SET LOCAL work_mem = '64MB'; SET LOCAL random_page_cost = 1.1")
        yield


def count_failures(database: Database, window: Window, rules: Rules) -> list[Counted]:
    """Count everything that failed in the window and in the same span before, by text; and say what it means."""

    @cache
    def classify(kind: str, component: str, action: str, dsn: str, code: str, text: str) -> tuple[ProblemClass, Reason]:
        reason = Reason(kind, component, action, dsn, code, reply_shape(text))
        return rules.classify(reason), reason

    counted = []
    hosts = [host for (host,) in database.fetch("SELECT DISTINCT h.host FROM mail_host AS h")]
    is_one = len(hosts) == 1 and window.host is None
    values = window.parameters() | {"only": hosts[0] if is_one else None}
    for sql in (_FAILURES_OF_ONE if is_one else _FAILURES_OF_ALL, _EVENTS):
        for row in database.fetch_dicts(sql, values):
            found, reason = classify(
                row["kind"], row["component"], row["action"], row["dsn"], row["code"], row["reason_text"]
            )
            if reason.kind == "event" and window.length < _EVENT_LENGTH:
                row["before"] = 0
            if row["count"] or row["before"]:
                counted.append(Counted(found, reason, row))
    return counted


def problem_groups(counted: Iterable[Counted], *, shows_hidden: bool = False) -> list[Group]:
    """Group by kind, class, destination and host, the largest first; without hidden classes, unless they are wanted."""
    return _grouped(
        (
            (each.reason.kind, each.found.name, each.row["destination"], each.row["host"]),
            each,
        )
        for each in counted
        if shows_hidden or not each.found.is_hidden
    )


def unclassified_groups(counted: Iterable[Counted]) -> list[Group]:
    """Group what has no class by shape and host, the largest first."""
    return _grouped(((*each.reason, each.row["host"]), each) for each in counted if each.found.name == UNCLASSIFIED)


def _grouped(keyed: Iterable[tuple[tuple[Any, ...], Counted]]) -> list[Group]:
    groups: dict[tuple[Any, ...], Group] = {}
    for key, counted in keyed:
        group = groups.get(key)
        if group is None:
            row = counted.row
            group = groups[key] = Group(counted.found, counted.reason, row["host"], row["destination"], row)
        group.add(counted)
    present = [group for group in groups.values() if group.count]
    return sorted(present, key=lambda group: (-group.count, group.found.name, group.destination or "", group.host))


def add_examples(database: Database, window: Window, groups: list[Group]) -> None:
    """Give each of these groups its example: time, queue_id, sender, recipient, client_ip, reason; what is known."""
    for group in groups:
        if group.reason.kind == "event":
            group.example = {"time": group.last, "reason": group.row["sample"]}
    of_mails = [group for group in groups if group.example is None and group.row["mail_id"] is not None]
    if of_mails:
        values = window.parameters() | {
            "mail_ids": [group.row["mail_id"] for group in of_mails],
            "actions": [group.row["action"] for group in of_mails],
            "texts": [group.row["reason_text"] for group in of_mails],
            "destinations": [group.row["destination"] for group in of_mails],
        }
        for row in database.fetch_dicts(_EXAMPLES, values):
            of_mails[row.pop("number") - 1].example = row
    rest = {group.row["noqueue_id"]: group for group in groups if group.example is None}
    if rest:
        for row in database.fetch_dicts(_REJECTED_EXAMPLES, (list(rest),)):
            rest[row.pop("noqueue_id")].example = row


def knows_before(database: Database, window: Window) -> bool:
    """Tell whether the database goes back far enough to say how it was in the span before."""
    earliest: datetime | None = database.fetch(_EARLIEST)[0][0]
    return earliest is not None and earliest <= window.before
