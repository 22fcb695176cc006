"""City pushes: what the cabinets of a whole city send, minute after minute, made as it is needed.

Each cabinet has some lamps and one meter, each read once a minute. What a device says is what the simulated one says
first (`bench.street`), and over it what changes by the minute: night, power, voltage, temperature, and counters that
only grow. All cabinets say the same, of devices of their own, in bodies that their links would choose. Bounds: the
bodies of one step in memory.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from bench import batches
from bench.loads.ingest_fleet import Sender, Upload, told_roster
from bench.street import CLOCK, SEED, Street
from wire.sample import Sample, Value

FIRST_S: Final = 20.0  # by then every device of a street has spoken
DAY_MIN: Final = 24 * 60
ON_MIN, OFF_MIN, DIM_MIN = 18 * 60, 7 * 60, 23 * 60  # of the day, UTC: lamps go on, off, and down to half
WATTS: Final = 42.0  # of a lamp at its full level


class Pushes:
    """The cabinets of a city. Each call of `step` goes on where the last one ended."""

    def __init__(self, nodes: int, lamps: int, begin_min: int) -> None:
        """`begin_min` is the first minute, counted since 1970."""
        street = Street({"lx-1": lamps, "tm-3": 1})
        self.names = [f"cab-{number:05}" for number in range(nodes)]
        self.readings = 0  # of all steps so far
        self._first = {sample.device: sample for sample in street.samples(FIRST_S)}
        self._roster = street.roster
        self._sealing = batches.Sealing()
        self._senders = [Sender() for _ in self.names]
        self._minute = begin_min
        self._chances = random.Random(SEED)
        self._energy_wh = {device: 500_000.0 + 977 * i for i, device in enumerate(self._first)}
        self._on_min = dict.fromkeys(self._first, 868_098)

    def rosters(self) -> list[Upload]:
        """What each node sends first."""
        sealing = batches.Sealing()
        empty = sealing.cut(sealing.commit([next(iter(self._first.values()))]))  # only its node's name is used
        return [
            sender.upload(told_roster(batches.as_node(empty, number), self._roster))
            for number, sender in enumerate(self._senders)
        ]

    def step(self, minutes: int) -> list[Upload]:
        """The next body of each node: so many minutes in one."""
        rows = [row for _ in range(minutes) for row in self._sealing.commit(self._of_a_minute())]
        batch = self._sealing.cut(rows)
        self.readings += batches.readings(batch) * len(self.names)
        return [sender.upload(batches.as_node(batch, number)) for number, sender in enumerate(self._senders)]

    def _of_a_minute(self) -> Sequence[Sample]:
        day_min = self._minute % DAY_MIN
        level = 0.0 if OFF_MIN <= day_min < ON_MIN else 50.0 if day_min < OFF_MIN or day_min >= DIM_MIN else 100.0
        time_us = self._minute * 60_000_000
        self._minute += 1
        return [
            Sample(device, time_us, CLOCK, {**first.values, **self._changed(device, level, first.values)})
            for device, first in self._first.items()
        ]

    def _changed(self, device: str, level: float, before: Mapping[str, Value]) -> Mapping[str, Value]:
        chances = self._chances
        volts = round(228 + chances.gauss(0, 0.8), 1)
        watts = round(level / 100 * WATTS * chances.uniform(0.98, 1.02) + 0.6, 2)
        if "energy_import" in before:
            watts = round(watts * (len(self._first) - 1), 1)
            self._energy_wh[device] += watts / 60
            third = round(watts / 3, 1)
            return {
                "voltage_l1": volts, "active_power": watts, "energy_import": round(self._energy_wh[device] / 1000, 2),
                "active_power_l1": third, "active_power_l2": third, "active_power_l3": third,
            }  # fmt: skip
        self._energy_wh[device] += watts / 60
        self._on_min[device] += level > 0
        return {
            "lamp_on": level > 0, "dark": level > 0, "dim_level": level, "dim_reached": level, "active_power": watts,
            "supply_voltage": volts, "supply_current": round(watts / volts * 1000),
            "driver_temperature": round(12 + level / 4 + chances.gauss(0, 0.3), 1),
            "active_energy": int(self._energy_wh[device]), "operating_time": self._on_min[device],
        }  # fmt: skip
