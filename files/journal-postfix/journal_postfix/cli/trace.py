"""trace: everything that is known about one mail, with a sentence in plain words for each recipient."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.mails import without_numbers
from ..store.search import Cursor
from ..store.trace import Entry, Found, find_entries, find_nearest, find_row, load_rejection, load_stories
from ..verdict import mail_verdict, recipient_verdict
from .lookups import entry_text, explain_span, span_argument, text_argument
from .story import rejection_lines, story_lines
from .text import count_text, escape, json_line, terminal_columns, utc_time
from .times import EXAMPLE

_REJECTION_RE: Final = re.compile(r"r[0-9]{1,18}", re.ASCII)

# More entries of one id than this are listed, not told.
MAX_STORIES: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    add("id", type=text_argument, metavar="ID", help="a queue id, a message-id with or without <>, or a row of search")
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
    row = _row(arguments.id)
    if row is not None and row.kind == "rejected":
        _tell_rejection(database, row, arguments)
        return 0
    begin, end = arguments.time or (None, None)
    found = find_entries(database, arguments.id, arguments.host, begin, end) if row is None else find_row(database, row)
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
    asked = {(entry.host, entry.queue_id) for entry in told}
    if len(stories) > 1:
        what = "have this queue id" if told[0].queue_id == arguments.id else "have this message-id"
        noun = "mail" if any(story["legs"] for story in stories) else "queue entry"
        print(
            f"{count_text(len(stories), noun, 'mails' if noun == 'mail' else 'queue entries')} {what}, oldest first.\n"
        )
    for number, story in enumerate(stories):
        if number:
            print("\n" + "─" * (terminal_columns() or 100) + "\n")
        if (story["host"], story["queue_id"]) not in asked and len(asked) == 1:
            print(f"{escape(told[0].queue_id)} is a later leg of this mail:")
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


def _row(text: str) -> Cursor | None:
    """Read what names a row of search: a rejection's short r123, or the cursor of its JSON."""
    if _REJECTION_RE.fullmatch(text):
        return Cursor(datetime.now(UTC), "rejected", int(text[1:]))
    try:
        return Cursor.parse(text)
    except ValueError:
        return None


def _tell_rejection(database: Database, row: Cursor, arguments: argparse.Namespace) -> None:
    loaded = load_rejection(database, row.number)
    if loaded is None:
        print(f"nothing is known of rejection r{row.number}", file=sys.stderr)
        return
    rejection, later = loaded
    if arguments.json:
        rejection.pop("noqueue_id")
        came = [{"host": entry.host, "queue_id": entry.queue_id, "began": entry.began} for entry in later]
        print(json_line({"kind": "rejected", **rejection, "came_later": came}))
        return
    for line in rejection_lines(rejection, terminal_columns()):
        print(line)
    for entry in later:
        print(f"  came later as {entry_text(entry)}: trace {escape(entry.queue_id)}")


def _as_json(story: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": "mail", **without_numbers(story, with_leaves=True)}
    if "legs" in record:
        record["legs"] = [_as_json(leg) for leg in record["legs"]]
        record["rejected_before"] = [
            {name: value for name, value in rejection.items() if name != "noqueue_id"}
            for rejection in record["rejected_before"]
        ]
    verdict = mail_verdict(story, utc_time)
    if verdict is not None:
        record["verdict"] = verdict
    record["recipients"] = [
        {**told, "verdict": recipient_verdict(story, recipient, utc_time)}
        for told, recipient in zip(record["recipients"], story["recipients"], strict=True)
    ]
    return record


def _list(entries: list[Entry], text: str) -> None:
    count = f"{len(entries):,} queue entries are known as {escape(text)}"
    print(f"{count}; --time or --host tells which is meant. The newest:")
    for entry in reversed(entries[-50:]):
        print(f"  {entry_text(entry)}")


def _explain_nothing(database: Database, text: str, found: Found) -> None:
    print(f"nothing is known of {escape(text)}", end="", file=sys.stderr)
    if found.others:
        print(" on that host or at that time; but of:", file=sys.stderr)
        nearest = found.others[-5:]
    else:
        nearest = find_nearest(database, text)
        if "@" in text and not nearest:
            print(
                "; it is no message-id of a mail here; mails of an address: search",
                escape(text),
                end="",
                file=sys.stderr,
            )
        print("; did you mean one of these?" if nearest else "", file=sys.stderr)
    for entry in nearest:
        print(f"  {entry_text(entry)}", file=sys.stderr)
    if not nearest:
        explain_span(database)
