"""The queries behind `status` and `unknown`: how far, how much, what was not understood.

Takes a database, gives plain values. Counts exactly while tables are small, and asks the planner's statistics when
counting would take seconds: a monitoring system may ask every minute.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from ..programs import NEIGHBOURS
from .database import Database

# Up to so many rows a table is counted; beyond, its estimate (kept by VACUUM and ANALYZE) is taken.
MAX_COUNTED: Final = 500_000

_NOT_POSTFIX: Final = ("foreign", "forged", "set aside")


class Lines(NamedTuple):
    """Lines read, by what became of them."""

    read: int
    understood: int
    unknown: int
    foreign: int
    forged: int
    covered: int
    set_aside: int
    neighbours: int

    @property
    def understood_percent(self) -> float | None:
        """How many of Postfix's own lines were understood; None while there are none."""
        known = self.understood + self.unknown
        return 100.0 * self.understood / known if known else None


class Counts(NamedTuple):
    """Rows; `is_exact` is False when they are estimates."""

    mails: int
    recipients: dict[str, int]
    rejected: int
    is_exact: bool


class OpenMail(NamedTuple):
    """A mail that is still in the queue."""

    host: str
    queue_id: str
    began: datetime
    state: str


class Totals(NamedTuple):
    """The database's own figures."""

    server_version: str
    database_bytes: int
    last_time: datetime | None
    last_stored: datetime | None
    servers: list[tuple[str, str]]


def lines(database: Database) -> Lines:
    """Count the lines that were read."""
    by_action: dict[str, int] = dict(
        database.fetch(
            "SELECT CASE WHEN component = ANY(%s) THEN 'neighbour' "
            "WHEN action IN ('unknown', 'foreign', 'forged', 'covered', 'set aside') THEN action ELSE '' END, "
            "sum(lines)::bigint FROM line_count GROUP BY 1",
            (list(NEIGHBOURS),),
        )
    )
    # What a refused row was made of stands in the table; its lines were counted under their own action.
    aside = database.fetch("SELECT count(*) FROM line_set_aside")[0][0]
    return Lines(
        read=sum(by_action.values()),
        understood=by_action.get("", 0),
        unknown=by_action.get("unknown", 0),
        foreign=by_action.get("foreign", 0),
        forged=by_action.get("forged", 0),
        covered=by_action.get("covered", 0),
        set_aside=aside,
        neighbours=by_action.get("neighbour", 0),
    )


def inputs(database: Database) -> list[dict[str, Any]]:
    """List the inputs, the one that moved last first."""
    return database.fetch_dicts(
        "SELECT kind, name, position, lines, last_time, updated FROM input_state ORDER BY updated DESC, name"
    )


def daemons(database: Database) -> list[dict[str, Any]]:
    """List what the daemons last said of themselves; `silent_s` is how long ago, in seconds."""
    return database.fetch_dicts(
        "SELECT name, host, pid, version, started, heartbeat, state, lag, lines_per_second, problem, "
        "extract(epoch FROM now() - heartbeat)::float8 AS silent_s FROM daemon_report ORDER BY name"
    )


def gaps(database: Database, limit: int) -> list[dict[str, Any]]:
    """List what is missing in the inputs, what was noticed last first; `is_new`: within the last day."""
    return database.fetch_dicts(
        "SELECT input_name AS input, kind, host, unit, began, ended, lines, noticed, "
        "noticed > now() - INTERVAL '1 day' AS is_new FROM input_gap ORDER BY noticed DESC, ended DESC LIMIT %s",
        (limit,),
    )


def forged(database: Database, limit: int) -> list[dict[str, Any]]:
    """List who logged lines that claim to be Postfix's, the last first; `is_new`: within the last day."""
    return database.fetch_dicts(
        "SELECT host, origin, lines, first_time, last_time, identifier, sample, "
        "last_time > now() - INTERVAL '1 day' AS is_new FROM line_forged "
        "ORDER BY last_time DESC, host, origin LIMIT %s",
        (limit,),
    )


