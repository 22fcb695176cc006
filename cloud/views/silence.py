"""Silence: when each node was last heard, and which have been silent for three of their Health intervals.

Heard means a batch or a snapshot that was taken. Held in memory, bounded by the nodes
that have tokens; at start it is loaded from the streams. A silence is told once, and so is its end: what has been
told is kept in the store, so that a restart neither repeats nor forgets it. A clock that was set does not make a
node silent, nor keep it from being so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from cloud.log.batch_facts import BatchFacts
from cloud.log.notices import Finding
from cloud.times import SECOND_US, text
from cloud.views.contract import DEFAULT_INTERVAL_S, SILENT_INTERVALS
from wire.entries import Health
from wire.time import Micros, Utc

QUIET_INTERVALS: Final = SILENT_INTERVALS - 1
RETRY_US: Final = Micros(300 * SECOND_US)  # so long a node may wait, after we were away, until it tries again


class Hearing(msgspec.Struct):
    """One node: when it was heard, its Health interval, and whether its silence has been reported."""

    heard_us: Utc
    interval_s: float = DEFAULT_INTERVAL_S
    told: bool = False

    def silent_at(self, now_us: Utc, since_us: Utc | None = None, intervals: int = SILENT_INTERVALS) -> bool:
        """Say whether it was not heard for so many intervals.

        Of a node that was not heard since `since_us`, when we came, it counts from RETRY_US after that.
        """
        from_us = self.heard_us
        if since_us is not None and from_us < since_us:
            from_us = since_us + RETRY_US
        return now_us - from_us > intervals * self.interval_s * SECOND_US


class LastHeard:
    """All nodes. On the event loop."""

    def __init__(self, nodes: Mapping[str, Hearing] | None = None) -> None:
        self._nodes = dict(nodes or {})
        self._loaded_us = max((h.heard_us for h in self._nodes.values()), default=Utc(0))

    def hear(self, node: str, now_us: Utc, facts: BatchFacts | None = None) -> None:
        """The node was heard; its batch may say a new interval."""
        hearing = self._nodes.get(node)
        if hearing is None:
            hearing = self._nodes[node] = Hearing(now_us)
        hearing.heard_us = max(hearing.heard_us, now_us)
        for item in facts.others if facts is not None else ():
            if isinstance(item.entry, Health):
                hearing.interval_s = item.entry.interval_s

    def learn(self, nodes: Mapping[str, Hearing]) -> None:
        """Nodes were heard, as the store says."""
        for node, hearing in nodes.items():
            self.hear(node, hearing.heard_us)
            self._nodes[node].interval_s = hearing.interval_s

    @property
    def all(self) -> dict[str, Utc]:
        """When each node was heard last."""
        return {node: hearing.heard_us for node, hearing in self._nodes.items()}

    def of(self, node: str) -> Hearing | None:
        """When a node was heard, if ever."""
        return self._nodes.get(node)

    def standing(self, now_us: Utc, since_us: Utc) -> tuple[dict[str, Utc], frozenset[str], dict[str, Utc]]:
        """When the nodes that are reported silent were last heard; those that are about to be, for they were not
        heard for QUIET_INTERVALS; and when all were, as if the time for which we were not here, until `since_us`, had
        not been.
        """
        away_us = max(Micros(0), since_us - self._loaded_us)
        quiet = frozenset(
            node
            for node, hearing in self._nodes.items()
            if not hearing.told and hearing.silent_at(now_us, since_us, QUIET_INTERVALS)
        )
        silent = {node: hearing.heard_us for node, hearing in self._nodes.items() if hearing.told}
        heard: dict[str, Utc] = {
            node: hearing.heard_us + (away_us if hearing.heard_us <= self._loaded_us else Micros(0))
            for node, hearing in self._nodes.items()
        }
        return silent, quiet, heard

    def changes(self, now_us: Utc, since_us: Utc) -> list[Finding]:
        """What to report now. Nobody is called silent for the time before `since_us`, when we were not here."""
        found: list[Finding] = []
        for node, hearing in self._nodes.items():
            # Where the clock went back: silence counts from now, not from what was ahead.
            hearing.heard_us = min(hearing.heard_us, now_us)
            silent = hearing.silent_at(now_us, since_us)
            if silent is not hearing.told and (silent or not hearing.silent_at(now_us)):
                hearing.told = silent
                detail = {"last_heard": text(hearing.heard_us), "interval_s": hearing.interval_s}
                kind = "silent" if silent else "heard_again"
                found.append(Finding(node=node, kind=kind, time_us=now_us, detail=detail))
        return found

    def clock_was_set(self, by_us: Micros, now_us: Utc) -> None:
        """The clock was set forward by so much, to `now_us`: nobody has been silent for that time."""
        for hearing in self._nodes.values():
            hearing.heard_us = min(now_us, hearing.heard_us + by_us)
        self._loaded_us = min(now_us, self._loaded_us + by_us)

    def untell(self, findings: Iterable[Finding]) -> None:
        """They could not be stored: report them again later."""
        for finding in findings:
            hearing = self._nodes.get(finding.node)
            if hearing is not None:
                hearing.told = finding.kind != "silent"
