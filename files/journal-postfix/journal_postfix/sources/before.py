"""Gives the lines before a line, nearest first: for lines that mean nothing without them.

Takes blocks as they are read, and the bytes before the first of them; gives lines with their positions. What it gives
is a function of the file and of the position asked for, not of where reading began or how the blocks were cut: the
lines that stand wholly within the `REACH_BYTES` before the position. Never reads anything itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cached_property

from .lines import cut_lines

REACH_BYTES = 1 << 18
SEED_BYTES = REACH_BYTES + 1  # the byte before tells whether the first line is whole


class _Block:
    """A block of lines; they are cut only if somebody asks."""

    def __init__(self, data: bytes, dropped: int, start: int) -> None:
        self._data = data
        self._dropped = dropped
        self.start = start
        self.end = start + len(data) + dropped

    @cached_property
    def lines(self) -> tuple[list[str], list[int]]:
        """Lines and the position after each."""
        return cut_lines(self._data, self._dropped, self.start)


class LinesBefore:
    """The last `REACH_BYTES` of what was read, and a little more."""

    def __init__(self, seed: bytes = b"", position: int = 0) -> None:
        """Begin at `position`; `seed` is what stands before it: `SEED_BYTES`, or all there is."""
        if len(seed) < position:
            # Its first line may lack its beginning.
            seed = seed[seed.find(b"\n") + 1 :] if b"\n" in seed else b""
        self._seed = seed
        self._end = position
        self._blocks: deque[_Block] = deque()

    def watch(self, blocks: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        """Pass blocks of whole lines on (`iter_blocks`), which begin at the position."""
        for data, dropped in blocks:
            self._add(data, dropped)
            yield data, dropped

    def _add(self, data: bytes, dropped: int) -> None:
        start = self._end
        self._end += len(data) + dropped
        seed, self._seed = self._seed, b""
        if seed:
            if seed.endswith(b"\n"):
                self._blocks.append(_Block(seed, 0, start - len(seed)))
            elif not dropped:
                # The rest of a line that was taken unfinished: for what comes later it is one line.
                data = seed + data
                start -= len(seed)
        self._blocks.append(_Block(data, dropped, start))
        while self._blocks[0].end < start - REACH_BYTES:
            self._blocks.popleft()

    def back_from(self, position: int) -> Iterator[tuple[str, int, int]]:
        """Yield (line, begin, end) of the lines before the one that begins at `position`, the nearest first."""
        for block in reversed(self._blocks):
            if block.start >= position:
                continue
            lines, ends = block.lines
            for index in range(bisect_right(ends, position) - 1, -1, -1):
                begin = ends[index - 1] if index else block.start
                if begin < position - REACH_BYTES:
                    return
                yield lines[index], begin, ends[index]
