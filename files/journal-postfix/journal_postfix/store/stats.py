"""The query behind `stats`: mails, deliveries, failures, rejections, volume and delays, by time or by a property.

Takes a window of time and what to count by; gives one Row per key, and their total. Reads the public views only. All
SQL is made of this module's constants; values go into parameters only.

What is counted. A mail that passes a content filter, a forward or another server of the same database is several queue
entries here, and one to people: so a delivery counts where it is a leaf (no next entry took it over), and a mail where
it came from outside (no entry handed it on). What belongs together follows the rules of the view mail_link, computed
for the whole window at once.

By client and by user the first leg counts: who gave the mail to us, not the filter that gave it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from .database import Database
from .problems import Window

TIMES: Final = ("hour", "day", "week")
PROPERTIES: Final = ("domain", "relay", "client", "sasl-user", "tls", "host")


@dataclass
class Row:
    """What was counted under one key; None where it cannot be counted so.

    `key`: a name, the number of a stretch of time (from 1), or None for what has none. `mails` came in, of `bytes`
    together; `delivered`, `failed` (bounced or given up on) are recipients, `deferred` are attempts, `rejected` are
    refusals. Delays in seconds: half, 90 % and 99 % of the deliveries took no longer.
    """

    key: str | int | None
    mails: int | None = None
    bytes: int | None = None
    delivered: int = 0
    failed: int | None = None
    deferred: int | None = None
    rejected: int | None = None
    delay_p50: float | None = None
    delay_p90: float | None = None
    delay_p99: float | None = None

    @property
    def weight(self) -> int:
        """How much there is of it, to sort by."""
        return sum(n or 0 for n in (self.mails, self.delivered, self.failed, self.deferred, self.rejected))


class Stats(NamedTuple):
    """The rows, and the total of all."""

    rows: list[Row]
    total: Row


class _Keys(NamedTuple):
    """SQL for the key of what came in (m), was delivered (r, m) and failed (p); None where there is none."""

    mails: str | None
    delivered: str
    failed: str | None
    # Whether deliveries are joined with their mail, and their sizes summed up; whether with that of the first leg.
    joins_mail: bool = False
    sums_delivered: bool = False
    by_first_leg: bool = False


_BUCKET: Final = "width_bucket({}, %(bounds)s::timestamptz[])"
_DOMAIN: Final = "CASE WHEN strpos({0}, '@') > 0 THEN lower(split_part({0}, '@', -1)) END"

_TIME_KEYS: Final = _Keys(_BUCKET.format("m.began"), _BUCKET.format("r.attempted"), _BUCKET.format('p."time"'))
_KEYS: Final = dict.fromkeys(TIMES, _TIME_KEYS) | {
    "domain": _Keys(
        None, _DOMAIN.format("r.recipient"), _DOMAIN.format("p.recipient"), joins_mail=True, sums_delivered=True
    ),
    "relay": _Keys(
        None,
        "coalesce(r.relay_host, r.component)",
        "CASE p.kind WHEN 'delivery' THEN coalesce(p.relay_host, p.component) END",
        joins_mail=True,
        sums_delivered=True,
    ),
    "client": _Keys("host(m.client_ip)", "host(m.client_ip)", "host(p.client_ip)", joins_mail=True, by_first_leg=True),
    "sasl-user": _Keys("m.sasl_username", "m.sasl_username", "p.sasl_username", joins_mail=True, by_first_leg=True),
    "tls": _Keys("m.tls_protocol", "r.tls_protocol", None),
    "host": _Keys("m.host", "m.host", "p.host", joins_mail=True),
}

# Which entries took a recipient over, as mail_delivery.is_handed_on has it, for the whole window at once. The bounds of
# time are widened by what lies between the two lines of one handing over.
HANDED: Final = """
-- Few mails share their Message-ID with others, and those that dozens share tell nothing. What was handed on in this
-- time had begun in it, had to wait, or waits still.
candidate AS MATERIALIZED (
    SELECT m.message_id
    FROM (
        SELECT b.mail_id, b.message_id FROM mail AS b
        WHERE b.began >= %(since)s - INTERVAL '61 minutes' AND b.began < %(until)s + INTERVAL '61 minutes'
        UNION
        SELECT w.mail_id, w.message_id FROM mail AS w
        WHERE w.ended >= %(since)s - INTERVAL '61 minutes' AND w.ended - w.began > INTERVAL '10 minutes'
        UNION
        SELECT q.mail_id, q.message_id FROM mail AS q WHERE q.state IN ('queued', 'held')
    ) AS m
    WHERE m.message_id IS NOT NULL
    GROUP BY m.message_id
    HAVING count(*) BETWEEN 2 AND 20
),
link AS MATERIALIZED (
    SELECT l.mail_id, l.recipient_key, l.linked_mail_id AS next_id
    FROM mail_link AS l
    WHERE
        l."time" >= %(since)s - INTERVAL '61 minutes' AND l."time" < %(until)s + INTERVAL '61 minutes'
        AND l.kind IN ('queued', 'forwarded', 'filtered') AND l.linked_mail_id IS NOT NULL AND l.told_by <> 'message-id'
    UNION
    SELECT l.mail_id, l.recipient_key, l.linked_mail_id AS next_id
    FROM mail_link AS l
    WHERE
        l."time" >= %(since)s - INTERVAL '61 minutes' AND l."time" < %(until)s + INTERVAL '61 minutes'
        AND l.kind = 'queued' AND l.linked_mail_id IS NOT NULL AND l.told_by = 'message-id' AND NOT l.is_ambiguous
        AND l.mail_id = ANY(ARRAY(
            SELECT m.mail_id FROM candidate AS c INNER JOIN mail AS m ON c.message_id = m.message_id
        ))
),
handed AS MATERIALIZED (
    SELECT l.mail_id, l.recipient_key, l.next_id FROM link AS l WHERE l.recipient_key IS NOT NULL
    UNION
    SELECT r.mail_id, r.recipient_key, l.next_id
    FROM link AS l
    INNER JOIN mail_recipient AS r ON l.mail_id = r.mail_id AND r.status = 'sent' AND r.component <> 'local'
    LEFT JOIN mail_recipient AS n ON l.next_id = n.mail_id
    WHERE
        l.recipient_key IS NULL
        AND (
            n.mail_id IS NULL
            OR lower(r.recipient) IN (lower(n.recipient), lower(n.orig_to))
            OR r.orig_to = n.orig_to
        )
)"""

# The first leg of each entry that has one before it; a ring of forwards ends after ten.
MAX_LEGS: Final = 10
_FIRST_LEGS: Final = f""",
parent AS MATERIALIZED (
    SELECT p.mail_id, min(p.parent_id) AS parent_id
    FROM (
        SELECT h.next_id AS mail_id, h.mail_id AS parent_id FROM handed AS h
        UNION ALL
        SELECT e.mail_id, e.parent_id
        FROM unnest(%(late)s::bigint[], %(late_parents)s::bigint[]) AS e (mail_id, parent_id)
    ) AS p
    GROUP BY 1
),
leg AS (
    SELECT p.mail_id, p.parent_id, 1 AS depth FROM parent AS p
    UNION ALL
    SELECT l.mail_id, p.parent_id, l.depth + 1 FROM leg AS l INNER JOIN parent AS p ON l.parent_id = p.mail_id
    WHERE l.depth < {MAX_LEGS}
),
first_leg AS MATERIALIZED (
    SELECT DISTINCT ON (l.mail_id) l.mail_id, l.parent_id AS first_id FROM leg AS l ORDER BY l.mail_id, l.depth DESC
)"""  # noqa: S608 (constants)

# What HANDED knows nothing of: what was tried in this time and had been handed over before it, so had to wait; and what
# was put back into the queue.
_LATE: Final = """
SELECT m.mail_id
FROM (
    SELECT w.mail_id FROM mail AS w
    WHERE
        w.began < %(since)s - INTERVAL '60 minutes' AND w.ended >= %(since)s
        AND w.ended - w.began > INTERVAL '10 minutes'
    UNION
    SELECT q.mail_id FROM mail AS q
    WHERE q.began < %(since)s - INTERVAL '60 minutes' AND q.state IN ('queued', 'held')
    UNION
    SELECT a.mail_id FROM mail AS a
    WHERE
        a.began >= %(since)s - INTERVAL '60 minutes' AND a.began < %(until)s
        AND a.origin = 'pickup' AND a.orig_queue_id IS NOT NULL
) AS m
WHERE EXISTS (
    SELECT FROM mail_recipient AS r
    WHERE r.mail_id = m.mail_id AND r.last_attempt >= %(since)s AND r.first_attempt < %(until)s
)
"""
_PARENTS: Final = """
SELECT l.linked_mail_id, l.mail_id
FROM mail_links(%(mail_ids)s::bigint[]) AS l
WHERE
    l.linked_mail_id = ANY(%(mail_ids)s::bigint[]) AND l.kind IN ('queued', 'forwarded', 'filtered', 'requeued')
    AND NOT l.is_ambiguous
