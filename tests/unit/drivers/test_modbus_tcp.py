"""Modbus TCP as we frame it: what answers a request, and that nothing else ever does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from struct import pack
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.link import NoAnswer, NoLine, Said
from drivers.modbus.tcp import TcpLink, _Wire
from drivers.modbus.words import Line, Space

UNIT: Final = 7
TWO: Final = b"\x12\x34\x56\x78"  # the two registers that are asked for


class Transport:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, _name: str) -> None:
        return None


class Stage:
    """A link on a transport of ours."""

    def __init__(self) -> None:
        self.link = TcpLink(Line(host="nowhere"))
        self.wire = self.link._wire = _Wire(self.link.where)
        self.transport: Any = Transport()
        self.wire.connection_made(self.transport)

    def number(self) -> int:
        return int.from_bytes(self.transport.sent[-1][:2])

    def comes(self, body: bytes, *, unit: int = UNIT, number: int | None = None) -> None:
        self.wire.data_received(frame(self.number() if number is None else number, unit, body))

    async def asks(self, what: Awaitable[Any]) -> asyncio.Task[Any]:
        """The task that waits, once the request is out."""
        before = len(self.transport.sent)
        task = asyncio.ensure_future(what)
        await asyncio.sleep(0)
        assert len(self.transport.sent) == before + 1
        return task

    async def reads(self, space: Space = "holding", count: int = 2, *, unit: int = UNIT) -> asyncio.Task[Any]:
        return await self.asks(self.link.read(unit, space, 16, count, timeout_s=60))

    async def writes(self, space: Space, *registers: int, multiple: bool = False) -> asyncio.Task[Any]:
        return await self.asks(self.link.write(UNIT, space, 16, registers, multiple=multiple, timeout_s=60))

    def late(self) -> None:
        """The time of the request is over, now."""
        assert self.wire._owed is not None
        self.wire._late(self.wire._owed, 60)


def frame(number: int, unit: int, body: bytes, *, protocol: int = 0, length: int | None = None) -> bytes:
    return pack(">HHHB", number, protocol, len(body) + 1 if length is None else length, unit) + body


def registers(data: bytes, function: int = 3) -> bytes:
    return bytes([function, len(data)]) + data


# ---- what is sent, and what answers it


@pytest.mark.parametrize(
    ("space", "count", "sent", "body", "want"),
    [
        ("holding", 2, "07 03 0010 0002", registers(TWO), TWO),
        ("input", 1, "07 04 0010 0001", registers(b"\0\7", 4), b"\0\7"),
        ("coil", 10, "07 01 0010 000A", bytes.fromhex("01 02 05 02"), [True, False, True, *[False] * 6, True]),
        ("discrete", 8, "07 02 0010 0008", bytes.fromhex("02 01 80"), [*[False] * 7, True]),
    ],
)
async def test_reads(space: Space, count: int, sent: str, body: bytes, want: object) -> None:
    stage = Stage()
    task = await stage.reads(space, count)
    assert stage.transport.sent == [bytes.fromhex("0001 0000 0006" + sent)]
    stage.comes(body)
    assert await task == want


@pytest.mark.parametrize(
    ("space", "values", "multiple", "sent", "echo"),
    [
        ("coil", [1], False, "0006 07 05 0010 FF00", "05 0010 FF00"),
        ("coil", [0], False, "0006 07 05 0010 0000", "05 0010 0000"),
        ("holding", [513], False, "0006 07 06 0010 0201", "06 0010 0201"),
        ("holding", [513], True, "0009 07 10 0010 0001 02 0201", "10 0010 0001"),
        ("holding", [1, 65535], False, "000B 07 10 0010 0002 04 0001 FFFF", "10 0010 0002"),
    ],
)
async def test_writes(space: Space, values: Sequence[int], multiple: bool, sent: str, echo: str) -> None:
    stage = Stage()
    task = await stage.writes(space, *values, multiple=multiple)
    assert stage.transport.sent == [bytes.fromhex("0001 0000" + sent)]
    stage.comes(bytes.fromhex(echo))
    assert await task is None


@pytest.mark.parametrize(("space", "echo"), [("coil", "05 0010 0000"), ("holding", "06 0011 0001"), ("holding", "06")])
async def test_a_write_whose_echo_differs_is_no_answer(space: Space, echo: str) -> None:
    stage = Stage()
    task = await stage.writes(space, 1)
    stage.comes(bytes.fromhex(echo))
    with pytest.raises(NoAnswer, match="does not repeat what was written"):
        await task


async def test_longest_answers() -> None:
    stage = Stage()
    words = await stage.reads(count=125)
    stage.comes(registers(bytes(250)))
    assert await words == bytes(250)
    bits = await stage.reads("coil", 2000)
    stage.comes(registers(b"\xff" * 250, 1))
    assert await bits == [True] * 2000


# ---- the guards, one by one


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (registers(TWO, 4), "to another request"),
        (registers(TWO[:2]), "has 2 bytes and states 2 where 4 were asked for"),
        (registers(TWO + TWO), "has 8 bytes and states 8 where 4 were asked for"),
        (b"\x03\x04" + TWO[:3], "has 3 bytes and states 4 where 4 were asked for"),
        (b"\x03\x05" + TWO + b"\0", "has 5 bytes and states 5 where 4 were asked for"),
        (b"\x03", "has 0 bytes and states 0 where 4 were asked for"),
        (b"\x83", "to another request"),  # a refusal without its code
    ],
)
async def test_an_answer_that_does_not_fit_is_none(body: bytes, why: str) -> None:
    stage = Stage()
    task = await stage.reads()
    stage.comes(body)
    with pytest.raises(NoAnswer, match=why):
        await task


async def test_what_is_behind_the_registers_is_nobodys() -> None:
    stage = Stage()
    task = await stage.reads()
    stage.comes(registers(TWO) + b"\xff\xff")
    assert await task == TWO


@pytest.mark.parametrize("length", [3, 2])  # some devices do not count the code
async def test_a_refusal(length: int) -> None:
    stage = Stage()
    task = await stage.reads()
    stage.wire.data_received(frame(1, UNIT, b"\x83\x02", length=length))
    with pytest.raises(Said, match=r"no such register \(exception 2\)") as said:
        await task
    assert said.value.code == 2


async def test_a_late_answer_never_passes_for_the_next_one() -> None:
    stage = Stage()
    first = await stage.reads()
    stage.late()
    with pytest.raises(NoAnswer, match=r"no answer within 60 s$"):
        await first
    stage.comes(registers(b"late"), number=1)  # while nobody waits
    second = await stage.reads()
    stage.comes(registers(b"late"), number=1)
    stage.comes(b"\x83\x02", number=1)
    stage.comes(registers(TWO))
    assert await second == TWO


async def test_an_answer_without_a_number_is_told() -> None:
    stage = Stage()
    task = await stage.reads()
    stage.comes(registers(TWO), number=0)
    stage.late()
    with pytest.raises(NoAnswer, match="no answer within 60 s, only one to another request"):
        await task


async def test_another_unit_does_not_answer() -> None:
    stage = Stage()
    task = await stage.reads()
    stage.comes(registers(b"else"), unit=8)
    assert not task.done()
    stage.comes(registers(TWO))
    assert await task == TWO


async def test_unit_0_is_whoever_is_there() -> None:
    stage = Stage()
    task = await stage.reads(unit=0)
    stage.comes(registers(TWO), unit=255)
    assert await task == TWO


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n", frame(1, UNIT, registers(TWO), protocol=1), b"\0" * 40])
async def test_noise_is_dropped_and_the_answer_behind_it_taken(noise: bytes) -> None:
    stage = Stage()
    task = await stage.reads()
    stage.wire.data_received(noise)
    stage.comes(registers(TWO))
    assert await task == TWO


async def test_half_a_frame_does_not_swallow_the_next_answer() -> None:
    stage = Stage()
    first = await stage.reads()
    stage.wire.data_received(frame(1, UNIT, registers(TWO))[:9])
    stage.late()
    with pytest.raises(NoAnswer):
        await first
    second = await stage.reads()
    stage.comes(registers(TWO))
    assert await second == TWO


@pytest.mark.parametrize("how", ["lost", "closed"])
async def test_a_connection_that_ends_ends_the_wait_at_once(how: str) -> None:
    stage = Stage()
    task = await stage.reads()
    if how == "lost":
        stage.wire.connection_lost(None)
    else:
        stage.link.close()
        assert stage.transport.aborted
    with pytest.raises(NoLine, match="nowhere:502 closed the connection"):
        await task
    assert not stage.link.connected
    with pytest.raises(NoLine, match="no connection to nowhere:502"):
        await stage.link.read(UNIT, "holding", 0, 1, timeout_s=60)
    assert len(stage.transport.sent) == 1


async def test_no_answer_in_time() -> None:
    stage = Stage()
    with pytest.raises(NoAnswer, match=r"no answer within 0\.01 s$"):
        await stage.link.read(UNIT, "holding", 0, 1, timeout_s=0.01)
    assert len(stage.transport.sent) == 1  # nothing is sent twice


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_what_was_cancelled_stays_cancelled_when_the_answer_comes_at_the_same_time(kind: str) -> None:
    stage = Stage()
    task = await (stage.reads() if kind == "read" else stage.writes("holding", 1))
    stage.comes(registers(TWO) if kind == "read" else bytes.fromhex("06 0010 0001"))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_request_given_up_leaves_nothing_behind() -> None:
    stage = Stage()
    first = await stage.reads()
    first.cancel()
    await asyncio.wait([first])
    second = await stage.reads()
    stage.comes(registers(b"late"), number=1)
    assert not second.done()
    stage.comes(registers(TWO))
    stage.comes(registers(b"more"))  # told twice
    assert await second == TWO


async def test_numbers_go_round_without_0() -> None:
    wire = _Wire("nowhere")
    numbers = [wire.next_number() for _ in range(65_537)]
    assert numbers == [*range(1, 65_536), 1, 2]


# ---- whatever comes

_ANY: Final = st.binary(max_size=40)
_NUMBER: Final = st.sampled_from([0, 1, 2, 3, 0x0100]) | st.integers(0, 0xFFFF)
_BODY: Final = st.one_of(
    st.builds(registers, st.binary(max_size=250), st.sampled_from([1, 2, 3, 4, 6, 16, 0x83])),
    st.binary(min_size=1, max_size=253),
    st.sampled_from([b"\x83\x02", b"\x83", b"\x03\x04abc"]),
)
_UNITS: Final = st.sampled_from([UNIT, 0, 8, 255])
_OTHERS: Final = st.builds(frame, _NUMBER.filter(lambda n: n != 1), _UNITS, _BODY) | st.builds(
    frame, st.just(1), _UNITS.filter(lambda u: u != UNIT), _BODY
)
_FRAMES: Final = st.one_of(
    _OTHERS,
    st.builds(frame, st.just(1), st.just(UNIT), _BODY),
    st.builds(
        frame, st.just(1), st.just(UNIT), _BODY, protocol=st.sampled_from([0, 1, 256]), length=st.integers(0, 400)
    ),
    st.just(frame(1, UNIT, registers(TWO))),
)


def cut(stream: bytes, sizes: Sequence[int]) -> list[bytes]:
    """The stream in pieces of these sizes, over and over."""
    pieces: list[bytes] = []
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)]
        pieces.append(stream[:size])
        stream, turn = stream[size:], turn + 1
    return pieces


def play(pieces: Sequence[bytes], look: Callable[[Stage], None] = lambda _stage: None) -> bytes | Exception:
    """Ask once, let all that come, then let time be over: how it ends."""

    async def run() -> bytes | Exception:
        stage = Stage()
        task = await stage.reads()
        for piece in pieces:
            stage.wire.data_received(piece)
            look(stage)
        if stage.wire._owed is not None:
            stage.late()
        try:
            return await task
        except (NoAnswer, Said) as error:
            return error

    return asyncio.run(run())


@given(st.lists(_ANY | _FRAMES, max_size=6), st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_no_bytes_make_a_wrong_value_or_a_wait_without_end(stream: Sequence[bytes], sizes: Sequence[int]) -> None:
    def bounded(stage: Stage) -> None:
        assert len(stage.wire._part) < 260

    whole = b"".join(stream)
    outcome = play(cut(whole, sizes), bounded)
    if isinstance(outcome, bytes):
        # Somewhere there is the answer to this very request, and nothing else was taken.
        starts = [i for i in range(len(whole)) if whole[i : i + 4] == b"\0\1\0\0" and whole[i + 6 : i + 9] == b"\7\3\4"]
        assert outcome in [whole[i + 9 : i + 13] for i in starts]
        assert len(outcome) == 4
    elif isinstance(outcome, Said):
        assert outcome.code in whole


@given(st.lists(_OTHERS, max_size=5), st.lists(_OTHERS, max_size=2), st.lists(st.integers(1, 300), min_size=1))
def test_the_answer_is_found_among_others(before: list[bytes], after: list[bytes], sizes: Sequence[int]) -> None:
    # In whatever pieces: of a refusal whose code is not counted nobody knows where it ends, so that one is not here.
    stream = b"".join([*before, frame(1, UNIT, registers(TWO)), *after])
    assert play(cut(stream, sizes)) == TWO
