"""What senders can do to the callbacks of MQTT and BLE: nothing leaves them, and no time runs wild."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.ble import inbox as ble
from drivers.ble.payload import Bytes
from drivers.contract import Attachment, Receipt
from drivers.errors import NotStored
from drivers.mishaps import LineMishaps
from drivers.mqtt import inbox as mqtt
from drivers.mqtt.moment import FUTURE_US
from drivers.mqtt.payload import Payload
from drivers.mqtt.repeats import Repeats
from drivers.mqtt.settings import Address, Line
from drivers.profile import Profile
from wire.device import Device
from wire.sample import Clock, Sample

LOG = logging.getLogger(__name__)
NOW_US = 1_790_000_000_000_000
MINUTE_US = 60_000_000
BIN = profile_of(
    "bin",
    {
        "driver": "mqtt",
        "mqtt": {"topic": "bins/{serial}/up", "time": "t", "packet_id": "i"},
        "point": {"n": {"type": "int", "at": {"value": "n"}}},
    },
)
PLAIN = profile_of("plain", {"driver": "mqtt", "mqtt": {"topic": "bins/{serial}/up"}, "point": {
    "n": {"type": "int", "at": {"value": "n"}}}})  # fmt: skip
BEACON = profile_of(
    "beacon",
    {
        "driver": "ble",
        "ble": {"manufacturer": 7, "packet_id": "i"},
        "point": {"i": {"type": "int", "at": {"byte": 0}}, "n": {"type": "int", "at": {"byte": 1}}},
    },
)


class Message:
    """A publish as paho gives it."""

    def __init__(
        self,
        payload: bytes,
        *,
        mid: int = 1,
        qos: int = 1,
        dup: bool = False,
        topic: str | None = "",
        retain: bool = False,
        identifiers: Sequence[int] = (),
    ) -> None:
        self.payload, self.mid, self.qos, self.dup, self.retain = payload, mid, qos, dup, retain
        self.identifiers = identifiers
        self._topic = topic

    @property
    def topic(self) -> str:
        if self._topic is None:
            return b"\xff".decode()
        return self._topic or "bins/7/up"


class Node:
    """Takes what is delivered; `fault` is raised where a node should not."""

    def __init__(self) -> None:
        self.got: list[tuple[Sample, Receipt | None]] = []
        self.futures: list[asyncio.Future[None]] = []
        self.fault: Exception | None = None

    def __call__(self, samples: Sequence[Sample], receipt: Receipt | None = None) -> asyncio.Future[None]:
        if self.fault is not None:
            raise self.fault
        self.got += [(s, receipt) for s in samples]
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


class Session:
    """Remembers what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: list[int] = []

    def acknowledge(self, mid: int, _qos: int) -> None:
        self.acknowledged.append(mid)


class Bench:
    """An MQTT inbox and what surrounds it."""

    def __init__(
        self,
        profile: Profile = BIN,
        *,
        synced: bool = True,
        recent: Sequence[bytes] = (),
        now_us: int = NOW_US,
        zone: str = "",
        **line: Any,
    ) -> None:
        self.node = Node()
        self.counts: Counter[str] = Counter()
        self.now_us = now_us
        self.session: Any = Session()
        attachment = Attachment(
            Device(id="bin", kind="bin", profile=profile.name), profile, Address(serial="7", dev_eui="7"), zone
        )
        self.target = mqtt.target(attachment, Payload(profile, zone))
        self.repeats = Repeats(recent, lambda n: b"x" * n, now_us=now_us, clock=lambda: self.now_us / 1e6)
        self.repeats.connected(resumed=bool(recent))
        self.line = Line(host="h", client_id="c", **line)
        self.synced = synced
        self.connect()

    def connect(self) -> None:
        """A new connection has an inbox of its own."""
        self.inbox = mqtt.Inbox(
            line=self.line,
            targets=[self.target],
            repeats=self.repeats,
            source="s",
            now=lambda: (self.now_us, Clock(5, self.synced)),
            deliver=self.node,
            mishaps=LineMishaps("payload", LOG),
            counts=self.counts,
        )

    def take(self, *payloads: bytes, **keys: Any) -> None:
        for payload in payloads:
            self.inbox.take(Message(payload, **keys))  # type: ignore[arg-type]

    async def acknowledge(self) -> None:
        """Let the acknowledger go as far as it gets."""
        task = asyncio.create_task(self.inbox.acknowledge(self.session))
        for _ in range(10):
            await asyncio.sleep(0)
        if task.done():
            task.result()
        task.cancel()

    @property
    def kept(self) -> list[Any]:
        """What was delivered of the point n."""
        return [s.values["n"] for s, _ in self.node.got]

    def stamp(self, time: object) -> tuple[int, Clock]:
        self.take(json.dumps({"n": len(self.node.got), "t": time}).encode())
        sample = self.node.got[-1][0]
        return sample.time_us, sample.clock


