"""What was folded gives the answer that readings give, to the last bit: whatever comes late, wherever it ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloud.crash import Crash, never
from cloud.history.contract import HistoryAsked
from cloud.history.folded import load_place
from cloud.history.folder import Folder
from cloud.sqlite.folding import HISTORY
from cloud.sqlite.history import SqliteHistory
from cloud.sqlite.hours import SqliteHours
from cloud.store import Store, opened, rebuild
from cloud.views.contract import TargetsAsked
from support.cloud_batches import START_US, Sender, Ticking, columns, send
from support.history import HOUR, MINUTE, ROSTER, asking, entries, told
from wire.batch import Lane
from wire.entries import Entry

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # each example opens a store: to shrink one would take minutes
POINTS = (
    "history.followed",
    "history.parts",
    "history.before_rename",
    "history.renamed",
    "history.written",
    "history.said",
)


class Killed(BaseException):
    """As by kill -9: nothing is put in order."""


def killing(point: str, times: int) -> Crash:
    left = times

    def crash(reached: str) -> None:
        nonlocal left
        if reached == point:
            left -= 1
            if left == 0:
                raise Killed

    return crash


def folder_of(store: Store, now: Ticking, crash: Crash = never) -> Folder:
    return Folder(store.directory / HISTORY, store.log, SqliteHours(store.readers), now, crash)


async def fold(store: Store, now: Ticking, folder: Folder | None = None, steps: int = 10_000) -> Folder:
    folder = folder or folder_of(store, now)
    for _ in range(steps):
        if not await folder.step():
            break
    return folder


async def same(store: Store, now: Ticking, asked: HistoryAsked) -> None:
    expected = await told(await SqliteHistory(store.readers, now).history(asked))
    found = await told(await store.history.history(asked))
    assert [row[0] for row in found] == [row[0] for row in expected]
    for (series, ours, words), (_, theirs, texts) in zip(found, expected, strict=True):
        assert words == texts
        for name, values in ours.items():
            np.testing.assert_array_equal(values, theirs[name], f"{series}: {name}")


@settings(max_examples=6, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=entries,
    later=entries,
    steps=st.integers(0, 40),
    asked=st.lists(asking, min_size=2, max_size=2),
    ends=st.sampled_from(POINTS),
    times=st.integers(1, 3),
)
async def test_it_is_what_readings_give(
    first: list[object], later: list[object], steps: int, asked: list[HistoryAsked], ends: str, times: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    now = Ticking(START_US + 7 * MINUTE)
    async with opened(tmp_path_factory.mktemp("store"), now) as store:
        number = 0

        async def bring(given_: list[object]) -> None:
            nonlocal number
            for entry in given_:
                number += 1
                what = ROSTER if isinstance(entry, str) else entry
                await send(store.log, Sender(epoch=number).batch(what, lane=Lane.BULK))  # type: ignore[arg-type]

        await bring([ROSTER, *first])
        folder = await fold(store, now, steps=steps)
        await bring(later[:2])
        for question in asked:
            await same(store, now, question)
        now.tick(5_400)
        await fold(store, now, folder)
        await bring(later[2:])
        dying = folder_of(store, now, killing(ends, times))
        try:
            await fold(store, now, dying)
        except Killed:
            for question in asked:
                await same(store, now, question)
        now.tick(86_400)
        last = await fold(store, now)
        for question in asked:
            await same(store, now, question)
        assert last.position == store.log.reach().head
        place = load_place(store.directory / HISTORY)
        assert place is not None
        assert not any(day.marks for day in place.days.values())


async def filled(store: Store, now: Ticking) -> Sender:
    sender = Sender()
    await send(store.log, sender.batch(ROSTER, lane=Lane.URGENT))
    for hour in range(50):
        at = START_US - START_US % HOUR - (hour + 1) * HOUR
        await send(store.log, sender.batch(columns("a", at, n=6, step_us=10 * MINUTE, e=hour, p=1.5)))
    return sender


ASKED = HistoryAsked(
    which=TargetsAsked(devices=("a",)),
    points=("e", "p"),
    every="1h",
    zone="UTC",
    from_us=START_US - 48 * HOUR,
    to_us=START_US,
)


async def test_the_files_are_what_others_read(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await fold(store, now)
        # Days that are over, and not the hours of the one that goes on.
        table = pq.read_table(tmp_path / HISTORY)
        assert {"day", "point", "node", "device", "hour", "min", "max", "integral", "covered_us"} <= {
            *table.column_names
        }
        keys = table.select(["point", "node", "device", "hour"]).to_pylist()
        assert len({tuple(k.values()) for k in keys}) == len(keys)
        assert {k["point"] for k in keys} == {"n", "e", "p"}
        assert sorted(p.name for p in (tmp_path / HISTORY).rglob("*.parquet") if p.name[0] == "_")
        assert table.num_rows == 3 * (50 - START_US // HOUR % 24)


async def test_folded_hours_open_no_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = await filled(store, now)
        await fold(store, now)
        await same(store, now, ASKED)
        opened_: list[object] = []
        monkeypatch.setattr("cloud.sqlite.history.readings_of", lambda *given_: opened_.append(given_) or {})
        await told(await store.history.history(ASKED))
        assert len(opened_) == 1, "the hour that is not over"
        # What comes late is read, before the folder has seen it and after.
        await send(store.log, sender.batch(columns("a", START_US - 30 * HOUR, n=1, e=7)))
        await told(await store.history.history(ASKED))
        monkeypatch.undo()
        assert len(opened_) == 3
        await same(store, now, ASKED)
        await fold(store, now)
        await same(store, now, ASKED)


async def test_a_file_that_is_gone_costs_time_and_no_answer(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await fold(store, now)
        for path in (tmp_path / HISTORY).rglob("*.parquet"):
            path.unlink()
        await same(store, now, ASKED)


async def test_another_profile_counts_at_once(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = await filled(store, now)
        await fold(store, now)
        points = ROSTER.profiles["m"]
        slower = tuple(
            type(p)(**{**{f: getattr(p, f) for f in p.__struct_fields__}, "stale_after_s": 60.0}) for p in points
        )
        entry: Entry = type(ROSTER)(devices=ROSTER.devices, profiles={**ROSTER.profiles, "m": slower})
        await send(store.log, sender.batch(entry, lane=Lane.URGENT))
        await same(store, now, ASKED)


async def test_it_is_dropped_and_built_again_also_from_chunks(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await fold(store, now)
        now.tick(8 * 86_400)
        while await store.compaction(0, now, lambda _: None, lambda _: None).step():
            pass
        (tmp_path / HISTORY / "_place.json").unlink()
        await same(store, now, ASKED)
        await fold(store, now)
        await same(store, now, ASKED)
        assert pq.read_table(tmp_path / HISTORY).num_rows == 150


async def test_a_file_that_is_damaged_gives_no_wrong_answer_and_is_folded_anew(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        sender = await filled(store, now)
        await fold(store, now)
        path = next((tmp_path / HISTORY).glob("day=*/hours.parquet"))
        whole = path.read_bytes()
        for at in (100, 2_000, len(whole) // 2, len(whole) - 60):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
            await same(store, now, ASKED)
        path.write_bytes(whole[: len(whole) // 2])
        await same(store, now, ASKED)
        now.tick(700)
        await send(store.log, sender.batch(columns("a", START_US - 30 * HOUR, n=1, e=7)))
        await fold(store, now)
        assert pq.read_table(path).num_rows > 0
        await same(store, now, ASKED)


async def test_a_day_whose_file_was_taken_away_is_folded_anew(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await fold(store, now)
        rows = pq.read_table(tmp_path / HISTORY).num_rows
        next((tmp_path / HISTORY).glob("day=*/hours.parquet")).unlink()
        await fold(store, now)
        assert pq.read_table(tmp_path / HISTORY).num_rows == rows
        await same(store, now, ASKED)


async def test_after_a_loss_it_is_folded_anew(tmp_path: Path) -> None:
    now = Ticking()
    async with opened(tmp_path, now) as store:
        await filled(store, now)
        await fold(store, now)
        position = store.log.reach().head
    assert not (await rebuild(tmp_path, lambda _done, _of: None)).told()
    place = load_place(tmp_path / HISTORY)
    async with opened(tmp_path, now) as store:
        await fold(store, now)
        assert load_place(tmp_path / HISTORY) == place, "nothing was lost, and nothing is folded again"
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection, connection:
        connection.execute("UPDATE log SET body = x'00' WHERE position = ?", (position // 2,))
    assert (await rebuild(tmp_path, lambda _done, _of: None)).told()
    async with opened(tmp_path, now) as store:
        await same(store, now, ASKED)
        await fold(store, now)
        await same(store, now, ASKED)
        assert pq.read_table(tmp_path / HISTORY).num_rows < 150
