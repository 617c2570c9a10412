"""Log files: what they are, what is read of them, where reading goes on, what becomes of damaged ones."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_postfix.errors import InputError
from journal_postfix.message import LogMessage
from journal_postfix.sources import decompress
from journal_postfix.sources.lines import CHUNK_BYTES, LINE_BYTES, cut_lines, iter_blocks
from journal_postfix.sources.logfile import (
    HEAD_BYTES,
    Logfile,
    LogfileOptions,
    iter_logfile_messages,
    open_in_time_order,
)
from journal_postfix.sources.ownmachine import OwnMachine
from journal_postfix.sources.syslog import REPEATED_CHARS, REPEATS
from paths import PROGRAM

OPTIONS = LogfileOptions(year=2026, timezone=UTC)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
LINE = b"Nov 23 12:00:00 mx postfix/smtpd[7]: connect from a.example.com[192.0.2.1]\n"
MESSAGE = LogMessage("mx", "postfix/smtpd", 7, NOON, "connect from a.example.com[192.0.2.1]", len(LINE))


def lines(count: int) -> bytes:
    return b"".join(
        b"Nov 23 12:%02d:%02d mx postfix/smtp[%d]: line %d\n" % (n // 60 % 60, n % 60, n % 50 + 1, n)
        for n in range(count)
    )


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("no zstd program")
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def without_zstd_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "_zstd_codec", lambda: None)


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
    "zst-program": zstd,
}


@pytest.fixture(params=COMPRESSIONS)
def compress(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], bytes]:
    """Give one compression after the other; zst by a module (where there is one) and by the program."""
    if request.param == "zst-program":
        without_zstd_modules(monkeypatch)
    return COMPRESSIONS[request.param]


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of a name that says nothing; `age` seconds old, so that nobody waits for its writer."""

    def write(data: bytes, *, mtime: float | None = None, name: str = "log") -> str:
        path = tmp_path / name
        path.write_bytes(data)
        mtime = 1e9 if mtime is None else mtime
        os.utime(path, (mtime, mtime))
        return str(path)

    return write


def open_files() -> list[str]:
    return sorted(str(path) for path in Path("/proc/self/fd").iterdir())


