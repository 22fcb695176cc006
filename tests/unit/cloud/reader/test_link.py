"""What both ends say arrives whole and in order; what is no message ends a link, and nothing is kept of it."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.reader.link import MAX_BYTES, Beat, Link, LookedAt, Pause, Paused, Resume, State
from cloud.sqlite.tokens import MAX_TOKENS
from wire.time import Utc

messages = st.one_of(
    *(st.from_type(kind) for kind in (Beat, Paused, Pause, Resume, LookedAt)),
    st.builds(
        State,
        **dict.fromkeys(("generation", "previous", "shared_through", "floor", "head"), st.integers(0, 2**62)),
        snapshots=st.text(max_size=20),
        heard=st.dictionaries(st.text(max_size=64), st.integers(0, 2**62), max_size=20),
    ),
)


@settings(max_examples=30)
@given(st.lists(messages.filter(lambda m: all(map(storable, msgspec.structs.astuple(m)))), max_size=10))
def test_what_is_sent_arrives(sent: list[Beat]) -> None:
    async def run() -> list[object]:
        one, other = socket.socketpair()
        here, there = await Link.over(one), await Link.over(other)
        for message in sent:
            await here.send(message)
        here.close()
        found: list[object] = []
        while (message := await there.receive()) is not None:
            found.append(message)
        there.close()
        return found

    assert asyncio.run(run()) == sent


def storable(value: object) -> bool:
    return value == value and (not isinstance(value, int) or -(2**63) <= value < 2**63)


async def test_a_message_beyond_the_bound_is_not_sent_and_not_taken() -> None:
    one, other = socket.socketpair()
    link = await Link.over(one)
    with pytest.raises(ValueError, match="are the most"):
        await link.send(LookedAt(["n" * MAX_BYTES]))
    other.sendall((MAX_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(ValueError, match="are the most"):
        await link.receive()
    link.close()
    other.close()


@pytest.mark.parametrize("bytes_", [b"", b"\x00", b"\x00\x00\x00\x05ab"])
async def test_an_end_within_a_message_is_an_end(bytes_: bytes) -> None:
    one, other = socket.socketpair()
    link = await Link.over(one)
    other.sendall(bytes_)
    other.close()
    assert await link.receive() is None
    link.close()


async def test_what_is_no_message_is_told() -> None:
    one, other = socket.socketpair()
    link = await Link.over(one)
    other.sendall(b"\x00\x00\x00\x01\xc0")
    with pytest.raises(ValueError, match="Expected"):
        await link.receive()
    link.close()
    other.close()


def test_a_state_of_as_many_nodes_as_there_may_be_tokens_goes_through() -> None:
    nodes = [f"{n:x>64}" for n in range(MAX_TOKENS)]
    numbers = dict.fromkeys(("generation", "previous", "shared_through", "floor", "head"), 2**62)
    state = State(**numbers, snapshots="0", fresh=nodes, heard=dict.fromkeys(nodes, Utc(2**62)))
    assert len(msgspec.msgpack.encode(state)) <= MAX_BYTES
