"""Read one log line of Postfix or a neighbour: `parse(identifier, message)`, pure, total and in bounded time.

Takes the identifier (`postfix/submission/smtpd`) and the text that Postfix logged, gives a dict with `action` and every
syntactic element under the name that the manual gives it. Never raises, never looks at a clock, a file or another line.

How it goes: the identifier's last part names the component; the head of the text (severity, queue id, first word)
chooses among the component's grammar entries; the first entry whose pattern takes the *whole* text converts the groups.
An entry without a fitting line costs nothing, and a new kind of line is a new entry in the module of its component.

Text that others chose (addresses, HELO names, header text, replies of remote servers) stands between marks that
Postfix wrote. Each grammar reads from the side where only Postfix writes: a status line from the front, a reject's
context and a header check's origin from the end. What cannot be told apart is listed in the modules that have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..programs import DEFAULT_IDENTIFIERS, identifier_map, split_identifier
from .bounce import ENTRIES as BOUNCE
from .cleanup import ENTRIES as CLEANUP
from .delivery import ENTRIES as DELIVERY
from .engine import Parser, build_parser
from .grammar import Entry
from .local import ENTRIES as LOCAL
from .neighbours import ENTRIES as NEIGHBOUR_ENTRIES
from .pickup import ENTRIES as PICKUP
from .postscreen import ENTRIES as POSTSCREEN
from .postsuper import ENTRIES as POSTSUPER
from .qmgr import ENTRIES as QMGR
from .qmqpd import ENTRIES as QMQPD
from .queue import ENTRIES as QUEUE
from .smtp import ENTRIES as SMTP
from .smtpd import ENTRIES as SMTPD
from .system import ENTRIES as SYSTEM
from .tls import ENTRIES as TLS
from .tls import SUMMARY
from .verbose import ENTRIES as VERBOSE

__all__ = ["ENTRIES", "NEIGHBOUR_ENTRIES", "Parser", "parse", "parser_for", "split_identifier"]

# The order matters only between entries that can read the same line: the more special one comes first.
ENTRIES: tuple[Entry, ...] = (
    SUMMARY,
    *SMTPD,
    *QMQPD,
    *PICKUP,
    *CLEANUP,
    *QMGR,
    *DELIVERY,
    *SMTP,
    *BOUNCE,
    *POSTSUPER,
    *QUEUE,
    *LOCAL,
    *POSTSCREEN,
    *TLS,
    *SYSTEM,
    *VERBOSE,
)

parse: Parser = build_parser(ENTRIES, NEIGHBOUR_ENTRIES, identifier_map(DEFAULT_IDENTIFIERS))


def parser_for(neighbours: Mapping[str, Iterable[str]]) -> Parser:
    """Give `parse` for neighbours that log under these identifiers (name → identifiers), as the settings have them."""
    if neighbours == DEFAULT_IDENTIFIERS:
        return parse
    return build_parser(ENTRIES, NEIGHBOUR_ENTRIES, identifier_map(neighbours))