def read(
    path: str, options: LogfileOptions = OPTIONS, offset: int = 0, last_time: float | None = None
) -> list[LogMessage]:
    with Logfile(path, clock=lambda: NOON + 1e6) as logfile:  # when no writer is waited for
        return list(iter_logfile_messages(logfile, options, offset, last_time))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Make standard input a real pipe from a process that writes the bytes."""
    saved = os.dup(0)
    writers: list[subprocess.Popen[bytes]] = []

    def feed(data: bytes) -> None:
        begin, end = os.pipe()
        script = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"
        writer = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=end)
        writers.append(writer)
        os.close(end)
        os.dup2(begin, 0)
        os.close(begin)
        assert writer.stdin is not None
        writer.stdin.write(data)
        writer.stdin.close()

    yield feed
    os.dup2(saved, 0)
    os.close(saved)
    for writer in writers:
        writer.kill()
        writer.wait()


# ---- compression and position


def test_every_compression_reads_the_same(compress: Callable[[bytes], bytes], write: Write) -> None:
    data = lines(20_000)  # of several chunks
    path = write(compress(data))
    plain = read(write(data, name="plain"))
    assert len(plain) == 20_000
    assert plain[-1].position == len(data)
    assert plain[-1].text == "line 19999"
    assert read(path) == plain
    for index in (0, 1, 9_999, 19_998, 19_999):
        assert read(path, OPTIONS, plain[index].position, plain[index].time) == plain[index + 1 :]


def test_several_members_are_one_log(compress: Callable[[bytes], bytes], write: Write) -> None:
    data = lines(100)
    path = write(compress(data[:1001]) + compress(data[1001:]))
    assert read(path) == read(write(data, name="plain"))


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_padding_behind_the_data_is_no_damage(kind: str, write: Write) -> None:
    assert read(write(COMPRESSIONS[kind](LINE) + b"\0" * 512)) == [MESSAGE]


def test_progress_counts_raw_bytes(compress: Callable[[bytes], bytes], write: Write) -> None:
    raw = compress(lines(20_000))
    with Logfile(write(raw)) as logfile:
        assert logfile.progress() == (0, len(raw))
        seen = [logfile.progress()[0] for _ in iter_logfile_messages(logfile, OPTIONS)]
        assert seen == sorted(seen)
        assert logfile.progress() == (len(raw), len(raw))


def test_the_head_is_the_decompressed_beginning(compress: Callable[[bytes], bytes], write: Write) -> None:
    data = lines(5_000)
    with Logfile(write(compress(data))) as logfile:
        assert logfile.head() == data[:HEAD_BYTES]
        assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 5_000
    with Logfile(write(compress(data[:100]), name="short")) as logfile:
        assert logfile.head() == data[:100]


def test_the_head_sees_a_file_grow(write: Write) -> None:
    path = write(lines(10))
    with Logfile(path) as logfile:
        assert logfile.head() == lines(10)
        write(lines(1000))
        assert logfile.head() == lines(1000)[:HEAD_BYTES]


def test_empty_files(compress: Callable[[bytes], bytes], write: Write) -> None:
    for name, data in (("packed", compress(b"")), ("empty", b"")):
        with Logfile(write(data, name=name)) as logfile:
            assert logfile.head() == b""
            assert logfile.first_time() is None
            assert list(iter_logfile_messages(logfile, OPTIONS)) == []


def test_a_little_that_stands_for_much_takes_no_memory(compress: Callable[[bytes], bytes], write: Write) -> None:
    size = 8 << 20
    path = write(compress(b"\n" * size) * 3)
    fd = os.open(path, os.O_RDONLY)
    stream = decompress.Stream(fd, seekable=True)
    total = 0
    tracemalloc.start()
    try:
        while data := stream.read(CHUNK_BYTES):
            assert len(data) <= CHUNK_BYTES
            total += len(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.clear_traces()
        with Logfile(path) as logfile:
            messages = iter_logfile_messages(logfile, OPTIONS)
            assert sum(1 for _, _ in zip(range(30_000), messages, strict=False)) == 30_000
        whole_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        stream.close()
        os.close(fd)
    assert total == 3 * size
    assert peak < 14 << 20  # xz alone takes 8 MiB
    assert whole_peak < 40 << 20


def test_an_xz_file_cannot_ask_for_all_memory(write: Write) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 300 << 20}]
    with pytest.raises(InputError, match="log: the compressed data needs too much memory"):
        Logfile(write(lzma.compress(LINE, filters=filters)))


def test_decoder_that_gives_all_at_once_is_read_in_pieces() -> None:
    class AllAtOnce:  # as python3-zstandard's
        eof = False
        unused_data = b""

        def decompress(self, data: bytes) -> bytes:
            size, _, self.unused_data = data.partition(b".")
            self.eof = True
            return b"x" * int(size)

    with Path(os.devnull).open("rb") as nothing:
        raw = decompress.RawReader(nothing.fileno(), seekable=True, head=b"1000.5.0.7.")
        stream = decompress.DecodedStream(raw, decompress._Codec(lambda: decompress._ZstandardDecoder(AllAtOnce()), ()))
        assert [len(stream.read(300)) for _ in range(6)] == [300, 300, 300, 100, 12, 0]


# ---- damage


def read_damaged(path: str) -> tuple[list[LogMessage], str]:
    """Read as far as possible; give the messages and the error's text."""
    got: list[LogMessage] = []
    try:
        with Logfile(path) as logfile:
            for message in iter_logfile_messages(logfile, OPTIONS):
                got.append(message)  # noqa: PERF402 (an error must not take what came before along)
    except InputError as error:
        return got, str(error)
    raise AssertionError("no InputError")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zst-program"])
def test_truncated_data_is_read_as_far_as_possible(kind: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "zst-program":
        without_zstd_modules(monkeypatch)
    data = b"".join(os.urandom(30).hex().encode() + b"\n" for _ in range(40_000))  # many blocks in every format
    raw = COMPRESSIONS[kind](data)
    whole = data.decode().split("\n")
    for part in (0.99, 0.7):
        got, error = read_damaged(write(raw[: int(len(raw) * part)]))
        assert re.search(r"log: .*(too early|damaged).* after [0-9]+ decompressed bytes", error)
        assert "again" in error
        assert [message.text for message in got] == whole[: len(got)]
        # xz's single block may be held back for a while, zstd's are 128 KiB, bz2's 900 kB
        assert len(got) > 40_000 * part - 18_000
        # A whole copy later goes on exactly there.
        last = got[-1]
        rest = read(write(raw, name="whole"), OPTIONS, last.position, last.time)
        assert [message.text for message in got + rest] == whole[:-1]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_damage_in_the_middle(kind: str, write: Write) -> None:
    data = lines(20_000)
    raw = bytearray(COMPRESSIONS[kind](data))
    raw[len(raw) // 2 : len(raw) // 2 + 40] = os.urandom(40)
    got, error = read_damaged(write(bytes(raw)))
    assert "log: the compressed data" in error
    if kind == "gz":
        assert len(got) > 5_000


def test_small_gz_with_wrong_checksum_gives_its_lines(write: Write) -> None:
    raw = bytearray(gzip.compress(lines(2_000)))
    raw[-6] ^= 0xFF
    got, _ = read_damaged(write(bytes(raw)))
    assert len(got) > 1_000


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst", "zst-program"])
def test_a_file_of_which_nothing_can_be_read_is_no_empty_one(
    kind: str, write: Write, pipe: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "zst-program":
        without_zstd_modules(monkeypatch)
    raw = COMPRESSIONS[kind](LINE)
    beginnings = [raw[:size] for size in range(2, 9) if size > 3 or kind != "bz2"]
    for beginning in [*beginnings, COMPRESSIONS[kind](b"") + beginnings[-1]]:
        with pytest.raises(InputError, match=r"log: .*(early|damaged).* after 0 decompressed bytes; .* run again"):
            Logfile(write(beginning))
    before = open_files()
    files, errors = open_in_time_order([write(raw, name="good"), write(beginning)], OPTIONS)
    assert [str(error).partition(": ")[0] for error in errors] == [write(beginning)]
    for file in files:
        file.close()
    assert open_files() == before
    pipe(beginning)
    with pytest.raises(InputError, match=r"stdin: .* after 0 decompressed bytes"):
        Logfile("-")


def test_zstd_without_decoder_names_the_package(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = zstd(LINE)
    without_zstd_modules(monkeypatch)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InputError, match=r"log: .*install Debian's package zstd"):
        Logfile(write(raw))


def test_zstd_child_ends_with_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = zstd(lines(100_000))
    without_zstd_modules(monkeypatch)
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: object, **keywords: object) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **keywords))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr(decompress.subprocess, "Popen", remember)  # type: ignore[attr-defined]
    with Logfile(write(raw)) as logfile:
        next(iter_logfile_messages(logfile, OPTIONS))
    assert children
    assert all(child.poll() is not None for child in children)


