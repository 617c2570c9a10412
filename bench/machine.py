"""A mail server to torture: a container with systemd, Postfix, PostgreSQL and the program under its unit.

Takes an image that molecule/images/build.sh makes, gives a running machine by `with Machine() as machine: …`, on which
commands are run. Needs podman (or docker) as `molecule/run` sets it up. Leaves nothing behind: the container and its
volumes go with the `with` block. Reaches no network.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shlex
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAM: Final = ROOT / "files" / "journal-postfix"
IMAGE: Final = "localhost/journal-postfix-machine:{}-baked"
SUITES: Final = ("bookworm", "trixie")
USER: Final = "journal-postfix"
DATABASE: Final = "journal_postfix"
WHOLE: Final = "journal_postfix_whole"
DUE_S: Final = 60.0

# What systemd needs to apply a unit's sandbox in a container: less than --privileged.
_OPTIONS: Final = (
    *("--systemd=always", "--network=none", "--hostname=mx1", "--stop-signal=37", "--volume=/var/log/journal"),
    *("--cap-add=SYS_ADMIN,NET_ADMIN,SYS_PTRACE", "--security-opt=seccomp=unconfined", "--security-opt=unmask=ALL"),
)

_UNIT: Final = f"""\
[Unit]
Description=What became of each mail, from the journal into PostgreSQL
After=postgresql.service
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart=/usr/bin/python3 -IB /usr/local/lib/journal-postfix run
ExecReload=/bin/kill -HUP $MAINPID
User={USER}
SupplementaryGroups=systemd-journal
WatchdogSec=60
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""

_PREPARE: Final = f"""
mkdir -p /etc/systemd/journald.conf.d /etc/journal-postfix /srv/saved
# No line may be dropped (0 switches the limit off here, unlike in a unit), and none may go but by our hand.
printf '%s\\n' '[Journal]' Storage=persistent RateLimitIntervalSec=0 SystemMaxUse=20G SystemKeepFree=1G \
    SystemMaxFileSize=16M SystemMaxFiles=100000 > /etc/systemd/journald.conf.d/50-bench.conf
systemctl restart systemd-journald
printf '#!/bin/sh\\nexec /usr/bin/python3 -IB /usr/local/lib/journal-postfix "$@"\\n' > /usr/local/bin/journal-postfix
chmod +x /usr/local/bin/journal-postfix
useradd --system --no-create-home --groups systemd-journal {USER}
touch /etc/journal-postfix/main.yml
systemctl start postgresql
cd /
su -s /bin/sh postgres -c '
    createuser root --superuser && createuser {USER}
    createdb -O {USER} {DATABASE} && createdb -O {USER} {WHOLE}'
printf 'database: dbname={WHOLE}\\n' > /etc/journal-postfix/whole.yml
for config in main whole; do
    su -s /bin/sh {USER} -c "journal-postfix --config /etc/journal-postfix/$config.yml schema apply"
done
systemctl daemon-reload
"""


_NUMBERS: Final = itertools.count(1)


class MachineError(Exception):
    """A command on the machine failed, or what was waited for did not come."""


