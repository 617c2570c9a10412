"""schema apply, schema status: the database's steps, and who may do what in it."""

from __future__ import annotations

import argparse
import json

from ..settings import Settings
from ..store import Database, apply_schema, schema_state
from ..store.roles import apply_grants, create_roles, known_roles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", choices=("apply", "status"), help="apply the missing steps, or only list all")
    parser.add_argument(
        "--create-roles",
        action="store_true",
        help="with apply: create the roles that the server lacks (journal_postfix_daemon, …_cleanup, …_reader)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per step; of apply one more for the roles")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Apply or list; `status` exits with 1 while a step is missing."""
    database = Database(settings.database)
    if arguments.what == "apply":
        _apply(database, create=arguments.create_roles, as_json=arguments.json)
        return 0
    states = schema_state(database)
    for state in states:
        if arguments.json:
            print(json.dumps({"step": state.number, "name": state.name, "applied": state.applied}))
        else:
            print(f"step {state.number} {state.name}: {state.applied or 'missing'}")
    return 1 if any(state.applied is None for state in states) else 0


def _apply(database: Database, *, create: bool, as_json: bool) -> None:
    done = {step.number for step in apply_schema(database)}
    created = create_roles(database) if create else []
    is_changed = apply_grants(database)
    roles = known_roles(database)
    if as_json:
        for state in schema_state(database):
            changed = state.number in done
            print(json.dumps({"step": state.number, "name": state.name, "applied": state.applied, "changed": changed}))
        print(json.dumps({"roles": roles, "created": created, "changed": bool(created) or is_changed}))
        return
    for state in schema_state(database):
        if state.number in done:
            print(f"step {state.number} {state.name}: applied")
    for name in created:
        print(f"role {name}: created")
    if is_changed:
        print(f"rights: given to {', '.join(roles)}")
    if not done and not created and not is_changed:
        print("schema: nothing to do")
