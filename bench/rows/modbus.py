"""Modbus poll → durable → uplink: 200 meters of 20 registers behind 4 gateways, each read once a second.

The meters are one C process on libmodbus (`loads/modbus_server.c`, seed 21), which counts its answers itself. Ours is a
node as it ships, but for `push_interval_s`: 10 s instead of 60, so that the time measured holds several pushes; that
costs us more than the default would. Each poll is one request of 20 registers, each register a point: u16, a tenth
each, as data sheets have it. Checked: every answer that the meters gave before the node was ended is at the aggregator.

The peer's cheapest way is one request for all registers too; then they have no names, scales or units. With those, it
asks for each register by itself, which is measured as well. Told beside the cost: how many of the polls that were due
were answered at all.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.cabinet import City, Node
from bench.figure import Figure, Goal, median
from bench.loads import HERE, compiled
from bench.peers import thingsboard
from bench.stand import BenchError, Process, Stand

WHAT = "poll 200 Modbus devices of 20 registers every second, keep, push"
REGISTERS: Final = 20
POLL_S: Final = 1.0
UNITS: Final = 50  # a gateway
GATEWAYS: Final = 4
MANY_GATEWAYS: Final = 20
SEED: Final = 21
PUSH_S: Final = 10
WINDOW_S: Final = 10.0  # whole pushes, and whole commits
LIMIT_S: Final = 5.0
QUICK_WINDOW_S: Final = 2.0
WARM_S: Final = 3.0
QUICK_WARM_S: Final = 0.2
SETTLE_S: Final = 300.0

Run = Mapping[str, float]


class Meters:
    """The devices: `gateways` TCP ports of UNITS units each, with REGISTERS that move and `still` more that do not."""

    def __init__(self, stand: Stand, program: Path, gateways: int, *, still: int = 0) -> None:
        self._stand, self.gateways = stand, gateways
        self._counts = stand.fresh("meters") / "answers"
        command = [program, gateways, UNITS, REGISTERS + still, SEED, self._counts, *([still] if still else [])]
        self.process = stand.start("meters", [str(word) for word in command], side="load")
        self.process.wait_until(lambda: "\n" in self.process.said(), "no ports")
        self.ports = [int(p) for p in self.process.said().split()[1:]]

    @property
    def count(self) -> int:
        """How many devices."""
        return self.gateways * UNITS

    def answers(self) -> int:
        """Polls answered so far."""
        return sum(struct.unpack(f"<{self.count}Q", self._counts.read_bytes()))

    def wait_until_asked(self, process: Process) -> None:
        """Until there have been as many polls as there are devices."""
        process.wait_until(lambda: self.answers() >= self.count, "devices are not polled", 120)

    def measure(self, process: Process, window_s: float, *, per_answer: int = REGISTERS) -> dict[str, float]:
        """What a process that polls them costs, while it does; an answer holds so many readings."""
        began, answers, before = time.monotonic(), self.answers(), process.usage()
        busy_s = _busy_s(process)
        time.sleep(window_s)
        used, busy_s = process.usage().since(before), _busy_s(process) - busy_s
        readings, took_s = (self.answers() - answers) * per_answer, time.monotonic() - began
        if not readings:
            raise BenchError(f"{process.name} polls nothing:\n{process.said()}")
        # The clock of the first is 10 ms fine, that of the second knows nothing of threads that have ended.
        cpu_s = max(used.cpu_s, busy_s)
        return {
            "readings_per_cpu_s": readings / cpu_s,
            "cpu_us": cpu_s * 1e6 / readings,
            "core": 100 * cpu_s / took_s,
            "memory_mb": used.memory_bytes / 1e6,
            "reached": 100 * readings / (self.count * REGISTERS * took_s / POLL_S),
        }


def run(stand: Stand) -> Iterator[Figure]:
    """Ours, the peer, the limits; then ours with five times as many."""
    server = compiled("modbus_server", stand.directory, "modbus", package="libmodbus-dev")
    client = compiled("modbus_client", stand.directory, "modbus", package="libmodbus-dev")
    window_s, limit_s = (QUICK_WINDOW_S, QUICK_WINDOW_S) if stand.quick else (WINDOW_S, LIMIT_S)
    bare_command = [client, UNITS, REGISTERS, int(POLL_S * 1000)]
    alone_command = [sys.executable, HERE / "modbus_alone.py", UNITS, REGISTERS, POLL_S]
    absent = thingsboard.available()
    runs: dict[str, list[Run]] = {"ours": [], "range": [], "named": [], "libmodbus": [], "pymodbus": []}
    for turn in stand.times():
        runs["ours"].append(_ours(stand, server, GATEWAYS, window_s))
        stand.end_all()
        if absent is None:
            runs["range"].append(_peer(stand, server, window_s, named=False))
            stand.end_all()
        if absent is None and not stand.quick and not turn:
            runs["named"].append(_peer(stand, server, window_s, named=True))
            stand.end_all()
        runs["libmodbus"].append(_limit(stand, server, limit_s, "libmodbus", bare_command))
        runs["pymodbus"].append(_limit(stand, server, limit_s, "pymodbus", alone_command))

    ours, spread = median(runs["ours"])
    bare, alone = median(runs["libmodbus"])[0], median(runs["pymodbus"])[0]
    peer, named = (median(runs[sort])[0] if runs[sort] else {} for sort in ("range", "named"))

    def figure(
        what: str, key: str, unit: str, limit: tuple[str, Run], goal: Goal | None = None, note: str = ""
    ) -> Figure:
        return Figure(
            name=f"modbus/{what}", unit=unit, less=unit not in {"/s", "% of due"}, goal=goal,
            ours=ours[key], spread=spread[key], peer=peer.get(key), peer_name=thingsboard.NAME if peer else "",
            limit=limit[1][key], limit_name=limit[0], note="; ".join(n for n in (note, absent) if n),
        )  # fmt: skip

    in_c, in_python = ("libmodbus in C", bare), ("pymodbus alone", alone)
    yield (best := figure("readings per CPU-second", "readings_per_cpu_s", "/s", in_c, Goal(20, "peer")))
    if named:
        what = "readings per CPU-second, the peer with named points"
        yield msgspec.structs.replace(best, name=f"modbus/{what}", peer=named["readings_per_cpu_s"], goal=None)
    yield figure("CPU per reading", "cpu_us", "µs", in_python)
    yield figure("memory", "memory_mb", "MB", in_python)
    missed = f"{ours['missed']:.0f} missed by our own count"
    yield figure("polls answered", "reached", "% of due", in_c, Goal(99), missed)
    if stand.quick:
        return
    many = _ours(stand, server, MANY_GATEWAYS, window_s)
    yield Figure(
        name="modbus/readings per CPU-second, 1,000 devices", unit="/s", less=False,
        ours=many["readings_per_cpu_s"],
        note=f"{MANY_GATEWAYS} gateways; {many['core']:.0f} % of a core, {many['reached']:.1f} % of due polls answered",
    )  # fmt: skip


def _ours(stand: Stand, server: Path, gateways: int, window_s: float) -> dict[str, float]:
    meters, city = Meters(stand, server, gateways), City(stand, yielding=True)
    push_s = 1 if stand.quick else PUSH_S
    settings = {"cloud": {"push_interval_s": push_s}}
    node = Node(stand, city, lines(meters.ports), devices(gateways), profiles={"meter": profile()}, settings=settings)
    node.start()
    meters.wait_until_asked(node.process)
    time.sleep(QUICK_WARM_S if stand.quick else WARM_S)
    found = meters.measure(node.process, window_s)
    counters = node.health()["counters"]
    if counters["polls_failed"]:
        raise BenchError(f"{counters['polls_failed']} polls failed")
    found["missed"] = counters["polls_missed"]
    node.process.end()
    answered = meters.answers()
    # Started again with nothing to poll, it has only to hand over what it kept.
    rest = Node(stand, city, [], [], name=node.name, data=node.data)
    rest.start()

    def stored() -> int:
        return city.readings_of(node.name) // REGISTERS

    least = answered - gateways  # one request a line may have been in flight
    rest.process.wait_until(lambda: stored() >= least, f"{answered} polls were answered, not all stored", SETTLE_S)
    if stored() > answered:
        raise BenchError(f"{answered} polls were answered, and {stored()} are stored")
    return found


def _peer(stand: Stand, server: Path, window_s: float, *, named: bool) -> dict[str, float]:
    meters = Meters(stand, server, GATEWAYS)
    connector = thingsboard.modbus(meters.ports, UNITS, REGISTERS, period_s=POLL_S)
    for slave in connector.config["master"]["slaves"] if named else ():
        common = {"type": "16uint", "functionCode": 3, "objectsCount": 1, "divider": 10}
        slave["timeseries"] = [{"tag": f"r{i:02}", "address": i, **common} for i in range(REGISTERS)]
    per_answer = 1 if named else REGISTERS
    gateway = thingsboard.start(stand, [connector])
    meters.wait_until_asked(gateway.process)
    time.sleep(QUICK_WARM_S if stand.quick else WARM_S)
    found = meters.measure(gateway.process, window_s, per_answer=per_answer)
    answered = meters.answers() * per_answer
    if gateway.settle(answered) < answered:
        raise BenchError(f"{answered} readings were answered to {thingsboard.NAME}, {gateway.delivered()} delivered")
    return found


def _limit(stand: Stand, server: Path, window_s: float, name: str, command: Sequence[object]) -> dict[str, float]:
    meters = Meters(stand, server, GATEWAYS)
    process = stand.start(name, [*map(str, command), *map(str, meters.ports)], side="test")
    meters.wait_until_asked(process)
    try:
        return meters.measure(process, window_s)
    finally:
        stand.end_all()


def _busy_s(process: Process) -> float:
    """CPU time of the threads that live, to the nanosecond: the cheapest limit uses less than 10 ms a second."""
    tasks = Path(f"/proc/{process.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def profile() -> str:
    """Of a meter: its registers, each a point."""
    head = 'kind = "meter"\ndriver = "modbus"\nmodel = "a meter of the benchmark"\nsource = ["bench/rows/modbus.py"]\n'
    point = '\n[point.r{i:02}]\ntype = "float"\nunit = "V"\nrange = [0, 6553.5]\nresolution = 0.1\n'
    point += "at = {{ holding = {i}, scale = 0.1 }}\n"
    return head + "".join(point.format(i=i) for i in range(REGISTERS))


def lines(ports: Sequence[int]) -> list[dict[str, object]]:
    """One for each gateway."""
    return [{"name": f"g{g}", "protocol": "modbus", "host": "127.0.0.1", "port": p} for g, p in enumerate(ports)]


def devices(gateways: int, *, poll_s: float = POLL_S) -> list[dict[str, object]]:
    """All meters behind so many gateways."""
    return [
        {"id": f"m{g:02}-{u:03}", "profile": "meter", "line": f"g{g}", "address": {"unit": u}, "poll_s": poll_s}
        for g in range(gateways)
        for u in range(1, UNITS + 1)
    ]