# ---- files that are none


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/none: no such file$"):
        Logfile(str(tmp_path / "none"))


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a directory"):
        Logfile(str(tmp_path))


def test_unreadable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = write(LINE)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(InputError, match="log: may not be read"):
        Logfile(path)


def test_binary(compress: Callable[[bytes], bytes], write: Write) -> None:
    with pytest.raises(InputError, match="log: is a binary file"):
        Logfile(write(compress(b"\x7fELF\0\0\0\n\0\1\2")))


def test_journal_says_how_to_read_it(write: Write) -> None:
    with pytest.raises(InputError, match=r"journalctl --file .*/log -o export"):
        Logfile(write(b"LPKSHHRH\0\0\0\0"))


def test_log_with_nul_bytes_is_a_log(write: Write) -> None:
    assert [message.text for message in read(write(b"\0\0\0\n" + LINE.replace(b"connect", b"con\0nect")))] == [
        "\0\0\0",
        MESSAGE.text.replace("connect", "con\0nect"),
    ]


def test_no_descriptor_is_left_behind(compress: Callable[[bytes], bytes], write: Write) -> None:
    raw = compress(LINE * 1000)
    read(write(raw))  # modules are loaded
    before = open_files()
    with Logfile(write(raw)) as logfile:
        logfile.first_time()
        logfile.head()
        next(iter_logfile_messages(logfile, OPTIONS))
    with pytest.raises(InputError):
        Logfile(write(b"\0binary", name="bad"))
    with contextlib.suppress(InputError):  # half a plain file is a whole one
        read(write(raw[: len(raw) // 2], name="half"))
    assert open_files() == before


def test_closed_standard_input(pipe: Callable[[bytes], None]) -> None:
    pipe(b"")  # saves and restores it
    os.close(0)
    with pytest.raises(InputError, match=r"^stdin: is closed$"):
        Logfile("-")


def test_name_that_is_no_text(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfc\xc3\xbc\n.log")
    with pytest.raises(InputError) as caught:
        Logfile(path)
    str(caught.value).encode()
    Path(path).write_bytes(LINE)
    with Logfile(path) as logfile:
        assert logfile.name == f"{tmp_path}/gr\\xfcü\n.log"
        assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 1


# ---- lines


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE[:-1], MESSAGE),
        (b"<22>" + LINE[:-1], MESSAGE),
        (b"Nov 23 12:00:00.25 " + LINE[16:-1], MESSAGE._replace(time=NOON + 0.25)),
        (b"2026-11-23T13:00:00.250000+01:00 " + LINE[16:-1], MESSAGE._replace(time=NOON + 0.25)),
        (b"2026-11-23T12:00:00Z " + LINE[16:-1], MESSAGE),
        (
            b"<22>1 2026-11-23T12:00:00Z mx postfix/smtpd 7 - - connect from a.example.com[192.0.2.1]",
            MESSAGE,
        ),
        (
            b'<22>1 2026-11-23T12:00:00Z mx postfix/smtpd 7 I [a@1 b="]\\""][c@2] \xef\xbb\xbf' + LINE[37:-1],
            MESSAGE,
        ),
        (b"<22>1 - mx postfix/smtpd - - - x: y", LogMessage("mx", "postfix/smtpd", 0, 0.0, "x: y", 0)),
        (b"<22>1 2026-11-23T12:00:00Z mx x", LogMessage("", "", 0, NOON, "mx x", 0)),
        (b"Nov 23 12:00:00 mx postfix: text", LogMessage("mx", "postfix", 0, NOON, "text", 0)),
        (b"Nov 23 12:00:00 mx postfix/qmgr[9]:", LogMessage("mx", "postfix/qmgr", 9, NOON, "", 0)),
        (b"Nov 23 12:00:00 mx postfix/qmgr[9]: ", LogMessage("mx", "postfix/qmgr", 9, NOON, "", 0)),
        (b"Nov 23 12:00:00 mx postfix/qmgr[9]:  a: b ", LogMessage("mx", "postfix/qmgr", 9, NOON, " a: b ", 0)),
        (
            b"Nov 23 12:00:00 mx postfix/submission/smtpd[9]: x",
            LogMessage("mx", "postfix/submission/smtpd", 9, NOON, "x", 0),
        ),
        (b"Nov 23 12:00:00 mx postfix-out/smtp[9]: x", LogMessage("mx", "postfix-out/smtp", 9, NOON, "x", 0)),
        (b"Nov 23 12:00:00 mx last message: x", LogMessage("mx", "", 0, NOON, "last message: x", 0)),
        (b"Nov 23 12:00:00 mx some words", LogMessage("mx", "", 0, NOON, "some words", 0)),
        (b"Nov 23 12:00:00 mx", LogMessage("mx", "", 0, NOON, "", 0)),
        (b"postfix/smtpd[7]: x", LogMessage("", "", 0, 0.0, "postfix/smtpd[7]: x", 0)),
        (b"Nov 23 12:00:00 mx x[1]: a#011b\x1b\xff", LogMessage("mx", "x", 1, NOON, "a#011b\x1b\ufffd", 0)),
        (
            "Nov 23 12:00:00 mx x[1]: a\u2028b\x0b\x0cc\x85".encode(),
            LogMessage("mx", "x", 1, NOON, "a\u2028b\x0b\x0cc\x85", 0),
        ),
        (b"Nov 23 12:00:00 mx x[1]: a\rb\r", LogMessage("mx", "x", 1, NOON, "a\rb", 0)),
        (b"", LogMessage("", "", 0, 0.0, "", 0)),
        (b"\xef\xbb\xbf" + LINE[:-1], MESSAGE),
        (
            b"Nov 23 12:00:00 mx x[12345678901234567890]: y",
            LogMessage("mx", "x[12345678901234567890]", 0, NOON, "y", 0),
        ),
    ],
)
def test_line(line: bytes, message: LogMessage, write: Write) -> None:
    assert read(write(line + b"\n")) == [message._replace(position=len(line) + 1)]


def test_lines_without_stamp_have_the_time_of_the_line_before(write: Write) -> None:
    data = b"first\n" + LINE + b"\nmore\n2026-11-23T12:00:01.500000Z mx x: y\nmore\n"
    assert [message.time for message in read(write(data))] == [0.0, NOON, NOON, NOON, NOON + 1.5, NOON + 1.5]


def test_stamps_of_all_kinds_in_one_file(write: Write) -> None:
    data = (
        b"Dec 31 23:59:59 mx a: 1\n2027-01-01T01:00:00.000000+01:00 mx a: 2\n<22>Jan  1 00:00:00 mx a: 3\n"
        b"<22>1 2027-01-01T00:00:02Z mx a 7 - - 4\nJan  1 00:00:00 mx a: 5\n<22>Jan  1 00:00:00 mx a: 6\n"
    )
    base = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    messages = read(write(data))
    assert [message.time - base for message in messages] == [-1, 0, 0, 2, 0, 0]
    assert [message.text for message in messages] == ["1", "2", "3", "4", "5", "6"]


def test_what_rsyslog_makes_of_the_own_hosts_name_is_its_own(write: Write) -> None:
    """It takes the domain off and writes small letters; the journal does neither."""
    names = ("mx1", "MX1", "Mx1.example.com", "mx1.example.net", "mx", "mx11", "amnesiac")
    lines = [LINE.replace(b" mx ", f" {name} ".encode()) for name in names]
    repeated = LINE.replace(b" mx ", b" mx1 ").partition(b" postfix")[0] + b" last message repeated 2 times\n"
    path = write(b"".join([*lines[:1], repeated, *lines[1:]]))
    own = "MX1.example.com"
    own_machine = OwnMachine(own, "", frozenset())
    options = LogfileOptions(year=2026, timezone=UTC, own_machine=own_machine)
    assert [message.host for message in read(path, options)] == [
        *([own] * 5),
        "mx1.example.net",
        "mx",
        "mx11",
        # The host of the line before it.
        "mx11",
    ]
    short = LogfileOptions(year=2026, timezone=UTC, own_machine=own_machine._replace(host="MX1"))
    assert [message.host for message in read(write(lines[0] + lines[3]), short)] == ["MX1", "mx1.example.net"]
    given = LogfileOptions(year=2026, timezone=UTC, own_machine=own_machine, host="other")
    assert {message.host for message in read(path, given)} == {"other"}


def test_host_option_is_taken_for_all(write: Write) -> None:
    messages = read(write(LINE + b"x\n" + LINE), LogfileOptions(year=2026, timezone=UTC, host="other"))
    assert [message.host for message in messages] == ["other"] * 3


def test_of_a_long_line_only_the_beginning_is_kept(compress: Callable[[bytes], bytes], write: Write) -> None:
    for size in (LINE_BYTES - 1, LINE_BYTES, LINE_BYTES + 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7):
        head = b"Nov 23 12:00:00 mx x[1]: "
        data = LINE + head + b"y" * (size - len(head)) + b"\n" + LINE
        messages = read(write(compress(data)))
        assert len(messages) == 3
        assert messages[1].text == "y" * (min(size, LINE_BYTES) - len(head))
        assert messages[1].position == len(LINE) + size + 1
        assert messages[2] == MESSAGE._replace(position=len(data))


def test_unknown_format_is_a_mistake_of_the_caller(write: Write) -> None:
    with pytest.raises(ValueError, match="csv"):
        read(write(LINE), LogfileOptions(format="csv"))


def test_format_can_be_forced(write: Write) -> None:
    path = write(b'{"MESSAGE": "x"}\n')
    assert read(path)[0].text == "x"
    assert read(path, LogfileOptions(format="syslog"))[0].text == '{"MESSAGE": "x"}'


# ---- message repeated


def test_repeated_messages_are_unfolded_and_advance_once(write: Write) -> None:
    folded = b"Nov 23 12:00:00 mx postfix/smtpd[7]: message repeated 3 times: [ a [b]: c]\n"
    messages = read(write(LINE + folded + LINE))
    assert [message.text for message in messages[1:4]] == ["a [b]: c"] * 3
    start, end = len(LINE), len(LINE + folded)
    assert [message.position for message in messages] == [start, start, start, end, end + len(LINE)]


@pytest.mark.parametrize(
    ("times", "size", "unfolded"),
    [
        (1, 1, True),
        (REPEATS, 1, True),
        (REPEATS, 100, True),
        (16, 65000, True),
        (1, 65000, True),
        (0, 1, False),
        (REPEATS + 1, 1, False),
        (999999999, 1, False),
        (REPEATS, 110, False),
        (18, 65000, False),
        (999999999, 65000, False),
    ],
)
def test_a_line_that_stands_for_too_many_is_itself_once(times: int, size: int, unfolded: bool, write: Write) -> None:
    text = b"message repeated %d times: [ %s]" % (times, b"a" * size)
    data = LINE[:37] + text + b"\n"
    messages = read(write(data + LINE))
    assert messages.pop().position == len(data + LINE)
    if unfolded:
        assert len(messages) == times
        assert messages[0].text == "a" * size
        assert sum(len(message.text) for message in messages) <= REPEATED_CHARS + size
    else:
        assert messages == [MESSAGE._replace(text=text.decode(), position=len(data))]


def test_repeats_of_no_number_are_none(write: Write) -> None:
    assert read(write(LINE[:37] + b"message repeated x times: [ a]\n"))[0].text == "message repeated x times: [ a]"


def test_repeated_message_that_was_cut(write: Write) -> None:
    messages = read(write(LINE[:37] + b"message repeated 2 times: [ a b\n"))
    assert [message.text for message in messages] == ["a b"] * 2


# ---- going on after any line


pieces = st.one_of(
    st.sampled_from(
        [
            LINE[:-1],
            b"",
            b"foreign words",
            b"\xff\xc3\xe2\x82",
            "ä€😀".encode(),
            b"Oct 25 01:59:59 mx x[1]: a",
            b"Oct 25 02:59:59 mx x[1]: a",
            b"Oct 25 02:00:00 mx x[1]: a",
            b"Oct 25 02:30:00 mx x[1]: b",
            b"Mar 29 02:30:00 mx x[1]: b",
            b"Feb 29 02:30:00 mx x[1]: b",
            b"Dec 31 23:59:60 mx x[1]: b",
            b"Jan  1 00:00:00 mx x[1]: b\r",
            b"2026-10-25T02:30:00.123456+02:00 mx x[1]: b",
            b"2026-10-25T02:30:00 mx x[1]: b",
            b"<22>1 2026-10-25T02:30:00Z mx x 1 - - b",
            b"<22>1 2026-10-25T02:30:00Z mx postfix/smtpd[7]: b",
            b"<22>1 - mx x 1 - - b",
            b"<22>Oct 25 02:59:59 mx x[1]: a",
            b"Nov 23 12:00:00 mx postfix/smtpd[7]: message repeated 3 times: [ a]",
            b"y" * (LINE_BYTES + 5),
            b"\xef\xbb\xbfNov 23 12:00:00 mx x: y",
            b"Nov 23 12:00:00 mx last message repeated 3 times",
            b"Nov 23 12:00:00 mx syslogd: last message repeated 2 times",
            b"Nov 23 12:00:00 db last message repeated 2 times",
            b"Nov 23 12:00:00 db postfix/smtpd[8]: c",
            b"Nov 23 12:00:00 --- last message repeated 1 time ---",
            b"Nov 23 12:00:00 mx x[2]: Last message 'a' repeated 2 times, suppressed by syslog-ng on mx",
            b"Nov 23 12:00:00 amnesiac postfix/smtpd[9]: fatal: b",
            b"Sun 2026-10-25 02:30:00 CET mx x[1]: b",
            b"Nov 23 12:00:00 mx x[1]: a#303#274",
        ]
    ),
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")),
    st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)).map(  # noqa: DTZ001
        lambda moment: f"{moment:%b %d %H:%M:%S} mx postfix/qmgr[{moment.second}]: x".encode()
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(pieces, max_size=12), st.booleans(), st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), None]))
def test_going_on_after_any_line_is_as_if_never_interrupted(
    tmp_path_factory: pytest.TempPathFactory, found: list[bytes], ended: bool, zone: ZoneInfo | None
) -> None:
    data = b"\n".join(found) + (b"\n" if ended and found else b"")
    path = tmp_path_factory.mktemp("logs") / "log"
    options = LogfileOptions(timezone=zone, format="syslog")
    for raw in (data, gzip.compress(data)):
        path.write_bytes(raw)
        os.utime(path, (NOON, NOON))
        try:
            whole = read(str(path), options)
        except InputError as error:
            assert "binary" in str(error)  # noqa: PT017
            return
        before = 0
        for index, message in enumerate(whole):
            message.text.encode()
            if message.position > before:
                assert read(str(path), options, message.position, message.time) == whole[index + 1 :]
            before = message.position
        assert before == len(data)
        assert len({message.position for message in whole}) <= data.count(b"\n") + 1 + (len(whole) > 0)


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 9))
def test_blocks_give_each_line_as_if_decoded_alone(found: list[bytes], size: int) -> None:
    data = b"\n".join(found)
    rest = data

    def read_some(_: int) -> bytes:
        nonlocal rest
        some, rest = rest[:size], rest[size:]
        return some

    got: list[str] = []
    ends: list[int] = []
    for block, dropped in iter_blocks(read_some, lambda: False):
        texts, positions = cut_lines(block, dropped, ends[-1] if ends else 0)
        got += texts
        ends += positions
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert got == [line.decode("utf-8", "replace").removesuffix("\r") for line in expected]
    assert (ends[-1] if ends else 0) == len(data)


