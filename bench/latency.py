"""Measure how long a line takes from being written until another connection sees it in the database.

`molecule/run .venv/bin/python bench/latency.py [--rates 10,1000,5000] [--seconds 30] [--poll 0.5]` starts a machine,
writes lines of whole mails through journald at each rate (from a unit that is believed to be Postfix's), and prints
median, p99 and the longest time. PostgreSQL and the daemon are configured as they come (fsync on); `--poll` is
journal_poll_interval.
"""

from __future__ import annotations

import json
import statistics
import sys

from machine import ROOT, Machine, parser


def main() -> int:
    """Run it; status 1 if a mail did not come."""
    arguments_of = parser(__doc__ or "")
    arguments_of.add_argument("--rates", default="10,1000,5000", help="lines per second (%(default)s)")
    arguments_of.add_argument("--seconds", type=float, default=30.0, help="for each rate (%(default)s)")
    arguments_of.add_argument("--poll", type=float, default=0.5, help="journal_poll_interval (%(default)s)")
    arguments = arguments_of.parse_args()
    missing = 0
    with Machine(arguments.suite) as machine:
        machine.configure(journal_poll_interval=arguments.poll)
        machine.put({ROOT / "bench" / "inside" / "latency.py": "latency.py"}, "opt/bench")
        machine.run("systemctl start journal-postfix")
        for rate in arguments.rates.split(","):
            output = machine.run(
                "systemd-run --quiet --wait --collect --pipe --unit=postfix-bench "
                f"/usr/bin/python3 -B /opt/bench/latency.py {float(rate)} {arguments.seconds}"
            )
            found = json.loads(output)
            times = sorted(found["latencies"])
            missing += found["mails"] - len(times)
            p99 = times[min(round(len(times) * 0.99), len(times) - 1)]
            print(
                f"{rate} lines/s asked, {found['lines'] / found['took']:.0f} written: median "
                f"{statistics.median(times) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, longest {times[-1] * 1000:.0f} ms "
                f"({len(times)} mails, {found['mails'] - len(times)} missing)",
                flush=True,
            )
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
