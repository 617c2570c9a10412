"""What a neighbour's parsed line means for the table neighbour_event.

Takes a parsed line of Dovecot, Rspamd, amavis, OpenDKIM, OpenDMARC, Postgrey or an SPF policy server; gives the columns
of its row, or None where it tells nothing about a mail. Pure. Which mail it is about is decided at look-up (the view
mail_neighbour): a neighbour's line can come before or after Postfix's, and from another file.
"""

from __future__ import annotations

from typing import Any, Final

from .extract import NOQUEUE, Parsed, inet

COLUMNS: Final = (
    "program",
    "action",
    "queue_id",
    "message_id",
    "session",
    "sender",
    "recipient",
    "client_ip",
    "mailbox",
    "result",
    "score",
    "required_score",
    "next_queue_id",
    "detail",
)

# Rspamd names every rule that fired, with what of the mail it fired at.
MAX_SYMBOLS: Final = 2000

_SILENT: Final = frozenset({"other", "unknown"})


def neighbour_columns(parsed: Parsed) -> tuple[Any, ...] | None:
    """Give the values of COLUMNS; None for a line that is not about a mail."""
    action = parsed["action"]
    if action in _SILENT:
        return None
    get = parsed.get
    queue_id = get("queue_id")
    return (
        parsed["component"],
        action,
        None if queue_id == NOQUEUE else queue_id,
        get("message_id"),
        get("session"),
        get("sender"),
        get("recipient", get("user") if parsed["component"] == "dovecot" else None),
        inet(get("client_ip")),
        get("mailbox"),
        get("verdict") or get("result"),
        get("score"),
        get("required_score"),
        get("next_queue_id"),
        _detail(parsed),
    )


def _detail(parsed: Parsed) -> str | None:
    get = parsed.get
    if "symbols" in parsed:
        symbols: str = parsed["symbols"]
        return (symbols if len(symbols) <= MAX_SYMBOLS else symbols[:MAX_SYMBOLS] + "…") or None
    parts = [
        get("forwarded_to"),
        get("replied_to"),
        f"{parsed['relay']}: {parsed['response']}" if "relay" in parsed else None,
        # Beside a verdict the result is what was done.
        get("result") if "verdict" in parsed else None,
        " ".join(str(parsed[name]) for name in ("smtp_code", "dsn") if name in parsed) or None,
        get("reason"),
        f"waited {parsed['delay']} s" if parsed["action"] == "greylist" and "delay" in parsed else None,
        f"selector {parsed['selector']}" if "selector" in parsed else None,
        f"domain {parsed['domain']}" if "domain" in parsed else None,
        f"helo {parsed['helo']}" if get("identity") == "helo" and "helo" in parsed else None,
    ]
    return ", ".join(part for part in parts if part) or None
