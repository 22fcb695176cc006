"""Rule latency: a message in, a rule, a command out, 1,000 a second; idle, and while a backlog drains.

A lamp publishes `{"n": its state, "level": …}` at QoS 1. Levels are above and below the threshold by turns: above it
the rule holds n = 1; below it the rule lets go, and the profile's safe value n = 0 has the lamp. So each message is
answered by one command on the lamp's command topic, at QoS 1 too, and the lamp's next message says that it was obeyed.
One message a lamp is under way; one that had to wait for its turn counts from there. The node is `lamplighter-edge` as
it ships: it keeps every message and sends it up, puts what the rule holds on the card, and reads back by report.
`draining` is taken while an outbox full of `bench.street`'s samples, a row for each commit of 5 s, goes up; it ends
when that is there.

Latency is from the publish until the command is read, by one clock, in one process in C (`loads/rule_load.c`); it and
the broker share a core that is not the node's. The aggregator has to be there too, and yields to them. The peer is
Node-RED with one flow; limits are a plain aiomqtt loop, and the broker alone (the message read back by its publisher).
None of the three holds, keeps or reads back anything. No socket has Nagle's algorithm, which the peer has as shipped:
with it, and a lamp that waits for its command, a command takes 40 ms and more.

Checked: each message is answered once, with the right value; all are at the aggregator, the backlog too.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.cabinet import City, Node
from bench.figure import Figure, Goal, median
from bench.loads import HERE, compiled
from bench.loads.mqtt_broker import Broker
from bench.peers import node_red
from bench.stand import BenchError, Stand
from bench.street import Street
from edge.outbox.group_commit import GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from wire.sample import Sample

WHAT = "message in, rule, command out at 1,000 a second: p50 and p99"
THRESHOLD: Final = 50.0
PER_SECOND: Final = 1000
SECONDS: Final = 6
QUICK_SECONDS: Final = 1
LAMPS: Final = 20
NAME: Final = "cab-bench"
SITE: Final = {"lon": 5.04, "lat": 47.32, "time_zone": "Europe/Paris", "country": "FR"}
COMMIT_S: Final = 5.0
BACKLOG_H: Final = 12
QUICK_BACKLOG_H: Final = 1
REPEATED_S: Final = 1200  # of street are made; the hours go over them again and again
LEAST_MESSAGES: Final = 1000  # while it drains; else the backlog is too short for a p99
DRAINED_S: Final = 60.0
LOOK_S: Final = 0.1
# By default mosquitto lets Nagle's algorithm hold small packets back, for up to 40 ms, until the one before is ACKed.
PROMPT: Final = "set_tcp_nodelay true\n"
PROFILE: Final = """
kind = "streetlight"
driver = "mqtt"
model = "a lamp of the benchmark"
source = ["bench/rows/rule.py"]

[mqtt]
topic = "lamps/{serial}/state"
command_topic = "lamps/{serial}/set"

[point.n]
type = "int"
range = [0, 1]
writable = true
safe = 0
at = { value = "n", command = '{"n": $value}' }

[point.level]
type = "float"
unit = "%"
range = [0, 100]
resolution = 0.1
at = { value = "level" }
"""

# Held for longer than a run, so that none of it is renewed.
RULE: Final = f"""
[[rule]]
name = "bright"
on = {{ kind = "streetlight" }}
when = "level > {THRESHOLD}"
clear = "level <= {THRESHOLD}"

