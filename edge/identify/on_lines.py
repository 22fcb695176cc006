"""On lines: what a running node can tell of its lines to whoever looks for a device: it owns them.

Profiles are read anew for each look, so that one that was just written is tried too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from drivers.contract import Driver, Traced
from drivers.errors import Misconfigured, Unreachable
from drivers.frames import Frame
from drivers.guesses import Tell
from drivers.profile_files import SHIPPED, load_profiles
from edge.identify.looking import LookFor, LookReport, identify
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import AttachedLine
from groundwork.backoff import Monotonic


class Unheard(msgspec.Struct, frozen=True):
    """A device that was never heard since the start: for how long (seconds), and what was seen of it last."""

    device: str
    line: str
    for_s: float
    why: str


class OnLines:
    """The lines of a node that runs."""

    def __init__(
        self,
        lines: Sequence[AttachedLine],
        folders: Iterable[Path],
        drivers: Mapping[str, Driver],
        street: LastSamples,
        faults: Callable[[], Mapping[str, str]],
        clock: Monotonic = time.monotonic,
    ) -> None:
        """`drivers` are those that are open now, and `faults` why others are not, both by line."""
        self._lines = {line.name: line for line in lines}
        self._line_of = {device: line.name for line in lines for device in line.tables}
        self._folders = [SHIPPED, *folders]
        self._drivers, self._street, self._faults, self._clock = drivers, street, faults, clock

    def unheard(self) -> list[Unheard]:
        """Devices that were never heard since the start, with the last error of each."""
        now, faults = self._clock(), self._faults()
        return [
            Unheard(device, line, round(now - k.since, 1), k.fault or k.why or faults.get(line, ""))
            for device, k in self._street.devices.items()
            if k.good is None and (line := self._line_of[device])
        ]

    def frames(self, device: str) -> Sequence[Frame] | None:
        """The last frames of a device; None where its driver is not open, or keeps none."""
        driver = self._drivers.get(self._line_of[device])
        return driver.frames(device) if isinstance(driver, Traced) else None

    async def look(self, ask: LookFor, tell: Tell) -> LookReport:
        """What is on a line.

        Raises:
            Unreachable, Misconfigured.
        """
        line = self._lines.get(ask.line)
        if line is None:
            raise Misconfigured(f'there is no line "{ask.line[:64]}"')
        driver = self._drivers.get(line.name)
        if driver is None:
            raise Unreachable(self._faults().get(line.name, f"line {line.name} is not open"))
        profiles = await asyncio.to_thread(load_profiles, self._folders, [])
        return await identify(line, driver, ask, list(profiles.values()), tell)
