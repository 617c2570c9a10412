"""trace: everything that is known about one mail, with a sentence in plain words for each recipient."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.trace import Entry, Found, find_entries, find_nearest, load_stories
from ..verdict import mail_verdict, recipient_verdict
from .lookups import span_argument, text_argument
from .story import story_lines
from .text import count_text, escape, json_line, local_time, terminal_columns, utc_time
from .times import EXAMPLE

NAME = "trace"
HELP = "tell one mail's whole story, by queue id or message-id"

# More entries of one id than this are listed, not told.
MAX_STORIES: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("id", type=text_argument, metavar="ID", help="a queue id, or a message-id with or without <>")
    add("--host", type=text_argument, metavar="HOST", help="mail server that logged it, by its full or its short name")
    add(
        "--time",
        type=span_argument,
        metavar="TIME",
        help=f"when it was in the queue, where an id was used more than once: {EXAMPLE}",
    )
    add("--verbose", "-v", action="store_true", help="every attempt and every recipient, however many")
    add("--json", action="store_true", help="one JSON object per queue entry, always with everything")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Find the mail and tell its story; an unknown id is answered with what it may have meant."""
    database = Database(settings.database)
    require_current_schema(database)
    begin, end = arguments.time or (None, None)
    found = find_entries(database, arguments.id, arguments.host, begin, end)
    if not found.entries:
        _explain_nothing(database, arguments.id, found)
        return 0
    told = found.entries
    if len(told) > MAX_STORIES and not arguments.json:
        _list(told, arguments.id)
        return 0
    stories = load_stories(database, [entry.mail_id for entry in told])
    database.close()
    if arguments.json:
        for story in stories:
            print(json_line(_as_json(story)))
        return 0
    if len(stories) > 1:
        what = "have this queue id" if stories[0]["queue_id"] == arguments.id else "have this message-id"
        print(f"{count_text(len(stories), 'queue entry', 'queue entries')} {what}, oldest first.\n")
    for number, story in enumerate(stories):
        if number:
            print("\n" + "─" * (terminal_columns() or 100) + "\n")
        for line in story_lines(story, terminal_columns(), is_verbose=arguments.verbose):
            print(line)
    sys.stdout.flush()
    if found.others:
        print(
            f"{count_text(len(found.others), 'other queue entry has', 'other queue entries have')} this id "
            "at another time or on another host",
            file=sys.stderr,
        )
    return 0


def _as_json(story: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": "mail", **story}
    record.pop("mail_id", None)
    verdict = mail_verdict(story, utc_time)
    if verdict is not None:
        record["verdict"] = verdict
    record["recipients"] = [
        {**recipient, "verdict": recipient_verdict(story, recipient, utc_time)} for recipient in story["recipients"]
    ]
    return record


def _entry_text(entry: Entry) -> str:
    sender = "?" if entry.sender is None else escape(entry.sender) or "<>"
    return f"{escape(entry.queue_id)} on {escape(entry.host)}, {local_time(entry.began)}, from {sender}"


def _list(entries: list[Entry], text: str) -> None:
    count = f"{len(entries):,} queue entries are known as {escape(text)}"
    print(f"{count}; --time or --host tells which is meant. The newest:")
    for entry in reversed(entries[-50:]):
        print(f"  {_entry_text(entry)}")


def _explain_nothing(database: Database, text: str, found: Found) -> None:
    print(f"nothing is known of {escape(text)}", end="", file=sys.stderr)
    if found.others:
        print(" on that host or at that time; but of:", file=sys.stderr)
        nearest = found.others[-5:]
    else:
        nearest = find_nearest(database, text)
        print("; did you mean one of these?" if nearest else "", file=sys.stderr)
    for entry in nearest:
        print(f"  {_entry_text(entry)}", file=sys.stderr)
    if not nearest:
        first = database.fetch("SELECT min(began) FROM mail")[0][0]
        if first is None:
            print("the database has no mail at all yet: see 'journal-postfix status'", file=sys.stderr)
        else:
            print(f"what is known begins at {local_time(first)}", file=sys.stderr)
