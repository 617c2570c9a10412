"""The query behind `search`: mails and rejections together, newest first, page by page.

Takes Criteria and where to go on; gives a Page of records. All SQL is made of constants, here and in terms.py; what a
user typed goes into parameters. Reads the public views only.

How pages stay stable. Results are ordered by (time, kind, id), all three unchanging once a mail has been stored; a page
goes on behind the last row of the one before (keyset), so rows that arrive meanwhile move nothing.

How it stays fast. Exact addresses and whole domains are prefixes of the reversed address, for which there are indexes;
criteria that different indexes serve are alternatives, each a query of its own, and their results are merged. The
planner cannot tell a rare domain from a frequent one as well as the index itself: what an address can have at most is
asked first (`_narrowed`), and few ids are then the way in. Where they are many, or no index tells, the time is the way
in: the newest slice first, then slices that grow (`_slices`), each fetched as a whole in whatever way is cheapest for
it: a plan that hopes to end early walks all mails when what is looked for is old.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Final, NamedTuple

from .database import Database
from .mails import HANDED_ON, Record, load_mails, present, without_numbers
from .terms import Condition, Probe, address, both, dsn, like_text, looks_like_queue_id, network, part, peer, user

FATES: Final = (
    "sent",
    "deferred",
    "bounced",
    "expired",
    "undeliverable",
    "deliverable",
    "discarded",
    "rejected",
    "held",
    "queued",
    HANDED_ON,
)

# The states of a mail that give its deferred recipients a fate: recipient_fate decides, these let the planner use the
# small index over all that is not `removed`.
_STATES: Final = {
    "expired": ["expired"],
    "held": ["held"],
    "queued": ["queued", "requeued"],
    "discarded": ["deleted", "discarded", "canceled"],
    "rejected": ["rejected"],
}


@dataclass(frozen=True)
class Criteria:
    """What is looked for; None is no condition. `term` is looked for wherever it fits; `in_addresses`: there alone."""

    term: str | None = None
    sender: str | None = None
    recipient: str | None = None
    message_id: str | None = None
    queue_id: str | None = None
    subject: str | None = None
    client: str | None = None
    sasl_user: str | None = None
    fate: str | None = None
    dsn: str | None = None
    relay: str | None = None
    host: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    in_addresses: bool = False


class Cursor(NamedTuple):
    """Behind which result to go on."""

    time: datetime
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.time.astimezone(UTC).isoformat()[:-6]}Z,{self.kind},{self.number}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read what __str__ gives; ValueError for anything else."""
        time, kind, number = text.split(",")
        if kind not in _RANK or not time.endswith("Z") or not re.fullmatch(r"[0-9]{1,18}", number):
            raise ValueError(text)
        return cls(datetime.fromisoformat(time), kind, int(number))


class Page(NamedTuple):
    """Results, newest first, and where to go on when there are more."""

    results: list[Record]
    more: Cursor | None


_KNOWN: Final = """
SELECT
    least((SELECT min(began) FROM mail), (SELECT min("time") FROM mail_rejected)),
    greatest((SELECT max(began) FROM mail), (SELECT max("time") FROM mail_rejected))
"""


def known_span(database: Database) -> tuple[datetime, datetime] | None:
    """Give when the first and the last of what is known began; None where the database has nothing."""
    [(first, last)] = database.fetch(_KNOWN)
    return None if first is None else (first, last)


# So many ids are the better way in than the time.
_MAX_NARROWED: Final = 2000
_FEW: Final = 100

# So many rows are looked through first, then so many, at last all the rest; fewer where what was found shows that they
# will do. Up to _SHORT of them row by row.
_SLICES: Final = (2000, 30_000, 500_000)
_SHORT: Final = 60_000

# At the same time mails come before rejections.
_RANK: Final = {"mail": 1, "rejected": 0}

_ALL: Final = Condition("TRUE")
_NONE: Final = Condition("FALSE")

_REJECTIONS: Final = """
SELECT
    noqueue_id, "time", host, instance, component, service, action, stage, sender, sender_raw, recipient,
    client_hostname, client_ip, client_port, helo, proto, sasl_method, sasl_username, smtp_code, dsn, reason
FROM mail_rejected WHERE noqueue_id = ANY(%s)
"""


