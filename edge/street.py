"""The street as the node knows it now: each device's last sample, when it was last heard, what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wire.columns import Columns
from wire.sample import Sample

SILENT_PERIODS = 3.0


class Known(msgspec.Struct):
    """What is known of one device. Times are monotonic seconds."""

    expected_every_s: float
    since: float
    sample: Sample | None = None
    good: float | None = None
    fault: str | None = None


class Street:
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
        if known.sample is None or sample.time_us >= known.sample.time_us:
            known.sample = sample
        if any(not q.startswith("bad") for q in sample.quality.values()) or len(sample.quality) < len(sample.values):
            known.good, known.fault = now, None

    def recall(self, columns: Sequence[Columns]) -> None:
        """What was known before a restart; no sign of life."""
        for run in columns:
            known = self.devices.get(run.device)
            for sample in run.samples() if known is not None else ():
                if known is not None and (known.sample is None or sample.time_us > known.sample.time_us):
                    known.sample = sample

    def silent(self, now: float) -> tuple[str, ...]:
        """Devices not heard for three of their periods."""
        return tuple(
            device
            for device, known in self.devices.items()
            if now - (known.since if known.good is None else known.good) > SILENT_PERIODS * known.expected_every_s
        )

    def latest(self) -> Sequence[Columns]:
        """Each device's last sample, for a Snapshot."""
        return [Columns.of([k.sample]) for k in self.devices.values() if k.sample is not None]