# ---- the year, from a file's time


def times(path: str, zone: ZoneInfo | None = None, year: int | None = None) -> list[str]:
    options = LogfileOptions(timezone=zone or ZoneInfo("UTC"), year=year)
    return [datetime.fromtimestamp(message.time, UTC).isoformat()[:10] for message in read(path, options)]


def stamped(*stamps: str) -> bytes:
    return "".join(f"{stamp} mx postfix/smtpd[1]: x\n" for stamp in stamps).encode()


def test_year_comes_from_the_time_of_the_file(compress: Callable[[bytes], bytes], write: Write) -> None:
    mtime = datetime(2021, 2, 3, tzinfo=UTC).timestamp()
    data = compress(stamped("Nov  1 00:00:00", "Jan  2 00:00:00", "Feb  2 00:00:00"))
    assert times(write(data, mtime=mtime)) == ["2020-11-01", "2021-01-02", "2021-02-02"]
    assert times(write(data, mtime=mtime), year=2010) == ["2010-11-01", "2011-01-02", "2011-02-02"]


def test_file_of_more_than_a_year(write: Write) -> None:
    months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
    stamps = [f"{month} {day:2} 10:00:00" for _ in range(3) for month in months for day in (1, 15, 28)]
    mtime = datetime(2023, 12, 28, 11, tzinfo=UTC).timestamp()
    found = times(write(stamped(*stamps), mtime=mtime))
    assert found == sorted(found)
    assert (found[0], found[-1]) == ("2021-01-01", "2023-12-28")


