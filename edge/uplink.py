"""The uplink: takes what waits in the outbox to the cloud, one batch in flight, and believes only acks.

Bulk goes every `push_interval_s`; urgent entries and live changes at once; every 2 s while the cloud says that
somebody is watching. After an outage it sends one Snapshot, then urgent, then bulk: fresh before complete. A bulk body
is sized to take at most 2 s at the rate last seen.

Bounds: bodies of 16 to 512 KiB of rows; between tries of a failing link a random wait of up to 1, 2, 4 … `retry_max_s`;
`pause_s` and Retry-After are obeyed up to an hour; an unreadable row is set aside after halving down to it (at most
13 steps); an unsupported version waits 10 minutes between tries and raises an alarm.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from drivers.errors import NotStored
from edge.cloud_link import Answer, LinkDown
from edge.outbox import MAX_CUT_BYTES, Cut, Outbox, Place
from wire.batch import Batch, Lane, Snapshot
from wire.columns import Columns
from wire.entries import Alarm, AlarmState, ClockFix, Entry
from wire.errors import Malformed, TooLarge, Unsupported

log = logging.getLogger(__name__)

BODY_S: Final = 2.0
MIN_BODY_BYTES: Final = 16 * 1024  # of rows, which become about a quarter of it
CLIMB: Final = 1.25  # how much more each body may be after one that did not get through
FIRST_BODY_BYTES: Final = 64 * 1024
LIVE_INTERVAL_S: Final = 2.0
UNSUPPORTED_WAIT_S: Final = 600.0
MAX_PAUSE_S: Final = 3600.0


class Link(Protocol):
    """What the uplink needs of `edge.cloud_link.CloudLink`."""

    async def send(self, batch: Batch) -> Answer:
        """Send one batch."""
        ...

    async def place(self, epoch: int, lane: Lane) -> Answer:
        """Ask where the cloud stands."""
        ...

    async def snapshot(self, snapshot: Snapshot) -> None:
        """Send the last samples."""
        ...


class Uplink:
    """`run` it; `kick` it when something was committed that should not wait."""

    def __init__(
        self,
        outbox: Outbox,
        link: Link,
        *,
        node: str,
        push_interval_s: float,
        latest: Callable[[], Sequence[Columns]],
        put: Callable[[Entry], object],
        hear: Callable[[int, int], ClockFix | None],
        watched: Callable[[bool], None] = lambda _: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float], float] = lambda most_s: random.uniform(0, most_s),
        max_wait_s: float = 300,
    ) -> None:
        self._outbox, self._link, self._node = outbox, link, node
        self._interval_s, self._latest, self._put, self._hear = push_interval_s, latest, put, hear
        self._watched, self._now_us, self._monotonic, self._sleep = watched, now_us, monotonic, sleep
        self._jitter, self._max_wait_s = jitter, max_wait_s
        self._wake = asyncio.Event()
        self._urgent = self._bulk = True  # what is due; at start, both
        self._next_push = 0.0
        self._live_until = 0.0
        self._not_before = 0.0
        self._body_bytes = FIRST_BODY_BYTES
        self._ceiling_bytes: float = MAX_CUT_BYTES
        self._down_since: float | None = None
        self._fresh = False  # whether a snapshot went up since the link came back
        self._live_changed = False  # since the last bulk body was cut
        self._answered: dict[Lane, tuple[int, int]] = {}  # what was asked or sent last and got an answer
        self._tries = 0
        self._unsupported = False
        self._unsupported_us = 0
        self.down: str | None = "not yet connected"
        self.last_ack: float | None = None  # monotonic seconds
        self.batches = self.body_bytes = self.refused = self.forks = self.failures = 0

    def kick(self, *, urgent: bool, live: bool) -> None:
        """Something was committed: urgent entries, or a change of a live point."""
        self._urgent |= urgent
        self._bulk |= live
        self._live_changed |= live
        if urgent or live:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait()
            await self._until_up(self._push)

    async def _wait(self) -> None:
        """Until something is due. Bulk is due by its interval, which is short while somebody watches."""
        while not (self._urgent or self._bulk):
            now = self._monotonic()
            live = now < self._live_until
            self._watched(live)  # so that commits keep pace
            due = min(self._next_push, now + LIVE_INTERVAL_S) if live else self._next_push
            if now >= due:
                break
            self._wake.clear()
            try:
                async with asyncio.timeout(due - now):
                    await self._wake.wait()
            except TimeoutError:
                break
        if self._monotonic() >= self._next_push or self._monotonic() < self._live_until:
            self._bulk = True

    async def _until_up(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try until the link takes everything, with full jitter between tries; each ack begins the doubling anew."""
        while True:
            try:
                await work()
            except (LinkDown, Unsupported, NotStored) as error:
                self._went_down(error)
                asked = min(error.retry_s, MAX_PAUSE_S) if isinstance(error, LinkDown) else 0
                if isinstance(error, Unsupported):
                    asked = UNSUPPORTED_WAIT_S
                self._tries += 1
                bound = min(self._max_wait_s, 2.0 ** min(self._tries - 1, 20))
                await self._sleep(asked + self._jitter(bound))
            else:
                return

    def _went_down(self, error: Exception) -> None:
        self.failures += 1
        if self.down is None or self._down_since is None:
            log.warning("the cloud is out of reach: %s", error)
            self._down_since = self._monotonic()
        self.down = str(error)
        self._fresh = False
        if isinstance(error, Unsupported) and not self._unsupported:
            self._unsupported = True
            detail = f"the cloud reads versions {list(error.accepts)} of batches only: update one of the two"
            self._put(self._version_alarm("raised", detail))

    def _version_alarm(self, state: AlarmState, detail: str) -> Alarm:
        now_us = self._now_us()
        if state == "raised":
            self._unsupported_us = now_us
        return Alarm(
            id=f"{self._node}/unsupported-version",
            device=self._node,
            rule="unsupported-version",
            severity="high",
            state=state,
            raised_us=self._unsupported_us,
            time_us=now_us,
            detail=detail,
        )

    async def _push(self) -> None:
        """Everything that is due: what is fresh after an outage, then urgent before each bulk body."""
        if not self._fresh:
            await self._freshen()
        await self._lane(Lane.URGENT, bodies=None)
        due = self._bulk
        while self._bulk:
            self._bulk = self._live_changed = False  # before looking: what is committed meanwhile is looked for again
            try:
                more = not await self._lane(Lane.BULK, bodies=1)
                if more and self._live_changed:
                    await self._send_snapshot()  # a live change does not wait behind a backlog
                self._bulk |= more
            except BaseException:
                self._bulk = True
                raise
            await self._lane(Lane.URGENT, bodies=None)
        if due:
            self._next_push = self._monotonic() + self._interval_s

    async def _freshen(self) -> None:
        """After an outage of more than a push interval, each device's last sample before the backlog."""
        out_s = 0 if self._down_since is None else self._monotonic() - self._down_since
        depth = await self._outbox.depth()
        waited_s = 0 if depth.oldest_us is None else (self._now_us() - depth.oldest_us) / 1e6
        needed = out_s > self._interval_s or waited_s > 1.5 * self._interval_s  # after a restart
        self._fresh = not needed or await self._send_snapshot()

    async def _send_snapshot(self) -> bool:
        """True unless there is nothing to send yet."""
        columns = self._latest()
        if not columns:
            return False
        try:
            await self._link.snapshot(Snapshot(node=self._node, columns=columns))
        except (Malformed, TooLarge, Unsupported) as error:
            log.warning("the cloud does not take the snapshot: %s", error)  # the batches say the same, later
        return True

    async def _lane(self, lane: Lane, bodies: int | None) -> bool:
        """Send up to so many bodies of a lane; True when nothing is left."""
        if lane is Lane.URGENT:
            if not self._urgent and bodies is None:
                return True
            self._urgent = False
        sent = 0
        try:
            while bodies is None or sent < bodies:
                cut = await self._outbox.cut(lane, self._body_bytes)
                if cut is None:
                    self._answered.pop(lane, None)
                    return True
                await self._pause()
                self._must_move(lane, cut)
                if isinstance(cut, Place):
                    await self._heard(cut, await self._link.place(cut.epoch, cut.lane))
                else:
                    await self._send(cut)
                    sent += 1
        except BaseException:
            self._urgent |= lane is Lane.URGENT
            self._answered.pop(lane, None)
            raise
        return False

    def _must_move(self, lane: Lane, cut: Cut | Place) -> None:
        """An answer that leaves everything where it was is no answer: without a wait it would be asked for ever."""
        key = (cut.epoch, -1) if isinstance(cut, Place) else (cut.batch.epoch, cut.batch.first_seq)
        if self._answered.get(lane) == key:
            raise LinkDown("the cloud answers, but its answers move nothing")

    async def _send(self, cut: Cut) -> None:
        try:
            answer = await self._link.send(cut.batch)
        except TooLarge as error:
            await self._smaller(cut, error)
        except Malformed as error:
            self.refused += 1
            await self._smaller(cut, error)
        except LinkDown:
            # Perhaps it was too much for this link: half of it, and up again only in small steps.
            self._body_bytes = self._ceiling_bytes = max(MIN_BODY_BYTES, self._body_bytes // 2)
            raise
        else:
            self.batches += 1
            self.body_bytes += answer.sent_bytes
            self._size_next(cut, answer.took_s - answer.ack.held_s)
            await self._heard(cut, answer)

    def _size_next(self, cut: Cut, link_s: float) -> None:
        """By what the last body proves of the link. The time that the cloud had it in hand proves nothing: a busy city
        must not be sent more and smaller bodies, each of which costs it as much as a large one."""
        possible = cut.row_bytes / max(link_s, 0.001) * BODY_S
        if link_s < BODY_S / 2:  # a small body that took no time says little
            possible = max(possible, self._body_bytes)
        # Down at once, up by half of what the last body proves: one lucky body must not make the next take minutes.
        self._ceiling_bytes = min(MAX_CUT_BYTES, self._ceiling_bytes * CLIMB)
        wanted = min(possible, (self._body_bytes + possible) / 2, self._ceiling_bytes)
        self._body_bytes = int(min(MAX_CUT_BYTES, max(MIN_BODY_BYTES, wanted)))

    async def _smaller(self, cut: Cut, error: Malformed | TooLarge) -> None:
        """Halve until the body is taken or is a single row, which is then set aside."""
        if cut.rows == 0:
            raise LinkDown(f"the cloud cannot read a gap: {error}")
        if cut.rows == 1:
            log.error("set aside %s %d–%d: %s", cut.batch.lane, cut.batch.first_seq, cut.batch.through_seq, error)
            await self._outbox.quarantine(cut.batch, str(error))
            self._body_bytes = FIRST_BODY_BYTES
        else:
            self._body_bytes = max(1, self._body_bytes // 2)

    async def _heard(self, cut: Cut | Place, answer: Answer) -> None:
        ack = answer.ack
        epoch, lane = (cut.epoch, cut.lane) if isinstance(cut, Place) else (cut.batch.epoch, cut.batch.lane)
        if (ack.epoch, ack.lane) != (epoch, lane):
            raise LinkDown("the answer is about another lane or epoch")
        if (why := self._outbox.generations.ignored(ack.generation, self._now_us())) is not None:
            raise LinkDown(why)
        self._answered[lane] = (epoch, -1 if isinstance(cut, Place) else cut.batch.first_seq)
        if await self._outbox.confirm(ack):
            self.forks += 1
        now = self._monotonic()
        if self._down_since is not None:
            log.info("the cloud is back after %.0f s", now - self._down_since)
        if self._unsupported and not isinstance(cut, Place):
            self._unsupported = False
            self._put(self._version_alarm("cleared", "the cloud reads what this node writes again"))
        self.down, self._down_since, self.last_ack, self._tries = None, None, now, 0
        self._live_until = now + min(max(ack.live_s, 0), MAX_PAUSE_S)
        self._not_before = now + min(max(ack.pause_s, 0), MAX_PAUSE_S)
        if (fix := self._hear(ack.server_us, int(answer.took_s * 1e6))) is not None:
            self._put(fix)

    async def _pause(self) -> None:
        while (wait_s := self._not_before - self._monotonic()) > 0:
            await self._sleep(wait_s)
