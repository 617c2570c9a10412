r"""Dovecot's LMTP server, its delivery agent and Sieve: what became of a mail behind Postfix's `status=sent`.

Takes nothing, gives `ENTRIES`. Sources (2.3.19 and 2.4.1): the prefix `SERVICE(USER)<PID><SESSION>: ` is
mail_log_prefix (src/lib-storage/mail-storage-settings.c), `msgid=…: ` deliver_log_format
(src/lib-lda/lda-settings.c); the texts are those of mail_deliver_save (src/lib-lda/mail-deliver.c),
mail_send_rejection (src/lib-lda/mail-send.c), lmtp_proxy_data_cb (src/lmtp/lmtp-proxy.c), and of Pigeonhole's
act_store_log_status (src/lib-sieve/sieve-actions.c), act_discard_execute, act_redirect_commit, act_reject_commit,
act_vacation_commit. The session is that of the reply to Postfix (`250 2.0.0 <user> SESSION Saved`,
lmtp_local_default_do_deliver), with `:T2` for a further mail of a connection and `:R2` for a further recipient.

A message-id has 200 bytes of the sender's choice, blanks and colons too, and stands before the text that counts. So
the text counts only if none but one of Dovecot's sayings is in the line, and that to the line's end; else it is `noted`
as a whole. Users are those that the password database has.
"""

from __future__ import annotations

import re

from ..grammar import Fields, entry
from ..tokens import compiled

_SERVICES = "lmtp lda"

# 2.3 and newer; and 2.2's `lmtp(PID, USER): SESSION: `, where either may be missing.
_SESSION = r"[A-Za-z0-9+/=]{6,64}(?::[A-Z]?[0-9]{1,9})*"
_NEW = rf"\(([^()<>]*)\)<[0-9]*><({_SESSION})?>: "
_OLD = rf"\((?:[0-9]{{1,10}}+(?:, )?)?([^()<>, ]*+)\): (?:({_SESSION}): )?"
_SEVERITY = "(?:(?:Debug|Info|Warning|Error|Fatal|Panic): )?"

_SAYINGS = {
    "saved": "saved mail to ",
    "stored": "stored mail into mailbox |left message in mailbox ",
    "save_failed": "save failed to open mailbox |save failed to |failed to store into mailbox ",
    "discarded": "[Mm]arked message to be discarded if not explicitly delivered",
    "forwarded": "forwarded to <",
    "rejected": "rejected message from <",
    "replied": "sent vacation response to <",
    "noted": (
        "not (?:sending|forwarding) |discard(?:ed|ing) (?:duplicate|vacation) |store into mailbox |failed to "
        "|reject action aborted|Auto-submitted message discarded|Return-Path missing|Invalid postmaster_address"
        "|(?:Temporarily|Permanently) failed to send|sent (?:notification|report)|sending notification"
        "|[Cc]reated mailbox "
    ),
}
_SAYING = compiled(
    "(?:^|: )(?:[a-z][a-z0-9-]{0,30} action: )?(?:"
    + "|".join(f"(?P<{action}>{saying})" for action, saying in _SAYINGS.items())
    + ")"
)
_QUOTED_MAILBOX = "'(?P<mailbox>[^']*)'(?: \\([^()]*\\))?"
# What must follow to the line's end.
_REST = {
    "saved": compiled("(?P<mailbox>(?:(?!: ).)*)"),
    "stored": compiled(_QUOTED_MAILBOX),
    "save_failed": compiled(f"(?:{_QUOTED_MAILBOX}|(?P<plain>(?:(?!: ).)*)): (?P<reason>.*)"),
    "discarded": compiled(r"(?: \(discard action\))?"),
    "forwarded": compiled("(?P<forwarded_to>[^<>]*)>"),
    "rejected": compiled(r"(?P<sender>[^<>]*)> \(e?reject\)"),
    "replied": compiled("(?P<replied_to>[^<>]*)>"),
}
# A longer one is cut, which no look-up would find (str_sanitize, 200 bytes).
_MESSAGE_ID = compiled(r"(?:sieve: )?msgid=([^ ]{1,199})")
_ABOUT_A_MAIL = compiled("(?:sieve: )?msgid=.*")


def _delivered(fields: Fields, match: re.Match[str]) -> bool:
    """Convert `[sieve: ]msgid=ID: [NAME action: ]SAYING …`."""
    text = match[3]
    sayings = list(_SAYING.finditer(text))
    if not sayings and not _ABOUT_A_MAIL.fullmatch(text):
        return False
    if match[1]:
        fields["user"] = match[1]
    if match[2]:
        fields["session"] = match[2]
    if len(sayings) == 1:
        saying = sayings[0]
        action = saying.lastgroup or "noted"
        rest = _REST[action].fullmatch(text, saying.end()) if action in _REST else None
        message_id = _MESSAGE_ID.fullmatch(text, 0, saying.start())
        if message_id is not None and message_id[1] != "unspecified":
            fields["message_id"] = message_id[1]
        if rest is not None:
            fields["action"] = action
            values = {name: value for name, value in rest.groupdict().items() if value is not None}
            if "plain" in values:
                values["mailbox"] = values.pop("plain")
            fields.update(values)
            return True
        text = text[saying.start() :].removeprefix(": ")
    fields["reason"] = text
    return True


def _proxied(fields: Fields, match: re.Match[str]) -> bool:
    """Convert what the LMTP proxy says of the server behind it."""
    session, how, recipient, relay, response = match.groups()
    if how == "Failed to send":
        fields["action"] = "proxy_failed"
    fields["session"] = session
    fields["recipient"] = recipient
    fields["relay"] = relay
    fields["response"] = response
    return True


def _recipient_failed(fields: Fields, match: re.Match[str]) -> bool:
    fields["recipient"], fields["reason"] = match.groups()
    return True


_SERVER = r"(?:lmtp-server: conn [^<>]*?: )?"

ENTRIES = (
    entry(
        "dovecot.proxied",
        "dovecot",
        "lmtp",
        rf"lmtp\([^()<>]*\): {_SEVERITY}{_SERVER}(?:rcpt [^<> ]*: )?<({_SESSION})>: "
        r"(Sent|Failed to send) message to <([^<>]*)> at ([^ ]+): (.*) \([0-9]+/[0-9]+ at [0-9]+ ms\)",
        _proxied,
        queue_id=False,
    ),
    entry(
        "dovecot.recipient_failed",
        "dovecot",
        "lmtp",
        rf"lmtp\([^()<>]*\): (?:Error|Warning): {_SERVER}rcpt ([^<> :]*): (.*)",
        _recipient_failed,
        queue_id=False,
    ),
    entry(
        "dovecot.noted",
        "dovecot",
        _SERVICES,
        rf"(?:lmtp|lda){_NEW}{_SEVERITY}(.*)",
        _delivered,
        queue_id=False,
    ),
    entry(
        "dovecot.noted",
        "dovecot",
        _SERVICES,
        rf"(?:lmtp|lda){_OLD}{_SEVERITY}(.*)",
        _delivered,
        queue_id=False,
    ),
)
