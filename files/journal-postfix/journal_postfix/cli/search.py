"""search: mails and rejections by any criteria, newest first.

Text has one line per recipient that was looked for, so that it can be searched, sorted and counted; on a terminal what
does not fit stands on lines of its own below, in a pipe no line is ever cut. JSON has one object per result, with all
recipients of a mail.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ..settings import Settings
from ..store import Database, require_current_schema
from ..store.mails import HANDED_ON
from ..store.search import FATES, Criteria, Cursor, search
from ..store.terms import is_domain, looks_like_queue_id
from ..store.trace import find_nearest
from ..verdict import relay_text
from .lookups import entry_text, explain_span, limit_argument, text_argument, time_argument
from .subjects import readable
from .text import (
    FATE_COLOURS,
    colour,
    count_text,
    escape,
    json_line,
    local_time,
    padded,
    terminal_columns,
    width,
    wrap,
)
from .times import EXAMPLE

# A mail to a whole list fills the screen: of those looked for so many recipients are shown on a terminal.
MAX_RECIPIENTS: Final = 10

_DSN_RE: Final = re.compile(r"[245](\.(\d{1,3}(\.(\d{1,3})?)?)?)?", re.ASCII)

_ADDRESS: Final = (
    "alice@example.com; a whole domain: @example.com or example.com; all below it: .example.com; any other text: a part"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.epilog = (
        f"Times: {EXAMPLE}; without a zone they are local, as are those shown; a date alone is its 00:00. Upper and "
        "lower case do not matter in addresses, names and subjects; * and % stand for themselves."
    )
    add = parser.add_argument
    add(
        "term",
        nargs="?",
        type=text_argument,
        metavar="TERM",
        help="an address or a part of one, a domain, a queue id, a message-id, an IP address or network",
    )
    add("--sender", type=text_argument, metavar="ADDRESS", help=f"envelope sender: {_ADDRESS}; the empty one: '<>'")
    add("--recipient", type=text_argument, metavar="ADDRESS", help="recipient, or what it was before aliases: likewise")
    add("--message-id", type=text_argument, metavar="ID", help="exactly, with or without <>")
    add("--queue-id", type=text_argument, metavar="ID", help="exactly")
    add("--subject", type=text_argument, metavar="TEXT", help="a part of it (known only where header checks log it)")
    add(
        "--client",
        type=text_argument,
        metavar="HOST",
        help="name or a part of it, address, or network (192.0.2.0/24, 192.0.2.)",
    )
    add("--sasl-user", type=text_argument, metavar="USER", help="login; alice also finds alice@example.com")
    add(
        "--fate",
        choices=FATES,
        metavar="FATE",
        help=f"of a recipient: {', '.join(FATES)} (sent finds handed on, too)",
    )
    add("--dsn", type=_dsn_argument, metavar="CODE", help="status code or its beginning: 4. or 5.1 or 5.1.1")
    add("--relay", type=text_argument, metavar="HOST", help="where it was delivered to: as --client")
    add("--host", type=text_argument, metavar="HOST", help="mail server that logged it, by its full or its short name")
    add("--since", type=time_argument, metavar="TIME", help="mails that began then or later")
    add("--until", type=time_argument, metavar="TIME", help="mails that began earlier")
    add("--limit", type=limit_argument, default=50, metavar="N", help="how many results (default: 50)")
    add("--after", type=_cursor_argument, metavar="CURSOR", help="go on behind this result, as the last page told")
    add("--json", action="store_true", help="one JSON object per result")


def _dsn_argument(text: str) -> str:
    if not _DSN_RE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no status code; try 4. or 5.1 or 5.1.1")
    return text


def _cursor_argument(text: str) -> Cursor:
    try:
        return Cursor.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no cursor; take the one that the page before printed at its end"
        ) from None


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Search and print a page."""
    criteria = Criteria(
        term=arguments.term,
        sender=arguments.sender,
        recipient=arguments.recipient,
        message_id=arguments.message_id,
        queue_id=arguments.queue_id,
        subject=arguments.subject,
        client=arguments.client,
        sasl_user=arguments.sasl_user,
        fate=arguments.fate,
        dsn=arguments.dsn,
        relay=arguments.relay,
        host=arguments.host,
        since=arguments.since,
        until=arguments.until,
    )
    database = Database(settings.database)
    require_current_schema(database)
    page = search(database, criteria, arguments.limit, arguments.after)
    if not page.results and (otherwise := _otherwise(database, criteria)) is not None:
        meant, words = otherwise
        page = search(database, meant, arguments.limit, arguments.after)
        if page.results:
            criteria = meant
            print(words, file=sys.stderr)
    if arguments.json:
        for result in page.results:
            print(json_line(result))
    else:
        for line in _page_lines(page.results, criteria):
            print(line)
    sys.stdout.flush()
    if page.more is not None:
        # On its own channel where the results are data.
        print(f"more: --after {page.more}", file=sys.stderr if arguments.json else sys.stdout)
    if not page.results:
        _explain_nothing(database, criteria)
    database.close()
    return 0


