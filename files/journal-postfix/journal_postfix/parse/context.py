"""The context that smtpd and cleanup put behind a text: `TEXT; from=<S> to=<R> proto=P helo=<H> …`.

Takes a text, gives TEXT and the elements of its context. TEXT is chosen by others (a remote server's reply in an
address verification, a policy service, a header) and may hold a whole context of its own, so the search goes from the
last `; from=<` to the first, and takes the first place from which the strict grammar reads to the end of the line.

Why a fake context does not win: behind the real one no `;` can stand outside double quotes, because HELO names have it
masked and addresses have it quoted; and a fake one inside a quoted local part has to get across the closing `"`, which
the strict grammar allows nowhere but in a SASL user name. Hence the rule for `sasl_username`, which is logged raw: it
may not contain parts of a context, unless nothing else reads and the line is not cut. (A user whose *login name* ends
with a whole context could still fake one; the log alone cannot tell.)

All this needs the end of the line. In one that was cut at 2000 bytes the closing `"` or the rest of the real context
may be gone; there a context counts only if nothing else in the line looks like the beginning of one, and without what
the cut may have shortened: better no element than a wrong one. A shorter line that no context reads in was cut by
somebody else (a syslog daemon at 1024 bytes): it has none, and TEXT is what stands before the first thing like one.
(When TEXT itself ends with a whole context there, or holds one with a user's name, that one is believed.)

Postfix <= 3.4 (or info_log_address_format = internal) logs addresses unquoted; only when nothing else reads are they
taken as they stand. (Such an address that holds a whole context with a user's name reads like a login name of a newer
Postfix that holds the end of one, and the log alone cannot tell; the newer one is believed.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .grammar import Fields
from .tokens import (
    ADDRESS,
    DSN,
    HELO,
    PROTO,
    QUOTED_LOCAL,
    XTEXT,
    compiled,
    is_begun,
    is_cut,
    last_places,
    only_place,
    without_begun,
)

# log_whatsup() (src/smtpd/smtpd_check.c): each part brings its own leading blank; smtpd always has a protocol, and a
# mechanism is never without a user.
_SASL = rf"(?:(?: sasl_method=([^ ]++))? sasl_username=(.*?))?(?: sasl_sender={XTEXT})?"
_CONTEXT = compiled(rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)? proto={PROTO}(?: helo=<{HELO}>)?{_SASL}")
# smtpd's milters and proxy filters put the user name in angle brackets and name no mechanism
# (src/smtpd/smtpd_milter.c, src/smtpd/smtpd_proxy.c).
_BRACKETED_CONTEXT = compiled(
    rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)? proto={PROTO}(?: helo=<{HELO}>)?(?: sasl_username=<(.*)>)?"
)
# cleanup's milters see local mail, too, which has no protocol, and know nothing of SASL
# (src/cleanup/cleanup_milter.c).
_CLEANUP_CONTEXT = compiled(rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)?(?: proto={PROTO})?(?: helo=<{HELO}>)?")
_LAST_STAGE_CONTEXT = compiled(rf"; from=<{ADDRESS}> to=<{ADDRESS}>(?: proto={PROTO})?(?: helo=<{HELO}>)?")
# What may be left of each of these in a line that was cut at 2000 bytes.
_CUT_CONTEXT = compiled(
    rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)?(?: proto=([^ ;<>]++)(?: helo=<{HELO}>(?: sasl_.*)?)?)?"
)
_AFTER_ADDRESSES = compiled(rf" proto={PROTO}(?: helo=<{HELO}>)?{_SASL}")
_Groups = tuple[str | None, ...]
_Reader = Callable[[str, int], _Groups | None]
_NAMES = ("sender", "recipient", "proto", "helo", "sasl_method", "sasl_username", "sasl_sender")

_PLACE = compiled("; (?=from=<|to=<|proto=|helo=<)")
_MARKS = ("; from=<", "; to=<", "; proto=")

_QUOTED_SASL_SENDER = compiled(r' sasl_sender=[^ "<\\]*+["<\\]')

# "CODE DSN text" of a reply; milter replies of several lines have `-` behind the code. cleanup logs the DSN alone.
_REPLY = compiled(rf"(?:([2-5][0-9][0-9])[ -])?(?:{DSN}(?: |\Z))?(.*)")
# The same at the end of a line, where codes without anything behind them may have been shortened.
_LAST_REPLY = compiled(
    rf"(?:([2-5][0-9][0-9])[ -])?(?:{DSN} )?(?:(?:[2-5][0-9]{{0,2}}|[245]\.[0-9]{{0,3}}(?:\.[0-9]{{0,3}})?)\Z|(.*))"
)

# A header check's origin: cleanup's smtp client, or `local` for pickup, bounce and forwarded mail, or `unknown`.
_ORIGIN = compiled(r"(?:([^ \[\]]++)\[([^ \[\]]++)\](?::(?:([0-9]{1,5}+)|unknown))?|local|unknown)")
_ACTION_CONTEXT = compiled(rf"; from=<{ADDRESS}>(?: to=<{ADDRESS}>)?(?: proto={PROTO})?(?: helo=<{HELO}>)?(?:: (.*))?")
_CUT_ACTION_CONTEXT = compiled(
    rf"; from=<{ADDRESS}>(?: to=<{ADDRESS}>)?(?: proto=([^ ;<>]++)(?: helo=<{HELO}>)?)?(?:: (.*))?"
)
_ACTION_PLACE = compiled("; (?=from=<)")
_FROM = " from "
_ACTION_AFTER_ADDRESSES = compiled(rf" proto={PROTO}(?: helo=<{HELO}>)?(?:: (.*))?")
_QUOTED_SENDER = compiled(rf"; from=<{QUOTED_LOCAL}")
# The end of a quoted address, whatever its domain is: in a rule's text it shows that the context before it is a fake
# one in that address.
_QUOTED_END = compiled('"(?:@[^@>]*+)?>')

# A fake context in TEXT would make the real one its user name; one in a quoted local part, the rest of the real one.
_NO_USERNAME = compiled(r"; (?:from=<|to=<|proto=|helo=<)| helo=<|> proto=")


def _is_username(name: str | None) -> bool:
    """Tell whether `name` can be a logged SASL user name rather than the rest of a context (see above)."""
    return name is None or _NO_USERNAME.search(name) is None


def _unbracketed(groups: _Groups) -> _Groups | None:
    """Take the angle brackets from a user name without a mechanism: a milter's plain `reject:` is told by these.

    None if there are none: the line was cut in the name.
    """
    method, user, sender = groups[4:]
    if method is not None or user is None:
        return groups
    return (*groups[:5], user[1:-1], sender) if user[:1] == "<" and user[1:][-1:] == ">" else None


def _with_whole_user(groups: _Groups) -> _Groups:
    """Leave out a user name that ends with the beginning of the mark behind it: the line may have been cut there.

    The name in angle brackets has an end of its own.
    """
    method, user, sender = groups[4:]
    if method is not None and sender is None and user is not None and without_begun(user, (" sasl_sender=",)) != user:
        return (*groups[:4], None, None, None)
    return groups


def _raw_context(text: str, at: int) -> _Groups | None:
    """Read the context at `at` with unquoted addresses: everything between `from=<` and the last `> proto=`.

    One that rather is the beginning of a quoted one is in a line that was cut.
    """
    close = text.rfind("> proto=", at)
    if close < 0:
        return None
    rest = _AFTER_ADDRESSES.fullmatch(text, close + 1)
    if rest is None or not _is_username(rest[4]):
        return None
    addresses = text[at + 1 : close]
    if addresses.startswith(" to=<"):
        recipient = addresses[5:]
        return None if is_begun(recipient) else _unbracketed((None, recipient, *rest.groups()))
    if not addresses.startswith(" from=<"):
        return None
    sender, to, recipient = addresses[7:].partition("> to=<")
    if is_begun(sender) or is_begun(recipient):
        return None
    return _unbracketed((sender, recipient if to else None, *rest.groups()))


def _strict_context(text: str, at: int) -> _Groups | None:
    match = _CONTEXT.fullmatch(text, at)
    return _unbracketed(match.groups()) if match is not None and _is_username(match[6]) else None


def _any_user_context(text: str, at: int) -> _Groups | None:
    match = _CONTEXT.fullmatch(text, at)
    return _unbracketed(match.groups()) if match is not None else None


def _bracketed_context(text: str, at: int) -> _Groups | None:
    match = _BRACKETED_CONTEXT.fullmatch(text, at)
    return (*match.groups()[:4], None, match[5], None) if match is not None and _is_username(match[5]) else None


def _any_bracketed_context(text: str, at: int) -> _Groups | None:
    match = _BRACKETED_CONTEXT.fullmatch(text, at)
    return (*match.groups()[:4], None, match[5], None) if match is not None else None


def _cleanup_context(text: str, at: int) -> _Groups | None:
    match = _CLEANUP_CONTEXT.fullmatch(text, at)
    return (*match.groups(), None, None, None) if match is not None else None


def _last_stage_context(text: str, at: int) -> _Groups | None:
    """Read the context at the end of a message, which has both addresses."""
    match = _LAST_STAGE_CONTEXT.fullmatch(text, at)
    return (*match.groups(), None, None, None) if match is not None else None


_SMTPD_READERS: tuple[_Reader, ...] = (_strict_context, _any_user_context, _raw_context)
_FILTER_READERS: tuple[_Reader, ...] = (_bracketed_context, _any_bracketed_context, _raw_context)
_CLEANUP_READERS: tuple[_Reader, ...] = (_cleanup_context, _raw_context)
_LAST_STAGE_READERS: tuple[_Reader, ...] = (_last_stage_context, _raw_context)


def _only_context(text: str) -> tuple[int, _Groups] | None:
    """Read the context of a line that was cut, which must have one place for it, without what has no end of its own."""
    at = only_place(_PLACE, text)
    match = _CUT_CONTEXT.fullmatch(text, at) if at is not None else None
    if at is None or match is None:
        return None
    sender, recipient, proto, helo = match.groups()
    return at, (sender, recipient, proto if helo is not None else None, helo, None, None, None)


def _last_context(readers: tuple[_Reader, ...], text: str) -> tuple[int, _Groups] | None:
    """Read the last context that reads, by the strictest reader that reads any."""
    places = last_places(_PLACE, text)
    return next(((at, groups) for read in readers for at in places if (groups := read(text, at))), None)


def _text_before(text: str, cut: bool) -> str:
    """Give what is surely TEXT when no context reads.

    An error of the server itself has no context, and in a line that was cut it is gone or begun. At Postfix's own 2000
    bytes the beginning may be in the text, as in a fake one, and stays; elsewhere nothing is TEXT from there on.
    """
    if cut:
        return text.removesuffix(";")
    begun = _PLACE.search(text)
    return without_begun(text, _MARKS) if begun is None else text[: begun.start()]


def _may_be_in_sasl_sender(text: str, at: int) -> bool:
    """Tell whether the context at `at` may be a client's own words in the quotes of the real one's `sasl_sender`.

    It is MAIL's AUTH= as any client sends it (smtpd.py). But the same may stand in a quoted address before the real
    context: nobody can tell, so neither is believed.
    """
    begin = text.find("; from=<", 0, at)
    return begin >= 0 and _QUOTED_SASL_SENDER.search(text, begin, at) is not None


def split_context(fields: Fields, text: str, line: str) -> tuple[str, bool]:
    """Store the elements of the context at the end of `text`; give the text before it, and whether that is its whole.

    The line's component and action, which must be stored before, tell who wrote the context. `line` is the whole one.
    """
    if fields["component"] == "cleanup":
        readers = _LAST_STAGE_READERS if fields["reject_stage"] == "END-OF-MESSAGE" else _CLEANUP_READERS
    elif fields["action"].startswith(("milter-", "proxy-")):
        readers = _FILTER_READERS
    else:
        readers = _SMTPD_READERS
    # The line's last `; ` nearly always is the place.
    at = text.rfind("; ")
    if at < 0:
        return text.removesuffix(";"), text.endswith(";")
    cut = is_cut(line)
    groups = readers[0](text, at) if not cut else None
    if groups is None:
        found = _only_context(text) if cut else _last_context(readers, text)
        if found is None:
            return _text_before(text, cut), False
        at, groups = found
    if _may_be_in_sasl_sender(text, at):
        return text, False
    groups = _with_whole_user(groups)
    for name, value in zip(_NAMES, groups, strict=True):
        if value is not None:
            fields[name] = value
    return text[:at], True


def put_reply(fields: Fields, text: str, whole: bool = False) -> None:
    """Store a reply's SMTP code and enhanced status code, where there are any, and the rest as `reason`.

    `whole` tells that something stood behind the text: else a code at its end may be the beginning of another.
    """
    match = (_REPLY if whole else _LAST_REPLY).fullmatch(text)
    assert match is not None  # every part is optional
    code, dsn, reason = match.groups()
    if code is not None:
        fields["smtp_code"] = int(code)
    if dsn is not None:
        fields["dsn"] = dsn
    if reason is not None:
        fields["reason"] = reason


# Actions whose text is a reply to the client; the others log an explanation or a rule's own words.
_REPLIES = frozenset({"reject", "reject_warning", "milter-reject", "proxy-accept", "proxy-reject"})


def decided(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `ACTION: WHERE from CLIENT: TEXT; CONTEXT`, of smtpd's restrictions or a milter."""
    action, stage, hostname, ip, port, text = match.groups()
    fields["action"] = action
    fields["reject_stage"] = stage
    fields["client_hostname"] = hostname
    fields["client_ip"] = ip
    if port is not None:
        fields["client_port"] = int(port)
    text, whole = split_context(fields, text, match.string)
    if action in _REPLIES:
        put_reply(fields, text, whole)
    else:
        fields["reason"] = text
    return True


