"""MQTT in → durable → uplink: what a reading costs that a device publishes, from the broker to the far end.

200 devices publish eight points as JSON at QoS 1 to a mosquitto of our own, at fixed rates and as fast as it goes; the
receiver under test takes them from there, keeps them, and sends them up. Ours is a node and its aggregator with all
defaults (a commit every 5 s or 256 publishes, a push a minute); at the end of each load a live point changes, which
makes the node commit and push what waits. The peer is thingsboard-gateway with its SQLite storage and a server that
only counts; the limit a plain aiomqtt loop that decodes and keeps nothing.

CPU is the receiver's alone, from the first publish until its far end has the last reading. Durable is when the commit
can be seen in the store's file (`loads/mqtt_watch.py`); time there is the publish's own, in whole milliseconds.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.cabinet import City, Node
from bench.figure import Figure, Goal, median
from bench.loads.mqtt_broker import DEVICES, POINTS, TOPIC, Broker
from bench.loads.mqtt_watch import BETWEEN_S, MessagesWatch, OutboxWatch, Watch
from bench.peers import thingsboard
from bench.stand import BenchError, Stand, Usage

WHAT = "MQTT in → durable → uplink: CPU, time to durable, memory, bytes written"

RATES: Final = (200, 1000, 2750)  # publishes a second
QUICK_RATES: Final = (1000,)
SATURATED: Final = 0
BARE: Final = Path(__file__).parents[1] / "loads" / "mqtt_bare.py"
FAR_EVERY_S: Final = 0.05
STILL_S: Final = 20.0  # when nothing has come for so long, nothing will
BEHIND_S: Final = 0.2  # of its clock: more is told
TICK_S: Final = 0.01  # what the kernel counts CPU time in
RING_S: Final = 0.8  # a live point is committed within 0.5 s, and pushed then
LOST: Final = 1e-3  # what a receiver may lose and still have figures, which then say so; ours may not
RANGES: Final = {"n": "0, 4_000_000_000", "temperature": "-60, 80", "humidity": "0, 100", "power": "0, 1000",
                 "voltage": "0, 500", "energy": "0, 1_000_000", "dim": "0, 100", "mode": "0, 10"}  # fmt: skip
RESOLUTIONS: Final = {"temperature": 0.01, "humidity": 0.1, "power": 0.01, "voltage": 0.1, "energy": 0.01}

Run = Mapping[str, float]


def run(stand: Stand) -> Iterator[Figure]:
    """See the module."""
    rates = QUICK_RATES if stand.quick else RATES
    seconds = 1.0 if stand.quick else 4.0
    loads = [(rate, round(rate * seconds)) for rate in rates] + [(SATURATED, 2_000 if stand.quick else 20_000)]
    ours: list[Run] = []
    limits: list[Run] = []
    peers: list[Run] = []
    absent = thingsboard.available() or ""
    for _ in stand.times():
        ours.append(_ours(stand, loads))
        stand.end_all()
        limits.append(_bare(stand, loads))
        stand.end_all()
        if not absent:
            try:
                peers.append(_peer(stand, loads))
            except BenchError as error:  # it is told beside our figures, and does not cost them
                absent = f"{thingsboard.NAME}: {error}"
    yield from _figures(rates, ours, limits, peers, absent)


def _figures(
    rates: Sequence[int], ours: Sequence[Run], limits: Sequence[Run], peers: Sequence[Run], about_peer: str
) -> Iterator[Figure]:
    middle, spread = median(ours)
    limit, _ = median(limits)
    peer = median(peers)[0] if peers else {}
    if peer.get("lost"):
        about_peer = f"{thingsboard.NAME} lost {peer['lost']:.0f} readings in the median run"
    behind_s = max(run["behind"] for run in (*ours, *limits, *peers))
    behind = f"the load was up to {behind_s:.1f} s behind its clock" if behind_s > BEHIND_S else ""

    def figure(
        what: str, key: str, unit: str, *, less: bool, goal: Goal | None = None, note: str = "", limited: bool = False
    ) -> Figure:
        return Figure(
            name=f"mqtt/{what}",
            unit=unit,
            less=less,
            ours=middle[key],
            spread=spread[key],
            peer=peer.get(key),
            peer_name=thingsboard.NAME if peer else "",
            limit=limit[key] if limited else None,
            limit_name="bare aiomqtt" if limited else "",
            goal=goal,
            note="; ".join(part for part in (note, about_peer, behind) if part),
        )

    for per_second, what in ((rate, f"{rate * len(POINTS) / 1000:g} k/s") for rate in rates):
        yield figure(f"readings per CPU-second, {what}", f"{per_second} cheap", "1/s", less=False)
        yield figure(f"publish to durable p50, {what}", f"{per_second} p50", "ms", less=True)
        yield figure(f"publish to durable p99, {what}", f"{per_second} p99", "ms", less=True)
    best = max((peer.get(f"{rate} cheap", 0.0) for rate in (*rates, SATURATED)), default=0.0)
    both = 1e6 / (1e6 / middle["0 cheap"] + middle["city us"])
    yield Figure(
        name="mqtt/readings per CPU-second, saturated",
        unit="1/s",
        less=False,
        ours=middle["0 cheap"],
        spread=spread["0 cheap"],
        peer=best or None,
        peer_name=f"{thingsboard.NAME} at its best rate" if peer else "",
        limit=limit["0 cheap"],
        limit_name="bare aiomqtt",
        goal=Goal(6, "peer"),
        note="; ".join(p for p in (f"{both:.0f} with the aggregator's CPU", about_peer) if p),
    )
    goal = Goal(1.3, "limit")
    yield figure("CPU per publish, saturated", "0 us", "µs", less=True, goal=goal, limited=True)
    yield figure("readings per second, saturated", "0 rate", "1/s", less=False, limited=True)
    note = "what the row card measures over a longer time"
    yield figure("written per reading, saturated", "0 written", "bytes", less=True, note=note)
    yield figure("memory after all loads", "memory", "MB", less=True, limited=True)


class _Measured:
    """What one run of one receiver measures, load by load.

    `arrived` says how many readings are at the far end; `ended` is called when a load has ended.
    """

    def __init__(
        self,
        stand: Stand,
        broker: Broker,
        *,
        usage: Callable[[], Usage],
        arrived: Callable[[], int],
        watch: Watch | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._stand, self._broker = stand, broker
        self._usage, self._arrived, self._watch, self._ended = usage, arrived, watch, ended
        self.found: dict[str, float] = {"lost": 0, "behind": 0}

    def load(self, rate: int, publishes: int) -> None:
        """One load, until all of it is at the far end or nothing more comes.

        Raises:
            BenchError: not all came.
        """
        self._stand.say(f"{publishes} publishes, {f'{rate} a second' if rate else 'as fast as it goes'}")
        readings, arrived, watch = publishes * len(POINTS), self._arrived(), self._watch
        durable = watch.look(aging=False) if watch else 0
        before, began = self._usage(), time.monotonic()
        load = self._broker.load(publishes, rate, seed=1 + len(self.found))
        most_s = 0.0  # when nine tenths of it were durable
        running, have, looked, moved = True, 0, began, began
        while running or have < readings:
            time.sleep(BETWEEN_S)
            now = time.monotonic()
            if watch:
                # Ages are taken while the load lasts: after it, what waits for more to come waits in vain.
                aging = rate > 0 and (running or not watch.ages_ms)
                if watch.look(aging=aging) - durable >= publishes * 0.9:
                    most_s = most_s or now - began
            if running and not load.running:
                running, moved = False, now
                self._ended()
            if not running and now > looked + FAR_EVERY_S:
                looked, was, have = now, have, self._arrived() - arrived
                moved = now if have != was else moved
                if now > moved + STILL_S:
                    break
        used, took_s = self._usage().since(before), time.monotonic() - began
        if abs(readings - have) > LOST * readings:
            raise BenchError(f"{have} readings arrived of {readings} published")
        self.found |= {
            f"{rate} cheap": have / max(used.cpu_s, TICK_S),
            f"{rate} us": used.cpu_s / publishes * 1e6,
            f"{rate} written": used.written_bytes / have,
            f"{rate} rate": readings * 0.9 / most_s if most_s else readings / took_s,
            "memory": used.memory_bytes / 1e6,
            "lost": self.found["lost"] + readings - have,
            "behind": max(self.found["behind"], load.sent().behind_s),
        }
        if watch and rate:
            ages, watch.ages_ms = sorted(watch.ages_ms), []
            if not ages:
                raise BenchError("no sample was seen in the store's file")
            self.found |= {f"{rate} p50": _quantile(ages, 0.5), f"{rate} p99": _quantile(ages, 0.99)}


def _ours(stand: Stand, loads: Sequence[tuple[int, int]]) -> Run:
    broker, city = Broker(stand), City(stand)
    node = Node(stand, city, *_lines(broker.port), profiles={"street": _street(), "bell": BELL})
    node.start()
    watch, rings = OutboxWatch(node.data / "outbox.db"), 0

    def ring() -> None:
        nonlocal rings
        rings += 1
        broker.publish("bell/bell/ring", f'{{"rings": {rings}}}')

    def heard() -> Sequence[int]:
        return [row["values"]["rings"] for row in city.rows_of("bell")] if watch.look(aging=False) else ()

    deadline = time.monotonic() + STILL_S
    while rings not in heard():  # until it has subscribed, and what was rung until then has arrived or never will
        if time.monotonic() > deadline:
            raise BenchError(f"the node hears no publish: {node.health()}")
        ring()
        time.sleep(RING_S)
    measured = _Measured(
        stand,
        broker,
        usage=node.process.usage,
        arrived=lambda: city.readings_of(node.name) - rings,
        watch=watch,
        ended=ring,
    )
    for load in loads:
        before = city.process.usage()
        measured.load(*load)
        measured.found["city us"] = city.process.usage().since(before).cpu_s / load[1] / len(POINTS) * 1e6
    wanted = sum(total for _, total in loads) * len(POINTS) + len(heard())
    if (have := city.readings_of(node.name)) != wanted:
        raise BenchError(f"the city has {have} readings, not {wanted}")
    for device in (0, DEVICES - 1):  # and each of them is what was published
        numbers = [n for _, total in loads for n in range(1, total // DEVICES + (device < total % DEVICES) + 1)]
        if (found := [row["values"]["n"] for row in city.rows_of(f"d{device:03}")]) != numbers:
            raise BenchError(f"d{device:03} has {len(found)} samples of {len(numbers)}, or others")
    return measured.found


def _lines(port: int) -> tuple[Sequence[Mapping[str, object]], Sequence[Mapping[str, object]]]:
    line = {"name": "broker", "protocol": "mqtt", "host": "127.0.0.1", "port": port, "client_id": "cab-bench"}
    devices = [(f"d{i:03}", "street") for i in range(DEVICES)] + [("bell", "bell")]
    return [line], [{"id": d, "profile": p, "line": "broker", "address": {"serial": d}} for d, p in devices]


def _peer(stand: Stand, loads: Sequence[tuple[int, int]]) -> Run:
    broker = Broker(stand)
    gateway = thingsboard.start(stand, [thingsboard.mqtt(broker.port, TOPIC, POINTS)])
    watch = MessagesWatch(gateway.storage)
    measured = _Measured(stand, broker, usage=gateway.usage, arrived=gateway.delivered, watch=watch)
    for load in loads:
        measured.load(*load)
    return measured.found


def _bare(stand: Stand, loads: Sequence[tuple[int, int]]) -> Run:
    rate, publishes = loads[-1]
    broker, directory = Broker(stand), stand.fresh("bare")
    ready, done = directory / "ready", directory / "done"
    command = [sys.executable, BARE, str(broker.port), TOPIC, str(publishes), ready, done]
    process = stand.start("bare aiomqtt", command, side="test")
    process.wait_until(ready.exists, "not ready")
    measured = _Measured(
        stand, broker, usage=process.usage, arrived=lambda: int(done.read_text() or 0) if done.exists() else 0
    )
    measured.load(rate, publishes)
    return measured.found


def _quantile(ages: Sequence[float], share: float) -> float:
    return ages[min(len(ages) - 1, math.ceil(share * len(ages)))]


def _street() -> str:
    """What a device is, as someone with its datasheet would write it."""
    points: list[str] = []
    for name, kind in POINTS.items():
        points.append(f'[point.{name}]\ntype = "{"int" if kind == "integer" else "float"}"\nrange = [{RANGES[name]}]')
        if name in RESOLUTIONS:
            points.append(f"resolution = {RESOLUTIONS[name]}")
        points.append(f'at = {{ value = "{name}" }}')
    head = 'kind = "sensor"\ndriver = "mqtt"\nmodel = "bench"\nsource = ["bench"]\n'
    return "\n".join([head, '[mqtt]\ntopic = "street/{serial}/up"\ntime = "ts"', *points])


BELL: Final = """
kind = "sensor"
driver = "mqtt"
model = "bench"
source = ["bench"]
[mqtt]
topic = "bell/{serial}/ring"
[point.rings]
type = "int"
live = true
at = { value = "rings" }
"""
