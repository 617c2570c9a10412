"""Load for a machine's Postfix: mails with every fate, sent without pause, counted by who sends and who receives them.

Takes a running machine, configures its Postfix, gives counts that owe nothing to the program that is tested. All names
are reserved ones (RFC 2606). Never sends anything out of the machine.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from machine import Machine


class Kind(NamedTuple):
    """Mails of one kind: how many senders at once, to whom, to how many recipients each."""

    name: str
    sessions: int
    recipient: str
    recipients: int = 1


KINDS: Final = (
    Kind("sent", 8, "someone@sent.example", 3),
    Kind("mixed", 1, "mixed@example.org"),
    Kind("later", 1, "someone@later.example"),
    Kind("bounced", 2, "someone@bounced.example", 2),
    Kind("rejected", 2, "someone@rejected.example", 2),
    Kind("discarded", 2, "someone@discarded.example"),
    Kind("local", 1, "root@localhost"),
)
PORTS: Final = {"sent": 2525, "bounced": 2526, "later": 2527, "source": 2528}
# Mails per run of smtp-source; it says that it was told to end only by ending.
CHUNK: Final = 10

_TRANSPORTS: Final = (
    ", ".join(f"{{{name}.example=smtp:[127.0.0.1]:{port}}}" for name, port in PORTS.items())
    + ", {discarded.example=discard:}"
)
_POSTFIX: Final = f"""
postconf -e inet_interfaces=loopback-only mydestination=localhost maximal_backoff_time=20s minimal_backoff_time=10s \
    queue_run_delay=5s smtpd_client_connection_rate_limit=0 smtpd_peername_lookup=no smtp_tls_security_level= \
    'smtpd_recipient_restrictions=check_recipient_access inline:{{{{rejected.example=REJECT no such mail}}}}, permit' \
    virtual_alias_maps=regexp:/etc/postfix/virtual 'alias_maps=inline:{{{{root=/dev/null}}}}' \
    'transport_maps=inline:{{{_TRANSPORTS}}}'
echo '/mixed@example\\.org$/ a@sent.example, b@bounced.example, c@later.example, d@discarded.example' \
    > /etc/postfix/virtual
mkdir -p /srv/load
systemctl restart postfix
"""

# A shell that sends chunk after chunk until it is told to stop, and then counts them.
_SENDER: Final = """
n=0
while [ ! -e /srv/load/stop ]; do
    smtp-source -A -s {sessions} -m {chunk} -R 1 -l 300 -r {recipients} -f {name}@source.example -t {recipient} \
        -M client.example 127.0.0.1:25 || true
    n=$((n + {chunk}))
done
echo $n > /srv/load/{name}
"""


class Load:
    """Senders and receivers on a machine; `start`, then `stop`, then `counts`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._run = 0

    def start(self) -> None:
        """Configure Postfix and let mails come; those to later.example are deferred for now."""
        self._machine.run(_POSTFIX)
        for name, port in PORTS.items():
            self._sink(name, port, {"bounced": "-f RCPT", "later": "-r RCPT"}.get(name, ""))
        self.resume()

    def resume(self) -> None:
        """Let mails come (again)."""
        self._run += 1
        self._machine.run("rm -f /srv/load/stop")
        for kind in KINDS:
            chunk = CHUNK * kind.sessions
            script = _SENDER.format(**kind._asdict(), chunk=chunk)
            path = f"/srv/load/{kind.name}.sh"
            self._machine.write(path, script)
            self._machine.run(f"systemd-run --quiet --collect --unit=load-{kind.name} sh {path}")

    def _sink(self, name: str, port: int, options: str) -> None:
        self._machine.run(
            f"systemctl stop sink-{name} 2>/dev/null || true; systemd-run --quiet --collect --unit=sink-{name} "
            f"--property=StandardOutput=append:/srv/load/sink-{name} --property=LimitNOFILE=10000 "
            f"smtp-sink -u nobody -c {options} 127.0.0.1:{port} 1000"
        )

    def stop(self, due_s: float = 300.0) -> None:
        """End the load, let the deferred mails be delivered, and wait until the queue is empty."""
        machine = self._machine
        machine.run("touch /srv/load/stop")
        machine.until(lambda: not machine.run("systemctl list-units --plain --no-legend 'load-*'"), due_s, "last mails")
        self._sink("later", PORTS["later"], "")
        script = "[ $(postqueue -j | wc -l) = 0 ] || { postqueue -f; sleep 2; exit 1; }; echo empty"
        machine.until(lambda: machine.run(script, check=False), due_s, "emptying the queue")

    def counts(self) -> dict[str, int]:
        """Give what smtp-source counted by kind, and smtp-sink by `sink NAME` (mails, not recipients)."""
        counts = {kind.name: int(self._machine.run(f"cat /srv/load/{kind.name}")) for kind in KINDS}
        for name in PORTS:
            # Each life of a sink counts from 0, on one line.
            lives: list[int] = []
            for count in re.findall(r"mesg=(\d+)", self._machine.run(f"tr '\\r' '\\n' < /srv/load/sink-{name}")):
                if not lives or int(count) < lives[-1]:
                    lives.append(0)
                lives[-1] = int(count)
            counts[f"sink {name}"] = sum(lives)
        return counts
