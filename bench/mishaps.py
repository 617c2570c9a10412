"""What happens to a mail server with the daemon's unit on it: each mishap once, and what must come of it.

`molecule/run .venv/bin/python bench/mishaps.py [NAME …]` starts a machine (see machine.py) for each mishap, or those
that are named, lets it happen, and prints what came of it in a line each. Exits with 1 when something else came than
should.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

from machine import DATABASE, USER, Machine, MachineError, parser

FORGED_GAP: Final = """
import socket
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.connect("/run/systemd/journal/socket")
fields = ["MESSAGE=Suppressed 1000 messages from postfix@-.service", "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e",
    "N_DROPPED=1000", "OBJECT_SYSTEMD_UNIT=postfix@-.service", "_TRANSPORT=driver", "_UID=0",
    "_SYSTEMD_UNIT=postfix@-.service", "SYSLOG_IDENTIFIER=postfix/qmgr", "SYSLOG_FACILITY=2"]
journal.send("\\n".join([*fields, ""]).encode())
"""


def must(is_so: object, otherwise: str) -> None:
    """Raise MachineError if something is not so."""
    if not is_so:
        raise MachineError(otherwise)


def start(machine: Machine, drop_in: str = "", **settings: Any) -> None:
    """Start Postfix and the daemon."""
    machine.run("postconf -e 'alias_maps=inline:{root=/dev/null}' smtpd_peername_lookup=no; systemctl restart postfix")
    machine.configure(**{"journal_poll_interval": 0.1} | settings)
    if drop_in:
        machine.drop_in("journal-postfix.service", f"[Service]\n{drop_in}\n")
    machine.run("systemctl start journal-postfix")


def send(machine: Machine, count: int) -> None:
    """Let so many mails come and be delivered."""
    machine.run(
        f"smtp-source -s 5 -m {count} -f a@example.com -t root@localhost 127.0.0.1:25; "
        "for i in $(seq 100); do [ $(postqueue -j | wc -l) = 0 ] && exit; sleep 0.1; done; exit 1"
    )


def delivered(machine: Machine) -> int:
    """Count the mails that are known with everything that they must have."""
    query = "SELECT count(*) FROM mail JOIN mail_recipient USING (mail_id) WHERE state = 'removed' AND fate = 'sent'"
    return int(machine.sql(f"{query} AND mail.sender = 'a@example.com'"))


def gaps(machine: Machine) -> str:
    """Give the gaps: kind, and how many seconds long."""
    query = "SELECT kind || ' of ' || round(extract(epoch FROM ended - began), 1) || ' s' FROM input_missing"
    return ", ".join(machine.sql(query).splitlines()) or "no gap"


def wrongs(machine: Machine) -> list[str]:
    """Give what `status` says is wrong."""
    output = machine.run("journal-postfix status 2>&1", user=USER, check=False)
    return [line.removeprefix("wrong: ") for line in output.splitlines() if line.startswith("wrong: ")]


def come(machine: Machine, count: int, due_s: float = 60.0) -> None:
    """Wait until so many mails are known, and see that it stays so."""
    machine.until(lambda: delivered(machine) >= count, due_s, f"{count} mails; {wrongs(machine)}")
    machine.catch_up()
    must(delivered(machine) == count, f"{delivered(machine)} mails, not {count}")
    rows = int(machine.sql("SELECT sum(lines) FROM line_counter WHERE action NOT IN ('forged', 'foreign')"))
    own = "SYSLOG_FACILITY=2 _UID=0 + SYSLOG_FACILITY=2 _UID=$(id -u postfix)"
    lines = int(machine.run(f"journalctl -q -o cat {own} | wc -l"))
    must(rows == lines or gaps(machine) != "no gap", f"{rows} lines are stored, {lines} are in the journal")


# ---- the mishaps


def permission(machine: Machine) -> str:
    """The daemon's user may not read the journal, and then it may."""
    machine.run(f"gpasswd --delete {USER} systemd-journal")
    start(machine, "SupplementaryGroups=")
    send(machine, 10)
    said = machine.until(lambda: [one for one in wrongs(machine) if "journal" in one], 20, "status says so")
    state = machine.show("ActiveState")
    must(state == "active", f"the unit is {state}")
    log = machine.run("journalctl -q -o cat -u journal-postfix -p warning")
    must(log.count("read") <= 2, f"it is said again and again:\n{log}")
    machine.run(f"gpasswd --add {USER} systemd-journal; systemctl restart journal-postfix")
    come(machine, 10)
    return f"status: {said[0]!r}"


def journald(machine: Machine) -> str:
    """Journald is restarted and killed while mails come."""
    start(machine)
    for number in range(6):
        send(machine, 20)
        how = "systemctl restart systemd-journald" if number % 2 else "systemctl kill -s KILL systemd-journald; sleep 1"
        machine.run(how)
        machine.until(lambda: machine.show("ActiveState", "systemd-journald") == "active")
    send(machine, 20)
    come(machine, 140)
    return f"140 mails; {gaps(machine)}"


