"""How the node is: one object, for the technician at `GET /health` and for the city every minute.

It is told within about ANSWER_S, also while the card hangs.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, Generic, TypeVar

from drivers.errors import NotStored
from edge.clock import NodeClock
from edge.outbox.contract import Depth, Outbox
from edge.outbox.group_commit import GroupCommit
from edge.sampling.last_samples import LastSamples
from edge.sync.uplink import Uplink
from edge.trouble import Code, Trouble
from edge.watchdog import CARD, COMMIT
from groundwork.liveness import Late
from wire.entries import Health, Verdict
from wire.time import Micros

ACK_LATE_INTERVALS: Final = 3
CONNECT_S: Final = 30.0
DISK_LOW_BYTES: Final = 64 * 1024 * 1024
OUTBOX_FULL: Final = 0.8
ANSWER_S: Final = 1.0  # how long the card may take to say how it is; what it said last is told then
SLOW_S: Final = 10.0
RESTARTED_SHOWN_S: Final = 86_400.0
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
        apart_us: Callable[[], Micros | None] = lambda: None,
        deaf: Callable[[], str | None] = lambda: None,
        late: Callable[[], Sequence[Late]] = list[Late],
        anew: Callable[[], Mapping[str, tuple[str, float]]] = dict[str, tuple[str, float]],
        restarted: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`late` says which parts are, `anew` of lines why and how many seconds ago they were opened anew, `restarted`
        why the process before did not end as it was to."""
        self._late, self._anew, self._restarted = late, anew, restarted
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
        return (await self.examine())[0]

    async def examine(self) -> tuple[Health, Sequence[Trouble]]:
        """The node's health now, and what its reasons are made of; those that name single devices are all there."""
        now, (time_us, clock) = self._monotonic(), self._clock()
        failed: list[Trouble] = []
        degraded: list[Trouble] = []
        (depth, depth_why), (free_bytes, free_why) = await asyncio.gather(self._depth.ask(), self._free.ask())
        if (stuck_s := self._stuck_s()) > SLOW_S:
            failed.append(Trouble(code="card-hangs", numbers={"seconds": stuck_s}))
        unreadable: Sequence[tuple[Code, str | None]] = ("outbox-unreadable", depth_why), ("disk-unreadable", free_why)
        failed += [Trouble(code=code, why=why) for code, why in unreadable if why is not None]
        silent = self._street.silent(now)
        oldest_s = None if depth.oldest_us is None else max(0.0, (time_us - depth.oldest_us) / 1e6)
        last_ack_s = None if self._uplink.last_ack is None else now - self._uplink.last_ack
        if self._commit.refused is not None:
            failed.append(Trouble(code="not-kept", why=self._commit.refused))
        for trouble in self._of_parts(now):
            (failed if trouble.failed else degraded).append(trouble)
        if (fault := self._card()) is not None:
            degraded.append(Trouble(code="card", why=fault))
        degraded += [Trouble(code="line", line=name, why=fault) for name, fault in self._faults().items()]
        of_devices = self._street.troubles(now)
        degraded += [t for t in of_devices if t.code == "misconfigured"]
        if silent:
            numbers = {"silent": len(silent), "all": len(self._street.devices)}
            degraded.append(Trouble(code="devices-silent", numbers=numbers))
        degraded += [t for t in of_devices if t.code != "misconfigured"]
        trying = not self._uplink.failures and now - self._started < CONNECT_S  # nothing has gone wrong yet
        if self._uplink.down is not None and not trying:
            degraded.append(Trouble(code="cloud-unreachable", why=self._uplink.down))
        elif last_ack_s is not None and last_ack_s > ACK_LATE_INTERVALS * max(self._push_interval_s, self._interval_s):
            degraded.append(Trouble(code="cloud-late", numbers={"seconds": last_ack_s}))
        if depth.full > OUTBOX_FULL:
            degraded.append(Trouble(code="outbox-filling", numbers={"percent": round(100 * depth.full)}))
        if depth.quarantined:
            degraded.append(Trouble(code="set-aside", numbers={"rows": depth.quarantined}))
        if self._uplink.held is not None:
            degraded.append(Trouble(code="cloud-refuses", why=self._uplink.held))
        if self._free.known and free_bytes < DISK_LOW_BYTES:
            degraded.append(Trouble(code="disk-low", numbers={"free_mb": free_bytes // 1_000_000}))
        degraded += self._of_time(synced=clock.synced)
        if (deaf := self._deaf()) is not None:
            degraded.append(Trouble(code="deaf", why=deaf))
        if self._insecure:
            degraded.append(Trouble(code="insecure"))
        verdict: Verdict = "failed" if failed else "degraded" if degraded else "ok"
        troubles = (*failed, *degraded)
        health = Health(
            time_us=time_us,
            verdict=verdict,
            reasons=tuple(t.text for t in told(troubles))[:50],
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
        return health, troubles

    def _of_parts(self, now: float) -> list[Trouble]:
        """Which parts of the node are late, and what had to begin anew."""
        found: list[Trouble] = []
        for one in self._late():
            if one.part == COMMIT:
                found.append(Trouble(code="commit-stuck", numbers={"seconds": one.for_s}))
            elif one.part != CARD:  # of which is said for how long it has not answered
                found.append(Trouble(code="stuck", why=str(one)))
        if (why := self._restarted()) is not None and now - self._started < RESTARTED_SHOWN_S:
            found.append(Trouble(code="restarted", why=why, numbers={"minutes": (now - self._started) / 60}))
        return found + [
            Trouble(code="line-anew", line=name, why=why, numbers={"minutes": ago_s / 60})
            for name, (why, ago_s) in self._anew().items()
        ]

    def _of_time(self, *, synced: bool) -> list[Trouble]:
        """What is wrong with the time here, or with the aggregator's."""
        found: list[Trouble] = []
        if (jump_us := self._clock.jump_us) is not None:
            found.append(Trouble(code="clock-jumped", numbers={"seconds": jump_us / 1e6}))
        elif not synced:
            found.append(Trouble(code="clock-estimated"))
        if (apart_us := self._apart_us()) is not None:
            found.append(Trouble(code="clock-apart", numbers={"seconds": apart_us / 1e6}))
        return found


def told(troubles: Iterable[Trouble]) -> list[Trouble]:
    """Those that become reasons: of silent devices the causes alone, where there are any, and MAX_CAUSES of them."""
    found: list[Trouble] = []
    causes, last = 0, 0
    for trouble in troubles:
        if trouble.code in ("silent", "never-heard"):
            if trouble.code == "silent" and not trouble.why:
                continue
            causes += 1
            if causes > MAX_CAUSES:
                continue
            last = len(found) + 1
        found.append(trouble)
    if causes > MAX_CAUSES:
        found.insert(last, Trouble(code="more-devices", numbers={"more": causes - MAX_CAUSES}))
    return found
