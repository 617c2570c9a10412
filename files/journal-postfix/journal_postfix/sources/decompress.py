"""Turns the raw bytes of a log file into the bytes of the log, whatever it was compressed with.

Takes a file descriptor, looks at the first bytes (never at the name) and gives chunks of decompressed bytes. Damage is
raised as `StreamDamaged` only after everything before it has been given out. Never seeks, never keeps more than a chunk
(and what was peeked), however much a few compressed bytes stand for.
"""

from __future__ import annotations

import bz2
import contextlib
import importlib
import lzma
import os
import re
import shutil
import subprocess
import threading
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

RAW_BYTES = 1 << 18
# Compressed bytes per call of a decoder. An error takes the output of its whole call along, so small slices save what
# stands before the damage; they also bound what python3-zstandard, which cannot be told to stop, makes of one (16 MiB
# in the worst case). Costs nothing measurable: a call is about 1 µs.
SLICE_BYTES = 512
PIECE_BYTES = 1 << 20  # decompressed, per call: a block of bzip2 (900 kB) at once is faster than in pieces
XZ_MEMORY_BYTES = 256 << 20  # `xz -9` takes 65 MiB; a file can ask for 4 GiB
MAGIC_BYTES = 6

_MAGIC = (
    ("gz", re.compile(rb"\x1f\x8b\x08")),
    ("bz2", re.compile(rb"BZh[1-9]")),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("zst", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)),
)
_BEGINNINGS = (("gz", b"\x1f\x8b\x08"), ("xz", b"\xfd7zXZ\x00"), ("zst", b"\x28\xb5\x2f\xfd"))


class StreamDamaged(Exception):
    """The compressed data ends too early or makes no sense from here on; the text says which."""


class NoDecoder(Exception):
    """Nothing on this machine can decompress the file; the text says what to install."""


class _Decoder(Protocol):
    """What bz2's, lzma's and Python 3.14's zstd's decompressor objects have in common: one member or frame each.

    Gives at most `max_length` bytes per call; as long as it `needs_input` not, it has more to give (for no data).
    """

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Codec(NamedTuple):
    new: Callable[[], _Decoder]
    errors: tuple[type[Exception], ...]


def compression_of(head: bytes) -> str:
    """Name the compression that `head`, a file's first bytes, belongs to: 'gz', 'bz2', 'xz', 'zst' or '' for none.

    Of a file that ends after two bytes or more within them, what they must be the beginning of.
    """
    if 2 <= len(head) < MAGIC_BYTES and (begun := [name for name, magic in _BEGINNINGS if magic.startswith(head)]):
        return begun[0]
    return next((name for name, magic in _MAGIC if magic.match(head)), "")


class _GzipDecoder:
    """zlib's decompressor in the shape of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(piece) < max_length and not self._zlib.unconsumed_tail
        return piece

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data


class _ZstandardDecoder:
    """python3-zstandard's decompressor in the shape of the others, but that it cannot be told to stop."""

    needs_input = True

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def decompress(self, data: bytes, _: int, /) -> bytes:
        return bytes(self._decoder.decompress(data))

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._decoder.unused_data)


def _zstd_codec() -> _Codec | None:
    """Python 3.14's own module, else python3-zstandard, else None: the `zstd` program has to do it."""
    module: Any
    try:
        module = importlib.import_module("compression.zstd")
        return _Codec(module.ZstdDecompressor, (module.ZstdError, EOFError))
    except ImportError:
        pass
    try:
        module = importlib.import_module("zstandard")
    except ImportError:
        return None
    return _Codec(lambda: _ZstandardDecoder(module.ZstdDecompressor().decompressobj()), (module.ZstdError,))


def _codec(compression: str) -> _Codec | None:
    if compression == "gz":
        return _Codec(_GzipDecoder, (zlib.error,))
    if compression == "bz2":
        return _Codec(bz2.BZ2Decompressor, (OSError, EOFError, ValueError))
    if compression == "xz":
        return _Codec(lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES), (lzma.LZMAError, EOFError))
    return _zstd_codec()


