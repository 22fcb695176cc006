"""Codes: which one-time code is right, and which were used (`wire.codes`). Needs no clock and no network. Pure.

What was used lies on the card, under KEY, and goes there with the visit that the code begins: a code whose visit is
told has been used, and no code is used without one. A token that is new begins anew. So does a card that is new or was
put back: then codes that were used since could be used again, as docs/operations.md says.

Bounds: a code is looked for among `wire.codes` AHEAD + BEHIND + 1 counters, some 70 µs each.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec

from wire.codes import AHEAD, BEHIND, DIGITS, code, node_secret, person_secret, token_digest

log = logging.getLogger(__name__)

KEY: Final = "visit/codes"


class Used(msgspec.Struct, frozen=True):
    """`of` is which secret it is about. `top` is the highest counter used; bit n of `below`: top - n was used too."""

    of: bytes
    top: int = 0
    below: int = 1  # no counter is 0

    def has(self, counter: int) -> bool:
        """Whether a counter was used, or lies too far below."""
        back = self.top - counter
        return back >= 0 and (back > BEHIND or bool(self.below >> back & 1))

    def using(self, counter: int) -> Used:
        """What is used once this counter is too."""
        back = self.top - counter
        if back >= 0:
            return Used(self.of, self.top, self.below | 1 << back)
        return Used(self.of, counter, ((self.below << -back) | 1) & ((1 << BEHIND + 1) - 1))


class Codes:
    """Of one node and token."""

    def __init__(self, token: str, kept: Mapping[str, bytes]) -> None:
        """`token` is the node's own; there are no codes for a token of another kind, or for none."""
        digest = token_digest(token)
        self._secret = None if digest is None else node_secret(digest)
        of = b"" if self._secret is None else sha256(self._secret).digest()[:8]
        self._used = Used(of)
        try:
            found = msgspec.msgpack.decode(kept[KEY], type=Used) if KEY in kept else self._used
        except msgspec.DecodeError as error:
            log.error("which codes were used cannot be read; all count as unused: %s", error)  # noqa: TRY400
        else:
            self._used = found if found.of == of else self._used

    @property
    def possible(self) -> bool:
        """Whether this node has a token from which codes are made."""
        return self._secret is not None

    def find(self, name: str, given: str) -> int | None:
        """The counter of a code that is right for this name and unused, or None. Takes some milliseconds.

        Raises:
            ValueError: the name is none.
        """
        if self._secret is None:
            return None
        person = person_secret(self._secret, name)
        digits = "".join(given.split())
        if len(digits) != DIGITS or not digits.isascii() or not digits.isdecimal():
            return None
        used, found = self._used, None
        for counter in range(max(1, used.top - BEHIND), used.top + AHEAD + 1):
            if hmac.compare_digest(code(person, counter), digits) and not used.has(counter) and found is None:
                found = counter
        return found

    def using(self, counter: int) -> dict[str, bytes | None]:
        """What must be kept so that this counter is used, together with all that were used before."""
        self._used = self._used.using(counter)
        return {KEY: msgspec.msgpack.encode(self._used)}
