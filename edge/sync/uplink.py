"""The uplink: takes what waits in the outbox to the cloud, one batch in flight, and believes only acks.

Bulk goes every `push_interval_s`; urgent entries and live changes at once; every 2 s while the cloud says that
somebody is watching. After an outage it sends one Snapshot, then urgent, then bulk: fresh before complete. A bulk body
is sized to take at most 2 s at the rate last seen.

What the cloud refuses (400, 413) is halved down to one row; when that row may be set aside, and how long to wait before
each next try, `edge.sync.refusals` says. Until then its lane is held, and only its lane. A cloud that names places
which take nothing, or that are none of ours again and again, is left alone like one that cannot be reached.

Bounds: bodies of 16 to 512 KiB of rows; between tries of a failing link a random wait of up to 1, 2, 4 … `retry_max_s`,
which begins anew when something was taken; `pause_s` and Retry-After are obeyed up to an hour; a refused body is halved
at most 13 times, with the waits and the numbers of `edge.sync.refusals`; a refused snapshot is not sent again for 10
minutes; an unsupported version holds its lane for 10 minutes between tries and raises an alarm; at most MOVES answers
in a row that move a lane and take nothing, and FORKS forks of a lane within FORKS_S.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from drivers.errors import NotStored
from edge.alarms.own import UNSUPPORTED
from edge.clock import utc_us
from edge.outbox.contract import MAX_CUT_BYTES, Cut, Outbox, PositionQuery
from edge.sync.http import AckAnswer, LinkDown
from edge.sync.refusals import BURST_S, Refusals
from groundwork.backoff import Backoff, Jitter, full
from groundwork.liveness import Part
from wire.batch import ORIGIN, Ack, Batch, Lane, Snapshot
from wire.columns import Columns
from wire.contents import Contents
from wire.entries import Alarm, AlarmState, ClockFix, Entry, Gap
from wire.errors import Malformed, TooLarge, Unsupported
from wire.time import Micros, Utc

log = logging.getLogger(__name__)

BODY_S: Final = 2.0
MIN_BODY_BYTES: Final = 16 * 1024  # of rows, which become about a quarter of it
CLIMB: Final = 1.25  # how much more each body may be after one that did not get through
FIRST_BODY_BYTES: Final = 64 * 1024
LIVE_INTERVAL_S: Final = 2.0
FIRST_WAIT_S: Final = 1.0
UNSUPPORTED_WAIT_S: Final = 600.0
ATTEMPT_S: Final = 900.0  # of the longest `timeout_s` twice in all, and half of that
MAX_PAUSE_S: Final = 3600.0
MOVES: Final = 4
FORKS: Final = 4
FORKS_S: Final = 3600.0


class Link(Protocol):
    """What the uplink needs of `edge.sync.http.CloudLink`."""

    async def send(self, batch: Batch) -> AckAnswer:
        """Send one batch."""
        ...

    async def place(self, epoch: int, lane: Lane) -> AckAnswer:
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
        hear: Callable[[Utc, Micros], ClockFix | None],
        watched: Callable[[bool], None] = lambda _: None,
        now_us: Callable[[], Utc] = utc_us,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Jitter = full,
        max_wait_s: float = 300,
        alive: Part | None = None,
    ) -> None:
        """`alive` is told of each attempt and each wait."""
        self.alive = Part("uplink", monotonic) if alive is None else alive
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
        self._backoff = Backoff(first_s=FIRST_WAIT_S, longest_s=max_wait_s, jitter=jitter, clock=monotonic)
        self._refusals = {lane: Refusals() for lane in Lane}
        self._held: dict[Lane, float] = {}  # until when a lane is left alone
        self._why_held: dict[Lane, str] = {}
        self._refused_bytes: dict[Lane, int] = {}  # the most that a body may hold while its lane is refused
        self._moves = dict.fromkeys(Lane, 0)  # answers in a row that moved a lane and took nothing
        self._forked: dict[Lane, deque[float]] = {lane: deque(maxlen=FORKS) for lane in Lane}
        self._no_snapshot_until = 0.0
        self._unsupported: set[Lane] = set()
        self._unsupported_us = Utc(0)
        self.taken: set[Lane] = set()  # lanes of which the cloud has taken something since the start
        self.set_aside = 0
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
        await self._remember()
        while True:
            await self._wait()
            await self._until_up(self._push)

    @property
    def held(self) -> str | None:
        """Why the cloud is sent less than there is, in words; None while it takes what it gets."""
        return next((self._why_held[lane] for lane in Lane if lane in self._why_held), None)

    async def _remember(self) -> None:
        """What was given up shortly before a restart counts: a node that starts again and again gives up no more."""
        try:
            aside = await self._outbox.set_aside()
        except NotStored as error:
            log.warning("what was set aside cannot be looked up: %s", error)
            return
        now, now_us = self._monotonic(), self._now_us()
        for lane in Lane:
            ages = [(now_us - a.aside_us) / 1e6 for a in aside if a.lane is lane and a.sendable and a.aside_us]
            self._refusals[lane] = Refusals(sorted(now - abs(age) for age in ages if abs(age) < BURST_S))

    def _hold(self, lane: Lane, wait_s: float) -> None:
        """Leave a lane alone for a while; the other one goes on."""
        self._held[lane] = self._monotonic() + wait_s

    def _let_go(self) -> None:
        """Lanes that were held for long enough are due."""
        now = self._monotonic()
        for lane in [lane for lane, until in self._held.items() if until <= now]:
            del self._held[lane]
            self._urgent |= lane is Lane.URGENT
            self._bulk |= lane is Lane.BULK

    async def _wait(self) -> None:
        """Until something is due. Bulk is due by its interval, which is short while somebody watches."""
        self._let_go()
        while not (self._urgent or self._bulk):
            now = self._monotonic()
            live = now < self._live_until
            self._watched(live)  # so that commits keep pace
            due = min(self._next_push, now + LIVE_INTERVAL_S) if live else self._next_push
            due = min(due, *self._held.values()) if self._held else due
            if now >= due:
                break
            self._wake.clear()
            try:
                async with asyncio.timeout(due - now):
                    await self._wake.wait()
            except TimeoutError:
                break
        self._let_go()
        if self._monotonic() >= self._next_push or self._monotonic() < self._live_until:
            self._bulk = True

    async def _until_up(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try until the link takes everything, with full jitter between tries; a body that is taken begins it anew."""
        while True:
            try:
                await work()
            except (LinkDown, NotStored) as error:
                self._went_down(error)
                asked = min(error.retry_s, MAX_PAUSE_S) if isinstance(error, LinkDown) else 0
                await self._sleeps(asked + self._backoff.failed())
                self._let_go()
            else:
                self._backoff.succeeded()
                return

    def _went_down(self, error: Exception) -> None:
        self.failures += 1
        if self.down is None or self._down_since is None:
            log.warning("the cloud is out of reach: %s", error)
            self._down_since = self._monotonic()
        self.down = str(error)
        self._fresh = False

    def _not_understood(self, lane: Lane, error: Unsupported) -> None:
        """It reads other versions: nothing is given up for that, however long it takes."""
        self.failures += 1
        detail = f"the cloud reads versions {list(error.accepts)} of batches only: update one of the two"
        if not self._unsupported:
            log.warning("%s", detail)
            self._put(self._version_alarm("raised", detail))
        self._unsupported.add(lane)
        self._why_held[lane] = detail
        self._hold(lane, UNSUPPORTED_WAIT_S + self._jitter(self._max_wait_s))

    def _understood(self, lane: Lane) -> None:
        if lane in self._unsupported:
            self._unsupported.discard(lane)
            self._why_held.pop(lane, None)
            if not self._unsupported:
                self._put(self._version_alarm("cleared", "the cloud reads what this node writes again"))

    def _version_alarm(self, state: AlarmState, detail: str) -> Alarm:
        now_us = self._now_us()
        if state == "raised":
            self._unsupported_us = now_us
        return Alarm(
            id=f"{self._node}/{UNSUPPORTED}",
            device=self._node,
            rule=UNSUPPORTED,
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
        if self._monotonic() < self._no_snapshot_until:
            return True
        columns = self._latest()
        if not columns:
            return False
        try:
            with self.alive.busy(ATTEMPT_S, "an attempt"):
                await self._link.snapshot(Snapshot(node=self._node, columns=columns))
        except (Malformed, TooLarge, Unsupported) as error:
            self._no_snapshot_until = self._monotonic() + UNSUPPORTED_WAIT_S
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
                if self._monotonic() < self._held.get(lane, 0.0):
                    return True  # nothing that may be sent now
                cut = await self._outbox.cut(lane, min(self._body_bytes, self._refused_bytes.get(lane, MAX_CUT_BYTES)))
                if cut is None:
                    self._understood(lane)
                    self._answered.pop(lane, None)
                    return True
                await self._pause()
                self._must_move(lane, cut)
                if isinstance(cut, PositionQuery):
                    await self._ask(cut)
                else:
                    await self._send(cut)
                    sent += 1
        except BaseException:
            self._urgent |= lane is Lane.URGENT
            self._answered.pop(lane, None)
            raise
        return False

    def _must_move(self, lane: Lane, cut: Cut | PositionQuery) -> None:
        """An answer that leaves everything where it was is no answer: without a wait it would be asked for ever."""
        key = (cut.epoch, -1) if isinstance(cut, PositionQuery) else (cut.batch.epoch, cut.batch.first_seq)
        if self._answered.get(lane) == key:
            raise LinkDown("the cloud answers, but its answers move nothing")

    async def _ask(self, place: PositionQuery) -> None:
        try:
            with self.alive.busy(ATTEMPT_S, "an attempt"):
                answer = await self._link.place(place.epoch, place.lane)
        except Unsupported as error:
            self._not_understood(place.lane, error)
        else:
            await self._heard(place, answer)

    async def _send(self, cut: Cut) -> None:
        try:
            with self.alive.busy(ATTEMPT_S, "an attempt"):
                answer = await self._link.send(cut.batch)
        except (TooLarge, Malformed) as error:
            self.refused += isinstance(error, Malformed)
            await self._smaller(cut, error)
        except Unsupported as error:
            self._not_understood(cut.batch.lane, error)
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
        """Halve until the body is taken or is a single row; that is set aside when it may be, and held until then."""
        lane, now = cut.batch.lane, self._monotonic()
        if cut.rows == 0:
            raise LinkDown(f"the cloud cannot read a gap: {error}")
        refusals = self._refusals[lane]
        if cut.rows > 1:
            self._refused_bytes[lane] = max(1, min(cut.row_bytes, self._refused_bytes.get(lane, MAX_CUT_BYTES)) // 2)
            self._hold(lane, self._jitter(refusals.refused(None)))
            return
        first, through = cut.batch.first_seq, cut.batch.through_seq
        self._refused_bytes[lane] = 1  # this row again, and nothing with it
        again_s = self._jitter(refusals.refused((cut.batch.epoch, first, through)))
        # A gap says what is lost already: to give it up would only put another one in its place.
        if not _only_gaps(cut.batch) and refusals.may_give_up(now):
            if await self._outbox.quarantine(cut.batch, str(error)):
                log.error("set aside %s %d–%d: %s", lane, first, through, error)
                self.set_aside += 1
                refusals.gave_up(now)
                self._refused_bytes.pop(lane, None)
                return
            why = "what was set aside fills its room: see `lamplighter-edge quarantine list`"
        else:
            why = "nothing is given up for it"
        if not (refusals.ripe or refusals.held):
            self._hold(lane, again_s)
            return
        wait_s = refusals.hold()
        if lane not in self._why_held:
            log.error("the cloud refuses %s %d–%d and its lane is held; %s: %s", lane, first, through, why, error)
        self._why_held[lane] = f"the cloud refuses what is sent to it ({lane}), {why}: {error}"[:1_000]
        self._hold(lane, wait_s / 2 + self._jitter(wait_s / 2))

    async def _heard(self, cut: Cut | PositionQuery, answer: AckAnswer) -> None:
        ack = answer.ack
        epoch, lane = (cut.epoch, cut.lane) if isinstance(cut, PositionQuery) else (cut.batch.epoch, cut.batch.lane)
        if (ack.epoch, ack.lane) != (epoch, lane):
            raise LinkDown("the answer is about another lane or epoch")
        if (why := self._outbox.generations.ignored(ack.generation, self._now_us())) is not None:
            raise LinkDown(why)
        self._answered[lane] = (epoch, -1 if isinstance(cut, PositionQuery) else cut.batch.first_seq)
        await self._believe(lane, cut, ack)
        now = self._monotonic()
        if self._down_since is not None:
            log.info("the cloud is back after %.0f s", now - self._down_since)
        self.down, self._down_since, self.last_ack = None, None, now
        self._live_until = now + min(max(ack.live_s, 0), MAX_PAUSE_S)
        self._not_before = now + min(max(ack.pause_s, 0), MAX_PAUSE_S)
        if (fix := self._hear(ack.server_us, Micros(answer.took_s * 1e6))) is not None:
            self._put(fix)

    async def _believe(self, lane: Lane, cut: Cut | PositionQuery, ack: Ack) -> None:
        """Go where the cloud says that it stands, as long as that leads somewhere.

        Raises:
            LinkDown: it has named places that are none of ours, or that take nothing, too often.
        """
        taken = isinstance(cut, Cut) and (ack.through_seq, ack.digest) == (cut.batch.through_seq, cut.batch.digest)
        forks, now = self._forked[lane], self._monotonic()
        harmless = taken or (ack.through_seq, ack.digest) == (0, ORIGIN)
        if not harmless and len(forks) == FORKS and now - forks[0] < FORKS_S:
            raise LinkDown(f"the cloud has had another past than this node {FORKS} times within the hour")
        if await self._outbox.confirm(ack):
            self.forks += 1
            forks.append(now)
        if taken:
            assert isinstance(cut, Cut)
            self._took(lane, cut)
        elif isinstance(cut, Cut):
            self._moves[lane] += 1
            if self._moves[lane] > MOVES:
                raise LinkDown("the places that the cloud names take nothing")

    def _took(self, lane: Lane, cut: Cut) -> None:
        """The cloud has taken a body."""
        self._backoff.succeeded()
        self._moves[lane] = 0
        more = not _only_gaps(cut.batch)
        self._refusals[lane].taken(more_than_gaps=more)
        if (refused := self._refused_bytes.get(lane)) is not None:
            self._refused_bytes[lane] = max(2 * refused, cut.row_bytes)
            if self._refused_bytes[lane] >= self._body_bytes:
                del self._refused_bytes[lane]
        if more:
            self.taken.add(lane)
            if self._why_held.pop(lane, None) is not None:
                log.info("the cloud takes %s again", lane)
        self._understood(lane)

    async def _pause(self) -> None:
        while (wait_s := self._not_before - self._monotonic()) > 0:
            await self._sleeps(wait_s)

    async def _sleeps(self, wait_s: float) -> None:
        self.alive.waits(wait_s)
        await self._sleep(wait_s)
        self.alive.rest()


def _only_gaps(batch: Batch) -> bool:
    """Whether a body says nothing but what is lost."""
    contents = Contents.placed(batch.entries)
    return not contents.tables and all(isinstance(placed.entry, Gap) for placed in contents.others)
