"""What `status` tells of the running service: its daemons, what waits in the journal, gaps, and forged lines.

Takes a database and the settings; gives JSON values, lines of text, and problems. Reads the journal too, where it is
this host's and may be read: a daemon that is dead cannot tell how far it is behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from ..errors import InputError
from ..settings import Settings
from ..store import Database
from ..store.positions import stored_cursor
from ..store.state import daemons, forged, gaps
from .text import count_text, escape, local_time

# A batch and the database's longest hiccups take less.
MAX_LAG_S: Final = 300.0
# Heartbeats come every ten seconds, or after the longest statement.
MAX_SILENCE_S: Final = 120.0
# Of a server that was taken down nobody wants to hear for ever.
FORGOTTEN_S: Final = 30 * 86400.0
MAX_LISTED: Final = 10
# States in which a daemon knows how far behind it is.
LIVELY: Final = ("following", "catching up")
NO_ORIGIN: Final = "a process of which the journal knows neither unit nor user"
# What any user may run and let log what he likes; its complaints about his command line are no alarm.
USERS_PROGRAM: Final = ", /usr/sbin/sendmail"


class Live:
    """What was found; see the module's head."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._daemons = daemons(database)
        self._gaps = gaps(database, MAX_LISTED)
        self._forged = forged(database, MAX_LISTED)
        self._waiting: dict[str, float] = {}
        self._unread: str | None = None
        try:
            self._waiting.update(_waiting(database, settings))
        except InputError as error:
            self._unread = str(error)

    def as_json(self) -> dict[str, Any]:
        """Give what `status --json` has of it."""
        return {
            "daemons": [_known(row) for row in self._daemons],
            "gaps": [_known(row) for row in self._gaps],
            "forged": [_known(row) for row in self._forged],
            "waiting_s": {name: round(seconds, 1) for name, seconds in self._waiting.items()},
            **({} if self._unread is None else {"waiting_unknown": self._unread}),
        }

    def text(self) -> Iterator[str]:
        """Give the lines for people."""
        for row in self._daemons:
            parts = [row["state"]]
            if row["state"] in LIVELY:
                parts += [f"{row['lines_per_second']:.1f} lines/s", _lag_text(row["lag"])]
            yield f"daemon      {escape(row['name'])}: {', '.join(parts)}; at {local_time(row['heartbeat'])}"
        for name, seconds in self._waiting.items():
            yield f"waiting     {escape(name)}: {_lag_text(seconds)}"
        if self._unread is not None:
            yield f"waiting     not known to this user: {escape(self._unread)}"
        for row in self._gaps:
            yield f"gap         {_gap_text(row)}"
        for row in self._forged:
            yield (
                f"forged      {count_text(row['lines'], 'line')} on {escape(row['host'])} by "
                f"{escape(row['origin'] or NO_ORIGIN)}, last {local_time(row['last_time'])}"
            )

    def problems(self) -> Iterator[str]:
        """Give one line for each thing that is wrong."""
        for row in self._daemons:
            name = f"the daemon for the {row['name']}"
            if row["silent_s"] > FORGOTTEN_S or row["state"] == "replaced":
                continue
            if row["state"] == "stopped":
                yield (
                    f"{name} was stopped at {local_time(row['heartbeat'])}; start it: systemctl start journal-postfix "
                    f"(one that shall not run any more is forgotten after {FORGOTTEN_S / 86400:.0f} days)"
                )
            elif row["silent_s"] > MAX_SILENCE_S:
                yield (
                    f"{name} has not been heard of since {local_time(row['heartbeat'])}; "
                    "on its host see: systemctl status journal-postfix"
                )
            if row["problem"] is not None:
                yield f"{name}: {row['problem']}"
            if row["lag"] > MAX_LAG_S and row["state"] in LIVELY:
                yield f"{name} is {row['state']}, {_lag_text(row['lag'])}"
        for name, seconds in self._waiting.items():
            if seconds > MAX_LAG_S:
                yield f"{name}: {_lag_text(seconds)}"
        for row in self._gaps:
            if row["is_new"]:
                yield f"lines are missing: {_gap_text(row)}"
        for row in self._forged:
            if row["is_new"] and not row["origin"].endswith(USERS_PROGRAM):
                yield (
                    f"{count_text(row['lines'], 'line')} on {row['host']} claim to be Postfix's and were logged by "
                    f"{row['origin'] or NO_ORIGIN}: not stored; if that is Postfix, name its unit in journal_units"
                )


def _waiting(database: Database, settings: Settings) -> Iterator[tuple[str, float]]:
    """Yield for how long the oldest entry has been waiting in each journal here that is followed, in seconds.

    Raises InputError where the journal may not be read.
    """
    from ..following import journal_sources, waiting_since

    for source in journal_sources(settings):
        cursor = stored_cursor(database, source.identity)
        if cursor is not None:
            since = waiting_since(source, cursor)
            yield source.name, 0.0 if since is None else max(time.time() - since, 0.0)


def _lag_text(seconds: float) -> str:
    if seconds < 1:
        return "nothing is waiting"
    return f"the oldest line that is not stored has been waiting for {_span(seconds)}"


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _gap_text(row: dict[str, Any]) -> str:
    lines = "an unknown number of lines" if row["lines"] is None else count_text(row["lines"], "line")
    unit = f" of {escape(row['unit'])}" if row["unit"] else ""
    host = f" on {escape(row['host'])}" if row["host"] else ""
    why = {
        "suppressed": "dropped by journald's rate limit",
        "vacuumed": "the journal was shortened before it was read",
        "damaged": "the journal is damaged",
    }[row["kind"]]
    return (
        f"{lines}{unit}{host} from {local_time(row['began'])} to {local_time(row['ended'])} ({why}; "
        f"{escape(row['input'])})"
    )


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}
