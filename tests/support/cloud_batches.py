"""A node's outbox in a few lines, and random things to put into it: for tests of the cloud's half."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import get_args

import msgspec

from cloud.log.batch_facts import BatchFacts, facts_of
from cloud.log.contract import Log, Taken
from wire import codec
from wire.batch import ORIGIN, Batch, Lane, Placed, Predecessor, Snapshot, advance
from wire.columns import Columns
from wire.device import Device, Point, Roster
from wire.entries import Alarm, ClockFix, Decision, Decisions, Entry, Gap, Health, Mark, Result, Stage, Visit, VisitAct
from wire.sample import Clock, Sample, Value

START_US = 1_790_000_000_000_000
SECOND = 1_000_000
SYNCED = Clock(1, synced=True)


class Ticking:
    """A clock that moves only when it is told to."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us

    def tick(self, seconds: float) -> None:
        self.now_us += int(seconds * SECOND)


class Sender:
    """One epoch of one node: numbers entries, chains digests, makes batches.

    `after` is what the first batch of each lane says of its predecessor: another sender, at where that one is now; None
    where the card is new; UNSET where the node cannot say. `whole` is whether the card still had all of that.
    """

    def __init__(
        self,
        node: str = "cab-1",
        epoch: int = 7,
        after: Sender | msgspec.UnsetType | None = msgspec.UNSET,
        *,
        whole: bool = True,
    ) -> None:
        self.node, self.epoch, self._after, self._whole = node, epoch, after, whole
        self.seqs = dict.fromkeys(Lane, 0)
        self.digests = dict.fromkeys(Lane, ORIGIN)

    def batch(self, *entries: Entry, lane: Lane = Lane.BULK, ahead: int = 0) -> Batch:
        """The next batch; `ahead` is how much more the node says that it holds."""
        placed: list[Placed] = []
        at = 0
        for entry in entries:
            width = entry.n if isinstance(entry, Columns) else entry.seqs if isinstance(entry, Gap) else 1
            placed.append(Placed(range(at, at + width), entry))
            at += width
        first, prev = self.seqs[lane] + 1, self.digests[lane]
        digest = advance(prev, codec.encode_row(placed))
        self.seqs[lane] += at
        self.digests[lane] = digest
        return Batch(
            node=self.node,
            epoch=self.epoch,
            lane=lane,
            first_seq=first,
            through_seq=self.seqs[lane],
            prev=prev,
            digest=digest,
            held_from=1,
            head_seq=self.seqs[lane] + ahead,
            entries=placed,
            predecessor=msgspec.UNSET if first > 1 else self._predecessor(lane),
        )

    def _predecessor(self, lane: Lane) -> Predecessor | msgspec.UnsetType | None:
        if not isinstance(self._after, Sender):
            return self._after
        return Predecessor(self._after.epoch, self._after.seqs[lane], self._after.digests[lane], whole=self._whole)


def opened(batch: Batch) -> tuple[Batch, BatchFacts, bytes]:
    """A batch as ingest hands it on."""
    body = codec.encode_batch(batch)
    decoded = codec.decode_batch(body)
    return decoded, facts_of(decoded), body


async def send(log: Log, batch: Batch) -> Taken:
    """Append as ingest does."""
    return await log.append(*opened(batch))


def columns(
    device: str = "lamp-001",
    at_us: int = START_US,
    n: int = 3,
    step_us: int = SECOND,
    clock: Clock = SYNCED,
    **points: Value,
) -> Columns:
    """n samples of a counter, and of what else is given."""
    samples = [Sample(device, at_us + i * step_us, clock, {"n": i, **points}) for i in range(n)]
    return Columns.of(samples)


def roster(*devices: str, kind: str = "streetlight", stale_after_s: float | None = 60.0) -> Roster:
    """A roster of devices of one kind."""
    return Roster(
        devices=tuple(Device(id=d, kind=kind, profile="p", lon=5.04, lat=47.32) for d in devices),
        profiles={"p": (Point(name="n", type="int", unit="W", writable=True, stale_after_s=stale_after_s),)},
    )


