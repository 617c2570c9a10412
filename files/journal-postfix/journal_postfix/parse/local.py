"""local(8) and virtual(8): why a mailbox, an alias or a list does not work.

Takes nothing, gives `ENTRIES`. The status line of the same process follows.
"""

from __future__ import annotations

from .grammar import entry, named

_REASONS = (
    "required alias not found: .*",
    'mailing list ".*" needs an .*',
    "alias database loop for .*",
    "maildir access problem for UID/GID=.*",
    "perhaps you need to create the maildirs in advance",
    'specify "strict_mailbox_ownership = no" .*',
    "no recipient in alias lookup result for .*",
    "file .* (?:has bad owner|is world writable).*",
    "(?:unable to lookup |open |bad )?:include: .*",
)

ENTRIES = (
    entry(
        "local.warn",
        "local virtual",
        "",
        rf"({'|'.join(_REASONS)})",
        named("reason"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "local.extension",
        "local",
        "address",
        r"address with illegal extension: (.*)",
        named("local_part"),
        severe=True,
    ),
    # The address, in the internal form, may hold such words; what is behind Postfix's own is configuration.
    entry(
        "virtual.warn",
        "virtual",
        "recipient",
        r"recipient (.*): "
        r"((?:not found|bad [ug]id .*) in virtual_[ug]id_maps|destination .* is not a regular file|bad mailbox path.*)",
        named("recipient", "reason"),
        queue_id=None,
        severe=True,
    ),
)
