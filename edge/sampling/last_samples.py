"""The street as the node knows it now: each device's last sample, when it was last heard, what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edge.trouble import Trouble
from wire.columns import Columns
from wire.sample import Sample

SILENT_PERIODS = 3.0
UNHEARD_S = 300.0  # a device that was never heard may have a mistyped topic or address: said after so long


class Known(msgspec.Struct):
    """What is known of one device. Times are monotonic seconds."""

    expected_every_s: float
    since: float
    sample: Sample | None = None
    good: float | None = None
    recalled: bool = False  # whether it said something good before the restart, as the card remembers
    why: str = ""  # the quality of the last sample that had nothing good in it
    fault: str | None = None
    compared: bool = True  # whether the time of `sample` says which of two is newer


class LastSamples:
    """All devices of the node."""

    def __init__(self) -> None:
        self.devices: dict[str, Known] = {}

    def expect(self, device: str, every_s: float, now: float) -> None:
        """A device that should say something at least so often."""
        self.devices[device] = Known(every_s, now)

    def note(self, sample: Sample, now: float) -> None:
        """A sample arrived. One of nothing but bad readings is no sign of life."""
        known = self.devices.get(sample.device)
        if known is None:
            return
        if known.sample is None or not known.compared or sample.time_us >= known.sample.time_us:
            known.sample, known.compared = sample, True
        if says_something(sample):
            known.good, known.fault, known.why = now, None, ""
        elif sample.quality:
            known.why = next(iter(sample.quality.values()))

    def clock_set(self) -> None:
        """The node's clock was set: of each device the next sample is the newest, whatever its timestamp."""
        for known in self.devices.values():
            known.compared = False

    def recall(self, columns: Sequence[Columns]) -> None:
        """What was known before a restart; no sign of life."""
        for run in columns:
            known = self.devices.get(run.device)
            for sample in run.samples() if known is not None else ():
                if known is not None and (known.sample is None or sample.time_us > known.sample.time_us):
                    known.sample, known.recalled = sample, known.recalled or says_something(sample)

    def silent(self, now: float) -> tuple[str, ...]:
        """Devices not heard for three of their periods."""
        return tuple(
            device
            for device, known in self.devices.items()
            if now - (known.since if known.good is None else known.good) > SILENT_PERIODS * known.expected_every_s
        )

    def troubles(self, now: float) -> Sequence[Trouble]:
        """What is wrong with devices, one each: misconfigured, never heard, or silent; in the order of the devices."""
        found: list[Trouble] = []
        silent = set(self.silent(now))
        for device, known in self.devices.items():
            if known.fault is not None:
                found.append(Trouble(code="misconfigured", device=device, why=known.fault, since=known.since))
            elif known.good is None and not known.recalled and now - known.since >= UNHEARD_S:
                minutes = (now - known.since) / 60
                found.append(
                    Trouble(
                        code="never-heard",
                        device=device,
                        why=known.why,
                        numbers={"minutes": minutes},
                        since=known.since,
                    )
                )
            elif device in silent:
                since = known.since if known.good is None else known.good
                found.append(Trouble(code="silent", device=device, why=known.why, since=since))
        return found

    def latest(self) -> Sequence[Columns]:
        """Each device's last sample, for a Snapshot."""
        return [Columns.of([k.sample]) for k in self.devices.values() if k.sample is not None]


def says_something(sample: Sample) -> bool:
    """Whether anything in it is not bad."""
    return len(sample.quality) < len(sample.values) or any(not q.startswith("bad") for q in sample.quality.values())
