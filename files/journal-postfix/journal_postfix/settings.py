"""The configuration: one table of settings is the source of defaults, checks, help and documentation.

Takes a YAML file; gives Settings, or ConfigurationError with every problem of the file at once. Reads that file and
nothing else.
"""

from __future__ import annotations

import difflib
import reprlib
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from .errors import ConfigurationError
from .programs import DEFAULT_IDENTIFIERS, PROGRAMS, split_identifier

DEFAULT_PATH: Final = Path("/etc/journal-postfix/main.yml")


class Setting(NamedTuple):
    """One setting: its name, default, what it takes in words, the check (None or what is wrong), and its help."""

    name: str
    default: Any
    takes: str
    check: Callable[[Any], str | None]
    help: str


MAX_FILE_BYTES: Final = 1 << 20
MAX_JOBS: Final = 64


def _is_dsn(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "must be a text that is not empty"
    # libpq would read up to a NUL, and connect to something else. The syntax is checked where the driver is.
    return None if value.isprintable() else "must not contain control characters"


def _is_between(low: float, high: float, kind: type) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        is_number = isinstance(value, int) if kind is int else isinstance(value, int | float)
        if not is_number or isinstance(value, bool) or not low <= value <= high:
            return f"must be {'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}"
        return None

    return check


def _is_jobs(value: Any) -> str | None:
    return None if value is None else _is_between(1, MAX_JOBS, int)(value)


def _is_zone(value: Any) -> str | None:
    if value is None:
        return None
    try:
        zoneinfo.ZoneInfo(value)
    except (TypeError, AttributeError, ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return "must be the name of a time zone, such as Europe/Berlin"
    return None


def _is_marker(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and value.isprintable() and not set(value) & {"@", '"', "="}):
        return None
    return "must be a text without @, quotes and ="


def _is_text_by_text(value: Any) -> str | None:
    if isinstance(value, dict):
        texts = [text for pair in value.items() for text in pair]
        if all(isinstance(text, str) and text and text.isprintable() for text in texts):
            return None
    return "must map names to names"


def _is_name(value: Any) -> str | None:
    return None if value is None or (isinstance(value, str) and value and value.isprintable()) else "must be a name"


def _is_absolute_path(value: Any) -> str | None:
    problem = _is_name(value)
    return problem or (None if value is None or value.startswith("/") else "must be an absolute path")


def _is_facility(value: Any) -> str | None:
    return None if isinstance(value, str) and value in FACILITIES else f"must be one of {', '.join(FACILITIES)}"


def _is_list_of_names(value: Any) -> str | None:
    is_list = isinstance(value, list) and all(name is not None and not _is_name(name) for name in value)
    return None if is_list else "must be a list of names"


def _is_neighbours(value: Any) -> str | None:
    """Say all that is wrong: an identifier of Postfix would hide Postfix, one of two neighbours one of them."""
    if not isinstance(value, dict):
        return "must map neighbours to lists of syslog identifiers"
    problems = []
    owners: dict[str, str] = {}
    for name, identifiers in value.items():
        if name not in DEFAULT_IDENTIFIERS:
            problems.append(f"{shown(name)} is no neighbour ({', '.join(DEFAULT_IDENTIFIERS)} are)")
        elif not isinstance(identifiers, list) or not all(
            isinstance(identifier, str) and identifier and identifier.isprintable() for identifier in identifiers
        ):
            problems.append(f"{name} must have a list of syslog identifiers")
        else:
            for identifier in identifiers:
                if split_identifier(identifier) is not None and identifier.rpartition("/")[2] in PROGRAMS:
                    problems.append(f"{name}: {shown(identifier)} is Postfix's own identifier")
                elif owners.setdefault(identifier, name) != name:
                    problems.append(f"{name}: {shown(identifier)} is the identifier of {owners[identifier]} already")
    return "; ".join(problems) or None


# syslog.h; those that Postfix's syslog_facility takes.
FACILITIES: Final = {"user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "news": 7, "authpriv": 10} | {
    f"local{number}": 16 + number for number in range(8)
}

SETTINGS: Final = (
    Setting(
        "database",
        "dbname=journal_postfix",
        "connection string of libpq",
        _is_dsn,
        "Where the database is. The default is the local socket, as the own user.",
    ),
    Setting(
        "max_messages_per_commit",
        20_000,
        "whole number",
        _is_between(1, 1_000_000, int),
        "How many log lines are stored in one transaction at most.",
    ),
    Setting(
        "max_delay_before_commit",
        5.0,
        "seconds",
        _is_between(0.01, 3600, float),
        "How long a line waits for its transaction at most while others keep coming.",
    ),
    Setting(
        "journal_poll_interval",
        0.5,
        "seconds",
        _is_between(0.05, 60, float),
        "How often the journal is asked for new lines: one transaction stores what has come until then.",
    ),
    Setting(
        "journal_directory",
        None,
        "absolute path",
        _is_absolute_path,
        "Directory of journal files (collected from other hosts) to follow instead of this host's journal.",
    ),
    Setting(
        "journal_namespace",
        None,
        "name",
        _is_name,
        "Namespace of this host's journald that Postfix logs to, where its unit has LogNamespace=.",
    ),
    Setting(
        "journal_facility",
        "mail",
        "name of a syslog facility",
        _is_facility,
        "What Postfix's syslog_facility is.",
    ),
    Setting(
        "journal_units",
        [],
        "list of units",
        _is_list_of_names,
        "Units that are believed to be Postfix's besides postfix.service, postfix@….service and postfix-….service.",
    ),
    Setting(
        "initial_since_days",
        30,
        "days",
        _is_between(0, 36500, float),
        "How far back the first start goes in the journal.",
    ),
    Setting(
        "close_after_days",
        8,
        "days",
        _is_between(0, 36500, float),
        "After how long without a line a mail is taken as gone from the queue; 0 is never. "
        "Above Postfix's maximal_queue_lifetime (5 days).",
    ),
    Setting(
        "retention_days",
        365,
        "days",
        _is_between(0, 36500, float),
        "How long `cleanup` keeps a mail after its last line, and what goes with it; 0 is for ever. "
        "What is still in the queue is kept.",
    ),
    Setting(
        "retention_days_rejected",
        90,
        "days",
        _is_between(0, 36500, float),
        "The same for rejections and for what happened to the server (broken connections, refused log-ins …).",
    ),
    Setting(
        "retention_days_unknown",
        90,
        "days",
        _is_between(0, 36500, float),
        "The same for the samples of lines that were not understood, set aside, or forged.",
    ),
    Setting(
        "import_jobs",
        None,
        "whole number",
        _is_jobs,
        "How many processes `import` lets parse and merge at the same time, beside the one that stores; 1 is none. "
        "The default is as many as there are cores, but at most 4.",
    ),
    Setting(
        "logfile_timezone",
        None,
        "name of a time zone",
        _is_zone,
        "Zone of log stamps that name none. The default is the zone of this host.",
    ),
    Setting(
        "verp_marker",
        None,
        "text",
        _is_marker,
        "What list software puts before the recipient in a sender: with +, news+bob=example.org@… is shown as news@….",
    ),
    Setting(
        "instance_aliases",
        {},
        "map of names",
        _is_text_by_text,
        "Which first parts of syslog_name are only services of another instance, as {postfix-submission: postfix}.",
    ),
    Setting(
        "problem_rules",
        None,
        "absolute path",
        _is_absolute_path,
        "File of own rules for `problems`, which come before the shipped ones; docs/problems.md describes it.",
    ),
    Setting(
        "neighbours",
        DEFAULT_IDENTIFIERS,
        "map of lists of identifiers",
        _is_neighbours,
        "Which other programs' lines are read, and the syslog identifiers they log under; what is given replaces all.",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The values of SETTINGS."""

    database: str = "dbname=journal_postfix"
    max_messages_per_commit: int = 20_000
    max_delay_before_commit: float = 5.0
    journal_poll_interval: float = 0.5
    journal_directory: str | None = None
    journal_namespace: str | None = None
    journal_facility: str = "mail"
    journal_units: list[str] = field(default_factory=list)
    initial_since_days: float = 30
    close_after_days: float = 8
    retention_days: float = 365
    retention_days_rejected: float = 90
    retention_days_unknown: float = 90
    import_jobs: int | None = None
    logfile_timezone: str | None = None
    verp_marker: str | None = None
    instance_aliases: dict[str, str] = field(default_factory=dict)
    problem_rules: str | None = None
    neighbours: dict[str, list[str]] = field(default_factory=lambda: dict(DEFAULT_IDENTIFIERS))


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which can blow a small file up, and without keys that are given twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"{shown(key.value)} is there twice"
                    raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
        return dict(super().construct_mapping(node, deep))


def load_settings(path: Path | None) -> Settings:
    """Read a configuration file; without one (None) the default's, or the defaults where that is missing.

    Raises ConfigurationError with all problems, each naming file and key.
    """
    name = shown(path or DEFAULT_PATH)
    values = read_yaml(path or DEFAULT_PATH, may_be_missing=path is None)
    if values is None:
        return Settings()
    if not isinstance(values, dict):
        raise ConfigurationError([f"{name}: must be a map of settings"])
    return Settings(**_checked(name, values))


def read_yaml(path: Path, *, may_be_missing: bool = False) -> Any:
    """Read a file of plain YAML (no aliases, no key twice, at most MAX_FILE_BYTES); ConfigurationError names it."""
    name = shown(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        if may_be_missing and isinstance(error, FileNotFoundError):
            return None
        raise ConfigurationError([f"{name}: {error.strerror or error}"]) from None
    if len(text) > MAX_FILE_BYTES:
        raise ConfigurationError([f"{name}: is longer than {MAX_FILE_BYTES} bytes: no configuration"])
    try:
        return yaml.load(text, _Loader)  # noqa: S506 (it is a SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigurationError([f"{name}{line}: is not YAML: {shown(problem)}"]) from None


def shown(value: object) -> str:
    """Show a name or a value from outside: short, and without what a terminal would obey."""
    try:
        text = str(value) if isinstance(value, str | Path) else reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:200])
    return shown + ("…" if len(text) > 200 else "")


def _checked(path: str, values: dict[Any, Any]) -> dict[str, Any]:
    problems = []
    known = {setting.name: setting for setting in SETTINGS}
    for name, value in values.items():
        setting = known.get(name) if isinstance(name, str) else None
        if setting is None:
            near = difflib.get_close_matches(str(name)[:100], known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            problems.append(f"{path}: {shown(name)}: there is no such setting{hint}")
            continue
        problem = setting.check(value)
        if problem:
            # A connection string may hold a password, and what is no plain value may hold anything.
            given = f", not {shown(value)}" if name != "database" and isinstance(value, str | int | float) else ""
            problems.append(f"{path}: {name}: {problem}{given}")
    if problems:
        raise ConfigurationError(problems)
    return values
