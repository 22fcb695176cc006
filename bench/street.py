"""The simulated street of the measurement: what one node's 60 devices say, without waiting for it.

The scene is fixed, and changes only with a reason in the changelog: seed 21, Dijon (5.041 E, 47.322 N), from
2026-03-10 18:00 local time on, a Tuesday; so its first hour holds the evening traffic, dusk, and every lamp going on.

    30 LX-1 lamps, 2 TM-3 meters, 2 SP-1 probes   polled every 10 s, as a node does by default
    8 BN-1 bins, 8 AQ-2 air sensors               publish every 30 s and 10 s
    6 RuuviTags, 4 BTHome thermometers            advertise every 2 s and 5 s

That is about 100 readings a second. `CABINET` is a small node of 8 a second.

Physics, noise, and the rounding of each device are `firmware_sim`'s as they are: mains, traffic, and weather are
smooth curves of fixed draws, with noise of the size of a sensor's last digits over them. Intervals of what speaks by
itself vary by ±5 % (`firmware_sim.pace.JITTER`). Every value goes through the bytes that the device would send
(registers, JSON, adverts), the decoders of our drivers, and the intake with the shipped profiles; so it has their
resolution. Polls are stamped by their schedule and cut to 1 s, all else to 1 ms: what a node does by default. Left
out: faults, repeats on the air, and the milliseconds between being asked and answering.

An hour takes about four seconds to make. `bench/batches.py` makes batches of it, for one node or for many.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Final

import msgspec

from drivers.ble.inbox import Beacon
from drivers.ble.payload import Bytes
from drivers.contract import Attachment, Receipt
from drivers.modbus.registers import Decoder, plan
from drivers.mqtt.payload import Payload
from drivers.mqtt.repeats import Repeats, content_of, delivery_of
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem
from edge.sampling.intake import Gate, time_resolution_us
from edge.sampling.lines import DeviceTable
from edge.sampling.poller import phase
from firmware_sim.clock import StreetClock
from firmware_sim.devices.aq2 import Aq2
from firmware_sim.devices.bn1 import Bn1
from firmware_sim.devices.bthome import Bthome
from firmware_sim.devices.lx1 import Lx1
from firmware_sim.devices.ruuvitag import Ruuvitag
from firmware_sim.devices.sp1 import DEFAULT_INTERVAL_S, INTERVAL, MEASUREMENT, Sp1
from firmware_sim.devices.tm3 import Tm3
from firmware_sim.faults import Faults
from firmware_sim.modbus import COUNTER, Registers
from firmware_sim.pace import JITTER
from firmware_sim.physics.air import Corner
from firmware_sim.physics.bin import Bin
from firmware_sim.physics.lamp import Lamp
from firmware_sim.physics.meter import PHASES, Supply
from firmware_sim.physics.noise import Noise
from firmware_sim.physics.soil import Soil
from firmware_sim.physics.tag import Tag
from firmware_sim.physics.world import World
from firmware_sim.registers import encode_table
from wire.device import Device, Roster
from wire.sample import Clock, Sample, Value

SEED: Final = 21
LON, LAT, UTC_OFFSET_H = 5.041, 47.322, 1.0
START_S: Final = 1_773_162_000.0  # 2026-03-10 18:00 +01:00
CLOCK: Final = Clock(boot=4_611_686_018_427_387_905, synced=True)
POLL_S: Final = next(f.default for f in msgspec.structs.fields(DeviceTable) if f.name == "poll_s")

LARGE: Final[Mapping[str, int]] = {
    "lx-1": 30, "tm-3": 2, "bn-1": 8, "aq-2": 8, "ruuvitag-df5": 6, "bthome-v2": 4, "sp-1": 2,
}  # fmt: skip
CABINET: Final[Mapping[str, int]] = {"lx-1": 3, "tm-3": 1, "bn-1": 1, "aq-2": 1}
EVERY_S: Final[Mapping[str, float]] = {"bn-1": 30, "aq-2": 10, "ruuvitag-df5": 2, "bthome-v2": 5}
_IDS: Final[Mapping[str, str]] = {
    "lx-1": "lamp", "tm-3": "meter", "bn-1": "bin", "aq-2": "air", "ruuvitag-df5": "tag", "bthome-v2": "climate",
    "sp-1": "soil",
}  # fmt: skip

Say = Callable[[], tuple[Sample, Receipt | None]]
"""Let a device measure now, send its bytes, and take them apart again."""

_Turns = Iterator[float]


class Arrival(msgspec.Struct, frozen=True):
    """A sample as the node takes it in, `at_s` seconds after the street began."""

    at_s: float
    sample: Sample
    receipt: Receipt | None


class Street:
    """One node's street. It goes on where it was left; two of the same models and seed say the same."""

    def __init__(self, models: Mapping[str, int] = LARGE, *, seed: int = SEED, prefix: str = "") -> None:
        """`prefix` stands before every device's id; the seed decides what the devices say."""
        problems: list[Problem] = []
        profiles = load_profiles([SHIPPED], problems, models)
        assert not problems, problems
        self.elapsed_s = 0.0
        clock = StreetClock(START_S, monotonic=lambda: self.elapsed_s)
        self._build = _Build(seed, clock)
        self._gates: dict[str, Gate] = {}
        self._says: list[tuple[float, int, _Turns, Say]] = []
        devices: list[Device] = []
        for model, how_many in models.items():
            profile = profiles[model]
            for i in range(how_many):
                device = Device(
                    id=f"{prefix}{_IDS[model]}-{i + 1:03}", kind=profile.kind, profile=model, lon=LON, lat=LAT
                )
                devices.append(device)
                poll_s = POLL_S if model not in EVERY_S else None
                resolution_us = time_resolution_us(profile.time_resolution_us, poll_s)
                self._gates[device.id] = Gate(profile.points, time_resolution_us=resolution_us)
                chances = random.Random(f"{seed}/pace/{device.id}")
                turns = _pace(EVERY_S[model], chances) if poll_s is None else _polls(device.id, poll_s)
                say = self._build.say(device, profile, i)
                self._says.append((next(turns), len(self._says), turns, say))
        heapq.heapify(self._says)
        points = {name: tuple(profile.points.values()) for name, profile in profiles.items()}
        self.roster = Roster(devices=tuple(devices), profiles=points)

    def arrivals(self, seconds: float) -> Iterator[Arrival]:
        """What comes in during the next seconds, in order."""
        end_s = self.elapsed_s + seconds
        while self._says[0][0] < end_s:
            at_s, index, turns, say = self._says[0]
            self.elapsed_s = at_s
            heapq.heapreplace(self._says, (next(turns), index, turns, say))
            given, receipt = say()
            sample = self._gates[given.device].take(given)
            if sample is not None:
                yield Arrival(at_s, sample, receipt)
        self.elapsed_s = end_s

    def samples(self, seconds: float) -> Iterator[Sample]:
        """The samples of the next seconds, in the order of arrival."""
        return (a.sample for a in self.arrivals(seconds))


