"""One suite for every store of technicians' codes: no counter twice, and who asked for each is kept and told."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloud.problem import Problem
from cloud.records.codes import CodeGiven
from cloud.records.keys import Keyed
from cloud.sqlite.code_counters import CODES
from support.cloud_batches import START_US, Ticking
from support.cloud_records import KINDS, Records, records_of


@pytest.fixture(params=KINDS)
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    async with records_of(request.param, tmp_path, Ticking()) as records:
        yield records


async def give(
    kept: Records, key: str, name: str = "M. Dupont", token: str = "t1", node: str = "cab-1", used: int = 0
) -> CodeGiven:
    return await kept.codes.give(node, token, name, "anna", START_US, Keyed(f"op {key}", key.encode()), used)


async def test_each_counter_is_given_once_and_told_once(kept: Records) -> None:
    first = await give(kept, "a")
    assert first == CodeGiven(
        node="cab-1", token="t1", counter=1, for_="M. Dupont", by="anna", time=first.time, time_us=START_US
    )
    assert (await give(kept, "b", "Léa")).counter == 2
    assert (await give(kept, "c", token="t2")).counter == 1, "each token counts by itself"
    assert [(t["for"], t["counter"], t["by"]) for t in await kept.told()] == [
        ("M. Dupont", 1, "anna"), ("Léa", 2, "anna"), ("M. Dupont", 1, "anna"),
    ]  # fmt: skip
    assert [await kept.codes.highest(t) for t in ("t1", "t2", "t3")] == [2, 1, 0]


async def test_a_request_that_comes_again_gets_the_same(kept: Records) -> None:
    assert await kept.codes.answered(Keyed("op a", b"a")) is None
    first = await give(kept, "a")
    assert await give(kept, "a") == first
    assert await kept.codes.answered(Keyed("op a", b"a")) == first
    with pytest.raises(Problem) as refused:
        await kept.codes.answered(Keyed("op a", b"other"))
    assert refused.value.status == 422
    assert len(await kept.told()) == 1


async def test_counting_goes_on_above_what_a_node_has_told(kept: Records) -> None:
    assert (await give(kept, "a", used=40)).counter == 41
    assert (await give(kept, "b", used=7)).counter == 42


async def test_they_are_listed_the_newest_first_and_bounded(kept: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[type(kept.codes).__module__], "KEPT", 5)
    for n in range(7):
        await give(kept, f"k{n}", f"t{n}")
    await give(kept, "other", node="cab-2")
    found = await kept.codes.given("cab-1", 2**62, 3)
    assert [g.for_ for _, g in found] == ["t6", "t5", "t4"]
    rest = await kept.codes.given("cab-1", found[-1][0], 100)
    assert [g.for_ for _, g in rest] == ["t3", "t2"]
    assert [g.node for _, g in await kept.codes.given("cab-2", 2**62, 9)] == ["cab-2"]


async def test_no_counter_comes_again_where_the_file_of_counters_is_lost_or_the_store_was_put_back(
    tmp_path: Path,
) -> None:
    async with records_of("sqlite", tmp_path, Ticking()) as kept:
        assert [(await give(kept, f"{n}")).counter for n in range(3)] == [1, 2, 3]
        assert (tmp_path / CODES).stat().st_mode & 0o777 == 0o600
    (tmp_path / CODES).unlink()
    async with records_of("sqlite", tmp_path, Ticking()) as kept:
        assert (await give(kept, "after")).counter == 4
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    async with records_of("sqlite", tmp_path, Ticking()) as kept:
        assert (await give(kept, "later")).counter == 5