"""

_ON_HOST: Final = " AND (lower({0}.host) = %(host)s OR lower({0}.host) LIKE %(host_begins)s)"

_MAILS: Final = """
SELECT
    'mails' AS what, {key}::text AS key, grouping({key}) AS is_total, count(*) AS number,
    coalesce(sum(m.size), 0)::bigint AS bytes, NULL::float8[] AS delays
FROM mail AS m
WHERE
    m.began >= %(since)s AND m.began < %(until)s AND m.queued IS NOT NULL AND m.origin IS NOT NULL
    AND NOT (m.origin = 'pickup' AND m.orig_queue_id IS NOT NULL)
    AND NOT EXISTS (SELECT FROM handed AS h WHERE h.next_id = m.mail_id){on_host}
GROUP BY ROLLUP ({key})
"""
_DELIVERED: Final = """
SELECT
    'delivered' AS what, {key}::text AS key, grouping({key}) AS is_total, count(*) AS number, {bytes} AS bytes,
    percentile_cont(ARRAY[0.5, 0.9, 0.99]) WITHIN GROUP (ORDER BY r.delay::float8) AS delays
FROM mail_recipient AS r{joined}
WHERE
    r.attempted >= %(since)s AND r.attempted < %(until)s AND r.status = 'sent'
    AND NOT EXISTS (
        SELECT FROM handed AS h WHERE h.mail_id = r.mail_id AND h.recipient_key = r.recipient_key
    ){on_host}
