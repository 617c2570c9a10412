"""`make try` and `./try`: journal-postfix on a PostgreSQL of its own, kept in the folder .try of the checkout.

`report` imports a log, or the shipped sample, and shows what there is to see; `command …` runs one journal-postfix
command on what was imported. Either starts the server, and stops it whatever happens. The sample and
your own logs have a database each; commands look at the one that was reported last. Nothing here is used on a server.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from scratch_postgres import ScratchPostgres, ScratchPostgresError, is_reachable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "files" / "journal-postfix"))

from journal_postfix.cli.text import escape
from journal_postfix.errors import JournalPostfixError
from journal_postfix.store import Database

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "files" / "journal-postfix"
SAMPLE = ROOT / "sample" / "mail.log"
FOLDER = ROOT / ".try"
CONFIGURATION = FOLDER / "main.yml"
CURRENT = FOLDER / "database"  # the name of the database that commands look at
CACHE = Path("/var/cache")
DATABASE_NAME = re.compile(r"own|sample_[0-9a-f]{8}")
WORST = 3


class Problem(NamedTuple):
    """Recipients who did not get their mail, for one reason."""

    recipients: int
    fate: str
    reason: str
    domains: list[str]
    example: str  # one of the recipients


# ------------------------------------------------------------------------------------------------------ the database


def prepare_folder() -> None:
    """Make .try; elsewhere, with a link, where root's checkout lies in a folder that the server's user cannot enter."""
    if FOLDER.is_symlink():
        FOLDER.readlink().mkdir(mode=0o711, exist_ok=True)
    FOLDER.mkdir(mode=0o711, exist_ok=True)
    if FOLDER.stat().st_uid != os.geteuid():
        raise ScratchPostgresError(f"{FOLDER} belongs to another user, who can throw it away: make clean")
    if FOLDER.is_symlink() or is_reachable(FOLDER):
        return
    FOLDER.rmdir()
    name = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:12]
    elsewhere = CACHE / f"journal-postfix-try-{name}"  # tools/setup.sh clean knows this name
    elsewhere.mkdir(mode=0o711, exist_ok=True)
    FOLDER.symlink_to(elsewhere)
    print(f"PostgreSQL does not run as root, and nobody else can enter {ROOT}: the data are in {elsewhere}")


@contextlib.contextmanager
def running_server(name: str) -> Iterator[ScratchPostgres]:
    """Run the server with a database of this name, and a configuration that leads there."""
    if not DATABASE_NAME.fullmatch(name):
        raise ScratchPostgresError(f"{CURRENT} is damaged; begin again with: make try")
    with ScratchPostgres(FOLDER) as server:
        with closing(Database(server.dsn)) as maintenance:
            if not maintenance.fetch("SELECT 1 FROM pg_database WHERE datname = %s", (name,)):
                maintenance.execute(f"CREATE DATABASE {name}")
        CONFIGURATION.write_text(f"---\n# Made by make try.\ndatabase: {server.database_dsn(name)}\n", encoding="utf-8")
        CURRENT.write_text(name, encoding="utf-8")
        yield server


def journal_postfix(*arguments: str, quiet: bool = False) -> int:
    """Run one command of the program, without what it says on standard output if `quiet`; its exit status."""
    sys.stdout.flush()
    command: list[str | Path] = [sys.executable, PROGRAM, "--config", CONFIGURATION, *arguments]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None).returncode


# -------------------------------------------------------------------------------------------------------- the report


def heading(text: str) -> None:
    """Print a heading, bold on a terminal."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(f"\n\033[1m{text}\033[0m" if bold else f"\n{text}")


def plural(number: int, noun: str) -> str:
    """Give `1 mail`, `2 mails`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_numbers(database: Database) -> int:
    """Print what is in the database; give the number of mails."""
    ((mails, first, last),) = database.fetch("SELECT count(*), min(began), max(last_seen) FROM mail")
    fates = database.fetch("SELECT fate, count(*) FROM mail_recipient GROUP BY fate ORDER BY count(*) DESC, fate")
    ((rejections,),) = database.fetch("SELECT count(*) FROM mail_rejected")
    recipients = sum(number for _, number in fates)
    parts = [plural(mails, "mail"), plural(recipients, "recipient"), plural(rejections, "rejection")]
    span = f", from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC" if mails else ""
    print(f"  {', '.join(parts)}{span}")
    for fate, number in fates:
        print(f"  {number:>9,}  {number / recipients:6.1%}  {fate}")
    return int(mails)


_NORMALISATIONS = (
    (re.compile(r"^(?:delivery temporarily suspended: )+"), ""),
    (re.compile(r"^host \S+ (?:said|refused to talk to me): "), ""),
    (re.compile(r" \(in reply to [^()]* command\)$"), ""),
    (re.compile(r"\[[0-9A-Fa-f.:]+\](?::\d+)?"), ""),
    (re.compile(r"<[^<>]*>|\"[^\"]*\"|\S+@\S+"), "…"),
    (re.compile(r"\b(?=\w*\d)[\w-]{6,}\b"), "…"),
    (re.compile(r"\s+"), " "),
)


def normalised(response: str) -> str:
    """Reduce a reply to what it has in common with others of its kind.

    >>> normalised("host mx.example.com[192.0.2.1] said: 550 5.1.1 <a@example.com>: no (in reply to RCPT TO command)")
    '550 5.1.1 …: no'
    """
    for pattern, replacement in _NORMALISATIONS:
        response = pattern.sub(replacement, response)
    return response.strip()


def worst_problems(database: Database) -> list[Problem]:
    """Return the reasons for which most recipients did not get their mail."""
    rows = database.fetch(
        "SELECT fate, coalesce(response, ''), split_part(lower(recipient), '@', 2), count(*), min(recipient) "
        "FROM mail_recipient WHERE fate IN ('deferred', 'bounced', 'expired', 'undeliverable', 'rejected') "
        "GROUP BY 1, 2, 3 ORDER BY 4 DESC, 5"
    )
    domains: dict[tuple[str, str], Counter[str]] = {}
    examples: dict[tuple[str, str], str] = {}
    for fate, response, domain, number, recipient in rows:
        kind = (fate, normalised(response))
        domains.setdefault(kind, Counter())[domain] += number
        examples.setdefault(kind, recipient)
    worst = sorted(domains, key=lambda kind: -domains[kind].total())[:WORST]
    return [
        Problem(domains[kind].total(), *kind, [name for name, _ in domains[kind].most_common()], examples[kind])
        for kind in worst
    ]


def print_problems(problems: list[Problem]) -> None:
    """Print what most recipients' mail failed of."""
    if not problems:
        print("  none: every recipient's mail arrived, or is on its way for the first time")
    for number, problem in enumerate(problems, 1):
        more = f" and {plural(len(problem.domains) - 2, 'other')}" if len(problem.domains) > 2 else ""
        where = ", ".join(escape(domain or "local names") for domain in problem.domains[:2])
        print(f"  {number}. {plural(problem.recipients, 'recipient')} {problem.fate} at {where}{more}")
        print(f"     {escape(problem.reason)[:160]}")


def a_story(database: Database) -> tuple[str, str] | None:
    """Choose a mail with something to tell, yet not for pages; its queue id and a recipient."""
    rows = database.fetch(
        "SELECT m.queue_id, min(r.recipient) FROM mail AS m INNER JOIN mail_recipient AS r USING (mail_id) "
        "GROUP BY m.mail_id, m.queue_id ORDER BY (max(r.attempts) BETWEEN 2 AND 6 AND bool_or(r.fate = 'sent')) DESC, "
        "least(max(r.attempts), 6) DESC, least(count(*), 4) DESC, m.mail_id LIMIT 1"
    )
    return rows[0] if rows else None


def print_next(story: tuple[str, str], problems: list[Problem]) -> None:
    """Print commands that work as they stand."""
    queue_id, recipient = story
    commands = {
        f"./try search --recipient {shlex.quote(recipient)}": "every mail and rejection of a recipient",
        f"./try trace {shlex.quote(queue_id)}": "the story of that mail again",
        **{f"./try search --fate {problem.fate}": f"what was {problem.fate}" for problem in problems[:1]},
        "./try unknown": "lines that were not understood",
        "./try --help": "everything else",
        "make try LOG=/var/log/mail.log": "the same with a log of yours",
    }
    width = max(map(len, commands))
    for command, does in commands.items():
        print(f"  {command:<{width}}  # {does}")


def go_back_to(name: str | None) -> None:
    """Let commands look at what was imported before, rather than at a database in which there is nothing."""
    if name is None:
        CURRENT.unlink()
    else:
        CURRENT.write_text(name, encoding="utf-8")
    print("try: no mail was found there" + (": ./try … goes on with the log before" if name else ""), file=sys.stderr)


def report(log: str | None) -> int:
    """Import a log and show what it tells."""
    prepare_folder()
    # Another sample, by an upgrade, gets another database.
    name = "own" if log else f"sample_{hashlib.sha256(SAMPLE.read_bytes()).hexdigest()[:8]}"
    path = log or os.path.relpath(SAMPLE)
    before = CURRENT.read_text(encoding="utf-8") if CURRENT.exists() else None
    with running_server(name) as server:
        print(f"{server.server}, started for this and stopped afterwards; its data are kept in {FOLDER.name}/")
        heading(f"Import of {path}")
        if status := journal_postfix("schema", "apply", quiet=True):
            print(f"try: `make clean` throws away what is in {FOLDER.name}/; then begin again", file=sys.stderr)
            return status
        status = journal_postfix("import", path)
        with closing(Database(server.database_dsn(name))) as database:
            database.execute("ANALYZE")
            heading(
                "What became of the mails" if not log else "What became of the mails (all that you imported so far)"
            )
            if not print_numbers(database):
                go_back_to(before)
                return status
            heading("The three worst problems")
            problems = worst_problems(database)
            print_problems(problems)
            if story := a_story(database):
                heading(f"One mail's story ({story[0]})")
                status = journal_postfix("trace", story[0]) or status
                heading("What to type next")
                print_next(story, problems)
    return status


def command(arguments: list[str]) -> int:
    """Run one command on the database of the last report."""
    if not CURRENT.exists():
        print("try: nothing is imported yet; begin with: make try", file=sys.stderr)
        return 1
    prepare_folder()
    with running_server(CURRENT.read_text(encoding="utf-8")):
        return journal_postfix(*arguments)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End in order on a signal: every `with` block is left, so the server is stopped."""
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """Run `report` (of the log in the environment variable LOG) or `command …`; give the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = command(arguments[1:]) if arguments[0] == "command" else report(os.environ.get("LOG") or None)
        sys.stdout.flush()  # here, where a broken pipe is dealt with
        return status
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ScratchPostgresError, JournalPostfixError, OSError) as error:
        print(f"try: {error}", file=sys.stderr)
        return 1
