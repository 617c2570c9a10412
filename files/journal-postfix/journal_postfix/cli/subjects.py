"""Subjects as their writers meant them: the encoded words of RFC 2047 in readable letters.

Takes a header's text as Postfix logged it, gives text to be shown (by text.escape, like all that comes from outside).
What is cut off, damaged, or in a character set that is not listed stays as it is.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

# Of Python's codecs only those that mails are written in: others are slow, or do more than read letters.
_CHARSETS: Final = (
    r"utf-?8|us-ascii|iso-8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|iso-2022-(?:jp|kr)|shift[_-]jis"
    r"|euc-(?:jp|kr)|gb2312|gbk|gb18030|big5"
)
_WORD: Final = rf"=\?(?:{_CHARSETS})(?:\*[a-z-]{{1,20}})?\?[bq]\?[!->@-~]{{0,1000}}\?="
# Blanks between two encoded words only separate them; where a long header was folded Postfix logs a ? before them.
_WORDS_RE: Final = re.compile(rf"{_WORD}(?:\??[ \t]{{1,4}}{_WORD})*", re.ASCII | re.IGNORECASE)
_PARTS_RE: Final = re.compile(r"=\?([^?*]+)[^?]*\?([BbQq])\?([^?]*)\?=")


def readable(text: str) -> str:
    """Decode the encoded words of a header.

    >>> readable("Re: =?utf-8?B?R3LDvMOfZQ==?= =?iso-8859-1?q?_aus_K=F6ln?="), readable("=?utf-8?B?R3L")
    ('Re: Grüße aus Köln', '=?utf-8?B?R3L')
    """
    if "=?" not in text:
        return text
    return _WORDS_RE.sub(lambda words: "".join(_decoded(word) for word in _PARTS_RE.finditer(words[0])), text)


def _decoded(word: re.Match[str]) -> str:
    charset, encoding, data = word.groups()
    try:
        octets = binascii.a2b_base64(data) if encoding in "bB" else binascii.a2b_qp(data.encode("ascii"), header=True)
        return octets.decode(charset, "replace")
    except (ValueError, LookupError):
        return word[0]
