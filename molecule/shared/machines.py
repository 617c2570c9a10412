"""What the tests of all scenarios do with a machine: send mail to its Postfix, and ask the program what became of it.

Takes a machine by testinfra's podman or docker backend (its ansible backend would run ansible for every command). Waits
by asking again, never by a fixed time.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import testinfra

ENGINE = os.environ.get("CONTAINER_ENGINE") or "podman"
WAIT_S = 90.0

# Gives "recipient: reply" for each recipient that was refused, and nothing for those that were taken.
SEND = """
import smtplib, sys
port, sender, *recipients = sys.argv[1:]
with smtplib.SMTP("127.0.0.1", int(port)) as smtp:
    try:
        refused = smtp.sendmail(sender, recipients, f"From: {sender}\\r\\nSubject: test\\r\\n\\r\\ntext\\r\\n")
    except smtplib.SMTPRecipientsRefused as error:
        refused = error.recipients
for recipient, (code, reply) in refused.items():
    print(f"{recipient}: {code} {reply.decode()}")
"""


class Machine:
    """A server."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = testinfra.get_host(f"{ENGINE}://{name}")

    def run(self, command: str) -> str:
        """Run a command as root; give its output. It must not fail."""
        return str(self.host.check_output(command))

    def fails(self, command: str) -> str:
        """Run a command that must fail; give what it says."""
        done = self.host.run(command)
        assert done.rc != 0, f"{command} did not fail: {done.stdout}"
        return str(done.stderr + done.stdout)

    def sql(self, query: str, user: str = "postgres") -> str:
        """Run SQL as the system user of this name."""
        command = ["psql", "-XAtqd", "journal_postfix", "-v", "ON_ERROR_STOP=1", "-c", query]
        return self.run(f"sudo -u {user} {shlex.join(command)}")

    def send(self, *recipients: str, port: int = 25) -> tuple[str, str]:
        """Hand a mail to Postfix; give its sender, who is unlike any other, and the refused recipients with replies."""
        sender = f"t{secrets.token_hex(6)}@sender.example"
        return sender, self.run(shlex.join(["python3", "-c", SEND, str(port), sender, *recipients]))

    def search(self, *criteria: str) -> list[dict[str, Any]]:
        """Look up; as root, who is a reader."""
        lines = self.run(shlex.join(["journal-postfix", "search", "--json", *criteria])).splitlines()
        return [json.loads(line) for line in lines]

    def fates(self, sender: str) -> dict[str, str]:
        """Give each recipient's fate, of all mails of a sender."""
        return {
            recipient["recipient"]: recipient["fate"]
            for mail in self.search("--sender", sender)
            if mail["kind"] == "mail"
            for recipient in mail["recipients"]
        }

    def pid(self, unit: str = "journal-postfix.service") -> int:
        """Give a service's process id."""
        return int(self.run(f"systemctl show -p MainPID --value {unit}"))


@cache
def machine(name: str) -> Machine:
    """Give the machine of this name."""
    return Machine(name)


def until(what: Callable[[], Any], expected: Any = True, seconds: float = WAIT_S) -> None:
    """Ask until the answer is the expected one; the last answer is in the error."""
    end = time.monotonic() + seconds
    while (answer := what()) != expected:
        assert time.monotonic() < end, f"expected {expected!r}, and after {seconds} s it is {answer!r}"
        time.sleep(1)


def names(hosts: Iterable[str]) -> list[str]:
    """Leave out what JOURNAL_POSTFIX_HOSTS does not name, if it names any."""
    wanted = os.environ.get("JOURNAL_POSTFIX_HOSTS", "").split(",")
    return [host for host in hosts if wanted == [""] or host in wanted]


def start_playbook(name: str, *arguments: str) -> subprocess.Popen[str]:
    """Start one of the project's playbooks on the scenario's machines."""
    root = Path(__file__).resolve().parents[2]
    inventory = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"]) / "inventory"
    command = ["ansible-playbook", "-i", str(inventory), str(root / "playbooks" / name), *arguments]
    # Not Molecule's configuration, which lies elsewhere: an administrator has the checkout's.
    environment = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "NO_COLOR": "1", "COLUMNS": "10000"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=root, env=environment, stdout=pipe, stderr=pipe, text=True)


def playbook(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the project's playbooks to its end."""
    with start_playbook(name, *arguments) as started:
        said, complained = started.communicate()
    return subprocess.CompletedProcess(started.args, started.returncode, said, complained)