class Machine:
    """One machine; a context manager. Its daemon is installed and not running."""

    def __init__(self, suite: str = SUITES[0]) -> None:
        self.name = f"journal-postfix-bench-{os.getpid()}-{next(_NUMBERS)}"
        self.suite = suite
        self._engine = os.environ.get("CONTAINER_ENGINE", "podman")
        self._image = os.environ.get("JOURNAL_POSTFIX_IMAGE", IMAGE.format(suite))

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        self._call("run", "--detach", f"--name={self.name}", *_OPTIONS, self._image, "/sbin/init")
        try:
            self.until(lambda: self.run("systemctl is-system-running || true").strip() in ("running", "degraded"))
            program = {path: path.relative_to(PROGRAM) for path in PROGRAM.rglob("*.*")}
            self.put(program, "usr/local/lib/journal-postfix")
            self.write("/etc/systemd/system/journal-postfix.service", _UNIT)
            self.run(_PREPARE)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call("rm", "--force", "--volumes", self.name)

    def engine(self, *arguments: str) -> str:
        """Do something to the container, such as `pause`."""
        return self._call(*arguments, self.name)

    def run(self, script: str, *, user: str = "root", check: bool = True, data: bytes | None = None) -> str:
        """Run a shell script that ends at its first error; give its output. Raises MachineError."""
        command = ["exec", "--interactive", f"--user={user}", "--workdir=/", self.name, "sh", "-euc", script]
        return self._call(*command, data=data, check=check)

    def _call(self, *arguments: str, data: bytes | None = None, check: bool = True) -> str:
        done = subprocess.run([self._engine, *arguments], input=data or b"", capture_output=True, check=False)
        output = done.stdout.decode("utf-8", "replace")
        if done.returncode and check:
            said = (output + done.stderr.decode("utf-8", "replace")).strip()
            raise MachineError(f"{shlex.join(arguments)[:300]}: status {done.returncode}\n{said[-3000:]}")
        return output

    def put(self, files: Mapping[Path, Path | str], folder: str) -> None:
        """Copy files to a folder (from /), each under its name there."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for path, name in files.items():
                if path.is_file() and path.suffix != ".pyc":
                    info = tarfile.TarInfo(f"{folder}/{name}")
                    info.size = path.stat().st_size
                    info.mode = 0o644
                    archive.addfile(info, io.BytesIO(path.read_bytes()))
        self.run("tar -C / -x", data=data.getvalue())

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.run(f'mkdir -p "$(dirname {path})"; cat > {path}', data=text.encode())

    def sql(self, query: str, database: str = DATABASE) -> str:
        """Ask the database as its superuser; give columns with | between."""
        return self.run(f"psql -XqtA -d {database} -c {shlex.quote(query)}").strip()

    def until(self, what: Callable[[], Any], due_s: float = DUE_S, doing: str = "") -> Any:
        """Wait until a call gives something true; give that. Raises MachineError when it is not in time."""
        deadline = time.monotonic() + due_s
        while not (found := what()):
            if time.monotonic() > deadline:
                raise MachineError(f"not within {due_s:g} s{doing and ': '}{doing}")
            time.sleep(0.2)
        return found

    # ---- the daemon

    def configure(self, **settings: Any) -> None:
        """Write the daemon's configuration."""
        self.write("/etc/journal-postfix/main.yml", "".join(f"{name}: {value!r}\n" for name, value in settings.items()))

    def drop_in(self, unit: str, text: str) -> None:
        """Write a drop-in for a unit; what is running does not change by it."""
        self.write(f"/etc/systemd/system/{unit}.d/50-bench.conf", text)
        self.run("systemctl daemon-reload")

    def show(self, name: str, unit: str = "journal-postfix") -> str:
        """Give a property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()

    def postgres_unit(self) -> str:
        """Give the unit of the one cluster that Debian made."""
        return self.run("systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1").strip()

    def program(self, arguments: str, *, check: bool = True) -> str:
        """Run the program as the daemon's user; give its output."""
        return self.run(f"journal-postfix {arguments}", user=USER, check=check)

    def stored_until(self) -> float:
        """Give the time of the newest line of the journal that is stored, UNIX seconds; 0 if there is none."""
        query = "SELECT coalesce(extract(epoch FROM max(last_time)), 0) FROM input_position WHERE kind = 'journal'"
        return float(self.sql(query))

    def catch_up(self, due_s: float = 300.0) -> None:
        """Wait until everything that is in the journal now is stored."""
        self.write_line("bench: caught up?")
        now = self.until(lambda: self._time_of("bench: caught up?"), 10)
        self.until(lambda: self.stored_until() >= now, due_s, "storing what is in the journal")

    def write_line(self, text: str) -> None:
        """Log a line as postlog does, which root may."""
        self.run(f"postlog -t postfix/bench {shlex.quote(text)}")

    def _time_of(self, text: str) -> float:
        wanted = shlex.quote(text)
        found = self.run(f"journalctl -q -n 50 -o short-unix -t postfix/bench | grep -F {wanted} | tail -n 1")
        return float(found.split()[0]) if found else 0.0


def parser(what: str) -> argparse.ArgumentParser:
    """Give the parser of a program's arguments, with those that all have that use a machine."""
    made = argparse.ArgumentParser(description=what.partition("\n")[0])
    made.add_argument("--suite", choices=SUITES, default=SUITES[0], help="Debian's release (%(default)s)")
    return made
