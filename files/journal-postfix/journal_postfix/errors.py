"""The exceptions of journal-postfix, one tree by meaning.

Each message tells the operator what went wrong, where, and what to do. Parsing raises none of them.
"""

from __future__ import annotations


class JournalPostfixError(Exception):
    """Anything that the operator can do something about; the CLI prints its text and exits with `exit_status`."""

    exit_status = 1


class ConfigurationError(JournalPostfixError):
    """The configuration has problems; `problems` lists all of them, each with its file and key."""

    exit_status = 78

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(JournalPostfixError):
    """Arguments that make no sense together; the text says what would."""

    exit_status = 2


class InputError(JournalPostfixError):
    """A log file cannot be read (any further); the text begins with its name."""


class StoreError(JournalPostfixError):
    """The database refuses something that no retry mends: wrong version, missing right, newer schema."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now; the same call may succeed later."""


class InputBusyError(StoreError):
    """Another process has stored from the same input since this one began."""
