"""The captured logs of tests/captured and what was captured with them: scenarios, and the recipients' fates.

Reads files, gives plain data. `postfix-VERSION.tsv` was written by the scenarios' driver (sample/world/captured), which
knows what it sent and what the world did with it, and nothing of our parser.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from paths import TESTS

CAPTURED = TESTS / "captured"
VERSIONS = ("3.7", "3.10")


class Recipient(NamedTuple):
    """What must have become of mail to one address.

    `fates`, sorted: a `FATE/STATE` for every row of mail_recipient, `rejected` for one of mail_rejected, `-/STATE` for
    a queue entry whose recipient no line names (see `message_id`), `?` for whatever. `taken_by`: the servers and
    mailboxes that took it. `replies`: the SMTP codes that the client got.
    """

    address: str
    fates: list[str]
    taken_by: list[str]
    replies: list[int]

    @property
    def message_id(self) -> str:
        """The Message-ID of the first mail to this address."""
        return f"<{self.address.replace('@', '.')}@captured.example>"


class Scenario(NamedTuple):
    """A situation, what some line of it must match, and its recipients."""

    name: str
    pattern: str
    recipients: list[Recipient]


def logs(version: str) -> list[Path]:
    """Give the log files of a Postfix release: what rsyslog wrote, and what postlogd wrote."""
    return [CAPTURED / f"postfix-{version}.log", CAPTURED / f"postfix-{version}.postlogd.log"]


def scenarios(version: str) -> list[Scenario]:
    """Read the table of a Postfix release."""
    result: list[Scenario] = []
    for line in (CAPTURED / f"postfix-{version}.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            name, pattern = line.removeprefix("## ").split("\t")
            result.append(Scenario(name, pattern, []))
        elif not line.startswith("# "):
            address, fates, taken_by, replies = line.split("\t")
            result[-1].recipients.append(
                Recipient(
                    address,
                    sorted(fates.split()),
                    [who for who in taken_by.split(", ") if who],
                    [int(code) for code in replies.split()],
                )
            )
    return result