def pause(machine: Machine) -> str:
    """The whole machine stands still for longer than the watchdog waits."""
    start(machine, "WatchdogSec=5")
    send(machine, 20)
    machine.engine("pause")
    time.sleep(12)
    machine.engine("unpause")
    send(machine, 20)
    come(machine, 40)
    return f"40 mails; started again {machine.show('NRestarts')} times; {gaps(machine)}"


def hang(machine: Machine) -> str:
    """PostgreSQL hangs: the watchdog ends the daemon, which waits until PostgreSQL goes on."""
    start(machine, "WatchdogSec=15")
    send(machine, 20)
    come(machine, 20)
    unit = machine.postgres_unit()
    machine.run(f"systemctl kill --signal=STOP {unit}")
    send(machine, 20)
    began = time.monotonic()
    machine.until(lambda: int(machine.show("NRestarts")) > 0, 60, "the watchdog's bite")
    bitten = time.monotonic() - began
    machine.until(lambda: "cannot connect" in machine.show("StatusText"), 60, "the daemon's next try")
    time.sleep(20)
    restarts = machine.show("NRestarts")
    must(restarts == "1", f"the watchdog has bitten {restarts} times")
    machine.run(f"systemctl kill --signal=CONT {unit}")
    came = time.monotonic()
    come(machine, 40)
    result = machine.run("journalctl -q -o cat -u journal-postfix | grep -c 'Watchdog timeout'").strip()
    return f"bitten after {bitten:.0f} s ({result} time), gone on {time.monotonic() - came:.1f} s after PostgreSQL did"


def vacuumed_stopped(machine: Machine) -> str:
    """The journal is vacuumed while the daemon is stopped: a gap, and everything after it."""
    start(machine)
    send(machine, 10)
    come(machine, 10)
    machine.run("systemctl stop journal-postfix")
    send(machine, 10)
    machine.run("sleep 1; journalctl --rotate; journalctl --vacuum-time=1s")
    time.sleep(2)
    machine.run("journalctl --vacuum-time=1s")
    send(machine, 10)
    machine.run("systemctl start journal-postfix")
    come(machine, 20)
    said = [one for one in wrongs(machine) if "missing" in one]
    must(len(said) == 1 and gaps(machine).count(" of ") == 1, f"{gaps(machine)}; {wrongs(machine)}")
    return f"10 of 30 mails gone; {gaps(machine)}"


def vacuumed_reading(machine: Machine) -> str:
    """The journal is vacuumed under the daemon's eyes while it is far behind."""
    start(machine, max_messages_per_commit=500)
    machine.run("systemctl stop journal-postfix")
    for _ in range(4):
        send(machine, 500)
        machine.run("journalctl --rotate")
    time.sleep(2)
    machine.run("systemctl start --no-block journal-postfix")
    machine.until(lambda: delivered(machine) > 100, 30)
    machine.run("systemctl kill --signal=STOP journal-postfix; journalctl --vacuum-time=1s; sleep 0.5")
    before = delivered(machine)
    send(machine, 10)
    machine.run("systemctl kill --signal=CONT journal-postfix")
    machine.catch_up()
    after = delivered(machine)
    must(after >= before + 10, f"{before} mails before, {after} after 10 more")
    must(after == 2010 or gaps(machine) != "no gap", f"{after} of 2010 mails and no gap")
    must(machine.show("NRestarts") == "0", f"started again: {machine.run('journalctl -q -n 30 -u journal-postfix')}")
    return f"{before} mails before, {after} of 2010 after; {gaps(machine)}"


def other_journal(machine: Machine) -> str:
    """All of the journal is deleted: the cursor names an entry of a journal that is no more."""
    start(machine)
    send(machine, 10)
    come(machine, 10)
    machine.run("systemctl stop journal-postfix; rm -r /var/log/journal/*; systemctl restart systemd-journald; sleep 1")
    send(machine, 10)
    machine.run("systemctl start journal-postfix")
    come(machine, 20)
    return f"20 mails; {gaps(machine)}"


def other_machine(machine: Machine) -> str:
    """The database is restored on another machine, which has a journal of its own."""
    start(machine)
    send(machine, 10)
    come(machine, 10)
    dump = machine.run(f"pg_dump {DATABASE}")
    with Machine(machine.suite) as other:
        start(other)
        other.run("systemctl stop journal-postfix")
        restore = f"dropdb {DATABASE}; createdb -O {USER} {DATABASE}; psql -Xq {DATABASE} > /dev/null"
        other.run(restore, data=dump.encode())
        send(other, 10)
        other.run("systemctl start journal-postfix")
        other.until(lambda: delivered(other) >= 20)
        other.catch_up()
        must(delivered(other) == 20, f"{delivered(other)} mails, not 20")
        return f"20 mails; {gaps(other)}; status: {wrongs(other)}"


