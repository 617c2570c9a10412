"""problems: what goes wrong, grouped by what it means and where; and what deserves an alarm.

Text has alarms first, then each class with its explanation, what to do, and its destinations. JSON has one object per
alarm and per group.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ..errors import UsageError
from ..rules import UNCLASSIFIED, Rules, load_rules
from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.alarms import Alarm, find_alarms
from ..store.problems import (
    Counted,
    Group,
    Window,
    add_examples,
    count_failures,
    knows_before,
    problem_groups,
    report,
    unclassified_groups,
)
from .lookups import limit_argument, text_argument, time_argument
from .text import colour, escape, json_line, local_time, padded, terminal_columns, width, wrap
from .times import EXAMPLE

_TITLES: Final = {
    "delivery": "Deliveries that failed or have to wait, by the recipients' domain",
    "rejection": "What this server refused, by the recipients' domain",
    "event": "The server itself",
}
# Of one class so many destinations are shown on a terminal.
MAX_OF_CLASS: Final = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = f"Times: {EXAMPLE}; without a zone they are local, and a date alone is its 00:00."
    add = parser.add_argument
    add("--since", type=time_argument, metavar="TIME", help="from when on (default: 24 hours before --until)")
    add("--until", type=time_argument, metavar="TIME", help="until when (default: now)")
    add("--host", type=text_argument, metavar="HOST", help="mail server that logged it, by its full or its short name")
    add("--class", type=text_argument, metavar="CLASS", dest="class_", help="only this class of problems")
    add("--unclassified", action="store_true", help="instead: the reasons that no rule knows")
    add("--limit", type=limit_argument, default=50, metavar="N", help="how many groups, the largest (default: 50)")
    add("--json", action="store_true", help="one JSON object per alarm and per group")


def window_of(arguments: argparse.Namespace) -> Window:
    """Give the span that the arguments name: the last day, if they name none."""
    until = arguments.until or datetime.now(UTC)
    since = arguments.since or until - timedelta(days=1)
    if since >= until:
        raise UsageError("--since is not before --until")
    return Window(since, until, arguments.host)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print the report."""
    window = window_of(arguments)
    rules = load_rules(settings.problem_rules)
    _check_class(arguments.class_, rules)
    database = Database(settings.database)
    require_current_schema(database)
    with report(database):
        counted = count_failures(database, window, rules)
        if arguments.unclassified:
            found = _Found([], unclassified_groups(counted), knows_before(database, window))
        else:
            found = _find(database, window, counted, arguments.class_)
        shown = found.groups[: arguments.limit]
        add_examples(database, window, shown)
    database.close()
    if arguments.json:
        for alarm in found.alarms:
            print(json_line(_alarm_json(alarm)))
        for group in shown:
            print(json_line(_group_json(group, found.has_before, unclassified=arguments.unclassified)))
        return 0
    for line in _text(window, found, shown, arguments):
        print(line)
    return 0


def _check_class(name: str | None, rules: Rules) -> None:
    known = [*rules.classes, UNCLASSIFIED]
    if name is not None and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"there is no class {name!r}; {hint}")


@dataclass
class _Found:
    """What is to be shown."""

    alarms: list[Alarm]
    groups: list[Group]
    has_before: bool


def _find(database: Database, window: Window, counted: Sequence[Counted], name: str | None) -> _Found:
    groups = problem_groups(counted, shows_hidden=name is not None)
    if name is not None:
        return _Found([], [group for group in groups if group.found.name == name], knows_before(database, window))
    return _Found(find_alarms(database, window, groups), groups, knows_before(database, window))


# JSON.


def _alarm_json(alarm: Alarm) -> dict[str, Any]:
    values = {name: value for name, value in alarm.values.items() if value is not None and name != "destination"}
    subject = {} if alarm.subject is None else {"subject": alarm.subject}
    return {"kind": "alarm", "alarm": alarm.name, **subject, "text": alarm.text, **values}


def _group_json(group: Group, has_before: bool, *, unclassified: bool) -> dict[str, Any]:
    reason = group.reason
    values: dict[str, Any] = {
        "kind": reason.kind,
        "class": group.found.name,
        "host": group.host,
        "count": group.count,
        "before": group.before if has_before else None,
        "deferred": group.waiting if reason.kind == "delivery" else None,
        "first": group.first,
        "last": group.last,
    }
    if unclassified:
        values |= {"component": reason.component, "action": reason.action, "shape": reason.shape}
        values |= {"dsn": reason.dsn or None, "smtp_code": int(reason.code) if reason.code else None}
    else:
        subject = "subject" if reason.kind == "event" else "destination"
        values |= {
            subject: group.destination,
            "explanation": group.found.explanation,
            "advice": group.found.advice or None,
        }
    if group.example is not None:
        values["example"] = {name: value for name, value in group.example.items() if value is not None}
    return {name: value for name, value in values.items() if value is not None}


