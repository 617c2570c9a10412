"""The other programs of compare.py, each with what it must be told to do its work, and a check that it did.

Takes the inputs; each run gives its cost and, in words, what the program read. Where that is less than what is there,
`Outcome.problem` says so: a program that has read nothing is no contestant. Writes below the given folder only; the
exporter listens on a port of the loopback interface.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from inputs import Inputs
from measuring import Cost, cpu_of, peak_of, run_measured, wait_until

_LOGWATCH: Final = Path("/usr/share/logwatch/scripts/services/postfix")
_SHARE: Final = 0.5
"""Of what plain counting finds. Who has done less has not done the work; who has done less than all is told by `did`:
an instance with another name, a form of queue ids, deliveries that are forwards."""
_UP_S: Final = 1.5
_STILL_S: Final = 3.0
_DUE_S: Final = 600.0
_METRIC: Final = re.compile(r"^postfix_qmgr_messages_removed_total (\S+)", re.MULTILINE)


class Outcome(NamedTuple):
    """One run: what it took, what it did, and what it left undone ('' if nothing)."""

    cost: Cost
    did: str
    problem: str = ""


class Contest(NamedTuple):
    """One contestant: its name, what it makes of the lines, and how it is run; `lines` of 0: it reads no lines."""

    name: str
    product: str
    run: Callable[[], Outcome]
    lines: int


class Missing(NamedTuple):
    """A contestant that is not here, and the Debian package that brings it."""

    name: str
    package: str


def find_peers(inputs: Inputs, folder: Path) -> tuple[list[Contest], list[Missing]]:
    """Give the peers that are installed, and the others."""
    found: list[Contest] = []
    missing: list[Missing] = []
    known: list[tuple[str, str, str, bool, Callable[[Inputs, Path], Outcome]]] = [
        ("pflogsumm", "pflogsumm", "summary", shutil.which("pflogsumm") is not None, _pflogsumm),
        ("logwatch's postfix script", "logwatch", "summary", _LOGWATCH.exists(), _logwatch),
        (
            "prometheus-postfix-exporter",
            "prometheus-postfix-exporter",
            "counters",
            shutil.which("prometheus-postfix-exporter") is not None,
            _exporter,
        ),
        (
            "journalctl -o export, three fields",
            "systemd-journal-remote",
            "text",
            inputs.journal is not None,
            _journalctl,
        ),
    ]
    for name, package, product, is_here, run in known:
        if is_here:
            found.append(Contest(name, product, lambda run=run: run(inputs, folder), inputs.lines))  # type: ignore[misc]
        else:
            missing.append(Missing(name, package))
    return found, missing


def _judge(cost: Cost, did: int, of: int, what: str) -> Outcome:
    text = f"{did:,} {what}" if did == of else f"{did:,} of {of:,} {what}"
    return Outcome(cost, text, "" if did >= _SHARE * of else f"found {text}")


def _number(pattern: str, text: str) -> int:
    return sum(int(found.replace(",", "")) for found in re.findall(pattern, text, re.MULTILINE))


def _pflogsumm(inputs: Inputs, folder: Path) -> Outcome:
    out = folder / "pflogsumm.out"
    cost = run_measured(["pflogsumm", inputs.log], stdout=out)
    # Large numbers are cut to thousands: 7327k.
    found = re.search(r"^ +(\d+)(k?) +delivered", out.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    count = 0 if found is None else int(found[1]) * (1000 if found[2] else 1)
    sent = inputs.sent // 1000 * 1000 if found is not None and found[2] else inputs.sent
    return _judge(cost, count, sent, "deliveries")


def _logwatch(inputs: Inputs, folder: Path) -> Outcome:
    out = folder / "logwatch.out"
    # It takes either long queue ids or short ones for what they are.
    command: list[str | Path] = ["perl", "-I/usr/share/logwatch/lib", _LOGWATCH, "--detail", "0"]
    command += ["--long_queue_ids"] if 2 * inputs.long_ids > inputs.removed else []
    cost = run_measured(command, stdin=inputs.classic, stdout=out)
    text = out.read_text(encoding="utf-8", errors="replace")
    return _judge(cost, _number(r"^ *([\d,]+) +Removed from queue", text), inputs.removed, "mails removed")


def _exporter(inputs: Inputs, folder: Path) -> Outcome:
    # It reads what is appended while it runs.
    log = folder / "followed.log"
    log.write_bytes(b"")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["prometheus-postfix-exporter", f"--postfix.logfile_path={log}", "--postfix.showq_path=/nonexistent"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _metrics(port), 20, "the exporter's port")
        time.sleep(_UP_S)
        before = cpu_of(process.pid)
        began = changed = time.monotonic()
        with inputs.log.open("rb") as source, log.open("ab") as target:
            shutil.copyfileobj(source, target)
        removed = -1
        # Over when all is counted, or when nothing has changed for a while.
        while removed < inputs.removed and time.monotonic() < min(changed + _STILL_S, began + _DUE_S):
            found = _METRIC.search(_metrics(port))
            count = round(float(found[1])) if found else 0
            if count != removed:
                removed, changed = count, time.monotonic()
            time.sleep(0.05)
        cost = Cost(changed - began, cpu_of(process.pid) - before, 0.0, peak_of(process.pid))
    finally:
        process.terminate()
        process.wait()
        log.unlink()
    return _judge(cost, removed, inputs.removed, "mails removed")


def _metrics(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError), opener.open(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text: str = answer.read().decode()
        return text
    return ""


def _journalctl(inputs: Inputs, folder: Path) -> Outcome:
    out = folder / "journalctl.out"
    assert inputs.journal is not None
    fields = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID"
    command: list[str | Path] = ["journalctl", "--quiet", "--output=export", fields, "--directory", inputs.journal]
    cost = run_measured(command, stdout=out)
    with out.open("rb") as printed:
        count = sum(line.startswith(b"__CURSOR=") for line in printed)
    out.unlink()
    return _judge(cost, count, inputs.lines, "entries")