def _is_optional_text(text: str | None) -> bool:
    """Tell whether `text` can be what a rule says, rather than the rest of a context, a whole or a cut one."""
    return text is None or (" helo=<" not in text and "> to=<" not in text and "; from=<" not in text)


def _only_action(text: str, at: int) -> _Groups | None:
    """Read a header check's context in the one place for it."""
    match = _ACTION_CONTEXT.fullmatch(text, at)
    return match.groups() if match is not None and _is_optional_text(match[5]) else None


def _strict_action(text: str, at: int) -> _Groups | None:
    """Read a header check's context in a place that may be in the quoted address of another one."""
    groups = _only_action(text, at)
    return groups if groups is not None and _QUOTED_END.search(groups[4] or "") is None else None


def _raw_action(text: str, at: int) -> _Groups | None:
    """Read a header check's context with unquoted addresses, see `_raw_context`."""
    after: tuple[str | None, ...]
    close = text.rfind("> proto=", at)
    if close >= 0:
        rest = _ACTION_AFTER_ADDRESSES.fullmatch(text, close + 1)
        if rest is None:
            return None
        after = rest.groups()
    else:
        # Local mail has neither protocol nor HELO name: the addresses end at the first `>: `, or with the line. Quotes
        # there are those of a newer Postfix, before a domain that is none.
        quoted = _QUOTED_SENDER.match(text, at)
        close = text.find(">: ", at if quoted is None else quoted.end())
        after = (None, None, None if close < 0 else text[close + 3 :])
        if close < 0:
            if not text.endswith(">"):
                return None
            close = len(text) - 1
    if not _is_optional_text(after[2]) or _QUOTED_END.search(after[2] or ""):
        return None
    sender, to, recipient = text[at + 8 : close].partition("> to=<")
    if is_begun(sender) or is_begun(recipient):
        return None
    return (sender, recipient if to else None, *after)


