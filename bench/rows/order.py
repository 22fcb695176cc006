"""Orders and changes: from the control room to a device and back, and from a device to the control room.

`order`: a command is given with `POST /v1/commands` and timed until the feed tells that it is verified: taken and
stored by the aggregator, sent down, put on the card, written by Modbus, read back, put on the card, sent up, stored,
told. One after the other, each for the next of 500 devices behind 10 gateways, with a value that it does not have.
`change`: a lamp publishes by MQTT, ten changes of a live point a second over 20 lamps, timed until a reader of the feed
has it. A change waits up to 0.5 s for others to be kept with it; where none come it waits for all of that, which the
p99 shows. A polled device adds a wait of between nothing and its period, which is no property of ours and left out.

`idle`: the node polls next to nothing (each device once a day) and has nothing to send. `draining`: it polls 500
devices of 21 registers each second, and an outbox full of `bench.street`'s samples goes up; taken until that is there.
Node and aggregator are as they ship. The node has a core; aggregator, devices, broker and the clock have the other.

The limit of `order` is the bare round trip on the same servers, one HTTP request to the aggregator and a write and a
read by libmodbus, each measured by itself with nothing else going on. The two medians are added; so are the two p99,
which is more than the p99 of both would be.

Checked: each order has one final result, and it is `verified`; each change is seen once; all of the backlog arrives.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.cabinet import City, Node
from bench.figure import Figure, median
from bench.loads import compiled
from bench.loads.mqtt_broker import Broker
from bench.loads.order_ways import Took, change, give, round_trips
from bench.rows import modbus
from bench.rows.rule import NAME, PROMPT, SITE, Backlog, fill
from bench.stand import BenchError, Stand

WHAT = "command to verified result, and device change to feed reader: p50 and p99"
GATEWAYS: Final = 10
IDLE_POLL_S: Final = 86_400
LAMPS: Final = 20
CHANGES_A_S: Final = 10.0
SECONDS: Final = 20.0  # idle
QUICK_SECONDS: Final = 2.0
BACKLOG_H: Final = 24
QUICK_BACKLOG_H: Final = 1
LEAST: Final = 40  # while it drains; else the backlog is too short
LIMIT_COUNT: Final = 2_000
DRAINED_S: Final = 120.0
POINT: Final = "target"
WRITABLE: Final = f"""
[point.{POINT}]
type = "float"
unit = "V"
range = [0, 6553.5]
resolution = 0.1
writable = true
at = {{ holding = {modbus.REGISTERS}, scale = 0.1 }}
"""
LAMP: Final = """
kind = "streetlight"
driver = "mqtt"
model = "a lamp of the benchmark"
source = ["bench/rows/order.py"]

[mqtt]
topic = "lamps/{serial}/state"

