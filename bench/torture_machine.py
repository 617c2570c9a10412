"""Torture a mail server: kill the daemon and PostgreSQL, take the journal's files away, and see that nothing is lost.

`molecule/run .venv/bin/python bench/torture_machine.py [--kills 200] [--restarts 50] [--rotations 50] [--seed 1]`
starts a machine (see machine.py) under load from smtp-source and, in random order and at random moments, kills the
daemon with -9, stops, kills and restarts PostgreSQL, rotates and vacuums the journal; only what is stored already is
vacuumed, and copied before. Then the tables must equal those of one import of the whole journal (the copies), and both
must agree with what smtp-source, smtp-sink and grep have counted. Prints counts; exits with 1 when something differs.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any, Final

from load import Load
from machine import ROOT, WHOLE, Machine, parser

PAUSE_S: Final = 2.0
OUTAGE_S: Final = 3.0
# Entries younger than this survive a vacuum; all that is in the archived files was stored before.
KEEP_S: Final = 2
JOURNALS: Final = "/var/log/journal/*"
_SAVE: Final = f"for f in {JOURNALS}/*@*; do [ -e /srv/saved/${{f##*/}} ] || cp -p $f /srv/saved/; done"
_SAVED: Final = "journalctl -q -D /srv/saved"


class Torture:
    """The blows, in random order; counts those that hit."""

    def __init__(self, machine: Machine, chaos: random.Random) -> None:
        self.counts = {"kills": 0, "stops": 0, "postgres kills": 0, "restarts": 0, "rotations": 0, "vacuums": 0}
        self.counts |= {"files vacuumed": 0}
        self._machine = machine
        self._chaos = chaos
        self._postgres = machine.postgres_unit()
        self._down_until = 0.0

    def run(self, kills: int, restarts: int, rotations: int) -> None:
        """Strike so many times."""
        blows = [self._kill] * kills + [self._strike_postgres] * restarts + [self._rotate] * rotations
        self._chaos.shuffle(blows)
        for number, blow in enumerate(blows, 1):
            self._pause(self._chaos.uniform(0.0, PAUSE_S))
            blow()
            if number % 25 == 0:
                _say(f"{number} of {len(blows)} blows")
        self._pause(OUTAGE_S)

    def _pause(self, seconds: float) -> None:
        """Let the load go on; PostgreSQL comes back meanwhile if it is time."""
        until = time.monotonic() + seconds
        if self._down_until and self._down_until <= until:
            time.sleep(max(self._down_until - time.monotonic(), 0.0))
            self._start_postgres()
        time.sleep(max(until - time.monotonic(), 0.0))

    def _kill(self) -> None:
        """Kill the daemon at this moment, or as soon as there is one again."""
        pid = "pid=$(systemctl show --property=MainPID --value journal-postfix)"
        self._machine.run(f"until {pid}; [ $pid != 0 ]; do :; done; kill -9 $pid")
        self.counts["kills"] += 1

    def _start_postgres(self) -> None:
        self._down_until = 0.0
        self._machine.run(f"systemctl reset-failed {self._postgres}; systemctl start {self._postgres}")

    def _strike_postgres(self) -> None:
        if self._down_until:
            self._start_postgres()
        how = self._chaos.choice(("stops", "postgres kills", "restarts"))
        self.counts[how] += 1
        if how == "restarts":
            self._machine.run(f"systemctl restart {self._postgres}")
            return
        if how == "stops":
            self._machine.run(f"systemctl stop {self._postgres}")
        else:
            self._machine.run(f"systemctl kill --kill-whom=main --signal=KILL {self._postgres}")
        self._down_until = time.monotonic() + self._chaos.uniform(0.0, OUTAGE_S)

    def _rotate(self) -> None:
        self.counts["rotations"] += 1
        self._machine.run("journalctl --rotate")
        if self._down_until:
            self._start_postgres()
        self._machine.catch_up(120)
        done = self._machine.run(f"{_SAVE}; journalctl --vacuum-time={KEEP_S}s 2>&1")
        self.counts["vacuums"] += 1
        self.counts["files vacuumed"] += done.count("Deleted archived journal")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def compare(machine: Machine) -> tuple[dict[str, Any], float]:
    """Import the whole journal into the other database; give the differences table by table, and the seconds."""
    machine.run(f"{_SAVED} -o export SYSLOG_FACILITY=2 > /srv/whole.export")
    machine.run(f"{_SAVED} -o cat SYSLOG_FACILITY=2 > /srv/lines")
    began = time.monotonic()
    machine.program("--config /etc/journal-postfix/whole.yml import /srv/whole.export")
    seconds = time.monotonic() - began
    tests, inside = ROOT / "tests" / "pg", ROOT / "bench" / "inside"
    machine.put({tests / "dump.py": "dump.py", inside / "compare.py": "compare.py"}, "opt/bench")
    report = machine.run(f"/usr/bin/python3 -B /opt/bench/compare.py dbname=journal_postfix dbname={WHOLE}")
    return json.loads(report), seconds


def independent(machine: Machine, load: dict[str, int]) -> list[tuple[str, int, int]]:
    """Give what is counted in two ways that have nothing in common: its name, the database's count, the other one."""

    def rows(query: str) -> int:
        return int(machine.sql(f"SELECT count(*) FROM {query}"))  # noqa: S608

    def lines(pattern: str) -> int:
        return int(machine.run(f"grep -cE {pattern!r} /srv/lines || true"))

    def mails(name: str) -> int:
        return rows(f"delivery_from WHERE sender = '{name}@source.example'")

    pairs = [(f"mails of {name} / smtp-source", mails(name), load[name]) for name in load if name in _TAKEN]
    sent = "mail_recipient WHERE fate = 'sent'"
    pairs += [
        ("mails delivered to sent.example / smtp-sink", _mails_to(machine, "sent.example"), load["sink sent"]),
        ("mails delivered to later.example / smtp-sink", _mails_to(machine, "later.example"), load["sink later"]),
        ("bounces delivered / smtp-sink", _mails_to(machine, "source.example"), load["sink source"]),
        ("mails rejected / smtp-source", rows("noqueue WHERE stage = 'RCPT'"), 2 * load["rejected"]),
        (
            "recipients of 'sent' / smtp-source",
            rows(f"{sent} AND recipient LIKE '%someone@sent.example'"),
            3 * load["sent"],
        ),
        ("attempts deferred / lines", rows("delivery_attempt WHERE status = 'deferred'"), lines("status=deferred")),
        (
            "recipients sent or discarded / lines",
            rows("mail_recipient WHERE fate IN ('sent', 'discarded')"),
            lines("status=sent"),
        ),
        ("recipients bounced / lines", rows("mail_recipient WHERE fate = 'bounced'"), lines("status=bounced")),
        ("mails removed / lines", rows("mail WHERE state = 'removed'"), lines(": removed$")),
        ("lines read / lines", int(machine.sql("SELECT sum(lines) FROM line_counter")), lines("")),
    ]
    return pairs


