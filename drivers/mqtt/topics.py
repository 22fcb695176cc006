"""Topics: which filters of MQTT match what, and which of a line's it subscribes to. Pure.

A broker may send a publish once for each subscription that it matches (MQTT 5, section 3.3.4). So a filter that another
one covers is not subscribed to; where two match some of the same topics and neither covers the other, each has a
subscription identifier, and of the copies of a publish only that of the first of them counts. Which is first never
changes while both are wanted: filters keep the order in which they were once subscribed to, which the node remembers,
at most MAX_FILTERS of them. Identifiers belong to one set of subscriptions, so that also of a publish that was queued
under an earlier set one copy counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec

MAX_FILTERS: Final = 4_096
MAX_IDENTIFIER: Final = 268_435_455  # MQTT 5, section 3.8.2.1.2


class Subscription(msgspec.Struct, frozen=True):
    """One filter, and its identifier where copies must be distinguished (else 0)."""

    filter: str
    identifier: int = 0


class Filters:
    """Many filters, found by what they have in common with one: each look-up walks the levels, not the filters."""

    def __init__(self, filters: Iterable[str]) -> None:
        self._root: dict[str | None, Any] = {}
        for name in filters:
            node = self._root
            for level in name.split("/"):
                node = node.setdefault(level, {})
            node[None] = name

    def near(self, levels: Sequence[str]) -> list[str]:
        """Those that match a topic, or, for a filter, that overlap it; what begins with $ is not set apart here."""
        return list(self._walk(self._root, levels, 0))

    def _walk(self, node: dict[str | None, Any], levels: Sequence[str], i: int) -> Iterator[str]:
        if "#" in node:
            yield node["#"][None]
        if i == len(levels):
            if None in node:
                yield node[None]
        elif levels[i] == "#":
            yield from (found for key, child in node.items() if key != "#" for found in _all(key, child))
        elif levels[i] == "+":
            for key, child in node.items():
                if key not in (None, "#"):
                    yield from self._walk(child, levels, i + 1)
        else:
            for key in (levels[i], "+"):
                if key in node:
                    yield from self._walk(node[key], levels, i + 1)


def _all(key: str | None, node: Any) -> Iterator[str]:
    if key is None:
        yield node
    else:
        for each, child in node.items():
            yield from _all(each, child)


def matches(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    """Whether a filter matches a topic, both in levels (MQTT 5, section 4.7)."""
    for i, want in enumerate(pattern):
        if want == "#":
            return True
        if i >= len(levels) or want not in ("+", levels[i]):
            return False
    return len(pattern) == len(levels)


def covers(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a filter matches all that another one matches, both in levels."""
    if other[0].startswith("$") and one[0] in ("+", "#"):
        return False  # section 4.7.2: what begins with $ is matched by no wildcard there
    for i, want in enumerate(one):
        if want == "#":
            return True
        if i >= len(other) or other[i] == "#" or want not in ("+", other[i]):
            return False
    return len(one) == len(other)


def overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether some topic is matched by both."""
    if "$" in (one[0][:1], other[0][:1]) and one[0] != other[0]:
        return False
    for i in range(max(len(one), len(other))):
        a, b = one[i] if i < len(one) else None, other[i] if i < len(other) else None
        if "#" in (a, b):
            return True
        if a is None or b is None:
            return False
        if a != b and "+" not in (a, b):
            return False
    return True


def plan(wanted: Sequence[str], before: Sequence[str] = ()) -> list[Subscription]:
    """What to subscribe to so that each publish comes once, in the order of `before`, then of `wanted`."""
    known = {f: i for i, f in enumerate(before)}
    ordered = sorted(dict.fromkeys(wanted), key=lambda f: known.get(f, len(known)))
    levels = {f: f.split("/") for f in ordered}
    all_ = Filters(ordered)
    near = {f: [g for g in all_.near(levels[f]) if g != f] for f in ordered}
    least = [f for f in ordered if not any(covers(levels[g], levels[f]) for g in near[f])]
    left = set(least)
    apart = {f for f in least if any(g in left and overlap(levels[f], levels[g]) for g in near[f])}
    found: list[Subscription] = []
    together = "\0".join(least)
    taken: set[int] = set()
    for name in least:
        number = 0
        if name in apart:
            number = (
                1 + int.from_bytes(blake2b(f"{name}\0\0{together}".encode(), digest_size=4).digest()) % MAX_IDENTIFIER
            )
            while number in taken:
                number = 1 + number % MAX_IDENTIFIER
            taken.add(number)
        found.append(Subscription(name, number))
    return found


class Copies:
    """Tells which copy of a publish counts."""

    def __init__(self, subscriptions: Sequence[Subscription], earlier: Sequence[Subscription] = ()) -> None:
        """`earlier` are those by which the broker may have queued what comes now."""
        self._sets = [
            [(s.filter.split("/"), s.identifier) for s in each if s.identifier] for each in (subscriptions, earlier)
        ]

    def counts(self, topic: str, identifiers: Sequence[int]) -> bool:
        """Whether this one does. One without an identifier, or with one that is not known here, does."""
        if not identifiers:
            return True
        for apart in self._sets:
            if any(number in identifiers for _, number in apart):
                levels = topic.split("/")
                first = next((number for pattern, number in apart if matches(pattern, levels)), None)
                return first is None or first in identifiers
        return True


def most_specific(found: Sequence[Sequence[str]]) -> list[int]:
    """Of filters that all match one topic, in levels, the places of those that cover no other one of them."""
    return [
        i
        for i, one in enumerate(found)
        if not any(i != j and covers(one, other) and not covers(other, one) for j, other in enumerate(found))
    ]