# Text.


def _text(window: Window, found: _Found, shown: list[Group], arguments: argparse.Namespace) -> Iterator[str]:
    columns = terminal_columns()
    host = f" on {escape(window.host)}" if window.host is not None else ""
    compared = (
        ", in brackets the same span before" if found.has_before else "; nothing is known of the same span before"
    )
    yield f"From {local_time(window.since)} to {local_time(window.until)}{host}{compared}."
    if found.alarms:
        yield ""
        yield colour("What needs somebody now", "bold")
    for alarm in found.alarms:
        since = alarm.values.get("since")
        when = f" since {local_time(since)}" if since is not None else ""
        yield f"  {colour(alarm.name, 'red')}{when}"
        yield from wrap(escape(alarm.text), columns, "    ")
    if not shown:
        yield "nothing is unclassified" if arguments.unclassified else "nothing went wrong"
        return
    for kind, title in _TITLES.items():
        of_kind = [group for group in shown if group.reason.kind == kind]
        if of_kind:
            yield ""
            yield colour(f"{title}", "bold")
            yield from (
                _unclassified_lines(of_kind, columns)
                if arguments.unclassified
                else _class_lines(of_kind, found, columns)
            )
    if len(found.groups) > len(shown):
        yield ""
        yield f"and {len(found.groups) - len(shown):,} smaller groups (--limit)"


def _class_lines(groups: list[Group], found: _Found, columns: int | None) -> Iterator[str]:
    by_class: dict[str, list[Group]] = {}
    for group in groups:
        by_class.setdefault(group.found.name, []).append(group)
    several_hosts = len({group.host for group in found.groups}) > 1
    ordered = sorted(by_class.items(), key=lambda item: -sum(group.count for group in item[1]))
    for name, members in ordered:
        count = f"{sum(group.count for group in members):,}"
        if found.has_before:
            count += f" ({sum(group.before for group in members):,})"
        yield ""
        yield f"  {colour(name, 'red' if members[0].found.is_alarm else 'bold')}: {count}"
        yield from wrap(members[0].found.explanation, columns, "    ")
        for advice in dict.fromkeys(group.found.advice for group in members if group.found.advice):
            yield from wrap(f"→ {advice}", columns, "    ")
        limit = len(members) if columns is None else MAX_OF_CLASS
        yield from _group_lines(members[:limit], found.has_before, several_hosts, columns)
        if len(members) > limit:
            rest = sum(group.count for group in members[limit:])
            yield f"    and {len(members) - limit:,} more with {rest:,} (--class {name})"


def _group_lines(members: list[Group], has_before: bool, several_hosts: bool, columns: int | None) -> Iterator[str]:
    heads = []
    for group in members:
        count = f"{group.count:,}" + (f" ({group.before:,})" if has_before else "")
        where = "(no recipient named)" if group.reason.kind == "rejection" else "-"
        if group.destination is not None:
            where = escape(group.destination)
        if several_hosts:
            where += f" on {escape(group.host)}"
        heads.append((count, where))
    count_width = max(width(count) for count, _ in heads)
    where_width = max(width(where) for _, where in heads)
    for group, (count, where) in zip(members, heads, strict=True):
        assert group.first is not None
        assert group.last is not None
        times = local_time(group.first) + ("" if group.last == group.first else f" … {local_time(group.last)}")
        yield f"    {' ' * (count_width - width(count))}{count}  {padded(where, where_width)}  {times}"
        yield from _example_lines(group, columns)


def _example_lines(group: Group, columns: int | None) -> Iterator[str]:
    example = group.example or {}
    reason = example.get("reason")
    if reason is None:
        return
    queue_id = example.get("queue_id")
    whom = f"{queue_id}: " if queue_id is not None else ""
    if queue_id is None and example.get("client_ip") is not None:
        whom = f"{example['client_ip']}: "
    yield from wrap(escape(f"{whom}{reason}"), columns, "        ")


def _unclassified_lines(groups: list[Group], columns: int | None) -> Iterator[str]:
    for group in groups:
        reason = group.reason
        codes = " ".join(code for code in (reason.code, reason.dsn) if code)
        what = f"{reason.action} by {reason.component}" + (f", {codes}" if codes else "")
        last = f", last on {local_time(group.last)}" if group.last is not None else ""
        yield ""
        yield f"  {colour(escape(what), 'bold')}: {group.count:,}{last}"
        yield from wrap(f"Words for a rule: {escape(reason.shape) or '(none)'}", columns, "    ")
        if group.example is not None and "reason" in group.example:
            yield "    An example:"
            yield from _example_lines(group, columns)
