"""A week without any network, in a loop whose time leaps: uplink, downlink, lines to devices that are dead, rules, plan
and the node's own HTTP all fail or wait in time, so that nothing is ever late and nothing begins anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import httpx
import pytest
import uvicorn

from drivers.errors import Unreachable
from edge.acting import autonomy
from edge.config import load
from edge.sampling import supervisor
from edge.sampling.last_samples import LastSamples
from edge.sampling.supervisor import Supervisor
from edge.sync.downlink import Downlink
from edge.sync.http import LinkDown
from edge.sync.uplink import Uplink
from edge.watchdog import NodeWatchdog
from groundwork.last_words import Ring
from groundwork.liveness import Part, kept_going, running_s
from groundwork.serving import Server
from groundwork.systemd import Notify
from support.acting import NODE, RULES, Cabinet
from support.leaping import leap
from wire.columns import Columns
from wire.device import Device, Point
from wire.sample import Clock, Sample

WEEK_S = 7 * 86_400
POLL_S = 300.0
LOOK_S = 60.0  # as often as who watches looks here: each look of a week costs time
TURNS_S = 300


class Dead:
    """A driver whose devices never answer, and now and then takes its time for it."""

    def open(self, *_settings: object) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None: ...

    async def poll(self, device: Device, _points: Sequence[Point]) -> Sample:
        await asyncio.sleep(55.0 if device.id.endswith("7") else 1.0)
        raise Unreachable("no answer within 1 s")

    def counters(self) -> dict[str, int]:
        return {}


class NoWay:
    """A city that cannot be reached, and of which that is learnt late."""

    tries = 0

    async def fails(self, *_: object) -> Any:
        self.tries += 1
        await asyncio.sleep(30.0)
        raise LinkDown("no route to host")

    place = send = snapshot = fails


def line(driving: Dead, devices: Sequence[str]) -> Any:
    profile = SimpleNamespace(points={"a": Point(name="a", type="int")})
    return SimpleNamespace(
        name="bus",
        settings=None,
        attachments=[
            SimpleNamespace(device=Device(id=d, kind="streetlight", profile="x"), profile=profile) for d in devices
        ],
        tables={d: SimpleNamespace(poll_s=POLL_S) for d in devices},
        kind=SimpleNamespace(open=driving.open, polled=lambda _: frozenset({"a"})),
    )


@pytest.mark.slow
def test_nothing_is_late_and_nothing_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "node.toml").write_text(NODE)
    config = load(tmp_path / "node.toml")
    devices = [f"lamp-{n}" for n in range(6, 9)]
    monkeypatch.setattr(autonomy, "LOOK_S", 5 * LOOK_S)
    monkeypatch.setattr(supervisor, "LOOK_S", LOOK_S)

    async def story() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(running_s, "_monotonic", loop.time)
        link, street = NoWay(), LastSamples()

        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no route to host", request=request)

        async with Cabinet(config) as cabinet, httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
            watchdog = NodeWatchdog(Notify({}), tmp_path / "node.sock", ring=Ring(), boot=1)
            lines = Supervisor([line(Dead(), devices)], street=street, now=cabinet.clock, receipts=cabinet.outbox)
            uplink = Uplink(
                cabinet.outbox,
                link,
                node="cab-1",
                push_interval_s=60,
                latest=lambda: [Columns.of([Sample("lamp-6", 1, Clock(1, synced=True), {"a": 1})])],
                put=cabinet.commit.put,
                hear=lambda _server_us, _took_us: None,
                monotonic=loop.time,
                alive=Part("uplink"),
            )
            downlink = Downlink(
                client, "https://x.example/orders", cabinet.autonomy.down, max_wait_s=300, monotonic=loop.time,
                alive=Part("downlink"),
            )  # fmt: skip
            http = Part("http")
            server = Server(uvicorn.Config(app=lambda: None, log_config=None), http)
            parts = (uplink.alive, downlink.alive, cabinet.autonomy.alive, http)
            polled = 0

            def deliver(samples: Sequence[Sample], _receipt: object = None) -> Any:
                nonlocal polled
                polled += len(samples)

            async def look() -> None:
                while True:
                    assert watchdog.late() == []
                    assert [part.late() for part in parts] == [None] * len(parts)
                    await asyncio.sleep(LOOK_S)

            with watchdog.watching(lines.late):
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(look()),
                        group.create_task(kept_going(uplink.alive, uplink.run, LOOK_S)),
                        group.create_task(kept_going(downlink.alive, downlink.run, LOOK_S)),
                        *lines.begin(group, deliver, lambda _: None),
                    ]
                    turning = group.create_task(kept_going(http, server.main_loop, LOOK_S))
                    await asyncio.sleep(TURNS_S)  # of its ten turns a second some minutes will do
                    server.should_exit = True
                    await turning
                    http.rest()
                    await asyncio.sleep(WEEK_S - TURNS_S)
                    for task in tasks:
                        task.cancel()
            assert [part.again for part in parts] == [0] * len(parts)
            assert (lines.counters()["line_restarts"], lines.anew()) == (0, {})
            assert polled > WEEK_S / POLL_S
            assert link.tries > WEEK_S / 400
            assert downlink.streams > WEEK_S / 400
            assert cabinet.turns > WEEK_S / 400

    leap(story())
