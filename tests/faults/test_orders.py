"""kill -9 of the node, and a link that goes dead, while orders are under way.

The oracles: the lamp ends where the arrays say; every order has exactly one final result, in the city's record and in
its feed; no order is written to its lamp twice, counted on the wire; nothing is applied after its end.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stage import StageError
from support import killable_node
from support.laboratory import draw
from support.lamps import WITH_CLOUD, Lamps, stage, until
from support.relay import Relay
from wire.orders import FINAL

KILLABLE = [sys.executable, Path(killable_node.__file__)]
ROUNDS = 2  # with each seed
POINTS = (
    "order.taken",
    "commit.before",
    "commit.after",
    "write.before",
    "write.after",
    "result.before",
    "result.after",
)

pytestmark = pytest.mark.timeout(900)


class Wire:
    """What is written to the lamps, seen on the wire: (unit, level) in order. Modbus TCP, function 6, register 2."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, float]] = []
        self._pieces = b""

    def seen(self, data: bytes) -> None:
        self._pieces += data
        while len(self._pieces) >= 6 and len(self._pieces) >= (end := 6 + int.from_bytes(self._pieces[4:6], "big")):
            frame, self._pieces = self._pieces[:end], self._pieces[end:]
            if frame[7] in (6, 16) and frame[8:10] == b"\x00\x02":
                self.writes.append((frame[6], int.from_bytes(frame[-2:], "big") / 10))


class City:
    """Two lamps behind wires that can be watched and cut, a node that can be killed, and the city."""

    def __init__(self, directory: Path) -> None:
        self.stage = stage(directory, cloud=WITH_CLOUD)
        self.stage.start_street()
        self.lamps = Lamps(self.stage)
        for unit in (1, 2):
            self.lamps.set(unit, 2, 350)  # as the plan has it: the first write is an order's
        self.wire = Wire()
        self.to_lamps = Relay(("127.0.0.1", self.lamps.port), self.wire.seen)
        self.stage.environment["DEMO_MODBUS_NORTH"] = str(self.to_lamps.port)
        self.stage.make_tokens()
        self.stage.start_cloud()
        port = int(self.stage.cloud_url.rpartition(":")[2])
        self.to_cloud = Relay(("127.0.0.1", port))
        self.stage.environment["DEMO_CLOUD_URL"] = f"http://127.0.0.1:{self.to_cloud.port}"

    def start(self, kill_at: str = "") -> None:
        try:
            self.stage.start_node({"KILL_AT": kill_at} if kill_at else {}, KILLABLE)
        except StageError:
            node = self.stage.node
            if not kill_at or node is None or node.process.returncode != -9:
                raise  # else it has reached its point before it was ready

    def ready(self) -> None:
        until(lambda: self.stage.health()["counters"].get("downlink_connected"), within_s=20)
        until(lambda: len(self.stage.get("/v1/devices")["devices"]) == 2, within_s=20)

    def finals(self) -> dict[str, list[str]]:
        """The final results of all orders, as the feed has told them, distinct by what they say."""
        told: dict[str, dict[str, None]] = defaultdict(dict)
        headers = {"Authorization": f"Bearer {self.stage.tokens['reader']}"}
        params = {"after": "0", "type": "result"}
        with self.stage.http.stream("GET", f"{self.stage.cloud_url}/v1/feed", params=params, headers=headers) as feed:
            for line in feed.iter_lines():
                if line.startswith("data:"):
                    data = json.loads(line[5:])["data"]
                    if data["stage"] in FINAL:
                        told[data["order"]][f"{data['stage']} {data['time_us']}"] = None
                elif line.startswith(": cursor") and told:
                    break
        return {order: list(stages) for order, stages in told.items()}

    def close(self) -> None:
        self.stage.close()
        self.to_cloud.close()
        self.to_lamps.close()


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    found = City(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_step_of_an_order(city: City, point: str) -> None:
    city.start()
    city.ready()
    node = city.stage.node
    assert node is not None
    node.kill()
    # Commits happen from the start on; which one is an order's is found by giving it while the node is down.
    order = city.lamps.command("k", 77)
    count = 3 if point.startswith("commit") else 1
    city.stage.start_node({"KILL_AT": f"{point}:{count}"}, KILLABLE, wait=False)
    killed = city.stage.node
    assert killed is not None
    until(lambda: killed.process.poll() is not None, within_s=20)
    city.start()
    until(lambda: city.lamps.ordered(order)["final"], within_s=20)
    found = city.lamps.ordered(order)
    assert found["stage"] == "verified"
    assert city.lamps.level(1) == 77
    assert city.wire.writes == [(1, 77)], "written once, however often the node died"
    time.sleep(0.5)
    assert [s["stage"] for s in found["stages"] if s["stage"] in FINAL] == ["verified"]


@pytest.mark.parametrize("seed", draw("orders among kills"))
def test_random_kills_and_cuts_among_random_orders(city: City, seed: int) -> None:
    """What each lamp ends at is what the last order that was verified, and not taken back, says."""
    rng = random.Random(seed)
    city.start()
    city.ready()
    orders: list[str] = []
    given: dict[str, tuple[int, float]] = {}
    for round_ in range(ROUNDS):
        for n in range(rng.randint(1, 4)):
            unit, value = rng.choice([1, 2]), float(len(given) % 60 + 40)
            order = city.lamps.command(f"{round_}/{n}", value, unit=unit, expires_in_s=600)
            given[order] = (unit, value)
            orders.append(order)
            time.sleep(rng.uniform(0, 0.1))
        if rng.random() < 0.3:
            city.to_cloud.cut()
            time.sleep(rng.uniform(0, 0.5))
            city.to_cloud.mend()
        node = city.stage.node
        assert node is not None
        node.kill()
        city.start(f"{rng.choice(POINTS)}:{rng.randint(1, 4)}" if rng.random() < 0.5 else "")
        until(lambda: city.stage.node is not None and (city.stage.node.process.poll() is None or not city.start()))
    if city.stage.node is not None:
        city.stage.node.kill()
    city.start()
    for order in orders:
        until(lambda order=order: city.lamps.ordered(order)["final"], within_s=60)
    stages = {order: city.lamps.ordered(order)["stage"] for order in orders}
    assert set(stages.values()) <= {"verified", "superseded"}, Counter(stages.values())
    for unit in (1, 2):
        mine = [order for order in orders if given[order][0] == unit]
        if mine:
            assert stages[mine[-1]] == "verified"
            until(lambda unit=unit, mine=mine: city.lamps.level(unit) == given[mine[-1]][1])
    finals: dict[str, Any] = city.finals()
    assert {o: len(finals.get(o, [])) for o in orders} == dict.fromkeys(orders, 1)