class Weather:
    """Random entries of a few nodes and devices, on clocks that are sometimes wrong."""

    def __init__(self, seed: int, now: Ticking) -> None:
        self.rng = random.Random(seed)
        self.now = now
        self.senders = {n: [Sender(n, self.rng.getrandbits(40))] for n in ("cab-1", "cab-2", "cab-3")}
        self.devices = {"cab-1": ["a", "b", "x/1"], "cab-2": ["c", "a"], "cab-3": ["d"]}

    def batch(self) -> Batch:
        rng = self.rng
        node = rng.choice(list(self.senders))
        if rng.random() < 0.04:
            self.senders[node].append(Sender(node, rng.getrandbits(40)))
        sender = self.senders[node][-1 if rng.random() < 0.9 else 0]
        if rng.random() < 0.7:
            entries: list[Entry] = [self.columns(node) for _ in range(rng.randint(1, 4))]
            return sender.batch(*entries, lane=Lane.BULK, ahead=rng.choice([0, 0, 5]))
        return sender.batch(*[self.other(node) for _ in range(rng.randint(1, 3))], lane=Lane.URGENT)

    def columns(self, node: str) -> Columns:
        rng = self.rng
        device = rng.choice(self.devices[node])
        clock = Clock(rng.choice([1, 2]), synced=True) if rng.random() < 0.7 else Clock(rng.randint(1, 3), synced=False)
        at = self.now() - rng.choice([0, 60, 3600, 90_000, 40 * 86_400]) * SECOND
        step = rng.choice([SECOND, 60 * SECOND, 7])
        samples: list[Sample] = []
        for i in range(rng.choice([1, 2, 5, 40])):
            values: dict[str, Value] = {"n": rng.randint(0, 9), "t": rng.choice([1.5, -0.0, float("nan"), None, "on"])}
            if rng.random() < 0.3:
                del values[rng.choice(list(values))]
            quality = {p: "bad:no answer" for p in values if rng.random() < 0.1}
            when = at + i * step - rng.choice([0, 0, 0, 3 * SECOND])
            samples.append(Sample(device, when, clock, values, quality))
        return Columns.of(samples)

    def other(self, node: str) -> Entry:
        rng, now_us = self.rng, self.now()
        kind = rng.randrange(8)
        if kind == 0:
            names = [d for d in self.devices[node] if rng.random() < 0.8]
            return roster(*names, kind=rng.choice(["streetlight", "bin"]))
        if kind == 1:
            return Health(time_us=now_us, verdict=rng.choice(["ok", "degraded"]), interval_s=rng.choice([30, 60]))
        if kind == 2:
            return ClockFix(boot=rng.randint(1, 3), offset_us=rng.randint(-5, 5) * 1800 * SECOND, error_us=10)
        if kind == 3:
            return Gap(reason="full", lost=rng.randint(0, 9), seqs=rng.randint(1, 9), devices=("a",), from_us=now_us)
        boot = rng.choice([None, None, 1, 2, 3])
        if kind == 4 and now_us // SECOND % 2:  # no more is drawn for it: all else stays as it was
            n = now_us // SECOND // 2
            until_us = (None, now_us + 3_600 * SECOND)[n % 2]
            act = get_args(VisitAct)[n % 4]
            return Visit(visit=f"v-{n % 3}", by="anna", act=act, time_us=now_us, until_us=until_us, boot=boot)
        if kind == 4 and now_us // SECOND % 4:
            return Decisions(
                time_us=now_us, decided=self.decided(node, now_us), plan=f"p {now_us // SECOND % 3}", boot=boot
            )
        if kind == 4:
            return Mark(device="a", rule="r", tag="t", time_us=now_us, values={"t": float("nan")}, boot=boot)
        if kind in {5, 6}:
            stage = rng.choice(get_args(Stage))
            order = f"o-{rng.randint(1, 6)}"
            back = rng.choice([None, 5, float("-inf")])
            return Result(order=order, stage=stage, time_us=now_us, device="a", point="n", read_back=back, boot=boot)
        state = rng.choice(["raised", "acknowledged", "cleared", "shelved"])
        return Alarm(
            id=f"al-{rng.randint(1, 4)}",
            device=rng.choice(self.devices[node]),
            rule="r",
            severity="high",
            state=state,
            raised_us=now_us,
            time_us=now_us,
            values={"t": float("inf")},
            boot=boot,
        )

    def decided(self, node: str, now_us: int) -> tuple[Decision, ...]:
        n = now_us // SECOND // 4
        level = (None, "technician", "plan")[n % 3]
        devices = tuple(self.devices[node][n % 2 :])
        value = None if level is None else float(n % 5)
        return tuple(
            Decision(
                point=point, devices=devices, level=level, value=value, by=f"{n % 4}", until_us=(None, now_us)[n % 2]
            )
            for point in ("n", "t")[: 1 + n % 2]
        )

    def snapshot(self) -> Snapshot:
        node = self.rng.choice(list(self.senders))
        return Snapshot(node=node, columns=[self.columns(node)])


def places(batch: Batch) -> Sequence[str]:
    """The ids of a batch's samples."""
    stem = f"{batch.node}/{batch.epoch}/{batch.lane.value}/"
    return [f"{stem}{batch.first_seq + p}" for i in batch.entries if isinstance(i.entry, Columns) for p in i.places]
