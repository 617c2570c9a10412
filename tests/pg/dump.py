"""What a database holds, apart from surrogate keys: to compare two ways of storing the same lines.

Takes a connection string, gives plain data. Two dumps are equal when every table has the same rows, a mail being named
by its identity (host, instance, queue id, began) instead of its number.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from journal_postfix.store import Database

MAIL = (
    "(SELECT array[s.host, s.instance, f.queue_id, f.began::text] FROM delivery_from f JOIN mail_server s "
    "USING (server_id) WHERE f.mail_id = {}.mail_id) AS mail"
)

QUERIES = {
    "delivery_from": (
        "SELECT s.host, s.instance, to_jsonb(f) - 'mail_id' - 'server_id' "
        "FROM delivery_from f JOIN mail_server s USING (server_id)"
    ),
    "delivery_to": f"SELECT {MAIL.format('t')}, to_jsonb(t) - 'mail_id' FROM delivery_to t",
    "delivery_attempt": f"SELECT {MAIL.format('a')}, to_jsonb(a) - 'mail_id' FROM delivery_attempt a",
    "mail_event": f"SELECT {MAIL.format('e')}, to_jsonb(e) - 'mail_id' FROM mail_event e",
    "noqueue": (
        "SELECT s.host, s.instance, to_jsonb(n) - 'noqueue_id' - 'server_id' "
        "FROM noqueue n JOIN mail_server s USING (server_id)"
    ),
    "neighbour_event": "SELECT host, to_jsonb(n) - 'neighbour_event_id' FROM neighbour_event n",
    "server_event": "SELECT e.* FROM server_event e",
    "line_counter": "SELECT host, component, action, lines, last_time FROM line_counter",
    "unknown_line": "SELECT host, component, shape, lines, first_time, last_time, sample FROM unknown_line",
    "set_aside": "SELECT host, time, encode(line, 'escape'), reason FROM set_aside",
}


def dump(dsn: str) -> dict[str, list[str]]:
    """Give every table's rows as sorted texts."""
    with closing(Database(dsn)) as database:
        return {table: sorted(repr(row) for row in database.fetch(query)) for table, query in QUERIES.items()}


def _plain(row: dict[str, Any], leave_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    plain = {}
    for name, value in row.items():
        if value is None or name in leave_out:
            continue
        plain[name] = value.isoformat() if hasattr(value, "isoformat") else value
    return plain


def views(dsn: str) -> dict[str, Any]:
    """Give what the public views show, mail by mail in the order of their beginning, without surrogate keys."""
    keys = frozenset({"mail_id", "recipient_key", "noqueue_id", "linked_mail_id", "last_seen", "status"})
    with closing(Database(dsn)) as database:
        mails = database.fetch_dicts("SELECT * FROM mail ORDER BY began, host, instance, queue_id")
        names = {mail["mail_id"]: mail["queue_id"] for mail in mails}
        result = []
        for mail in mails:
            mail_id = (mail["mail_id"],)
            recipients = database.fetch_dicts(
                "SELECT * FROM mail_recipient WHERE mail_id = %s ORDER BY recipient, orig_to NULLS FIRST", mail_id
            )
            links = database.fetch_dicts(
                "SELECT * FROM mail_link WHERE mail_id = %s ORDER BY time, kind, linked_queue_id", mail_id
            )
            shown = _plain(mail, keys)
            finals: dict[int, list[str]] = {}
            for key, fate, queue_id, recipient in database.fetch(
                "SELECT recipient_key, final_fate, final_queue_id, final_recipient FROM mail_final "
                "WHERE mail_id = %s AND legs > 0 ORDER BY 3, 4",
                mail_id,
            ):
                finals.setdefault(key, []).append(f"{fate} {queue_id} {recipient or '?'}")
            shown["recipients"] = [
                _plain({**recipient, "final": finals.get(recipient["recipient_key"])}, keys) for recipient in recipients
            ]
            for component, action, detail in database.fetch(
                "SELECT component, action, detail FROM mail_event WHERE mail_id = %s "
                'ORDER BY "time", component, action, detail',
                mail_id,
            ):
                told = f"{component} {action}"
                shown.setdefault("story", []).append(told if detail is None else f"{told}: {detail}")
            for row in database.fetch_dicts(
                "SELECT n.*, t.recipient AS recipient_of, t.orig_to FROM mail_neighbour AS n "
                "LEFT JOIN mail_recipient AS t USING (mail_id, recipient_key) WHERE mail_id = %s "
                'ORDER BY n."time", n.program, n.action, n.result, t.recipient',
                mail_id,
            ):
                row["is_ambiguous"] = row["is_ambiguous"] or None
                shown.setdefault("neighbours", []).append(_plain(row, keys))
            for link in links:
                text = f"{link['kind']}: {link['linked_queue_id']}"
                if link["linked_mail_id"] is None:
                    text += " (not here)"
                elif names[link["linked_mail_id"]] != link["linked_queue_id"]:
                    text += " (another)"
                if link["told_by"] == "message-id":
                    text += " (perhaps)" if link["is_ambiguous"] else " (told by the message-id)"
                shown.setdefault("links", []).append(text)
            result.append(shown)
        rejected = database.fetch_dicts("SELECT * FROM mail_rejected ORDER BY time, noqueue_id")
        other = database.fetch_dicts(
            "SELECT action, stage, recipient, time FROM noqueue "
            "WHERE noqueue_id NOT IN (SELECT noqueue_id FROM mail_rejected) ORDER BY time"
        )
        events = {
            f"{component} {action}, {subject}": lines
            for component, action, subject, lines in database.fetch(
                "SELECT component, action, subject, sum(lines)::int FROM mail_server_event "
                "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            )
        }
        lines = {
            f"{component} {action}".strip(): count
            for component, action, count in database.fetch(
                "SELECT component, action, sum(lines)::int FROM line_counter GROUP BY 1, 2 ORDER BY 1, 2"
            )
        }
    shown_all: dict[str, Any] = {"mails": result, "lines": lines}
    if rejected:
        shown_all["rejected"] = [_plain(row, keys) for row in rejected]
    if events:
        shown_all["server_events"] = events
    if other:
        shown_all["other_noqueue"] = [_plain(row) for row in other]
    return shown_all
