"""Which journals the settings mean, and one of them on its way into the database.

`journal_sources` takes settings and gives what there is to follow: this host's journal, or each machine's in a
directory. A `Follower` reads one of them into batches and stores these; all that it knows of its place comes from the
database and goes there with the rows, so that it can be thrown away at any moment and another one made. Never waits for
anything but the database.
"""

from __future__ import annotations

import logging
import math
import platform
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from .errors import InputError
from .message import Gap, LogMessage
from .parse import parser_for
from .run import MAX_CHARACTERS
from .settings import FACILITIES, Settings
from .sources.entries import ROOT
from .sources.journal import Found, Journal, JournalOptions, machine_ids
from .sources.ownmachine import own_machine
from .store import Database
from .store.batch import Batch
from .store.inputs import is_heard
from .store.positions import InputPosition, find_journal, known_journal
from .store.write import Writer, store_deliveries

LOG: Final = logging.getLogger("journal_postfix")
DAY_S: Final = 86400.0

_ID: Final = re.compile(r"[0-9a-f]{32}")


class JournalSource(NamedTuple):
    """A journal to follow: `identity` finds its position again, `name` is for people."""

    identity: str
    name: str
    options: JournalOptions


def journal_sources(settings: Settings, odd: list[str] | None = None) -> list[JournalSource]:
    """Give the journals that the settings mean; raises InputError where a directory cannot be read.

    Who sends a journal chooses what its machine is called: names that are no ids are left out, and told in `odd`.
    """
    directory = settings.journal_directory
    own = own_machine()
    options = JournalOptions(
        directory=directory,
        units=frozenset(settings.journal_units),
        facilities=(str(FACILITIES[settings.journal_facility]),),
        neighbours=settings.neighbours,
    )
    if directory is None:
        namespace = settings.journal_namespace
        options = options._replace(namespace=namespace, own_uids=own.uids)
        identity = f"journal\0{own.machine_id}\0{namespace or ''}"
        return [JournalSource(identity, source_name(settings), options)]
    machines = machine_ids(directory)
    known = [machine for machine in machines if _ID.fullmatch(machine)]
    if odd is not None and len(known) < len(machines):
        odd.append(f"{source_name(settings)}: entries whose _MACHINE_ID is no id are not read")
    return [
        JournalSource(
            f"directory\0{own.machine_id}\0{directory}\0{machine}",
            f"{source_name(settings)}, machine {machine}",
            options._replace(machine_id=machine, own_uids=ROOT),
        )
        for machine in known
    ]


def source_name(settings: Settings) -> str:
    """Name what the settings mean as a whole, for people."""
    name = f"journal of {platform.node()}"
    if settings.journal_directory is not None:
        name = f"journals in {settings.journal_directory} on {platform.node()}"
    elif settings.journal_namespace is not None:
        name += f", namespace {settings.journal_namespace}"
    return name


def waiting_since(source: JournalSource, cursor: str | None) -> float | None:
    """Give the time of the oldest message behind a cursor, None if there is none. Raises InputError."""
    with Journal(source.options) as journal:
        journal.seek(cursor)
        return next((message.time for message in journal.messages() if isinstance(message, LogMessage)), None)


class Follower:
    """One journal, read from where the database says. Raises InputError where it cannot be read."""

    def __init__(self, source: JournalSource, database: Database, settings: Settings) -> None:
        self.source = source
        self._settings = settings
        self._parse = parser_for(settings.neighbours)
        self._batch = Batch(settings.instance_aliases, self._parse)
        self._keep_off_clones(database)
        self._begins: InputPosition = find_journal(database, source.name, source.identity)
        self._last_time = self._begins.last_time
        self._deadline: float | None = None
        self.is_behind = False
        """There was more at hand than went into the last batch."""
        self.journal = Journal(source.options)
        since = self._begins.last_time
        if self._begins.cursor is None and since is None:
            # Not before now: what was logged since the first start, while the database was away, is not to be missed.
            first = min(time.time(), self._begins.found or math.inf)
            since = first - settings.initial_since_days * DAY_S
        found = self.journal.seek(self._begins.cursor, since, self._begins.position)
        if found is Found.NEXT:
            LOG.warning("%s: the entry that was read last is gone; going on with what is left behind it", source.name)

    def _keep_off_clones(self, database: Database) -> None:
        """Raise InputError where the position is another host's: of a machine that was cloned with its id."""
        known = known_journal(database, self.source.identity)
        if (
            self._settings.journal_directory is None
            and known is not None
            and known.name != self.source.name
            and is_heard(database, known.name)
        ):
            raise InputError(
                f"{self.source.name}: has the same /etc/machine-id as the {known.name}, which is being followed into "
                "this database; give each host one of its own (see machine-id(5)). Where this is the same host and was "
                "renamed: it goes on in two minutes"
            )

    @property
    def last_time(self) -> float | None:
        """Time of the last message that was stored."""
        return self._begins.last_time

    def close(self) -> None:
        """Close the journal; what was read and not stored will be read again."""
        self.journal.close()

    def fill(self, is_over: Callable[[], bool], max_messages: int) -> bool:
        """Read until there is a batch of so many messages, or nothing more at hand (True).

        `is_over` is asked now and then whether to end.

        Memory is bounded by the batch: the journal itself is the buffer.
        """
        self.is_behind = not self._fill(is_over, max(max_messages, 1))
        return not self.is_behind

    def _fill(self, is_over: Callable[[], bool], max_messages: int) -> bool:
        batch = self._batch
        if self._deadline is None:
            self._deadline = time.monotonic() + self._settings.max_delay_before_commit
        # Read and not in the batch yet, which takes many at once faster. What was read has to get there whatever
        # happens: the journal's place is behind it.
        gathered: list[LogMessage] = []
        count, characters = len(batch), batch.characters

        def hand_over() -> None:
            nonlocal gathered
            messages, gathered = gathered, []
            batch.take(messages)

        try:
            for message in self.journal.messages():
                if isinstance(message, Gap):
                    hand_over()
                    batch.add_gap(self._with_begin(message))
                    continue
                gathered.append(message)
                self._last_time = message.time
                count += 1
                characters += len(message.text)
                if count >= max_messages or characters > MAX_CHARACTERS:
                    return False
                if count & 255 == 0 and (is_over() or time.monotonic() >= self._deadline):
                    return False
        finally:
            hand_over()
        return True

    def _with_begin(self, gap: Gap) -> Gap:
        """Let dropped lines begin behind the last one of their program that was kept."""
        if gap.begins is not None or not gap.unit.startswith("postfix"):
            return gap
        kept = (one.time for one in reversed(self._batch.messages) if one.identifier.startswith("postfix"))
        return gap._replace(begins=next(kept, None))

    def commit(self, writer: Writer) -> int:
        """Store what was read, with the place behind it; give how many messages that were. Raises StoreError."""
        batch, count = self._batch, len(self._batch)
        self._deadline = None
        if not batch and not batch.gaps:
            return 0
        cursor = self.journal.cursor()
        position = self.journal.position
        store_deliveries(writer, batch, self._begins, position, self._last_time, cursor)
        for _, gap in batch.gaps:
            lines = "an unknown number of" if gap.lines is None else f"{gap.lines:,}"
            LOG.warning(
                "%s: %s lines are missing (%s); 'journal-postfix status' tells when", self.source.name, lines, gap.kind
            )
        self._begins = self._begins._replace(
            position=position, last_time=self._last_time, cursor=cursor, lines=self._begins.lines + count
        )
        self._batch = Batch(self._settings.instance_aliases, self._parse)
        return count