def _polls(device: str, every_s: float) -> _Turns:
    """When the node polls: `edge.sampling.poller` spreads devices over the period by their ids."""
    return ((phase(device) + turn) * every_s for turn in count())


def _pace(every_s: float, chances: random.Random) -> _Turns:
    """When a device speaks by itself: the rhythm of `firmware_sim.pace`."""
    at_s = every_s * chances.random()
    while True:
        yield at_s
        at_s += every_s * (1.0 + JITTER * (2.0 * chances.random() - 1.0))


class _Build:
    """Puts devices of the simulator and decoders of the drivers together."""

    def __init__(self, seed: int, clock: StreetClock) -> None:
        self._seed, self._clock = seed, clock
        self._world = World(seed, LON, LAT, UTC_OFFSET_H)
        self._faults = Faults((), clock.elapsed_s)
        self._lamps: list[Lamp] = []  # lamps come before the meters that feed them
        self._repeats = Repeats((), lambda n: bytes(range(n)))
        self._repeats.connected(resumed=False)
        self._mid = 0

    def say(self, device: Device, profile: Profile, index: int) -> Say:
        """How this device is heard."""
        noise = Noise(self._seed, device.id)
        now_s, world, faults = self._clock.now_s, self._world, self._faults
        match device.profile:
            case "lx-1":
                self._lamps.append(Lamp(world, noise, START_S, index % PHASES))
                return self._modbus(device, profile, Lx1(device.id, self._lamps[-1], faults, now_s))
            case "tm-3":
                supply = Supply(world, noise, START_S, self._lamps)
                return self._modbus(device, profile, Tm3(supply, now_s))
            case "bn-1":
                bin_ = Bn1(device.id, f"BN{index + 1:06}", Bin(world, noise, START_S), faults, now_s)
                return self._mqtt(device, profile, bin_)
            case "aq-2":
                return self._mqtt(device, profile, Aq2(f"AQ{index + 1:06}", Corner(world, noise), now_s))
            case "ruuvitag-df5" | "bthome-v2" as model:
                made = Ruuvitag if model == "ruuvitag-df5" else Bthome
                address = f"C6:4C:50:{model == 'bthome-v2':02X}:00:{index + 1:02X}"
                return self._advert(device, profile, made(address, Tag(world, noise, START_S), now_s))
            case "sp-1":
                return self._probe(device, profile, Sp1(device.id, Soil(world, noise, START_S), faults, now_s))
            case model:
                raise ValueError(f"the street has no {model}")

    def _stamp(self) -> tuple[int, Clock]:
        return round(self._clock.now_s() * 1e6), CLOCK

    def _modbus(self, device: Device, profile: Profile, registers: Registers) -> Say:
        decoder, blocks = Decoder(profile), plan(profile, list(profile.points))
        answers = 0

        def say() -> tuple[Sample, None]:
            nonlocal answers
            values: dict[str, Value] = {}
            quality: dict[str, str] = {}
            for block in blocks:
                answers += 1
                words = encode_table(registers.table, registers.size, {**registers.measure(), COUNTER: answers})
                answer = b"".join(word.to_bytes(2) for word in words[block.start : block.start + block.count])
                decoder.read(block, answer, values, quality)
            return Sample(device.id, *self._stamp(), {n: values[n] for n in profile.points}, quality), None

        return say

    def _mqtt(self, device: Device, profile: Profile, publisher: Bn1 | Aq2) -> Say:
        payload = Payload(profile)
        n = 0

        def say() -> tuple[Sample, Receipt]:
            nonlocal n
            n += 1
            sent = publisher.message(n, publisher.measure()).payload
            reading = payload.read(sent)
            self._mid = self._mid % 65_535 + 1
            stamp = self._stamp()
            content = content_of(device.id, (reading.said, None))
            key = self._repeats.key(delivery_of(self._mid, publisher.topic, sent), content, stamp[0])
            return Sample(device.id, *stamp, reading.values, reading.quality), Receipt("mqtt:broker", key)

        return say

    def _advert(self, device: Device, profile: Profile, advertiser: Ruuvitag | Bthome) -> Say:
        reader = Bytes(profile)
        beacon = Beacon(Attachment(device, profile, None), reader)
        n = random.Random(f"{self._seed}/{device.id}").randint(advertiser.first, advertiser.last)

        def say() -> tuple[Sample, Receipt]:
            nonlocal n
            n = advertiser.first if n >= advertiser.last else n + 1
            sent = advertiser.advert(n, advertiser.measure())
            service = {f"{short:08x}-0000-1000-8000-00805f9b34fb": data for short, data in sent.service_data.items()}
            data = reader.mine(sent.manufacturer, service)
            assert data is not None
            key = n.to_bytes(8, signed=True) + beacon.key
            receipt = Receipt("ble:radio", key, redelivered=False)
            return Sample(device.id, *self._stamp(), *reader.advert(data)), receipt

        return say

    def _probe(self, device: Device, profile: Profile, sensor: Sp1) -> Say:
        reader = Bytes(profile)
        answers = 0
        names = {
            uuid: [p for p in profile.points if profile.access[p].characteristic == uuid]
            for uuid in (MEASUREMENT, INTERVAL)
        }

        def say() -> tuple[Sample, None]:
            nonlocal answers
            answers += 1
            values: dict[str, Value] = {}
            quality: dict[str, str] = {}
            data, _ = sensor.measurement(answers, sensor.measure())
            reader.characteristic(names[MEASUREMENT], data, values, quality)
            reader.characteristic(names[INTERVAL], DEFAULT_INTERVAL_S.to_bytes(2, "little"), values, quality)
            return Sample(device.id, *self._stamp(), values, quality), None

        return say