[point.n]
type = "int"
range = [0, 1_000_000]
live = true
at = { value = "n" }
"""

Run = Mapping[str, float]
_SAID: Final = re.compile(r"p50_us (\S+) p99_us (\S+)")


def run(stand: Stand) -> Iterator[Figure]:
    """Each repeat: orders and changes, idle and draining, and the limit of orders."""
    server = compiled("modbus_server", stand.directory, "modbus", package="libmodbus-dev")
    bare = compiled("order_modbus", stand.directory, "modbus", package="libmodbus-dev")
    stand.say("filling an outbox")
    backlog = asyncio.run(fill(stand, QUICK_BACKLOG_H if stand.quick else BACKLOG_H))
    measured: dict[str, Callable[[], Run]] = {
        "order, idle": lambda: _Scene(stand, server, None).orders(),
        "order, draining": lambda: _Scene(stand, server, backlog).orders(),
        "change, idle": lambda: _Scene(stand, server, None).changes(),
        "change, draining": lambda: _Scene(stand, server, backlog).changes(),
        "limit": lambda: _limit(stand, server, bare),
    }
    runs: dict[str, list[Run]] = {}
    for _ in stand.times():
        for name, measure in measured.items():
            stand.say(name)
            runs.setdefault(name, []).append(measure())
            stand.end_all()
    limit = median(runs.pop("limit"))[0]
    for name, found in runs.items():
        middle, spread = median(found)
        what, state = name.split(", ")
        words = "to verified" if what == "order" else "to feed reader"
        for key in ("p50_ms", "p99_ms"):
            figure = Figure(
                name=f"order/{'command' if what == 'order' else 'change'} {words} {key[:3]}, {state}",
                unit="ms", less=True, ours=middle[key], spread=spread[key],
                note=_told(what, middle, [run["count"] for run in found]) if key == "p99_ms" else "",
            )  # fmt: skip
            if what == "order":
                figure = msgspec.structs.replace(figure, limit=limit[key], limit_name="bare HTTP + Modbus")
            yield figure


def _told(what: str, run: Run, counts: list[float]) -> str:
    many = ", ".join(f"{count:.0f}" for count in counts)
    return f"{many} {what}s a run; worst {run['worst_ms']:.0f} ms; the node took {run['core']:.0f} % of its core"


class _Scene:
    """Everything that runs, and what is done with it."""

    def __init__(self, stand: Stand, server: Path, backlog: Backlog | None) -> None:
        self._stand, self._backlog = stand, backlog
        meters = modbus.Meters(stand, server, GATEWAYS, still=1)
        self._broker, self._city = Broker(stand, PROMPT), City(stand)
        mqtt = {"name": "broker", "protocol": "mqtt", "host": "127.0.0.1", "port": self._broker.port, "client_id": NAME}
        self._lamps = [f"lamp{i:02}" for i in range(LAMPS)]
        poll_s = modbus.POLL_S if backlog is not None else IDLE_POLL_S
        self._meters = [str(d["id"]) for d in modbus.devices(GATEWAYS)]
        devices = modbus.devices(GATEWAYS, poll_s=poll_s)
        devices += [{"id": x, "profile": "lamp", "line": "broker", "address": {"serial": x}} for x in self._lamps]
        data = stand.fresh("outbox")
        if backlog is not None:
            shutil.copytree(backlog.data, data, dirs_exist_ok=True)
        self._node = Node(
            stand, self._city, [*modbus.lines(meters.ports), mqtt], devices, name=NAME, data=data,
            profiles={"meter": modbus.profile() + WRITABLE, "lamp": LAMP}, settings={"site": SITE},
        )  # fmt: skip
        self._node.start()
        self._node.process.wait_until(self._ready, "no broker, no downlink, or not known to the city", 120)

    def _ready(self) -> bool:
        counters = self._node.health()["counters"]
        return bool(
            counters.get("broker.connected") and counters.get("downlink_connected")
            and len(self._city.get("/v1/devices", limit=1)["devices"])
        )  # fmt: skip

    def orders(self) -> Run:
        """Commands, one after the other."""
        operator = self._city.token("operator")
        return self._timed(lambda over: give(self._city.url, operator, NAME, self._meters, POINT, over))

    def changes(self) -> Run:
        """What lamps say."""
        reader, port = self._city.token("reader"), self._broker.port
        return self._timed(lambda over: change(self._city.url, reader, port, self._lamps, CHANGES_A_S, over))

    def _timed(self, way: Callable[[Callable[[float], bool]], Took]) -> Run:
        seconds = QUICK_SECONDS if self._stand.quick else SECONDS
        backlog = self._backlog
        before = self._node.process.usage()
        if backlog is None:
            took = way(lambda passed_s: passed_s >= seconds)
        else:
            took = way(lambda _: self._city.readings_of(NAME) >= backlog.readings)
        used = self._node.process.usage().since(before)
        if backlog is not None and not self._stand.quick and len(took.ms) < LEAST:
            raise BenchError(f"the backlog was there after {len(took.ms)}: BACKLOG_H is too little")
        if failed := self._node.health()["counters"]["polls_failed"]:
            raise BenchError(f"{failed} polls failed")
        return took.run() | {"core": 100 * used.cpu_s / took.seconds}


def _limit(stand: Stand, server: Path, bare: Path) -> Run:
    city = City(stand)
    count = LIMIT_COUNT // 10 if stand.quick else LIMIT_COUNT
    http = round_trips(city.url, city.token("reader"), count).run()
    city.process.end()
    meters = modbus.Meters(stand, server, 1, still=1)
    words = [bare, meters.ports[0], modbus.UNITS, modbus.REGISTERS, count]
    process = stand.start("libmodbus", [str(word) for word in words], side="test")
    process.process.wait()
    if process.process.returncode or not (said := _SAID.match(process.said())):
        raise BenchError(f"the limit failed: {process.said()}")
    return {key: http[key] + float(said[at]) / 1e3 for at, key in ((1, "p50_ms"), (2, "p99_ms"))}
