"""What arrives goes on at once, and what the card refused counts as never reported."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from drivers.contract import Receipt
from drivers.errors import NotStored
from edge.sampling.arrivals import Arrivals
from edge.sampling.intake import Gate, Report
from edge.sampling.last_samples import LastSamples
from edge.sampling.quality_history import QualityHistory
from wire.device import Point
from wire.sample import Clock, Sample


class Commit:
    """The next commit: what is in it, and its end, which the test decides."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, samples: Sequence[Sample], receipt: Receipt | None, *, live: bool) -> asyncio.Future[None]:
        del receipt, live
        self.samples += samples
        return self.done


def lamp(value: float, second: int, device: str = "lamp") -> Sample:
    return Sample(device, second * 1_000_000, Clock(1, synced=True), {"power": value})


def arrivals(commit: Commit, followed: list[Sample]) -> Arrivals:
    gate = Gate({"power": Point(name="power", type="float")}, time_resolution_us=1, reports={"power": Report()})
    return Arrivals(
        {"lamp": gate}, street=LastSamples(), history=QualityHistory(lambda: 0), add=commit.add, follow=followed.append
    )


async def test_what_has_not_changed_and_whoever_is_unknown_goes_no_further() -> None:
    commit, followed = Commit(), list[Sample]()
    take = arrivals(commit, followed).take
    assert take([lamp(1.0, 1), lamp(1.0, 2), lamp(2.0, 3), lamp(3.0, 4, "stranger")]) is commit.done
    assert [s.values["power"] for s in commit.samples] == [1.0, 2.0]
    assert followed == commit.samples


async def test_what_the_card_refused_is_news_again() -> None:
    commit, followed = Commit(), list[Sample]()
    way = arrivals(commit, followed)
    refused = way.take([lamp(1.0, 1)])
    way.take([lamp(1.0, 2)])
    assert len(commit.samples) == 1
    refused.set_exception(NotStored("the card refuses"))
    await asyncio.wait([refused])
    commit.done = asyncio.get_running_loop().create_future()
    way.take([lamp(1.0, 3)])
    assert [s.time_us for s in commit.samples] == [1_000_000, 3_000_000]
