"""What the bytes of adverts and characteristics say about the points of a profile. Pure; no radio is touched here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

from drivers.ble.words import Access, Whole, full_uuid, polled
from drivers.errors import Refused
from drivers.mishaps import Unreadable
from drivers.profile import Profile
from drivers.readings import Finish, code_of, meaning
from drivers.scaling import Scaling
from drivers.texts import read_as, written
from wire.device import Point
from wire.sample import Value, bad

# BTHome v2 objects: bytes, whether signed, factor (bthome.io, Format, tables of sensor, binary and event data).
_OBJECTS: Final[dict[int, tuple[int, bool, float]]] = {
    0x00: (1, False, 1), 0x01: (1, False, 1), 0x02: (2, True, 0.01), 0x03: (2, False, 0.01), 0x04: (3, False, 0.01),
    0x05: (3, False, 0.01), 0x06: (2, False, 0.01), 0x07: (2, False, 0.01), 0x08: (2, True, 0.01), 0x09: (1, False, 1),
    0x0A: (3, False, 0.001), 0x0B: (3, False, 0.01), 0x0C: (2, False, 0.001), 0x0D: (2, False, 1), 0x0E: (2, False, 1),
    0x12: (2, False, 1), 0x13: (2, False, 1), 0x14: (2, False, 0.01), 0x2E: (1, False, 1), 0x2F: (1, False, 1),
    0x3A: (1, False, 1), 0x3C: (2, False, 1), 0x3D: (2, False, 1), 0x3E: (4, False, 1), 0x3F: (2, True, 0.1),
    0x40: (2, False, 1), 0x41: (2, False, 0.1), 0x42: (3, False, 0.001), 0x43: (2, False, 0.001),
    0x44: (2, False, 0.01), 0x45: (2, True, 0.1), 0x46: (1, False, 0.1), 0x47: (2, False, 0.1), 0x48: (2, False, 1),
    0x49: (2, False, 0.001), 0x4A: (2, False, 0.1), 0x4B: (3, False, 0.001), 0x4C: (4, False, 0.001),
    0x4D: (4, False, 0.001), 0x4E: (4, False, 0.001), 0x4F: (4, False, 0.001), 0x50: (4, False, 1),
    0x51: (2, False, 0.001), 0x52: (2, False, 0.001), 0x55: (4, False, 0.001), 0x56: (2, False, 1), 0x57: (1, True, 1),
    0x58: (1, True, 0.35), 0x59: (1, True, 1), 0x5A: (2, True, 1), 0x5B: (4, True, 1), 0x5C: (4, True, 0.01),
    0x5D: (2, True, 0.001), 0x5E: (2, False, 0.01), 0x5F: (2, False, 0.1), 0x60: (1, False, 1), 0x61: (2, False, 1),
    0x62: (4, True, 0.000001), 0x63: (4, True, 0.000001), 0x64: (1, False, 1), 0xF0: (2, False, 1),
    0xF1: (4, False, 1), 0xF2: (3, False, 1),
    **dict.fromkeys((0x0F, 0x10, 0x11, *range(0x15, 0x2E)), (1, False, 1)),
}  # fmt: skip
_WITH_LENGTH: Final = (0x53, 0x54)  # text and raw: one byte of length before them
OBJECT_WIDTHS: Final = {n: width for n, (width, _, _) in _OBJECTS.items()}  # bytes of each object
_SCALES: Final = {n: Scaling.of(factor) for n, (_, _, factor) in _OBJECTS.items()}
_FLOATS: Final = {"f32": "f", "f64": "d"}

Raw = Callable[[bytes], Value]


class Bytes:
    """Reads the adverts and characteristics of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._whole: Whole = profile.whole
        self._service = full_uuid(self._whole.service) if self._whole.service is not None else None
        self._prefix = bytes.fromhex(self._whole.prefix)
        company = self._whole.manufacturer
        self.known_by = f"manufacturer 0x{company:04X}" if company is not None else f"service {self._whole.service}"
        on_connection = polled(profile)
        self._access: Mapping[str, Access] = profile.access
        self._adverts = [n for n in profile.points if n not in on_connection]
        self._meant: dict[str, Finish] = {}
        self._raw: dict[str, Raw] = {}
        for name, point in profile.points.items():
            access = self._access[name]
            self._meant[name] = meaning(
                point,
                field=access.field,
                invalid=access.invalid,
                invalid_bits=access.invalid_bits,
                choices=access.choices,
                scaling=access.scaling,
            )
            if access.as_ == "text":
                self._meant[name] = cast("Finish", read_as(access.encoding, self._meant[name]))
            if access.object is None:
                self._raw[name] = _reader(access)

    def mine(self, manufacturer_data: Mapping[int, bytes], service_data: Mapping[str, bytes]) -> bytes | None:
        """The bytes of an advert that this profile reads, or None where it is another kind of advert."""
        if self._whole.manufacturer is not None:
            data = manufacturer_data.get(self._whole.manufacturer)
        else:
            data = service_data.get(self._service) if self._service is not None else None
        return data if data is not None and data.startswith(self._prefix) else None

    def advert(self, data: bytes) -> tuple[dict[str, Value], dict[str, str]]:
        """Values and qualities of an advert.

        Raises:
            Unreadable.
        """
        if len(data) < self._whole.length:
            raise Unreadable(f"the advert has {len(data)} bytes of at least {self._whole.length}")
        values: dict[str, Value] = {}
        quality: dict[str, str] = {}
        if self._whole.decoder == "bthome-v2":
            objects = _Objects(data)
            for name in self._adverts:
                number, index = self._access[name].object or 0, self._access[name].index
                if len(found := objects.found.get(number, ())) > index:
                    self._keep(name, found[index], values, quality)
                elif objects.hides(number):
                    values[name], quality[name] = None, bad(objects.end)
            if not values:
                raise Unreadable(f"the advert has none of the points{objects.end and '; '}{objects.end}")
            return values, quality
        for name in self._adverts:
            self._read(name, data, values, quality)
        return values, quality

    def fields(self, data: bytes, names: Iterable[str]) -> list[tuple[int, int, str]]:
        """Where in this data these points stand: first byte, bytes, point."""
        found: list[tuple[int, int, str]] = []
        objects = None
        for name in names:
            access = self._access[name]
            if access.object is None:
                found.append((access.byte or 0, access.width, name))
                continue
            if objects is None:
                try:
                    objects = _Objects(data).places
                except Unreadable:
                    objects = []
            same = [(at, width) for number, at, width in objects if number == access.object]
            found += [(*at, name) for at in same[access.index : access.index + 1]]
        return [(at, width, name) for at, width, name in found if at + width <= len(data)]

    def objects(self, data: bytes) -> int:
        """How many BTHome objects are in this data."""
        try:
            return len(_Objects(data).places)
        except Unreadable:
            return 0

    @property
    def adverts(self) -> Sequence[str]:
        """The points of its adverts."""
        return self._adverts

    def characteristic(
        self, names: Sequence[str], data: bytes, values: dict[str, Value], quality: dict[str, str]
    ) -> None:
        """Add what one characteristic says about these points."""
        for name in names:
            self._read(name, data, values, quality)

    def _read(self, name: str, data: bytes, values: dict[str, Value], quality: dict[str, str]) -> None:
        access = self._access[name]
        if (access.byte or 0) + access.width > len(data):
            values[name], quality[name] = None, bad(f"the device gave only {len(data)} bytes")
        else:
            self._keep(name, self._raw[name](data), values, quality)

    def _keep(self, name: str, raw: Value, values: dict[str, Value], quality: dict[str, str]) -> None:
        values[name], reason = self._meant[name](raw)
        if reason is not None:
            quality[name] = reason


