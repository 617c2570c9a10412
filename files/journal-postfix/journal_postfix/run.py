"""The loop: messages in, batches out; with workers, several are made ready while one is being stored.

Takes messages of one input in their order and the position that they begin at; gives what was done. A batch is closed
after max_messages_per_commit messages or max_delay_before_commit seconds, and only where the position advances (a
line that stands for several messages is never cut). What a source yielded before it failed is stored before its error
goes on, so the position is right and the next run goes on behind it.

One process reads, and alone talks to the database: it closes batches, each of which a worker (workers.py) parses, joins
and folds (store/prepared.py), and stores them in their order. Where the batches end does not depend on workers, nor
does anything that is stored. A batch that no other one follows at once needs none: a small file is read as it always
was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from .errors import InputError
from .message import LogMessage
from .parse import parser_for
from .programs import NEIGHBOURS
from .settings import Settings
from .store.batch import Batch
from .store.positions import InputPosition
from .store.prepared import PreparedBatch, make_batch
from .store.write import Writer, store_deliveries
from .workers import LookOut, Worker, WorkerFailed

# A batch of the longest lines that there are must not fill the memory.
MAX_CHARACTERS = 16_000_000

NOT_MAIL = frozenset({"foreign", "forged", "set aside", "covered"})


@dataclass
class Summary:
    """What a run has read and stored."""

    lines: int = 0
    mails: int = 0
    recipients: int = 0
    rejected: int = 0
    set_aside: int = 0
    neighbour_lines: int = 0
    by_action: dict[str, int] = field(default_factory=dict)

    @property
    def unknown(self) -> int:
        """Lines of Postfix that were not understood."""
        return self.by_action.get("unknown", 0)

    @property
    def postfix_lines(self) -> int:
        """Lines of Postfix, understood or not."""
        return self.lines - self.neighbour_lines - sum(self.by_action.get(action, 0) for action in NOT_MAIL)

    @property
    def understood(self) -> int:
        """Lines of Postfix that were understood."""
        return self.postfix_lines - self.unknown


def run_loop(
    messages: Iterable[LogMessage],
    writer: Writer,
    begins: InputPosition,
    settings: Settings,
    on_commit: Callable[[Summary], None] | None = None,
    *,
    jobs: int = 1,
    on_failed_worker: Callable[[WorkerFailed], None] | None = None,
) -> Summary:
    """Read all messages and store them batch by batch; give what was done.

    `on_commit` is called after each batch with the totals so far. With more than one of `jobs`, up to so many batches
    are made ready by workers meanwhile; should one of them fail, `on_failed_worker` is told, and all goes on without
    them. Raises what the source and the store raise; what was committed before stays.
    """
    run = _Run(writer, begins, settings, jobs, on_commit, on_failed_worker)
    position = begins.position
    max_messages = settings.max_messages_per_commit
    max_delay_s = settings.max_delay_before_commit
    gathered: list[LogMessage] = []
    characters = 0
    deadline = time.monotonic() + max_delay_s
    try:
        try:
            for message in messages:
                gathered.append(message)
                characters += len(message.text)
                if message.position > position:
                    position = message.position
                    count = len(gathered)
                    is_full = count >= max_messages or characters > MAX_CHARACTERS
                    # Asking for the time costs as much as parsing: not at every line.
                    if is_full or (count & 255 == 0 and time.monotonic() >= deadline):
                        run.take(gathered, position, is_full=is_full)
                        gathered = []
                        characters = 0
                        deadline = time.monotonic() + max_delay_s
        except InputError:
            run.take(gathered, position)
            raise
        run.take(gathered, position)
    finally:
        run.close()
    return run.summary


class _Closed(NamedTuple):
    """Messages that are one batch, the position behind them, and who makes them ready (None: we)."""

    messages: list[LogMessage]
    position: int
    worker: Worker[dict[str, Any] | None] | None


class _Run:
    """The batches of one run, from their closing to their storing in the same order."""

    def __init__(
        self,
        writer: Writer,
        begins: InputPosition,
        settings: Settings,
        jobs: int,
        on_commit: Callable[[Summary], None] | None,
        on_failed_worker: Callable[[WorkerFailed], None] | None,
    ) -> None:
        self.summary = Summary()
        self._writer = writer
        self._begins = begins
        self._jobs = jobs
        self._on_commit = on_commit
        self._on_failed_worker = on_failed_worker
        self._aliases = settings.instance_aliases
        self._parse = parser_for(settings.neighbours)
        self._waiting: deque[_Closed] = deque()

    def take(self, messages: list[LogMessage], position: int, *, is_full: bool = False) -> None:
        """Take what is a batch. Behind a full one comes another: it may wait; any other is stored at once."""
        worker = None
        if messages:
            if self._jobs > 1 and (is_full or self._waiting):
                worker = Worker.start(partial(self._make_ready, messages))
            self._waiting.append(_Closed(messages, position, worker))
        may_wait = self._jobs if is_full and worker is not None else 0
        while len(self._waiting) > may_wait:
            self._store(*self._waiting.popleft())

    def _make_ready(self, messages: list[LogMessage], look_out: LookOut) -> dict[str, Any] | None:
        return self._writer.prepare(make_batch(messages, self._aliases, self._parse, look_out))

    def _store(self, messages: list[LogMessage], position: int, worker: Worker[dict[str, Any] | None] | None) -> None:
        batch = self._batch(messages, worker)
        last_time = messages[-1].time
        stored = store_deliveries(self._writer, batch, self._begins, position, last_time)
        begins = self._begins
        self._begins = begins._replace(position=position, last_time=last_time, lines=begins.lines + len(batch))
        _add(self.summary, batch, stored.mails, stored.recipients, stored.rejected, stored.set_aside)
        if self._on_commit is not None:
            self._on_commit(self.summary)

    def _batch(self, messages: list[LogMessage], worker: Worker[dict[str, Any] | None] | None) -> Batch:
        if worker is not None:
            try:
                state = worker.made()
                if state is not None:
                    return PreparedBatch(self._aliases, self._parse, messages, state)
            except WorkerFailed as error:
                # Whatever it was (often the memory is short): the lines are here, and what they do to us they have to
                # do in this process, where it is told.
                self._jobs = 1
                if self._on_failed_worker is not None:
                    self._on_failed_worker(error)
        return make_batch(messages, self._aliases, self._parse)

    def close(self) -> None:
        """End what is still at work."""
        for closed in self._waiting:
            if closed.worker is not None:
                closed.worker.stop()
        self._waiting.clear()


def _add(summary: Summary, batch: Batch, mails: int, recipients: int, rejected: int, set_aside: int) -> None:
    summary.lines += len(batch)
    summary.mails += mails
    summary.recipients += recipients
    summary.rejected += rejected
    summary.set_aside += set_aside
    for (_, component, action), (lines, _) in batch.counters.items():
        if component in NEIGHBOURS:
            summary.neighbour_lines += lines
            continue
        summary.by_action[action] = summary.by_action.get(action, 0) + lines