def _origin(text: str, at: int) -> re.Match[str] | None:
    """Read ` from ORIGIN` in front of `at`."""
    start = text.rfind(_FROM, 0, at)
    return _ORIGIN.fullmatch(text, start + len(_FROM), at) if start >= 0 else None


_Suits = Callable[[re.Match[str], _Groups], bool]


def of_check(origin: re.Match[str], groups: _Groups) -> bool:
    """Tell whether a header check logs such a context: smtpd and qmqpd hand over a client with its protocol."""
    return origin[1] is None or groups[2] is not None


def of_mime_error(origin: re.Match[str], groups: _Groups) -> bool:
    """Tell whether a MIME error has such a context: both addresses and nothing else."""
    return groups[1] is not None and groups[2:] == (None, None, None)


def _action_readings(
    text: str, places: list[int], read: _Reader, suits: _Suits
) -> Iterator[tuple[re.Match[str], _Groups]]:
    for at in places:
        origin = _origin(text, at)
        groups = read(text, at) if origin is not None else None
        if origin is not None and groups is not None and suits(origin, groups):
            yield origin, groups


def _text_length(reading: tuple[re.Match[str], _Groups]) -> int:
    return len(reading[1][4] or "")


def _origin_and_context(text: str, cut: bool, suits: _Suits) -> tuple[re.Match[str], _Groups] | None:
    at = only_place(_ACTION_PLACE, text)
    origin = _origin(text, at) if at is not None else None
    if at is not None and origin is not None:
        if cut:
            # What is left of the context does not matter, but for what the cut may have shortened.
            match = _CUT_ACTION_CONTEXT.fullmatch(text, at)
            groups = match.groups() if match is not None and _is_optional_text(match[5]) else (None,) * 5
            sender, recipient, proto, helo, reason = groups
            return origin, (sender, recipient, proto if helo is not None else None, helo, reason)
        only = _only_action(text, at)
        if only is not None and suits(origin, only):
            return origin, only
    if cut:
        return None
    places = last_places(_ACTION_PLACE, text)
    # A fake context would have the rest of the real one for its TEXT.
    strict = min(_action_readings(text, places, _strict_action, suits), key=_text_length, default=None)
    return strict or next(_action_readings(text, places, _raw_action, suits), None)


def split_origin(fields: Fields, text: str, line: str, suits: _Suits) -> tuple[str, str | None] | None:
    """Split `CONTENT from ORIGIN; from=<S> to=<R> proto=P helo=<H>: TEXT`, storing origin and context.

    Give the content and the optional TEXT; None, with nothing stored, when no place reads like an origin, or when it
    cannot be told which does. `line` is the whole one, `suits` one of the two above.
    """
    reading = _origin_and_context(text, is_cut(line), suits)
    if reading is None:
        return None
    origin, groups = reading
    fields["origin"] = origin[0]
    hostname, ip, port = origin.groups()
    if hostname is not None:
        fields["client_hostname"] = hostname
        fields["client_ip"] = ip
        if port is not None:
            fields["client_port"] = int(port)
    for name, value in zip(_NAMES[:4], groups[:4], strict=True):
        if value is not None:
            fields[name] = value
    return text[: origin.start() - len(_FROM)], groups[4]
