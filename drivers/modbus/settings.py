"""Modbus TCP and RTU: the words that files use for it.

The words are those of data sheets and of technicians: holding, input, coil, discrete; u16, f32; ABCD, CDAB. Addresses
are those on the wire, from 0 (a sheet that says 40001 means holding 0). The driver itself is in `bus.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.coded import Coded
from drivers.texts import Encoding

Format = Literal["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64", "text"]
Order = Literal["ABCD", "CDAB", "BADC", "DCBA"]
Space = Literal["holding", "input", "coil", "discrete"]

WIDTHS: dict[str, int] = {"u16": 1, "i16": 1, "u32": 2, "i32": 2, "u64": 4, "i64": 4, "f32": 2, "f64": 4}
Where = Annotated[int, Meta(ge=0, le=65535)]
Timeout = Annotated[float, Meta(gt=0, le=30)]


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of a line: either `host` (TCP) or `serial` (RTU)."""

    host: Annotated[str, Meta(description="name or address of a Modbus TCP server or gateway")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="its TCP port")] = 502
    serial: Annotated[str, Meta(description="a serial line for Modbus RTU, such as /dev/ttyUSB0")] = ""
    baud: Annotated[int, Meta(ge=300, le=1_000_000, description="speed of the serial line")] = 9600
    parity: Annotated[Literal["N", "E", "O"], Meta(description="parity of the serial line")] = "N"
    stop_bits: Annotated[Literal[1, 2], Meta(description="stop bits of the serial line")] = 1
    timeout_s: Annotated[
        float, Meta(gt=0, le=30, description="how long a device may take to answer, unless its address says otherwise")
    ] = 1.0
    connect_timeout_s: Annotated[float, Meta(gt=0, le=60, description="how long connecting may take")] = 5.0
    quiet_s: Annotated[
        float, Meta(ge=0, le=5, description="silence on a serial line to wait for after a missing answer")
    ] = 0.05
    pause_ms: Annotated[
        float,
        Meta(
            ge=0,
            le=5000,
            description="silence before each request, for gateways and devices that need time; "
            "a serial line has at least 3.5 characters",
        ),
    ] = 0
    backoff_first_s: Annotated[
        float, Meta(gt=0, le=300, description="how long a silent device is left alone first; doubles up to 5 min")
    ] = 1.0

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.serial):
            raise ValueError('write either host = "…" for Modbus TCP or serial = "…" for Modbus RTU, one of the two')


class Address(msgspec.Struct, kw_only=True, frozen=True):
    """The address of one device."""

    unit: Annotated[
        int,
        Meta(
            ge=0, le=255, description="unit number (slave address); on a serial line 1 to 247, for 0 is everybody there"
        ),
    ] = 1
    timeout_s: Annotated[Timeout | None, Meta(description="how long this device may take to answer")] = None


class Whole(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `[modbus]` in a profile."""

    max_registers: Annotated[
        int, Meta(ge=1, le=125, description="most registers that the device gives in one answer")
    ] = 125
    max_bits: Annotated[int, Meta(ge=1, le=2000, description="most coils or inputs in one answer")] = 2000
    max_gap: Annotated[
        int, Meta(ge=0, le=124, description="registers that nobody asked for, read along to save a request")
    ] = 8


class Access(Coded, kw_only=True, frozen=True):
    """The keys of `at` for a point: one of holding, input, coil, discrete, and how to read what is there."""

    holding: Annotated[Where | None, Meta(description="address of a holding register (functions 3, 6, 16)")] = None
    input: Annotated[Where | None, Meta(description="address of an input register (function 4)")] = None
    coil: Annotated[Where | None, Meta(description="address of a coil (functions 1, 5)")] = None
    discrete: Annotated[Where | None, Meta(description="address of a discrete input (function 2)")] = None
    as_: Annotated[Format, Meta(description="what stands in the registers")] = msgspec.field(default="u16", name="as")
    order: Annotated[Order, Meta(description="byte order; ABCD is big-endian, CDAB has its registers swapped")] = "ABCD"
    length: Annotated[int, Meta(ge=0, le=125, description="registers of a text")] = 0
    encoding: Annotated[Encoding, Meta(description="how the bytes of a text are to be read, and written")] = "utf-8"
    write: Annotated[
        Literal["single", "multiple"], Meta(description="function 6, or 16 where the device wants that")
    ] = "single"

    def __post_init__(self) -> None:
        spaces = [s for s in ("holding", "input", "coil", "discrete") if getattr(self, s) is not None]
        if len(spaces) != 1:
            raise ValueError("write exactly one of holding, input, coil, discrete, with the address")
        if (self.as_ == "text") != bool(self.length):
            raise ValueError('length goes with as = "text" (in registers), and with nothing else')
        if self.encoding != "utf-8" and self.as_ != "text":
            raise ValueError('encoding goes with as = "text", and with nothing else')
        if self.where + self.width > 65536:
            raise ValueError("reaches beyond address 65535")
        if self.is_bit and (self.as_ != "u16" or self.bit is not None or self.bits is not None):
            raise ValueError("a coil or discrete input is one bit: leave out as, bit and bits")
        self.check(self.as_, 16 * self.width if self.as_[0] == "u" else 0)
        self.check_invalid("u1" if self.is_bit else self.as_)

    @property
    def space(self) -> Space:
        """Which of the four it lives in."""
        if self.holding is not None:
            return "holding"
        if self.input is not None:
            return "input"
        return "coil" if self.coil is not None else "discrete"

    @property
    def where(self) -> int:
        """Its first address there."""
        return next(a for a in (self.holding, self.input, self.coil, self.discrete) if a is not None)

    @property
    def is_bit(self) -> bool:
        """Whether it lives among bits, not registers."""
        return self.coil is not None or self.discrete is not None

    @property
    def wraps_at(self) -> float | None:
        """One more than the greatest value of an unsigned number in whole registers, as scaled; None for all else."""
        if self.is_bit or self.as_[0] != "u" or self.bit is not None or self.bits is not None or self.choices:
            return None
        return abs(self.scale) * 2.0 ** (16 * self.width) + (self.offset if self.scale > 0 else 0)

    @property
    def width(self) -> int:
        """Registers (or bits) that it takes."""
        return 1 if self.is_bit else self.length or WIDTHS[self.as_]

    @property
    def step(self) -> float:
        """What one step of the raw number is worth, where only whole ones can be written; else 0."""
        return 0.0 if self.is_bit else self.step_in(self.as_)
