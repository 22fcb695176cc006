"""Which alarms explain which: what a standing cause declares, and how it is found from its consequences.

Promises: `of` names every standing cause that declares a device and rule, and none that was dropped. It knows nothing
of states; who may suppress whom now is decided in `edge/alarms/book.py`.

Bounds: one entry for each standing alarm with suppressions; at most MAX_SUPPRESSIONS of them an alarm, which together
name at most MAX_NAMED devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

MAX_SUPPRESSIONS: Final = 16
MAX_NAMED: Final = 2_000  # a node has no more devices

Key = tuple[str, str]  # device, rule: one alarm at a time for each


class Suppression(msgspec.Struct, frozen=True):
    """Alarms of these rules on these devices are consequences while the cause holds. None: all of them."""

    rules: frozenset[str] | None = None
    devices: frozenset[str] | None = None

    def covers(self, device: str, rule: str) -> bool:
        """Whether an alarm of this rule on this device is one of them."""
        return (self.rules is None or rule in self.rules) and (self.devices is None or device in self.devices)


def check(key: Key, suppressions: tuple[Suppression, ...]) -> None:
    """Whether an alarm may explain so much.

    Raises:
        ValueError: for more than MAX_SUPPRESSIONS, or more than MAX_NAMED devices.
    """
    named = sum(len(s.devices) for s in suppressions if s.devices is not None)
    if len(suppressions) > MAX_SUPPRESSIONS or named > MAX_NAMED:
        raise ValueError(
            f"{key[1]} on {key[0]}: at most {MAX_SUPPRESSIONS} suppressions that name {MAX_NAMED} devices together; "
            "leave devices away to mean all of them"
        )


class Causes:
    """The standing alarms that explain others, by the devices that they name."""

    def __init__(self) -> None:
        self._declared: dict[Key, tuple[Suppression, ...]] = {}
        self._naming: dict[str, dict[Key, None]] = {}  # in the order of their coming: which one explains is no chance
        self._of_all: dict[Key, None] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._declared

    def put(self, key: Key, suppressions: tuple[Suppression, ...]) -> bool:
        """From now on `key` explains these; whether that is new.

        Raises:
            ValueError: as `check`.
        """
        if suppressions == self._declared.get(key, ()):
            return False
        check(key, suppressions)
        named = [s.devices for s in suppressions if s.devices is not None]
        self.drop(key)
        if suppressions:
            self._declared[key] = suppressions
        if len(named) < len(suppressions):
            self._of_all[key] = None
        for device in chain.from_iterable(named):
            self._naming.setdefault(device, {})[key] = None
        return True

    def drop(self, key: Key) -> None:
        """`key` explains nothing any more."""
        self._of_all.pop(key, None)
        for suppression in self._declared.pop(key, ()):
            for device in suppression.devices or ():
                if keys := self._naming.get(device):
                    keys.pop(key, None)
                    if not keys:
                        del self._naming[device]

    def of(self, device: str, rule: str) -> Iterator[Key]:
        """The causes that declare an alarm of this rule on this device their consequence; never the alarm itself.

        Those that name the device come first, and of each kind those that were put earlier.
        """
        for key in chain(self._naming.get(device, ()), self._of_all):
            if key != (device, rule) and self.declares(key, device, rule):
                yield key

    def declares(self, key: Key, device: str, rule: str) -> bool:
        """Whether `key` explains alarms of this rule on this device."""
        return any(s.covers(device, rule) for s in self._declared.get(key, ()))
