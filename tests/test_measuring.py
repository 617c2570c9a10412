"""bench/measuring.py: whose time and memory is counted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from measuring import Failed, cpu_of, cpu_of_tree, peak_of, run_measured, spread, table

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
# A child that has burnt and is waited for; then it says so, and waits itself.
PARENT = (
    f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint(flush=True)\nsys.stdin.read()"
)


def test_the_time_of_a_tree_has_that_of_the_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # In hundredths, of which what is not whole is left out: of time as user and as system.
        assert cpu_of_tree(process.pid) >= 0.28
        assert cpu_of(process.pid) < 0.28
        assert cpu_of_tree(os.getpid()) >= cpu_of_tree(process.pid)
        process.communicate()
    assert cpu_of_tree(process.pid) == 0
    assert peak_of(process.pid) == 0


def test_a_program_is_measured_without_what_its_starter_occupies() -> None:
    ballast = bytearray(os.urandom(1 << 20) * 100)
    cost = run_measured([sys.executable, "-c", BURN])
    assert 0.3 <= cost.cpu_s <= cost.wall_s + 0.1
    assert 1 << 20 < cost.rss < len(ballast)


def test_a_program_that_fails_is_no_result() -> None:
    with pytest.raises(Failed, match="status 3: no log"):
        run_measured([sys.executable, "-c", "import sys; sys.stderr.write('no log'); sys.exit(3)"])


def test_results_are_shown_as_medians_in_a_table() -> None:
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert table(["a", "bcd"], [["ef", "g"]]) == "| a  | bcd |\n| -- | --- |\n| ef | g   |"
