"""Keys: a request that is sent again, because no answer came, is answered again and not done again.

The sender draws an `Idempotency-Key` for each thing that it wants done (draft-ietf-httpapi-idempotency-key-header). In
one transaction with what was asked the key is kept, with a digest of the request and the answer: the same key with the
same request gives the same answer again, with another request 422. Only what was taken is kept: what was refused
changed nothing, and is looked at again. A key belongs to the token that sent it.

Bounds: a key has MAX_KEY_CHARS, is kept KEPT_US, and MAX_KEYS are kept, MAX_OF_ONE of one token; beyond that a new one
is refused, with 503 or 429, rather than an old one forgotten early.
"""

from __future__ import annotations

from typing import Final

import msgspec

from cloud.problem import Problem, too_many, unavailable
from cloud.times import SECOND_US
from wire.time import Micros

MAX_KEY_CHARS: Final = 200
MAX_KEYS: Final = 200_000
MAX_OF_ONE: Final = 120_000
KEPT_US: Final = Micros(25 * 3_600 * SECOND_US)
HEADER: Final = "Idempotency-Key"


class Answered(msgspec.Struct, frozen=True):
    """A response as it was sent, to be sent again."""

    status: int
    body: bytes


class Keyed(msgspec.Struct, frozen=True):
    """A key within its token, and the digest of what was asked with it."""

    key: str
    digest: bytes

    @property
    def token(self) -> str:
        """The id of the token that it belongs to."""
        return self.key.partition(" ")[0]


def no_more(kept: int) -> Problem:
    """So many are kept that no new one is taken."""
    return unavailable(f"{kept} keys of the last day are kept; no more are taken", 600)


def no_more_of_one() -> Problem:
    """So many are kept of one token."""
    return too_many(f"{MAX_OF_ONE} keys of the last day are kept for this token; no more are taken", 600)


def used() -> Problem:
    """The key was used for another request."""
    return Problem(
        422, "key-used", f"this {HEADER} was used for another request; draw a new one for each thing to be done"
    )