def _otherwise(database: Database, criteria: Criteria) -> tuple[Criteria, str] | None:
    """Give what else a bare term can mean that nothing was found of, and the words that say so; None for nothing."""
    term = criteria.term
    if term is None:
        return None
    if is_domain(term):
        # first.last looks like a domain, too, and is what people type.
        before_at = f"{term}@"
        return replace(criteria, term=before_at), f"no such domain; these have {escape(before_at)} in an address"
    if looks_like_queue_id(term) and not find_nearest(database, term, is_part=False):
        # A telephone number or a customer's, for example.
        return replace(criteria, in_addresses=True), f"no such queue id; these have {escape(term)} in an address"
    return None


def _explain_nothing(database: Database, criteria: Criteria) -> None:
    """Say on stderr what may have been meant instead, and what could have been found."""
    queue_id = criteria.queue_id or criteria.term or ""
    nearest = find_nearest(database, queue_id, is_part=False) if queue_id.isalnum() else []
    if nearest:
        print("nothing found; did you mean one of these queue ids?", file=sys.stderr)
        for entry in nearest:
            print(f"  {entry_text(entry)}", file=sys.stderr)
        return
    print("nothing found", file=sys.stderr)
    explain_span(database)
    for term in (criteria.term, criteria.sender, criteria.recipient):
        if term is not None and is_domain(term):
            print(
                f"{escape(term)} was read as a whole domain; {escape(term)}@ finds it before the @, "
                f".{escape(term)} finds what is below it",
                file=sys.stderr,
            )
            break
    if criteria.subject is not None and not criteria.subject.isascii():
        print(
            "a subject that was written encoded (=?utf-8?…?=) is found only by what of it is plain ASCII",
            file=sys.stderr,
        )
    if criteria.relay is not None:
        print(
            "a server that never answered is no relay in the log: look for its domain, --recipient @example.com",
            file=sys.stderr,
        )
    if criteria.since is not None and criteria.until is not None and criteria.since >= criteria.until:
        print("--since is not before --until", file=sys.stderr)


# Text.


def _page_lines(results: list[dict[str, Any]], criteria: Criteria) -> Iterable[str]:
    columns = terminal_columns()
    several_hosts = len({result["host"] for result in results}) > 1
    ids = [escape(result["queue_id"]) if "queue_id" in result else f"r{_number(result)}" for result in results]
    hosts = [escape(result["host"]).partition(".")[0] if columns else escape(result["host"]) for result in results]
    id_width = max((width(text) for text in ids), default=0)
    host_width = max((width(text) for text in hosts), default=0)
    fate_width = max((len(fate) for result in results for fate, _, _ in _parts(result, criteria, columns)), default=0)
    for result, queue_id, host in zip(results, ids, hosts, strict=True):
        time: datetime = result["began"] if result["kind"] == "mail" else result["time"]
        host = f"{padded(host, host_width)}  " if several_hosts else ""
        head = f"{local_time(time)}  {host}{padded(queue_id, id_width)}  "
        for fate, whom, reply in _parts(result, criteria, columns):
            yield from _lines(head, fate, fate_width, whom, reply, columns)


def _number(rejection: dict[str, Any]) -> int:
    """Give what `trace` knows a rejection by."""
    return Cursor.parse(rejection["cursor"]).number