def search(database: Database, criteria: Criteria, limit: int, after: Cursor | None = None) -> Page:
    """Find up to `limit` mails and rejections, newest first, behind `after`."""
    with database.transaction():
        # One state of the database for all queries of a page.
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        found = _candidates(database, "mail", _mail_alternatives(criteria), after, limit)
        found |= _candidates(database, "rejected", _rejected_alternatives(criteria), after, limit)
        ordered = sorted(found, key=_order, reverse=True)
        page = ordered[:limit]
        mails = {
            record["mail_id"]: record
            for record in load_mails(database, [key.number for key in page if key.kind == "mail"])
        }
        numbers = [key.number for key in page if key.kind == "rejected"]
        rejections = {}
        if numbers:
            rejections = {row["noqueue_id"]: row for row in database.fetch_dicts(_REJECTIONS, (numbers,))}
    results = []
    for key in page:
        record = {"kind": key.kind, **(mails if key.kind == "mail" else rejections)[key.number]}
        if key.kind == "mail":
            record = without_numbers(record, with_leaves=False)
        record.pop("noqueue_id", None)
        record["cursor"] = str(key)
        results.append(present(record))
    return Page(results, page[-1] if len(ordered) > limit else None)


def _order(key: Cursor) -> tuple[datetime, int, int]:
    return key.time, _RANK[key.kind], key.number


class _Kind(NamedTuple):
    """Where one kind of result comes from: its query up to the conditions, its time and its number."""

    select: str
    time: str
    number: str
    view: str
    table: str


class _Slice(NamedTuple):
    """A stretch of time from `begin` to before `end`; None is no bound."""

    begin: datetime | None
    end: datetime | None
    is_short: bool


_KINDS: Final = {
    "mail": _Kind("SELECT m.began, m.mail_id FROM mail AS m WHERE ", "m.began", "m.mail_id", "mail", "delivery_from"),
    "rejected": _Kind(
        'SELECT m."time", m.noqueue_id FROM mail_rejected AS m WHERE ',
        'm."time"',
        "m.noqueue_id",
        "mail_rejected",
        "noqueue",
    ),
}


def _candidates(
    database: Database, kind: str, alternatives: Sequence[Sequence[Condition]], after: Cursor | None, limit: int
) -> set[Cursor]:
    """Find the first results of one kind: what fits any of the alternatives."""
    told = _KINDS[kind]
    behind = []
    if after is not None:
        if after.kind == kind:
            behind.append(Condition(f"({told.time}, {told.number}) < (%s, %s)", (after.time, after.number)))
        elif _RANK[kind] < _RANK[after.kind]:
            behind.append(Condition(f"{told.time} <= %s", (after.time,)))
        else:
            behind.append(Condition(f"{told.time} < %s", (after.time,)))
    found: set[Cursor] = set()
    sliced: list[list[Condition]] = []
    for conditions in alternatives:
        where = [condition for condition in conditions if condition is not _ALL]
        if _NONE in where:
            continue
        is_direct = all(map(_is_of_time, where)) or any(condition.is_exact for condition in where)
        narrowed = None if is_direct else _narrowed(database, kind, where)
        if is_direct or narrowed is not None:
            many = narrowed is not None and narrowed.since_sql is not None
            if many:
                # Many ids and as many recipients: the planner expects one of each, and would compare all with all.
                database.execute("SET LOCAL enable_nestloop = off")
            found |= _found(database, kind, [*where, *behind, *([] if narrowed is None else [narrowed])], limit)
            if many:
                database.execute("SET LOCAL enable_nestloop TO DEFAULT")
        else:
            sliced.append([*where, *behind])
    slices = _slices(database, told, sliced, after)
    slice_ = next(slices, None)
    while slice_ is not None:
        if slice_.is_short:
            # The planner thinks too well of bitmaps, most of all of trigrams': walking so few rows is faster.
            database.execute("SET LOCAL enable_bitmapscan = off")
        found |= {one for where in sliced for one in _found(database, kind, where, limit, slice_)}
        database.execute("SET LOCAL enable_bitmapscan TO DEFAULT")
        done = sum(slice_.begin is None or one.time >= slice_.begin for one in found)
        if done > limit or slice_.begin is None:
            break
        slice_ = slices.send(done / (limit + 1))
    return found


