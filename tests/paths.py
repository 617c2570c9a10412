"""Where things lie in the checkout. Gives paths and does nothing."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "files" / "journal-postfix"  # `python3 PROGRAM …` runs it
PACKAGE = PROGRAM / "journal_postfix"
SAMPLE = ROOT / "sample"
TESTS = ROOT / "tests"
CORPUS = TESTS / "corpus"
STREAMS = TESTS / "streams"
