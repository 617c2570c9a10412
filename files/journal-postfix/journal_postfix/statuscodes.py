"""What an enhanced status code means, in plain words.

Takes a code (`5.1.1`), gives a phrase, or None where neither the code nor its subject is registered. Pure. The codes
are those of IANA's registry "SMTP Enhanced Status Codes" (RFC 3463, and the RFCs named there); the words are our own.
The class digit (2 success, 4 for now, 5 for good) is not repeated: the fate says so. Servers choose codes freely: a
code is what they said, the reply beside it is the evidence.
"""

from __future__ import annotations

from typing import Final

# By subject and detail, the registry's X.subject.detail.
_DETAILS: Final = {
    "0.0": None,  # "other undefined status": says nothing
    "1.0": "something about the address",
    "1.1": "there is no such mailbox at the destination",
    "1.2": "the destination's domain does not exist or takes no mail",
    "1.3": "the address is not written correctly",
    "1.4": "the address fits more than one mailbox",
    "1.5": "the address is valid",
    "1.6": "the mailbox has moved, and no new address is known",
    "1.7": "the sender's address is not written correctly",
    "1.8": "the sender's domain does not exist or cannot receive replies",
    "1.9": "the address was taken, but handed on to a system that reports no delivery",
    "1.10": "the recipient's domain declares that it takes no mail (null MX)",
    "2.0": "something about the mailbox",
    "2.1": "the mailbox is disabled",
    "2.2": "the mailbox is full",
    "2.3": "the mail is larger than the mailbox takes",
    "2.4": "the mailing list could not be expanded",
    "3.0": "something about the destination's mail system",
    "3.1": "the destination's mail system is full",
    "3.2": "the destination's mail system takes no mail at present",
    "3.3": "the destination's mail system lacks a feature that the mail needs",
    "3.4": "the mail is larger than the destination's system takes",
    "3.5": "the mail system is not configured correctly",
    "3.6": "the priority that was asked for was changed",
    "4.0": "something about the network or the way there",
    "4.1": "the destination did not answer",
    "4.2": "the connection was bad or broke",
    "4.3": "a directory or name server could not be asked",
    "4.4": "no way to the destination is known",
    "4.5": "the network or the destination is too busy",
    "4.6": "the mail went in a circle",
    "4.7": "it could not be delivered within the time allowed",
    "5.0": "something about the SMTP dialogue",
    "5.1": "a command out of order or not supported",
    "5.2": "a command was not understood",
    "5.3": "too many recipients at once",
    "5.4": "a command had parameters that are not valid",
    "5.5": "the two servers speak different versions of the protocol",
    "5.6": "the authentication data was too long",
    "6.0": "something about the mail's content",
    "6.1": "the content is of a kind that is not supported",
    "6.2": "the content would have to be converted, which is not allowed",
    "6.3": "the content would have to be converted, which is not possible",
    "6.4": "the content was converted with loss",
    "6.5": "the content could not be converted",
    "6.6": "the content is not available",
    "6.7": "the addresses need UTF-8, which the destination does not support",
    "6.8": "the reply would need UTF-8",
    "6.9": "the headers need UTF-8, which the destination does not support",
    "6.10": "the addresses need UTF-8, and no other one is known",
    "7.0": "policy: refused, or not yet taken (security, spam, greylisting)",
    "7.1": "refused by policy (not authorized)",
    "7.2": "the sender may not write to this mailing list",
    "7.3": "it would have to be decrypted or converted, which is not possible",
    "7.4": "a security feature is not supported",
    "7.5": "an encryption or signature failed",
    "7.6": "an encryption or signature algorithm is not supported",
    "7.7": "the content was changed on its way",
    "7.8": "the login was refused: wrong user name or password",
    "7.9": "the login method is too weak",
    "7.10": "encryption is required",
    "7.11": "encryption is required for this login method",
    "7.12": "the password must be changed first",
    "7.13": "the account is disabled",
    "7.14": "a trust relationship is missing",
    "7.15": "the priority is too low",
    "7.16": "the mail is too large for its priority",
    "7.17": "the mailbox has another owner than it had",
    "7.18": "the domain has another owner than it had",
    "7.19": "the test for a changed owner cannot be done",
    "7.20": "no DKIM signature passed",
    "7.21": "no acceptable DKIM signature",
    "7.22": "no DKIM signature of the author's domain",
    "7.23": "SPF: the sender's domain does not allow this server",
    "7.24": "SPF could not be checked",
    "7.25": "the client's address has no valid name (reverse DNS)",
    "7.26": "the sender's domain is not authenticated (SPF, DKIM or DMARC)",
    "7.27": "the sender's domain declares that it takes no mail (null MX)",
    "7.28": "too much mail: a flood is suspected",
    "7.29": "the ARC signatures are not valid",
    "7.30": "the mail requires TLS all the way (REQUIRETLS), which is not possible",
}

_SUBJECTS: Final = {
    "1": "something about the address",
    "2": "something about the mailbox",
    "3": "something about the destination's mail system",
    "4": "something about the network or the way there",
    "5": "something about the SMTP dialogue",
    "6": "something about the mail's content",
    "7": "policy or security",
}


def meaning(code: str | None) -> str | None:
    """Say what a code means.

    >>> meaning("5.1.1"), meaning("4.2.99"), meaning("5.0.0"), meaning("2.0.0")
    ('there is no such mailbox at the destination', 'something about the mailbox', None, None)
    """
    if code is None:
        return None
    _, _, rest = code.partition(".")
    if rest in _DETAILS:
        return _DETAILS[rest]
    return _SUBJECTS.get(rest.partition(".")[0])