def _is_of_time(condition: Condition) -> bool:
    return bool(condition.parameters) and all(isinstance(parameter, datetime) for parameter in condition.parameters)


def _found(
    database: Database,
    kind: str,
    where: Sequence[Condition],
    limit: int,
    slice_: _Slice | None = None,
) -> set[Cursor]:
    told = _KINDS[kind]
    texts: list[str] = []
    parameters: list[object] = []
    begin, end = (slice_.begin, slice_.end) if slice_ is not None else (None, None)
    for condition in where:
        is_since = begin is not None and condition.since_sql is not None
        texts.append(condition.since_sql or "" if is_since else condition.sql)
        parameters += [*condition.parameters, begin] if is_since else condition.parameters
    for sign, bound in ((">=", begin), ("<", end)):
        if bound is not None:
            texts.append(f"{told.time} {sign} %s")
            parameters.append(bound)
    # No index has this order: all of a slice is fetched in the cheapest way, in the hope of no early end.
    order = told.time if slice_ is None else f"{told.time} + INTERVAL '0'"
    sql = f"{told.select}{' AND '.join(texts) or 'TRUE'} ORDER BY {order} DESC, {told.number} DESC LIMIT %s"
    return {Cursor(time, kind, number) for time, number in database.fetch(sql, [*parameters, limit + 1])}


def _slices(
    database: Database, kind: _Kind, sliced: Sequence[Sequence[Condition]], after: Cursor | None
) -> Generator[_Slice, float, None]:
    """Cut the time into slices, the newest and shortest first; sent is which share of what is wanted was found."""
    if not sliced:
        return
    ends = f"SELECT {kind.time} FROM {kind.view} AS m ORDER BY {kind.time}"  # noqa: S608 - constants
    oldest, newest, rows = database.fetch(
        f"SELECT ({ends} LIMIT 1), ({ends} DESC LIMIT 1), "  # noqa: S608 - constants
        "(SELECT CASE WHEN reltuples < 0 THEN 1e6 ELSE reltuples END FROM pg_class WHERE oid = %s::regclass)",
        (kind.table,),
    )[0]
    if oldest is None:
        return
    begin = newest if after is None else min(newest, after.time)
    for condition in sliced[0]:
        # --until is in all alternatives.
        if condition.sql == f"{kind.time} < %s":
            begin = min(begin, condition.parameters[0])
    end: datetime | None = None
    looked_through = 0.0
    share = 0.0
    planned = list(_SLICES)
    while planned:
        length = float(planned[0])
        enough = looked_through * max(1.5 * (1 - share) / share, 0.5) if share else math.inf
        if enough < length:
            length = enough
        else:
            planned.pop(0)
        width = (newest - oldest) * min(1.0, length / max(rows, 1))
        if width <= timedelta() or begin - width <= oldest:
            break
        begin -= width
        looked_through += length
        share = yield _Slice(begin, end, is_short=length <= _SHORT)
        end = begin
    yield _Slice(None, end, is_short=False)


def _narrowed(database: Database, kind: str, where: Sequence[Condition]) -> Condition | None:
    """Give the ids that the first rare condition leaves; with `since_sql` where they are those of many recipients."""
    limit = _MAX_NARROWED + 1
    for condition in where:
        if not condition.probes:
            continue
        # A plain index scan stops at the limit; a bitmap would be made of all there are.
        database.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        rows: list[tuple[int]] = []
        for probe in condition.probes:
            if len(rows) < limit:
                rows += database.fetch(f"{probe.sql} LIMIT %s", (*probe.parameters, limit))
        database.execute("SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT")
        # Rows, not ids: a mail can have several recipients that fit, and what a limit cut off must not pass for all.
        if len(rows) < limit:
            numbers = sorted({number for (number,) in rows})
            sql = f"{_KINDS[kind].number} = ANY(%s::bigint[])"
            is_of_recipients = condition.since_sql is not None and len(numbers) > _FEW
            return Condition(sql, (numbers,), since_sql=sql if is_of_recipients else None)
    return None


