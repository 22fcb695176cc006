"""History against a naive computation from all readings: late, doubled, corrected, reset, with gaps, in any order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cloud.crash import never
from cloud.history.contract import HistoryAsked
from cloud.memory.history import MemoryHistory
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.sqlite import history
from cloud.store import opened
from cloud.views.contract import TargetsAsked
from support.cloud_batches import START_US, Sender, Ticking, columns, send
from support.history import MINUTE, ROSTER, asking, entries, told
from wire.batch import Lane
from wire.time import Utc

EXACT = ("good", "uncertain", "bad", "least", "most", "covered_us", "first", "last", "last_us")


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # each example opens a store: to shrink one would take minutes


@settings(max_examples=20, phases=PHASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_=entries, asked=st.lists(asking, min_size=3, max_size=3))
async def test_it_is_what_a_naive_computation_finds(
    given_: list[object], asked: list[HistoryAsked], tmp_path_factory: object
) -> None:
    now = Ticking(START_US + 7 * MINUTE)
    views = MemoryViews(now)
    naive = MemoryLog(views, now)
    directory: Path = tmp_path_factory.mktemp("store")  # type: ignore[attr-defined]
    async with opened(directory, now) as store:
        before: object = None
        for number, entry in enumerate(given_):
            doubled = entry == "again"  # the same once more, under another epoch
            what = before if doubled else ROSTER if entry == "roster" else entry
            if what is None:
                continue
            before = what
            batch = Sender(epoch=100 - number if number % 2 else number).batch(what, lane=Lane.BULK)  # type: ignore[arg-type]
            await send(naive, batch)
            await send(store.log, batch)
        for compacted in (False, True):
            if compacted:
                now.tick(8 * 86_400)
                while await store.compaction(0, now, never, lambda _: None).step():
                    pass
            for question in asked:
                expected = await told(await MemoryHistory(views, now).history(question))
                found = await told(await store.history.history(question))
                assert [row[0] for row in found] == [row[0] for row in expected]
                for (series, ours, words), (_, theirs, texts) in zip(found, expected, strict=True):
                    assert words == texts
                    for name in EXACT:
                        np.testing.assert_array_equal(ours[name], theirs[name], f"{series}: {name}")
                    for name in ("mean", "increase", "unsure"):
                        np.testing.assert_allclose(ours[name], theirs[name], 1e-9, 1e-6, err_msg=f"{series}: {name}")
                    if not np.isnan(theirs["increase"]).any():
                        assert (ours["resets"], ours["wraps"]) == (theirs["resets"], theirs["wraps"])


async def test_the_years_before_a_node_was_there_are_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    pieces = history._pieces
    monkeypatch.setattr(history, "_pieces", lambda *given: looked.append(given[-1]) or pieces(*given))
    now = Ticking(START_US + 7 * MINUTE)
    asked = HistoryAsked(
        which=TargetsAsked(devices=("lamp-001", "lamp-002")), points=("n",), every="1d", zone="UTC", from_us=Utc(0),
        to_us=now(),
    )  # fmt: skip
    async with opened(tmp_path, now) as store:
        await send(store.log, Sender().batch(columns("lamp-001", n=2)))
        ((_, course, _),) = await told(await store.history.history(asked))
    assert sum(course["good"]) == course["good"][-1] == 2
    assert len(looked) <= 10


def test_what_history_is_made_with_is_not_there_before_somebody_asks() -> None:
    code = "import sys, cloud.server; assert not {'numpy', 'pyarrow'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
