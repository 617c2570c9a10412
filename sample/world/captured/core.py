"""What the captured scenarios have in common: their register, the clients' notes, and the table that tests read.

A scenario is a function that sends, with what it must lead to: a pattern that some line of the log must match, and per
recipient the fates that it must have. The fates are written by hand from what clients and servers of this world do;
nothing here reads the log. They are compared with what is known outside of it: which server or mailbox took the mail
(`taken`), which replies the client got (`REPLIES`), and what is in the queues at the end (`in_queue`).
"""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import scenario as sample

LATEST = (3, 10)


class Scenario(NamedTuple):
    """One situation. `fates`: recipient → `FATE/STATE ...`, one word per row of the view mail_recipient (with the state of
    its queue entry), `rejected` for one of mail_rejected, `-/STATE` for a queue entry whose recipient no line names (its
    Message-ID does, see `send`). "": no row at all. "?": whatever the client was told."""

    name: str
    pattern: str
    fates: dict[str, str]
    run: Callable[[], None]
    since: tuple[int, int]


PHASES: dict[int, list[Scenario]] = defaultdict(list)
REPLIES: dict[str, list[int]] = defaultdict(list)
VERSION = tuple(int(part) for part in sample.do("postconf", "-dh", "mail_version").split(".")[:2])


def scenario(
    name: str, pattern: str, fates: dict[str, str] | None = None, *, phase: int = 1, since: tuple[int, int] = (3, 7)
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a function as what happens in this scenario. Those of phase 1 run side by side, those of 2 one by one."""

    def add(function: Callable[[], None]) -> Callable[[], None]:
        PHASES[phase].append(Scenario(name, pattern, fates or {}, function, since))
        return function

    return add


def send(sender: str, recipients: str | list[str], title: str | None = None, **more) -> None:
    """Send as the sample's clients do, and note each recipient's reply."""
    more.setdefault("length", 300)
    first = recipients if isinstance(recipients, str) else recipients[0]
    if re.fullmatch(r"[A-Za-z0-9+.@-]+", first):
        more.setdefault("ident", f"<{first.replace('@', '.')}@captured.example>")
    for recipient, code in sample.send(sender, recipients, title or "captured", **more).items():
        REPLIES[recipient].append(code)


def submit(user: str, recipients: str | list[str], title: str | None = None, **more) -> None:
    more.setdefault("length", 300)
    more.setdefault("source", "dsl-17.isp.example")
    for recipient, code in sample.submit(user, recipients, title or "captured", **more).items():
        REPLIES[recipient].append(code)


class Raw(sample.Raw):
    """A client that says what it wants, and notes the replies to RCPT and to the end of the data."""

    def say(self, *lines: str) -> str:
        text = ""
        for line in lines:
            if line.upper().startswith("MAIL "):
                self.accepted = []
            text = super().say(line)
            code = int(text[:3]) if text[:3].isdigit() else 0
            if found := re.match(r"(?i)rcpt to:<([^>]*)>", line):
                REPLIES[found[1]].append(code)
                if code == 250:
                    self.accepted.append(found[1])
            elif line.endswith("\r\n."):
                for recipient in self.accepted:
                    REPLIES[recipient].append(code)
        return text


def wait_for(recipient: str, instance: str = "/etc/postfix", seconds: float = 10) -> str:
    """Give the queue id of the mail that waits for this recipient, "" when none comes."""
    for _ in range(int(seconds * 4)):
        if ident := next((i for i in [quiet_queue_id(recipient, instance)] if i), ""):
            return ident
        threading.Event().wait(0.25)
    print("not in the queue:", recipient, flush=True)
    return ""


def quiet_queue_id(recipient: str, instance: str) -> str:
    found = re.findall(
        r'"queue_id": "(\w+)"[^\n]*"address": "' + re.escape(recipient) + '"',
        sample.do("postqueue", "-c", instance, "-j"),
    )
    return found[0] if found else ""


def run(phase: int, width: int) -> None:
    """Let the scenarios of one phase happen, so many at a time."""
    waiting = [s for s in PHASES[phase] if s.since <= VERSION]
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                if not waiting:
                    return
                this = waiting.pop(0)
            try:
                this.run()
            except Exception as error:
                print(this.name, repr(error), flush=True)

    threads = [threading.Thread(target=work) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def taken() -> dict[str, list[str]]:
    """Give per recipient who took a mail for him: servers, the mail store, mailboxes and commands."""
    who: dict[str, list[str]] = defaultdict(list)
    for line in Path("/world/run/internet.out").read_text(encoding="utf-8", errors="replace").splitlines():
        word, *rest = line.split("\t")
        if word == "accepted":
            for recipient in rest[1:]:
                who[recipient].append(rest[0])
    for folder in ("/var/mail", "/var/vmail"):
        for path in Path(folder).rglob("*"):
            if path.is_file():
                for recipient in re.findall(r"(?m)^X-Original-To: (.*)$", path.read_text("utf-8", "replace")):
                    who[recipient].append("mailbox")
    for recipient in re.findall(
        r"(?m)^X-Original-To: (.*)$", Path("/world/run/captured-file").read_text("utf-8", "replace")
    ):
        who[recipient].append("file")
    return who


def in_queue() -> dict[str, str]:
    """Give per recipient the queue that has mail for him now."""
    found = {}
    for instance in ("/etc/postfix", "/etc/postfix-out", "/etc/postfix-file"):
        for line in sample.do("postqueue", "-c", instance, "-j").splitlines():
            mail = json.loads(line) if line.startswith("{") else {"recipients": ()}
            for recipient in mail["recipients"]:
                found[recipient["address"]] = mail["queue_name"]
    return found


def write_table(path: Path, disagreements: Path) -> None:
    """Write what tests/captured keeps, and what the world and the hand-written fates disagree about."""
    who, queued = taken(), in_queue()
    lines = [
        "# Made by sample/make-captured. ## SCENARIO, PATTERN; RECIPIENT, FATE/STATE of each row, taken by, replies"
    ]
    wrong = []
    for phase in sorted(PHASES):
        for this in PHASES[phase]:
            if this.since > VERSION:
                continue
            lines.append(f"## {this.name}\t{this.pattern}")
            for recipient, fates in this.fates.items():
                if fates == "?":
                    fates = "sent/removed" if REPLIES.get(recipient, [0])[-1] == 250 else "?"
                if fates == "expired/expired" and recipient in queued:  # Postfix was slower than planned
                    fates = "deferred/queued"
                if ("held" in fates) != (queued.get(recipient) == "hold"):
                    wrong.append(f"{this.name}: {recipient}: {fates}, but in the queue {queued.get(recipient)}")
                outside = sorted(who.get(recipient, []))
                replies = " ".join(map(str, REPLIES.get(recipient, [])))
                lines.append("\t".join((recipient, fates, ", ".join(outside), replies)))
                sent = sum(word.startswith("sent/") for word in fates.split())
                if outside and fates and not sent:
                    wrong.append(f"{this.name}: {recipient}: {fates}, but taken by {outside}")
                refused = any(code >= 400 for code in REPLIES.get(recipient, []))
                rejected = any(word.startswith(("rejected", "-/rejected")) for word in fates.split())
                if replies and fates not in ("", "?") and rejected != refused:
                    wrong.append(f"{this.name}: {recipient}: {fates}, but the client saw {replies}")
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    disagreements.write_text("".join(line + "\n" for line in wrong), encoding="utf-8")


def shell(command: str) -> None:
    """Do what an administrator types."""
    sample.do("sh", "-c", command)
