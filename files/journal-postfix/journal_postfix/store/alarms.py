"""What deserves an alarm: computed from the tables by set-based SQL, each alarm one line with numbers.

Takes the window and the groups of problems.py; gives Alarms, what is worst first. Reads the public views only. An
alarm says what is so, since when and how much, against what is usual; the thresholds stand here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from .database import Database
from .problems import Group, Window, knows_before

# A destination that refuses everything: so many failed attempts, of so many mails.
MIN_REFUSED: Final = 10
MIN_REFUSED_MAILS: Final = 3
# Destinations that are looked at, those with most failures first.
MAX_DESTINATIONS: Final = 100

# Far above the habit: so many recipients in the window, and so many times the busiest of the spans before.
MIN_SENT: Final = 100
FAR_ABOVE: Final = 5
SPANS_BEFORE: Final = 7

# The queue grows: so many mails in it, and so many times what there were when the window began.
MIN_QUEUED: Final = 50
GROWN: Final = 2


class Alarm(NamedTuple):
    """One alarm: its name, whom it is about, one line of text, and its numbers for JSON."""

    name: str
    subject: str | None
    text: str
    values: dict[str, Any]


_ON_HOST: Final = "(%(host)s::text IS NULL OR lower(m.host) = %(host)s OR lower(m.host) LIKE %(host_begins)s)"

_LAST_SENT: Final = """
SELECT problem_destination(r.recipient, r.relay_host, r.relay_ip) AS destination, max(r.attempted) AS last_sent
FROM mail_recipient AS r{joined}
WHERE
    r.status = 'sent' AND r.attempted >= %(since)s AND r.attempted < %(until)s
    AND problem_destination(r.recipient, r.relay_host, r.relay_ip) = ANY(%(destinations)s::text[]){condition}
GROUP BY 1
"""
_LAST_SENT_OF_ALL: Final = _LAST_SENT.format(joined="", condition="")
_LAST_SENT_ON_HOST: Final = _LAST_SENT.format(
    joined=" INNER JOIN mail AS m ON r.mail_id = m.mail_id", condition=" AND " + _ON_HOST
)

_REFUSED_SINCE: Final = f"""
SELECT
    m.destination, count(*) AS failures, count(DISTINCT m.mail_id) AS mails, min(m."time") AS since,
    max(m."time") AS last
FROM mail_problem AS m
INNER JOIN unnest(%(destinations)s::text[], %(last_sent)s::timestamptz[]) AS d (destination, last_sent)
    ON m.destination = d.destination
WHERE
    m.kind = 'delivery' AND m.action <> 'expired' AND m."time" >= %(since)s AND m."time" < %(until)s
    AND m."time" > coalesce(d.last_sent, '-infinity') AND {_ON_HOST}
GROUP BY 1
"""  # noqa: S608 (constants)

# nrcpt is how many recipients a mail has; every one of them is a mail to somebody. Who logged in is known by name, who
# did not by address; this server itself is neither.
_BUSY: Final = """
SELECT
    m.sasl_username AS username,
    CASE WHEN m.sasl_username IS NULL THEN host(m.client_ip) END AS client,
    sum(coalesce(m.nrcpt, 1)) FILTER (WHERE m.began >= %(since)s)::bigint AS recipients,
    coalesce(sum(coalesce(m.nrcpt, 1)) FILTER (WHERE m.began < %(since)s), 0)::bigint AS before,
    count(*) FILTER (WHERE m.began >= %(since)s) AS mails
FROM mail AS m
WHERE
    m.began >= %(before)s AND m.began < %(until)s
    AND (m.sasl_username IS NOT NULL OR NOT (m.client_ip <<= INET '127.0.0.0/8' OR m.client_ip = INET '::1')){condition}
GROUP BY 1, 2
HAVING
    sum(coalesce(m.nrcpt, 1)) FILTER (WHERE m.began >= %(since)s) >= greatest(
        %(least)s, %(far_above)s * coalesce(sum(coalesce(m.nrcpt, 1)) FILTER (WHERE m.began < %(since)s), 0)
    )