def _lines(head: str, fate: str, fate_width: int, whom: str, reply: str, columns: int | None) -> Iterable[str]:
    indent = " " * 8
    start = f"{head}{colour(fate, FATE_COLOURS.get(fate))}{' ' * (fate_width - len(fate))}  "
    used = width(head) + fate_width + 2
    if columns is None or used + width(whom) + 2 + width(reply) <= columns:
        yield f"{start}{whom}  {reply}".rstrip()
    elif used + width(whom) <= columns:
        yield start + whom
        yield from wrap(reply, columns, indent)
    else:
        yield start.rstrip()
        yield from wrap(whom, columns, indent)
        if reply:
            yield from wrap(reply, columns, indent)


def _address(text: str | None) -> str:
    if text is None:
        return "?"
    return escape(text) if text else "<>"


def _parts(result: dict[str, Any], criteria: Criteria, columns: int | None) -> Iterable[tuple[str, str, str]]:
    """Give (fate, sender → recipient, reply) for each line of a result; everything escaped."""
    if result["kind"] == "rejected":
        client = relay_text({"relay_host": result.get("client_hostname"), "relay_ip": result.get("client_ip")})
        whom = f"{_address(result.get('sender'))} → {_address(result.get('recipient'))}"
        reply = " ".join(str(result[name]) for name in ("smtp_code", "dsn", "reason") if name in result)
        yield "rejected", whom, f"{escape(client or 'client unknown')}: {escape(reply)}"
        return
    sender = _address(result.get("sender"))
    recipients = [recipient for recipient in result["recipients"] if _is_wanted(recipient, criteria)]
    # Where none is, it was the sender or the mail as a whole that was looked for.
    recipients = recipients or result["recipients"]
    # Who looks for a subject wants to see which.
    subject = f" “{escape(readable(result['subject']))}”" if criteria.subject and "subject" in result else ""
    if columns is not None and len(recipients) > MAX_RECIPIENTS:
        recipients = sorted(recipients, key=lambda recipient: recipient["fate"] == "sent")[:MAX_RECIPIENTS]
    hidden = len(result["recipients"]) - len(recipients)
    for recipient in recipients:
        whom = f"{sender} → {_address(recipient['recipient'])}"
        if "orig_to" in recipient:
            whom += f" (for {escape(recipient['orig_to'])})"
        yield recipient["fate"], whom + subject, _reply(result, recipient)
    if hidden and columns is not None:
        yield "", "", f"and {count_text(hidden, 'more recipient')}: trace {escape(result['queue_id'])} shows all"
    if not recipients:
        reason = " ".join(str(result[name]) for name in ("smtp_code", "dsn", "reason") if name in result)
        yield result.get("fate", result["state"]), f"{sender} → ?{subject}", escape(reason)


def _is_wanted(recipient: dict[str, Any], criteria: Criteria) -> bool:
    """Tell whether a recipient is one that was looked for, and not only another of the same mail."""
    wanted = (criteria.recipient or criteria.term or "").strip("<>").casefold()
    addresses = (recipient["recipient"] + "\n" + recipient.get("orig_to", "")).casefold()
    fates = (criteria.fate, HANDED_ON) if criteria.fate == "sent" else (criteria.fate,)
    return wanted in addresses and (criteria.fate is None or recipient["fate"] in fates)


def _reply(mail: dict[str, Any], recipient: dict[str, Any]) -> str:
    final = recipient.get("final")
    if final is not None:
        where = "" if final["host"] == mail["host"] else f" on {escape(final['host'])}"
        fate = final.get("fate", final["state"])
        # The one that most needs a person stands for all.
        ways = f"{final['ways']} deliveries, {'one' if fate == 'sent' else 'the worst'} " if "ways" in final else ""
        text = f"{ways}as {escape(final['queue_id'])}{where}: {fate}"
        recipient = final
    else:
        # What smtpd or cleanup decided was no attempt to deliver.
        tries = sum(attempt.get("component") not in ("smtpd", "cleanup") for attempt in recipient["attempts"])
        text = f"after {count_text(tries, 'attempt')}" if tries > 1 else ""
    relay, response = relay_text(recipient), recipient.get("response")
    if relay is not None and relay not in (response or ""):
        text += f"{', ' if text else ''}{escape(relay)}"
    if response is not None:
        text += f"{': ' if text else ''}{escape(response)}"
    return text
