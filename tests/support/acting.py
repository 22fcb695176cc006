"""A node that acts, without lines, cloud or card, in a loop whose time leaps: for tests of what it decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Self

from drivers.errors import Unreachable
from edge.acting.autonomy import Autonomy
from edge.clock import NodeClock
from edge.config import Config, load
from edge.outbox.group_commit import GroupCommit
from edge.outbox.memory import MemoryOutbox
from edge.sampling.last_samples import LastSamples
from support.leaping import leap
from wire.device import Device, Point
from wire.orders import Bundle
from wire.sample import Clock, Sample, Value

UTC0 = 1_795_000_000_000_000  # at the loop's zero
S = 1_000_000
NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[site]
lon = 5.041
lat = 47.322
time_zone = "Europe/Paris"
country = "FR"

[control]
rules = ["rules.toml"]

[[line]]
name = "bus"
protocol = "modbus"
host = "127.0.0.1"

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
client_id = "cab-1"

[[device]]
id = "lamp-1"
profile = "lx-1"
line = "bus"
address = { unit = 1 }

[[device]]
id = "bin-1"
profile = "bn-1"
line = "broker"
address = { serial = "BN000001" }
"""
RULES = """
[[rule]]
name = "full"
on = { kind = "bin" }
when = "fill_level > 90.0"
alarm = { severity = "high", text = { en = "Full" } }

[[rule]]
name = "look"
on = { kind = "bin" }
when = "fill_level > 50.0"
for_s = 2
command = { on = { kind = "streetlight" }, point = "dim_level", value = 70, hold_s = 30 }
"""


class Lamp:
    """A driver with one lamp."""

    def __init__(self) -> None:
        self.level: Value = 100.0
        self.stubborn = False
        self.writes: list[tuple[float, Value]] = []

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        await asyncio.sleep(0.01)
        return Sample(device.id, 0, Clock(1, synced=True), {p.name: self.level for p in points})

    async def write(self, _device: Device, _point: Point, value: Value) -> None:
        await asyncio.sleep(0.01)
        if self.stubborn:
            raise Unreachable("no answer")
        self.level = value
        self.writes.append((asyncio.get_running_loop().time(), value))


class Cabinet:
    """A node that acts, without lines, cloud or card, in a loop whose time leaps."""

    def __init__(self, config: Config, *, kept: Mapping[str, bytes] | None = None, synced: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self.outbox = MemoryOutbox(node="cab-1")
        self.synced, self.ahead_us = synced, 0
        self.clock = NodeClock(
            last_known_us=UTC0 + round(loop.time() * 1e6),
            wall_us=lambda: UTC0 + round(loop.time() * 1e6) + self.ahead_us,
            monotonic_us=lambda: round(loop.time() * 1e6),
            synced=lambda: self.synced,
            boot=lambda: 7,
        )
        self.commit = GroupCommit(self.outbox, interval_s=5, committed=lambda _urgent, _live: None)
        self.lamp: Lamp | None = Lamp()
        self.faults: dict[str, str] = {}
        self.present: set[str] = set()  # visits whose technician has a session
        self.turns = 0
        self.autonomy = Autonomy(
            config,
            street=LastSamples(),
            clock=self.clock,
            commit=self.commit,
            driver=lambda _device: self.lamp,  # type: ignore[arg-type,return-value]
            kept=kept or {},
            monotonic=loop.time,
            boottime_us=lambda: round(loop.time() * 1e6),
            present=self.present.__contains__,
        )

    async def __aenter__(self) -> Self:
        await self.autonomy.rebuild(self.outbox.history)
        self._tasks = [asyncio.create_task(self.commit.run()), asyncio.create_task(self.autonomy.run(self._faults))]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.autonomy.close()
        for task in self._tasks:
            assert not task.done(), "it must not end by itself"
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _faults(self) -> Mapping[str, str]:
        self.turns += 1
        return self.faults

    def say(self, device: str, **values: Value) -> None:
        sample = Sample(device, self.clock()[0], self.clock.clock, values)
        self.commit.add([sample], None, live=False)
        self.autonomy.take(sample)

    def open(self) -> None:
        self.autonomy.opened(["lamp-1"])
        self.autonomy.opened(["bin-1"])

    def alarms(self) -> dict[tuple[str, str], str]:
        return {(a.device, a.rule): a.state for a in self.autonomy.alarming.standing()}

    async def told(self, kind: type[Any]) -> list[Any]:
        await self.commit.flush()
        runs: Any = self.outbox._runs  # pyright: ignore[reportPrivateUsage] - a fake may be looked into
        return [p.entry for run in runs for row in run.rows for p in row.contents if isinstance(p.entry, kind)]

    async def kept(self) -> Mapping[str, bytes]:
        await self.commit.flush()
        return await self.outbox.kept("")


def other(config: Config, *, rules: str = RULES, node: str = NODE) -> Config:
    folder = config.rules[0].parent
    (folder / "node.toml").write_text(node)
    (folder / "rules.toml").write_text(rules)
    return load(folder / "node.toml", {})


def bundle(text: str, kind: Any = "rules") -> Bundle:
    return Bundle(id="b1", by="m", issued_us=UTC0 + 1000 * S, expires_us=UTC0 + 9000 * S, kind=kind, version="2",
                  text=text)  # fmt: skip


def breaks(*_: object) -> None:
    raise ZeroDivisionError


Story = Callable[[Cabinet], Coroutine[Any, Any, None]]


def live(config: Config, story: Story, *, later_s: float = 0, **how: Any) -> Mapping[str, bytes]:
    """A story of a cabinet that begins so much later; what it leaves on its card."""

    async def all_of_it() -> Mapping[str, bytes]:
        await asyncio.sleep(later_s)
        async with Cabinet(config, **how) as cabinet:
            await story(cabinet)
            return await cabinet.kept()

    return leap(all_of_it())
