"""The program: finds the command, reads the configuration, and turns errors into one line and an exit status.

Exit status: 0 done, 1 failed, 2 usage, 78 configuration.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final, TextIO

from .. import __version__
from ..errors import ConfigurationError, JournalPostfixError
from ..settings import DEFAULT_PATH, Settings, load_settings
from .rights import rights_advice
from .text import escape

COMMANDS: Final[dict[str, str]] = {
    "run": "follow the journal and store what comes (the service does this)",
    "import": "store log files in the database; lines that are there already are not stored again",
    "parse": "print each log line as a JSON object; no database is needed",
    "search": "find mails and rejections by sender, recipient, client, time …",
    "trace": "tell one mail's whole story over all its legs, by queue id, message-id or a row of search",
    "problems": "show what goes wrong: by meaning, destination and host, with alarms first",
    "stats": "count mails, deliveries, failures, rejections, volume and delays",
    "unknown": "list the lines that were not understood, grouped, the most frequent first",
    "status": "show position, counters and versions; exit status 1 when something is wrong",
    "cleanup": "delete what is older than the retention (retention_days and the like); a timer does this daily",
    "schema": "apply the steps that the database lacks and give the roles their rights, or list the steps",
    "check-config": "check a configuration file; exit status 78 if it has problems",
}
"""Each with its help."""


class _CommandParser(argparse.ArgumentParser):
    """Reads a command's arguments, which it learns only when asked to: half of a look-up's time goes into loading."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        module = command_module(self.prog.rpartition(" ")[2])
        module.add_arguments(self)
        self.set_defaults(module=module, parser=self)
        return super().parse_known_args(args, namespace)


def command_module(name: str) -> ModuleType:
    """Load the module of a command."""
    name = name.replace("-", "_")
    return import_module(f"{__package__}.{'import_' if name == 'import' else name}")


def build_parser() -> argparse.ArgumentParser:
    """Give the parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="journal-postfix", description="What became of each mail: Postfix's log lines, summarized in PostgreSQL."
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"configuration (default: {DEFAULT_PATH}, where there is one)"
    )
    parser.add_argument("--version", action="version", version=f"journal-postfix {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name, help_text in COMMANDS.items():
        commands.add_parser(name, help=help_text, description=help_text)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit status."""
    _open_missing_streams()
    try:
        status = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough. Keep Python from complaining at exit.
        _silence(sys.stdout)
        return 128 + signal.SIGPIPE
    except OSError as error:
        _silence(sys.stdout)
        # What is written has no name; what has one is a file that was to be read, such as a module of the program.
        what = error.filename if isinstance(error.filename, str) else "cannot write the output"
        return _complain(f"{what}: {error.strerror or error}")
    except KeyboardInterrupt:
        _silence(sys.stdout)
        _complain("interrupted; what was stored stays, running it again goes on there")
        return 128 + signal.SIGINT
    return status


def _run(argv: Sequence[str] | None) -> int:
    arguments, unknown_arguments = build_parser().parse_known_args(argv)
    # __main__.py lets Ctrl-C end the program while it is being loaded; from here on we say what it means.
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if unknown_arguments:
        # The command's own usage helps, that of the whole program does not.
        arguments.parser.error(f"unrecognized arguments: {escape(' '.join(unknown_arguments))}")
    module = arguments.module
    try:
        return int(module.run(arguments, _settings(arguments.config, module)))
    except JournalPostfixError as error:
        for line in str(error).splitlines():
            _complain(line)
        if advice := rights_advice(error):
            _complain(advice)
        return error.exit_status


def _settings(path: Path | None, module: ModuleType) -> Settings:
    if not getattr(module, "NEEDS_SETTINGS", True):
        return Settings()
    try:
        return load_settings(path)
    except ConfigurationError:
        # Who may not read the server's configuration may still parse a log.
        if path is None and getattr(module, "WORKS_WITHOUT_SETTINGS", False):
            return Settings()
        raise


def _complain(text: str) -> int:
    print(f"journal-postfix: {escape(text)}", file=sys.stderr)
    return 1


def _open_missing_streams() -> None:
    """Where a standard stream is closed, put /dev/null: else the next file that is opened takes its place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _silence(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