def test_leap_day_first(write: Write) -> None:
    mtime = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    assert times(write(stamped("Feb 29 00:00:00", "Mar  1 00:00:00"), mtime=mtime)) == ["2024-02-29", "2024-03-01"]


def test_year_is_the_same_wherever_reading_goes_on_without_a_time(write: Write) -> None:
    data = b"no stamp\n" + stamped("Nov  1 00:00:00", "Jan  2 00:00:00")
    path = write(data, mtime=datetime(2021, 2, 3, tzinfo=UTC).timestamp())
    options = LogfileOptions(timezone=UTC)
    assert read(path, options, 9, 0.0) == read(path, options)[1:]


# ---- a file that is being written


def writer(path: str, steps: list[bytes]) -> tuple[Callable[[float], None], list[float]]:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if steps:
            with Path(path).open("ab") as file:
                file.write(steps.pop(0))

    return sleep, slept


def test_the_rest_of_a_line_is_waited_for(write: Write) -> None:
    path = write(LINE + LINE[:20])
    sleep, slept = writer(path, [b"", LINE[20:30], LINE[30:] + b"x"])
    with Logfile(path, clock=lambda: Path(path).stat().st_mtime, sleep=sleep) as logfile:
        messages = list(iter_logfile_messages(logfile, OPTIONS))
        assert logfile.unfinished == 1
    assert [message.text for message in messages] == [MESSAGE.text] * 2
    assert messages[-1].position == 2 * len(LINE)
    assert sum(slept) == pytest.approx(1.0, abs=0.11)


