"""A Modbus unit: a request PDU in, an answer out, the same on TCP and on a serial line.

Promises: at most 125 registers are read and 123 written at once; every refusal carries the exception code that
its data sheet and the Modbus specification name. The answer counter grows, and the ledger gets its line, only
in `Answer.sent`, which the line calls once the whole answer has left.

Written here and not taken from a library: the servers at hand keep one current request per connection, so an
answer held back by a slow fault would leave under the number of a newer request, and one lamp's values would
arrive as another's.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from firmware_sim.faults import Faults, Kind
from firmware_sim.ledger import Ledger, Value
from firmware_sim.registers import Field, decode_range, encode_table

READ_HOLDING, READ_INPUT, WRITE_SINGLE, WRITE_MULTIPLE = 3, 4, 6, 16
MAX_READ = 125
MAX_WRITE = 123
COUNTER = "answers"
GARBAGE_BYTES = (4, 40)


class Refusal(IntEnum):
    """Exception codes of the Modbus specification that a unit gives by itself."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    GATEWAY_NO_RESPONSE = 11


class Registers(Protocol):
    """What a device model shows to Modbus."""

    reads: int
    size: int
    table: Sequence[Field]

    def measure(self) -> dict[str, Value]:
        """All values now, except the answer counter."""
        ...

    def write(self, address: int, words: Sequence[int]) -> Refusal | None:
        """Take a write wholly or refuse it wholly."""
        ...

    def restart(self) -> None:
        """Forget what is kept in volatile memory."""
        ...


@dataclass(frozen=True)
class Answer:
    """What goes back: a PDU to be framed, or bytes to be put on the line as they are."""

    body: bytes
    sent: Callable[[], None]
    raw: bool = False


class Unit:
    """One device on a line: faults, counter and ledger around its registers."""

    def __init__(self, device: str, registers: Registers, faults: Faults, ledger: Ledger, noise: random.Random) -> None:
        self.device = device
        self._registers = registers
        self._faults = faults
        self._ledger = ledger
        self._random = noise
        self.answers = 0

    async def answer(self, pdu: bytes) -> Answer | None:
        """The answer to one request, after the delay that a slow fault asks for; none from a silent device."""
        if self._faults.silent(self.device):
            return None
        late_s = self._faults.delay_s(self.device)
        if late_s > 0.0:
            await asyncio.sleep(late_s)
            if self._faults.silent(self.device):
                return None
        self._wake()
        if self._faults.active(self.device, Kind.GARBAGE) is not None:
            return Answer(self._random.randbytes(self._random.randint(*GARBAGE_BYTES)), _nothing, raw=True)
        broken = self._faults.active(self.device, Kind.EXCEPTION)
        if broken is not None:
            return refuse(pdu, broken.code)
        if pdu[0] == self._registers.reads:
            return self._read(pdu, late_s)
        if pdu[0] in {WRITE_SINGLE, WRITE_MULTIPLE} and self._registers.reads == READ_HOLDING:
            return self._write(pdu)
        return refuse(pdu, Refusal.ILLEGAL_FUNCTION)

    def silent(self) -> bool:
        """Whether the device says nothing now, not even what it has ready."""
        return self._faults.silent(self.device)

    def _wake(self) -> None:
        reboot = self._faults.rebooted(self.device)
        if reboot is not None:
            self._registers.restart()
            if reboot.reset_counters:
                self.answers = 0

    def _read(self, pdu: bytes, late_s: float) -> Answer:
        if len(pdu) != 5:
            return refuse(pdu, Refusal.ILLEGAL_VALUE)
        address, count = struct.unpack(">HH", pdu[1:])
        if not 1 <= count <= MAX_READ:
            return refuse(pdu, Refusal.ILLEGAL_VALUE)
        if address + count > self._registers.size:
            return refuse(pdu, Refusal.ILLEGAL_ADDRESS)
        values: Mapping[str, Value] = {
            **self._faults.hold(self.device, self._registers.measure()),
            COUNTER: self.answers + 1 & 0xFFFF_FFFF,
        }
        words = encode_table(self._registers.table, self._registers.size, values)[address : address + count]
        points = decode_range(self._registers.table, address, words)

        def sent() -> None:
            counter = points.get(COUNTER)
            if isinstance(counter, int):
                self.answers = counter
                self._ledger.offered(self.device, "modbus", points, n=counter, late_s=late_s)
            elif points:
                self._ledger.offered(self.device, "modbus", points, n=None, late_s=late_s)

        return Answer(struct.pack(f">BB{count}H", pdu[0], 2 * count, *words), sent)

    def _write(self, pdu: bytes) -> Answer:
        if pdu[0] == WRITE_SINGLE:
            if len(pdu) != 5:
                return refuse(pdu, Refusal.ILLEGAL_VALUE)
            address, word = struct.unpack(">HH", pdu[1:])
            words: tuple[int, ...] = (word,)
        else:
            if len(pdu) < 6:
                return refuse(pdu, Refusal.ILLEGAL_VALUE)
            address, count, size = struct.unpack(">HHB", pdu[1:6])
            if not 1 <= count <= MAX_WRITE or size != 2 * count or len(pdu) != 6 + size:
                return refuse(pdu, Refusal.ILLEGAL_VALUE)
            words = struct.unpack(f">{count}H", pdu[6:])
        refusal = self._registers.write(address, words)
        return refuse(pdu, refusal) if refusal is not None else Answer(pdu[:5], _nothing)


def refuse(pdu: bytes, code: int) -> Answer:
    """An exception answer."""
    return Answer(bytes((pdu[0] | 0x80, code)), _nothing)


def _nothing() -> None:
    """What there is to do when an answer without values has left."""
