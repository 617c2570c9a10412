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
the cut may have shortened: better no element than a wrong one.

Postfix <= 3.4 (or info_log_address_format = internal) logs addresses unquoted; only when nothing else reads are they
taken as they stand. (Such an address that holds a whole context with a user's name reads like a login name of a newer
Postfix that holds the end of one, and the log alone cannot tell; the newer one is believed.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .grammar import Fields
from .tokens import ADDRESS, DSN, HELO, PROTO, QUOTED_LOCAL, XTEXT, compiled, is_cut, last_places, only_place

# log_whatsup() (src/smtpd/smtpd_check.c): each part brings its own leading blank; smtpd always has a protocol.
_SASL = rf"(?: sasl_method=([^ ]++))?(?: sasl_username=(.*?))?(?: sasl_sender={XTEXT})?"
_CONTEXT = compiled(rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)? proto={PROTO}(?: helo=<{HELO}>)?{_SASL}")
# smtpd's milters and proxy filters put the user name in angle brackets and name no mechanism
# (src/smtpd/smtpd_milter.c, src/smtpd/smtpd_proxy.c).
_BRACKETED_CONTEXT = compiled(
    rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)? proto={PROTO}(?: helo=<{HELO}>)?(?: sasl_username=<(.*)>)?"
)
# cleanup's milters see local mail, too, which has no protocol, and know nothing of SASL
# (src/cleanup/cleanup_milter.c).
_CLEANUP_CONTEXT = compiled(rf";(?: from=<{ADDRESS}>)?(?: to=<{ADDRESS}>)?(?: proto={PROTO})?(?: helo=<{HELO}>)?")
_AFTER_ADDRESSES = compiled(rf" proto={PROTO}(?: helo=<{HELO}>)?{_SASL}")
_Groups = tuple[str | None, ...]
_Reader = Callable[[str, int], _Groups | None]
_NAMES = ("sender", "recipient", "proto", "helo", "sasl_method", "sasl_username", "sasl_sender")

_PLACE = compiled("; (?=from=<|to=<|proto=|helo=<)")

# "CODE DSN text" of a reply; milter replies of several lines have `-` behind the code. cleanup logs the DSN alone.
_REPLY = compiled(rf"(?:([2-5][0-9][0-9])[ -])?(?:{DSN}(?: |\Z))?(.*)")

# A header check's origin: cleanup's smtp client, or `local` for pickup, bounce and forwarded mail, or `unknown`.
_ORIGIN = compiled(r"(?:([^ \[\]]++)\[([^ \[\]]++)\](?::(?:([0-9]{1,5}+)|unknown))?|local|unknown)")
_ACTION_CONTEXT = compiled(rf"; from=<{ADDRESS}>(?: to=<{ADDRESS}>)?(?: proto={PROTO})?(?: helo=<{HELO}>)?(?:: (.*))?")
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


def _unbracketed(groups: _Groups) -> _Groups:
    """Take the angle brackets from a user name without a mechanism: a milter's plain `reject:` is told by these."""
    method, user, sender = groups[4:]
    if method is None and user is not None and user[:1] == "<" and user[-1:] == ">":
        return (*groups[:5], user[1:-1], sender)
    return groups


def _raw_context(text: str, at: int) -> _Groups | None:
    """Read the context at `at` with unquoted addresses: everything between `from=<` and the last `> proto=`."""
    close = text.rfind("> proto=", at)
    if close < 0:
        return None
    rest = _AFTER_ADDRESSES.fullmatch(text, close + 1)
    if rest is None or not _is_username(rest[4]):
        return None
    addresses = text[at + 1 : close]
    if addresses.startswith(" to=<"):
        return _unbracketed((None, addresses[5:], *rest.groups()))
    if not addresses.startswith(" from=<"):
        return None
    sender, to, recipient = addresses[7:].partition("> to=<")
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


_SMTPD_READERS: tuple[_Reader, ...] = (_strict_context, _any_user_context, _raw_context)
_FILTER_READERS: tuple[_Reader, ...] = (_bracketed_context, _any_bracketed_context, _raw_context)
_CLEANUP_READERS: tuple[_Reader, ...] = (_cleanup_context, _raw_context)


