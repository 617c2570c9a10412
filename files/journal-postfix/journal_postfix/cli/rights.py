"""What to do when PostgreSQL does not know who asks, or does not let them.

Takes an error of the store; gives a line to print below it, or None for other errors. Asks the database nothing.
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import JournalPostfixError, StoreError

# What libpq says at the log-in comes without an SQLSTATE.
_UNKNOWN_RE: Final = re.compile(
    r"role \"[^\"]{0,200}\" does not exist|(?:Peer|Ident) authentication failed|permission denied for database"
)
_INSUFFICIENT_PRIVILEGE: Final = "42501"

_ADVICE: Final = (
    "look-ups need the role journal_postfix_reader, import and run journal_postfix_daemon, cleanup "
    "journal_postfix_cleanup; with Ansible name the system user in journal_postfix_readers; by hand, as the owner of "
    "the database, 'journal-postfix schema apply --create-roles', then CREATE ROLE alice LOGIN IN ROLE "
    "journal_postfix_reader, or for a user who is there GRANT journal_postfix_reader TO alice"
)


def rights_advice(error: JournalPostfixError) -> str | None:
    """Say how one gets the right that was missing; None if none was."""
    if not isinstance(error, StoreError):
        return None
    is_refused = getattr(error.__cause__, "pgcode", None) == _INSUFFICIENT_PRIVILEGE
    return _ADVICE if is_refused or _UNKNOWN_RE.search(str(error)) else None
