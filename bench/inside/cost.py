"""What units have computed so far: `cost.py UNIT…` prints one JSON object, unit -> seconds and switches.

Runs inside the machine, beside bench/measuring.py. The time of a unit is that of its main process and all that it has
started, the dead included: cgroups' accounts are not to be had in every container. `switches` are those of the main
process's threads that gave the processor up by themselves: each is a wake-up that has ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, "/opt/bench")

from measuring import cpu_of_tree

MASTER = Path("/var/spool/postfix/pid/master.pid")


def main_pid(unit: str) -> int:
    """Give the main process of a unit, as systemd knows it; of Postfix's it is not told, so Postfix itself is asked."""
    if unit.startswith("postfix"):
        return int(MASTER.read_text(encoding="ascii"))
    command = ["systemctl", "show", "--property=MainPID", "--value", unit]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def switches_of(pid: int) -> int:
    """Count how often a process has waited, over all its threads."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
        count += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))
    return count


def main() -> None:
    """Print."""
    found = {}
    for unit in sys.argv[1:]:
        pid = main_pid(unit)
        found[unit] = {"cpu_s": cpu_of_tree(pid), "switches": switches_of(pid)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