class RawReader:
    """Reads a descriptor in chunks, counting; bytes that were looked at beforehand come first."""

    def __init__(self, fd: int, *, seekable: bool, head: bytes = b"") -> None:
        self.fd = fd
        self.seekable = seekable
        self.count = 0
        self._head = head

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = os.read(self.fd, size)
        self.count += len(data)
        return data


class PlainStream:
    """The bytes as they are."""

    def __init__(self, raw: RawReader) -> None:
        self.read = raw.read

    def close(self) -> None:
        """Nothing to give back."""


class DecodedStream:
    """Decompresses in this process; members (frames) that follow each other are one stream, as the tools see it."""

    def __init__(self, raw: RawReader, codec: _Codec) -> None:
        self._raw = raw
        self._codec = codec
        self._decoder: _Decoder | None = None  # None between two members
        self._input = b""
        self._at = 0
        self._damage: str = ""
        self._ready = b""  # decompressed, and how much of it has been given out
        self._given = 0

    def read(self, size: int) -> bytes:
        """Give at least one byte and at most `size`, b'' at the end; raise `StreamDamaged` where the damage is."""
        if self._given >= len(self._ready):
            self._ready, self._given = self._decode(size), 0
        data = self._ready[self._given : self._given + size]
        self._given += len(data)
        return data

    def _decode(self, size: int) -> bytes:
        """Give about `size` bytes, not many more than `size + PIECE_BYTES`."""
        pieces: list[bytes] = []
        have = 0
        while have < size and not self._damage:
            if self._at >= len(self._input) and (self._decoder is None or self._decoder.needs_input):
                # A pipe's writer may pause here: hand over what is there first.
                if have and not self._raw.seekable:
                    break
                self._input, self._at = self._raw.read(RAW_BYTES), 0
                if not self._input:
                    if self._decoder is not None:
                        self._damage = "the compressed data ends too early"
                    break
            piece = self._next_piece()
            pieces.append(piece)
            have += len(piece)
        if self._damage and not have:
            raise StreamDamaged(self._damage)
        return b"".join(pieces)

    def _next_piece(self) -> bytes:
        data = b""
        if self._decoder is None or self._decoder.needs_input:
            data = self._input[self._at : self._at + SLICE_BYTES]
            self._at += len(data)
        if self._decoder is None:
            data = data.lstrip(b"\0")  # padding between and behind members, as tape and xz write it
            if not data:
                return b""
            self._decoder = self._codec.new()
        try:
            piece = self._decoder.decompress(data, PIECE_BYTES)
        except self._codec.errors as error:
            self._damage = f"the compressed data is damaged ({error})"
            if "memory" in str(error).lower():
                self._damage = (
                    f"the compressed data needs too much memory ({error}): decompress it and give it by a pipe"
                )
            return b""
        if self._decoder.eof:
            self._at -= len(self._decoder.unused_data)
            self._decoder = None
        return piece

    def close(self) -> None:
        """Nothing to give back."""


