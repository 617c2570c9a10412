"""Cuts a stream of bytes into lines of text with their positions.

Takes a function that reads chunks; gives blocks of whole lines, and of a block its lines and where each ends. A line
is what stands before a newline byte (nothing else ends a line); of one longer than `LINE_BYTES` only the beginning is
kept, however long it is. Never fails on content: what is no UTF-8 becomes U+FFFD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate, chain, count
from operator import add

CHUNK_BYTES = 1 << 17  # measured; larger ones fall out of the processor's cache
LINE_BYTES = 65536


def take_all(_: int) -> bool:
    """Leave nothing that is unfinished."""
    return False


def iter_blocks(
    read: Callable[[int], bytes], more: Callable[[], bool], leave: Callable[[int], bool] = take_all
) -> Iterator[tuple[bytes, int]]:
    """Yield (data, dropped): whole lines, and how many bytes of the first of them were left out at its end.

    At the end of the input with an unfinished line, `more` is asked whether to try again, then `leave` (with the bytes
    that there are of it) whether to leave it alone; else the last block lacks its newline.
    """
    tail = b""
    dropped = 0
    while True:
        chunk = read(CHUNK_BYTES)
        if not chunk:
            if tail and more():
                continue
            break
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            tail += chunk
        else:
            begin = 0
            if dropped:
                begin = chunk.find(b"\n")
                dropped += begin
            yield (tail + chunk[begin:cut] if tail else chunk[:cut]), dropped
            tail = chunk[cut:]
            dropped = 0
        if len(tail) > LINE_BYTES:
            dropped += len(tail) - LINE_BYTES
            tail = tail[:LINE_BYTES]
    if tail and not leave(len(tail) + dropped):
        yield tail, dropped


def cut_first(blocks: Iterator[tuple[bytes, int]], start: int) -> tuple[str, int, Iterator[tuple[bytes, int]]] | None:
    """Give the first line of the blocks, the position after it and the blocks without it; None if there is no line."""
    data, dropped = next(blocks, (b"", 0))
    if not data:
        return None
    line, newline, rest = data.partition(b"\n")
    texts, ends = cut_lines(line + newline, dropped, start)
    return texts[0], ends[0], chain([(rest, 0)], blocks) if rest else blocks


def cut_lines(data: bytes, dropped: int, start: int) -> tuple[list[str], list[int]]:
    """Give a block's lines (without newline and one carriage return) and the position after each.

    `start` is the position of the block's first byte. A whole block is decoded at once: no UTF-8 sequence, broken or
    not, reaches over a newline, so the result is that of decoding each line.
    """
    lines: list[str]
    if data.isascii():
        lines = data.decode("ascii").split("\n")
        sizes = list(map(len, lines))
    else:
        lines = data.decode("utf-8", "replace").split("\n")
        sizes = list(map(len, data.split(b"\n")))
    unfinished = not data.endswith(b"\n")
    if not unfinished:
        lines.pop()
        sizes.pop()
    sizes[0] += dropped
    if max(sizes) > LINE_BYTES:
        raw = data.split(b"\n")
        for index, size in enumerate(sizes):
            if size > LINE_BYTES:
                lines[index] = raw[index][:LINE_BYTES].decode("utf-8", "replace")
    if b"\r" in data:
        lines = [line.removesuffix("\r") for line in lines]
    ends = list(map(add, accumulate(sizes), count(start + 1)))
    if unfinished:
        ends[-1] -= 1
    return lines, ends
