"""Quarantine: rows that the cloud has refused, kept on the card beside the outbox until somebody sends them again.

Each is exactly as it was sealed; a Gap stands in its place in the run. Sent again, it becomes a new row at the head of
its lane and leaves the quarantine in the same transaction. Nothing that was refused is ever dropped from here: when the
quarantine is full, no row can be set aside any more. Rows that were damaged on the card lie here too, to be looked at;
they cannot be sent, and only the latest are kept.

Bounds: MAX_ROWS refused rows, of MAX_BYTES or an eighth of the outbox together; the latest DAMAGED_ROWS damaged ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from edge.outbox.card import Card
from edge.outbox.contract import SetAside
from edge.outbox.records import SEQ_BITS, seq_of
from edge.outbox.runs import Run, row_id
from edge.outbox.sealing import Sealed, sealed_again
from wire.batch import Lane
from wire.errors import BadInput
from wire.time import Utc

MAX_ROWS: Final = 512
MAX_BYTES: Final = 2 * 1024 * 1024
DAMAGED_ROWS: Final = 8
SEND_ROWS: Final = 16  # a transaction
_DAMAGED: Final = "damaged on the card"


class Quarantine:
    """On one card. What is here trusts its one caller to do one thing at a time."""

    def __init__(self, card: Card, *, now_us: Callable[[], Utc]) -> None:
        self._card, self._now_us = card, now_us
        self.count = 0  # of all rows here, damaged ones included

    async def open(self) -> None:
        """Look what is there; files of earlier versions say of no row when it was set aside."""
        names = [row[1] for row in await self._card.db.all("PRAGMA table_info(quarantine)")]
        if "aside_us" not in names:
            await self._card.db.execute("ALTER TABLE quarantine ADD COLUMN aside_us INTEGER")
        await self._count()

    async def _count(self) -> None:
        self.count = (await self._card.db.all("SELECT count(*) FROM quarantine"))[0][0]

    async def refused(self, run: Run, first_seq: int, last_seq: int, reason: str) -> bool:
        """Set rows aside that the cloud refuses; False where there is no room, and then nothing has changed."""
        rows, size = (
            await self._card.db.all(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM quarantine WHERE reason NOT LIKE ?",
                f"{_DAMAGED}%",
            )
        )[0]
        coming, coming_size = (
            await self._card.db.all(
                "SELECT count(*), coalesce(sum(length(body)), 0) FROM rows WHERE id BETWEEN ? AND ?",
                row_id(run, first_seq), row_id(run, last_seq),
            )
        )[0]  # fmt: skip
        if rows + coming > MAX_ROWS or size + coming_size > min(MAX_BYTES, self._card.limit_bytes // 8):
            return False
        await self._put(run, first_seq, last_seq, f"set aside by the node: {reason}")
        return True

    async def damaged(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        """Set a row aside that cannot be read here."""
        await self._put(run, first_seq, last_seq, f"{_DAMAGED}: {reason}")

    async def _put(self, run: Run, first_seq: int, last_seq: int, reason: str) -> None:
        async def put() -> None:
            now = self._card.runs.by_id(run.id)
            await self._card.db.execute(
                "INSERT INTO quarantine (row, reason, body, aside_us)"
                " SELECT id, ?, CAST(body AS BLOB), ? FROM rows WHERE id BETWEEN ? AND ?",
                reason, self._now_us(), row_id(now, first_seq), row_id(now, last_seq),
            )  # fmt: skip
            await self._card.db.execute(
                "DELETE FROM quarantine WHERE id IN"
                " (SELECT id FROM quarantine WHERE reason LIKE ? ORDER BY id DESC LIMIT -1 OFFSET ?)",
                f"{_DAMAGED}%", DAMAGED_ROWS,
            )  # fmt: skip
            await self._card.gap(now, first_seq, last_seq, reason)

        await self._card.write(put)
        await self._count()

    async def listed(self) -> list[SetAside]:
        """What lies here, oldest first."""
        lanes = {run.id: run.lane for run in self._card.runs}
        found: list[SetAside] = []
        for id_, row, size, kind, reason, aside_us in await self._card.db.all(
            "SELECT id, row, length(body), typeof(body), reason, aside_us FROM quarantine ORDER BY id"
        ):
            sound = isinstance(row, int) and isinstance(reason, str) and kind == "blob"  # it has no sum
            found.append(
                SetAside(
                    id=id_,
                    lane=lanes.get(row >> SEQ_BITS, Lane.BULK) if sound else Lane.BULK,
                    through_seq=seq_of(row) if sound else 0,
                    bytes=size,
                    reason=reason if sound else f"{_DAMAGED}: it is not as it was set aside",
                    aside_us=Utc(aside_us) if isinstance(aside_us, int) else None,
                    sendable=sound and not reason.startswith(_DAMAGED),
                )
            )
        return found

    async def send(
        self, ids: Collection[int] | None, keep: Callable[[Lane, list[Sealed]], Awaitable[None]]
    ) -> tuple[int, int]:
        """Put rows back at the head of their lanes with `keep`, which is called inside a transaction: all that can be
        sent, or those with these ids. How many went, and how many of them could not be read."""
        wanted = [s for s in await self.listed() if s.sendable and (ids is None or s.id in ids)]
        sent = unreadable = 0
        for at in range(0, len(wanted), SEND_ROWS):
            found: list[tuple[SetAside, Sealed]] = []
            for each in wanted[at : at + SEND_ROWS]:
                ((body,),) = await self._card.db.all("SELECT body FROM quarantine WHERE id = ?", each.id)
                try:
                    found.append((each, sealed_again(body)))
                except BadInput:
                    unreadable += 1

            async def back(found: list[tuple[SetAside, Sealed]] = found) -> None:
                for each, sealed in found:
                    await keep(each.lane, [sealed])
                    await self._card.db.execute("DELETE FROM quarantine WHERE id = ?", each.id)

            await self._card.write(back)
            sent += len(found)
        await self._count()
        return sent, unreadable
