"""Planning: the lighting plan at work. It holds the level "plan" of the points that it says something about.

A plan needs the time: when nobody has known it for LOST_S, or there is no plan that can be read, the level holds
nothing and the lamps fall to their safe value. A photocell on the lamp is asked too, while what it says is fresh.
Looked at when a setting ends, and at least every LOOK_S.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from drivers.contract import Now
from edge.arbitration import Held
from edge.control import Control
from edge.orders import Wake
from edge.plans.plan import Plan
from edge.street import Street
from wire.device import Device

log = logging.getLogger(__name__)

LOST_S: Final = 86_400.0
LOOK_S: Final = 20.0
PHOTOCELL: Final = "dark"
PHOTOCELL_FRESH_S: Final = 300.0


class Planning:
    """The plan that the node follows, if any."""

    def __init__(
        self,
        devices: Iterable[Device],
        *,
        control: Control,
        street: Street,
        now: Now,
        monotonic: Callable[[], float],
        wake: Wake,
        plan: Plan | None,
    ) -> None:
        self._devices = [d for d in devices if any(key[0] == d.id for key in control.points)]
        self._control, self._street, self._now, self._monotonic = control, street, now, monotonic
        self._wake = wake
        self._known = monotonic()  # when the time was last known
        self.plan = plan

    def follow(self, plan: Plan) -> None:
        """Go by this plan from now on."""
        self.plan = plan
        self.advance()

    @property
    def lost(self) -> bool:
        """Whether the time has been unknown for too long to follow a plan."""
        return self._monotonic() - self._known > LOST_S

    def advance(self) -> float:
        """Hold what the plan says now. Seconds until it may say something else."""
        time_us, clock = self._now()
        if clock.synced:
            self._known = self._monotonic()
        wait_s = LOOK_S
        plan = None if self.lost else self.plan
        for device in self._devices:
            setting = None if plan is None else plan.at(device, time_us, self._dark(device))
            key = None if setting is None else (device.id, setting.point)
            for point in [p for d, p in self._control.points if d == device.id]:
                place = (device.id, point)
                before = self._control.array(place).held("plan")
                if setting is None or place != key:
                    if before is not None:
                        self._control.release(place, "plan")
                        self._wake(place)
                    continue
                wait_s = min(wait_s, max(0.0, (setting.until_us - time_us) / 1e6))
                if before is None or (before.value, before.by, before.until_us) != (
                    setting.value, setting.program, setting.until_us,
                ):  # fmt: skip
                    held = Held(value=setting.value, by=setting.program, until_us=setting.until_us)
                    self._control.hold(place, "plan", held)
                    if before is None or before.value != setting.value:
                        self._wake(place)
        return wait_s

    def _dark(self, device: Device) -> bool | None:
        known = self._street.devices.get(device.id)
        if known is None or known.sample is None or known.good is None:
            return None
        if self._monotonic() - known.good > PHOTOCELL_FRESH_S or PHOTOCELL in known.sample.quality:
            return None
        dark = known.sample.values.get(PHOTOCELL)
        return dark if isinstance(dark, bool) else None
