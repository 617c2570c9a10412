"""Who may do what in the database: three roles for the program's users, and their rights.

Takes a database; creates the roles where asked to, and gives those that exist the rights of grants.sql. Roles belong to
the whole server, so they are never created unasked. They cannot log in: the roles that log in are made members.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .database import Database

GRANTS: Final = Path(__file__).parent / "grants.sql"

DAEMON: Final = "journal_postfix_daemon"
CLEANUP: Final = "journal_postfix_cleanup"
READER: Final = "journal_postfix_reader"

# The names are fixed here and in grants.sql: SQL is never made of names from elsewhere.
_CREATE: Final = {
    DAEMON: (
        "CREATE ROLE journal_postfix_daemon NOLOGIN",
        "COMMENT ON ROLE journal_postfix_daemon IS 'journal-postfix: stores (run, import), deletes no mail'",
    ),
    CLEANUP: (
        "CREATE ROLE journal_postfix_cleanup NOLOGIN",
        "COMMENT ON ROLE journal_postfix_cleanup IS 'journal-postfix: deletes (cleanup), stores nothing'",
    ),
    READER: (
        "CREATE ROLE journal_postfix_reader NOLOGIN",
        "COMMENT ON ROLE journal_postfix_reader IS 'journal-postfix: reads the views (search, trace, status …)'",
    ),
}
ROLES: Final = tuple(_CREATE)


def known_roles(database: Database) -> list[str]:
    """List those of our roles that the server has."""
    found = {name for (name,) in database.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", (list(ROLES),))}
    return [name for name in ROLES if name in found]


def create_roles(database: Database) -> list[str]:
    """Create those of our roles that the server lacks; give them. StoreError for who may not create roles."""
    missing = [name for name in ROLES if name not in known_roles(database)]
    for name in missing:
        with database.transaction():
            for command in _CREATE[name]:
                database.execute(command)
    return missing


def apply_grants(database: Database) -> bool:
    """Give the roles that exist exactly the rights of grants.sql; tell whether that changed anything."""
    if not known_roles(database):
        return False
    with database.transaction():
        before = _rights(database)
        database.execute(GRANTS.read_text(encoding="utf-8"))
        return _rights(database) != before


def _rights(database: Database) -> set[tuple[str, str, str]]:
    """Give thing, role and right of all that our roles may do in this database."""
    rows = database.fetch(
        "SELECT held.thing, acl.grantee::regrole::text, acl.privilege_type FROM ("
        "SELECT oid::regclass::text, relacl FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
        "UNION ALL SELECT attrelid::regclass::text || '.' || attname, attacl FROM pg_attribute "
        "WHERE attacl IS NOT NULL AND attrelid > 16383 "
        "UNION ALL SELECT 'database', datacl FROM pg_database WHERE datname = current_database() "
        "UNION ALL SELECT 'schema', nspacl FROM pg_namespace WHERE nspname = current_schema()"
        ") AS held (thing, acl) CROSS JOIN LATERAL aclexplode(held.acl) AS acl "
        "WHERE acl.grantee = ANY(%s::regrole[])",
        (known_roles(database),),
    )
    return set(rows)
