#!/usr/bin/env python3
"""How long look-ups take: `bench/lookups.py FOLDER [KIND…]`, on what fill_mails.py made.

Takes the folder of the throw-away server; prints for each kind of look-up the median and the 99th percentile in
milliseconds over SAMPLES different values drawn from the database (as often as they occur there), on one warm
connection. The program's own start is not in it (`journal-postfix --version` tells that).
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "files/journal-postfix")]

from fill_mails import SETTINGS  # noqa: E402
from journal_postfix.store import Database  # noqa: E402
from journal_postfix.store.search import Criteria, search  # noqa: E402
from journal_postfix.store.trace import find_entries, find_nearest, load_stories  # noqa: E402
from scratch_postgres import ScratchPostgres, find_servers  # noqa: E402

SAMPLES = 200
MAX_S = 60
SAMPLE = """
SELECT
    f.queue_id, f.message_id, f.sender, t.recipient, coalesce(t.orig_to, t.recipient) AS orig_to,
    host(f.client_ip) AS client_ip, f.client_hostname, coalesce(f.sasl_username, 'user7@staff.example') AS login,
    f.began, t.relay_host, f.subject
FROM delivery_from AS f INNER JOIN delivery_to AS t USING (mail_id)
WHERE f.mail_id = ANY(%s) AND f.sender <> ''
"""
Row = dict[str, Any]


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


def _part(text: str, length: int) -> str:
    start = random.randrange(max(1, len(text) - length))
    return text[start : start + length]


SEARCHES: dict[str, Callable[[Row], Criteria]] = {
    "newest": lambda row: Criteria(),
    "sender": lambda row: Criteria(sender=row["sender"]),
    "sender's domain": lambda row: Criteria(sender="@" + _domain(row["sender"])),
    "recipient": lambda row: Criteria(recipient=row["recipient"]),
    "recipient as addressed": lambda row: Criteria(recipient=row["orig_to"]),
    "recipient's domain": lambda row: Criteria(recipient="@" + _domain(row["recipient"])),
    "sender and recipient": lambda row: Criteria(sender=row["sender"], recipient=row["recipient"]),
    "message-id": lambda row: Criteria(message_id=row["message_id"]),
    "queue id": lambda row: Criteria(queue_id=row["queue_id"]),
    "bare word, an address": lambda row: Criteria(term=row["recipient"]),
    "part of a sender, 10 long": lambda row: Criteria(sender=_part(row["sender"], 10)),
    "part of a recipient, 10 long": lambda row: Criteria(recipient=_part(row["recipient"], 10)),
    "part of a recipient, before @": lambda row: Criteria(recipient=row["recipient"].rpartition("@")[0] + "@"),
    "part of a recipient, 4 long": lambda row: Criteria(recipient=_part(row["recipient"], 4)),
    "part that nobody has": lambda row: Criteria(recipient=f"zq{random.randrange(10**6)}x"),
    "bare part, 10 long": lambda row: Criteria(term=_part(row["sender"], 10)),
    "client's address": lambda row: Criteria(client=row["client_ip"]),
    "client's network /24": lambda row: Criteria(client=row["client_ip"] + "/24"),
    "client's name": lambda row: Criteria(client=row["client_hostname"]),
    "login": lambda row: Criteria(sasl_user=row["login"]),
    "login's domain": lambda row: Criteria(sasl_user="@staff.example"),
    "login that nobody has": lambda row: Criteria(sasl_user="nobody7@staff.example"),
    "dsn 5.1.1": lambda row: Criteria(dsn="5.1.1"),
    "dsn 5.7.26": lambda row: Criteria(dsn="5.7.26"),
    "dsn that never came": lambda row: Criteria(dsn="5.4.6"),
    "fate bounced": lambda row: Criteria(fate="bounced"),
    "fate handed on": lambda row: Criteria(fate="handed on"),
    "relay": lambda row: Criteria(relay=row["relay_host"]),
    "subject": lambda row: Criteria(subject=row["subject"] or "offer no. 77"),
    "an hour": lambda row: Criteria(since=row["began"], until=row["began"] + timedelta(hours=1)),
    "sender in an hour": lambda row: Criteria(
        sender=row["sender"], since=row["began"] - timedelta(hours=1), until=row["began"] + timedelta(hours=1)
    ),
}


def _trace(database: Database, text: str) -> int:
    found = find_entries(database, text)
    return len(load_stories(database, [entry.mail_id for entry in found.entries[:10]]))


TRACES: dict[str, Callable[[Database, Row], int]] = {
    "trace by queue id": lambda database, row: _trace(database, row["queue_id"]),
    "trace by message-id": lambda database, row: _trace(database, row["message_id"]),
    "trace, id cut short": lambda database, row: len(find_nearest(database, row["queue_id"][:-2])),
}


def _report(name: str, run: Callable[[Row], int], rows: list[Row], cpu: Callable[[], float]) -> None:
    for row in rows[:3]:
        run(row)
    times, costs, found = [], [], 0
    begin = time.monotonic()
    for row in rows:
        start, spent = time.perf_counter(), cpu()
        found += run(row)
        times.append((time.perf_counter() - start) * 1000)
        costs.append((cpu() - spent) * 1000)
        if time.monotonic() - begin > MAX_S:
            break
    texts = [f"{name:32} "]
    for label, values in (("p50", times), ("cpu", costs)):
        values.sort()
        p99 = values[min(len(values) - 1, int(len(values) * 0.99))]
        texts.append(f"{label} {values[len(values) // 2]:8.1f}  p99 {p99:8.1f} ")
    print(*texts, f"n {len(times):4}  found {found}", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", help="only kinds that begin so")
    arguments = parser.parse_args()
    random.seed(1)
    settings = {**SETTINGS, "fsync": "off"}
    with (
        ScratchPostgres(arguments.folder, server=find_servers()[0], settings=settings) as server,
        closing(Database(server.database_dsn("bench"))) as database,
    ):
        (last,) = database.fetch("SELECT max(mail_id) FROM delivery_from")[0]
        numbers = [random.randrange(last) for _ in range(SAMPLES * 2)]
        rows = database.fetch_dicts(SAMPLE, (numbers,))[:SAMPLES]
        random.shuffle(rows)
        runs: dict[str, Callable[[Row], int]] = {
            name: lambda row, make=make: len(search(database, make(row), 50).results)  # type: ignore[misc]
            for name, make in SEARCHES.items()
        }
        runs |= {name: lambda row, do=do: do(database, row) for name, do in TRACES.items()}  # type: ignore[misc]
        (backend,) = database.fetch("SELECT pg_backend_pid()")[0]

        def cpu() -> float:
            """Seconds that we and the server's process have computed: that does not depend on the machine's load."""
            spent = int(Path(f"/proc/{backend}/schedstat").read_text(encoding="ascii").split()[0])
            return spent / 1e9 + time.process_time()

        for name, run in runs.items():
            if not arguments.kinds or name.startswith(tuple(arguments.kinds)):
                _report(name, run, rows, cpu)


if __name__ == "__main__":
    main()
