"""The connection to PostgreSQL; the only module that imports the driver.

Takes SQL with parameters, gives tuples. The driver's exceptions end here: StoreUnavailable where a later try may
succeed, RowRefused where the database does not take a value, StoreError for everything that an operator must mend.
Never builds SQL out of values.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from ..errors import ConfigurationError, StoreError, StoreUnavailable

MIN_SERVER_VERSION = 150000
# In any other, SQL_ASCII among them, the first line that holds more than ASCII would stop everything.
ENCODING = "UTF8"

# What is sent with the first command behind it. Whoever has waited for a lock must see what was stored meanwhile,
# whatever default_transaction_isolation says.
BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
SAVEPOINT = b"SAVEPOINT attempt"

# A connection that dies without a word (a pulled cable) is noticed within half a minute, not after two hours.
CONNECTION_DEFAULTS = {
    "application_name": "journal-postfix",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
    "client_encoding": "UTF8",
}

# systemd.exec(5): LoadCredential=database_password:FILE gives the service a file in $CREDENTIALS_DIRECTORY. libpq would
# refuse it as a passfile: its mode allows the group to read, an access list is what keeps the group out.
PASSWORD_CREDENTIAL = "database_password"  # noqa: S105

# For a connection that others wait for: what takes longer than any batch does hangs, and is tried again.
WAIT_SETTINGS = (
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '30s'",
    "SET idle_in_transaction_session_timeout = '60s'",
)


class CopyInto(NamedTuple):
    """Where COPY writes: a table and its columns, named by constants. A column may only have NULL as its default."""

    table: str
    columns: Sequence[str]


class Statement(NamedTuple):
    """A statement that a connection prepares when it begins (`Database.configure`), so it is planned once.

    `command` runs it: takes what `$1`, `$2` … of `sql` stand for, of these `types`.
    """

    name: str
    types: Sequence[str]
    sql: str

    @property
    def prepare(self) -> str:
        """Give the command that prepares it."""
        return f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.sql}"

    @property
    def command(self) -> str:
        """Give the command that runs it."""
        return f"EXECUTE {self.name} ({', '.join(f'%s::{type_}' for type_ in self.types)})"


def insert_rows(name: str, table: str, columns: Sequence[str], on_conflict: str) -> Statement:
    """Give the statement that inserts rows, as `json_rows` gives them; table and columns are constants."""
    names = ", ".join(columns)
    return Statement(
        name,
        ("json",),
        f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, $1) "  # noqa: S608
        f"ON CONFLICT {on_conflict}",
    )


class RowRefused(StoreError):
    """The database does not take a row: a NUL, a number out of range, a text too long for an index."""


_REFUSED = (
    psycopg2.DataError,
    psycopg2.IntegrityError,
    psycopg2.errors.ProgramLimitExceeded,
    # A lone surrogate or a NUL, found by the driver before the server sees it.
    UnicodeEncodeError,
    ValueError,
)


# Nobody's fault, though PostgreSQL counts them otherwise: what was the primary server is a standby now, and a process
# that was stopped for a while (its machine slept) had a transaction open.
_PASSING = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    psycopg2.errors.ReadOnlySqlTransaction,
    psycopg2.errors.IdleInTransactionSessionTimeout,
)


# PostgreSQL 17: the driver knows no class of its own for it.
TRANSACTION_TIMEOUT = "25P04"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _REFUSED as error:
        raise RowRefused(str(error).strip()) from error
    except psycopg2.errors.InsufficientPrivilege as error:
        raise StoreError(
            f"database: {_first_line(error)}; grant it, or connect as the role that the schema names"
        ) from (error)
    except psycopg2.errors.UndefinedTable as error:
        raise StoreError(f"database: {_first_line(error)}; run 'journal-postfix schema apply' first") from error
    except _PASSING as error:
        text = f"database: {_first_line(error)}; nothing that was stored is lost: run it again"
        raise StoreUnavailable(text) from error
    except psycopg2.Error as error:
        # A server that ends at once, as after the crash of one of its processes, leaves the driver without a code.
        is_passing = type(error) is psycopg2.DatabaseError and error.pgcode is None
        is_passing |= error.pgcode == TRANSACTION_TIMEOUT
        raise (StoreUnavailable if is_passing else StoreError)(f"database: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def parse_dsn(dsn: str) -> dict[str, str]:
    """Take libpq's connection string apart; ConfigurationError if it is none."""
    try:
        return dict(psycopg2.extensions.parse_dsn(dsn))
    except psycopg2.ProgrammingError as error:
        # libpq's words repeat the part that it stumbled over, which may be a password.
        words = _first_line(error).partition('"')[0].strip()
        raise ConfigurationError([f"database: is no connection string of libpq ({words} …)"]) from None


