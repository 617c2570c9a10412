"""The only package that talks to the database: the schema, the writing of batches, and the look-ups."""

from __future__ import annotations

from .database import Database
from .schema import apply_schema, require_current_schema, schema_state

__all__ = ["Database", "apply_schema", "require_current_schema", "schema_state"]
