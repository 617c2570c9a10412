"""Delete what is older than its retention, in small steps beside a daemon that stores.

Takes retentions in days; deletes, or only counts. Never deletes a mail that is still in the queue, and never an input's
position: what was imported once stays known, so that importing an old file again brings nothing back.

Theory. Age is that of the last line, by the log's own time. Rows that a late line may still change (a mail and what
belongs to it, samples, hourly counts) are deleted under the lock that the writer takes for their host, a few hundred at
a time: the writer waits for one such step at most, finds each row whole or not at all, and a line that comes after its
mail was deleted begins a new entry. Rows that are only ever inserted need no lock. No step waits for a second thing
while it holds one that a writer may want, so there is no deadlock. A kill costs one step.

Which lines an input told is kept while any row is left that the same lines from another source could double
(forgetting.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from ..errors import StoreError
from .database import WAIT_SETTINGS, Database
from .forgetting import forget_heads, forget_told
from .inputs import lock_hosts

# At a time: what takes well below the time in which a line shall be visible. A mail has three tables more.
MAX_MAILS: Final = 500
MAX_ROWS: Final = 2000
# How many mails are looked up at once; they are deleted by host.
MAX_FOUND: Final = 10_000
# One cleanup at a time, however many hosts of a fleet have a timer.
LOCK: Final = 0x6A70636C65616E
# Runs on record.
MAX_RUNS: Final = 1000

# Each row is found by an index: on a database that was just filled, statistics are not there yet.
_SETTINGS: Final = (*WAIT_SETTINGS, "SET enable_seqscan = off", "SET enable_hashjoin = off")


class Retention(NamedTuple):
    """How many days each kind is kept (0: for ever), and after how many without a line a mail has left the queue."""

    mails: float
    rejected: float
    unknown: float
    close_after: float


class Cleaned(NamedTuple):
    """What a run did: how many of what it deleted (or would delete), and how long that took."""

    began: datetime
    duration_s: float
    deleted: dict[str, int]


class CleanupRunning(StoreError):
    """Another cleanup is at work in this database."""


class _Cutoffs(NamedTuple):
    """Before when each kind is due; None is never."""

    now: datetime
    mails: datetime | None
    rejected: datetime | None
    unknown: datetime | None

    @property
    def all_kinds(self) -> datetime | None:
        """Before when everything is due."""
        if self.mails is None or self.rejected is None or self.unknown is None:
            return None
        return min(self.mails, self.rejected, self.unknown)


class _Inserted(NamedTuple):
    """A table whose rows are never changed: found by their time, deleted by their number."""

    name: str
    kind: str
    find: str
    delete: str


class _Changed(NamedTuple):
    """A table whose rows the writer of their host may change."""

    name: str
    kind: str
    table: str
    due: str


def _inserted(name: str, kind: str, table: str, number: str, time: str) -> _Inserted:
    # All names are constants of the table below.
    find = f'FROM {table} WHERE "{time}" < %s'
    delete = (
        f'DELETE FROM {table} WHERE {number} = ANY(ARRAY(SELECT {number} {find} AND "{time}" >= %s '  # noqa: S608
        f'ORDER BY "{time}" LIMIT {MAX_ROWS})) RETURNING "{time}"'
    )
    return _Inserted(name, kind, find, delete)


_INSERTED: Final = (
    _inserted("rejections", "rejected", "noqueue", "noqueue_id", "time"),
    _inserted("neighbour_events", "mails", "neighbour_event", "neighbour_event_id", "time"),
    _inserted("set_aside", "unknown", "set_aside", "set_aside_id", "time"),
    _inserted("gaps", "mails", "input_missing", "input_missing_id", "ended"),
)
_CHANGED: Final = (
    _Changed("server_events", "rejected", "server_event", "hour < %(cutoff)s AND last_time < %(cutoff)s"),
    _Changed("unknown_lines", "unknown", "unknown_line", "last_time < %(cutoff)s"),
    _Changed("forged_lines", "unknown", "forged_line", "last_time < %(cutoff)s"),
    _Changed("processes", "mails", "process_state", "last_seen < %(cutoff)s"),
    # The counters of a host that has told nothing for so long.
    _Changed(
        "counters",
        "all_kinds",
        "line_counter",
        "NOT EXISTS (SELECT FROM line_counter AS o WHERE o.host = line_counter.host AND o.last_time >= %(cutoff)s)",
    ),
)

_FIND_MAILS: Final = """
SELECT f.began, f.mail_id, s.host
FROM delivery_from AS f INNER JOIN mail_server AS s ON f.server_id = s.server_id
WHERE (f.began, f.mail_id) > (%(began)s, %(mail_id)s) AND f.began < %(cutoff)s
ORDER BY f.began, f.mail_id LIMIT %(limit)s
"""
# Of a mail in the queue Postfix tells every few hours: what has been silent for so long is not there any more, though
# nothing told its end. What is held is silent.
_IS_DUE: Final = """
mail_id = ANY(%(mail_ids)s) AND coalesce(last_seen, ended) < %(cutoff)s AND (
    mail_state(ended_how, expired, is_held) NOT IN ('queued', 'held')
    OR (mail_state(ended_how, expired, is_held) = 'queued' AND coalesce(last_seen, ended) < %(silent_since)s)
)
"""
_OF_MAIL: Final = {"recipients": "delivery_to", "attempts": "delivery_attempt", "events": "mail_event"}

# Postfix's own lines tell until when a host's log is known; where that is long ago, it does not come back.
_SILENT_SINCE: Final = """
SELECT
    host,
    CASE
        WHEN max(last_time) >= %(cutoff)s THEN least(max(last_time), now()) - %(days)s * INTERVAL '1 day'
    END
