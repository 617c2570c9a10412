"""What the look-ups' arguments have in common: texts and times, refused with an example when they make no sense."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

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
