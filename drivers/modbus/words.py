"""Modbus TCP and RTU: the words that files use for it.

The words are those of data sheets and of technicians: holding, input, coil, discrete; u16, f32; ABCD, CDAB. Addresses
are those on the wire, from 0 (a sheet that says 40001 means holding 0). The driver itself is in `lane.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.scaling import IDENTITY, Scaling

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
    backoff_first_s: Annotated[
        float, Meta(gt=0, le=300, description="how long a silent device is left alone first; doubles up to 5 min")
    ] = 1.0

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.serial):
            raise ValueError('write either host = "…" for Modbus TCP or serial = "…" for Modbus RTU, one of the two')


class Address(msgspec.Struct, kw_only=True, frozen=True):
    """The address of one device."""

    unit: Annotated[int, Meta(ge=0, le=255, description="unit number (slave address); 1 to 247 on a serial line")] = 1
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


class Access(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `at` for a point: one of holding, input, coil, discrete, and how to read what is there."""

    holding: Annotated[Where | None, Meta(description="address of a holding register (functions 3, 6, 16)")] = None
    input: Annotated[Where | None, Meta(description="address of an input register (function 4)")] = None
    coil: Annotated[Where | None, Meta(description="address of a coil (functions 1, 5)")] = None
    discrete: Annotated[Where | None, Meta(description="address of a discrete input (function 2)")] = None
    as_: Annotated[Format, Meta(description="what stands in the registers")] = msgspec.field(default="u16", name="as")
    order: Annotated[Order, Meta(description="byte order; ABCD is big-endian, CDAB has its registers swapped")] = "ABCD"
    length: Annotated[int, Meta(ge=0, le=125, description="registers of a text")] = 0
    bit: Annotated[
        Annotated[int, Meta(ge=0, le=63)] | None, Meta(description="the one bit that is meant; 0 is the lowest")
    ] = None
    bits: Annotated[
        tuple[int, int] | None, Meta(description="lowest and highest bit of the field that is meant, such as [4, 7]")
    ] = None
    scale: Annotated[float, Meta(description="what one step of the raw number is worth, such as 0.1")] = 1
    offset: Annotated[float, Meta(description="added after scaling")] = 0
    choices: Annotated[
        dict[str, str] | None, Meta(description='what each number means, such as {0 = "off", 1 = "on"}')
    ] = None
    invalid: Annotated[
        tuple[int, ...], Meta(description="raw numbers by which the device says that it has no value")
    ] = ()
    write: Annotated[
        Literal["single", "multiple"], Meta(description="function 6, or 16 where the device wants that")
    ] = "single"

    def __post_init__(self) -> None:
        spaces = [s for s in ("holding", "input", "coil", "discrete") if getattr(self, s) is not None]
        if len(spaces) != 1:
            raise ValueError("write exactly one of holding, input, coil, discrete, with the address")
        if (self.as_ == "text") != bool(self.length):
            raise ValueError('length goes with as = "text" (in registers), and with nothing else')
        if self.where + self.width > 65536:
            raise ValueError("reaches beyond address 65535")
        if self.is_bit and (self.as_ != "u16" or self.bit is not None or self.bits is not None):
            raise ValueError("a coil or discrete input is one bit: leave out as, bit and bits")
        if self.bit is not None and self.bits is not None:
            raise ValueError("write bit for one bit or bits for a field of several, not both")
        if self.field is not None:
            low, high = self.field
            if self.as_ not in ("u16", "u32", "u64") or not 0 <= low <= high < 16 * self.width:
                raise ValueError("bit and bits go with u16, u32 or u64, lowest bit first, and must lie inside it")
        if self.choices is not None and (self.as_ in ("f32", "f64", "text") or self.scaling != IDENTITY):
            raise ValueError("choices go with whole numbers that are not scaled")
        if self.choices is not None and not all(k.removeprefix("-").isdecimal() for k in self.choices):
            raise ValueError('choices: write the numbers as keys, such as {0 = "off", 1 = "on"}')

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
    def width(self) -> int:
        """Registers (or bits) that it takes."""
        return 1 if self.is_bit else self.length or WIDTHS[self.as_]

    @property
    def field(self) -> tuple[int, int] | None:
        """Lowest and highest bit, where it is a bit field."""
        return (self.bit, self.bit) if self.bit is not None else self.bits

    @property
    def scaling(self) -> Scaling:
        """Scale and offset as exact whole numbers."""
        return Scaling.of(self.scale, self.offset)
