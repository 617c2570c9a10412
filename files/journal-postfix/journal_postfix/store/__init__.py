"""The only package that talks to the database: the schema, the writing of batches, and the look-ups."""

from __future__ import annotations

from .batch import Batch, InputPosition
from .database import Database
from .schema import apply_schema, require_current_schema, schema_state
from .write import Stored, Writer, store_deliveries

__all__ = [
    "Batch",
    "Database",
    "InputPosition",
    "Stored",
    "Writer",
    "apply_schema",
    "require_current_schema",
    "schema_state",
    "store_deliveries",
]
