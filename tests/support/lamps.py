"""Two lamps on a line, a node that acts, and a hand on the lamps that is not the node's: for tests of acting."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from pymodbus.client import ModbusTcpClient

from stage import Stage

SCENE = """
seed = 3
start = "2026-11-20T21:30:00+01:00"

[place]
lon = 5.041
lat = 47.322

[[modbus_tcp]]
name = "north"

[[device]]
model = "LX-1"
id = "lamp-{n:03}"
count = 2
server = "north"
unit = 1
"""

NODE = """
[node]
id = "cab-lamps"
data_dir = "${{DEMO_DIR}}/node"

[cloud]
{cloud}
timeout_s = 5
retry_max_s = 1

[outbox]
commit_interval_s = 1

[health]
listen = "127.0.0.1:0"

[clock]
trust_system = true

[site]
lon = 5.041
lat = 47.322
time_zone = "Europe/Paris"
country = "FR"

[control]
rules = ["rules.toml"]
plan = "plan.toml"

[[line]]
name = "north"
protocol = "modbus"
host = "127.0.0.1"
port = "${{DEMO_MODBUS_NORTH}}"

[[device]]
id = "lamp-001"
profile = "lx-1"
line = "north"
address = {{ unit = 1 }}
poll_s = 0.5
tags = ["crossing"]

[[device]]
id = "lamp-002"
profile = "lx-1"
line = "north"
address = {{ unit = 2 }}
poll_s = 0.5
"""

PLAN = """
name = "always"
version = 1

[program.always]
active = [{ on = "00:00", off = "12:00" }, { on = "12:00", off = "00:00" }]
level = 35

[calendar.street]
default = "always"

[[assign]]
calendar = "street"
on = { kind = "streetlight" }
"""

ALONE = 'url = "http://127.0.0.1:9"\ntoken = "secret"'  # nobody is there
WITH_CLOUD = 'url = "${DEMO_CLOUD_URL}"\ntoken_file = "${DEMO_DIR}/node.token"'


def stage(directory: Path, *, cloud: str, rules: str = "", plan: str = PLAN) -> Stage:
    """Everything written down and nothing started."""
    node = NODE.format(cloud=cloud)
    for name, text in (("scene", SCENE), ("node", node), ("plan", plan), ("rules", rules)):
        (directory / f"{name}.toml").write_text(text)
    return Stage(directory, directory / "scene.toml", directory / "node.toml", "cab-lamps")


@contextlib.contextmanager
def playing(directory: Path, *, rules: str = "") -> Iterator[Lamps]:
    """Street, city and node together, once all of them hear each other and the plan has the lamps."""
    found = stage(directory, cloud=WITH_CLOUD, rules=rules)
    try:
        found.start_street()
        found.make_tokens()
        found.start_cloud()
        found.start_node()
        lamps = Lamps(found)
        until(lambda: lamps.level(1) == lamps.level(2) == 35)
        until(lambda: found.health()["counters"].get("downlink_connected"))
        until(lambda: found.get("/v1/devices")["devices"])
        yield lamps
    finally:
        found.close()


class Lamps:
    """The lamps of a stage whose street plays, and what node and city say of them."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.port = int(stage.environment["DEMO_MODBUS_NORTH"])

    def level(self, unit: int) -> float:
        """What a lamp is set to, in percent."""
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            return client.read_holding_registers(2, count=1, device_id=unit).registers[0] / 10

    def set(self, unit: int, register: int, word: int) -> None:
        """A hand that is not the node's."""
        with ModbusTcpClient("127.0.0.1", port=self.port) as client:
            assert not client.write_register(register, word, device_id=unit).isError()

    def get(self, path: str) -> Any:
        """What the node says of itself."""
        return httpx.get(self.stage.health_url.replace("/health", path), timeout=10).json()

    def order(self, path: str, key: str, **body: Any) -> Any:
        """Give an order as an operator; what the city answers."""
        answer = self.stage.order(path, key, **body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def command(self, key: str, value: float, *, unit: int = 1, expires_in_s: float = 60, **more: Any) -> str:
        """Set a lamp; the order's id."""
        body = {"device": f"lamp-{unit:03}", "point": "dim_level", "value": value, "expires_in_s": expires_in_s}
        (order,) = self.order("/v1/commands", key, **body, **more)["orders"]
        return order["id"]

    def ordered(self, order: str) -> Any:
        """How far an order has come, as the city knows it."""
        (found,) = self.stage.get(f"/v1/commands/{order}")["orders"]
        return found


def until(check: Callable[[], object], within_s: float = 12) -> float:
    """How long it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < within_s, "it did not come about"
        time.sleep(0.03)
    return time.monotonic() - began
