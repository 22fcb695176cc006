"""How the node is: one object, for the technician at `GET /health` and for the city every minute."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from drivers.errors import NotStored
from edge.clock import NodeClock
from edge.group_commit import GroupCommit
from edge.outbox import Depth, Outbox
from edge.street import Street
from edge.uplink import Uplink
from wire.entries import Health, Verdict

ACK_LATE_INTERVALS: Final = 3
CONNECT_S: Final = 30.0
DISK_LOW_BYTES: Final = 64 * 1024 * 1024
OUTBOX_FULL: Final = 0.8


MAX_CAUSES = 10


class Doctor:
    """Looks at the parts and says how they are."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        uplink: Uplink,
        commit: GroupCommit,
        street: Street,
        clock: NodeClock,
        faults: Callable[[], Mapping[str, str]],
        counters: Callable[[], Mapping[str, int]],
        damaged: str | None,
        roster: str,
        directory: Path,
        interval_s: float,
        push_interval_s: float,
        insecure: bool,
        monotonic: Callable[[], float],
        apart_us: Callable[[], int | None] = lambda: None,
        deaf: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._outbox, self._uplink, self._commit, self._street, self._clock = outbox, uplink, commit, street, clock
        self._damaged, self._apart_us = damaged, apart_us
        self._faults, self._counters, self._roster, self._directory = faults, counters, roster, directory
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
        try:
            depth = await self._outbox.depth()
        except NotStored as error:
            failed.append(f"the outbox cannot be read: {error}")
            depth = Depth(pending={}, oldest_us=None, used_bytes=0, limit_bytes=0, quarantined=0)
        silent = self._street.silent(now)
        try:
            free_bytes = shutil.disk_usage(self._directory).free
        except OSError as error:
            failed.append(f"the disk cannot be read: {error}")
            free_bytes = 0
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
        if free_bytes < DISK_LOW_BYTES:
            degraded.append(f"only {free_bytes // 1_000_000} MB are free on the disk")
        if self._damaged is not None:
            degraded.append(f"the card was damaged: {self._damaged}")
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
