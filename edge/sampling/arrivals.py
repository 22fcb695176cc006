"""Arrivals: samples on their way in, from the drivers of all lines into the next commit and to whatever acts on them.

`take` is what the node gives a driver as its `drivers.contract.Deliver`: once a sample, and nothing of it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from drivers.contract import Receipt
from edge.sampling.intake import Gate, time_resolution_us
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import AttachedLine
from edge.sampling.quality_history import QualityHistory
from wire.sample import Sample


class Add(Protocol):
    """What is needed of `edge.outbox.group_commit.GroupCommit`: its `add`."""

    def __call__(self, samples: Sequence[Sample], receipt: Receipt | None, *, live: bool) -> asyncio.Future[None]:
        """Put samples into the next commit."""
        ...


def gates_of(lines: Iterable[AttachedLine]) -> dict[str, Gate]:
    """The way in for each device."""
    return {
        attachment.device.id: Gate(
            attachment.profile.points,
            time_resolution_us=time_resolution_us(
                attachment.profile.time_resolution_us,
                line.tables[attachment.device.id].poll_s if line.kind.polled(attachment.profile) else None,
            ),
            reports=line.tables[attachment.device.id].report,
        )
        for line in lines
        for attachment in line.attachments
    }


def expect(lines: Iterable[AttachedLine], street: LastSamples) -> None:
    """Tell the street how often each device should be heard: as it is polled, or as its table says."""
    for line in lines:
        for attachment in line.attachments:
            table = line.tables[attachment.device.id]
            polled = line.kind.polled(attachment.profile)
            street.expect(attachment.device.id, table.poll_s if polled else table.expect_s, time.monotonic())


class Arrivals:
    """One for a node."""

    def __init__(
        self,
        gates: Mapping[str, Gate],
        *,
        street: LastSamples,
        history: QualityHistory,
        add: Add,
        follow: Callable[[Sample], object],
    ) -> None:
        """`follow` hears of each sample that is kept, before it is on the card."""
        self._gates, self._street, self._history = gates, street, history
        self._add, self._follow = add, follow

    def take(self, samples: Sequence[Sample], receipt: Receipt | None = None) -> asyncio.Future[None]:
        """See `drivers.contract.Deliver`."""
        kept: list[Sample] = []
        live = False
        now = time.monotonic()
        for given in samples:
            gate = self._gates.get(given.device)
            if gate is None:
                continue
            sample = gate.take(given)
            if sample is not None:
                kept.append(sample)
                live |= gate.moved(sample)
                self._street.note(sample, now)
                self._history.note(sample)
        done = self._add(kept, receipt, live=live)
        for sample in kept:  # what follows from them goes into the same commit
            self._follow(sample)
        if any(self._gates[s.device].remembers for s in kept):
            done.add_done_callback(lambda d: self._forget(d, kept))
        return done

    def _forget(self, done: asyncio.Future[None], samples: Sequence[Sample]) -> None:
        """What the card refused was not reported: report by exception must not think so."""
        if done.cancelled() or done.exception() is not None:
            for sample in samples:
                self._gates[sample.device].forget()
