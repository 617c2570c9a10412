"""smtpd(8): sessions, transactions, and what the restrictions decided.

Takes nothing, gives `ENTRIES`. Undecidable by the log alone: a SASL user name is logged raw, so one that ends like the
next elements of its line (`bob, sasl_sender=x`) reads as these elements.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .context import decided, put_reply, split_context
from .grammar import Fields, entry, named, nothing
from .queued import queued_as
from .tokens import CLIENT, NUMBER, PORT, STAGE, compiled, without_begun

_CLIENT_NAMES = ("client_hostname", "client_ip", "client_port:int")

# src/smtpd/smtpd.c, mail_open_stream(): the line "%s: client=%s" and what may follow it. The user name comes first, so
# the earliest place from which the rest reads to the end is where it ends. `sasl_sender` should be xtext (RFC 4954 §5)
# but is MAIL's AUTH= as any client sends it (smtpd_sasl_mail_opt, src/smtpd/smtpd_sasl_proto.c): quotes, angle brackets
# and backslashes can have blanks in them, and so anything; then it is taken to the end.
_CLIENT_REST = compiled(
    r"(?:, sasl_method=([^ ,]*+), sasl_username=(.*?))?"
    r"(?:, sasl_sender=([^ \"<\\]*))?(?:, orig_queue_id=([^ ,]++))?"
    rf"(?:, orig_client=([^ \[\]]++\[[^ \[\]]++\](?::{PORT})?))?"
)
_CLIENT_QUOTED = compiled(r"(?:, sasl_method=([^ ,]*+), sasl_username=(.*?))?, sasl_sender=([^ \"<\\]*[\"<\\].*)")
_CLIENT_REST_NAMES = ("sasl_method", "sasl_username", "sasl_sender", "orig_queue_id", "orig_client")
_CLIENT_MARKS = (", sasl_method=", ", sasl_sender=", ", orig_queue_id=", ", orig_client=")
# What is left of an element that was cut, which has to have more behind it.
_CLIENT_CUT = compiled(
    r"(?:, sasl_method=[^ ,]*+(?:, (?:s(?:a(?:s(?:l(?:_(?:u[a-z]*+)?)?)?)?)?)?)?"
    r"|, orig_(?:queue_id=|client=[^ \[\]]*+(?:\[[^ \[\]]*+(?:\]:)?)?))\Z"
)


def _is_told_apart(username: str | None) -> bool:
    """Tell whether a user name can be one that has not swallowed a quoted `sasl_sender`."""
    return username is None or ", sasl_sender=" not in username


def client_rest(rest: str) -> Fields | None:
    """Give what stands behind the client in its line, None where it is not read.

    A line that was cut still tells that a mail came, and from where.
    """
    begun = _CLIENT_CUT.search(rest)
    end = len(without_begun(rest, _CLIENT_MARKS)) if begun is None else begun.start()
    more = _CLIENT_REST.fullmatch(rest, 0, end)
    if more is None or not _is_told_apart(more[2]):
        more = _CLIENT_QUOTED.fullmatch(rest) or more
    if more is None:
        return None
    found = {name: value for name, value in zip(_CLIENT_REST_NAMES, more.groups(), strict=False) if value is not None}
    # A user's name may end like that, too: better none than a wrong one.
    if end < len(rest) and more.lastindex == 2:
        del found["sasl_username"]
    return found


def _client(fields: Fields, match: re.Match[str]) -> bool:
    hostname, ip, port, rest = match.groups()
    more = client_rest(rest) if rest else {}
    if more is None:
        return False
    fields["client_hostname"] = hostname
    fields["client_ip"] = ip
    if port is not None:
        fields["client_port"] = int(port)
    fields.update(more)
    return True


def _connect(fields: Fields, match: re.Match[str]) -> bool:
    hostname, ip, port = match.groups()
    fields["client_hostname"] = hostname
    fields["client_ip"] = ip
    if port is not None:
        fields["client_port"] = int(port)
    return True


@lru_cache(maxsize=1024)
def counts_of(statistics: str) -> tuple[tuple[str, int, int], ...] | None:
    """Read ` ehlo=1 rcpt=0/1 commands=1/2` as (name, accepted, all), unless the last, the sum of all, is none.

    Then the line was cut. Most sessions of a server share a few of these texts.
    """
    counts = []
    for word in statistics.split():
        name, _, value = word.partition("=")
        good, slash, total = value.partition("/")
        counts.append((name, int(good), int(total) if slash else int(good)))
    sums = ("commands", sum(item[1] for item in counts[:-1]), sum(item[2] for item in counts[:-1]))
    return tuple(counts) if counts[-1] == sums else None


def _disconnect(fields: Fields, match: re.Match[str]) -> bool:
    hostname, ip, port, statistics, notes = match.groups()
    fields["client_hostname"] = hostname
    fields["client_ip"] = ip
    if port is not None:
        fields["client_port"] = int(port)
    counts = counts_of(statistics) if statistics else None
    if counts is not None:
        fields["counters"] = {name: [good, total] for name, good, total in counts}
    if notes is not None:
        fields["notes"] = notes
    return True


def _proxy(fields: Fields, match: re.Match[str]) -> bool:
    action, stage, text = match.groups()
    fields["action"] = action
    fields["reject_stage"] = stage
    reply, whole = split_context(fields, text, match.string)
    put_reply(fields, reply, whole)
    # At the end of a line that was cut an id may be the beginning of another one, which `?` ends for no id.
    next_queue_id = queued_as(reply if whole else f"{text}?")
    if action == "proxy-accept" and next_queue_id is not None:
        fields["next_queue_id"] = next_queue_id
        fields["next_kind"] = "queued"
    return True


def _sasl_failed(fields: Fields, match: re.Match[str]) -> bool:
    hostname, ip, port, method, text, quoted = match.groups()
    fields["client_hostname"] = hostname
    fields["client_ip"] = ip
    if port is not None:
        fields["client_port"] = int(port)
    if method is None:
        fields["reason"] = quoted
        return True
    fields["sasl_method"] = method
    if text is not None:
        # The mechanism's name, the one word of the reason that the client chooses, has no blank: the first mark is
        # Postfix's, whatever the user calls himself (smtpd_sasl_authenticate, src/smtpd/smtpd_sasl_glue.c).
        mark = ", sasl_username="
        reason, found, username = text.partition(mark)
        fields["reason"] = reason if found else without_begun(reason, (mark,))
        if found:
            fields["sasl_username"] = username
    return True


DISCONNECT_REST = rf"((?: [a-z]++={NUMBER}(?:/{NUMBER})?)*)(?: notes=(bare_lf))?"
_END = rf"(lost connection|timeout|too many errors) after {STAGE}(?: \(({NUMBER}) bytes\))? from {CLIENT}"
_END_NAMES = named("reason", "reject_stage", "bytes:int", *_CLIENT_NAMES)

ENTRIES = (
    entry("smtpd.client", "smtpd", "client", rf"client={CLIENT}(,.*)?", _client),
    entry("smtpd.connect", "smtpd", "connect", rf"connect from {CLIENT}", _connect, queue_id=False),
    entry(
        "smtpd.disconnect",
        "smtpd",
        "disconnect",
        rf"disconnect from {CLIENT}{DISCONNECT_REST}",
        _disconnect,
        queue_id=False,
    ),
    entry("smtpd.end", "smtpd", "lost timeout too", _END, _END_NAMES),
    entry("smtpd.end_39", "smtpd", "lost timeout too", _END, _END_NAMES, action="end", queue_id=False),
    entry(
        "smtpd.local_error",
        "smtpd",
        "reject",
        rf"(reject): {STAGE} from {CLIENT}: (421 4\.3\.0 [^ ]++ Server local data error)",
        decided,
        action="reject",
    ),
    entry(
        "smtpd.action",
        "smtpd",
        "reject reject_warning hold discard redirect filter bcc warn info hangup permit delay prepend",
        rf"([a-z_]++): {STAGE} from {CLIENT}: (.*)",
        decided,
    ),
    entry(
        "smtpd.milter",
        "smtpd",
        "milter-reject milter-hold milter-discard",
        rf"([a-z-]++): {STAGE} from {CLIENT}: (.*)",
        decided,
    ),
    entry("smtpd.proxy", "smtpd", "proxy-accept proxy-reject", rf"([a-z-]++): {STAGE}: (.*)", _proxy, queue_id=None),
    entry(
        "smtpd.tls_abort",
        "smtpd",
        "abort",
        rf"abort: TLS from {CLIENT}: (.*)",
        named(*_CLIENT_NAMES, "reason"),
        action="abort",
    ),
    entry(
        "smtpd.sasl_failed",
        "smtpd",
        "",
        # A mechanism in quotes or brackets can hold all that follows: then it is left in the reason.
        rf"{CLIENT}: SASL (?:([^ \"<\\]++) authentication (?:aborted|failed: (.*))|([^ \"<\\]*+[\"<\\].*))",
        _sasl_failed,
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.rate_limit",
        "smtpd",
        "Connection Message Recipient New AUTH",
        r"(Connection concurrency|Connection rate|Message delivery request rate|Recipient address rate"
        rf"|New TLS session rate|AUTH command rate) limit exceeded: ({NUMBER}) from {CLIENT} for service (.*)",
        named("what", "count:int", *_CLIENT_NAMES, "limit_service"),
        queue_id=False,
        severe=True,
    ),
    entry("smtpd.size", "smtpd cleanup", "queue", "queue file size limit exceeded", nothing, severe=True),
    entry(
        "smtpd.proxy_warn",
        "smtpd",
        "proxy lost timeout connect received",
        r"(proxy [^ ]++ rejected .*|(?:lost connection with|timeout talking to) proxy .*"
        r"|connect to proxy filter .*|received garbage from proxy .*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "smtpd.refuse_tls",
        "smtpd",
        "Refusing Wrapper-mode",
        rf"((?:Refusing (?:STARTTLS|TLS service) request|Wrapper-mode request dropped) from {CLIENT} for service .*)",
        named("reason", *_CLIENT_NAMES),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.pipelining",
        "smtpd",
        "improper",
        rf"improper command pipelining after {STAGE} from {CLIENT}: (.*)",
        named("reject_stage", *_CLIENT_NAMES, "text"),
        queue_id=None,
    ),
    entry(
        "smtpd.non_smtp",
        "smtpd",
        "non-SMTP",
        rf"non-SMTP command from {CLIENT}: (.*)",
        named(*_CLIENT_NAMES, "text"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.address_syntax",
        "smtpd",
        "Illegal",
        rf"Illegal address syntax from {CLIENT} in {STAGE} command: (.*)",
        named(*_CLIENT_NAMES, "reject_stage", "text"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.hostname_mismatch",
        "smtpd qmqpd",
        "hostname",
        r"hostname ([^ ]++) does not resolve to address ([0-9A-Fa-f:.%]*[0-9A-Fa-f.%])(?:: (.*))?",
        named("client_hostname", "client_ip", "reason"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.bdat",
        "smtpd",
        "malformed null BDAT too",
        r"((?:malformed BDAT command syntax|null BDAT request|BDAT request) from .*|too much BDAT content -- .*)",
        named("reason"),
        severe=True,
    ),
    entry("smtpd.reply_filter", "smtpd", "reply", r"reply filter (in|out): (.*)", named("what", "text"), queue_id=True),
    entry(
        "smtpd.reply_filter_bad",
        "smtpd",
        "ignoring",
        r"ignoring invalid reject filter result: (.*)",
        named("text"),
        severe=True,
    ),
    entry(
        "smtpd.misc_info",
        "smtpd",
        "",
        rf"(?:{CLIENT}: )?(replacing command .*|discarding EHLO keywords: .*|mapping DSN status .*"
        r"|using backwards-compatible default setting .*)",
        named(*_CLIENT_NAMES, "text"),
        queue_id=None,
    ),
    entry(
        "smtpd.request_long",
        "smtpd",
        "",
        rf"{CLIENT}: request longer than ({NUMBER}): (.*)",
        named(*_CLIENT_NAMES, "limit:int", "text"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "smtpd.dns_warn",
        "smtpd",
        "",
        r"([^ ]++(?<=:) (?:RBL|TXT|address or MX|MX or address) lookup error: .*"
        r"|Unable to look up [^ ]++ host for .*|access table .*)",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "smtpd.etrn_reject",
        "smtpd",
        "reject bad",
        rf"(?:reject: |bad )ETRN (.*)\.\.\. from {CLIENT}",
        named("site", *_CLIENT_NAMES),
        queue_id=False,
        severe=True,
    ),
)