def forged(machine: Machine) -> str:
    """An ordinary user logs as Postfix, in every way that there is."""
    start(machine)
    send(machine, 10)
    come(machine, 10)
    machine.run("useradd --create-home mallory; usermod --append --groups users mallory")
    rows = f"pg_dump --data-only -t delivery_from -t delivery_to -t mail_event -t noqueue {DATABASE} | grep -v restrict"
    before = machine.run(rows)
    open_id = machine.sql("SELECT queue_id FROM delivery_from LIMIT 1")
    uid = machine.run("id -u mallory").strip()
    machine.run(
        f"""
        logger -t postfix/qmgr 'ABCDEF: removed'
        logger -t postfix/qmgr --id=1 -p mail.info '{open_id}: removed'
        logger --journald <<END
MESSAGE={open_id}: to=<x@example.com>, relay=none, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (forged)
SYSLOG_IDENTIFIER=postfix/smtp
SYSLOG_FACILITY=2
_UID=0
_SYSTEMD_UNIT=postfix@-.service
_EXE=/usr/lib/postfix/sbin/smtp
END
        postlog -t postfix/qmgr '{open_id}: removed'
        python3 -c '{FORGED_GAP}'
        """,
        user="mallory",
    )
    # The image has no PAM module that would say where the user's manager may put its sockets.
    machine.drop_in("user@.service", "[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n")
    machine.run(f"systemctl start user@{uid}; systemctl is-active user@{uid}")
    machine.run(
        f"export XDG_RUNTIME_DIR=/run/user/{uid}; "
        f"systemd-run --user --quiet --unit=postfix-x logger -t postfix/qmgr -p mail.info '{open_id}: removed'; "
        f"systemd-run --user --quiet --scope --unit=postfix logger -t postfix/qmgr '{open_id}: removed' || true; "
        f"systemd-run --quiet --unit=postfix-y logger -t postfix/qmgr '{open_id}: removed' 2>&1 || true; sleep 1",
        user="mallory",
    )
    fields = f"journalctl -q -o export _UID={uid} | grep -aE '^_SYSTEMD_(USER_)?UNIT=postfix' | sort -u || true"
    units = machine.run(fields).split()
    machine.catch_up()
    after = machine.run(rows)
    must(before == after, "the forged lines have changed rows")
    must(gaps(machine) == "no gap", f"a forged gap was taken: {gaps(machine)}")
    report = json.loads(machine.run("journal-postfix status --json", user=USER, check=False))
    found = {row["origin"]: row["lines"] for row in report["forged"]}
    must(found and all(f"uid {uid}" in origin for origin in found), f"status shows {found}")
    logged = machine.run(
        f"journalctl -q -o short _UID={uid} SYSLOG_IDENTIFIER=postfix/qmgr SYSLOG_IDENTIFIER=postfix/smtp"
    )
    lines = len(logged.splitlines())
    must(sum(found.values()) == lines, f"status shows {found}, the journal has {lines}:\n{logged}")
    return f"nothing changed; status shows {found}; as a user's unit: {units}; {wrongs(machine)[-1]!r}"


def stopping(machine: Machine) -> str:
    """The unit is stopped, reloaded and started while mails come, and while PostgreSQL is away or hangs."""
    start(machine)
    took = []
    unit = machine.postgres_unit()
    for how in ("true", f"systemctl stop {unit}", f"systemctl start {unit}; systemctl kill --signal=STOP {unit}"):
        machine.run(how)
        send(machine, 20)
        machine.run("systemctl reload journal-postfix || true; sleep 0.5")
        began = time.monotonic()
        machine.run("systemctl stop journal-postfix")
        took.append(time.monotonic() - began)
        machine.run("systemctl start --no-block journal-postfix; sleep 2")
    machine.run(f"systemctl kill --signal=CONT {unit}")
    come(machine, 60)
    must(max(took) < 4, f"stopping took {took}")
    return f"60 mails; stopping took {', '.join(f'{seconds:.1f}' for seconds in took)} s"


MISHAPS: Final[tuple[Callable[[Machine], str], ...]] = (
    *(permission, journald, pause, hang, vacuumed_stopped, vacuumed_reading, other_journal, other_machine),
    *(forged, stopping),
)


def main() -> int:
    """Let them happen."""
    arguments_of = parser(__doc__ or "")
    names = {mishap.__name__.replace("_", "-"): mishap for mishap in MISHAPS}
    arguments_of.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    arguments = arguments_of.parse_args()
    if unknown := set(arguments.names) - names.keys():
        arguments_of.error(f"no such mishap: {', '.join(unknown)}; known are {', '.join(names)}")
    failed = 0
    for name in arguments.names or names:
        with Machine(arguments.suite) as machine:
            try:
                print(f"{name}: {names[name](machine)}", flush=True)
            except MachineError:
                failed += 1
                print(f"{name}: FAILED", flush=True)
                traceback.print_exc()
                print(machine.run("journalctl -q -n 15 -u journal-postfix", check=False), file=sys.stderr, flush=True)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