# What the criteria mean for either kind: a list of alternatives, each a list of conditions that all hold.


def _mail_alternatives(criteria: Criteria) -> list[list[Condition]]:
    c = criteria
    fixed = [*_times(c, "m.began"), _host(c.host)]
    if c.message_id is not None:
        fixed.append(_message_id(c.message_id))
    if c.queue_id is not None:
        fixed.append(Condition("m.queue_id = %s", (c.queue_id,), is_exact=True))
    if c.subject is not None:
        fixed.append(part("m.subject", c.subject))
    if c.client is not None:
        fixed.append(peer("m.client_hostname", "m.client_ip", c.client))
    if c.sasl_user is not None:
        fixed.append(user("m.sasl_username", c.sasl_user))
    choices = [_sender_choices("mail", c.sender), _recipient_choices(c), _term_choices(c, is_mail=True)]
    return [[*fixed, *chosen] for chosen in product(*choices)]


def _rejected_alternatives(criteria: Criteria) -> list[list[Condition]]:
    c = criteria
    if (
        c.message_id is not None
        or c.queue_id is not None
        or c.subject is not None
        or c.relay is not None
        or c.fate not in (None, "rejected")
    ):
        return []
    fixed = [*_times(c, 'm."time"'), _host(c.host)]
    if c.recipient is not None:
        fixed.append(_probed("rejected", address("m.recipient", c.recipient)))
    if c.client is not None:
        fixed.append(peer("m.client_hostname", "m.client_ip", c.client))
    if c.sasl_user is not None:
        fixed.append(user("m.sasl_username", c.sasl_user))
    if c.dsn is not None:
        fixed.append(dsn("m.dsn", c.dsn))
    choices = [_sender_choices("rejected", c.sender), _term_choices(c, is_mail=False)]
    return [[*fixed, *chosen] for chosen in product(*choices)]


def _sender_choices(kind: str, term: str | None) -> list[Condition]:
    """The sender as it is shown, or as it was logged where VERP has been undone."""
    if term is None:
        return [_ALL]
    raw = address("m.sender_raw", term)
    return [
        _probed(kind, address("m.sender", term)),
        _probed(kind, raw._replace(sql=f"m.sender_raw IS NOT NULL AND {raw.sql}")),
    ]


def _times(criteria: Criteria, column: str) -> list[Condition]:
    conditions = []
    if criteria.since is not None:
        conditions.append(Condition(f"{column} >= %s", (criteria.since,)))
    if criteria.until is not None:
        conditions.append(Condition(f"{column} < %s", (criteria.until,)))
    return conditions


def _host(host: str | None) -> Condition:
    """The host by its full name, or by the first label of it."""
    if host is None:
        return _ALL
    name = host.lower().rstrip(".")
    return Condition("(lower(m.host) = %s OR lower(m.host) LIKE %s)", (name, like_text(name) + ".%"))


def _recipient_choices(criteria: Criteria) -> list[Condition]:
    """Conditions on one and the same recipient; or, of the mail as a whole, where no recipient is known yet."""
    c = criteria
    wanted: list[Condition] = []
    if c.recipient is not None:
        wanted.append(_recipient(c.recipient))
    if c.relay is not None:
        wanted.append(peer("r.relay_host", "r.relay_ip", c.relay))
    if c.dsn is not None:
        wanted.append(_recipient_dsn(c.dsn))
    if not wanted and c.fate is None:
        return [_ALL]
    choices = _fate_choices(c.fate, wanted)
    if c.recipient is None and c.relay is None and (c.fate is None or c.fate in _STATES):
        whole = []
        if c.fate is not None:
            whole.append(Condition(_WITHOUT_LINE, (_STATES[c.fate], c.fate)))
        if c.dsn is not None:
            whole.append(dsn("m.dsn", c.dsn))
        choices.append(both(whole))
    return choices