def encode(access: Access, point: Point, value: Value) -> bytes:
    """The bytes that say `value`, which is already allowed by its point.

    Raises:
        Refused: it does not fit.
    """
    order = access.order
    if access.as_ == "text":
        return written(str(value), access.encoding, access.length, point.name)
    if access.choices is not None:
        value = int(code_of(point, access.choices, value))
    assert isinstance(value, int | float)
    number = int(value) if isinstance(value, bool) else value
    try:
        if access.as_ in _FLOATS:
            packed = float(access.scaling.raw(number))
            return struct.pack((">" if order == "big" else "<") + _FLOATS[access.as_], packed)
        return access.scaling.steps(number).to_bytes(access.width, order, signed=access.as_[0] == "i")
    except OverflowError as error:
        raise Refused(f"{value!r} does not fit {access.as_}") from error


def _reader(access: Access) -> Raw:
    first, end, order = access.byte or 0, (access.byte or 0) + access.width, access.order
    if access.as_ == "text":
        return lambda data: cast("Value", data[first:end])  # what they say: see `texts.read_as`
    if access.as_ in _FLOATS:
        code = struct.Struct((">" if order == "big" else "<") + _FLOATS[access.as_])
        return lambda data: code.unpack_from(data, first)[0]
    signed = access.as_[0] == "i"
    return lambda data: int.from_bytes(data[first:end], order, signed=signed)


class _Objects:
    """The objects of a BTHome v2 advert: by their ids, those of one id in the order in which they were sent.

    Nothing says how long an object is that the table does not have: what follows it cannot be read, nor what follows
    one that is cut off. `end` says so; objects before it stand.
    """

    def __init__(self, data: bytes) -> None:
        """Raises:
        Unreadable: it is no advert of this version, or nothing in it can be read.
        """
        if not data or data[0] >> 5 != 2:
            raise Unreadable("the advert is not BTHome version 2")
        if data[0] & 1:
            raise Unreadable("the advert is encrypted")
        self.found: dict[int, list[Value]] = {}
        self.places: list[tuple[int, int, int]] = []  # of each object: its id, where its value begins, and its bytes
        self.end = ""
        self._last = -1
        self._sorted = True
        at = 1
        while at < len(data) and not self.end:
            at = self._object(data, at)
        if self.end.startswith("the advert ends") and not self.found:
            raise Unreadable(self.end)

    def hides(self, number: int) -> bool:
        """Whether an object of this id may stand where nothing can be read. They are sent in the order of their ids
        (bthome.io, Format, Sensor data); of a device that does not, nothing is known."""
        return bool(self.end) and (number >= self._last or not self._sorted)

    def _object(self, data: bytes, at: int) -> int:
        """Take the object that begins here; where the next one does."""
        number = data[at]
        self._sorted = self._sorted and number >= self._last
        self._last = number
        at += 1
        if number in _WITH_LENGTH:
            width, signed = (1 + data[at] if at < len(data) else 1), False
        elif number in _OBJECTS:
            width, signed, _ = _OBJECTS[number]
        else:
            self.end = f"what follows object 0x{number:02X}, which is not known, cannot be read"
            return at
        if at + width > len(data):
            self.end = f"the advert ends inside an object (0x{number:02X})"
        elif number not in _WITH_LENGTH:
            raw = int.from_bytes(data[at : at + width], "little", signed=signed)
            self.found.setdefault(number, []).append(_SCALES[number].value(raw))
            self.places.append((number, at, width))
        return at + width