FROM line_counter WHERE component NOT IN ('', '(other)') GROUP BY host
"""


def clean_up(
    database: Database, retention: Retention, *, dry_run: bool = False, on_step: Callable[[], None] = lambda: None
) -> Cleaned:
    """Delete what is due (`dry_run`: only count it), and keep a record of it; `on_step` is called after each step.

    Raises CleanupRunning when another one is at work, StoreUnavailable and StoreError as the database does; what was
    deleted until then stays deleted, and is on record with the error.
    """
    database.configure(*_SETTINGS)
    run = _Run(database, retention, dry_run=dry_run, on_step=on_step)
    return run.count() if dry_run else run.delete()


class _Run:
    """One run."""

    def __init__(self, database: Database, retention: Retention, *, dry_run: bool, on_step: Callable[[], None]) -> None:
        self._database = database
        self._retention = retention
        self._is_dry = dry_run
        self._on_step = on_step
        self._deleted: Counter[str] = Counter()
        now = self._now()

        def before(days: float) -> datetime | None:
            return now - timedelta(days=days) if days else None

        self._cutoffs = _Cutoffs(now, before(retention.mails), before(retention.rejected), before(retention.unknown))

    def _now(self) -> datetime:
        now: datetime = self._database.fetch("SELECT clock_timestamp()")[0][0]
        return now

    def _result(self) -> Cleaned:
        duration = (self._now() - self._cutoffs.now).total_seconds()
        return Cleaned(self._cutoffs.now, duration, {name: count for name, count in self._deleted.items() if count})

    def count(self) -> Cleaned:
        """Count what is due."""
        self._walk_mails()
        for inserted in _INSERTED:
            cutoff = self._cutoff(inserted.kind)
            if cutoff is not None:
                self._add(inserted.name, f"SELECT count(*) {inserted.find}", (cutoff,))
        for changed in _CHANGED:
            cutoff = self._cutoff(changed.kind)
            if cutoff is not None:
                sql = f"SELECT count(*) FROM {changed.table} WHERE {changed.due}"  # noqa: S608
                self._add(changed.name, sql, {"cutoff": cutoff})
        return self._result()

    def delete(self) -> Cleaned:
        """Delete what is due, beside the record."""
        database = self._database
        if not database.fetch("SELECT pg_try_advisory_lock(%s)", (LOCK,))[0][0]:
            raise CleanupRunning("another cleanup is at work in this database")
        run_id = database.fetch(
            "INSERT INTO cleanup_run (began) VALUES (%s) RETURNING cleanup_run_id", (self._cutoffs.now,)
        )[0][0]
        error: str | None = "interrupted"
        try:
            self._walk_mails()
            for inserted in _INSERTED:
                self._delete_inserted(inserted)
            for changed in _CHANGED:
                self._delete_changed(changed)
            self._delete_daemons()
            self._forget_inputs()
            database.execute("DELETE FROM cleanup_run WHERE cleanup_run_id <= %s", (run_id - MAX_RUNS,))
            error = None
        except StoreError as failure:
            error = str(failure)
            raise
        finally:
            self._record(run_id, error)
        return self._result()

    def _record(self, run_id: int, error: str | None) -> None:
        """Keep what was done, and let the next one begin; when that fails too, the record without an end tells it."""
        try:
            self._database.execute(
                "UPDATE cleanup_run SET ended = clock_timestamp(), deleted = %s, error = %s WHERE cleanup_run_id = %s",
                (json.dumps(+self._deleted), error, run_id),
            )
            self._database.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
        except StoreError:
            if error is None:
                raise

    def _cutoff(self, kind: str) -> datetime | None:
        cutoff: datetime | None = getattr(self._cutoffs, kind)
        return cutoff

    def _add(self, name: str, sql: str, parameters: Any) -> None:
        self._deleted[name] += self._database.fetch(sql, parameters)[0][0]
        self._on_step()

    # ---- mails

    def _walk_mails(self) -> None:
        """Go through the mails that began before the cutoff, oldest first, and take those that are due."""
        cutoff = self._cutoffs.mails
        if cutoff is None:
            return
        silent_since = self._silent_since(cutoff) if self._retention.close_after else {}
        otherwise = "infinity" if self._retention.close_after else "-infinity"
        place = {"began": "-infinity", "mail_id": 0, "cutoff": cutoff, "limit": MAX_FOUND}
        while rows := self._database.fetch(_FIND_MAILS, place):
            place["began"], place["mail_id"], _ = rows[-1]
            by_host: dict[str, list[int]] = {}
            for _, mail_id, host in rows:
                by_host.setdefault(host, []).append(mail_id)
            for host, mail_ids in by_host.items():
                for begin in range(0, len(mail_ids), MAX_MAILS):
                    due = {
                        "mail_ids": mail_ids[begin : begin + MAX_MAILS],
                        "cutoff": cutoff,
                        "silent_since": silent_since.get(host, otherwise),
                    }
                    if self._is_dry:
                        self._count_mails(due)
                    else:
                        self._delete_mails(host, due)
                    self._on_step()

    def _silent_since(self, cutoff: datetime) -> dict[str, Any]:
        """Give, by host that is still heard of, since when a mail must have been silent to have left the queue."""
        days = self._retention.close_after
        rows = self._database.fetch(_SILENT_SINCE, {"cutoff": cutoff, "days": days})
        return {host: since for host, since in rows if since is not None}

    def _count_mails(self, due: dict[str, Any]) -> None:
        found = self._database.fetch(f"SELECT mail_id FROM delivery_from WHERE {_IS_DUE}", due)  # noqa: S608
        self._deleted["mails"] += len(found)
        mail_ids = [mail_id for (mail_id,) in found]
        for name, table in _OF_MAIL.items():
            self._add(name, f"SELECT count(*) FROM {table} WHERE mail_id = ANY(%s)", (mail_ids,))  # noqa: S608

    def _delete_mails(self, host: str, due: dict[str, Any]) -> None:
        database = self._database
        with database.transaction():
            lock_hosts(database, [host])
            found = database.fetch(f"DELETE FROM delivery_from WHERE {_IS_DUE} RETURNING mail_id", due)  # noqa: S608
            mail_ids = [mail_id for (mail_id,) in found]
            counts = {"mails": len(mail_ids)}
            if mail_ids:
                for name, table in _OF_MAIL.items():
                    sql = f"DELETE FROM {table} WHERE mail_id = ANY(%s)"  # noqa: S608
                    counts[name] = database.execute(sql, (mail_ids,))
        self._deleted.update(counts)

    # ---- what else was stored

    def _delete_inserted(self, table: _Inserted) -> None:
        cutoff = self._cutoff(table.kind)
        after: Any = "-infinity"
        while cutoff is not None:
            times = self._database.fetch(table.delete, (cutoff, after))
            self._deleted[table.name] += len(times)
            self._on_step()
            if not times:
                break
            # On from here: what was deleted at the beginning of the index need not be passed again.
            after = max(time for (time,) in times)

    def _delete_changed(self, table: _Changed) -> None:
        database = self._database
        cutoff = self._cutoff(table.kind)
        if cutoff is None:
            return
        hosts = database.fetch(f"SELECT DISTINCT host FROM {table.table} WHERE {table.due}", {"cutoff": cutoff})  # noqa: S608
        delete = (
            f"DELETE FROM {table.table} WHERE ctid = ANY(ARRAY("  # noqa: S608
            f"SELECT ctid FROM {table.table} WHERE host = %(host)s AND {table.due} LIMIT {MAX_ROWS}))"
        )
        for (host,) in hosts:
            count = MAX_ROWS
            while count == MAX_ROWS:
                with database.transaction():
                    lock_hosts(database, [host])
                    count = database.execute(delete, {"cutoff": cutoff, "host": host})
                self._deleted[table.name] += count
                self._on_step()

    def _delete_daemons(self) -> None:
        cutoff = self._cutoffs.all_kinds
        if cutoff is not None:
            deleted = self._database.execute("DELETE FROM daemon_state WHERE heartbeat < %s", (cutoff,))
            self._deleted["daemons"] += deleted

    def _forget_inputs(self) -> None:
        before = self._cutoffs.all_kinds
        if before is not None:
            for name, forget in (("told", forget_told), ("heads", forget_heads)):
                for count in forget(self._database, before):
                    self._deleted[name] += count
                    self._on_step()
