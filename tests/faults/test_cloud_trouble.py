"""The aggregator's disk is full, at its start and while it runs; SIGHUP; pages that are damaged. It goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from cloud.alarms import trouble
from cloud.alarms.own_alarms import acted
from cloud.alarms.trouble import StoreWatch, following
from cloud.log.contract import Unavailable
from cloud.log.notices import Notice
from cloud.records.keys import Keyed
from cloud.sqlite import database
from cloud.store import Store, opened
from support.cloud_batches import START_US, Sender, Ticking, columns, send
from support.cloud_process import Process
from support.disk import Ballast, mounted
from wire.batch import Batch

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        with mounted("tmpfs", tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m") as path:
            yield path
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    found = Process(tmp_path)
    yield found
    found.close()


def waits_at(cloud: Process) -> str:
    """Where it says that it waits."""
    assert cloud.running is not None
    assert cloud.running.stderr is not None
    for line in cloud.running.stderr:
        if (found := re.search(rb"waiting at (\S+)", line)) is not None:
            return found[1].decode()
    raise AssertionError("it has ended")


def until(what: Any, cloud: Process) -> None:
    """Ask again and again, as long as it runs."""
    while not what():
        assert cloud.running is not None
        assert cloud.running.poll() is None, "it has ended"
        time.sleep(0.1)


def own_alarm(cloud: Process) -> dict[str, Any] | None:
    return next((a for a in cloud.get("/v1/alarms")["alarms"] if a["id"] == "aggregator:store"), None)


def test_started_on_a_full_disk_it_waits_says_so_and_goes_on_when_there_is_room(cloud: Process, disk: Path) -> None:
    cloud.data = disk / "data"
    sender = Sender()
    first, second = sender.batch(columns(n=2)), sender.batch(columns(n=2))
    token = cloud.bearer("node", "cab-1")
    cloud.bearer()
    cloud.start()
    assert cloud.push(first)[0] == 200
    assert cloud.stop()[0] == 0
    ballast = Ballast(disk)
    ballast.fill()
    cloud.start(wait=False)
    cloud.url = waits_at(cloud)

    alive = httpx.get(f"{cloud.url}/healthz")
    assert (alive.status_code, alive.json()["status"]) == (200, "waiting")
    ready = httpx.get(f"{cloud.url}/readyz")
    assert ready.status_code == 503
    assert "full" in ready.json()["detail"]
    refused = post(cloud, second, token)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert refused.headers["content-type"] == "application/problem+json"
    assert cloud.running is not None
    cloud.running.send_signal(signal.SIGHUP)
    assert httpx.get(f"{cloud.url}/healthz").status_code == 200

    ballast.drop()
    endpoints = cloud.directory / "endpoints.json"
    until(endpoints.exists, cloud)
    assert json.loads(endpoints.read_text())["url"] == cloud.url
    assert httpx.get(f"{cloud.url}/healthz").json()["status"] == "ok"
    assert cloud.push(second)[0] == 200
    assert len(cloud.readings("lamp-001", **{"from": "2020-01-01T00:00:00Z"})) == 4
    until(lambda: own_alarm(cloud) is not None, cloud)
    told = own_alarm(cloud)
    assert told is not None
    assert told["severity"] == "urgent"
    assert cloud.stop()[0] == 0


def test_while_it_waits_it_ends_when_it_is_told_to(cloud: Process, disk: Path) -> None:
    cloud.data = disk / "data"
    cloud.start()
    assert cloud.stop()[0] == 0
    Ballast(disk).fill()
    cloud.start(wait=False)
    waits_at(cloud)
    assert cloud.stop()[0] == 0


def test_a_store_that_cannot_be_read_at_all_is_told_and_not_given_up(cloud: Process) -> None:
    cloud.bearer()
    cloud.start()
    cloud.stop()
    whole = (cloud.data / "store.db").read_bytes()
    (cloud.data / "store.db").write_bytes(b"no database" * 1_000)
    cloud.start(wait=False)
    cloud.url = waits_at(cloud)
    assert "damaged" in httpx.get(f"{cloud.url}/readyz").json()["detail"]
    (cloud.data / "store.db").write_bytes(whole)  # as a restore would
    until((cloud.directory / "endpoints.json").exists, cloud)
    assert cloud.stop()[0] == 0


def post(cloud: Process, batch: Batch, token: dict[str, str]) -> httpx.Response:
    cloud.tokens[f"node {batch.node}"] = token["Authorization"].removeprefix("Bearer ")
    return cloud.post(batch)


def test_a_hangup_does_not_end_it(cloud: Process) -> None:
    cloud.start()
    assert cloud.running is not None
    for _ in range(3):
        cloud.running.send_signal(signal.SIGHUP)
        assert cloud.client.get(f"{cloud.url}/healthz").status_code == 200
    assert cloud.push(Sender().batch(columns()))[0] == 200
    code, said = cloud.stop()
    assert code == 0
    assert "SIGHUP" in said


async def test_a_disk_that_is_full_for_a_while_does_not_make_it_a_restored_store(disk: Path) -> None:
    now = Ticking()
    async with opened(disk, now) as store:
        await send(store.log, Sender().batch(columns()))
        await store.save()
        generation = store.log.generation
        ballast = Ballast(disk)
        ballast.keep_full()
        refused = 0
        for i in range(300):  # first the log takes what it has room for; then the file beside it is behind
            try:
                await store.tend()
            except Unavailable:
                refused += 1
            if refused > 5:
                break
            await store.writer.do(lambda c, i=i: database.put_meta(c, f"x{i}", 1)) if not refused else None
        assert refused > 5
        watch = StoreWatch(store, None)
        with pytest.raises(Unavailable):
            await watch.look(now())
        standing = store.alarms.get(trouble.STORE)
        assert standing is not None
        assert standing.active
        ballast.drop()
        await store.tend()
        await watch.look(now())
    async with opened(disk, now) as store:
        assert store.log.generation == generation
        assert store.alarms.get(trouble.STORE) is not None, "it was written down once there was room"


class NearlyFull:
    """A store of which nothing but its disk is known to be wrong."""

    def __init__(self, store: Store) -> None:
        self.alarms = store.alarms
        self.sizes = store.sizes

    def trouble(self) -> None:
        return None


async def test_what_is_done_with_an_alarm_that_is_not_written_down_yet_stands(disk: Path) -> None:
    now = Ticking()
    async with opened(disk, now) as store:
        ballast = Ballast(disk)
        ballast.keep_full()
        with pytest.raises(Unavailable):
            for i in range(300):
                await store.writer.do(lambda c, i=i: database.put_meta(c, f"x{i}", 1))
        watch = StoreWatch(NearlyFull(store), None)
        with pytest.raises(Unavailable):
            await watch.look(now())
        with pytest.raises(Unavailable):
            await watch.look(now())
        raised = store.alarms.get(trouble.STORE)
        assert raised is not None
        ballast.drop()
        keyed = Keyed("token key", b"")
        assert await store.alarms.act(raised, "acknowledge", "room", now(), None, "seen", keyed) is not None
        await watch.look(now())
        seen = store.alarms.get(trouble.STORE)
        assert seen is not None
        assert (seen.state, seen.by, seen.detail) == ("acknowledged", "room", "seen")
    async with opened(disk, now) as store:
        assert store.alarms.get(trouble.STORE) == seen
        told = [msgspec.json.decode(r.body, type=Notice).told for r in await store.log.read(0, 1_000) if r.notice]
        assert [t.data["state"] for t in told if t is not None] == ["acknowledged"], "once, by who did it"


async def test_a_full_disk_at_the_end_is_no_fault(disk: Path) -> None:
    now = Ticking()
    async with opened(disk, now) as store:
        await send(store.log, Sender().batch(columns()))
        ballast = Ballast(disk)
        ballast.keep_full()
        for i in range(300):
            try:
                await store.writer.do(lambda c, i=i: database.put_meta(c, f"x{i}", 1))
            except Unavailable:
                break
    ballast.drop()
    async with opened(disk, now) as store:
        detail = await store.views.device("lamp-001", None)
        assert detail is not None
        assert detail.latest["n"].value == 2


def test_the_alarm_rises_once_follows_the_words_and_returns() -> None:
    full, low = {"en": "full", "fr": "plein"}, {"en": "low", "fr": "bas"}
    assert following(None, None, START_US) is None
    raised = following(None, full, START_US)
    assert raised is not None
    assert (raised.state, raised.detail) == ("raised", "full")
    assert following(raised, full, START_US + 5) is None
    other = following(raised, low, START_US + 5)
    assert other is not None
    assert (other.state, other.detail, other.raised_us) == ("raised", "low", START_US)
    noted = acted(other, "acknowledge", "room", START_US + 6, None, "called the shop")
    worse = following(noted, full, START_US + 7)
    assert worse is not None
    assert (worse.state, worse.detail, worse.text) == ("acknowledged", "called the shop", full)
    returned = following(other, None, START_US + 9)
    assert returned is not None
    assert returned.state == "returned"
    assert following(returned, None, START_US + 10) is None
    again = following(returned, full, START_US + 20)
    assert again is not None
    assert (again.state, again.raised_us) == ("raised", START_US + 20)
