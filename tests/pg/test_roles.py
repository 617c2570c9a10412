"""The database's roles: each can do its commands, as a login of its own, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors, sql

from journal_postfix.cli.main import main
from journal_postfix.run import run_loop
from journal_postfix.settings import Settings
from journal_postfix.store import Database, apply_schema
from journal_postfix.store.cleaning import Retention, clean_up
from journal_postfix.store.closing import close_silent
from journal_postfix.store.inputs import Heartbeat, beat
from journal_postfix.store.positions import find_journal, find_position
from journal_postfix.store.roles import CLEANUP, DAEMON, GRANTS, READER, ROLES, apply_grants, create_roles, known_roles
from journal_postfix.store.write import Writer
from paths import SAMPLE, STREAMS
from pg.feed import feed_file, messages_of
from pg.logs import attempt, mail
from scratch_postgres import ScratchPostgres

LOGINS = {DAEMON: "jp-daemon", CLEANUP: "jp-cleanup", READER: "jp-reader"}


def _execute(dsn: str, *statements: str | sql.Composable) -> None:
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def _drop_roles(dsn: str) -> None:
    for name in (*LOGINS.values(), *ROLES):
        _execute(dsn, sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture
def roles(postgres_server: ScratchPostgres, database: str) -> Iterator[dict[str, str]]:
    """Give, by role, the connection string of a member's login to a database that has their rights."""
    with closing(Database(database)) as connection:
        assert create_roles(connection) == list(ROLES)
        assert apply_grants(connection)
    for role, login in LOGINS.items():
        _execute(database, sql.SQL("CREATE ROLE {} LOGIN IN ROLE {}").format(*map(sql.Identifier, (login, role))))
    yield {role: database.replace("user=postgres", f"user={login}") for role, login in LOGINS.items()}
    _execute(database, *[f"DROP OWNED BY {role}" for role in ROLES])
    _drop_roles(postgres_server.dsn)


def _run(dsn: str, folder: Path, *arguments: str | Path) -> int:
    config = folder / "main.yml"
    config.write_text(f"database: '{dsn}'\nretention_days: 0.001\nretention_days_rejected: 0.001\n", encoding="utf-8")
    return main(["--config", str(config), *map(str, arguments)])


def _relations(dsn: str, kinds: str) -> list[str]:
    with closing(Database(dsn)) as connection:
        rows = connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY(%s) ORDER BY 1",
            (list(kinds),),
        )
    return [name for (name,) in rows]


