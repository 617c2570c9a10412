"""The sources: where log messages come from.

Each source yields `LogMessage`s in order, each with the position at which reading goes on after it. A source reads and
decodes; it never parses Postfix's text and never touches the database. A batch may end only at a message whose position
is greater than the one before it (see `logfile`). The journal also yields `Gap`s where messages are missing.
"""