_TAKEN: Final = ("sent", "mixed", "later", "bounced", "discarded", "local")


def _mails_to(machine: Machine, domain: str) -> int:
    return int(
        machine.sql(
            "SELECT count(DISTINCT mail_id) FROM mail_recipient "  # noqa: S608
            f"WHERE fate = 'sent' AND recipient LIKE '%@{domain}'"
        )
    )


def main() -> int:
    """Run it, at full length if not told otherwise."""
    arguments_of = parser(__doc__ or "")
    for name, count in (("kills", 200), ("restarts", 50), ("rotations", 50), ("seed", 1)):
        arguments_of.add_argument(f"--{name}", type=int, default=count)
    arguments = arguments_of.parse_args()
    with Machine(arguments.suite) as machine:
        load = Load(machine)
        machine.configure(journal_poll_interval=0.1)
        machine.run("systemctl start journal-postfix")
        load.start()
        _say("mails come")
        began = time.monotonic()
        torture = Torture(machine, random.Random(arguments.seed))
        torture.run(arguments.kills, arguments.restarts, arguments.rotations)
        seconds = time.monotonic() - began
        _say("no more blows")
        load.stop(900)
        machine.run("systemctl stop postfix")
        _say("the queue is empty")
        machine.catch_up(900)
        _say("all is stored")
        restarts = machine.show("NRestarts")
        machine.run(f"systemctl stop journal-postfix; journalctl --rotate; {_SAVE}")
        in_transaction = machine.run("grep -c 'with an open transaction' /var/log/postgresql/*.log || true").strip()
        gaps = machine.sql("SELECT kind, began, ended, lines FROM input_missing").splitlines()
        tables, import_s = compare(machine)
        _say("compared")
        pairs = independent(machine, load.counts())
        messages = machine.run(f"{_SAVED} -u journal-postfix -p warning -o cat | sort | uniq -c | sort -rn | head")
    print(f"{seconds:.0f} s of load; blows: {', '.join(f'{count} {name}' for name, count in torture.counts.items())}")
    print(
        f"the daemon was started again {restarts} times; {in_transaction} transactions were cut off; {len(gaps)} gaps",
        *gaps,
    )
    print(f"its warnings:\n{messages.rstrip()}")
    wrong = len(gaps)
    for table, found in tables.items():
        lost, doubled = found["only"][1], found["only"][0]
        wrong += lost + doubled
        print(f"{table}: {found['rows'][0]} rows, import {found['rows'][1]}; {lost} lost, {doubled} too many")
        for row in [*found["shown"][0], *found["shown"][1]]:
            print(f"    {row}")
    for name, ours, theirs in pairs:
        wrong += ours != theirs
        print(f"{name}: {ours} / {theirs}{'' if ours == theirs else ' DIFFERENT'}")
    print(f"the import of the whole journal took {import_s:.1f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
