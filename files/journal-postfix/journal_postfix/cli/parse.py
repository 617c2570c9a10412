"""parse: each line as one JSON object, without any database."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from ..errors import InputError
from ..message import LogMessage
from ..parse import Parser, parser_for
from ..settings import Settings
from ..sources.logfile import Logfile, iter_logfile_messages
from .inputs import add_input_arguments, input_options
from .text import escape

WORKS_WITHOUT_SETTINGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_input_arguments(parser, "*")
    parser.add_argument("--json", action="store_true", help="the only form of output there is; accepted for symmetry")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Parse the files in the order in which they were given (standard input without any)."""
    options = input_options(arguments, settings)
    parse = parser_for(settings.neighbours)
    status = 0
    for path in arguments.files or ["-"]:
        try:
            with Logfile(path) as logfile:
                for message in iter_logfile_messages(logfile, options, take_unfinished=True):
                    sys.stdout.write(json.dumps(_as_json(message, parse), ensure_ascii=True) + "\n")
        except InputError as error:
            sys.stdout.flush()
            print(f"journal-postfix: {escape(str(error))}", file=sys.stderr)
            status = 1
    return status


def _as_json(message: LogMessage, parse: Parser) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if message.time:
        result["time"] = datetime.fromtimestamp(message.time, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
    if message.host:
        result["host"] = message.host
    if message.identifier:
        result["identifier"] = message.identifier
    if message.pid:
        result["pid"] = message.pid
    result.update(parse(message.identifier, message.text))
    return result
