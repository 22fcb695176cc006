"""Bluetooth Low Energy: the words that files use for it. The driver is in `radio.py`.

A profile describes adverts (manufacturer or service data, decoded by a table of bytes or by a named decoder), or GATT
characteristics that are read on a connection, or both.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from drivers.coded import Coded
from drivers.profile import Profile
from drivers.texts import Encoding

Format = Literal["u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f32", "f64", "text"]
WIDTHS: Final = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u24": 3, "i24": 3, "u32": 4, "i32": 4, "u64": 8, "i64": 8,
    "f32": 4, "f64": 8,
}  # fmt: skip
BASE_UUID: Final = "0000{}-0000-1000-8000-00805f9b34fb"
_UUID: Final = r"^([0-9a-fA-F]{4}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"
Small = Annotated[int, Meta(ge=0, le=511)]


class Line(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of a line: one Bluetooth adapter."""

    adapter: Annotated[str, Meta(pattern=r"^(hci\d+)?$", description="such as hci0; left out: the first")] = ""
    scanning: Annotated[
        Literal["active", "passive"],
        Meta(description="passive spares the beacons' batteries; needs BlueZ with its experimental features on"),
    ] = "active"
    silence_s: Annotated[
        float, Meta(ge=1, le=86_400, description="without any advert for so long, the scanner is started again")
    ] = 60.0
    max_connections: Annotated[int, Meta(ge=1, le=10, description="devices connected to at the same time")] = 2
    connect_timeout_s: Annotated[
        float, Meta(gt=0, le=120, description="how long connecting to and reading a device may take")
    ] = 20.0
    max_pending: Annotated[
        int, Meta(ge=1, le=65_536, description="readings that may wait to be durable; further ones are dropped")
    ] = 1024
    backoff_first_s: Annotated[
        float, Meta(gt=0, le=300, description="how long a silent device is left alone first; doubles up to 5 min")
    ] = 5.0


class Address(msgspec.Struct, kw_only=True, frozen=True):
    """The address of one device."""

    mac: Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", description="such as C4:64:E3:12:34:56")]


class Whole(msgspec.Struct, kw_only=True, frozen=True):
    """The keys of `[ble]` in a profile: which adverts are this model's."""

    manufacturer: Annotated[
        Annotated[int, Meta(ge=0, le=65535)] | None, Meta(description="company identifier of its manufacturer data")
    ] = None
    service: Annotated[
        Annotated[str, Meta(pattern=_UUID)] | None, Meta(description="UUID of its service data, 4 or 32 hex digits")
    ] = None
    prefix: Annotated[
        str, Meta(pattern=r"^([0-9a-fA-F]{2})*$", description="bytes that its data begins with, in hexadecimal")
    ] = ""
    length: Annotated[int, Meta(ge=0, le=255, description="bytes that its data has at least")] = 0
    decoder: Annotated[
        Literal["table", "bthome-v2"], Meta(description="how its data is read: by byte, or by a decoder of this name")
    ] = "table"
    packet_id: Annotated[
        str,
        Meta(description="the point by which a repeat is known: the same one and the same values, within 10 s"),
    ] = ""
    repeat_s: Annotated[
        float, Meta(ge=0, le=86_400, description="the longest that what is repeated without end is one reading")
    ] = 60.0

    def __post_init__(self) -> None:
        if self.manufacturer is not None and self.service is not None:
            raise ValueError("write manufacturer or service, not both")
        if self.decoder == "bthome-v2" and self.service is None:
            raise ValueError('the decoder bthome-v2 reads service data: write service = "fcd2"')


class Access(Coded, kw_only=True, frozen=True):
    """The keys of `at` for a point: byte (in adverts), object (BTHome), or characteristic and byte (GATT)."""

    byte: Annotated[Small | None, Meta(description="place of its first byte, from 0")] = None
    object: Annotated[Annotated[int, Meta(ge=0, le=255)] | None, Meta(description="BTHome object id, such as 0x02")] = (
        None
    )
    index: Annotated[
        int, Meta(ge=0, le=254, description="which of several objects of this id, in the order sent, from 0")
    ] = 0
    characteristic: Annotated[
        Annotated[str, Meta(pattern=_UUID)] | None, Meta(description="UUID of the GATT characteristic that holds it")
    ] = None
    as_: Annotated[Format, Meta(description="what stands there")] = msgspec.field(default="u8", name="as")
    order: Annotated[Literal["big", "little"], Meta(description="byte order")] = "big"
    length: Annotated[int, Meta(ge=0, le=512, description="bytes of a text")] = 0
    encoding: Annotated[Encoding, Meta(description="how the bytes of a text are to be read, and written")] = "utf-8"

    def __post_init__(self) -> None:
        if (self.byte is None) == (self.object is None):
            raise ValueError("write either byte, for its place, or object, for a BTHome object id")
        if self.object is not None and self.characteristic is not None:
            raise ValueError("object goes with adverts, characteristic with connections: write one of them")
        if self.index and self.object is None:
            raise ValueError("index goes with object: it says which of several of this id is meant")
        if (self.as_ == "text") != bool(self.length):
            raise ValueError('length goes with as = "text" (in bytes), and with nothing else')
        if self.encoding != "utf-8" and self.as_ != "text":
            raise ValueError('encoding goes with as = "text", and with nothing else')
        self.check(self.as_, 8 * self.width if self.as_[0] == "u" else 0)
        if self.object is None:
            self.check_invalid(self.as_)

    @property
    def width(self) -> int:
        """Bytes that it takes."""
        return self.length or WIDTHS[self.as_]

    @property
    def step(self) -> float:
        """What one step of the raw number is worth, where only whole ones can be written; else 0."""
        return self.step_in(self.as_)


def full_uuid(uuid: str) -> str:
    """The long form of a UUID, in lower case."""
    return BASE_UUID.format(uuid.lower()) if re.fullmatch("[0-9a-fA-F]{4}", uuid) else uuid.lower()


def polled(profile: Profile) -> frozenset[str]:
    """The points that are read on a connection."""
    return frozenset(n for n, a in profile.access.items() if a.characteristic is not None)
