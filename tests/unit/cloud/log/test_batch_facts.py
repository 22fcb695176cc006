"""What the codec lets through and the store cannot keep is Malformed, never a fault of ours."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.log import batch_facts
from cloud.log.batch_facts import check_snapshot, facts_of
from support.cloud_batches import Sender, columns
from wire.batch import Snapshot
from wire.device import Point, Roster
from wire.entries import MAX_DECIDED, Alarm, Decision, Decisions, Entry, Gap, Health, Mark, Result, Visit
from wire.errors import Malformed


def alarm(**fields: Any) -> Alarm:
    given = {"id": "a", "device": "d", "rule": "r", "severity": "low", "state": "raised", "raised_us": 1, "time_us": 1}
    return Alarm(**{**given, **fields})


@pytest.mark.parametrize(
    "entry",
    [
        alarm(values={"n": -(2**63) - 1}),
        alarm(values={"n": 2**64}),
        alarm(values={"t": "x" * 5_000}),
        alarm(detail="x" * 70_000),
        alarm(time_us=2**63),
        Health(time_us=1, verdict="ok", counters={"c": -(2**64)}),
        Health(time_us=1, verdict="ok", counters={"c": 2**64}),
        Health(time_us=1, verdict="ok", boot=2**64),
        Health(time_us=1, verdict="ok", outbox_bytes=-(2**70)),
        Gap(reason="x", lost=2**60),
        alarm(until_us=2**63),
        alarm(boot=-1),
        Mark(device="d", rule="r", tag="t", time_us=1, values={"n": 2**64}),
        Mark(device="d", rule="r", tag="t", time_us=-(2**63)),
        Mark(device="d", rule="r", tag="t", time_us=1, values={f"{i}": "x" * 4_000 for i in range(20)}),
        Result(order="", stage="verified", time_us=1),
        Result(order="o", stage="verified", time_us=2**63),
        Result(order="o", stage="verified", time_us=1, read_back=2**64),
        Result(order="o", stage="verified", time_us=1, boot=2**63),
        Visit(visit="", by="m", act="began", time_us=1),
        Visit(visit="v", by="", act="began", time_us=1),
        Visit(visit="v", by="m", act="began", time_us=2**63),
        Visit(visit="v", by="m", act="here", time_us=1, until_us=2**63),
        Visit(visit="v", by="m", act="began", time_us=1, code=2**63),
        Visit(visit="v", by="m", act="began", time_us=1, boot=-1),
        Decisions(time_us=2**63, decided=()),
        Decisions(time_us=1, decided=(), boot=-1),
        Decisions(time_us=1, decided=(Decision(point="p", devices=("d",), level="plan", value=2**64),)),
        Decisions(time_us=1, decided=(Decision(point="p", devices=("d",), level="plan", until_us=2**63),)),
        Decisions(time_us=1, decided=(Decision(point="p", devices=("d",) * (MAX_DECIDED // 2 + 1)),) * 2),
    ],
)
def test_what_the_store_cannot_keep(entry: Entry) -> None:
    with pytest.raises(Malformed):
        facts_of(Sender().batch(entry))


@pytest.mark.parametrize(
    "entry",
    [
        alarm(values={"n": -(2**63), "m": 2**64 - 1, "x": float("nan"), "b": True, "z": None}),
        Health(time_us=1, verdict="ok", counters={"c": 2**64 - 1}),
        alarm(until_us=2**60, boot=2**63 - 1),
        Mark(device="d", rule="r", tag="t", time_us=1, values={"n": None}),
        Result(order="o", stage="verified", time_us=1, read_back=float("nan")),
        Visit(visit="v", by="m", act="began", time_us=1, until_us=2**60, code=2**63 - 1, boot=2**63 - 1),
        Roster(devices=(), profiles={"p": (Point(name="n", type="int", unit="W"),)}),
    ],
)
def test_what_it_can(entry: Entry) -> None:
    assert len(facts_of(Sender().batch(entry)).others) == 1


def test_a_snapshot_has_as_many_devices_as_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_facts, "MAX_BATCH_DEVICES", 2)
    check_snapshot(Snapshot(node="cab-1", columns=[columns("a"), columns("b"), columns("a")]))
    with pytest.raises(Malformed, match="at most 2"):
        check_snapshot(Snapshot(node="cab-1", columns=[columns("a"), columns("b"), columns("c")]))
