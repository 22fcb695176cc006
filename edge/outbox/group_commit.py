"""Group commit: many samples, one transaction. What a power cut may cost, against the card's wear.

Bulk samples wait at most `commit_interval_s`, or until `FULL_READINGS` wait; a change that is watched live waits
`LIVE_WAIT_S`; urgent entries go at once and take what waits along. When the card refuses, samples whose receipt
says that their sender will bring them again are left to it; the others are counted and become one Gap as soon as
the card takes anything.

Bounds: what may wait is the sum of the bounds that drivers state, and at most `MAX_READINGS`; beyond it samples
without a receipt are counted as lost, and those with one are handed back as not stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.outbox.contract import NOTHING, Outbox
from edge.outbox.sealing import seal
from groundwork.liveness import Part
from wire.batch import Lane
from wire.entries import Entry, Gap, Health
from wire.errors import BadInput
from wire.sample import Sample
from wire.time import Utc

log = logging.getLogger(__name__)

FULL_READINGS: Final = 20_000
FULL_RECEIPTS: Final = 256  # publishes unacknowledged: well below what a broker sends ahead
MAX_READINGS: Final = 200_000
LIVE_WAIT_S: Final = 0.5
MAX_GAP_DEVICES: Final = 1000
MAX_URGENT: Final = 1000  # entries that wait for a card that refuses; beyond, the oldest go
RETRY_S: Final = 5.0
COMMIT_S: Final = 600.0  # of a card that answers, however slowly; one that does not is seen sooner


class _Pending:
    """What goes into the next commit."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.owned: list[Sample] = []  # came without a receipt: nobody else has them
        self.receipts: list[Receipt] = []
        self.urgent: list[Entry] = []
        self.kept: dict[str, bytes | None] = {}
        self.readings = 0
        self.insisted: list[asyncio.Future[None]] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A failure is told to whoever waits; when nobody does, the lost samples are in the Gap all the same.
        self.done.add_done_callback(lambda f: None if f.cancelled() else f.exception())

    def __bool__(self) -> bool:
        return bool(self.samples or self.receipts or self.urgent or self.kept)