@pytest.mark.parametrize(
    "data",
    [LINE, b'{"MESSAGE": "x"}\n', b"MESSAGE=x\nSYSLOG_IDENTIFIER=y\n\n", LINE[:37] + b"x" * 2 * LINE_BYTES + b"\n"],
)
@pytest.mark.parametrize(("age", "left"), [(0, True), (59, True), (-59, True), (61, False), (-3600, False)])
def test_an_unfinished_line_is_left_while_somebody_may_write_it(
    data: bytes, age: float, left: bool, write: Write
) -> None:
    for cut in (1, 2, 5):
        path = write(data * 2 + data[:-cut])
        clock = lambda path=path: Path(path).stat().st_mtime + age  # noqa: E731
        with Logfile(path, clock=clock, sleep=lambda _: None) as logfile:
            messages = list(iter_logfile_messages(logfile, OPTIONS))
            assert len(messages) == 2 + (not left)
            assert messages[-1].position == 2 * len(data) + (0 if left else len(data) - cut)
            assert logfile.unfinished == (len(data) - cut if left else 0)
            assert len(list(iter_logfile_messages(logfile, OPTIONS, take_unfinished=True))) == 3
            assert not logfile.unfinished
            assert logfile.first_time(OPTIONS) == (messages[0].time or None)
            # Its rest comes.
            with Path(path).open("ab") as file:
                file.write(data[-cut:] + data)
            if left:
                last = messages[-1]
                again = list(iter_logfile_messages(logfile, OPTIONS, last.position, last.time))
                assert [message.text for message in again] == [last.text] * 2
                assert not logfile.unfinished