ORDER BY 3 DESC
LIMIT 50
"""
_BUSY_OF_ALL: Final = _BUSY.format(condition="")
_BUSY_ON_HOST: Final = _BUSY.format(condition=" AND " + _ON_HOST)
_USERS_BEFORE: Final = f"""
SELECT m.sasl_username AS username, sum(coalesce(m.nrcpt, 1))::bigint AS recipients
FROM mail AS m
WHERE
    m.began >= %(oldest)s AND m.began < %(since)s AND m.sasl_username = ANY(%(usernames)s::text[]) AND {_ON_HOST}
    -- What the index knows.
    AND lower(m.sasl_username) = ANY(ARRAY(SELECT lower(u.name) FROM unnest(%(usernames)s::text[]) AS u (name)))
GROUP BY m.sasl_username, floor(extract(EPOCH FROM %(since)s - m.began) / %(seconds)s)
"""  # noqa: S608 (constants)

# Those that are open now and had begun then; those that left later after a long stay; those that were just passing.
_QUEUED_AT: Final = f"""
SELECT
    (
        SELECT count(*) FROM mail AS m
        WHERE m.state = 'queued' AND m.queued IS NOT NULL AND m.began < %(at)s AND {_ON_HOST}
    ) + (
        SELECT count(*) FROM mail AS m
        WHERE m.ended >= %(at)s AND m.began < %(at)s AND m.ended - m.began > INTERVAL '10 minutes' AND {_ON_HOST}
    ) + (
        SELECT count(*) FROM mail AS m
        WHERE
            m.began >= %(at)s - INTERVAL '10 minutes' AND m.began < %(at)s AND m.ended >= %(at)s
            AND m.ended - m.began <= INTERVAL '10 minutes' AND {_ON_HOST}
    )
"""  # noqa: S608 (constants)

_GAPS: Final = """
SELECT m.input_name, m.kind AS gap, m.host, m.began, m.ended, m.lines
FROM input_gap AS m
WHERE m.ended >= %(since)s AND m.began < %(until)s
    AND (%(host)s::text IS NULL OR m.host IS NULL OR lower(m.host) = %(host)s OR lower(m.host) LIKE %(host_begins)s)
