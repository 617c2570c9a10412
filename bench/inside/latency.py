"""Writes lines as Postfix does, at a given rate, and looks when their mails are in the database.

`latency.py RATE SECONDS` runs inside the machine, in a unit that is believed to be Postfix's. Prints
one JSON object: seconds from writing each mail's last line until another connection sees it, and counts.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

import psycopg2

POLL_S = 0.002
DUE_S = 120.0
RUN = os.getpid() % 0xFFF
HOW = "relay=mx.example.net[198.51.100.1]:25, delay=1, delays=0.2/0/0.3/0.5"
TEXTS = (
    ("smtpd", "{id}: client=a.example.com[192.0.2.1]"),
    ("cleanup", "{id}: message-id=<{id}@id.example>"),
    ("qmgr", "{id}: from=<a@example.com>, size=1000, nrcpt=1 (queue active)"),
    ("smtp", "{id}: to=<b@example.net>, " + HOW + ", dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1)"),
    ("qmgr", "{id}: removed"),
)


class Writer(threading.Thread):
    """Writes mails, line by line, evenly over the time; keeps when each one's last line was written."""

    def __init__(self, rate: float, seconds: float) -> None:
        super().__init__()
        self.written: dict[str, float] = {}
        self.lines = 0
        self.took = 0.0
        self._rate = rate
        self._mails = max(round(rate * seconds / len(TEXTS)), 1)

    def run(self) -> None:
        """Write all."""
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        journal.connect("/dev/log")
        began = time.time()
        for number in range(self._mails):
            queue_id = f"{RUN:03X}{number:08X}"
            for program, text in TEXTS:
                ahead = began + self.lines / self._rate - time.time()
                if ahead > 0:
                    time.sleep(ahead)
                line = f"<22>{time.strftime('%b %e %H:%M:%S')} postfix/{program}[42]: {text.format(id=queue_id)}"
                journal.send(line.encode())
                self.lines += 1
            self.written[queue_id] = time.time()
        self.took = time.time() - began


def main() -> None:
    """Write, watch, print."""
    writer = Writer(float(sys.argv[1]), float(sys.argv[2]))
    connection = psycopg2.connect("dbname=journal_postfix")
    connection.autocommit = True
    cursor = connection.cursor()
    reached = 0
    position = None
    seen: dict[str, float] = {}
    lost_at = 0.0
    writer.start()
    while True:
        is_done = not writer.is_alive()
        # Cheap, and changes with each transaction of the daemon; what that made visible is asked once for each.
        cursor.execute("SELECT position FROM input_position WHERE kind = 'journal'")
        now, row = time.time(), cursor.fetchone()
        if row != position:
            position = row
            order = list(writer.written.items())
            # What was written first and not seen yet: nothing older is new.
            while reached < len(order) and order[reached][0] in seen:
                reached += 1
            since = order[reached][1] if reached < len(order) else now
            cursor.execute("SELECT queue_id FROM delivery_from WHERE ended >= to_timestamp(%s)", (since - 1,))
            for (queue_id,) in cursor.fetchall():
                seen.setdefault(queue_id, now)
        if is_done:
            lost_at = lost_at or now + DUE_S
            if len(seen.keys() & writer.written.keys()) == len(writer.written) or now > lost_at:
                break
        time.sleep(POLL_S)
    latencies = [seen[queue_id] - at for queue_id, at in writer.written.items() if queue_id in seen]
    print(
        json.dumps({"latencies": latencies, "mails": len(writer.written), "lines": writer.lines, "took": writer.took})
    )


if __name__ == "__main__":
    main()
