"""What other programs of a mail server log about the same mail: Dovecot, filters, milters, policy servers.

Takes nothing, gives `ENTRIES` (their components are the neighbours' names: programs.py).
Their lines have no Postfix instance. Which syslog identifiers are whose is configured, for any of these programs can
log under another name. A line that tells nothing about a mail (log-ins, start-up) is `other`; one that surely tells
something but in a form that is not known is `unknown`.

Here as in Postfix's own lines senders choose message-ids, addresses, header domains and mailbox names. Each grammar
reads from the side where only the program writes. Where a text could also be the mark behind which an element stands,
the element is left out rather than guessed.
"""

from __future__ import annotations

from ..grammar import Entry
from .amavis import ENTRIES as AMAVIS
from .dovecot import ENTRIES as DOVECOT
from .opendkim import ENTRIES as OPENDKIM
from .opendmarc import ENTRIES as OPENDMARC
from .postgrey import ENTRIES as POSTGREY
from .rspamd import ENTRIES as RSPAMD
from .spf import ENTRIES as SPF

ENTRIES: tuple[Entry, ...] = (*DOVECOT, *RSPAMD, *AMAVIS, *OPENDKIM, *OPENDMARC, *POSTGREY, *SPF)