BUGS = [ValueError("x"), RecursionError(), KeyError("y"), MemoryError(), AssertionError()]
WILD = [
    1e300, 1e17, 5e12, "9999-12-31T00:00:00Z", "2100-01-01T00:00:01Z", "0001-01-01T00:00:00+23:59", -1, 0, 946_684_799,
    "yesterday", True, [], {}, "2001-01-01",
]  # fmt: skip


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("time", WILD, ids=str)
async def test_a_wild_time_is_not_believed(time: object, synced: bool) -> None:
    bench = Bench(synced=synced)
    assert bench.stamp(time) == (NOW_US, Clock(5, synced))
    assert bench.counts["times_refused"] == 1


@settings(deadline=None)
@given(st.none() | st.integers() | st.floats() | st.text(max_size=30) | st.datetimes().map(str))
async def test_no_time_runs_beyond_the_node_s_clock(time: object) -> None:
    time_us, _ = Bench().stamp(time)
    assert 946_684_800_000_000 <= time_us <= NOW_US + FUTURE_US


async def test_a_time_is_believed_when_the_node_knows_better() -> None:
    early = (NOW_US - 90 * MINUTE_US) / 1e6
    bench = Bench(synced=True)
    assert bench.stamp(early) == (NOW_US - 90 * MINUTE_US, Clock(5, True))
    assert bench.stamp((NOW_US + MINUTE_US) / 1e6) == (NOW_US + MINUTE_US, Clock(5, True))
    assert bench.counts["times_refused"] == 0
    assert bench.stamp((NOW_US + FUTURE_US + 1_000_000) / 1e6) == (NOW_US, Clock(5, True))
    assert bench.counts["times_refused"] == 1
    assert bench.stamp(None) == (NOW_US, Clock(5, True))
    assert bench.counts["times_refused"] == 1  # it gave none

    unsure = Bench(synced=False)
    assert unsure.stamp(early) == (NOW_US, Clock(5, False))
    assert unsure.counts["times_refused"] == 1


