"""The one rule against the real log, under every single kind of disaster.

A small node stands for the outbox; the network drops, doubles and reorders; the log is killed back to older
backups, in a new generation each time; cards are rolled back, cloned, wiped; full disks turn rows into gaps. After
a drain without faults every accepted row is in the log, inside a gap, or in an epoch that the ledger calls unfinished,
also one that went with its card and of which nobody had been told; rows are doubled only after a fork, never inside one
epoch; and where nothing died and nothing forked, the ledger is exact.

The small node cannot see that its card went back: what it then lost is not asked for here, but with the real outbox in
`tests/faults/test_one_rule.py`.
"""

from __future__ import annotations

import copy
import random
import shutil
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.log.contract import Log
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.sqlite import backup
from cloud.store import opened as opened_store
from support.cloud_batches import START_US, Ticking, columns, send
from wire import codec
from wire.batch import ORIGIN, Batch, Lane, Placed, Predecessor, advance
from wire.columns import Columns
from wire.entries import Entry, Gap

KINDS = {"append": 30, "send": 20, "deliver": 20, "hear": 15, "prune": 3, "overflow": 2, "backup": 2, "card": 2}
DISASTERS = {"none": {}, "restore": {"restore": 1}, "roll": {"roll": 0.5, "clone": 0.3}, "wipe": {"wipe": 0.3}}


class Epoch:
    """Rows of one sample or one gap, and the running digest after each."""

    def __init__(self, epoch: int, before: Epoch | None = None) -> None:
        self.epoch = epoch
        self.before = before  # on the same card
        self.rows: list[tuple[int, Entry, bytes]] = []
        self.head, self.head_digest = 0, ORIGIN
        self.acked, self.told = 0, ORIGIN
        self.held_from, self.base = 1, ORIGIN
        self.ask, self.closed = True, False

    def append(self, entry: Entry) -> None:
        self.head += 1
        self.head_digest = advance(self.head_digest, codec.encode_row([Placed((0,), entry)]))
        self.rows.append((self.head, entry, self.head_digest))

    def batch(self, rng: random.Random) -> Batch | None:
        first = self.acked + 1
        if first < self.held_from:
            gap = Gap(reason="gone", lost=self.held_from - first, seqs=self.held_from - first)
            return self._batch(first, self.held_from - 1, self.base, [Placed(range(gap.seqs), gap)])
        rows = [r for r in self.rows if r[0] >= first][: rng.randint(1, 4)]
        if not rows:
            return None
        placed: list[Placed] = []
        at = first
        for last, entry, _ in rows:
            placed.append(Placed(range(at - first, last + 1 - first), entry))
            at = last + 1
        return self._batch(first, rows[-1][0], rows[-1][2], placed)

    def _batch(self, first: int, last: int, digest: bytes, placed: list[Placed]) -> Batch:
        return Batch(
            node="cab-1",
            epoch=self.epoch,
            lane=Lane.BULK,
            first_seq=first,
            through_seq=last,
            prev=self.told,
            digest=digest,
            held_from=self.held_from,
            head_seq=self.head,
            entries=placed,
            predecessor=self.predecessor() if first == 1 else msgspec.UNSET,
        )

    def predecessor(self) -> Predecessor | None:
        before = self.before
        while before is not None and not before.head:
            before = before.before
        if before is None:
            return None
        digest = before.digest_at(before.head)
        assert digest is not None
        return Predecessor(before.epoch, before.head, digest)

    def digest_at(self, through: int) -> bytes | None:
        if through == 0:
            return ORIGIN
        if through == self.held_from - 1:
            return self.base
        return next((d for seq, _, d in self.rows if seq == through), None)


