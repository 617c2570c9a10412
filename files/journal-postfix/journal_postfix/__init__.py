"""journal-postfix: what became of each mail, from Postfix's log lines, in PostgreSQL.

The data's way: sources (`sources/`) yield log messages, `parse` reads one line, `extract` says what of it matters to
which table, `merge` folds lines into queue entries, `store` writes a batch in one transaction. `run` is the loop.
"""

__version__ = "0.1.0"