class _Lost:
    """Samples that could not be stored, until a Gap reports them."""

    def __init__(self) -> None:
        self.count = 0
        self.from_us = self.to_us = Utc(0)
        self.devices: dict[str, None] = {}

    def add(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self.from_us = min(self.from_us, sample.time_us) if self.count else sample.time_us
            self.to_us = max(self.to_us, sample.time_us)
            self.count += 1
            if len(self.devices) < MAX_GAP_DEVICES:
                self.devices[sample.device] = None

    def join(self, other: _Lost) -> None:
        if other.count:
            self.from_us = min(self.from_us, other.from_us) if self.count else other.from_us
            self.to_us = max(self.to_us, other.to_us)
            self.count += other.count
            self.devices = dict.fromkeys([*other.devices, *self.devices][:MAX_GAP_DEVICES])

    def gap(self) -> Gap:
        return Gap(
            reason="the card took nothing",
            lost=self.count,
            from_us=self.from_us,
            to_us=self.to_us,
            devices=tuple(self.devices),
        )


class GroupCommit:
    """Put samples and entries in; `run` writes them down."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        interval_s: float,
        committed: Callable[[bool, bool], None],
        alive: Part | None = None,
    ) -> None:
        """`committed(urgent, live)` is called after each commit, with what was in it; `alive` is told of each."""
        self._alive = Part("commit") if alive is None else alive
        self._outbox, self._interval_s, self._committed = outbox, interval_s, committed
        self._loop = asyncio.get_running_loop()  # asked once: it costs a call to the kernel each time
        self._pending = _Pending()
        self._wake = asyncio.Event()
        self._due: float | None = None
        self._live = False
        self._flushing: asyncio.Future[None] | None = None
        self._lost = _Lost()
        self.hurry = False  # somebody is watching: commit every 2 s at the latest
        self.refused: str | None = None  # why the card took nothing, the last time
        self._refused_since: float | None = None  # the loop's time
        self.committed_samples = 0
        self.lost_samples = 0

    @property
    def refused_s(self) -> float:
        """For how many seconds the card has refused everything."""
        return 0.0 if self._refused_since is None else self._loop.time() - self._refused_since

    def add(self, samples: Sequence[Sample], receipt: Receipt | None, *, live: bool) -> asyncio.Future[None]:
        """Put samples into the next commit. The future ends when it is durable, or with NotStored."""
        pending = self._pending
        readings = sum(len(s.values) for s in samples)
        if pending.readings + readings > MAX_READINGS:
            return self._turn_away(samples, receipt)
        pending.samples.extend(samples)
        if receipt is not None:
            pending.receipts.append(receipt)
        if receipt is None or not receipt.redelivered:
            pending.owned.extend(samples)
        pending.readings += readings
        self._live |= live
        if pending.readings >= FULL_READINGS or len(pending.receipts) >= FULL_RECEIPTS:
            self._wait_at_most(0)
        elif live:
            self._wait_at_most(LIVE_WAIT_S)
        else:
            self._wait_at_most(min(self._interval_s, 2.0) if self.hurry else self._interval_s)
        return pending.done

    def put(self, *entries: Entry, kept: Mapping[str, bytes | None] = NOTHING) -> asyncio.Future[None]:
        """Put urgent entries, and the state that goes with them, into the next commit, which is made at once. State
        alone waits as samples do: what a power cut takes of it, it takes of what led to it too."""
        self._pending.urgent += entries
        self._pending.kept |= kept
        self._wait_at_most(0 if entries else self._interval_s)
        return self._pending.done

    def insist(self, *entries: Entry, kept: Mapping[str, bytes | None] = NOTHING) -> asyncio.Future[None]:
        """`put`, and something to wait for that ends when it is durable, however often the card refuses it first."""
        self.put(*entries, kept=kept)
        sure = self._loop.create_future()
        self._pending.insisted.append(sure)
        return sure

    async def run(self) -> None:
        """Commit until cancelled; then once more, so that a clean stop loses nothing."""
        loop = self._loop
        try:
            while True:
                while self._due is None or self._due > loop.time():
                    self._wake.clear()
                    wait_s = None if self._due is None else self._due - loop.time()
                    try:
                        async with asyncio.timeout(wait_s):
                            await self._wake.wait()
                    except TimeoutError:
                        break
                # In a task of its own: whoever is told that it is durable is told, whenever we are stopped.
                self._flushing = asyncio.ensure_future(self.flush())
                with self._alive.busy(COMMIT_S, "a commit"):
                    await asyncio.shield(self._flushing)
        finally:
            if self._flushing is not None:
                await asyncio.wait([self._flushing])
            await self.flush()

    async def flush(self) -> None:
        """Commit what waits now."""
        pending, self._pending, self._due = self._pending, _Pending(), None
        live, self._live = self._live, False
        if not pending and not self._lost.count:
            pending.done.set_result(None)
            return
        told, self._lost = self._lost, _Lost()  # more may be lost while this is written
        try:
            try:
                await self._append(told, pending)
            except (BadInput, ArithmeticError, ValueError) as error:
                log.exception("a sample cannot be written; it is left out and counted", exc_info=error)
                self._leave_out(pending)
                await self._append(told, pending)
        except NotStored as error:
            self._lost.join(told)
            self._fail(pending, error)
            return
        self.refused = self._refused_since = None
        self.committed_samples += len(pending.samples)
        # What a sender would bring again is not confirmed to it while only memory has it.
        safe = self._outbox.safe() if pending.receipts else None
        for future in (*pending.insisted, *([pending.done] if safe is None else [])):
            if not future.done():
                future.set_result(None)
        if safe is not None:
            safe.add_done_callback(lambda f: _pass_on(f, pending.done))
        self._committed(bool(pending.urgent), live)

    async def _append(self, told: _Lost, pending: _Pending) -> None:
        bulk: list[Entry | Sample] = [told.gap()] if told.count else []
        bulk += pending.samples
        await self._outbox.append({Lane.URGENT: pending.urgent, Lane.BULK: bulk}, pending.receipts, pending.kept)

    def _leave_out(self, pending: _Pending) -> None:
        """Find the samples that cannot be written. They are lost, also for a sender who would bring them again."""
        pending.samples = self._writable(pending.samples)

    def _writable(self, samples: list[Sample]) -> list[Sample]:
        try:
            seal(samples)
        except (BadInput, ArithmeticError, ValueError):
            if len(samples) == 1:
                self._lose(samples)
                return []
            half = len(samples) // 2
            return self._writable(samples[:half]) + self._writable(samples[half:])
        return samples

    def _fail(self, pending: _Pending, error: NotStored) -> None:
        if self.refused is None:
            log.error("nothing can be kept: %s", error)
            self._refused_since = self._loop.time()
        self.refused = str(error)
        self._lose(pending.owned)
        # Alarms are not dropped: they wait for the card. A Health waits in vain: a newer one is on its way.
        keep = [e for e in pending.urgent if not isinstance(e, Health)]
        self._pending.urgent[:0] = keep[-MAX_URGENT:]
        self._pending.kept = pending.kept | self._pending.kept
        self._pending.insisted += pending.insisted
        if not pending.done.cancelled():
            pending.done.set_exception(error)
        self._wait_at_most(RETRY_S)

    def _turn_away(self, samples: Sequence[Sample], receipt: Receipt | None) -> asyncio.Future[None]:
        if receipt is None or not receipt.redelivered:
            self._lose(samples)
        refusal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refusal.set_exception(NotStored(f"{MAX_READINGS} readings wait for the card already"))
        refusal.exception()
        return refusal

    def _lose(self, samples: Sequence[Sample]) -> None:
        self._lost.add(samples)
        self.lost_samples += len(samples)

    def _wait_at_most(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        if self._due is None or due < self._due:
            self._due = due
            self._wake.set()


def _pass_on(safe: asyncio.Future[None], done: asyncio.Future[None]) -> None:
    if safe.cancelled():
        done.cancel()
    elif not done.done():
        done.set_result(None)
