"""Guards for what `drivers.mqtt.session` takes from inside aiomqtt and paho, and for what it remembers."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import aiomqtt
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage

from drivers.contract import RECENT
from drivers.mishaps import Unreadable
from drivers.mqtt.payload import MISSING, Payload, picker
from drivers.mqtt.repeats import Repeats, content_of, delivery_of
from drivers.profile_files import SHIPPED, load_profiles


async def test_the_private_names_are_still_there() -> None:
    client = aiomqtt.Client("nowhere", protocol=aiomqtt.ProtocolVersion.V5)
    paho: Any = client._client
    assert isinstance(paho, Client)
    assert list(inspect.signature(paho.ack).parameters) == ["mid", "qos"]
    assert list(inspect.signature(paho.manual_ack_set).parameters) == ["on"]
    assert paho.on_message == client._on_message
    assert paho.on_connect == client._on_connect
    assert list(inspect.signature(client._on_connect).parameters) == [
        "client", "userdata", "flags", "reason_code", "properties",
    ]  # fmt: skip
    for name in ("mid", "qos", "dup", "retain", "payload", "topic", "_topic", "properties"):
        assert hasattr(MQTTMessage(), name)


def draw(n: int) -> bytes:
    return b"S" * n


def done() -> Any:
    future = asyncio.get_event_loop_policy().new_event_loop().create_future()
    future.set_result(None)
    return future


async def test_receipts_survive_a_restart_and_a_new_session_forgets_deliveries_only() -> None:
    durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    durable.set_result(None)
    delivery, content = delivery_of(7, "t", b"{}"), content_of("d", (1, {}))
    repeats = Repeats([], draw)
    mark = repeats.connected(False)
    assert mark == b"SSSS"
    repeats.add(delivery, content, durable)
    keys = [mark, repeats.key(delivery, content, 1)]

    again = Repeats(keys, draw)
    assert again.connected(True) is None
    assert again.delivered(delivery) == (True, None)
    assert again.delivered(delivery_of(8, "t", b"{}")) == (False, None)
    assert again.connected(False) is not None
    assert again.delivered(delivery) == (False, None)
    assert again.published(content) == (True, None)

    other = Repeats([*keys, b"next"], draw)  # a new session began, and nothing was kept in it
    assert other.connected(True) is None
    assert other.delivered(delivery) == (False, None)
    assert other.published(content) == (True, None)


async def test_what_was_not_kept_is_not_a_repeat_and_memory_is_bounded() -> None:
    loop = asyncio.get_running_loop()
    repeats = Repeats([], draw)
    failed: asyncio.Future[None] = loop.create_future()
    failed.set_exception(OSError())
    repeats.add(b"k", b"", failed)
    assert repeats.delivered(b"k") == (False, None)
    pending: asyncio.Future[None] = loop.create_future()
    for i in range(RECENT + 10):
        repeats.add(i.to_bytes(4), b"", pending)
    assert repeats.delivered((9).to_bytes(4)) == (False, None)
    assert repeats.delivered((10).to_bytes(4)) == (True, pending)


def test_picking() -> None:
    body = {"a": {"b": [10, {"c": None}]}, "n": 0}
    assert picker("a.b[0]")(body) == 10
    assert picker("a.b[-1].c")(body) is None
    assert picker("a.b[5]")(body) is MISSING
    assert picker("a.x")(body) is MISSING
    assert picker("n")(body) == 0
    assert picker("n")([1]) is MISSING
    assert picker("n.x")(body) is MISSING
    assert picker("max(a.b[?@ > `5`])")(body) == 10
    assert picker("length(n)")(body) is MISSING
    assert picker("n == `0`")(body) is True


PROFILES = load_profiles([SHIPPED], [])
garbage = st.binary(max_size=80) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["n", "fill", "temp", "air", "object", "time", "rxInfo", "fCnt"]), inner)
    ),
    max_leaves=12,
).map(lambda v: __import__("json").dumps(v).encode())


@given(garbage, st.sampled_from([n for n, p in PROFILES.items() if p.driver == "mqtt"]))
def test_no_payload_raises_anything_else(payload: bytes, name: str) -> None:
    try:
        reading = Payload(PROFILES[name]).read(payload)
    except Unreadable:
        return
    assert reading.values
    assert reading.values.keys() >= reading.quality.keys()
