"""Selector: which devices are meant, in a rule or a plan: those that match every key that is present.

Where several words are given, one of them is enough; * and ? stand for any letters. One that selects nothing can be
asked why. Bound: MAX_WORDS a key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from drivers.tables import suggest
from groundwork.nearest import near
from wire.device import Device

MAX_WORDS: Final = 2_000
_TOLD_CHARS: Final = 300  # of the known words, where none is near

Words = str | Annotated[tuple[str, ...], Meta(max_length=MAX_WORDS)]


class Selector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which devices: those that match every key that is present."""

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


def why_none(selector: Selector, devices: Collection[Device]) -> list[tuple[str, str]]:
    """Why a selector selects none of these devices: each key that is to blame ("" for all of them together) and what
    is wrong with it. Empty where it selects one."""
    if any(map(selector.fits, devices)):
        return []
    told: list[tuple[str, str]] = []
    for key, known in _known(devices).items():
        for word in _words(selector, key):
            if not any(map(Selector(**{key: word}).fits, devices)):
                near = suggest(word, known) if known else f"; no device has a {key}"
                told.append((key, f'no device has the {key} "{word}"{near[:_TOLD_CHARS]}'))
    return told or [("", "selects no device: none matches all of these together")]


def nearest(selector: Selector, devices: Collection[Device]) -> Selector:
    """The selector with the nearest known word in place of each that nothing has, where one is near."""
    changed: dict[str, tuple[str, ...]] = {}
    for key, known in _known(devices).items():
        words = _words(selector, key)
        found = tuple(w if any(map(Selector(**{key: w}).fits, devices)) else near(w, known) or w for w in words)
        if found != words:
            changed[key] = found
    return msgspec.structs.replace(selector, **changed)


def _words(selector: Selector, key: str) -> tuple[str, ...]:
    words: str | tuple[str, ...] = getattr(selector, key)
    return (words,) if isinstance(words, str) else words


def _known(devices: Iterable[Device]) -> Mapping[str, set[str]]:
    devices = list(devices)
    return {
        "kind": {d.kind for d in devices},
        "profile": {d.profile for d in devices},
        "tag": {t for d in devices for t in d.tags},
        "id": {d.id for d in devices},
    }