class ProgramStream:
    """Decompresses through the `zstd` program, for a machine whose Python cannot."""

    def __init__(self, raw: RawReader, head: bytes) -> None:
        program = shutil.which("zstd")
        if program is None:
            raise NoDecoder("is compressed with zstd, which nothing here can read: install Debian's package zstd")
        self._process = subprocess.Popen(
            [program, "--decompress", "--stdout", "--quiet"],
            stdin=raw.fd if raw.seekable else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._raw = raw
        if not raw.seekable:
            # A descriptor of the thread's own: the number may be somebody else's once the log file is closed.
            threading.Thread(target=self._feed, args=(head, os.dup(raw.fd)), daemon=True).start()

    def _feed(self, head: bytes, fd: int) -> None:
        """Pass a pipe on: its first bytes have been looked at already, so the child cannot read it by itself."""
        target = self._process.stdin
        assert target is not None
        try:
            with contextlib.suppress(OSError, ValueError), target:  # the child is gone
                data = head
                while data:
                    view = memoryview(data)
                    while view:
                        view = view[target.write(view) or 0 :]
                    data = os.read(fd, RAW_BYTES)
                    self._raw.count += len(data)
        finally:
            os.close(fd)

    def read(self, size: int) -> bytes:
        output = self._process.stdout
        assert output is not None
        data: bytes = os.read(output.fileno(), size)
        if self._raw.seekable:
            self._raw.count = os.lseek(self._raw.fd, 0, os.SEEK_CUR)
        if not data and self._process.wait() != 0:
            raise StreamDamaged("the compressed data ends too early or is damaged (zstd)")
        return data

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Stream:
    """The decompressed bytes of a descriptor, with a look ahead that takes nothing away."""

    def __init__(self, fd: int, *, seekable: bool) -> None:
        self._fd = fd
        head = b""
        while len(head) < MAGIC_BYTES:
            data = os.read(fd, MAGIC_BYTES - len(head))
            if not data:
                break
            head += data
        compression = compression_of(head)
        self._raw = RawReader(fd, seekable=seekable, head=head)
        self._source: PlainStream | DecodedStream | ProgramStream
        if not compression:
            self._source = PlainStream(self._raw)
        elif (codec := _codec(compression)) is not None:
            self._source = DecodedStream(self._raw, codec)
        else:
            if seekable:
                os.lseek(fd, 0, os.SEEK_SET)
                self._raw = RawReader(fd, seekable=seekable)
            else:
                self._raw = RawReader(fd, seekable=seekable)
                self._raw.count = len(head)
            self._source = ProgramStream(self._raw, head)
        self.compression = compression
        self.consumed = 0  # decompressed bytes given out
        self.before = b""  # what stands before the place that was gone to, as much of `keep` as there is
        self.damage: StreamDamaged | None = None  # found by looking ahead, behind all that can be read
        self._ahead = b""

    @property
    def raw_count(self) -> int:
        """Raw bytes read so far."""
        return self._raw.count

    def read(self, size: int) -> bytes:
        """Give up to `size` bytes, as soon as there are any; b'' at the end (ask again: a file may grow)."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
        elif self.damage is not None:
            raise self.damage
        else:
            data = self._source.read(size)
        self.consumed += len(data)
        return data

    def peek(self, enough: Callable[[bytes], bool]) -> bytes:
        """Look ahead until `enough` says so, or the data ends or is damaged (which a later `read` will tell)."""
        while not enough(self._ahead) and self.damage is None:
            try:
                data = self._source.read(RAW_BYTES)
            except StreamDamaged as damage:
                self.damage = damage
                break
            if not data:
                break
            self._ahead += data
        return self._ahead

    def skip_to(self, offset: int, keep: int) -> None:
        """Go on at `offset` of the decompressed bytes, reading and discarding; at the end if there are fewer."""
        if self.consumed >= offset:
            return
        kept: deque[bytes] = deque()
        count = 0
        while self.consumed < offset and (data := self.read(min(RAW_BYTES, offset - self.consumed))):
            kept.append(data)
            count += len(data)
            while count - len(kept[0]) >= keep:
                count -= len(kept.popleft())
        self.before = b"".join(kept)[-keep:]

    def seek_plain(self, offset: int, keep: int) -> None:
        """Go on at `offset` without reading all that is before it; only for plain seekable files."""
        begin = max(offset - keep, 0)
        self.before = os.pread(self._fd, offset - begin, begin)
        os.lseek(self._fd, offset, os.SEEK_SET)
        self._raw = RawReader(self._fd, seekable=True)
        self._raw.count = self.consumed = offset
        self._source = PlainStream(self._raw)
        self._ahead = b""

    def close(self) -> None:
        """End the child process if there is one; the descriptor is the caller's."""
        self._source.close()
