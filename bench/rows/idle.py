"""Idle: what a node costs when nothing happens but its 60 devices, and how soon it serves after being started.

The devices are those of `bench.street`, here as the simulator's real protocol servers: 30 lamps and 2 meters on two
Modbus TCP gateways, 8 bins and 8 air sensors over MQTT, 10 beacons and 2 soil probes over Bluetooth (BlueZ's D-Bus
interface, played by the simulator). The node runs in an environment of its own, like the one in Dockerfile.edge, with
its defaults throughout: polls every 10 s, a commit every 5 s, push and Health once a minute; so the time measured is a
minute. Memory is resident memory (RSS), libraries that other processes share included; the proportional share (PSS) is
told beside it.

The peers have less to do: thingsboard-gateway polls the lamps and listens to the bins and air sensors, Node-RED listens
to the bins and air sensors and finds that they hold no `level`. Start-up is from being executed until serving: a node's
health address, a gateway's connectors, a flow's subscription.

Checked: the node is well, each device was heard as often as it should speak, and all of that is at the aggregator.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
from httpx import HTTPStatusError

from bench.cabinet import City, Node, shipped_edge
from bench.figure import Figure, Goal, median
from bench.peers import node_red, thingsboard
from bench.stand import BIN, BenchError, Process, Stand
from bench.street import EVERY_S, LARGE, LAT, LON, POLL_S, SEED, UTC_OFFSET_H

WHAT = "a node with 60 devices: CPU and memory when idle, start-up time"
WINDOW_S: Final = 60.0  # one push and one Health, whenever it begins
PEER_WINDOW_S: Final = 20.0
QUICK_WINDOW_S: Final = 3.0
WARM_S: Final = 11.0  # one poll of each device
QUICK_WARM_S: Final = 0.5
SETTLE_S: Final = 300.0
HEARD: Final = 0.9  # of what a device says; its pace varies
STARTS: Final = 3
GATEWAYS: Final = ("north", "south")
METER_UNIT: Final = 100

Run = Mapping[str, float]
Table = Mapping[str, Any]


class SimulatedStreet:
    """The simulator with the 60 devices. `devices` are the tables of a node's configuration."""

    def __init__(self, stand: Stand) -> None:
        directory = stand.fresh("street")
        scene, ready = directory / "scene.toml", directory / "endpoints.json"
        scene.write_text(_scene())
        command = [BIN / "firmware-sim", "run", scene, "--endpoints", ready]
        self.process = stand.start("street", command, side="load")
        self.process.wait_until(ready.exists, "no endpoints")
        found = json.loads(ready.read_text())
        self.modbus_ports = [_port(found["modbus_tcp"][name]) for name in GATEWAYS]
        self.mqtt_port = _port(found["mqtt"])
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": found["dbus"]}

    def lines(self) -> list[Table]:
        """The lines of a node that reads it."""
        modbus = [
            {"name": name, "protocol": "modbus", "host": "127.0.0.1", "port": port}
            for name, port in zip(GATEWAYS, self.modbus_ports, strict=True)
        ]
        broker = {"protocol": "mqtt", "host": "127.0.0.1", "port": self.mqtt_port, "client_id": "cab-bench"}
        return [*modbus, {"name": "broker", **broker}, {"name": "radio", "protocol": "ble"}]


def run(stand: Stand) -> Iterator[Figure]:
    """Ours, then the peers beside each other."""
    program = shipped_edge()
    median_of, spread = median([_ours(stand, program) for _ in stand.times()])
    gateway, flows = _peers(stand)

    def figure(
        what: str, key: str, unit: str, peer: str, found: Run | str, goal: Goal | None, note: str = ""
    ) -> Figure:
        absent = isinstance(found, str)
        return Figure(
            name=f"idle/{what}", unit=unit, less=True, ours=median_of[key], spread=spread[key], goal=goal,
            peer=None if absent else found[key], peer_name="" if absent else peer,
            note="; ".join(n for n in (note, found if absent else "") if n),
        )  # fmt: skip

    pss = f"PSS {median_of['pss_mb']:.1f} MB"
    yield figure("CPU", "core", "% of a core", thingsboard.NAME, gateway, Goal(3))
    yield figure("memory", "rss_mb", "MB RSS", thingsboard.NAME, gateway, Goal(60), pss)
    yield figure("start-up", "started_s", "s", thingsboard.NAME, gateway, None)
    yield figure("CPU, beside Node-RED", "core", "% of a core", node_red.NAME, flows, None)
    yield figure("memory, beside Node-RED", "rss_mb", "MB RSS", node_red.NAME, flows, None)
    yield figure("start-up, beside Node-RED", "started_s", "s", node_red.NAME, flows, None)


