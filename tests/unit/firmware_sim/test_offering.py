"""What is offered and what goes wrong: ledger, fault schedule, and a Modbus unit without a line."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from pathlib import Path

import pytest

from firmware_sim.devices.lx1 import Lx1
from firmware_sim.faults import Fault, Faults, Kind
from firmware_sim.flight import Flight
from firmware_sim.ledger import Ledger
from firmware_sim.modbus import Unit
from firmware_sim.physics.lamp import Lamp
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.world import World

START_S = 1_795_000_000.0
READ_ALL = struct.pack(">BHH", 3, 0, 20)


class Street:
    """One lamp, a schedule, and a hand on both clocks."""

    def __init__(self, ledger: Ledger, *faults: Fault) -> None:
        self.real_s = 0.0
        self.street_s = START_S
        self.faults = Faults(faults, lambda: self.real_s)
        lamp = Lamp(World(1, 5.041, 47.322, 1.0), Noise(1, "lamp-001"), START_S, 0)
        registers = Lx1("lamp-001", lamp, self.faults, lambda: self.street_s)
        self.unit = Unit("lamp-001", registers, self.faults, ledger, random.Random(1))


def fault(kind: Kind, **more: object) -> Fault:
    return Fault("lamp-001", kind, 10.0, 5.0, **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_ledger_appends_whole_lines_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"device": "old"}\n')
    with Ledger(path, lambda: 42) as ledger:
        ledger.offered("bin-001", "mqtt", {"n": 1, "fill_level": 0.1, "tilted": False, "lid": "open"}, n=1)
        assert lines(path)[1] == {
            "device": "bin-001",
            "via": "mqtt",
            "n": 1,
            "time_us": 42,
            "points": {"n": 1, "fill_level": 0.1, "tilted": False, "lid": "open"},
        }
        ledger.offered("lamp-001", "modbus", {"dark": True}, n=None, late_s=1.5)
        ledger.offered("bin-001", "mqtt", {"n": 2}, n=2, uncertain=True)
        assert (ledger.lines, ledger.readings) == (3, 6)
    assert lines(path)[2]["late_s"] == 1.5
    assert lines(path)[3]["uncertain"] is True


def test_ledger_that_is_not_whole_says_so() -> None:
    with Ledger(Path("/dev/full")) as ledger, pytest.raises(OSError, match="No space"):
        ledger.offered("bin-001", "mqtt", {"n": 1}, n=1)


async def test_an_answer_counts_only_when_it_has_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, lambda: 1) as ledger:
        street = Street(ledger)
        lost = await street.unit.answer(READ_ALL)
        answer = await street.unit.answer(READ_ALL)
        assert lost is not None
        assert answer is not None
        assert lost.body == answer.body  # the first never left, so the second has its number
        assert lines(path) == []
        answer.sent()
        (line,) = lines(path)
        assert (line["n"], line["via"]) == (1, "modbus")
        points = line["points"]
        assert isinstance(points, dict)
        assert len(points) == 18
        again = await street.unit.answer(READ_ALL)
        assert again is not None
        assert struct.unpack(">20H", again.body[2:])[17] == 2


@pytest.mark.parametrize(
    ("request_hex", "answer_hex"),
    [
        ("03 0000 0015", "83 02"),  # beyond register 19
        ("03 0013 0002", "83 02"),
        ("03 0000 0000", "83 03"),
        ("03 0000 007e", "83 03"),
        ("03 0000", "83 03"),
        ("04 0000 0001", "84 01"),  # an LX-1 has holding registers only
        ("2b 0e 01 00", "ab 01"),
        ("06 0002 03e9", "86 03"),  # 100.1 %
        ("06 000e 0003", "86 03"),
        ("06 0003 0001", "86 02"),  # read only
        ("10 0002 0002 04 0001 0002", "90 02"),
        ("10 0002 0001 03 000102", "90 03"),
        ("06 0002 01f4", "06 0002 01f4"),
        ("10 000e 0001 02 0001", "10 000e 0001"),
    ],
)
async def test_refusals_carry_the_code_of_the_data_sheet(request_hex: str, answer_hex: str) -> None:
    with Ledger(None) as ledger:
        answer = await Street(ledger).unit.answer(bytes.fromhex(request_hex))
    assert answer is not None
    assert answer.body == bytes.fromhex(answer_hex)
    assert ledger.lines == 0


async def test_scheduled_faults_act_for_their_time_only() -> None:
    with Ledger(None) as ledger:
        silent = Street(ledger, fault(Kind.SILENCE))
        assert await silent.unit.answer(READ_ALL) is not None
        silent.real_s = 10.0
        assert await silent.unit.answer(READ_ALL) is None
        silent.real_s = 15.0
        assert await silent.unit.answer(READ_ALL) is not None
        busy = Street(ledger, fault(Kind.EXCEPTION, code=6))
        busy.real_s = 12.0
        answer = await busy.unit.answer(READ_ALL)
        assert answer is not None
        assert answer.body == b"\x83\x06"
        noisy = Street(ledger, fault(Kind.GARBAGE))
        noisy.real_s = 12.0
        answer = await noisy.unit.answer(READ_ALL)
        assert answer is not None
        assert answer.raw
        answer.sent()
        assert ledger.lines == 0


async def test_stuck_values_repeat_while_the_counter_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        street = Street(ledger, fault(Kind.STUCK))
        for real_s in (9.0, 11.0, 14.0, 16.0):
            street.real_s, street.street_s = real_s, START_S + 60.0 * real_s
            answer = await street.unit.answer(READ_ALL)
            assert answer is not None
            answer.sent()
    before, first, second, after = (dict(line["points"]) for line in lines(path))  # type: ignore[call-overload]
    assert [points.pop("answers") for points in (before, first, second, after)] == [1, 2, 3, 4]
    assert before != first == second != after


async def test_reboot_forgets_what_is_volatile_and_keeps_counting() -> None:
    with Ledger(None) as ledger:
        for reset in (False, True):
            street = Street(ledger, fault(Kind.REBOOT, reset_counters=reset))
            await street.unit.answer(bytes.fromhex("06 0002 01f4"))
            answer = await street.unit.answer(READ_ALL)
            assert answer is not None
            answer.sent()
            street.real_s = 12.0
            assert await street.unit.answer(READ_ALL) is None
            street.real_s = 15.0
            answer = await street.unit.answer(READ_ALL)
            assert answer is not None
            words = struct.unpack(">20H", answer.body[2:])
            assert (words[2], words[17]) == (1_000, 1 if reset else 2)


async def test_hushed_street_is_silent_and_waits_for_what_is_in_flight() -> None:
    with Ledger(None) as ledger:
        street = Street(ledger)
        street.faults.hushed = True
        assert await street.unit.answer(READ_ALL) is None
    flight = Flight()
    with flight:
        landed = asyncio.create_task(flight.landed())
        await asyncio.sleep(0)
        assert not landed.done()
    await landed
