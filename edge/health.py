"""How the node is: one object, for the technician at `GET /health` and for the city every minute.

It is told within about ANSWER_S, also while the card hangs.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, Generic, TypeVar

from drivers.errors import NotStored
from edge.clock import NodeClock
from edge.outbox.contract import Depth, Outbox
from edge.outbox.group_commit import GroupCommit
from edge.sampling.last_samples import LastSamples
from edge.sync.uplink import Uplink
from wire.entries import Health, Verdict

ACK_LATE_INTERVALS: Final = 3
CONNECT_S: Final = 30.0
DISK_LOW_BYTES: Final = 64 * 1024 * 1024
OUTBOX_FULL: Final = 0.8
ANSWER_S: Final = 1.0  # how long the card may take to say how it is; what it said last is told then
SLOW_S: Final = 10.0
_T = TypeVar("_T")


class Latest(Generic[_T]):
    """What the card says of itself. A card that hangs says nothing: one question waits for it, and no more."""

    def __init__(self, question: Callable[[], Awaitable[_T]], unknown: _T) -> None:
        self._question, self._said = question, unknown
        self.known = False  # whether it has ever said anything
        self._asked: asyncio.Future[_T] | None = None

    async def ask(self) -> tuple[_T, str | None]:
        """What it says within ANSWER_S, or said last; and why it says nothing, where it gives a reason."""
        if self._asked is None:
            self._asked = asyncio.ensure_future(self._question())
        asked = self._asked
        await asyncio.wait([asked], timeout=ANSWER_S)
        if not asked.done():
            return self._said, None
        if self._asked is asked:
            self._asked = None
        try:
            self._said, self.known = asked.result(), True
        except (NotStored, OSError) as error:
            return self._said, str(error)
        return self._said, None


MAX_CAUSES = 10


class Doctor:
    """Looks at the parts and says how they are."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        uplink: Uplink,
        commit: GroupCommit,
        street: LastSamples,
        clock: NodeClock,
        faults: Callable[[], Mapping[str, str]],
        counters: Callable[[], Mapping[str, int]],
        card: Callable[[], str | None] = lambda: None,
        stuck_s: Callable[[], float] = lambda: 0.0,
        roster: str,
        directory: Path,
        interval_s: float,
        push_interval_s: float,
        insecure: bool,
        monotonic: Callable[[], float],
        apart_us: Callable[[], int | None] = lambda: None,
        deaf: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._uplink, self._commit, self._street, self._clock = uplink, commit, street, clock
        self._card, self._stuck_s, self._apart_us = card, stuck_s, apart_us
        self._faults, self._counters, self._roster = faults, counters, roster
        self._depth = Latest(
            outbox.depth, Depth(pending={}, oldest_us=None, used_bytes=0, limit_bytes=0, quarantined=0)
        )
        self._free = Latest(lambda: asyncio.to_thread(lambda: shutil.disk_usage(directory).free), 0)
        self._interval_s, self._push_interval_s, self._insecure = interval_s, push_interval_s, insecure
        self._monotonic = monotonic
        self._deaf = deaf
        self._started = monotonic()
        self._version = version("lamplighter")

    async def look(self) -> Health:
        """The node's health now."""
        now, (time_us, clock) = self._monotonic(), self._clock()
        failed: list[str] = []
        degraded: list[str] = []
        (depth, depth_why), (free_bytes, free_why) = await asyncio.gather(self._depth.ask(), self._free.ask())
        if (stuck_s := self._stuck_s()) > SLOW_S:
            failed.append(f"the card has not answered for {stuck_s:.0f} s: nothing can be kept")
        if depth_why is not None:
            failed.append(f"the outbox cannot be read: {depth_why}")
        if free_why is not None:
            failed.append(f"the disk cannot be read: {free_why}")
        silent = self._street.silent(now)
        oldest_s = None if depth.oldest_us is None else max(0.0, (time_us - depth.oldest_us) / 1e6)
        last_ack_s = None if self._uplink.last_ack is None else now - self._uplink.last_ack
        if self._commit.refused is not None:
            failed.append(f"nothing can be kept: {self._commit.refused}")
        for name, fault in self._faults().items():
            degraded.append(f"line {name}: {fault}")
        for device, known in self._street.devices.items():
            if known.fault is not None:
                degraded.append(f"device {device}: {known.fault}")
        if silent:
            degraded.append(f"{len(silent)} of {len(self._street.devices)} devices are silent")
        causes = self._street.causes(now)
        degraded += causes[:MAX_CAUSES]
        if len(causes) > MAX_CAUSES:
            degraded.append(f"{len(causes) - MAX_CAUSES} more devices like these")
        trying = not self._uplink.failures and now - self._started < CONNECT_S  # nothing has gone wrong yet
        if self._uplink.down is not None and not trying:
            degraded.append(f"the cloud is out of reach: {self._uplink.down}")
        elif last_ack_s is not None and last_ack_s > ACK_LATE_INTERVALS * max(self._push_interval_s, self._interval_s):
            degraded.append(f"the last ack is {last_ack_s:.0f} s old")
        if depth.used_bytes > OUTBOX_FULL * depth.limit_bytes and sum(depth.pending.values()):
            degraded.append(f"the outbox is {100 * depth.used_bytes // depth.limit_bytes} % full")
        if depth.quarantined:
            degraded.append(f"{depth.quarantined} rows were set aside because the cloud could not read them")
        if self._uplink.held is not None:
            degraded.append(self._uplink.held)
        if self._free.known and free_bytes < DISK_LOW_BYTES:
            degraded.append(f"only {free_bytes // 1_000_000} MB are free on the disk")
        if (fault := self._card()) is not None:
            degraded.insert(0, fault)
        degraded += self._of_time(synced=clock.synced)
        if (deaf := self._deaf()) is not None:
            degraded.append(deaf)
        if self._insecure:
            degraded.append("insecure = true: what goes to the cloud can be read on the way")
        verdict: Verdict = "failed" if failed else "degraded" if degraded else "ok"
        return Health(
            time_us=time_us,
            verdict=verdict,
            reasons=(*failed, *degraded)[:50],
            version=self._version,
            uptime_s=round(now - self._started, 1),
            interval_s=self._interval_s,
            clock_synced=clock.synced,
            boot=clock.boot,
            devices=len(self._street.devices),
            devices_silent=silent[:100],
            outbox_entries=sum(depth.pending.values()),
            outbox_oldest_s=None if oldest_s is None else round(oldest_s, 1),
            outbox_bytes=depth.used_bytes,
            outbox_limit_bytes=depth.limit_bytes,
            last_ack_s=None if last_ack_s is None else round(last_ack_s, 1),
            disk_free_bytes=free_bytes,
            roster=self._roster,
            counters=self._counters(),
        )

    def _of_time(self, *, synced: bool) -> list[str]:
        """What is wrong with the time here, or with the aggregator's."""
        found: list[str] = []
        if (jump_us := self._clock.jump_us) is not None:
            found.append(f"the clock has jumped by {jump_us / 1e6:+.0f} s: times are counted on until it is confirmed")
        elif not synced:
            found.append("the clock is not synchronised: times are estimated")
        if (apart_us := self._apart_us()) is not None:
            found.append(f"the aggregator's clock is {apart_us / 1e6:+.0f} s off this one, which is synchronised")
        return found