def test_nothing_but_an_unfinished_line(write: Write) -> None:
    path = write(LINE[:-1])
    with Logfile(path, clock=lambda: Path(path).stat().st_mtime, sleep=lambda _: None) as logfile:
        assert list(iter_logfile_messages(logfile, OPTIONS)) == []
        assert logfile.unfinished == len(LINE) - 1


def test_the_rest_of_a_line_that_was_taken_unfinished_is_no_line(
    compress: Callable[[bytes], bytes], write: Write
) -> None:
    """Whatever it looks like; and the lines behind it are read as ever."""
    line = LINE[:-1] + b" " + LINE
    data = LINE + line + LINE
    for cut in range(len(LINE) + 1, len(data) - len(LINE)):
        taken = read(write(data[:cut]))
        assert taken[-1].position == cut
        again = read(write(compress(data), name="whole"), OPTIONS, cut, NOON)
        rest = data[cut : -len(LINE) - 1].decode()
        fragments = [LogMessage("", "", 0, NOON, rest, len(data) - len(LINE))] if rest else []
        assert again == [*fragments, MESSAGE._replace(position=len(data))]


@pytest.mark.parametrize("size", [LINE_BYTES + 5, CHUNK_BYTES + 5])
def test_a_long_rest_of_a_line(size: int, write: Write) -> None:
    path = write(LINE + b"x" * 10 + b"y" * size)
    host = LogfileOptions(year=2026, timezone=UTC, host="other")
    expected = LogMessage("other", "", 0, NOON, "y" * LINE_BYTES, len(LINE) + 10 + size)
    assert read(path, host, len(LINE) + 10, NOON) == [expected]
    with Path(path).open("ab") as file:
        file.write(b"\n" + LINE)
    assert [message.text for message in read(path, host, expected.position, NOON)] == [MESSAGE.text]
    assert read(path, host, len(LINE) + 10, NOON)[0] == expected._replace(position=expected.position + 1)


def test_the_rest_of_an_entry_in_a_file(write: Write) -> None:
    entry = b"MESSAGE=x\nSYSLOG_IDENTIFIER=postfix/smtpd\nMESSAGE=y\n\n"
    path = write(entry * 3)
    messages = read(path, OPTIONS, len(entry) + 10)
    assert [(message.identifier, message.text) for message in messages] == [("", "y"), ("postfix/smtpd", "x\ny")]


def test_nobody_waits_for_a_line_that_has_been_standing(write: Write) -> None:
    path = write(LINE + LINE[:20])
    sleep, slept = writer(path, [])
    with Logfile(path, clock=lambda: Path(path).stat().st_mtime + 3600, sleep=sleep) as logfile:
        assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 2
    assert not slept


def test_nobody_waits_after_a_whole_line_or_for_a_compressed_file(write: Write) -> None:
    for data in (LINE, gzip.compress(LINE[:-1])):
        path = write(data)
        sleep, slept = writer(path, [])
        with Logfile(path, clock=lambda path=path: Path(path).stat().st_mtime, sleep=sleep) as logfile:  # type: ignore[misc]
            assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 1
        assert not slept


