"""What every test may use: PostgreSQL servers, fresh databases, one time zone, repeatable properties.

Gives the fixtures `postgres_server` (each test runs once for every PostgreSQL major version that was found),
`empty_database` and `database` (connection strings; the latter has the schema). Servers are throw-away ones, see
tools/scratch_postgres.py. `JP_TEST_POSTGRES` selects them: `all`, `15`, `15,17` …; by default those of 15 and 17.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import hypothesis
import psycopg2
import pytest
from psycopg2 import sql

import journals
from scratch_postgres import ScratchPostgres, Server, find_servers

SUPPORTED_MAJORS = (15, 17)

# Log files without a zone are read in the machine's: the same one on every machine. The server's own is another, an
# odd one, so that no test passes because the two agree. Both are spelt such that no zone database is needed.
os.environ["TZ"] = "UTC0"
time.tzset()
SERVER_SETTINGS = {"timezone": "<+0545>-05:45", "max_connections": "50"}

# The same examples in every run; `pytest --hypothesis-profile=explore` looks for new ones.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=5000, print_blob=True)
hypothesis.settings.load_profile("repeatable")


def _servers_by_major() -> dict[int, Server]:
    """Return one server of each major version: the system's rather than a wheel's."""
    by_major: dict[int, Server] = {}
    for server in find_servers():
        by_major.setdefault(server.major, server)
    return by_major


def _wanted_servers(wanted: str) -> tuple[list[Server], list[int]]:
    """Return the servers to test with, and the major versions that were wanted and are not here."""
    by_major = _servers_by_major()
    if wanted == "all":
        return list(by_major.values()), []
    majors = [int(major) for major in wanted.split(",")] if wanted else list(SUPPORTED_MAJORS)
    missing = [major for major in majors if major not in by_major]
    return [by_major[major] for major in majors if major in by_major], missing


SERVERS, MISSING_MAJORS = _wanted_servers(os.environ.get("JP_TEST_POSTGRES", ""))


def _missing_text() -> str:
    return ", ".join(f"PostgreSQL {major}" for major in MISSING_MAJORS) + " not found: not tested on it"


def pytest_report_header() -> list[str]:
    """Say at the top which servers are tested."""
    found = ", ".join(str(server) for server in SERVERS) or "none"
    missing = [journals.MISSING] if journals.MISSING else []
    return [f"servers: {found}"] + ([_missing_text()] if MISSING_MAJORS else []) + missing


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, where it is read, which servers were not tested."""
    if MISSING_MAJORS:
        terminalreporter.write_line(_missing_text(), yellow=True)
    if journals.MISSING:
        terminalreporter.write_line(journals.MISSING, yellow=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server: `pytest -m 'not postgres'` does without."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker("postgres")
    items[:] = [item for item in items if not item.get_closest_marker("one_postgres") or _is_on_first_server(item)]


def _is_on_first_server(item: pytest.Item) -> bool:
    """Tell what runs on the first server from its repetitions on the others."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return parameters.get("postgres_server", _SERVER_PARAMETERS[0]) == _SERVER_PARAMETERS[0]


def _server_id(server: Server | None) -> str:
    return f"pg{server.major}" if server else "none"


_SERVER_PARAMETERS: list[Server | None] = [*SERVERS] or [None]


@pytest.fixture(scope="session", params=_SERVER_PARAMETERS, ids=_server_id)
def postgres_server(request: pytest.FixtureRequest) -> Iterator[ScratchPostgres]:
    """Run a server for the whole session."""
    if request.param is None:
        pytest.fail("no PostgreSQL for the tests; `make test` provides one (JP_TEST_POSTGRES selects)", pytrace=False)
    with ScratchPostgres(server=request.param, settings=SERVER_SETTINGS) as server:
        yield server


_numbers = count(1)


def _execute(dsn: str, statement: sql.Composable) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True  # CREATE DATABASE and DROP DATABASE refuse to be in a transaction
        with connection.cursor() as cursor:
            cursor.execute(statement)


def _create_database(server: ScratchPostgres, template: str) -> str:
    name = f"test_{next(_numbers)}"
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    _execute(server.dsn, statement)
    return name


def _drop_database(server: ScratchPostgres, name: str) -> None:
    _execute(server.dsn, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def template_database(postgres_server: ScratchPostgres) -> str:
    """Make a database with the schema once; the tests get copies of it. Its name."""
    from journal_postfix.store import Database, apply_schema

    name = _create_database(postgres_server, "template1")
    with closing(Database(postgres_server.database_dsn(name))) as connection:
        apply_schema(connection)
    return name


@pytest.fixture
def empty_database(postgres_server: ScratchPostgres) -> Iterator[str]:
    """Give the connection string of a database of the test's own, without the schema."""
    name = _create_database(postgres_server, "template1")
    yield postgres_server.database_dsn(name)
    _drop_database(postgres_server, name)


@pytest.fixture
def database(postgres_server: ScratchPostgres, template_database: str) -> Iterator[str]:
    """Give the connection string of a database of the test's own, with the schema."""
    name = _create_database(postgres_server, template_database)
    yield postgres_server.database_dsn(name)
    _drop_database(postgres_server, name)


@pytest.fixture
def config(database: str, tmp_path: Path) -> str:
    """Give a configuration file that names the database."""
    path = tmp_path / "main.yml"
    path.write_text(f"database: '{database}'\n", encoding="utf-8")
    return str(path)