def _credential() -> dict[str, str]:
    """Give the password that systemd handed to this service; nothing where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return {}
    try:
        password = (Path(folder) / PASSWORD_CREDENTIAL).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeError) as error:
        # The text of a UnicodeError would be the password's.
        raise StoreError(
            f"database: cannot read the credential {PASSWORD_CREDENTIAL} ({type(error).__name__})"
        ) from None
    return {"password": password.rstrip("\r\n")}


def _ignore() -> None:
    pass


class Database:
    """One connection, opened at the first use and again after it was lost.

    `on_answer` is called whenever the server has answered: a transaction of many slow statements is no hang.
    """

    def __init__(self, dsn: str, on_answer: Callable[[], None] = _ignore) -> None:
        self.dsn = dsn
        self._on_answer = on_answer
        self._connection: Any = None
        self._settings: tuple[str, ...] = ()
        self._deferred: list[bytes] = []

    def configure(self, *settings: str) -> None:
        """Give commands that each connection of this object begins with, from the next use on."""
        self._settings = settings
        self.close()

    def connection(self) -> Any:
        """Give the open connection; StoreUnavailable or StoreError say what keeps it from opening."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        parameters: dict[str, Any] = {**CONNECTION_DEFAULTS, **_credential(), **parse_dsn(self.dsn)}
        try:
            connection = psycopg2.connect(**parameters)
        except psycopg2.OperationalError as error:
            raise StoreUnavailable(
                f"database: cannot connect ({_first_line(error)}); is PostgreSQL running, and does the setting "
                "'database' name its host, database and user?"
            ) from error
        if connection.server_version < MIN_SERVER_VERSION:
            version = connection.server_version // 10000
            connection.close()
            raise StoreError(f"database: PostgreSQL {version} is too old; 15 or newer is needed")
        encoding = connection.get_parameter_status("server_encoding")
        if encoding != ENCODING:
            connection.close()
            raise StoreError(
                f"database: its encoding is {encoding}, which cannot hold what is logged; make it anew with "
                f"'createdb --encoding={ENCODING} --template=template0'"
            )
        with _translated():
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET timezone = 'UTC'")
                # Compiling costs more than any query here that is worth waiting for.
                cursor.execute("SET jit = off")
                for setting in self._settings:
                    cursor.execute(setting)
        self._connection = connection
        return connection

    def close(self) -> None:
        """Close the connection; what was not committed is gone."""
        connection, self._connection = self._connection, None
        self._deferred.clear()
        if connection is not None:
            connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a block in one transaction: committed at its end, rolled back on any exception.

        When COMMIT itself is cut off nobody knows whether it took place: StoreUnavailable, and the stored position
        tells the next run.
        """
        self._deferred = [BEGIN]
        try:
            yield
            with self._cursor() as cursor:
                cursor.execute(self._with_deferred(cursor, "COMMIT"))
                if cursor.statusmessage != "COMMIT":
                    # What a transaction that has failed answers is ROLLBACK, and no error.
                    raise StoreError("database: a transaction had failed before its end; nothing of it was stored")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        has_begun = self._deferred[:1] != [BEGIN]
        self._deferred.clear()
        if not has_begun:
            return
        connection = self._connection
        if connection is None or connection.closed:
            self._connection = None
            return
        try:
            self.execute("ROLLBACK")
        except StoreError:
            self.close()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Run a block that may be refused (RowRefused) without its transaction: the block alone is undone."""
        if self._deferred:
            try:
                self.execute("SAVEPOINT attempt")
            except RowRefused as error:
                # One of those was: no fault of the block's, and nothing that it could do without.
                raise StoreError(str(error)) from error
        else:
            self._deferred.append(SAVEPOINT)
        try:
            yield
            self.execute("RELEASE SAVEPOINT attempt")
        except RowRefused:
            has_begun = self._deferred[:1] != [SAVEPOINT]
            self._deferred.clear()
            if has_begun:
                # Released as well: to roll back to it leaves it, and then a block around this one would end there.
                self.execute("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")
            raise

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = self.connection()
        with _translated(), connection.cursor() as cursor:
            yield cursor
        self._on_answer()

    def defer(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a command together with the next one, before it: what takes a message of its own costs more than it does.

        Only within a transaction. What it gives nobody sees; what is wrong with it the next one raises.
        """
        with _translated(), self.connection().cursor() as cursor:
            self._deferred.append(cursor.mogrify(sql, parameters or None))

    def _with_deferred(self, cursor: Any, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> bytes:
        """Give a command behind those that were deferred."""
        command = b"; ".join([*self._deferred, cursor.mogrify(sql, parameters or None)])
        self._deferred.clear()
        return command

    def execute(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> int:
        """Run one command; give the number of rows that it touched."""
        with self._cursor() as cursor:
            cursor.execute(self._with_deferred(cursor, sql, parameters))
            return int(cursor.rowcount)

    def fetch(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one query; give its rows."""
        with self._cursor() as cursor:
            cursor.execute(self._with_deferred(cursor, sql, parameters))
            return list(cursor.fetchall())

    def fetch_dicts(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
        """Run one query; give its rows by column name."""
        with self._cursor() as cursor:
            cursor.execute(self._with_deferred(cursor, sql, parameters))
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def copy(self, into: CopyInto, rows: Iterable[Sequence[Any]]) -> None:
        """Run `COPY … FROM STDIN` (text format) with the rows."""
        with self._cursor() as cursor:
            names, data = copy_data(into.columns, rows)
            command = self._with_deferred(cursor, f"COPY {into.table} ({', '.join(names)}) FROM STDIN")
            cursor.copy_expert(command, io.BytesIO(data), 1 << 18)

    def copy_text(self, into: CopyInto, lines: Iterable[str]) -> None:
        """Run `COPY … FROM STDIN` with rows that are lines of its text format already."""
        data = ("\n".join(lines) + "\n").encode()
        with self._cursor() as cursor:
            command = self._with_deferred(cursor, f"COPY {into.table} ({', '.join(into.columns)}) FROM STDIN")
            cursor.copy_expert(command, io.BytesIO(data), 1 << 18)


def json_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Give rows as json_populate_recordset takes them.

    >>> json_rows(["a", "b"], [(1, None), (2, "c")])
    '[{"a": 1}, {"a": 2, "b": "c"}]'
    """
    return json.dumps(
        [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
    )


def copy_data(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[list[str], bytes]:
    r"""Give rows in COPY's text format (tabs between, \N for None), and the columns that they have.

    By columns, since the values of one are mostly of one type: what it needs is found out once for all of them. One
    that is None in all rows is left out: most are, and the server would look at each for nothing.

    >>> copy_data(["a", "b", "c", "d"], [("a\tb", None, 1.5, None), ("c", 2, 0.0, None)])
    (['a', 'b', 'c'], b'a\\tb\t\\N\t1.5\nc\t2\t0.0\n')
    """
    kept: list[str] = []
    columns: list[Iterable[str]] = []
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        column = _copy_column(values)
        if column is not None:
            kept.append(name)
            columns.append(column)
    lines = map("\t".join, zip(*columns, strict=True))
    return kept, ("\n".join(lines) + "\n").encode()


def _copy_column(values: Sequence[Any]) -> Iterable[str] | None:
    """Give the values as COPY reads them; None if all are."""
    if values[0] is None and values.count(None) == len(values):
        return None
    kinds = set(map(type, values))
    if kinds == {str}:
        return values if _is_plain("".join(values)) else map(_escaped, values)
    if kinds == {str, NoneType}:
        if _is_plain("".join(filter(None, values))):
            return ["\\N" if value is None else value for value in values]
    elif kinds <= {int, float}:
        return map(str, values)
    elif kinds <= {int, float, NoneType}:
        return ["\\N" if value is None else str(value) for value in values]
    elif kinds == {bool}:
        return ["t" if value else "f" for value in values]
    return map(_copy_value, values)


def _is_plain(text: str) -> bool:
    return not ("\\" in text or "\n" in text or "\t" in text or "\r" in text)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def _copy_value(value: Any) -> str:
    if value is None:
        return "\\N"
    if type(value) is str:
        return _escaped(value)
    if value is True:
        return "t"
    if value is False:
        return "f"
    if type(value) is bytes:
        return "\\\\x" + value.hex()
    return str(value)


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


@lru_cache(maxsize=8192)
def timestamp(time: float | None) -> str | None:
    """Give UNIX seconds as PostgreSQL reads a timestamptz, to the microsecond.

    >>> timestamp(1763871205.123456)
    '2025-11-23 04:13:25.123456+00'
    """
    if time is None:
        return None
    micros = round(time * 1_000_000)
    second, micro = divmod(micros, 1_000_000)
    if micro:
        return f"{_second(second)}.{micro:06d}+00"
    return f"{_second(second)}+00"


def seconds(value: datetime | None) -> float | None:
    """Give a timestamptz as UNIX seconds."""
    return None if value is None else value.timestamp()