def test_a_file_is_read_on_after_it_was_renamed_or_deleted(write: Write) -> None:
    path = write(LINE * 3)
    with Logfile(path) as logfile:
        Path(path).unlink()
        assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 3
        assert logfile.first_time(OPTIONS) == NOON


# ---- standard input


def test_pipe(compress: Callable[[bytes], bytes], pipe: Callable[[bytes], None], write: Write) -> None:
    data = lines(3_000)
    plain = read(write(data))
    pipe(compress(data))
    with Logfile("-") as logfile, Logfile(write(data)) as file:
        assert logfile.name == "stdin"
        assert logfile.first_time(OPTIONS) == plain[0].time
        assert logfile.head() == file.head()
        assert list(iter_logfile_messages(logfile, OPTIONS, plain[4].position, plain[4].time)) == plain[5:]
        assert logfile.progress() == (len(compress(data)), None)


def test_pipe_without_final_newline_is_complete(pipe: Callable[[bytes], None]) -> None:
    pipe(LINE[:-1])
    with Logfile("-") as logfile:
        assert list(iter_logfile_messages(logfile, OPTIONS)) == [MESSAGE._replace(position=len(LINE) - 1)]


def test_year_of_a_pipe_comes_from_the_clock(pipe: Callable[[bytes], None]) -> None:
    pipe(stamped("Nov 24 00:00:00", "Dec 24 00:00:00"))
    with Logfile("-", clock=lambda: NOON) as logfile:
        messages = list(iter_logfile_messages(logfile, LogfileOptions(timezone=UTC)))
    assert [datetime.fromtimestamp(message.time, UTC).year for message in messages] == [2026, 2026]


def test_empty_pipe(pipe: Callable[[bytes], None]) -> None:
    pipe(b"")
    with Logfile("-") as logfile:
        assert logfile.head() == b""
        assert list(iter_logfile_messages(logfile, OPTIONS)) == []


def test_lines_of_a_pipe_come_as_they_are_written() -> None:
    script = (
        "from journal_postfix.sources.logfile import *\n"
        "for message in iter_logfile_messages(Logfile('-'), LogfileOptions()): print(message.text, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(PROGRAM)},
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdin.write(LINE)
            assert process.stdout.readline().decode() == MESSAGE.text + "\n"
        process.stdin.close()
        assert process.wait() == 0


def test_redirected_file_is_a_regular_one(write: Write, pipe: Callable[[bytes], None]) -> None:
    pipe(b"")  # saves and restores standard input
    fd = os.open(write(LINE * 2), os.O_RDONLY)
    os.dup2(fd, 0)
    os.close(fd)
    with Logfile("-") as logfile:
        assert logfile.progress() == (0, 2 * len(LINE))
        assert len(list(iter_logfile_messages(logfile, OPTIONS))) == 2
    os.lseek(0, len(LINE), os.SEEK_SET)
    with Logfile("-") as logfile:
        assert list(iter_logfile_messages(logfile, OPTIONS)) == [MESSAGE]


# ---- several files


def test_files_are_sorted_by_their_first_time(compress: Callable[[bytes], bytes], write: Write) -> None:
    mtime = datetime(2026, 2, 3, tzinfo=UTC).timestamp()
    paths = [
        write(b"no stamp\n", name="none"),
        write(stamped("Feb  1 00:00:00"), mtime=mtime, name="log"),
        write(compress(b"junk\n" + stamped("Dec 20 00:00:00", "Jan 15 00:00:00")), mtime=mtime, name="log.1"),
        write(b"", name="empty"),
        write(b'{"MESSAGE":"x","__REALTIME_TIMESTAMP":"1"}\n', name="json"),
    ]
    files, errors = open_in_time_order(paths, LogfileOptions(timezone=UTC))
    assert not errors
    assert [Path(file.name).name for file in files] == ["json", "log.1", "log", "none", "empty"]
    for file in files:
        file.close()


def test_more_files_than_descriptors(tmp_path: Path) -> None:
    paths = []
    for number in range(300):
        path = tmp_path / str(number)
        path.write_bytes(f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z mx x: {number}\n".encode())
        paths.append(str(path))
    files, errors = open_in_time_order(paths[::-1], OPTIONS)
    assert not errors
    assert len(open_files()) < 100
    assert [message.text for file in files for message in iter_logfile_messages(file, OPTIONS)] == [
        str(number) for number in range(300)
    ]
    for file in files:
        file.close()


def test_what_cannot_be_opened_is_left_out_and_told(write: Write) -> None:
    before = open_files()
    files, errors = open_in_time_order([write(LINE), "/none"], OPTIONS)
    assert [str(error) for error in errors] == ["/none: no such file"]
    assert len(files) == 1
    files[0].close()
    assert open_files() == before