GROUP BY ROLLUP ({key})
"""
_FAILED: Final = """
SELECT
    CASE
        WHEN p.kind = 'rejection' THEN 'rejected'
        WHEN p.action = 'deferred' THEN 'deferred'
        ELSE 'failed'
    END AS what,
    {key}::text AS key, grouping({key}) AS is_total, count(*) AS number, NULL::bigint AS bytes, NULL::float8[] AS delays
FROM {problems} AS p
WHERE p."time" >= %(since)s AND p."time" < %(until)s AND p.action <> 'hangup'{on_host}
GROUP BY GROUPING SETS ((1, {key}), (1))
"""

_JOIN_MAIL: Final = " INNER JOIN mail AS m ON r.mail_id = m.mail_id"
_JOIN_FIRST: Final = (
    " LEFT JOIN first_leg AS l ON r.mail_id = l.mail_id"
    " INNER JOIN mail AS m ON coalesce(l.first_id, r.mail_id) = m.mail_id"
)
# Who is at fault for what failed on a later leg: the client and user of the first.
_PROBLEMS_OF_FIRST: Final = """(
    SELECT
        q."time", q.kind, q.action, q.host,
        CASE WHEN l.mail_id IS NULL THEN q.client_ip ELSE m.client_ip END AS client_ip,
        CASE WHEN l.mail_id IS NULL THEN q.sasl_username ELSE m.sasl_username END AS sasl_username
    FROM mail_problem AS q
    LEFT JOIN first_leg AS l ON q.mail_id = l.mail_id
    LEFT JOIN mail AS m ON l.first_id = m.mail_id
)"""


def statement(by: str, *, of_host: bool) -> str:
    """Give the SQL that counts by one of TIMES or PROPERTIES; its parameters are those of `collect`."""
    keys = _KEYS[by]
    ctes = "WITH RECURSIVE " + HANDED + (_FIRST_LEGS if keys.by_first_leg else "")
    parts = []
    if keys.mails is not None:
        parts.append(_MAILS.format(key=keys.mails, on_host=_ON_HOST.format("m") if of_host else ""))
    joined = ""
    if keys.joins_mail or of_host:
        joined = _JOIN_FIRST if keys.by_first_leg else _JOIN_MAIL
    size = "coalesce(sum(m.size), 0)::bigint" if keys.sums_delivered else "NULL::bigint"
    parts.append(
        _DELIVERED.format(
            key=keys.delivered, bytes=size, joined=joined, on_host=_ON_HOST.format("m") if of_host else ""
        )
    )
    if keys.failed is not None:
        parts.append(
            _FAILED.format(
                key=keys.failed,
                problems=_PROBLEMS_OF_FIRST if keys.by_first_leg else "mail_problem",
                on_host=_ON_HOST.format("p") if of_host else "",
            )
        )
    return ctes + " UNION ALL ".join(parts)


def _late_parents(database: Database, window: Window) -> list[tuple[int, int]]:
    """Give _LATE with the entries before it, and those with theirs: (mail_id, that of the leg before)."""
    parents: list[tuple[int, int]] = []
    known: set[int] = set()
    frontier: set[int] = {mail_id for (mail_id,) in database.fetch(_LATE, window.parameters())}
    for _ in range(MAX_LEGS):
        if not frontier:
            break
        known |= frontier
        found: list[tuple[int, int]] = [*database.fetch(_PARENTS, {"mail_ids": sorted(frontier)})]
        parents += found
        frontier = {parent for _, parent in found} - known
    return parents


def collect(database: Database, window: Window, by: str, bounds: list[datetime] | None = None) -> Stats:
    """Count. `bounds` are when stretches of time begin, ascending, the first of them not after the window's begin."""
    values = window.parameters() | {"bounds": bounds}
    if _KEYS[by].by_first_leg:
        parents = _late_parents(database, window)
        values |= {"late": [entry for entry, _ in parents], "late_parents": [parent for _, parent in parents]}
    rows: dict[str | int | None, Row] = {}
    total = Row(None)
    for found in database.fetch_dicts(statement(by, of_host=window.host is not None), values):
        if found["is_total"]:
            row = total
        else:
            key = int(found["key"]) if by in TIMES else found["key"]
            row = rows.setdefault(key, Row(key))
        setattr(row, found["what"], found["number"])
        if found["bytes"] is not None:
            row.bytes = found["bytes"]
        if found["delays"] is not None:
            row.delay_p50, row.delay_p90, row.delay_p99 = (round(delay, 3) for delay in found["delays"])
    for number in range(1, len(bounds or ()) + 1):
        rows.setdefault(number, Row(number))
    for row in (*rows.values(), total):
        if _KEYS[by].mails is not None:
            row.mails, row.bytes = row.mails or 0, row.bytes or 0
        if _KEYS[by].sums_delivered:
            row.bytes = row.bytes or 0
        if _KEYS[by].failed is not None:
            row.failed, row.deferred, row.rejected = row.failed or 0, row.deferred or 0, row.rejected or 0
    if by in TIMES:
        return Stats(sorted(rows.values(), key=lambda row: int(row.key or 0)), total)
    return Stats(sorted(rows.values(), key=lambda row: (-row.weight, row.key is None, str(row.key))), total)
