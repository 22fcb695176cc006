"""Planning: the lighting plan at work. It holds the level "plan" of the points that it says something about.

A plan needs the time: when nobody has known it for LOST_S, or there is no plan that can be read, the level holds
nothing and the lamps fall to their safe value. A photocell on the lamp is asked too: the last that it has said, for as
long as its device has been heard in the last PHOTOCELL_FRESH_S, and it has not been bad for as long. (A point that
reports by exception is silent while nothing changes; one poll that fails must not make a lamp blink.)

Looked at when a setting ends, and at least every LOOK_S; asked more often it does nothing. Bounds: one look costs a
step for each writable point of the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from drivers.contract import Now
from edge.acting.alarming import Put
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from edge.control.order_contract import Wake
from edge.plans.plan import Plan, Setting
from edge.sampling.last_samples import LastSamples
from wire.device import Device
from wire.sample import Sample

LOST_S: Final = 86_400.0
LOOK_S: Final = 20.0
AGAIN_S: Final = 5.0  # after one that went wrong
PHOTOCELL: Final = "dark"
STEADY_S: Final = 60.0
PHOTOCELL_FRESH_S: Final = 300.0


class _Photocell(msgspec.Struct):
    """What a photocell says, believed once it has said it for STEADY_S: headlights and leaves are no nightfall."""

    believed: bool
    said: bool
    since: float
    bad_since: float | None = None

    def hear(self, dark: bool, now: float) -> None:
        self.believed = self.at(now)
        if dark is not self.said:
            self.said, self.since = dark, now
        self.bad_since = None

    def at(self, now: float) -> bool:
        return self.said if now - self.since >= STEADY_S else self.believed


class Planning:
    """The plan that the node follows, if any. `monotonic` is in seconds, and the clock of the street."""

    def __init__(
        self,
        devices: Iterable[Device],
        *,
        control: PriorityArrays,
        street: LastSamples,
        now: Now,
        monotonic: Callable[[], float],
        wake: Wake,
        put: Put,
        plan: Plan | None,
    ) -> None:
        points: dict[str, list[str]] = {}
        for device, point in control.points:
            points.setdefault(device, []).append(point)
        self._devices = [(d, points[d.id]) for d in devices if d.id in points]
        self._control, self._street, self._now, self._monotonic = control, street, now, monotonic
        self._wake, self._put = wake, put
        self._known = monotonic()  # when the time was last known
        self._due = self._known
        self._holds: set[Key] = set()
        self._photocells: dict[str, _Photocell] = {}
        self.plan = plan

    def follow(self, plan: Plan) -> None:
        """Go by this plan from now on."""
        self.plan = plan
        self.look_again()
        self.advance()

    def look_again(self) -> None:
        """Something has changed that no setting shows, such as the clock: the next `advance` looks."""
        self._due = self._monotonic()

    def seen(self, sample: Sample) -> None:
        """A photocell may have said something."""
        if PHOTOCELL not in sample.values:
            return
        dark, cell = sample.values[PHOTOCELL], self._photocells.get(sample.device)
        now = self._monotonic()
        if isinstance(dark, bool) and PHOTOCELL not in sample.quality:
            if cell is None:
                self._photocells[sample.device] = _Photocell(believed=dark, said=dark, since=now)
            else:
                cell.hear(dark, now)
        elif cell is not None and cell.bad_since is None:
            cell.bad_since = now

    @property
    def lost(self) -> bool:
        """Whether the time has been unknown for too long to follow a plan."""
        return self._monotonic() - self._known > LOST_S

    def due_s(self) -> float:
        """Seconds until `advance` has something to do."""
        return max(0.0, self._due - self._monotonic())

    def advance(self) -> None:
        """Hold what the plan says now."""
        now = self._monotonic()
        time_us, clock = self._now()
        if clock.synced:
            self._known = now
        if now < self._due:
            return
        self._due = now + AGAIN_S
        plan = None if self.lost else self.plan
        wait_s = LOOK_S
        for device, points in self._devices if plan is not None or self._holds else ():
            setting = None if plan is None else plan.at(device, time_us, self._dark(device.id, now))
            if setting is not None and setting.point in points:
                self._hold((device.id, setting.point), setting)
                if setting.until_us > time_us:
                    wait_s = min(wait_s, (setting.until_us - time_us) / 1e6)
            for point in points:
                if setting is None or point != setting.point:
                    self._release((device.id, point))
        self._due = now + wait_s

    def _hold(self, place: Key, setting: Setting) -> None:
        before = self._control.array(place).held("plan")
        self._holds.add(place)
        if before is not None and (before.value, before.by, before.until_us) == (
            setting.value, setting.program, setting.until_us,
        ):  # fmt: skip
            return
        held = Held(value=setting.value, by=setting.program, until_us=setting.until_us)
        if kept := self._control.hold(place, "plan", held)[1]:
            self._put(kept=kept)
        if before is None or before.value != setting.value:
            self._wake(place)

    def _release(self, place: Key) -> None:
        if place in self._holds:
            self._holds.discard(place)
            self._control.release(place, "plan")
            self._wake(place)

    def _dark(self, device: str, now: float) -> bool | None:
        cell = self._photocells.get(device)
        if cell is None or (cell.bad_since is not None and now - cell.bad_since > PHOTOCELL_FRESH_S):
            return None
        known = self._street.devices.get(device)
        fresh = known is not None and known.good is not None and now - known.good <= PHOTOCELL_FRESH_S
        return cell.at(now) if fresh else None
