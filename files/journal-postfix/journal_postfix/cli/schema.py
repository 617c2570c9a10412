"""schema apply, schema status: the database's steps."""

from __future__ import annotations

import argparse
import json

from ..settings import Settings
from ..store import Database, apply_schema, schema_state

NAME = "schema"
HELP = "apply the steps that the database lacks, or list them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("what", choices=("apply", "status"), help="apply the missing steps, or only list all")
    parser.add_argument("--json", action="store_true", help="one JSON object per step")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Apply or list; `status` exits with 1 while a step is missing."""
    database = Database(settings.database)
    done = set()
    if arguments.what == "apply":
        done = {step.number for step in apply_schema(database)}
    states = schema_state(database)
    for state in states:
        if arguments.json:
            changed = {"changed": state.number in done} if arguments.what == "apply" else {}
            print(json.dumps({"step": state.number, "name": state.name, "applied": state.applied, **changed}))
        elif arguments.what == "status":
            print(f"step {state.number} {state.name}: {state.applied or 'missing'}")
        elif state.number in done:
            print(f"step {state.number} {state.name}: applied")
    if arguments.what == "apply":
        if not done and not arguments.json:
            print("schema: nothing to do")
        return 0
    return 1 if any(state.applied is None for state in states) else 0
