"""Rule: a checked rule, ready to be run. `edge/rules/load.py` makes them; times are in microseconds.

At most MAX_RULES a node, MAX_WATCHES pairs of rule and device, MAX_WINDOWS windows over all devices.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from edge.rules.condition import Condition
from wire.entries import Severity
from wire.time import Micros

MAX_RULES: Final = 200
MAX_WATCHES: Final = 50_000
MAX_WINDOWS: Final = 5_000


class WindowOf(msgspec.Struct, frozen=True, kw_only=True):
    """A window to be kept for each device."""

    name: str
    operation: str
    point: str
    over_us: Micros


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """Alarms of this rule on these devices are a consequence."""

    rule: str
    devices: frozenset[str]


class AlarmDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What is raised. `text` is by language."""

    severity: Severity
    respond_within_s: float | None
    text: Mapping[str, str]
    suppresses: tuple[Suppressed, ...] = ()


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """What is set. `devices` is empty where it is the device itself."""

    point: str
    value: int | float | bool | str
    hold_us: Micros
    release: bool
    devices: tuple[str, ...] = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, with the devices that it watches. `also` are points that only its text shows."""

    name: str
    file: str
    line: int
    when: Condition
    clear: Condition | None
    for_us: Micros
    min_interval_us: Micros
    silent_us: Micros | None
    windows: tuple[WindowOf, ...]
    also: tuple[str, ...]
    alarming: AlarmDefinition | None
    holding: Holding | None
    tag: str
    devices: tuple[str, ...]


class Rules(msgspec.Struct, frozen=True):
    """All rules of a node, in the order of their files. `left_out` names those of a bundle that select no device."""

    rules: tuple[Rule, ...] = ()
    left_out: tuple[str, ...] = ()

    def named(self, name: str) -> Rule | None:
        """The rule of this name."""
        return next((r for r in self.rules if r.name == name), None)

    def suppressed_by(self, name: str, device: str) -> Collection[str]:
        """The rules whose alarms on `device` are a consequence of an alarm of the rule `name`."""
        rule = self.named(name)
        if rule is None or rule.alarming is None:
            return ()
        return [s.rule for s in rule.alarming.suppresses if device in s.devices]
