"""The daemon's loop: follows the journal, and goes on whatever happens to the database.

Takes settings and what the process is told by signals; stores what comes. Never keeps more in memory than a batch.

Theory. A round reads what is at hand (a batch at most), stores it in one transaction together with the place in the
journal, and begins again; when nothing was left it pauses until the next journal_poll_interval. So a line is visible
within a second, and under load a transaction holds many of them. Nothing but the database knows the place: when it is
away, what was read is thrown away, and reading goes on from what was committed as soon as it is back. A kill at any
moment therefore costs the work of one batch and no line. Signs of life for systemd's watchdog are given by this loop
alone, and only between the calls that can hang.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from . import __version__
from .errors import ConfigurationError, InputBusyError, InputError, StoreError, StoreUnavailable
from .following import Follower, journal_sources, source_name
from .notify import Notifier
from .settings import Settings
from .signals import Signals
from .store import Database, require_current_schema
from .store.closing import close_silent
from .store.inputs import Heartbeat, beat
from .store.write import Writer

LOG: Final = logging.getLogger("journal_postfix")
HEARTBEAT_S: Final = 10.0
CLOSING_S: Final = 3600.0
# How often a directory is looked at for machines that are new.
SOURCES_S: Final = 10.0
NO_SOURCES_S: Final = 0.5
FIRST_BACK_OFF_S: Final = 0.5
MAX_BACK_OFF_S: Final = 30.0
CALM_S: Final = 2.0
STOP_WITHIN_S: Final = 1.8
MAX_PAUSE_S: Final = 240.0
MAX_PROBLEM: Final = 2000
MAX_HALVINGS: Final = 10


class Daemon:
    """Follows the journals that the settings mean; `load` gives the settings anew at SIGHUP."""

    def __init__(self, settings: Settings, load: Callable[[], Settings], signals: Signals, notifier: Notifier) -> None:
        self._settings = settings
        self._load = load
        self._signals = signals
        self._notifier = notifier
        self._started = time.time()
        self._is_ready = False
        self._told: set[str] = set()
        """Problems that were logged, and last."""
        self._back_off_s = FIRST_BACK_OFF_S
        self._well_since: float | None = None
        """When all was well again after trouble; None while there is some, or has been none."""
        self._is_told = False
        """The trouble that there is was logged."""
        self._lines = 0
        self._beat_at = time.monotonic()
        self._beat_lines = 0
        self._is_following = False
        self._caught_up_from = time.monotonic()
        self._closing_at = -CLOSING_S
        self._halvings = 0
        """How often the batches are halved: what the server did not take in time it takes in parts."""

    def run(self) -> None:
        """Follow until the process is told to end. Raises StoreError for what no waiting mends."""
        LOG.info("journal-postfix %s follows the %s", __version__, source_name(self._settings))
        while not self._signals.stop:
            if self._signals.reload:
                self._reload()
            with contextlib.closing(Database(self._settings.database, self._notifier.alive)) as database:
                try:
                    self._follow(database)
                except InputBusyError as error:
                    self._wait(str(error))
                except StoreUnavailable as error:
                    self._halvings = min(self._halvings + 1, MAX_HALVINGS)
                    self._wait(str(error))
                except InputError as error:
                    self._tell_database(database, str(error))
                    self._wait(str(error))
        self._notifier.stopping()
        LOG.info("stopped: %s lines stored since the start", f"{self._lines:,}")

    # ---- while all is well

    def _follow(self, database: Database) -> None:
        """Follow over one connection, until a signal comes."""
        require_current_schema(database)
        settings = self._settings
        writer = Writer(database, settings.verp_marker)
        followers: dict[str, Follower] = {}
        sources_at = -CLOSING_S
        odd: list[str] = []
        self._is_following = False
        self._caught_up_from = time.monotonic()
        before = self._lines
        try:
            while True:
                began = time.monotonic()
                if began - sources_at >= (SOURCES_S if followers else NO_SOURCES_S) and (
                    settings.journal_directory or not followers
                ):
                    sources_at = began
                    odd.clear()
                    for source in journal_sources(settings, odd):
                        if source.identity not in followers:
                            followers[source.identity] = Follower(source, database, settings)
                is_idle = self._round(writer, list(followers.values()))
                problems = self._problems(followers, odd)
                self._is_well(problems)
                if self._signals.stop or self._signals.reload:
                    self._beat(database, followers, problems, "stopped" if self._signals.stop else "reloading")
                    return
                if is_idle and not self._is_following:
                    self._is_following = True
                    seconds = time.monotonic() - self._caught_up_from
                    LOG.info("caught up: %s lines in %.1f s", f"{self._lines - before:,}", seconds)
                    self._beat(database, followers, self._problems(followers, odd))
                elif time.monotonic() - self._beat_at >= HEARTBEAT_S:
                    self._beat(database, followers, problems)
                if self._is_following and time.monotonic() - self._closing_at >= CLOSING_S:
                    # Noted first, and not per connection: where it takes longer than a statement may, once is enough.
                    self._closing_at = time.monotonic()
                    closed = close_silent(database, settings.close_after_days)
                    if closed:
                        LOG.info("%s mails without a line for %g days are gone", closed, settings.close_after_days)
                if is_idle:
                    self._pause(settings.journal_poll_interval - (time.monotonic() - began))
        finally:
            for follower in followers.values():
                follower.close()

    def _round(self, writer: Writer, followers: list[Follower]) -> bool:
        """Read and store what is at hand, a batch of each journal at most; tell whether that was all."""
        is_idle = True
        before = self._lines
        for follower in followers:
            is_idle &= follower.fill(self._is_over, self._settings.max_messages_per_commit >> self._halvings)
            self._notifier.alive()
            self._lines += follower.commit(writer)
            self._notifier.alive()
        if self._lines > before:
            self._halvings = max(self._halvings - 1, 0)
        return is_idle

    def _pause(self, seconds: float) -> None:
        """Wait, with signs of life, unless something is asked."""
        step = (self._notifier.watchdog_s or MAX_PAUSE_S) / 4
        while seconds > 0 and not self._is_over():
            self._signals.pause(min(seconds, step))
            seconds -= step

    def _is_over(self) -> bool:
        self._notifier.alive()
        return self._signals.stop or self._signals.reload

    def _problems(self, followers: dict[str, Follower], odd: list[str]) -> list[str]:
        """Give what is wrong with the journals, each once, while they are read all the same."""
        problems = [*odd, *(problem for follower in followers.values() for problem in follower.journal.problems)]
        directory = self._settings.journal_directory
        if directory is not None and not followers:
            problems.append(f"journals in {directory}: there are none yet")
        elif self._is_following and all(follower.last_time is None for follower in followers.values()):
            problems.append(
                f"{source_name(self._settings)}: holds no line of Postfix yet; does Postfix log to it "
                "(postconf maillog_file syslog_facility)?"
            )
        return list(dict.fromkeys(problems))

    def _is_well(self, problems: list[str]) -> None:
        """Take note that a round has succeeded, and of what is wrong nevertheless."""
        self._notifier.alive()
        now = time.monotonic()
        if self._back_off_s != FIRST_BACK_OFF_S:
            if self._well_since is None:
                self._well_since = now
                if self._is_told:
                    self._is_told = False
                    LOG.info("going on")
            # Trouble that comes back at once (a disk that is full, two daemons on one journal) is the same trouble.
            if now - self._well_since >= CALM_S:
                self._back_off_s = FIRST_BACK_OFF_S
        if self._back_off_s == FIRST_BACK_OFF_S:
            self._told &= set(problems)
        for problem in problems:
            self._say_once(problem)
        self._say_ready()

    def _say_ready(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._notifier.ready()

    def _beat(
        self, database: Database, followers: dict[str, Follower], problems: list[str], state: str | None = None
    ) -> None:
        """Say to the database, to systemd and, while catching up, to the log how far we are."""
        now = time.monotonic()
        rate = (self._lines - self._beat_lines) / max(now - self._beat_at, 0.001)
        self._beat_at, self._beat_lines = now, self._lines
        known = [follower for follower in followers.values() if follower.last_time is not None]
        times = [follower.last_time or 0.0 for follower in known]
        behind = [follower.last_time or 0.0 for follower in known if follower.is_behind]
        lag = max(time.time() - min(behind), 0.0) if behind else 0.0
        known_state = "following" if self._is_following else "catching up"
        beat(database, self._heartbeat(state or known_state, lag, rate, "; ".join(problems) or None))
        reached = min(behind) if behind else max(times, default=0.0)
        until = f"until {datetime.fromtimestamp(reached, UTC):%Y-%m-%d %H:%M:%S} UTC" if times else "nothing yet"
        self._notifier.status(f"{state or known_state}; stored {until}")
        if not self._is_following and state is None:
            LOG.info("catching up: stored %s; %s lines, %.0f lines/s", until, f"{self._lines:,}", rate)

    def _heartbeat(self, state: str, lag: float, rate: float, problem: str | None) -> Heartbeat:
        name = source_name(self._settings)
        short = problem and problem[:MAX_PROBLEM]
        return Heartbeat(name, platform.node(), os.getpid(), __version__, self._started, state, lag, rate, short)

    # ---- while something is wrong

    def _wait(self, problem: str) -> None:
        """Say what is wrong, once, and wait before the next try: longer each time, up to a bound."""
        self._well_since = None
        self._is_told |= self._say_once(problem)
        self._notifier.status(f"waiting: {problem}")
        # What is left to do is to wait; who waits for the start need not.
        self._say_ready()
        seconds = self._back_off_s
        self._back_off_s = min(self._back_off_s * 2, MAX_BACK_OFF_S)
        self._pause(seconds)

    def _say_once(self, problem: str) -> bool:
        """Log a problem, unless it was logged; tell whether it was now."""
        is_new = problem not in self._told
        if is_new:
            self._told.add(problem)
            LOG.warning("%s", problem)
        return is_new

    def _tell_database(self, database: Database, problem: str) -> None:
        """Let `status` know what keeps the journal from being read."""
        with contextlib.suppress(StoreUnavailable):
            beat(database, self._heartbeat("waiting", 0.0, 0.0, problem))

    def _reload(self) -> None:
        """Take the configuration anew; keep the old one if it has problems."""
        self._signals.reload = False
        self._notifier.reloading()
        problems: list[str] = []
        try:
            settings = self._load()
        except ConfigurationError as error:
            problems = error.problems
        else:
            if source_name(settings) != source_name(self._settings):
                # What nobody follows any more shall not be missed.
                with contextlib.suppress(StoreError), contextlib.closing(Database(self._settings.database)) as database:
                    beat(database, self._heartbeat("replaced", 0.0, 0.0, None))
            self._settings = settings
        for problem in problems:
            LOG.error("%s", problem)
        if problems:
            LOG.error("the configuration has problems: going on with the one before")
        else:
            LOG.info("configuration read again")
        self._notifier.ready()