def _ours(stand: Stand, program: Path) -> Run:
    street, city = SimulatedStreet(stand), City(stand, yielding=True)
    node = Node(stand, city, street.lines(), _devices())
    starts = [node.start(command=[program], environment=street.environment)]
    for _ in range(0 if stand.quick else STARTS - 1):
        node.process.end()
        starts.append(node.start(command=[program], environment=street.environment))
    time.sleep(QUICK_WARM_S if stand.quick else WARM_S)
    window_s = QUICK_WINDOW_S if stand.quick else WINDOW_S
    found = _measure(node.process, window_s)
    _check(stand, city, node, window_s)
    return {**found, "started_s": sorted(starts)[len(starts) // 2]}


def _check(stand: Stand, city: City, node: Node, window_s: float) -> None:
    """Each device was heard as often as it speaks, nothing is missing, and all of it is at the aggregator."""
    told = node.health()
    if told["verdict"] != "ok":
        raise BenchError(f"the node is not well: {told['reasons']}")
    node.process.end()  # what waits is committed, and goes up after the next start
    rest = Node(stand, city, [], [], name=node.name, data=node.data)
    rest.start()
    least = {str(d["id"]): int(HEARD * window_s / EVERY_S.get(d["profile"], POLL_S)) for d in _devices()}

    def all_there() -> bool:
        try:
            return all(len(city.rows_of(device)) >= samples for device, samples in least.items() if samples)
        except HTTPStatusError:  # of one of them nothing has come yet
            return False

    rest.process.wait_until(all_there, "samples of some device are not stored", SETTLE_S)
    city.readings_of(node.name)  # raises where something is missing


def _peers(stand: Stand) -> tuple[Run | str, Run | str]:
    """thingsboard-gateway and Node-RED, each idle beside the other; or why not."""
    absent = (thingsboard.available(), node_red.available())
    street = SimulatedStreet(stand)
    processes: list[Process | None] = [None, None]
    started: list[float] = [0.0, 0.0]
    if absent[0] is None:
        # As pip would have left it: compiled beforehand, as ours is.
        python = thingsboard.HOME / "bin/python"
        subprocess.run(
            [python, "-m", "compileall", "-q", thingsboard.HOME / "lib"], stdout=subprocess.DEVNULL, check=False
        )
        gateway = thingsboard.start(stand, _connectors(street))
        processes[0] = gateway.process
        started[0] = time.time() - psutil.Process(gateway.process.process.pid).create_time()
    if absent[1] is None:
        flows = node_red.start(stand, street.mqtt_port, "+/+/+", threshold=50)
        processes[1], started[1] = flows.process, flows.started_s
    time.sleep(QUICK_WARM_S if stand.quick else WARM_S)
    window_s = QUICK_WINDOW_S if stand.quick else PEER_WINDOW_S
    found = [_measure(p, window_s) | {"started_s": s} if p else {} for p, s in zip(processes, started, strict=True)]
    if absent[0] is None and not stand.quick and not gateway.delivered():
        raise BenchError(f"{thingsboard.NAME} delivers nothing")
    stand.end_all()
    return tuple(a or f for a, f in zip(absent, found, strict=True))


def _measure(process: Process, window_s: float) -> dict[str, float]:
    before, began = process.usage(), time.monotonic()
    time.sleep(window_s)
    took_s, used = time.monotonic() - began, process.usage().since(before)
    tree = [psutil.Process(process.process.pid), *psutil.Process(process.process.pid).children(recursive=True)]
    rss = sum(one.memory_info().rss for one in tree)
    return {"core": 100 * used.cpu_s / took_s, "pss_mb": used.memory_bytes / 1e6, "rss_mb": rss / 1e6}


def _connectors(street: SimulatedStreet) -> list[thingsboard.Connector]:
    lamps = thingsboard.modbus(street.modbus_ports, LARGE["lx-1"] // len(GATEWAYS), 20, period_s=10)
    bins = thingsboard.mqtt(street.mqtt_port, "bins/+/up", {"fill": "double", "temp": "double", "bat": "double"})
    air = thingsboard.mqtt(street.mqtt_port, "air/+/state", {f"air.{p}": "double" for p in ("pm2_5", "pm10")})
    both = {**bins.config, "mapping": [*bins.config["mapping"], *air.config["mapping"]]}
    return [lamps, msgspec.structs.replace(bins, config=both)]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _scene() -> str:
    """The scene of `bench.street`, for the simulator."""
    lamps = LARGE["lx-1"] // len(GATEWAYS)
    place = f"lon = {LON}\nlat = {LAT}\nutc_offset_h = {UTC_OFFSET_H}"
    parts = [f'seed = {SEED}\nstart = "now"\n[place]\n{place}\n[mqtt]\nspawn = true\n']
    for i, name in enumerate(GATEWAYS):
        parts.append(f'[[modbus_tcp]]\nname = "{name}"\n')
        parts.append(_device("LX-1", "lamp-{n:03}", lamps, f'server = "{name}"\nunit = 1', first=1 + i * lamps))
        parts.append(_device("TM-3", "meter-{n:03}", 1, f'server = "{name}"\nunit = {METER_UNIT}', first=1 + i))
    parts.append(_device("BN-1", "bin-{n:03}", LARGE["bn-1"], _speaks('serial = "BN{n:06}"', "bn-1")))
    parts.append(_device("AQ-2", "air-{n:03}", LARGE["aq-2"], _speaks('serial = "AQ{n:06}"', "aq-2")))
    tags = 'address = "C6:4C:50:00:00:{n:02X}"'
    parts.append(_device("ruuvitag", "tag-{n:03}", LARGE["ruuvitag-df5"], _speaks(tags, "ruuvitag-df5")))
    climates = 'address = "C6:4C:50:01:00:{n:02X}"'
    parts.append(_device("bthome", "climate-{n:03}", LARGE["bthome-v2"], _speaks(climates, "bthome-v2")))
    parts.append(_device("SP-1", "soil-{n:03}", LARGE["sp-1"], 'address = "C6:4C:50:02:00:{n:02X}"'))
    return "\n".join(parts)


def _device(model: str, id_: str, count: int, rest: str, *, first: int = 1) -> str:
    return f'[[device]]\nmodel = "{model}"\nid = "{id_}"\ncount = {count}\nfirst = {first}\n{rest}\n'


def _speaks(address: str, profile: str) -> str:
    return f"{address}\nevery_s = {float(EVERY_S[profile])}"


def _devices() -> Sequence[Table]:
    lamps = LARGE["lx-1"] // len(GATEWAYS)
    found: list[Table] = []

    def add(prefix: str, profile: str, n: int, line: str, address: Table) -> None:
        found.append({"id": f"{prefix}-{n:03}", "profile": profile, "line": line, "address": address})

    for i, name in enumerate(GATEWAYS):
        for unit in range(1, lamps + 1):
            add("lamp", "lx-1", i * lamps + unit, name, {"unit": unit})
        add("meter", "tm-3", i + 1, name, {"unit": METER_UNIT})
    for prefix, profile, serial in (("bin", "bn-1", "BN"), ("air", "aq-2", "AQ")):
        for n in range(1, LARGE[profile] + 1):
            add(prefix, profile, n, "broker", {"serial": f"{serial}{n:06}"})
    for i, (prefix, profile) in enumerate((("tag", "ruuvitag-df5"), ("climate", "bthome-v2"), ("soil", "sp-1"))):
        for n in range(1, LARGE[profile] + 1):
            add(prefix, profile, n, "radio", {"mac": f"C6:4C:50:{i:02X}:00:{n:02X}"})
    return found
