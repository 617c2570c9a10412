"""The configuration: one table of settings is the source of defaults, checks, help and documentation.

Takes a YAML file; gives Settings, or ConfigurationError with every problem of the file at once. Reads that file and
nothing else.
"""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from .errors import ConfigurationError

DEFAULT_PATH: Final = Path("/etc/journal-postfix/main.yml")


class Setting(NamedTuple):
    """One setting: its name, default, what it takes in words, the check (None or what is wrong), and its help."""

    name: str
    default: Any
    takes: str
    check: Callable[[Any], str | None]
    help: str


def _is_text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else "must be a text that is not empty"


def _is_between(low: float, high: float, kind: type) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        is_number = isinstance(value, int) if kind is int else isinstance(value, int | float)
        if not is_number or isinstance(value, bool) or not low <= value <= high:
            return f"must be {'a whole number' if kind is int else 'a number'} from {low:g} to {high:g}"
        return None

    return check


def _is_zone(value: Any) -> str | None:
    if value is None:
        return None
    try:
        zoneinfo.ZoneInfo(value)
    except (TypeError, ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        return "must be the name of a time zone, such as Europe/Berlin"
    return None


def _is_text_by_text(value: Any) -> str | None:
    if isinstance(value, dict) and all(isinstance(text, str) and text for pair in value.items() for text in pair):
        return None
    return "must map names to names"


SETTINGS: Final = (
    Setting(
        "database",
        "dbname=journal_postfix",
        "connection string of libpq",
        _is_text,
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
        "logfile_timezone",
        None,
        "name of a time zone",
        _is_zone,
        "Zone of log stamps that name none. The default is the zone of this host.",
    ),
    Setting(
        "instance_aliases",
        {},
        "map of names",
        _is_text_by_text,
        "Which first parts of syslog_name are only services of another instance, as {postfix-submission: postfix}.",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The values of SETTINGS."""

    database: str = "dbname=journal_postfix"
    max_messages_per_commit: int = 20_000
    max_delay_before_commit: float = 5.0
    logfile_timezone: str | None = None
    instance_aliases: dict[str, str] = field(default_factory=dict)


def load_settings(path: Path | None) -> Settings:
    """Read a configuration file; without one (None) the default's, or the defaults where that is missing.

    Raises ConfigurationError with all problems, each naming file and key.
    """
    if path is None:
        if not DEFAULT_PATH.exists():
            return Settings()
        path = DEFAULT_PATH
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror or error}"]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f":{where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError([f"{path}{line}: is not YAML: {problem}"]) from None
    if values is None:
        return Settings()
    if not isinstance(values, dict):
        raise ConfigurationError([f"{path}: must be a map of settings"])
    return Settings(**_checked(path, values))


def _checked(path: Path, values: dict[Any, Any]) -> dict[str, Any]:
    problems = []
    known = {setting.name: setting for setting in SETTINGS}
    for name, value in values.items():
        setting = known.get(name)
        if setting is None:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
            problems.append(f"{path}: {name}: there is no such setting{hint}")
            continue
        problem = setting.check(value)
        if problem:
            problems.append(f"{path}: {name}: {problem}, not {value!r}")
    if problems:
        raise ConfigurationError(problems)
    return values
