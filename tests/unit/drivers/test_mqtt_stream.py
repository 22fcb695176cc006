"""The stream against paho's own reading, packet by packet, however the bytes are cut."""

from __future__ import annotations

import inspect
import ssl
from collections.abc import Sequence
from typing import Any

import aiomqtt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from drivers.mqtt.session import PACKET_BYTES
from drivers.mqtt.stream import READ_BYTES, Arrived, Stream
from support.mqtt_packets import CONTENT_TYPE, DISCONNECT, PINGRESP, cut, framed, publish


class Wire:
    """A socket that has what was put to it, a piece a read; b"" is its end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [p for p in pieces if p]
        self.sent = bytearray()
        self.fault: OSError | None = None

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise self.fault or BlockingIOError
        piece = self.pieces[0][:size]
        self.pieces[0] = self.pieces[0][size:]
        if not self.pieces[0]:
            del self.pieces[0]
        return piece

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        self.pieces = []

    def fileno(self) -> int:
        return -1


class Read:
    """What came of bytes, read by paho alone or through the stream."""

    def __init__(self, pieces: Sequence[bytes], *, streamed: bool, limit: int = PACKET_BYTES) -> None:
        self.got: list[tuple[Any, ...]] = []
        self.ended: list[str] = []
        self.wire = Wire(pieces)
        paho: Any = Client(CallbackAPIVersion.VERSION2, protocol=5)
        paho.manual_ack_set(True)
        paho.on_message = lambda _client, _data, message: self._take(message)
        paho.on_disconnect = lambda _client, _data, _flags, reason, _properties: self.ended.append(str(reason))
        paho._sock = self.wire
        self.paho = paho
        self.stream = Stream(paho, self._take, limit_bytes=limit) if streamed else None
        while self.wire.pieces and paho.socket() is not None:
            paho.loop_read()

    def _take(self, message: Arrived | MQTTMessage) -> None:
        try:
            topic: str | None = message.topic
        except UnicodeDecodeError:
            topic = None
        self.got.append((message.mid, message.qos, message.dup, message.retain, topic, bytes(message.payload)))

    @property
    def outcome(self) -> tuple[Any, ...]:
        return self.got, self.ended, bytes(self.wire.sent), self.paho.socket() is None


short = st.binary(max_size=12)
packets = st.one_of(
    st.builds(
        publish,
        short | st.integers(100, 300).map(bytes) | st.just(bytes(READ_BYTES + 7)),
        topic=st.sampled_from([b"a", b"bins/7/up", b"", b"\xff", b"x" * 200]) | short,
        mid=st.sampled_from([0, 1, 255, 256, 65535]),
        qos=st.sampled_from([0, 1, 1, 1, 2]),
        flags=st.sampled_from([0, 0, 1, 8, 9]),
        props=st.sampled_from([b"", b"", b"", CONTENT_TYPE, b"\x23\x00\x01", b"\x7f"]),
    ),
    st.sampled_from(
        [PINGRESP, DISCONNECT, b"\x62\x02\x00\x01", b"\x40\x02\x00\x07", b"\xc0\x00", b"\xd0\x01x", b"\xe0\x01\x8e"]
    ),
    st.builds(framed, st.integers(0x30, 0x3F), short),
)


@given(st.lists(packets, max_size=8), st.lists(st.integers(0, 2000), max_size=12))
@example([publish(bytes(100_000)), publish()], [1, 2, 3, 4, 5])
@example([publish(), b"\x3f\x04abcd", publish()], [])
@example([b"\x30\x80\x80\x80\x80\x01", publish()], [])
@example([b"\x32\x03\x00\x00\x00"], [])
@example([b"\x30\x02\x00\x00", b"\x30\x03\xff\xff\x00"], [])
def test_any_cut_of_any_packets_gives_what_paho_reads(sent: list[bytes], at: list[int]) -> None:
    data = b"".join(sent)
    assert Read(cut(data, at), streamed=True).outcome == Read([data], streamed=False).outcome


@given(
    st.lists(packets, max_size=5), st.integers(0, 200), st.binary(max_size=3), st.lists(st.integers(0, 60), max_size=4)
)
def test_any_bytes_give_what_paho_reads(sent: list[bytes], place: int, other: bytes, at: list[int]) -> None:
    data = b"".join(sent)
    data = data[:place] + other + data[place + len(other) :]
    found, wanted = Read(cut(data, at), streamed=True), Read([data], streamed=False)
    assert found.got == wanted.got
    if found.stream is None or not found.stream.broken:  # a packet that is too large ends it before it is all there
        assert found.outcome == wanted.outcome


def test_cut_at_every_place_and_in_single_bytes() -> None:
    sent = [publish(b"1", mid=i) for i in (1, 2)] + [PINGRESP, publish(bytes(200), mid=3, qos=0), publish(mid=4, qos=2)]
    data = b"".join([*sent, b"\x62\x02\x00\x04", publish(b"5", mid=5, props=CONTENT_TYPE), publish(b"6", mid=6)])
    wanted = Read([data], streamed=False).outcome
    assert [got[0] for got in wanted[0]] == [1, 2, 0, 4, 5, 6]
    for place in range(len(data)):
        assert Read([data[:place], data[place:]], streamed=True).outcome == wanted
    assert Read([data[i : i + 1] for i in range(len(data))], streamed=True).outcome == wanted


def test_what_follows_the_end_means_nothing() -> None:
    found = Read([publish(mid=1) + DISCONNECT + publish(mid=2)], streamed=True)
    assert [got[0] for got in found.got] == [1]
    assert len(found.ended) == 1
    assert found.paho.socket() is None


def test_a_packet_beyond_the_limit_ends_the_connection_at_its_head() -> None:
    found = Read([publish(mid=1) + b"\x30\xe9\x07" + b"x" * 100], streamed=True, limit=1000)
    assert [got[0] for got in found.got] == [1]
    assert found.paho.socket() is None
    assert found.stream is not None
    assert found.stream.broken == "a packet of 1001 bytes came, and 1000 is all that was asked for"
    assert not found.stream._held
    whole = Read([publish(bytes(992))], streamed=True, limit=1000)
    assert len(whole.got) == 1
    assert not whole.ended


def test_a_large_packet_is_not_looked_at_again_with_each_piece() -> None:
    data = publish(bytes(1 << 20))
    looks = 0

    class Counted(Stream):
        def _take(self, data: bytes) -> int:
            nonlocal looks
            looks += 1
            return super()._take(data)

    paho: Any = Client(CallbackAPIVersion.VERSION2, protocol=5)
    paho._sock = Wire([data])
    got: list[Arrived] = []
    Counted(paho, got.append, limit_bytes=PACKET_BYTES)
    while paho._sock.pieces:
        paho.loop_read()
    assert [len(g.payload) for g in got] == [1 << 20]
    assert looks == 2


@pytest.mark.parametrize("fault", [ConnectionResetError("reset"), TimeoutError(), ssl.SSLError("alert")])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_lost_connection_is_pahos_to_tell(fault: OSError, streamed: bool) -> None:
    found = Read([publish(mid=3), publish()[:5]], streamed=streamed)
    found.wire.fault = fault
    found.paho.loop_read()
    assert [got[0] for got in found.got] == [3]
    assert found.ended == ["Unspecified error"]
    assert found.paho.socket() is None


def test_the_private_names_are_still_there() -> None:
    paho: Any = Client(CallbackAPIVersion.VERSION2, protocol=5)
    assert list(inspect.signature(paho._sock_recv).parameters) == ["bufsize"]
    assert list(inspect.signature(paho._packet_queue).parameters) == ["command", "packet", "mid", "qos", "info"]
    assert list(inspect.signature(paho.loop_read).parameters) == ["max_packets"]
    assert paho.socket() is None
    source = inspect.getsource(aiomqtt.Client._on_socket_open)
    assert "client.loop_read()" in source  # what the stream takes the place of, and who catches what it raises
    assert "_disconnected.set_exception(exc)" in source