[rule.command]
point = "n"
value = 1
hold_s = 3600
release = true
"""

Run = Mapping[str, float]
_SAID: Final = re.compile(
    r"sent (\d+) answered (\d+) extra (\d+) wrong (\d+) held (\d+) p50_us (\S+) p99_us (\S+) worst_us (\S+) "
)


class Backlog(msgspec.Struct, frozen=True):
    """A filled outbox."""

    data: Path
    readings: int


def run(stand: Stand) -> Iterator[Figure]:
    """Each repeat: ours idle, ours draining, the peer, both limits."""
    compiled("rule_load", stand.directory)
    stand.say("filling an outbox")
    backlog = asyncio.run(fill(stand, QUICK_BACKLOG_H if stand.quick else BACKLOG_H))
    absent = node_red.available()
    measured: dict[str, Callable[[], Run]] = {
        "idle": lambda: _ours(stand, None),
        "draining": lambda: _ours(stand, backlog),
        "peer": lambda: _node_red(stand),
        "aiomqtt": lambda: _aiomqtt(stand),
        "broker": lambda: _load(stand, Broker(stand, PROMPT), "state"),
    }
    runs: dict[str, list[Run]] = {}
    for _ in stand.times():
        for name, measure in measured.items():
            if name != "peer" or absent is None:
                stand.say(name)
                runs.setdefault(name, []).append(measure())
                stand.end_all()
    middle = {name: median(found)[0] for name, found in runs.items()}
    peer = middle.get("peer", {})
    for state in ("idle", "draining"):
        spread = median(runs[state])[1]
        for key in ("p50_ms", "p99_ms"):
            figure = Figure(
                name=f"rule/{key[:3]}, {state}", unit="ms", less=True, ours=middle[state][key], spread=spread[key],
                peer=peer.get(key), peer_name=node_red.NAME if peer else "",
                limit=middle["broker"][key], limit_name="broker alone",
                goal=Goal(2, "peer") if key == "p99_ms" else None,
                note="; ".join(note for note in (_told(middle[state]), absent) if note) if key == "p99_ms" else "",
            )  # fmt: skip
            yield figure
            yield msgspec.structs.replace(
                figure, name=f"{figure.name}, beside aiomqtt", peer=None, peer_name="", note="",
                limit=middle["aiomqtt"][key], limit_name="bare aiomqtt loop",
                goal=Goal(1.5, "limit") if key == "p99_ms" else None,
            )  # fmt: skip


def _ours(stand: Stand, backlog: Backlog | None) -> Run:
    broker, city = Broker(stand, PROMPT), City(stand, yielding=True)
    lines = [{"name": "broker", "protocol": "mqtt", "host": "127.0.0.1", "port": broker.port, "client_id": NAME}]
    lamps = [f"lamp{i:02}" for i in range(LAMPS)]
    devices = [{"id": x, "profile": "lamp", "line": "broker", "address": {"serial": x}} for x in lamps]
    data = stand.fresh("outbox")
    readings = 0
    if backlog is not None:
        shutil.copytree(backlog.data, data, dirs_exist_ok=True)
        readings = backlog.readings
    rules = stand.fresh("rules") / "rules.toml"
    rules.write_text(RULE)
    settings = {"control": {"rules": [str(rules)]}, "site": SITE}
    node = Node(stand, city, lines, devices, name=NAME, profiles={"lamp": PROFILE}, settings=settings, data=data)
    node.start()
    node.process.wait_until(lambda: node.health()["counters"].get("broker.connected") == 1, "no broker")
    drained = (lambda: city.readings_of(NAME) >= readings) if readings else lambda: False
    found = _load(stand, broker, "set", drained)
    if readings and not stand.quick and found["sent"] < LEAST_MESSAGES:
        raise BenchError(f"the backlog was there after {found['sent']:.0f} messages: BACKLOG_H is too little")
    _wait_for_all(city, node, readings + 2 * round(found["sent"]))
    return found


async def fill(stand: Stand, hours: int) -> Backlog:
    """An outbox with what a street has said in so many hours."""
    data = stand.fresh("backlog")
    clock = time.time_ns() // 1000
    samples: list[list[Sample]] = []
    for arrival in Street().arrivals(REPEATED_S):
        while len(samples) <= arrival.at_s // COMMIT_S:
            samples.append([])
        samples[-1].append(arrival.sample)
    readings = 0
    async with SqliteOutbox(
        data, node=NAME, limit_bytes=1 << 29, history_us=7 * 86_400_000_000, now_us=lambda: clock
    ) as outbox:
        commit = GroupCommit(outbox, interval_s=COMMIT_S, committed=lambda _urgent, _live: None)
        for turn in range(hours * 3600 // REPEATED_S):
            for row in samples:
                later = [msgspec.structs.replace(s, time_us=s.time_us + turn * REPEATED_S * 1_000_000) for s in row]
                readings += sum(len(s.values) for s in later)
                commit.add(later, None, live=False)
                await commit.flush()
    return Backlog(data, readings)


def _wait_for_all(city: City, node: Node, readings: int) -> None:
    """Until exactly so many readings are at the aggregator."""
    node.process.end()  # what waits for a commit is committed, and goes up after the next start
    node.start()
    node.process.wait_until(lambda: city.readings_of(NAME) >= readings, f"{readings} readings not stored", DRAINED_S)
    if (stored := city.readings_of(NAME)) != readings:
        raise BenchError(f"{stored} readings are stored of {readings}")


def _node_red(stand: Stand) -> Run:
    broker = Broker(stand, PROMPT)
    node_red.start(stand, broker.port, "lamps/+/state", threshold=THRESHOLD, nodelay=True)
    return _load(stand, broker, "set")


def _aiomqtt(stand: Stand) -> Run:
    broker = Broker(stand, PROMPT)
    command = [sys.executable, HERE / "rule_bare.py", str(broker.port), str(THRESHOLD)]
    process = stand.start("aiomqtt", command, side="test")
    process.wait_until(lambda: "listening" in process.said(), "does not listen")
    return _load(stand, broker, "set")


def _load(stand: Stand, broker: Broker, answers: str, over: Callable[[], bool] = lambda: False) -> Run:
    """The messages, until it is over, and how soon they were answered on that topic."""
    count = PER_SECOND * (QUICK_SECONDS if stand.quick else SECONDS)
    words = [broker.port, PER_SECOND, count, LAMPS, answers]
    load = stand.start("lamps", [stand.directory / "rule_load", *map(str, words)], side="load")
    while load.process.poll() is None:
        time.sleep(LOOK_S)
        if over():
            load.process.terminate()
            load.process.wait()
    if load.process.returncode or not (said := _SAID.match(load.said())):
        raise BenchError(f"the load failed: {load.said()}")
    sent, answered, extra, wrong, held, p50_us, p99_us, worst_us = map(float, said.groups())
    if (answered, extra, wrong) != (sent, 0, 0):
        raise BenchError(f"not each message was answered once and rightly: {said[0]}")
    return {
        "sent": sent, "held": held / sent, "p50_ms": p50_us / 1e3, "p99_ms": p99_us / 1e3, "worst_ms": worst_us / 1e3
    }  # fmt: skip


def _told(run: Run) -> str:
    return f"worst {run['worst_ms']:.1f} ms; {run['held']:.2%} of {run['sent']:.0f} messages waited for their turn"
