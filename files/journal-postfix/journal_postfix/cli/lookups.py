"""What the look-ups have in common: their arguments, refused with an example when they make no sense, and what is said
when nothing is found.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from ..store import Database
from ..store.search import known_span
from ..store.trace import Entry
from .text import escape, local_time
from .times import Span, parse_span, parse_time


def text_argument(text: str) -> str:
    """Take any text that is one: not empty, and valid UTF-8."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty text would find everything; the empty sender is written '<>'")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!a} is not valid UTF-8") from None
    return text


def time_argument(text: str) -> datetime:
    """Take a point in time."""
    try:
        return parse_time(text, datetime.now(UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def span_argument(text: str) -> Span:
    """Take a time that may be as long as a day."""
    try:
        return parse_span(text, datetime.now(UTC))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def limit_argument(text: str) -> int:
    """Take how many results are wanted."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0
    if not 1 <= number <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000; try 50")
    return number


def entry_text(entry: Entry) -> str:
    """Name a queue entry that may be meant."""
    sender = "?" if entry.sender is None else escape(entry.sender) or "<>"
    return f"{escape(entry.queue_id)} on {escape(entry.host)}, {local_time(entry.began)}, from {sender}"


def explain_span(database: Database) -> None:
    """Say on stderr from when to when something could have been found."""
    span = known_span(database)
    if span is None:
        print("the database has no mail at all yet: see 'journal-postfix status'", file=sys.stderr)
    else:
        print(f"what is known goes from {local_time(span[0])} to {local_time(span[1])}", file=sys.stderr)