@pytest.mark.parametrize("error", BUGS, ids=repr)
async def test_whatever_goes_wrong_in_decoding_is_a_bad_reading_and_acknowledged(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()

    def read(_payload: bytes) -> Any:
        raise error

    monkeypatch.setattr(bench.target.payload, "read", read)
    bench.take(b'{"n": 1}', mid=1)
    bench.take(b'{"n": 2}', mid=2)
    for future in bench.node.futures:
        future.set_result(None)
    await bench.acknowledge()
    assert bench.session.acknowledged == [1, 2]
    assert bench.counts["unreadable"] == 2
    assert {s.values["n"] for s, _ in bench.node.got} == {None}
    assert f"bad:reading the payload failed ({type(error).__name__})" in bench.node.got[0][0].quality["n"]


async def test_a_packet_id_that_nests_too_deep_and_a_topic_that_is_no_text() -> None:
    bench = Bench()
    bench.take(b'{"n": 1, "i": ' + b"[" * 900 + b"]" * 900 + b"}", mid=1)
    bench.take(b'{"n": 1}', mid=2, topic=None)
    for future in bench.node.futures:
        future.set_result(None)
    await bench.acknowledge()
    assert bench.session.acknowledged == [1, 2]
    assert bench.counts["unknown_topics"] == 1


async def test_a_deliver_that_raises_is_a_node_that_cannot_keep_it() -> None:
    bench = Bench()
    bench.node.fault = RuntimeError("a bug")
    bench.take(b'{"n": 1, "i": 1}')
    with pytest.raises(NotStored):
        await bench.acknowledge()
    assert bench.session.acknowledged == []
    bench.node.fault = None
    bench.connect()
    bench.take(b'{"n": 1, "i": 1}', dup=True)
    assert len(bench.node.got) == 1  # the broker's next try counts


async def test_what_follows_one_that_could_not_be_kept_waits_for_the_next_connection() -> None:
    """Else it would stand before it."""
    bench = Bench()
    bench.node.fault = NotStored("full")
    bench.take(b'{"n": 1, "i": 1}', mid=1)
    with pytest.raises(NotStored):
        await bench.acknowledge()
    bench.node.fault = None
    bench.take(b'{"n": 2, "i": 2}', mid=2)
    assert bench.node.got == []
    bench.take(b'{"n": 3, "i": 3}', mid=0, qos=0)
    assert [s.values["n"] for s, _ in bench.node.got] == [3], "this one does not come again"
    bench.connect()
    bench.take(b'{"n": 1, "i": 1}', mid=1, dup=True)
    bench.take(b'{"n": 2, "i": 2}', mid=2, dup=True)
    assert [s.values["n"] for s, _ in bench.node.got] == [3, 1, 2]


async def test_what_follows_is_kept_where_no_broker_brings_it_again() -> None:
    bench = Bench(session_expiry_s=0)
    bench.node.fault = NotStored("full")
    bench.take(b'{"n": 1, "i": 1}', mid=1)
    with pytest.raises(NotStored):
        await bench.acknowledge()
    bench.node.fault = None
    bench.take(b'{"n": 2, "i": 2}', mid=2)
    assert [s.values["n"] for s, _ in bench.node.got] == [2]


async def test_only_a_broker_that_keeps_it_brings_it_again() -> None:
    bench = Bench()
    bench.take(b'{"n": 1, "i": 1}', qos=0)
    bench.take(b'{"n": 2, "i": 2}', qos=1)
    assert [r.redelivered for _, r in bench.node.got if r] == [False, True]
    forgetful = Bench(session_expiry_s=0)  # what was not acknowledged dies with the connection
    forgetful.take(b'{"n": 1, "i": 1}', qos=1)
    assert [r.redelivered for _, r in forgetful.node.got if r] == [False]
    plain = Bench(PLAIN)
    plain.take(b'{"n": 1}', qos=0)
    assert plain.node.got[0][1] is None


async def test_what_comes_at_qos_0_and_cannot_be_kept_stops_nothing() -> None:
    bench = Bench(PLAIN)
    bench.take(b'{"n": 1}', qos=0, mid=0)
    bench.take(b'{"n": 2}', qos=1, mid=9)
    bench.node.futures[0].set_exception(NotStored("full"))
    bench.node.futures[1].set_result(None)
    await bench.acknowledge()
    assert bench.session.acknowledged == [9]
    assert bench.counts["not_stored"] == 1


async def test_qos_0_is_bounded_wherever_it_waits() -> None:
    for held in (False, True):
        bench = Bench(PLAIN, receive_maximum=5)
        if held:
            bench.inbox.hold()
        for n in range(20):
            bench.take(b'{"n": %d}' % n, qos=0, mid=0)
            bench.take(b"{}", qos=0, mid=0, topic="bins/8/up")
        bench.inbox.release()
        assert len(bench.node.got) <= 5
        assert len(bench.inbox._waiting) <= 5
        assert bench.counts["dropped"] >= 15


def test_the_window_is_not_wider_than_what_is_remembered() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"host": "h", "client_id": "c", "receive_maximum": 4097}, Line)


# ---- BLE ---------------------------------------------------------------------------------------------------------


class Air:
    """A BLE inbox and what surrounds it."""

    def __init__(self) -> None:
        self.node = Node()
        self.counts: Counter[str] = Counter()
        attachment = Attachment(Device(id="b", kind="beacon", profile="beacon"), BEACON, None)
        self.beacon = ble.Beacon(attachment, Bytes(BEACON))
        self.inbox = ble.Inbox(
            source="ble:x",
            max_pending=10,
            now=lambda: (NOW_US, Clock(5, True)),
            clock=lambda: 0.0,
            counts=self.counts,
            mishaps=LineMishaps("advert", LOG),
        )

    def take(self, data: bytes) -> None:
        self.inbox.take(self.beacon, {7: data}, {}, self.node)


async def test_an_advert_is_not_brought_again() -> None:
    air = Air()
    air.take(b"\x01\x02")
    assert air.node.got[0][0].values == {"i": 1, "n": 2}
    assert [r.redelivered for _, r in air.node.got if r] == [False]


async def test_nothing_leaves_the_callback_of_an_advert(monkeypatch: pytest.MonkeyPatch) -> None:
    air = Air()
    air.node.fault = RuntimeError("a bug")
    air.take(b"\x01\x02")
    await asyncio.sleep(0)
    assert air.counts["not_stored"] == 1
    air.node.fault = None
    air.take(b"\x01\x02")  # the next repeat gets another chance
    assert len(air.node.got) == 1

    def advert(_data: bytes) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(air.beacon.reader, "advert", advert)
    air.take(b"\x02\x02")
    air.take(b"\x02\x02")
    assert air.counts["unreadable"] == 1
    assert air.node.got[1][0].quality["n"] == "bad:reading the advert failed (KeyError)"
