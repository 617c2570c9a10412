"""What the journal says of this machine: its name, its id, and who Postfix is here.

Takes nothing, gives an OwnMachine. A user's number says who somebody is on one machine only, so what entries of others
say is judged without it.
"""

from __future__ import annotations

import contextlib
import platform
import pwd
from pathlib import Path
from typing import Final, NamedTuple

from .entries import ROOT

MACHINE_ID: Final = Path("/etc/machine-id")


class OwnMachine(NamedTuple):
    """This machine: `host` as the journal names it, `machine_id`, and the user ids of root and Postfix."""

    host: str
    machine_id: str
    uids: frozenset[str]


def own_machine(mail_owner: str = "postfix") -> OwnMachine:
    """Look at this machine; where it has no machine id, its name takes its place."""
    host = machine_id = platform.node()
    with contextlib.suppress(OSError, ValueError):
        machine_id = MACHINE_ID.read_text(encoding="ascii").strip()
    uids = ROOT
    with contextlib.suppress(KeyError):
        uids = ROOT | {str(pwd.getpwnam(mail_owner).pw_uid)}
    return OwnMachine(host, machine_id, uids)
