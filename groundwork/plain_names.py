"""Plain names: texts that look like what they are, wherever they are shown, sorted or compared.

An id or a name is none that holds control characters, characters that turn the direction of what stands beside them
(Unicode, annex 9, section 2: embeddings, overrides, isolates), or others that cannot be seen; that begins or ends with
a space; or that is not in Unicode's normal form C, in which two texts that look the same are the same.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSEEN: Final = frozenset({"Cc", "Cs", "Cn", "Zl", "Zp"})
_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_EMPTY: Final = frozenset("\u00ad\u200b\u2060\ufeff")


def why_not_plain(text: str) -> str | None:
    """Say in words what is wrong with a name, and what is right; None where it is plain. An empty one is plain."""
    if text.isascii():  # nearly all of them
        if not text.isprintable():
            at = next(i for i, c in enumerate(text) if not c.isprintable())
            return f"has the control character U+{ord(text[at]):04X} at character {at + 1}: leave it out"
    else:
        for at, c in enumerate(text):
            if c in _TURNING:
                return f"has U+{ord(c):04X} at character {at + 1}, which turns the direction of the text: leave it out"
            if c in _EMPTY or unicodedata.category(c) in _UNSEEN:
                return f"has U+{ord(c):04X} at character {at + 1}, which cannot be seen: leave it out"
        if not unicodedata.is_normalized("NFC", text):
            right = unicodedata.normalize("NFC", text)
            return f"is not in Unicode's normal form C: write {right[:100]!r}, with {len(right)} characters"
    return "begins or ends with a space: leave it out" if text != text.strip() else None
