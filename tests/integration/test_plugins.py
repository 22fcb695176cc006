"""A node with a protocol that an installed package brings, and that package is broken: the other lines go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.node_process import COUNTERS, NodeProcess, wait_for

METERS = """
[[line]]
name = "meters"
protocol = "knx"
head = "/dev/ttyUSB1"

[[device]]
id = "meter-1"
profile = "acme"
line = "meters"
address = {}
"""
PROFILE = """
kind = "meter"
driver = "knx"
model = "Acme"
source = ["sheet"]
[point.energy]
type = "float"
at = { dpt = "13.013" }
"""
EXITS = """
import msgspec
from drivers.contract import ProtocolKind
class Some(msgspec.Struct):
    head: str = ""
    dpt: str = ""
class Driver:
    async def __aenter__(self): return self
    async def __aexit__(self, *_): pass
    def counters(self): return {}
    async def listen(self, devices, deliver): raise SystemExit("no licence")
def _open(name, line, attachments, now, receipts):
    return Driver()
PROTOCOL = ProtocolKind(name="knx", Line=Some, Address=Some, Access=Some, Whole=Some, open=_open,
                        polled=lambda p: frozenset(), check=lambda p: (), fits=lambda p, a: ())
"""

Start = Callable[[str], NodeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[NodeProcess] = []

    def begin(source: str) -> NodeProcess:
        info = tmp_path / "site" / "lamplighter_knx-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lamplighter-knx\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[lamplighter.drivers]\nknx = knx_of_a_test:PROTOCOL\n")
        (tmp_path / "site" / "knx_of_a_test.py").write_text(source)
        (tmp_path / "profiles").mkdir()
        (tmp_path / "profiles" / "acme.toml").write_text(PROFILE)
        made.append(NodeProcess(tmp_path, COUNTERS + METERS, environment={"PYTHONPATH": str(tmp_path / "site")}))
        return made[-1]

    yield begin
    for process in made:
        if process.actor.process.poll() is None:
            process.actor.kill()


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def (:\n", "Misconfigured: the driver knx cannot be loaded from knx_of_a_test:PROTOCOL: SyntaxError: "),
        (EXITS, "RuntimeError: the driver called sys.exit('no licence')"),
    ],
)
def test_the_other_lines_go_on(start: Start, source: str, why: str) -> None:
    node = start(source)
    node.ready()
    wait_for(lambda: node.health()["counters"]["samples_committed"] > 5, "the other line is read")
    wait_for(lambda: any(f"line meters: {why}" in r for r in node.health()["reasons"]), f"health says {why}")
    assert node.end()[0] == 0
