"""What a beacon sends out: advertising data, and how a scanner's patterns are matched against it.

Promises: `structures` are the bytes on the air as the Bluetooth Core Supplement lays them out; manufacturer and
service data given to D-Bus are cut from the same bytes' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from firmware_sim.ledger import Value

_FLAGS, _UUIDS_128, _NAME, _SERVICE_DATA_16, _MANUFACTURER = 0x01, 0x07, 0x09, 0x16, 0xFF
_GENERAL_LE_ONLY = b"\x06"
_BASE = "-0000-1000-8000-00805f9b34fb"


@dataclass(frozen=True)
class Advert:
    """One advert; `points` are what a reader finds in it."""

    n: int | None = None
    points: Mapping[str, Value] = field(default_factory=dict[str, Value])
    manufacturer: Mapping[int, bytes] = field(default_factory=dict[int, bytes])
    service_data: Mapping[int, bytes] = field(default_factory=dict[int, bytes])
    uuids: tuple[str, ...] = ()
    name: str = ""

    def structures(self) -> list[tuple[int, bytes]]:
        """The advertising data as (type, content)."""
        found = [(_FLAGS, _GENERAL_LE_ONLY)]
        found += [(_MANUFACTURER, company.to_bytes(2, "little") + data) for company, data in self.manufacturer.items()]
        found += [(_SERVICE_DATA_16, short.to_bytes(2, "little") + data) for short, data in self.service_data.items()]
        if self.uuids:
            packed = b"".join(bytes.fromhex(uuid.replace("-", ""))[::-1] for uuid in self.uuids)
            found.append((_UUIDS_128, packed))
        if self.name:
            found.append((_NAME, self.name.encode()))
        return found

    def matches(self, start: int, kind: int, content: bytes) -> bool:
        """Whether one pattern of an advertisement monitor finds its content in here."""
        return any(kind == have and data[start : start + len(content)] == content for have, data in self.structures())


def long_uuid(short: int) -> str:
    """The 128-bit form of a 16-bit UUID, as D-Bus wants it."""
    return f"{short:08x}{_BASE}"


class Advertiser(Protocol):
    """A model that speaks by adverts alone."""

    first: int
    last: int

    def measure(self) -> dict[str, Value]:
        """All values now, except the packet id."""
        ...

    def advert(self, n: int, values: Mapping[str, Value]) -> Advert:
        """The advert with this packet id."""
        ...
