"""What goes wrong, when: the scene's schedule and the street-wide hush, asked by every device before it speaks.

Promises: a fault acts from `at_s` for `for_s` real seconds on one device; a hushed street is silent whatever
the schedule says; a stuck device repeats what it measured when the fault began; a reboot is told to its device
once, when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from firmware_sim.ledger import Value


class Kind(StrEnum):
    """The faults a scene can schedule."""

    SILENCE = "silence"
    SLOW = "slow"
    EXCEPTION = "exception"
    GARBAGE = "garbage"
    STUCK = "stuck"
    REBOOT = "reboot"
    FAILURE = "failure"


@dataclass(frozen=True)
class Fault:
    """One entry of the schedule; the parameters that its kind does not use keep their defaults."""

    device: str
    kind: Kind
    at_s: float
    for_s: float
    delay_s: float = 0.0
    code: int = 4
    point: str | None = None
    reset_counters: bool = False

    def acts(self, elapsed_s: float) -> bool:
        """Whether it acts at this moment."""
        return self.at_s <= elapsed_s < self.at_s + self.for_s


class Faults:
    """The schedule as the devices ask for it."""

    def __init__(self, schedule: Iterable[Fault], elapsed_s: Callable[[], float]) -> None:
        self._elapsed_s = elapsed_s
        self._of: dict[str, list[Fault]] = {}
        for fault in schedule:
            self._of.setdefault(fault.device, []).append(fault)
        self._held: dict[Fault, dict[str, Value]] = {}
        self._told: set[Fault] = set()
        self.hushed = False

    def active(self, device: str, kind: Kind) -> Fault | None:
        """The fault of this kind that acts on the device now, the first in the schedule if there are several."""
        faults = self._of.get(device)
        if faults is None:
            return None
        elapsed_s = self._elapsed_s()
        return next((fault for fault in faults if fault.kind is kind and fault.acts(elapsed_s)), None)

    def silent(self, device: str) -> bool:
        """Whether the device neither hears nor says anything: hushed, silenced, or busy rebooting."""
        if self.hushed:
            return True
        return self.active(device, Kind.SILENCE) is not None or self.active(device, Kind.REBOOT) is not None

    def delay_s(self, device: str) -> float:
        """By how much the device's answers are late now."""
        fault = self.active(device, Kind.SLOW)
        return fault.delay_s if fault is not None else 0.0

    def hold(self, device: str, values: Mapping[str, Value]) -> dict[str, Value]:
        """These values, with those replaced that a stuck fault holds."""
        fault = self.active(device, Kind.STUCK)
        if fault is None:
            return dict(values)
        held = self._held.setdefault(fault, dict(values))
        if fault.point is not None:
            return {**values, fault.point: held[fault.point]}
        return dict(held)

    def rebooted(self, device: str) -> Fault | None:
        """The reboot that ended since this was last asked: the device starts afresh."""
        elapsed_s = self._elapsed_s()
        for fault in self._of.get(device, ()):
            if fault.kind is Kind.REBOOT and fault not in self._told and elapsed_s >= fault.at_s + fault.for_s:
                self._told.add(fault)
                return fault
        return None