def _fate_choices(fate: str | None, wanted: list[Condition]) -> list[Condition]:
    """A recipient as wanted that came to this fate: an alternative with an index of its own for each way to it."""
    if fate is None:
        return [_some_recipient(wanted)]
    if fate == HANDED_ON:
        return [_some_recipient([*wanted, Condition(_IS_HANDED_ON)])]
    itself = Condition("r.status = %s", (fate,))
    if fate == "deferred":
        itself = Condition("r.status = 'deferred' AND r.fate = 'deferred'")
    choices = [] if fate in ("expired", "held", "queued") else [_some_recipient([*wanted, itself])]
    if fate in _STATES:
        # It was deferred when the mail as a whole ended.
        ended = Condition("r.status = 'deferred' AND r.fate = %s", (fate,))
        if fate == "queued":
            # It was put back into the queue: under another id, if that is known.
            ended = ended._replace(sql=f"{ended.sql} AND NOT {_IS_HANDED_ON}")
        derived = _some_recipient([*wanted, ended])
        choices.append(both([Condition("m.state = ANY(%s)", (_STATES[fate],)), derived]))
    return choices


_WITHOUT_LINE: Final = (
    "m.state = ANY(%s) AND recipient_fate('queued', m.state) = %s "
    "AND (SELECT count(*) FROM mail_recipient AS r WHERE r.mail_id = m.mail_id) < coalesce(m.nrcpt, 1)"
)
_IS_HANDED_ON: Final = (
    "EXISTS (SELECT FROM mail_delivery AS d "
    "WHERE d.mail_id = r.mail_id AND d.recipient_key = r.recipient_key AND d.is_handed_on)"
)

_PROBES: Final = {
    "mail": "SELECT m.mail_id FROM mail AS m WHERE ",
    "rejected": "SELECT m.noqueue_id FROM mail_rejected AS m WHERE ",
    "recipient": "SELECT r.mail_id FROM mail_recipient AS r WHERE ",
}


def _probed(kind: str, condition: Condition) -> Condition:
    """Let an address be asked for first, unless it is only a part that no index knows."""
    if "ILIKE" in condition.sql:
        return condition
    return condition._replace(probes=(Probe(_PROBES[kind] + condition.sql, condition.parameters),))


def _some_recipient(conditions: Sequence[Condition]) -> Condition:
    all_of_them = both(conditions)
    sql = f"EXISTS (SELECT FROM mail_recipient AS r WHERE r.mail_id = m.mail_id AND {all_of_them.sql})"
    # No attempt comes before its mail: so a slice of the mails' time is one of the attempts', which has an index.
    return all_of_them._replace(sql=sql, since_sql=f"{sql[:-1]} AND r.first_attempt >= %s)")


def _recipient(term: str) -> Condition:
    final, original = (_probed("recipient", address(column, term)) for column in ("r.recipient", "r.orig_to"))
    return Condition(
        f"({final.sql} OR {original.sql})", final.parameters + original.parameters, final.probes + original.probes
    )


def _message_id(text: str) -> Condition:
    bare = text[1:-1] if text.startswith("<") and text.endswith(">") else text
    spellings = [bare, f"<{bare}>"]
    return Condition("(m.message_id = ANY(%s) OR m.resent_message_id = ANY(%s))", (spellings, spellings), is_exact=True)


def _term_choices(criteria: Criteria, *, is_mail: bool) -> list[Condition]:
    """Where a bare term belongs."""
    term = criteria.term
    if term is None:
        return [_ALL]
    mail_only = [_NONE]
    if network(term) is not None and not criteria.in_addresses:
        choices = [peer("m.client_hostname", "m.client_ip", term)]
        if is_mail:
            choices.append(_some_recipient([peer("r.relay_host", "r.relay_ip", term)]))
        return choices
    if looks_like_queue_id(term) and not criteria.in_addresses:
        return [Condition("m.queue_id = %s", (term,), is_exact=True)] if is_mail else mail_only
    if is_mail:
        choices = [*_sender_choices("mail", term), _some_recipient([_recipient(term)])]
        if "@" in term[1:]:
            choices.append(_message_id(term))
        return choices
    return [*_sender_choices("rejected", term), _probed("rejected", address("m.recipient", term))]


def _recipient_dsn(term: str) -> Condition:
    condition = dsn("r.dsn", term)
    if term.startswith(("4", "5")):
        # Never of what was sent; the index over the rest is small.
        return Condition(f"{condition.sql} AND r.status <> 'sent'", condition.parameters)
    return condition
