"""What the daemon computes beside what Postfix does for the same mails, and what it does when there is nothing to do.

`molecule/run .venv/bin/python bench/daemon_cost.py [--seconds 60] [--idle 60]` starts a machine (see machine.py), lets
mails of all fates come (load.py) until all are delivered and stored, and prints the computing seconds of Postfix's
processes, of the daemon, of PostgreSQL and of journald, per mail and in relation to Postfix's. Then the machine is left
alone: how often the daemon wakes up, and what that costs. Status 1 if something is missing in the database. The senders
and receivers of the load are not counted.
"""

from __future__ import annotations

import json
import sys
import time

from load import KINDS, Load
from machine import ROOT, Machine, parser
from measuring import machine_in_words, table

DAEMON = "journal-postfix.service"
POSTFIX = "postfix.service"
JOURNALD = "systemd-journald.service"
SETTLE_S = 10.0


class Costs:
    """The units' accounts on a machine: `take` gives them since the last time."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.postgres = machine.postgres_unit()
        self.units = {"Postfix": POSTFIX, "the daemon": DAEMON, "PostgreSQL": self.postgres, "journald": JOURNALD}
        machine.put(
            {ROOT / "bench" / "inside" / "cost.py": "cost.py", ROOT / "bench" / "measuring.py": "measuring.py"},
            "opt/bench",
        )
        self._last: dict[str, dict[str, float]] = {}
        self.take()

    def take(self) -> dict[str, dict[str, float]]:
        """Give by what they are called in the report: `cpu_s` and `switches`."""
        answer = json.loads(
            self._machine.run(f"/usr/bin/python3 -B /opt/bench/cost.py {' '.join(self.units.values())}")
        )
        now = {name: answer[unit] for name, unit in self.units.items()}
        before, self._last = self._last, now
        return {
            name: {key: value - before.get(name, {}).get(key, 0) for key, value in one.items()}
            for name, one in now.items()
        }


def main() -> int:
    """Run it; status 1 if mails are missing."""
    arguments_of = parser(__doc__ or "")
    arguments_of.add_argument("--seconds", type=float, default=60.0, help="of load (%(default)s)")
    arguments_of.add_argument("--idle", type=float, default=60.0, help="seconds without load (%(default)s)")
    arguments_of.add_argument("--poll", type=float, default=0.5, help="journal_poll_interval (%(default)s)")
    arguments = arguments_of.parse_args()
    words = machine_in_words()
    with Machine(arguments.suite) as machine:
        load = Load(machine)
        machine.configure(journal_poll_interval=arguments.poll)
        machine.run("systemctl start journal-postfix")
        # It configures Postfix and starts it anew: what is counted begins behind that.
        load.start()
        costs = Costs(machine)
        began = time.monotonic()
        time.sleep(arguments.seconds)
        load.stop(900)
        machine.catch_up(900)
        busy = costs.take()
        took = time.monotonic() - began
        sent = sum(load.counts()[kind.name] for kind in KINDS if kind.name != "rejected")
        senders = ", ".join(f"'{kind.name}@source.example'" for kind in KINDS)
        mails = int(machine.sql(f"SELECT count(*) FROM delivery_from WHERE sender IN ({senders})"))  # noqa: S608
        entries = int(machine.sql("SELECT count(*) FROM delivery_from"))
        lines = int(machine.sql("SELECT sum(lines) FROM line_counter"))
        time.sleep(SETTLE_S)
        costs.take()
        time.sleep(arguments.idle)
        idle = costs.take()
        version = machine.run("postconf -h mail_version").strip()
    print(f"{time.strftime('%Y-%m-%d')}: {words}; the machine: Debian {arguments.suite}, Postfix {version}\n")
    print(f"{took:.0f} s, {sent:,} mails sent, {mails:,} stored ({entries:,} queue entries, {lines:,} lines)\n")
    postfix = busy["Postfix"]["cpu_s"]
    head = ["unit", "CPU s", "ms per queue entry", "of Postfix's", f"idle: ms in {arguments.idle:.0f} s", "wake-ups/s"]
    rows = [
        [
            name,
            f"{one['cpu_s']:.2f}",
            f"{1000 * one['cpu_s'] / entries:.3f}",
            f"{one['cpu_s'] / postfix:.0%}",
            f"{1000 * idle[name]['cpu_s']:.0f}",
            f"{idle[name]['switches'] / arguments.idle:.1f}",
        ]
        for name, one in busy.items()
    ]
    print(table(head, rows))
    return int(mails != sent)


if __name__ == "__main__":
    sys.exit(main())
