"""Acks: what the cloud's answers move. Each says where its log stands; the card finds that place among its own row
ends and goes on from there, forward or back, or finds that the cloud has another past (ARCHITECTURE.md, the one rule).

Bound: what waits to be safe is what drivers have not acknowledged yet, and they state theirs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from edge.outbox.card import Card
from edge.outbox.forks import Forks
from edge.outbox.generations import GenerationCheck, Generations
from edge.outbox.records import Damaged, whole
from edge.outbox.runs import Run, row_id
from wire.batch import Ack, Lane
from wire.time import Utc

log = logging.getLogger(__name__)


class Acks:
    """Those for one card. Whoever gives one has the card to itself."""

    def __init__(
        self,
        card: Card,
        forks: Forks,
        generations: Generations,
        *,
        now_us: Callable[[], Utc],
        renewed: Callable[[], object],
    ) -> None:
        """`renewed` is called when a new run has begun because the old one may have lost some."""
        self._card, self._forks, self._generations = card, forks, generations
        self._now_us, self._renewed = now_us, renewed
        self._unsafe: list[tuple[int, int, asyncio.Future[None]]] = []  # (run, head): what only memory has

    async def take(self, ack: Ack) -> bool:
        """See `Outbox.confirm`."""
        heard = self._generations.hear(ack.generation, self._now_us())
        if heard is GenerationCheck.IGNORED:
            return False
        if heard is GenerationCheck.NEWER:
            for other in self._card.runs:
                other.ask = True
        run = next((r for r in self._card.runs if r.epoch == ack.epoch and r.lane is ack.lane), None)
        if run is None:
            return False
        if heard is GenerationCheck.DOUBTED:
            run.ask = True
            return False
        await self._forks.finish()  # one that a damaged file has cut short: a place among moved rows is not to be found
        run = self._card.runs.by_id(run.id)
        await self._compare_heads(run, ack)
        run = self._card.runs.by_id(run.id)
        run.ask = False
        through, digest = ack.through_seq, ack.digest
        if run.settled and through >= run.head:
            run.acked, run.dirty = run.head, True
            return False
        if (
            through < run.held_from - 1
            or await self._is_place(run, through, digest)
            or await self._in_hole(run, through)
        ):
            run.acked, run.told, run.dirty = through, digest, True
            self._settle()
            return False
        log.warning("run %d (%s) forked at %d: the cloud has another past", run.epoch, run.lane, through)
        await self._card.write(lambda: self._forks.begin(run.id, min(through, run.acked)))
        await self._forks.finish()
        self._renewed()
        return True

    async def _compare_heads(self, run: Run, ack: Ack) -> None:
        """The first answer about a run since the file was opened: has the cloud been told of more than it held then?"""
        held = run.opened_head
        if held is not None and ack.head_seq > held:
            log.error("epoch %d (%s) had %d entries, the card held %d", run.epoch, run.lane, ack.head_seq, held)
            await self._card.begin_after_loss()
            await self._forks.finish()
            self._renewed()
        elif run.unchecked:
            await self._card.write(lambda: self._card.runs.checked(self._card.runs.by_id(run.id)))
        else:
            run.opened_head = None

    async def _is_place(self, run: Run, seq: int, digest: bytes) -> bool:
        """Whether a row ends there with that digest.

        Raises:
            Damaged: the row is not there that should be, or not as it was written. To take that for another past would
                send what the cloud has again, under a new epoch.
        """
        if seq == run.held_from - 1:
            return digest == run.base
        if seq == run.head:
            return digest == run.head_digest
        if not 0 < seq < run.head:
            return False
        if await self._card.db.all("SELECT 1 FROM rows WHERE id = ? AND digest = ?", row_id(run, seq), digest):
            return True
        found = await self._card.db.all(
            "SELECT id, first_seq, from_us, to_us, digest, body, sum FROM rows WHERE id >= ? AND id <= ?"
            " ORDER BY id LIMIT 1",
            row_id(run, seq), row_id(run, run.head),
        )  # fmt: skip
        if not found or not whole(found[0][6], *found[0][:6]) or found[0][1] > seq:
            raise Damaged(f"the row with {seq} is missing, or not as it was written")
        return False

    async def _in_hole(self, run: Run, seq: int) -> bool:
        """Whether what the cloud has up to there may well be this run's, for nothing here says otherwise."""
        found = await self._card.db.all(
            "SELECT id, first_seq <= ? FROM rows WHERE id >= ? AND id <= ? ORDER BY id LIMIT 1",
            seq, row_id(run, seq), row_id(run, run.head),
        )  # fmt: skip
        return bool(found) and found[0][0] in self._card.holes and bool(found[0][1])

    def safe(self) -> asyncio.Future[None] | None:
        """See `Outbox.safe`."""
        if not self._card.memory:
            return None
        run = self._card.runs.open(Lane.BULK)
        if run.acked >= run.head:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsafe.append((run.id, run.head, future))
        return future

    def _settle(self) -> None:
        """What the city has now is safe."""
        acked = {r.id: r.acked for r in self._card.runs}
        waiting, self._unsafe = self._unsafe, []
        for run_id, head, future in waiting:
            if acked.get(run_id, 0) < head:
                self._unsafe.append((run_id, head, future))
            elif not future.done():
                future.set_result(None)

    def close(self) -> None:
        """Nothing becomes safe any more."""
        for _, _, future in self._unsafe:
            future.cancel()