def _only_context(read: _Reader, text: str) -> tuple[int, _Groups] | None:
    """Read the context of a line that was cut, which must have one place for it, without what has no end of its own."""
    at = only_place(_PLACE, text)
    groups = read(text, at) if at is not None else None
    if at is None or groups is None:
        return None
    sender, recipient, proto, helo = groups[:4]
    return at, (sender, recipient, proto if helo is not None else None, helo, None, None, None)


def _last_context(readers: tuple[_Reader, ...], text: str) -> tuple[int, _Groups] | None:
    """Read the last context that reads, by the strictest reader that reads any."""
    places = last_places(_PLACE, text)
    return next(((at, groups) for read in readers for at in places if (groups := read(text, at))), None)


def split_context(fields: Fields, text: str, line: str) -> str:
    """Store the elements of the context at the end of `text`, and give the text before it; all of it if there is none.

    The line's component and action, which must be stored before, tell who wrote the context. `line` is the whole one.
    """
    if fields["component"] == "cleanup":
        readers = _CLEANUP_READERS
    elif fields["action"].startswith(("milter-", "proxy-")):
        readers = _FILTER_READERS
    else:
        readers = _SMTPD_READERS
    # The line's last `; ` nearly always is the place.
    at = text.rfind("; ")
    if at < 0:
        return text.removesuffix(";")
    cut = is_cut(line)
    groups = readers[0](text, at) if not cut else None
    if groups is None:
        found = _only_context(readers[0], text) if cut else _last_context(readers, text)
        # An error of the server itself has no context, and in a line that was cut at 2000 bytes it is gone; what is
        # left ends with the text's own `;` when the cut fell behind it.
        if found is None:
            return text.removesuffix(";")
        at, groups = found
    for name, value in zip(_NAMES, groups, strict=True):
        if value is not None:
            fields[name] = value
    return text[:at]


def put_reply(fields: Fields, text: str) -> None:
    """Store a reply's SMTP code and enhanced status code, where there are any, and the rest as `reason`."""
    match = _REPLY.fullmatch(text)
    assert match is not None  # every part is optional
    code, dsn, reason = match.groups()
    if code is not None:
        fields["smtp_code"] = int(code)
    if dsn is not None:
        fields["dsn"] = dsn
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
    text = split_context(fields, text, match.string)
    if action in _REPLIES:
        put_reply(fields, text)
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
    return (sender, recipient if to else None, *after)


def _origin(text: str, at: int) -> re.Match[str] | None:
    """Read ` from ORIGIN` in front of `at`."""
    start = text.rfind(_FROM, 0, at)
    return _ORIGIN.fullmatch(text, start + len(_FROM), at) if start >= 0 else None


def _action_readings(text: str, places: list[int], read: _Reader) -> Iterator[tuple[re.Match[str], _Groups]]:
    for at in places:
        origin = _origin(text, at)
        groups = read(text, at) if origin is not None else None
        if origin is not None and groups is not None:
            yield origin, groups


def _text_length(reading: tuple[re.Match[str], _Groups]) -> int:
    return len(reading[1][4] or "")


def _origin_and_context(text: str, cut: bool) -> tuple[re.Match[str], _Groups] | None:
    at = only_place(_ACTION_PLACE, text)
    origin = _origin(text, at) if at is not None else None
    if at is not None and origin is not None:
        groups = _only_action(text, at)
        if cut:
            # What is left of the context does not matter, but for what the cut may have shortened.
            sender, recipient, proto, helo, reason = groups or (None,) * 5
            return origin, (sender, recipient, proto if helo is not None else None, helo, reason)
        if groups is not None:
            return origin, groups
    if cut:
        return None
    places = last_places(_ACTION_PLACE, text)
    # A fake context would have the rest of the real one for its TEXT.
    strict = min(_action_readings(text, places, _strict_action), key=_text_length, default=None)
    return strict or next(_action_readings(text, places, _raw_action), None)


def split_origin(fields: Fields, text: str, line: str) -> tuple[str, str | None] | None:
    """Split `CONTENT from ORIGIN; from=<S> to=<R> proto=P helo=<H>: TEXT`, storing origin and context.

    Give the content and the optional TEXT; None, with nothing stored, when no place reads like an origin, or when it
    cannot be told which does. `line` is the whole one.
    """
    reading = _origin_and_context(text, is_cut(line))
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