ORDER BY m.began
"""


def find_alarms(database: Database, window: Window, groups: Sequence[Group]) -> list[Alarm]:
    """Compute all alarms of the window."""
    has_before = knows_before(database, window)
    return [
        *_lost_lines(database, window),
        *_alarming_classes(groups, has_before),
        *_refusing_destinations(database, window, groups),
        *_growing_queue(database, window, has_before),
        *(_busy_senders(database, window) if has_before else ()),
    ]


def _lost_lines(database: Database, window: Window) -> Iterator[Alarm]:
    for row in database.fetch_dicts(_GAPS, window.parameters()):
        lines = "an unknown number of" if row["lines"] is None else f"{row['lines']:,}"
        host = f" on {row['host']}" if row["host"] else ""
        yield Alarm(
            "lines lost",
            row["host"],
            f"{lines} lines{host} are missing ({row['gap']}, {row['input_name']}): what happened then is not known",
            row,
        )


def _alarming_classes(groups: Sequence[Group], has_before: bool) -> Iterator[Alarm]:
    by_class: dict[str, list[Group]] = {}
    for group in groups:
        if group.found.is_alarm:
            by_class.setdefault(group.found.name, []).append(group)
    for name, members in by_class.items():
        count, before = sum(group.count for group in members), sum(group.before for group in members)
        where = ", ".join(f"{group.destination or group.host} {group.count:,}" for group in members[:3])
        more = f" and {len(members) - 3:,} more" if len(members) > 3 else ""
        values = {
            "count": count,
            "destinations": [group.destination for group in members if group.destination is not None],
            "first": min(group.first for group in members if group.first is not None),
            "last": max(group.last for group in members if group.last is not None),
        }
        text = f"{members[0].found.explanation} {'once' if count == 1 else f'{count:,} times'}: {where}{more}"
        if has_before:
            values["before"] = before
            text += f"; {before:,} in the span before"
        yield Alarm(name, members[0].destination, text, values)


def _refusing_destinations(database: Database, window: Window, groups: Sequence[Group]) -> Iterator[Alarm]:
    failures: dict[str, int] = {}
    for group in groups:
        if group.reason.kind == "delivery" and group.destination is not None and not group.found.is_single:
            failures[group.destination] = failures.get(group.destination, 0) + group.count
    suspects = sorted(
        (name for name, count in failures.items() if count >= MIN_REFUSED), key=lambda name: -failures[name]
    )
    suspects = suspects[:MAX_DESTINATIONS]
    if not suspects:
        return
    values = window.parameters() | {"destinations": suspects}
    last_sent: dict[str, datetime] = dict(
        database.fetch(_LAST_SENT_OF_ALL if window.host is None else _LAST_SENT_ON_HOST, values)
    )
    values["last_sent"] = [last_sent.get(name) for name in suspects]
    rows = {row["destination"]: row for row in database.fetch_dicts(_REFUSED_SINCE, values)}
    for name in suspects:
        row = rows.get(name)
        if row is None or row["failures"] < MIN_REFUSED or row["mails"] < MIN_REFUSED_MAILS:
            continue
        worst = next(group for group in groups if group.destination == name and group.reason.kind == "delivery")
        yield Alarm(
            "refuses everything",
            name,
            f"{name} takes nothing any more: {row['failures']:,} attempts of {row['mails']:,} mails failed "
            f"({worst.found.name})",
            {**row, "class": worst.found.name, "last_sent": last_sent.get(name)},
        )


def _growing_queue(database: Database, window: Window, has_before: bool) -> Iterator[Alarm]:
    values = window.parameters()
    now = database.fetch(_QUEUED_AT, values | {"at": window.until})[0][0]
    if now < MIN_QUEUED or not has_before:
        return
    then = database.fetch(_QUEUED_AT, values | {"at": window.since})[0][0]
    if now >= GROWN * then:
        text = f"{now:,} mails are in the queue, {then:,} were when the span began"
        yield Alarm("queue grows", None, text, {"queued": now, "before": then})


def _busy_senders(database: Database, window: Window) -> Iterator[Alarm]:
    values = window.parameters() | {"least": MIN_SENT, "far_above": FAR_ABOVE}
    rows = database.fetch_dicts(_BUSY_OF_ALL if window.host is None else _BUSY_ON_HOST, values)
    usernames = [row["username"] for row in rows if row["username"] is not None]
    busiest: dict[str, int] = {}
    if usernames:
        values |= {
            "usernames": usernames,
            "oldest": window.since - SPANS_BEFORE * window.length,
            "seconds": window.length.total_seconds(),
        }
        for username, recipients in database.fetch(_USERS_BEFORE, values):
            busiest[username] = max(busiest.get(username, 0), recipients)
    for row in rows:
        if row["username"] is None:
            yield _busy("client", row["client"], row, row["before"], "the span before")
        elif row["recipients"] >= FAR_ABOVE * busiest.get(row["username"], 0):
            habit = busiest.get(row["username"], 0)
            yield _busy("user", row["username"], row, habit, f"the busiest of {SPANS_BEFORE} such spans before")


def _busy(what: str, subject: str, row: dict[str, Any], habit: int, of: str) -> Alarm:
    return Alarm(
        f"{what} far above habit",
        subject,
        f"{what} {subject} sent to {row['recipients']:,} recipients in {row['mails']:,} mails; {of} had {habit:,}",
        {"recipients": row["recipients"], "mails": row["mails"], "habit": habit},
    )
