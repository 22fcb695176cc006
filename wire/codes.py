"""Codes: what a technician types at the cabinet so that the node lets them act, as both ends work it out. Pure.

Nothing is handed out for it: both ends have what a node's token is checked by, the SHA-256 of its secret.

    node    HMAC-SHA256(SHA-256 of the token's secret, "lamplighter technician code v1")
    person  HMAC-SHA256(node, their name, as `spelled` has it)
    code    HOTP(person, counter) of DIGITS digits (RFC 4226, HMAC-SHA-1), for counters from 1 on

So a code is good for one node, one token, one name and one counter, needs no clock, and ends when the node has another
token. The node takes a counter once, at most AHEAD beyond the highest that was used, and one that was passed over as
long as it is at most BEHIND below that: two technicians may come in another order than they have asked in.

Bounds: a name has MAX_NAME_CHARS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from typing import Final

LABEL: Final = b"lamplighter technician code v1"
DIGITS: Final = 8
AHEAD: Final = 100
BEHIND: Final = 16
MAX_NAME_CHARS: Final = 100
_TOKEN: Final = re.compile(r"lamp_[0-9a-f]{1,40}_([A-Za-z0-9_-]{43})")  # cloud.sqlite.tokens


def token_digest(token: str) -> bytes | None:
    """What the aggregator keeps of a token, worked out from the token; None for a token that is none of its kind."""
    found = _TOKEN.fullmatch(token)
    return None if found is None else hashlib.sha256(base64.urlsafe_b64decode(found[1] + "=")).digest()


def node_secret(digest: bytes) -> bytes:
    """The secret from which all codes of a node follow; `digest` is the SHA-256 of its token's secret."""
    return hmac.digest(digest, LABEL, "sha256")


def spelled(name: str) -> str:
    """A name as it counts: its letters and digits. Case, accents, spaces and dots are mistyped on a phone in the rain.

    Raises:
        ValueError: there is nothing left of it, it is too long, or holds what cannot be shown.
    """
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise ValueError(f"a name has at most {MAX_NAME_CHARS} characters that can be shown")
    letters = "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if c.isalnum())
    if not letters:
        raise ValueError("a name has letters or digits")
    return letters


def person_secret(node: bytes, name: str) -> bytes:
    """The secret of one person at one node.

    Raises:
        ValueError: as `spelled` does.
    """
    return hmac.digest(node, spelled(name).encode(), "sha256")


def code(person: bytes, counter: int) -> str:
    """The code of a counter, DIGITS digits."""
    from pyotp.hotp import HOTP  # only once somebody needs a code: it takes a while to import

    return HOTP(base64.b32encode(person).decode(), digits=DIGITS).at(counter)