class Card:
    """A node's outbox, and how it hears."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.epochs = [Epoch(rng.getrandbits(48))]
        self.generation = 0

    def ask(self) -> tuple[int, Batch | None] | None:
        """An epoch whose place is wanted, or a batch."""
        for epoch in self.epochs:
            if epoch.ask:
                return epoch.epoch, None
            batch = epoch.batch(self.rng)
            if batch is not None:
                return epoch.epoch, batch
        return None

    def hear(self, generation: int, number: int, through: int, digest: bytes) -> bool:
        """An answer; True when it made an epoch go on under a new one."""
        if generation < self.generation:
            return False
        if generation > self.generation:
            self.generation = generation
            for epoch in self.epochs:
                epoch.ask = True
        epoch = next((e for e in self.epochs if e.epoch == number), None)
        if epoch is None:
            return False
        epoch.ask = False
        if epoch.closed and through >= epoch.head:
            epoch.acked = epoch.head
            return False
        if through < epoch.held_from - 1 or epoch.digest_at(through) == digest:
            epoch.acked, epoch.told = through, digest
            return False
        new = Epoch(self.rng.getrandbits(48), self.epochs[-1])
        new.ask = False
        keep = min(through, epoch.acked)
        for seq, entry, _ in epoch.rows:
            if seq > keep:
                new.append(entry)
                if isinstance(entry, Gap):  # it keeps its width
                    new.rows.pop()
                    new.head += entry.seqs - 1
                    new.rows.append((new.head, entry, new.head_digest))
        epoch.rows = [r for r in epoch.rows if r[0] <= keep]
        epoch.head = epoch.rows[-1][0] if epoch.rows else epoch.held_from - 1
        epoch.closed, epoch.acked = True, epoch.head
        self.epochs.append(new)
        return True

    def prune(self) -> None:
        epoch = self.rng.choice(self.epochs)
        acked = [r for r in epoch.rows if r[0] <= epoch.acked]
        k = self.rng.randint(0, len(acked))
        if k:
            epoch.base = epoch.rows[k - 1][2]
            epoch.rows = epoch.rows[k:]
            epoch.held_from = acked[k - 1][0] + 1

    def overflow(self) -> list[int]:
        epoch = self.epochs[-1]
        waiting = [r for r in epoch.rows if r[0] > epoch.acked]
        if len(waiting) < 3:
            return []
        lost = waiting[: self.rng.randint(1, len(waiting) - 1)]
        first = max([r[0] for r in epoch.rows if r[0] < lost[0][0]], default=epoch.held_from - 1) + 1
        gap = Gap(reason="full", lost=len(lost), seqs=lost[-1][0] - first + 1)
        kept = [r for r in epoch.rows if r[0] > lost[-1][0]]
        epoch.rows = [r for r in epoch.rows if r[0] < first] + [(lost[-1][0], gap, lost[-1][2])] + kept
        return [c for r in lost for c in contents(r[1])]

    def contents(self) -> list[int]:
        return [c for e in self.epochs for _, entry, _ in e.rows for c in contents(entry)]

    def places(self) -> dict[int, tuple[int, int]]:
        """Each content, the epoch that it is in, and the end of its row."""
        return {c: (e.epoch, seq) for e in self.epochs for seq, entry, _ in e.rows for c in contents(entry)}


def contents(entry: Entry) -> list[int]:
    return [s.time_us - START_US for s in entry.samples()] if isinstance(entry, Columns) else []


class MemoryCloud:
    def __init__(self) -> None:
        self.now = Ticking()
        self.views = MemoryViews(self.now)
        self.log: Log = MemoryLog(self.views, self.now)
        self.kept: Any = None

    async def start(self) -> None:
        self.backup_sync()

    def backup_sync(self) -> None:
        assert isinstance(self.log, MemoryLog)
        views = (self.views._batches, self.views._expanded)
        self.kept = copy.deepcopy((views, self.log._records, self.log._streams))

    async def backup(self) -> None:
        self.backup_sync()

    async def restore(self) -> None:
        generation = self.log.generation + 1
        self.views = MemoryViews(self.now)
        log = MemoryLog(self.views, self.now, generation)
        views, log._records, log._streams = copy.deepcopy(self.kept)
        self.views._batches, self.views._expanded = views
        self.log = log

    async def close(self) -> None:
        pass


class SqliteCloud:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = Ticking()
        self.stack = AsyncExitStack()

    async def start(self) -> None:
        await self._open()
        await self.backup()

    async def _open(self) -> None:
        store = await self.stack.enter_async_context(opened_store(self.directory / "data", self.now))
        self.log, self.views = store.log, store.views

    async def backup(self) -> None:
        shutil.rmtree(self.directory / "kept", ignore_errors=True)
        backup.back_up(self.directory / "data", self.directory / "kept")

    async def restore(self) -> None:
        await self.stack.aclose()
        backup.restore(self.directory / "data", self.directory / "kept", self.now)
        await self._open()

    async def close(self) -> None:
        await self.stack.aclose()


async def deliver(log: Log, number: int, batch: Batch | None) -> tuple[int, int, int, bytes]:
    place = await log.place("cab-1", number, Lane.BULK) if batch is None else (await send(log, batch)).place
    return log.generation, place.epoch, place.through_seq, place.digest


async def drain(card: Card, log: Log) -> bool:
    forked = False
    for _ in range(400):
        asked = card.ask()
        if asked is None:
            return forked
        forked |= card.hear(*await deliver(log, *asked))
    raise AssertionError("never drains")


@pytest.mark.parametrize("disaster", list(DISASTERS))
@pytest.mark.parametrize(("where", "seeds"), [("memory", range(25)), ("sqlite", range(4))])
async def test_nothing_is_lost_untold_and_nothing_doubled_without_a_fork(
    tmp_path: Path, where: str, seeds: range, disaster: str
) -> None:
    for seed in seeds:
        cloud = MemoryCloud() if where == "memory" else SqliteCloud(tmp_path / str(seed))
        await cloud.start()
        try:
            await weather(cloud, seed, disaster)
        finally:
            await cloud.close()


async def weather(cloud: MemoryCloud | SqliteCloud, seed: int, disaster: str) -> None:
    rng = random.Random(f"{disaster} {seed}")
    card, clones, kept = Card(rng), list[Card](), Card(rng)
    net: list[tuple[Card, tuple[int, Batch | None]]] = []
    answers: list[tuple[Card, tuple[int, int, int, bytes]]] = []
    accepted = 0
    gone: set[int] = set()
    died: dict[int, tuple[int, int]] = {}
    forked = False
    kinds = {**KINDS, **DISASTERS[disaster]}
    weights = [w * rng.choice((0.2, 1, 1, 4)) for w in kinds.values()]  # each seed its own weather
    for what in rng.choices(list(kinds), weights, k=150):
        cloud.now.tick(1)
        live = [card, *clones]
        one = rng.choice(live)
        if what == "append":
            accepted += 1
            one.epochs[-1].append(columns(at_us=START_US + accepted, n=1))
        elif what == "send" and (asked := one.ask()) is not None:
            net.append((one, asked))
        elif what == "deliver" and net:
            i = rng.randrange(len(net))
            who, asked = net[i]
            if rng.random() < 0.8:
                net.pop(i)
            answer = await deliver(cloud.log, *asked)
            if rng.random() < 0.85:
                answers.append((who, answer))
        elif what == "hear" and answers:
            who, answer = answers.pop(rng.randrange(len(answers)))
            if who in live and rng.random() < 0.85:
                forked |= who.hear(*answer)
        elif what == "prune":
            one.prune()
        elif what == "overflow":
            gone.update(one.overflow())
        elif what == "backup":
            await cloud.backup()
        elif what == "restore":
            await cloud.restore()
        elif what == "card":
            kept = copy.deepcopy(card)
        elif what == "roll" and not clones:
            older = copy.deepcopy(kept)
            older.rng = rng
            gone.update(set(card.contents()) - set(older.contents()))
            answers, card, forked = [], older, True
        elif what == "clone" and not clones:
            clone = copy.deepcopy(card)
            clone.rng = rng
            clones, forked = [clone], True
        elif what == "wipe":
            died |= card.places()
            card = Card(rng)
    accepted += 1
    card.epochs[-1].append(columns(at_us=START_US + accepted, n=1))  # a card that says nothing follows nothing
    for who in (card, *clones, card):
        forked |= await drain(who, cloud.log)
        for epoch in who.epochs:
            epoch.ask = True
        forked |= await drain(who, cloud.log)
    detail = await cloud.views.node("cab-1")
    assert detail is not None
    held = await judge(cloud.log, accepted, gone | set(died), forked=forked)
    lanes = {p.epoch: p for p in detail.ledger.lanes}
    short = {u.epoch: u for u in detail.ledger.unfinished}
    for content, (epoch, seq) in died.items():
        if content not in held and epoch in lanes:
            assert lanes[epoch].state == "unfinished", f"{content} died in {epoch}, which is {lanes[epoch].state}"
            assert seq >= short[epoch].from_seq
    if not forked and not died:
        assert detail.ledger.missing.certainty == "exact"


async def judge(log: Log, accepted: int, gone: set[int], *, forked: bool) -> Counter[int]:
    held: Counter[int] = Counter()
    inside: Counter[tuple[int, int]] = Counter()
    seqs: Counter[tuple[int, int]] = Counter()
    told = 0
    after = 0
    while records := await log.read(after, 50):
        for record in records:
            after = record.position
            if record.notice:
                continue
            batch = codec.decode_batch(record.body)
            for item in batch.entries:
                if isinstance(item.entry, Gap):
                    told += item.entry.seqs
                else:
                    seqs.update((batch.epoch, batch.first_seq + p) for p in item.places)
                    held.update(contents(item.entry))
                    inside.update((batch.epoch, c) for c in contents(item.entry))
    assert all(n == 1 for n in seqs.values()), "two contents at one seq"
    assert all(n == 1 for n in inside.values()), "doubled inside an epoch"
    assert forked or all(n == 1 for n in held.values()), "doubled without a fork"
    missing = [c for c in range(1, accepted + 1) if c not in held and c not in gone]
    assert len(missing) <= told, f"{len(missing)} silently missing, {told} told"
    return held
