"""Selector: which devices are meant, in a rule or a plan: those that match everything that is given.

Where several words are given, one of them is enough; * and ? stand for any letters. Bound: MAX_WORDS a key.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from wire.device import Device

MAX_WORDS: Final = 2_000

Words = str | Annotated[tuple[str, ...], Meta(max_length=MAX_WORDS)]


class Selector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which devices: those that match everything that is given."""

    kind: Annotated[Words, Meta(description="the kind of device, such as streetlight")] = ()
    profile: Annotated[Words, Meta(description="its model")] = ()
    tag: Annotated[Words, Meta(description="a word among its tags")] = ()
    id: Annotated[Words, Meta(description="its id")] = ()

    def __post_init__(self) -> None:
        """Refuse one that would take the bins and the doors along."""
        if not (self.kind or self.profile or self.tag or self.id):
            raise ValueError('selects by nothing; write one of kind, profile, tag, id; id = "*" selects every device')

    def fits(self, device: Device) -> bool:
        """Whether a device is meant."""
        return (
            _fits(self.kind, (device.kind,))
            and _fits(self.profile, (device.profile,))
            and _fits(self.tag, device.tags)
            and _fits(self.id, (device.id,))
        )


def _fits(words: Words, values: Collection[str]) -> bool:
    patterns = (words,) if isinstance(words, str) else words
    return not patterns or any(fnmatchcase(v, p) for p in patterns for v in values)
