"""check-config: say everything that is wrong with a configuration file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..settings import Settings, load_settings
from ..store.database import parse_dsn
from .text import escape

NAME = "check-config"
HELP = "check a configuration file; exit status 78 if it has problems"
NEEDS_SETTINGS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Load the file; its problems are raised."""
    parse_dsn(load_settings(arguments.file).database)
    print(f"{escape(str(arguments.file))}: good")
    return 0
