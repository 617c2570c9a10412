#!/usr/bin/env python3
"""The program beside its peers on the same log: `make bench [LOG=file] [LINES=n] [RUNS=5]`.

Takes a log (the repository's sample, multiplied to 200,000 lines, if none is given; `--lines` multiplies a given one),
prints a table of medians: ours, the peers that are installed, and what COPY alone takes. All run in turn, once per
round, so that whatever else the machine does hits all alike; what is read is in memory. PostgreSQL is started for this
on a socket of its own, with its settings as Debian has them: what is committed is on the disk. Leaves nothing behind.

Wall clock and computing seconds; those of the database's server are counted where one takes part. A contestant that did
not do its work is named with what it left undone, and has no ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("files/journal-postfix", "tools", "tests")]

from inputs import Inputs, lines_of, prepare  # noqa: E402
from measuring import Failed, machine_in_words, package_version, spread, table  # noqa: E402
from multiply import NoLog  # noqa: E402
from ours import DURABLE, Ours  # noqa: E402
from peers import Contest, Missing, Outcome, find_peers  # noqa: E402
from scratch_postgres import ScratchPostgres  # noqa: E402

SAMPLE = ROOT / "sample" / "mail.log"
SAMPLE_LINES = 200_000
YARDSTICK = "pflogsumm"
PACKAGES = ("pflogsumm", "logwatch", "prometheus-postfix-exporter", "systemd")
HEAD = "contestant|gives|wall s (least, most)|CPU s|of it server|peak MiB|lines/s|wall ratio|CPU ratio|did".split("|")


def run_rounds(contests: list[Contest], rounds: int) -> dict[str, list[Outcome | Failed]]:
    """Run all, once per round; give the outcomes by name. A first round warms up and is not counted."""
    outcomes: dict[str, list[Outcome | Failed]] = {contest.name: [] for contest in contests}
    for number in range(rounds + 1):
        for contest in contests:
            began = time.monotonic()
            outcome: Outcome | Failed
            try:
                outcome = contest.run()
            except Failed as error:
                outcome = error
            if number:
                outcomes[contest.name].append(outcome)
            took = time.monotonic() - began
            print(f"round {number} of {rounds}: {contest.name}, {took:.1f} s in all", file=sys.stderr, flush=True)
    return outcomes


def _ratio(outcomes: list[Outcome], yardstick: list[Outcome], *, cpu: bool) -> str:
    """Compare round by round: what slowed one down has slowed down the other."""
    if len(outcomes) != len(yardstick) or not yardstick:
        return "–"
    pairs = zip(outcomes, yardstick, strict=True)
    ratios = [
        one.cost.all_cpu_s / other.cost.all_cpu_s if cpu else one.cost.wall_s / other.cost.wall_s
        for one, other in pairs
    ]
    return f"{statistics.median(ratios):.2f}"


def row(contest: Contest, outcomes: list[Outcome | Failed], yardstick: list[Outcome]) -> list[str]:
    """Give a line of the table."""
    done = [one for one in outcomes if isinstance(one, Outcome)]
    failures = [str(one) for one in outcomes if isinstance(one, Failed)]
    if not done:
        return [contest.name, contest.product, *["–"] * (len(HEAD) - 3), f"FAILED: {failures[0]}".replace("\n", " ")]
    wall, least, most = spread(one.cost.wall_s for one in done)
    cpu, server = (statistics.median(getattr(one.cost, name) for one in done) for name in ("all_cpu_s", "server_cpu_s"))
    rss = max(one.cost.rss for one in done)
    problems = failures + [one.problem for one in done if one.problem]
    return [
        contest.name,
        contest.product,
        f"{wall:.2f} ({least:.2f}, {most:.2f})",
        f"{cpu:.2f}",
        f"{server:.2f}" if server else "–",
        f"{rss / 1024**2:.0f}" if rss else "–",
        f"{contest.lines / wall:,.0f}" if contest.lines else "–",
        *(["–", "–"] if problems else [_ratio(done, yardstick, cpu=cpu) for cpu in (False, True)]),
        f"NOT ALL: {problems[0]}" if problems else done[-1].did,
    ]


def report(
    inputs: Inputs, contests: list[Contest], outcomes: dict[str, list[Outcome | Failed]], missing: list[Missing]
) -> str:
    """Give what is printed behind the machine's description."""
    yardstick = [one for one in outcomes.get(YARDSTICK, []) if isinstance(one, Outcome) and not one.problem]
    rows = [row(contest, outcomes[contest.name], yardstick) for contest in contests]
    size = f"{inputs.lines:,} lines, {inputs.size / 1e6:.1f} MB"
    content = f"{inputs.sent:,} with `status=sent`, {inputs.removed:,} mails removed"
    parts = [f"{size}; {content}. Ratios: to {YARDSTICK}, medians of the rounds.", table(HEAD, rows)]
    if inputs.classic != inputs.log:
        parts.append("logwatch's script cannot read RFC 3339 stamps: it was given the log with traditional ones.")
    if 0 < inputs.long_ids < inputs.removed:
        parts.append("The log has long and short queue ids: logwatch's script can read only one of the two forms.")
    for one in missing:
        parts.append(f"Left out: {one.name}, which is not here; this installs it: sudo apt-get install {one.package}")
    return "\n\n".join(parts)


def main() -> int:
    """Run it; status 1 if a contestant of ours did not do its work."""
    arguments_of = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments_of.add_argument("log", type=Path, nargs="?", help="a log of Postfix (the repository's sample)")
    arguments_of.add_argument(
        "--lines", type=int, help="multiply the log to so many lines (as they are; sample: 200000)"
    )
    arguments_of.add_argument("--runs", type=int, default=5, help="counted rounds (%(default)s)")
    arguments_of.add_argument("--only", default="", help="only contestants with this in their names, and the yardstick")
    arguments = arguments_of.parse_args()
    source = arguments.log or SAMPLE
    lines = arguments.lines or (None if arguments.log else SAMPLE_LINES)
    words = machine_in_words()
    with (
        tempfile.TemporaryDirectory(prefix="journal-postfix-bench-") as name,
        ScratchPostgres(settings=DURABLE) as server,
    ):
        folder = Path(name)
        # As the role installs it: compiled; here by the round that is not counted.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
        try:
            of_file = lines_of(source) if lines else 0
            inputs = prepare(source, lines, folder)
        except (OSError, NoLog) as error:
            arguments_of.error(str(error))
        ours = Ours(server, inputs, folder)
        ours.prepare()
        peers, missing = find_peers(inputs, folder)
        contests = [*ours.contests(), *peers]
        contests = [one for one in contests if arguments.only in one.name or one.name == YARDSTICK]
        outcomes = run_rounds(contests, arguments.runs)
        versions = [f"{package} {version}" for package in PACKAGES if (version := package_version(package))]
        print(f"{time.strftime('%Y-%m-%d')}: {words}")
        print(f"{server.server}, fsync, synchronous_commit and full_page_writes on; {', '.join(versions)}")
        if lines:
            print(f"The log: {of_file:,} lines, multiplied by bench/multiply.py.")
        print(report(inputs, contests, outcomes, missing))
    failed = [one for contest in contests if contest.name.startswith("ours") for one in outcomes[contest.name]]
    return int(any(isinstance(one, Failed) or one.problem for one in failed))


if __name__ == "__main__":
    sys.exit(main())
