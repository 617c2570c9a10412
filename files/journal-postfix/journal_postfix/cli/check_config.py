"""check-config: say everything that is wrong with a configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import ConfigurationError
from ..rules import load_rules
from ..settings import Settings, load_settings
from ..store.database import parse_dsn
from .text import escape

NEEDS_SETTINGS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Load the file, and the rules that it names; their problems are raised, all at once."""
    found = load_settings(arguments.file)
    problems = []
    for check in (lambda: parse_dsn(found.database), lambda: load_rules(found.problem_rules)):
        try:
            check()
        except ConfigurationError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigurationError(problems)
    print(f"{escape(str(arguments.file))}: good")
    return 0
