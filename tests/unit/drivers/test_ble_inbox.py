"""What a beacon says again and what it says anew: repeats are known by number, values and time."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections import Counter
from collections.abc import Sequence
from typing import Any

from conformance.driver_rigs import profile_of
from drivers.ble import inbox as ble
from drivers.ble.payload import Bytes
from drivers.contract import Attachment, Receipt
from drivers.mishaps import LineMishaps
from drivers.profile import Profile
from wire.device import Device
from wire.sample import Clock, Sample

LOG = logging.getLogger(__name__)
NOW_US = 1_790_000_000_000_000
POINTS = {"i": {"type": "int", "at": {"byte": 0}}, "n": {"type": "int", "at": {"byte": 1}}}
NUMBERED = profile_of("beacon", {"driver": "ble", "ble": {"manufacturer": 7, "packet_id": "i"}, "point": POINTS})
PLAIN = profile_of("plain", {"driver": "ble", "ble": {"manufacturer": 7}, "point": POINTS})


class Air:
    """An inbox, the clock, and a node that keeps everything."""

    def __init__(self) -> None:
        self.got: list[tuple[Sequence[Sample], Receipt | None]] = []
        self.counts: Counter[str] = Counter()
        self.time_s = 0.0
        self.start()

    def start(self, profile: Profile = NUMBERED) -> None:
        """Begin as after a restart: the receipts come back."""
        self.beacon = ble.Beacon(Attachment(Device(id="b", kind="beacon", profile="p"), profile, None), Bytes(profile))
        self.inbox = ble.Inbox(
            source="ble:x",
            max_pending=1000,
            now=lambda: (NOW_US + int(self.time_s * 1e6), Clock(5, True)),
            clock=lambda: self.time_s,
            counts=self.counts,
            mishaps=LineMishaps("advert", LOG),
        )
        self.inbox.remember([r.key for _, r in self.got if r], [self.beacon])

    def deliver(self, samples: Sequence[Sample], receipt: Receipt | None = None) -> Future[None]:
        self.got.append((samples, receipt))
        done: Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def take(self, data: bytes, at_s: float = 0.0) -> None:
        self.time_s = max(self.time_s, at_s)
        self.inbox.take(self.beacon, {7: data}, {}, self.deliver)

    def values(self) -> list[dict[str, Any]]:
        return [dict(samples[0].values) for samples, _ in self.got]


async def test_a_packet_id_that_is_the_same_at_each_wake_up_is_no_repeat() -> None:
    air = Air()
    for n in range(6):
        for again in range(3):  # each wake-up sends its advert three times
            air.take(bytes((0, n)), 600.0 * n + again)
    assert [v["n"] for v in air.values()] == [0, 1, 2, 3, 4, 5]


async def test_the_same_values_at_the_next_wake_up_are_no_repeat_either() -> None:
    air = Air()
    for at_s in (0, 1, 2, 600, 601, 1200, 1230):
        air.take(b"\0\7", at_s)
    assert len(air.got) == 4
    assert air.counts["repeats"] == 3


async def test_other_values_under_the_same_number_are_no_repeat_within_seconds() -> None:
    air = Air()
    for n in (1, 1, 2, 2, 1, 1):  # a door that is opened and closed again
        air.take(bytes((0, n)), air.time_s + 0.3)
    assert [v["n"] for v in air.values()] == [1, 2, 1]


async def test_a_counter_that_begins_anew_after_its_greatest_or_a_new_battery() -> None:
    air = Air()
    for k in range(512):
        air.take(bytes((k % 256, 7)), 20.0 * k)
    assert len(air.got) == 512
    for k in range(3):
        air.take(bytes((k, 7)), 20.0 * 512 + k)
    assert len(air.got) == 515


async def test_adverts_that_take_turns_are_each_one_reading() -> None:
    air = Air()
    for _ in range(5):
        air.take(b"\1\1", air.time_s + 0.5)
        air.take(b"\2\2", air.time_s + 0.5)
    assert [v["i"] for v in air.values()] == [1, 2]


async def test_what_is_repeated_without_end_is_a_reading_now_and_then() -> None:
    air = Air()
    for at_s in range(301):
        air.take(b"\1\1", at_s)
    assert len(air.got) == 6, "a living device is no silent one: every minute"


async def test_a_burst_goes_on_over_a_restart() -> None:
    air = Air()
    air.take(b"\1\1", 0)
    air.start()
    air.take(b"\1\1", 3)
    assert len(air.got) == 1
    air.start()
    air.take(b"\1\1", 600)
    assert len(air.got) == 2
    air.time_s = -100  # the node's clock was set back: nobody knows how old that is
    air.start()
    air.take(b"\1\1", -100)
    assert len(air.got) == 3


async def test_without_numbers_the_same_data_is_a_repeat_for_so_long() -> None:
    air = Air()
    air.start(PLAIN)
    for at_s in (0, 30, 59, 60, 61):
        air.take(b"\1\1", at_s)
    air.take(b"\1\2", 62)
    air.take(b"\1\1", 63)
    assert [v["n"] for v in air.values()] == [1, 1, 2, 1]
