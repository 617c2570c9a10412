"""Variable envelope return paths undone: the sender of a list's mail is the list, not one address per recipient.

Takes an address and the marker that the list software puts before the encoded recipient, gives the address that it was
made of. Pure; an address that is not of this form stays as it is.
"""

from __future__ import annotations


def undo_verp(address: str, marker: str) -> str:
    """Give the address without marker and encoded recipient, in which `=` stands for `@`.

    >>> undo_verp("news+bob=example.org@lists.example.org", "+")
    'news@lists.example.org'
    >>> undo_verp("list+bounces-12-bob=example.org@lists.example.org", "+bounces-")
    'list@lists.example.org'
    >>> undo_verp('"odd list+b@b=example.org"@lists.example.org', "+")
    '"odd list"@lists.example.org'
    >>> [undo_verp(address, "+") for address in ("bob+tag@example.org", "", "+bob=x.example@example.org", "a=b@c.test")]
    ['bob+tag@example.org', '', '+bob=x.example@example.org', 'a=b@c.test']
    """
    local, at, domain = address.rpartition("@")
    if not at:
        return address
    quote = '"' if len(local) > 1 and local[0] == local[-1] == '"' else ""
    bare = local[1:-1] if quote else local
    base, found, recipient = bare.partition(marker)
    user, is_encoded, host = recipient.rpartition("=")
    if not (found and base and user and is_encoded and host):
        return address
    return f"{quote}{base}{quote}@{domain}"
