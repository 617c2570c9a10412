"""OpenDKIM: what it signed, and what it found when it checked.

Takes nothing, gives `ENTRIES`. Source (2.11): opendkim/opendkim.c, mlfi_eom for the results and the signature added,
dkimf_libstatus for failures, dkimf_log_ssl_errors for the `s=… d=… a=… SSL …` lines. Every line about a mail begins
with its queue id. Selectors and domains are the signer's, and have no blanks.
"""

from __future__ import annotations

import re

from ..grammar import Convert, Fields, entry, named

_COMPONENT = "opendkim"
_TAG = "[^ ,;()]+"


def _result(word: str, *names: str) -> Convert:
    """Give the converter that states the result and stores the pattern's groups under `names`."""
    put = named(*names)

    def convert(fields: Fields, match: re.Match[str]) -> bool:
        fields["result"] = word
        return put(fields, match)

    return convert


ENTRIES = (
    entry(
        "opendkim.dkim",
        _COMPONENT,
        "DKIM-Signature",
        rf"DKIM-Signature field added \(s=({_TAG}), d=({_TAG})\)",
        _result("signed", "selector", "domain"),
    ),
    entry("opendkim.dkim", _COMPONENT, "DKIM", "DKIM verification successful", _result("pass")),
    entry("opendkim.dkim", _COMPONENT, "bad", "bad signature data", _result("fail")),
    entry("opendkim.dkim", _COMPONENT, "no", "no signature data", _result("none")),
    entry(
        "opendkim.dkim",
        _COMPONENT,
        "key",
        rf"(key (?:revoked|retrieval failed))(?: \(s=({_TAG}), d=({_TAG})(?:, a={_TAG})?\))?(?:: .*)?",
        _result("error", "reason", "selector", "domain"),
    ),
    entry(
        "opendkim.dkim",
        _COMPONENT,
        "signature",
        rf'signature=[^ ]* domain=({_TAG}) selector=({_TAG}) result="([^"]*)"',
        named("domain", "selector", "result"),
    ),
    entry(
        "opendkim.noted",
        _COMPONENT,
        "s",
        rf"s=({_TAG}) d=({_TAG})(?: a={_TAG})? SSL ?(.+)?",
        named("selector", "domain", "reason"),
    ),
    entry("opendkim.noted", _COMPONENT, "", "(.*)", named("reason")),
)
