"""Tickets: what the EventSource of a browser brings instead of a token, for it can send no header (WHATWG HTML, 9.2).

A ticket says for which token it stands and until when, signed with HMAC-SHA-256 (RFC 2104) by a key that an aggregator
draws at each start and gives to its reader processes. It opens one stream at each of those processes, within LIFE_US
after it was made: an address is written down in more places than a header is. What it has opened lasts as long as the
token is valid.

Bound: MOST used ones are remembered, each for LIFE_US.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

from cloud.problem import unavailable
from cloud.times import SECOND_US, Now
from wire.time import Micros, Utc

LIFE_US: Final = Micros(30 * SECOND_US)
MOST: Final = 20_000
KEY_BYTES: Final = 32
MAX_CHARS: Final = 200
_MAC_BYTES: Final = 16
_TIME_BYTES: Final = 8
_NONCE_BYTES: Final = 8


def new_key() -> bytes:
    """A key for all processes of one aggregator, until it starts again."""
    return secrets.token_bytes(KEY_BYTES)


class Spent(Exception):
    """A ticket that we have made, and that opens nothing any more; the text says why."""


class Tickets:
    """Of one process."""

    def __init__(self, key: bytes, now: Now) -> None:
        self._key, self._now = key, now
        self._used: dict[bytes, Utc] = {}  # until when, the first to end first

    def make(self, token_id: str) -> tuple[str, Utc]:
        """A ticket for a token, and until when it opens a stream."""
        until_us = Utc(self._now() + LIFE_US)
        said = until_us.to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_NONCE_BYTES) + token_id.encode()
        return base64.urlsafe_b64encode(self._mac(said) + said).rstrip(b"=").decode(), until_us

    def use(self, ticket: str) -> str | None:
        """The id of the token for which a ticket stands, which is used with that; None where it is none of ours.

        Raises:
            Spent: it was used here before, or is over.
            Problem: too many are remembered.
        """
        if len(ticket) > MAX_CHARS:
            return None
        try:
            raw = base64.b64decode(ticket + "=" * (-len(ticket) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        mac, said = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(said)):
            return None
        now_us, until_us = self._now(), Utc(int.from_bytes(said[:_TIME_BYTES], "big"))
        if not now_us < until_us <= now_us + LIFE_US:
            raise Spent(f"the ticket is over; each opens one stream within {LIFE_US // SECOND_US} s. Ask for another")
        self._forget(now_us)
        if said in self._used:
            raise Spent("the ticket was used; each opens one stream. Ask for another")
        if len(self._used) >= MOST:
            raise unavailable(f"{MOST} tickets were used within {LIFE_US // SECOND_US} s", LIFE_US // SECOND_US)
        self._used[said] = until_us
        return said[_TIME_BYTES + _NONCE_BYTES :].decode()

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, hashlib.sha256)[:_MAC_BYTES]

    def _forget(self, now_us: Utc) -> None:
        """Those that are over, or end later than any can: then the clock was set back, and they are over too."""
        for said, until_us in list(self._used.items()):
            if now_us < until_us <= now_us + LIFE_US:
                break
            del self._used[said]
