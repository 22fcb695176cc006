"""The protocols there are: one line each, imported when first asked for, plus those that installed packages bring.

A package adds a protocol with an entry point in the group `lamplighter.drivers` whose value names a ProtocolKind.
A protocol of ours cannot be replaced by one of the same name.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # profile.py asks the registry, and the contract names Profile: a circle only for the type checker
    from drivers.contract import ProtocolKind

GROUP: Final = "lamplighter.drivers"

OURS: Final = {
    "modbus": "drivers.modbus:PROTOCOL",
    "mqtt": "drivers.mqtt:PROTOCOL",
    "ble": "drivers.ble:PROTOCOL",
    "fake": "drivers.fake:PROTOCOL",
}


def names() -> tuple[str, ...]:
    """All protocols that can be asked for."""
    return tuple(dict.fromkeys((*OURS, *entry_points(group=GROUP).names)))


@cache
def find(name: str) -> ProtocolKind | None:
    """The protocol of this name, or None when there is none.

    Raises:
        ImportError: it is there, but a library that it needs is not installed.
    """
    if (place := OURS.get(name)) is not None:
        module, _, attribute = place.partition(":")
        return getattr(import_module(module), attribute)
    installed = entry_points(group=GROUP, name=name)
    return next((e.load() for e in installed), None)
