"""Who logs: Postfix's programs and its neighbours, by the identifiers they log under.

Takes a syslog identifier, gives what it means. Knows no line's text, so that what only asks for names need not load
the grammars.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

# Programs of Postfix 3.0 to 3.12 that log (libexec/master.cf and the commands; `nqmgr` is qmgr's name before 2.2).
PROGRAMS: Final = frozenset(
    """
    anvil bounce cleanup discard dnsblog error flush lmtp local master nqmgr oqmgr pickup pipe post-install postalias
    postcat postconf postdrop postfix postfix-script postfix-tls-script postfix-wrapper postkick postlock postlog
    postlogd postmap postmulti postmulti-script postqueue postscreen postsuper posttls-finger proxymap qmgr qmqpd
    scache sendmail showq smtp smtpd spawn tlsmgr tlsproxy trivial-rewrite verify virtual
    """.split()
)

# Scripts that log by `postlog -t NAME`, here under names without syslog_name.
_BARE: Final = frozenset({"postfix-script", "postfix-tls-script", "postfix-wrapper", "postmulti-script"})

# As Debian's packages log. postfix-policyd-spf-perl calls itself postfix/policy-spf, and is no Postfix.
DEFAULT_IDENTIFIERS: Final[dict[str, list[str]]] = {
    "dovecot": ["dovecot"],
    "rspamd": ["rspamd"],
    "amavis": ["amavis", "amavisd"],
    "opendkim": ["opendkim"],
    "opendmarc": ["opendmarc"],
    "postgrey": ["postgrey"],
    "policyd-spf": ["policyd-spf", "policyd-spf-perl", "postfix/policy-spf"],
}

NEIGHBOURS: Final = frozenset(DEFAULT_IDENTIFIERS)


def split_identifier(identifier: str) -> dict[str, Any] | None:
    """Split `postfix-out/submission/smtpd` into instance, service and component; None when it is not Postfix's."""
    if identifier in _BARE:
        return {"action": "unknown", "instance": "postfix", "component": identifier}
    parts = identifier.split("/")
    if not (parts[0].startswith("postfix") or (len(parts) > 1 and parts[-1] in PROGRAMS)):
        return None
    fields = {"action": "unknown", "instance": parts[0] or "postfix", "component": parts[-1]}
    service = "/".join(parts[1:-1])
    if service:
        fields["service"] = service
    return fields


def identifier_map(identifiers: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Give the neighbour of each identifier.

    >>> identifier_map({"amavis": ["amavis", "amavisd"]})
    {'amavis': 'amavis', 'amavisd': 'amavis'}
    """
    return {identifier: name for name, own in identifiers.items() for identifier in own}
