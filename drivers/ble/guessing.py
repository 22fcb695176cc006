"""Guessing: how a profile would read adverts and characteristics of a device that nobody knows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from drivers.ble.payload import OBJECT_WIDTHS, Bytes
from drivers.ble.settings import Access, Whole, full_uuid, polled
from drivers.guesses import Guess, GuessedPoint
from drivers.mishaps import Unreadable
from drivers.profile import Profile
from wire.sample import Value

COMPANY_BITS: Final = 8.0  # of a company identifier or a service
PREFIX_BITS: Final = 4.0  # of each byte of a prefix
EXACT_BITS: Final = 3.0  # data of just the length that the profile asks for
UUID_BITS: Final = 8.0  # of a characteristic of the maker's own
SHORT_BITS: Final = 2.0  # of one that many have


class Advert(msgspec.Struct, frozen=True):
    """Manufacturer data by company, service data by UUID in its long form."""

    manufacturer: Mapping[int, bytes] = {}
    service: Mapping[str, bytes] = {}


class HeardAddress(msgspec.Struct, frozen=True):
    """What was heard of one address, oldest first, and what its characteristics held when they were read. `bare` is
    data of which nobody knows where it stood."""

    mac: str
    adverts: tuple[Advert, ...] = ()
    characteristics: Mapping[str, bytes] = {}
    bare: bytes = b""


def guesses(profile: Profile, evidence: HeardAddress) -> Sequence[Guess]:
    """What was heard as this profile reads it; nothing where none of it is of its kind."""
    reader = Bytes(profile)
    whole: Whole = profile.whole
    values: dict[str, list[Value]] = {}
    whys: dict[str, str] = {}
    blank: dict[str, bool] = {}
    known_by, unexplained = 0.0, 0
    adverts, characteristics = evidence.adverts, evidence.characteristics
    if evidence.bare:
        adverts, characteristics = _anywhere(evidence.bare, whole), _of_size(evidence.bare, profile)
    for advert in adverts:
        data = reader.mine(advert.manufacturer, advert.service)
        if data is None:
            continue
        try:
            got, quality = reader.advert(data)
        except Unreadable:
            continue
        exact = EXACT_BITS if whole.length and len(data) == whole.length else 0.0
        known_by = (0.0 if evidence.bare else COMPANY_BITS) + PREFIX_BITS * len(bytes.fromhex(whole.prefix)) + exact
        unexplained = _unexplained(reader, data, whole)
        _keep(reader, data, got, quality, values, whys, blank)
    for uuid, names in _characteristics(profile).items():
        if (data := characteristics.get(uuid)) is not None:
            got, quality = dict[str, Value](), dict[str, str]()
            reader.characteristic(names, data, got, quality)
            known_by += 0.0 if evidence.bare else SHORT_BITS if uuid.startswith("0000") else UUID_BITS
            _keep(reader, data, got, quality, values, whys, blank)
    if not values:
        return ()
    on_connection = polled(profile) if not evidence.characteristics or evidence.bare else frozenset[str]()
    points = {
        name: _told(profile.access[name], tuple(values[name]), whys.get(name, ""), blank=blank[name])
        if name in values
        else GuessedPoint(absent=True, optional=profile.access[name].object is not None)
        for name in profile.points
        if name in values or name not in on_connection  # nobody has connected: then nothing is known of these
    }
    address = {"mac": evidence.mac} if evidence.mac else {}
    return (Guess(points=points, known_by=known_by, address=address, unexplained=unexplained),)


def _characteristics(profile: Profile) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in polled(profile):
        found.setdefault(full_uuid(profile.access[name].characteristic or ""), []).append(name)
    return found


def _keep(
    reader: Bytes,
    data: bytes,
    got: Mapping[str, Value],
    quality: Mapping[str, str],
    values: dict[str, list[Value]],
    whys: dict[str, str],
    blank: dict[str, bool],
) -> None:
    where = {name: data[at : at + width] for at, width, name in reader.fields(data, got)}
    for name, value in got.items():
        values.setdefault(name, []).append(value)
        raw = where.get(name, b"")
        blank[name] = blank.get(name, True) and (raw.strip(b"\0") == b"" or raw.strip(b"\xff") == b"")
        if name in quality:
            whys[name] = quality[name]


def _told(access: Access, values: tuple[Value, ...], why: str, *, blank: bool) -> GuessedPoint:
    field = access.field
    width = access.width if access.object is None else OBJECT_WIDTHS.get(access.object, 1)
    return GuessedPoint(
        values=values,
        bits=field[1] - field[0] + 1 if field is not None else 8 * width,
        real=access.as_ in ("f32", "f64"),
        step=0.0 if access.as_ == "text" else abs(access.scale) if access.object is None else 0.0,
        blank=blank,
        why=why,
        codes=len(access.choices or ()),
    )


def _unexplained(reader: Bytes, data: bytes, whole: Whole) -> int:
    """Objects that no point names; in a table of bytes nobody can say."""
    if whole.decoder != "bthome-v2":
        return 0
    named = reader.fields(data, reader.adverts)
    return max(0, reader.objects(data) - len(named))


def _anywhere(data: bytes, whole: Whole) -> tuple[Advert, ...]:
    """Data that would be this profile's if it stood where the profile looks."""
    if whole.manufacturer is not None:
        return (Advert({whole.manufacturer: data}),)
    return (Advert(service={full_uuid(whole.service): data}),) if whole.service is not None else ()


def _of_size(data: bytes, profile: Profile) -> dict[str, bytes]:
    """Characteristics that are of just this size, as far as their points go."""
    ends = {
        u: max((profile.access[n].byte or 0) + profile.access[n].width for n in names)
        for u, names in _characteristics(profile).items()
    }
    return {uuid: data for uuid, end in ends.items() if end == len(data)}


def pasted(frames: Sequence[bytes]) -> list[HeardAddress]:
    """Copied adverts: whole ones, built of structures with length and type (Bluetooth Core, vol 3, part C, 11); data
    with its company or service before it, little-endian; bare data."""
    found: list[HeardAddress] = []
    for data in frames:
        manufacturer, service = dict[int, bytes](), dict[str, bytes]()
        for kind, body in _structures(data):
            if kind == 0xFF and len(body) > 2:
                manufacturer[int.from_bytes(body[:2], "little")] = body[2:]
            elif kind == 0x16 and len(body) > 2:
                service[full_uuid(f"{int.from_bytes(body[:2], 'little'):04x}")] = body[2:]
        if not manufacturer and not service and len(data) > 4:
            number = int.from_bytes(data[:2], "little")
            manufacturer, service = {number: data[2:]}, {full_uuid(f"{number:04x}"): data[2:]}
        found += [HeardAddress("", (Advert(manufacturer, service),)), HeardAddress("", bare=data)]
    return found


def _structures(data: bytes) -> list[tuple[int, bytes]]:
    """Type and data of each structure of an advert; none where it is not built of them to its end."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        size = data[at]
        if not size and not any(data[at:]):
            break
        if not size or at + 1 + size > len(data):
            return []
        found.append((data[at + 1], data[at + 2 : at + 1 + size]))
        at += 1 + size
    return found
