"""run: the daemon; follows the journal from where it stopped, and stores what comes."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import sys
from typing import Final

from ..errors import JournalPostfixError
from ..settings import Settings, load_settings
from ..store.database import parse_dsn
from .text import escape

# sd-daemon(3): what journald takes as the priority of a line.
PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: none."""


class _JournalFormatter(logging.Formatter):
    """One line per record, with its priority in front for journald."""

    def format(self, record: logging.LogRecord) -> str:
        text = escape(record.getMessage())
        return text if sys.stderr.isatty() else f"<{PRIORITIES.get(record.levelno, 6)}>{text}"


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Follow until SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    from ..daemon import STOP_WITHIN_S, Daemon
    from ..notify import Notifier
    from ..signals import Signals

    parse_dsn(settings.database)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter())
    log = logging.getLogger("journal_postfix")
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
    # A batch is some hundred thousand objects without a cycle among them: looking for some takes a tenth of the time.
    gc.set_threshold(400_000, 20, 100)

    def load() -> Settings:
        again = load_settings(arguments.config)
        parse_dsn(again.database)
        return again

    with Signals(STOP_WITHIN_S) as signals, contextlib.closing(Notifier()) as notifier:
        try:
            Daemon(settings, load, signals, notifier).run()
        except JournalPostfixError as error:
            log.log(logging.ERROR, "%s", error)
            return error.exit_status
    return 0
