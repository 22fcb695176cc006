"""A file that is older than what was committed is found out, and an honest one never accused."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.sqlite import SqliteOutbox
from support.cloud import SmallCloud
from wire.batch import Lane, Predecessor
from wire.columns import Columns
from wire.entries import Gap
from wire.sample import Clock, Sample

FILES = ("outbox.db", "outbox.db-wal")


def columns(*numbers: int) -> Columns:
    return Columns.of([Sample("lamp", n, Clock(1, synced=True), {"n": n}) for n in numbers])


def outbox(path: Path) -> SqliteOutbox:
    return SqliteOutbox(path, node="cab", limit_bytes=16 << 20, now_us=lambda: 0)


async def sent(found: SqliteOutbox, cloud: SmallCloud) -> None:
    """Everything, until nothing is left to send."""
    while (cut := await found.cut(Lane.BULK, 1 << 20)) is not None:
        ack = cloud.ack(cut.epoch, cut.lane) if isinstance(cut, PositionQuery) else cloud.take(cut.batch)
        await found.confirm(ack)


@pytest.mark.parametrize("how", ["the log is deleted", "an older copy is put back"])
async def test_what_an_older_file_goes_on_with_is_a_new_run_that_says_so(tmp_path: Path, how: str) -> None:
    cloud, path = SmallCloud(), tmp_path / "card"
    async with outbox(path) as found:
        await found.append({Lane.BULK: [columns(1, 2)]})
        await found.card.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(path, tmp_path / "older")
        await found.append({Lane.BULK: [columns(3, 4, 5)]})
        old = list(found.card.runs)[-1].epoch
        shutil.copytree(path, tmp_path / "crashed")  # as if the process had been killed
    path = tmp_path / "crashed"
    if how == "the log is deleted":
        (path / "outbox.db-wal").unlink()
        (path / "outbox.db-shm").unlink(missing_ok=True)
    else:
        for name in FILES:
            (path / name).unlink(missing_ok=True)
            if (tmp_path / "older" / name).exists():
                shutil.copy(tmp_path / "older" / name, path / name)
    for turn in range(2):  # it is found out once, and what follows from it is kept
        async with outbox(path) as found:
            assert len(found.card.runs) == 4
            assert found.blank, "what stands is to be told again"
            assert ("3 entries are lost" in (found.card.damaged or "")) is not turn
    async with outbox(path) as found:
        await found.append({Lane.BULK: [columns(6)]})
        await sent(found, cloud)
    held = {epoch: h.batches[0].predecessor for (epoch, lane), h in cloud.lanes.items() if lane is Lane.BULK}
    assert held.pop(old) is None
    ((_, said),) = held.items()
    assert isinstance(said, Predecessor)
    assert (said.epoch, said.through_seq, said.whole) == (old, 5, False), "the mark knows how far it had come"
    assert [n for _, n in cloud.numbers()] == [1, 2, 6]
    assert [p.entry.lost for _, p in cloud.entries() if isinstance(p.entry, Gap)] == [3]


async def test_the_cloud_knows_of_more_than_a_card_that_went_back_with_all_its_files(tmp_path: Path) -> None:
    """The cloud is asked at start; what came since the start moves to the new run: its old places may be taken."""
    cloud, path = SmallCloud(), tmp_path / "card"
    async with outbox(path) as found:
        await found.append({Lane.BULK: [columns(1, 2)]})
        await sent(found, cloud)
        old = list(found.card.runs)[-1].epoch
    shutil.copytree(path, tmp_path / "older")
    async with outbox(path) as found:
        await sent(found, cloud)
        await found.append({Lane.BULK: [columns(3, 4, 5)]})
        cut = await found.cut(Lane.BULK, 1)
        assert isinstance(cut, Cut)  # told, and not taken
    for turn in range(2):
        async with outbox(tmp_path / "older") as found:
            await found.append({Lane.BULK: [columns(6)]})
            ack = cloud.ack(old, Lane.BULK)
            assert isinstance(await found.cut(Lane.BULK, 1), PositionQuery)
            renewed: list[bool] = []
            found.renewed = lambda renewed=renewed: renewed.append(True)
            assert not await found.confirm(msgspec.structs.replace(ack, head_seq=5)), "no fork: nothing is doubled"
            assert renewed == [True] * (not turn), "what stands is to be told again"
            await sent(found, cloud)
    numbers = cloud.numbers()
    assert [n for _, n in numbers] == [1, 2, 6, 6]
    assert [epoch == old for epoch, _ in numbers] == [True, True, False, False]
    (new,) = {epoch for epoch, _ in numbers} - {old}
    assert cloud.lanes[new, Lane.BULK].batches[0].predecessor == Predecessor(
        old, 2, cloud.lanes[old, Lane.BULK].digest, whole=False
    )
