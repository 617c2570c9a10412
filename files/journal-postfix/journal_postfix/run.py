"""The loop: messages in, batches out.

Takes messages of one input in their order and the position that they begin at; gives what was done. A batch is closed
after max_messages_per_commit messages or max_delay_before_commit seconds, and only where the position advances (a
line that stands for several messages is never cut). What a source yielded before it failed is stored before its error
goes on, so the position is right and the next run goes on behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .errors import InputError
from .message import LogMessage
from .parse import parser_for
from .parse.neighbours import NAMES as NEIGHBOURS
from .settings import Settings
from .store import Batch, InputPosition, Writer, store_deliveries

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
) -> Summary:
    """Read all messages and store them batch by batch; give what was done.

    `on_commit` is called after each batch with the totals so far. Raises what the source and the store raise; what was
    committed before stays.
    """
    summary = Summary()
    parse = parser_for(settings.neighbours)
    gathered: list[LogMessage] = []
    characters = 0
    position = begins.position
    max_messages = settings.max_messages_per_commit
    deadline = time.monotonic() + settings.max_delay_before_commit

    def commit() -> None:
        nonlocal gathered, characters, begins, deadline
        if gathered:
            batch = Batch(settings.instance_aliases, parse)
            batch.take(gathered)
            last_time = gathered[-1].time
            stored = store_deliveries(writer, batch, begins, position, last_time)
            begins = begins._replace(position=position, last_time=last_time, lines=begins.lines + len(batch))
            _add(summary, batch, stored.mails, stored.recipients, stored.rejected, stored.set_aside)
            gathered = []
            characters = 0
            if on_commit is not None:
                on_commit(summary)
        deadline = time.monotonic() + settings.max_delay_before_commit

    try:
        for message in messages:
            gathered.append(message)
            characters += len(message.text)
            if message.position > position:
                position = message.position
                count = len(gathered)
                # Asking for the time costs as much as parsing: not at every line.
                if (
                    count >= max_messages
                    or characters > MAX_CHARACTERS
                    or (count & 255 == 0 and time.monotonic() >= deadline)
                ):
                    commit()
    except InputError:
        commit()
        raise
    commit()
    return summary


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
