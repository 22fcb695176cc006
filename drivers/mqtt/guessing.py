"""Guessing: how a profile would read publishes of a device that nobody knows. Pure.

A topic that is not put together as the profile's is no hindrance, for brokers and bridges rename them: it only counts
for less, and is told. Bounds: MAX_READ payloads of one topic are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from drivers.guesses import Guess, GuessedPoint
from drivers.mishaps import Unreadable
from drivers.mqtt.payload import Payload, steps_of
from drivers.mqtt.places import places
from drivers.mqtt.settings import PLACEHOLDER, Access, Whole
from drivers.profile import Profile
from wire.sample import Value

MAX_READ: Final = 8
LEVEL_BITS: Final = 3.0  # a level of a topic that is the same word
OTHER_TOPIC_BITS: Final = -5.0


class Published(msgspec.Struct, frozen=True):
    """What came by one topic, oldest first; without a topic where only the payload is known."""

    topic: str
    payloads: tuple[bytes, ...]


def guesses(profile: Profile, evidence: Published) -> Sequence[Guess]:
    """The publishes as this profile reads them; nothing where not one of its points is in them."""
    reader = Payload(profile)
    values: dict[str, list[Value]] = {}
    whys: dict[str, str] = {}
    for payload in evidence.payloads[-MAX_READ:]:
        try:
            reading = reader.read(payload)
        except Unreadable:
            continue
        for name, value in reading.values.items():
            values.setdefault(name, []).append(value)
            if (why := reading.quality.get(name)) is not None:
                whys[name] = why
    if not values:
        return ()
    points: dict[str, GuessedPoint] = {}
    for name in profile.points:
        access: Access = profile.access[name]
        points[name] = (
            GuessedPoint(values=tuple(values[name]), why=whys.get(name, ""), codes=len(access.choices or ()))
            if name in values
            else GuessedPoint(absent=True, optional=True)
        )
    whole: Whole = profile.whole
    address, known_by = _topic(whole.topic, evidence.topic)
    fits = address is not None
    return (
        Guess(
            points=points,
            kind="" if fits or not evidence.topic else "topic",
            changes={} if fits or not evidence.topic else {"topic": evidence.topic},
            known_by=known_by if fits else OTHER_TOPIC_BITS if evidence.topic else 0.0,
            address=address or {},
            unexplained=_unexplained(profile, evidence.payloads[-1]) if whole.payload == "json" else 0,
        ),
    )


def _topic(template: str, topic: str) -> tuple[Mapping[str, str] | None, float]:
    """What a topic says in place of the placeholders of a template, None where it is not one of it; and how many bits
    it is worth that it fits."""
    want, levels = template.split("/"), topic.split("/")
    address: dict[str, str] = {}
    bits = 0.0
    for i, level in enumerate(want):
        if level == "#":
            return address, bits
        if i >= len(levels):
            return None, 0.0
        names = PLACEHOLDER.findall(level)
        if names and PLACEHOLDER.sub("", level) == "" and len(names) == 1:
            if address.setdefault(names[0], levels[i]) != levels[i]:
                return None, 0.0
        elif level not in ("+", levels[i]):
            return None, 0.0
        elif level != "+":
            bits += LEVEL_BITS
    return (address, bits) if len(want) == len(levels) else (None, 0.0)


def _unexplained(profile: Profile, payload: bytes) -> int:
    """How many values of a payload no point reads."""
    read = [tuple(s) for n in profile.points if (s := steps_of(profile.access[n].value)) is not None]
    if len(read) < len(profile.points):  # an expression may read anything
        return 0
    there = places(payload)
    leaves = [p for p in there if p and not any(len(q) > len(p) and q[: len(p)] == p for q in there)]
    whole: Whole = profile.whole
    read += [tuple(s) for e in (whole.packet_id, whole.time) if e and (s := steps_of(e)) is not None]
    return sum(1 for leaf in leaves if not any(leaf[: len(r)] == r for r in read))


def pasted(frames: Sequence[bytes]) -> list[Published]:
    """Copied payloads, where they are text at all."""
    texts: list[bytes] = []
    for data in frames:
        try:
            told = data.decode().strip()
        except UnicodeDecodeError:
            continue
        if told and all(c.isprintable() or c.isspace() for c in told):
            texts.append(told.encode())
    return [Published("", tuple(texts))] if texts else []
