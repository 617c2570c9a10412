"""The program: finds the command, reads the configuration, and turns errors into one line and an exit status.

Exit status: 0 done, 1 failed, 2 usage, 78 configuration.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

from .. import __version__
from ..errors import JournalPostfixError
from ..settings import DEFAULT_PATH, Settings, load_settings
from . import check_config, import_, parse, schema, search, status, trace, unknown

COMMANDS: Final[tuple[ModuleType, ...]] = (import_, parse, search, trace, unknown, status, schema, check_config)


def build_parser() -> argparse.ArgumentParser:
    """Give the parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="journal-postfix", description="What became of each mail: Postfix's log lines, summarized in PostgreSQL."
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH}, where there is one)"
    )
    parser.add_argument("--version", action="version", version=f"journal-postfix {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS:
        command = commands.add_parser(module.NAME, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(module=module)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit status."""
    arguments = build_parser().parse_args(argv)
    module = arguments.module
    try:
        needs_settings = getattr(module, "NEEDS_SETTINGS", True)
        settings = load_settings(arguments.config) if needs_settings else Settings()
        return int(module.run(arguments, settings))
    except JournalPostfixError as error:
        for line in str(error).splitlines():
            print(f"journal-postfix: {line}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("journal-postfix: interrupted; what was stored stays, running it again goes on there", file=sys.stderr)
        return 128 + signal.SIGINT