def _is_denied(dsn: str, statement: str) -> bool:
    """Tell whether a statement is refused for want of a right; nothing of it stays."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        try:
            cursor.execute(statement)
        except errors.InsufficientPrivilege:
            return True
    return False


def test_every_table_and_view_has_its_line(database: str) -> None:
    text = GRANTS.read_text(encoding="utf-8")
    relations = _relations(database, "rvmpf")
    assert len(relations) > 25
    assert [name for name in relations if f"('{name}', '" not in text] == []


def test_functions_with_their_owners_rights_are_for_the_roles_alone_and_read_no_callers_tables(database: str) -> None:
    text = GRANTS.read_text(encoding="utf-8")
    with closing(Database(database)) as connection:
        functions = connection.fetch(
            "SELECT proname, proconfig::text, has_function_privilege('public', oid, 'EXECUTE') "
            "FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
        )
        reading = connection.fetch(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT prosecdef "
            "AND prosrc ~ '(FROM|JOIN) (delivery_|mail_|noqueue|neighbour_)'"
        )
    assert len(functions) > 5
    assert reading == []
    for name, settings, is_public in functions:
        assert "search_path=public, pg_temp" in settings, name
        assert not is_public, name
        assert f"('FUNCTION {name}', '" in text, name


def test_the_daemon_stores_and_looks_up_and_cannot_delete_mails(
    roles: dict[str, str], database: str, tmp_path: Path
) -> None:
    dsn = roles[DAEMON]
    assert _run(dsn, tmp_path, "import", SAMPLE / "mail.log") == 0
    # Every kind of row, and rows that are changed afterwards.
    for path in sorted(STREAMS.glob("*.log")):
        feed_file(dsn, str(path))
    with closing(Database(dsn)) as connection:
        find_journal(connection, "journal", "journal of this host")
        for lag in (1.0, 2.0):
            beat(connection, Heartbeat("journal", "mx", 1, "1", 0.0, "following", lag, 0.0, None))
        close_silent(connection, 0.001)
    for arguments in (["search", "--limit", "3"], ["trace", "00DC527FBF4"], ["unknown"]):
        assert _run(dsn, tmp_path, *arguments) == 0
    for table in _relations(database, "r"):
        assert _is_denied(dsn, f"DELETE FROM {table} WHERE FALSE") == (table != "process_state"), table
        assert _is_denied(dsn, f"TRUNCATE {table}"), table
        assert _is_denied(dsn, f"DROP TABLE {table} CASCADE"), table
        assert _is_denied(dsn, f"ALTER TABLE {table} ADD COLUMN x integer"), table
    assert _is_denied(dsn, "CREATE TABLE public.mine (x integer)")
    assert _is_denied(dsn, "INSERT INTO schema_step VALUES (99, 'x', 'x')")
    assert _run(dsn, tmp_path, "cleanup") == 1


def test_cleanup_deletes_and_stores_nothing(
    roles: dict[str, str], database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(STREAMS.glob("*.log")):
        feed_file(database, str(path))
    dsn = roles[CLEANUP]
    assert _run(dsn, tmp_path, "cleanup", "--dry-run", "--json") == 0
    would = json.loads(capsys.readouterr().out)["deleted"]
    assert _run(dsn, tmp_path, "cleanup", "--json") == 0
    done = json.loads(capsys.readouterr().out)["deleted"]
    assert done["mails"] == would["mails"] > 40
    with closing(Database(dsn)) as connection:
        assert connection.fetch("SELECT count(*) FROM delivery_from WHERE ended IS NOT NULL") == [(0,)]
        assert connection.fetch("SELECT error FROM cleanup_report") == [(None,)]
    for table in set(_relations(database, "r")) - {"cleanup_run"}:
        assert _is_denied(dsn, f"INSERT INTO {table} DEFAULT VALUES"), table
        assert _is_denied(dsn, f"TRUNCATE {table}"), table
        assert _is_denied(dsn, f"DROP TABLE {table} CASCADE"), table
    assert _is_denied(dsn, "UPDATE delivery_to SET status = 'sent' WHERE FALSE")
    assert _is_denied(dsn, "UPDATE input_position SET position = 0 WHERE FALSE")
    assert _is_denied(dsn, "DELETE FROM input_position WHERE FALSE")
    assert _run(dsn, tmp_path, "import", SAMPLE / "mail.log") == 1


def test_a_reader_looks_up_by_views_and_reads_no_table(
    roles: dict[str, str], database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(STREAMS.glob("*.log")):
        feed_file(database, str(path))
    dsn = roles[READER]
    (queue_id,) = _first(database, "SELECT queue_id FROM mail ORDER BY began DESC LIMIT 1")
    outputs = []
    for reading in (dsn, database):
        for arguments in (
            ["search", "example", "--json"],
            ["search", "--fate", "deferred", "--recipient", "@example.net", "--json"],
            ["trace", queue_id],
            ["problems", "--since", "2026-11-19", "--until", "2026-11-22"],
            ["problems", "--since", "2026-11-19", "--until", "2026-11-22", "--unclassified", "--json"],
            ["stats", "--since", "2026-11-19", "--until", "2026-11-22", "--by", "client"],
            ["unknown", "--json"],
            ["unknown", "--set-aside", "--json"],
            ["schema", "status"],
        ):
            assert _run(reading, tmp_path, *arguments) == 0
        _run(reading, tmp_path, "status")
        # The database's size changes by itself.
        outputs.append(re.sub(r"[0-9.]+ [KMG]iB\n", "", capsys.readouterr().out))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 10_000
    for table in _relations(database, "r"):
        assert _is_denied(dsn, f"SELECT FROM {table}") == (table != "schema_step"), table
        assert _is_denied(dsn, f"DELETE FROM {table}"), table
    for view in _relations(database, "v"):
        # Whole rows: a column may come from a function that reads tables.
        count = f"SELECT count(*), count(md5(v::text)) FROM {view} AS v"
        assert _first(dsn, count) == _first(database, count), view
        # The simple ones could be written through.
        rights = f"SELECT has_table_privilege('{READER}', '{view}', 'INSERT, UPDATE, DELETE, TRUNCATE')"
        assert _first(database, rights) == (False,), view
    assert _is_denied(dsn, "SELECT nextval('delivery_from_mail_id_seq')")
    for arguments in (["import", str(SAMPLE / "mail.log")], ["cleanup"]):
        assert _run(dsn, tmp_path, *arguments) == 1
    told = capsys.readouterr().err
    assert "permission denied" in told
    assert "journal_postfix_readers" in told
    assert "schema apply --create-roles" in told


def _first(dsn: str, query: str) -> tuple[Any, ...]:
    with closing(Database(dsn)) as connection:
        return connection.fetch(query)[0]


def test_schema_apply_gives_the_rights_and_takes_others_away(
    roles: dict[str, str], database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(database, tmp_path, "schema", "apply") == 0
    assert capsys.readouterr().out == "schema: nothing to do\n"
    _execute(
        database,
        f"GRANT ALL ON delivery_from TO {READER}",
        f"GRANT UPDATE (sender) ON delivery_from TO {CLEANUP}",
        f"REVOKE SELECT ON mail FROM {READER}",
    )
    assert _run(database, tmp_path, "schema", "apply", "--json") == 0
    *steps, last = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert not any(step["changed"] for step in steps)
    assert last == {"roles": list(ROLES), "created": [], "changed": True}
    assert _is_denied(roles[READER], "SELECT FROM delivery_from")
    assert _is_denied(roles[CLEANUP], "UPDATE delivery_from SET sender = ''")
    assert not _is_denied(roles[READER], "SELECT FROM mail")


def test_a_schema_under_another_name_works_after_schema_apply(database: str) -> None:
    _execute(database, "ALTER SCHEMA public RENAME TO renamed")
    with closing(Database(f"{database} options='-csearch_path=renamed'")) as connection:
        assert apply_schema(connection) == []
        assert connection.fetch("SELECT count(*) FROM mail_leaves(ARRAY[1]::bigint[])") == [(0,)]
        settings = connection.fetch("SELECT DISTINCT proconfig[1] FROM pg_proc WHERE proname = 'is_next_leg'")
    assert settings == [("search_path=renamed, pg_temp",)]


def test_roles_are_created_only_where_asked(
    postgres_server: ScratchPostgres, empty_database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Database(empty_database)) as connection:
        assert _run(empty_database, tmp_path, "schema", "apply") == 0
        assert known_roles(connection) == []
        assert _run(empty_database, tmp_path, "schema", "apply", "--create-roles") == 0
        assert known_roles(connection) == list(ROLES)
    assert "role journal_postfix_reader: created" in capsys.readouterr().out
    _execute(empty_database, *[f"DROP OWNED BY {role}" for role in ROLES])
    _drop_roles(postgres_server.dsn)


def test_an_owner_who_is_no_superuser_applies_the_schema_and_gives_the_rights(
    postgres_server: ScratchPostgres, empty_database: str
) -> None:
    name = _first(empty_database, "SELECT current_database()")[0]
    with closing(Database(empty_database)) as connection:
        create_roles(connection)
    _execute(
        empty_database,
        "CREATE ROLE jp_owner LOGIN",
        sql.SQL("ALTER DATABASE {} OWNER TO jp_owner").format(sql.Identifier(name)),
    )
    owner = empty_database.replace("user=postgres", "user=jp_owner")
    with closing(Database(owner)) as connection:
        assert len(apply_schema(connection)) >= 4
        assert apply_grants(connection)
        assert not apply_grants(connection)
    _execute(
        empty_database,
        sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(name)),
        "DROP OWNED BY jp_owner CASCADE",
        *[f"DROP OWNED BY {role}" for role in ROLES],
        "DROP ROLE jp_owner",
    )
    _drop_roles(postgres_server.dsn)


def test_a_mail_goes_its_way_between_the_roles(roles: dict[str, str], database: str) -> None:
    """The daemon's writer, which keeps numbers of hosts, goes on after cleanup emptied the tables."""
    with closing(Database(roles[DAEMON])) as daemon, closing(Database(roles[CLEANUP])) as cleanup:
        writer = Writer(daemon)
        for queue_id in ("A0000001", "A0000002"):
            begins = find_position(daemon, "logfile", queue_id, queue_id.encode())
            messages = messages_of(mail(queue_id, 0, "a@example.com", attempt("b@example.net")))
            run_loop(iter(messages), writer, begins, Settings())
            assert clean_up(cleanup, Retention(0.01, 0.01, 0.01, 8)).deleted["mails"] == 1
        assert cleanup.fetch("SELECT count(*) FROM set_aside") == [(0,)]
