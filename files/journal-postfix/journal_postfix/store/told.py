"""What the lines of a batch tell, by the queue entry that they tell it of.

Takes units one by one, as the lines stand; keeps them in that order. A mail's lines are folded one after the other, so
what belongs to it is looked up once, not once for each of its lines. Knows no database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from ..extract import Effect
from ..merge import Key
from ..session import Unit

_line_of = attrgetter("line")
NOQUEUE: Final = Effect.NOQUEUE


class Told:
    """Units with a delivery each; servers are numbered as in the database."""

    def __init__(self) -> None:
        self.by_entry: defaultdict[Key, list[Unit]] = defaultdict(list)
        """By server and queue id, the first that was told of first."""
        self.noqueue: list[tuple[int, Unit]] = []
        """What is a row of its own: each with its server."""

    def add(self, server_id: int, unit: Unit) -> None:
        """Take what one line tells."""
        delivery = unit[3]
        assert delivery is not None
        if delivery[1] is NOQUEUE:
            self.noqueue.append((server_id, unit))
        else:
            self.by_entry[server_id, delivery[0]].append(unit)

    def first_time(self) -> float | None:
        """Give the earliest time of what is told, None where nothing is."""
        times = [unit.time for units in self.by_entry.values() for unit in units]
        return min(times + [unit.time for _, unit in self.noqueue], default=None)

    def mix_in(self, others: Iterable[tuple[Key, Unit]]) -> None:
        """Take what other lines between these tell of queue entries; what one line tells keeps its order."""
        for key, unit in others:
            self.by_entry[key].append(unit)
        for units in self.by_entry.values():
            units.sort(key=_line_of)
        in_order = sorted(self.by_entry.items(), key=lambda item: item[1][0].line)
        self.by_entry = defaultdict(list, in_order)