def cleanup_state(database: Database) -> dict[str, Any] | None:
    """Give the last run of cleanup, or None; `silent_s`: how long ago one last succeeded, or the first began."""
    rows = database.fetch_dicts(
        "SELECT began, ended, deleted, error, extract(epoch FROM ended - began)::float8 AS duration_s, ("
        "SELECT extract(epoch FROM now() - coalesce(max(ended) FILTER (WHERE error IS NULL), min(began)))::float8 "
        "FROM cleanup_report) AS silent_s FROM cleanup_report ORDER BY cleanup_run_id DESC LIMIT 1"
    )
    return rows[0] if rows else None


def counts(database: Database) -> Counts:
    """Count mails, recipients by fate, and rejections."""
    estimates: dict[str, int] = dict(
        database.fetch(
            # -1 is a table that was never analyzed: what stays empty never is.
            "SELECT relname::text, greatest(reltuples, 0)::bigint FROM pg_class "
            "WHERE oid IN ('delivery_from'::regclass, 'delivery_to'::regclass, 'noqueue'::regclass)"
        )
    )
    if max(estimates.values()) <= MAX_COUNTED:
        mails = database.fetch("SELECT count(*) FROM mail")[0][0]
        recipients = dict(database.fetch("SELECT fate, count(*) FROM mail_recipient GROUP BY fate"))
        rejected = database.fetch("SELECT count(*) FROM mail_rejected")[0][0]
        return Counts(mails, _by_count(recipients), rejected, is_exact=True)
    # Most were sent; the small index over the others counts those.
    recipients = dict(database.fetch("SELECT fate, count(*) FROM mail_recipient WHERE status <> 'sent' GROUP BY fate"))
    recipients["sent"] = max(estimates["delivery_to"] - sum(recipients.values()), 0)
    return Counts(estimates["delivery_from"], _by_count(recipients), estimates["noqueue"], is_exact=False)


def _by_count(recipients: dict[str, int]) -> dict[str, int]:
    return dict(sorted(recipients.items(), key=lambda item: (-item[1], item[0])))


def oldest_open(database: Database) -> OpenMail | None:
    """Find the mail that has been in the queue for longest.

    One that the queue manager never took up is none: Postfix before 3.10 does not log when a client goes away.
    """
    rows = database.fetch(
        "SELECT host, queue_id, began, state FROM mail WHERE state IN ('queued', 'held') "
        "AND (queued IS NOT NULL OR state = 'held') "
        "ORDER BY began, mail_id LIMIT 1"
    )
    return OpenMail(*rows[0]) if rows else None


def totals(database: Database) -> Totals:
    """Give the versions and sizes."""
    version, size = database.fetch("SELECT current_setting('server_version'), pg_database_size(current_database())")[0]
    last_time, last_stored = database.fetch("SELECT max(last_time), max(updated) FROM input_state")[0]
    if last_time is None:
        last_time = database.fetch("SELECT max(last_time) FROM line_count")[0][0]
    servers = database.fetch("SELECT host, instance FROM mail_host ORDER BY host, instance")
    return Totals(version.split()[0], size, last_time, last_stored, [(host, instance) for host, instance in servers])


def unknown_lines(database: Database, limit: int | None) -> list[dict[str, Any]]:
    """List the lines that were not understood, grouped by shape, the most frequent first."""
    return database.fetch_dicts(
        "SELECT host, component, lines, first_time, last_time, identifier, sample, shape FROM line_unknown "
        "ORDER BY lines DESC, last_time DESC, host, component, shape LIMIT %s",
        (limit,),
    )


def set_aside_lines(database: Database, limit: int | None) -> list[dict[str, Any]]:
    """List the lines whose rows the database refused, the newest first."""
    rows = database.fetch_dicts(
        'SELECT host, "time", line, reason, stored FROM line_set_aside '
        'ORDER BY "time" DESC, set_aside_id DESC LIMIT %s',
        (limit,),
    )
    for row in rows:
        row["line"] = bytes(row["line"]).decode("utf-8", "surrogatepass")
    return rows
