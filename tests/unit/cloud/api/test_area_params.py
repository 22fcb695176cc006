"""Questions, orders and the feed by area and group: who is meant now, and that a change counts from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from cloud.api.routes import Asked
from cloud.records.area_versions import Content, Kind, Wanted
from cloud.views.shapes import geometry_of
from support.cloud_app import App, app_over
from support.cloud_batches import SECOND, START_US, Sender, columns, send
from wire.batch import Lane
from wire.device import Device, Point, Roster

PLACES = {"lamp-1": (5.5, 47.5), "lamp-2": (6.5, 47.5), "bin-1": (5.6, 47.6), "lost": (None, None)}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with app_over(tmp_path) as made:
        yield made


class Cabinet:
    """A node with a few devices."""

    def __init__(self, app: App) -> None:
        self.app, self.sender = app, Sender("cab-1")

    async def stands(self, **places: tuple[float, float]) -> None:
        """Tell a roster: where each device is."""
        known = {**PLACES, **{name.replace("_", "-"): place for name, place in places.items()}}
        points = (Point(name="dim_level", type="float", low=0, high=100, writable=True),)
        devices = tuple(
            Device(id=d, kind=d.split("-")[0], profile="p", lon=lon, lat=lat, tags=("quay",))
            for d, (lon, lat) in known.items()
        )
        entry = Roster(devices=devices, profiles={"p": points})
        await send(self.app.store.log, self.sender.batch(entry, lane=Lane.URGENT))

    async def reads(self, *devices: str) -> None:
        """Tell a reading of each."""
        await send(self.app.store.log, self.sender.batch(*(columns(d, n=1) for d in devices or PLACES)))


async def put(app: App, name: str, content: Content | None, kind: Kind = "area") -> None:
    await app.store.areas.put(kind, name, content, Wanted(now_us=app.now(), seen=await seen(app, kind, name)), "anna")


async def seen(app: App, kind: Kind, name: str) -> int:
    return len(await app.store.areas.versions(kind, name))


def square(west: float) -> Content:
    ring = [[west, 47.0], [west + 1, 47.0], [west + 1, 48.0], [west, 48.0], [west, 47.0]]
    return Content(geometry=msgspec.Raw(geometry_of({"type": "Polygon", "coordinates": [ring]}).json()))


def ids(answer: Any) -> list[str]:
    return [d["id"] for d in answer["devices"]]


async def test_latest_by_area_and_group_and_what_has_come_and_gone_since(app: App) -> None:
    cabinet = Cabinet(app)
    await cabinet.stands()
    await cabinet.reads()
    await put(app, "quay", square(5))
    await put(app, "lamps", Content(devices=("lamp-1", "lamp-2", "lost")), "group")
    app.now.tick(1)
    await cabinet.reads()
    assert ids(await app.get("/v1/latest", area="quay")) == ["bin-1", "lamp-1"]
    assert ids(await app.get("/v1/latest", group="lamps")) == ["lamp-1", "lamp-2", "lost"]
    both = await app.get("/v1/latest", area="quay", group="lamps")
    assert ids(both) == ["lamp-1"]
    told = await app.get("/v1/latest", 404, area=["quay", "quai"], group="lams")
    assert told["problems"] == [
        "there is no area 'quai'; did you mean quay?", "there is no group 'lams'; did you mean lamps?",
    ]  # fmt: skip
    app.now.tick(1)
    await cabinet.reads("lamp-1", "lamp-2")
    since = await app.get("/v1/latest", area="quay", group="lamps", after=both["cursor"])
    assert (ids(since), since["gone"], since["complete"]) == (["lamp-1"], ["lamp-2"], False)
    await cabinet.stands(lamp_2=(5.2, 47.2))
    moved = await app.get("/v1/latest", area="quay", group="lamps", after=since["cursor"])
    assert ids(moved) == ["lamp-1", "lamp-2"]
    app.now.tick(1)
    await put(app, "quay", square(6))
    changed = await app.get("/v1/latest", area="quay", after=moved["cursor"])
    assert (ids(changed), changed["complete"]) == ([], True), "all of it is told: what lay in it lies in it no more"


async def test_an_etag_is_another_one_once_an_area_is(app: App) -> None:
    cabinet = Cabinet(app)
    await cabinet.stands()
    later = app.now.now_us + 60_000_000
    await put(app, "quay", square(6))
    wanted = Wanted(now_us=app.now(), seen=1, from_us=later)
    await app.store.areas.put("area", "quay", square(5), wanted, "anna")
    first = await app.ask("GET", "/v1/latest?area=quay", "reader")
    tag = {"If-None-Match": first.headers["etag"]}
    assert (await app.ask("GET", "/v1/latest?area=quay", "reader", headers=tag)).status_code == 304
    app.now.tick(61)
    again = await app.ask("GET", "/v1/latest?area=quay", "reader", headers=tag)
    assert (again.status_code, ids(first.json()), ids(again.json())) == (200, ["lamp-2"], ["bin-1", "lamp-1"])


async def command(app: App, status: int = 202, **aim: Any) -> Any:
    body = {"point": "dim_level", "value": 40, "expires_in_s": 60, **aim}
    headers = {"Idempotency-Key": f"k{app.now.now_us}"}
    app.now.tick(1)
    answer = await app.ask("POST", "/v1/commands", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_an_order_is_for_those_who_are_there_when_it_is_given(app: App) -> None:
    cabinet = Cabinet(app)
    await cabinet.stands()
    await put(app, "quay", square(5))
    await put(app, "few", Content(devices=("lamp-1", "lamp-2")), "group")
    taken = await command(app, area="quay", group={"kind": "lamp"})
    assert [o["device"] for o in taken["orders"]] == ["lamp-1"]
    assert taken["meant"] == [{"what": "area", "id": "quay", "revision": 1}]
    assert [o["device"] for o in (await command(app, area="quay"))["orders"]] == ["bin-1", "lamp-1"]
    taken = await command(app, group="few", area="quay")
    assert [o["device"] for o in taken["orders"]] == ["lamp-1"]
    assert [m["id"] for m in taken["meant"]] == ["quay", "few"]
    assert (await command(app, device="lamp-1"))["meant"] == []
    assert "did you mean few?" in (await command(app, 404, group="fwe"))["detail"]
    told = await command(app, 404, area="quay", group={"kind": "bench"})
    assert told["detail"] == "group: no device in any roster has kind 'bench' and is in area 'quay'"
    assert "write one of" in (await command(app, 422, device="lamp-1", area="quay"))["detail"]
    await put(app, "quay", None)
    assert "that holds at that time" in (await command(app, 404, area="quay"))["detail"]


async def told_of(app: App, query: str, until: int) -> list[str]:
    """The devices of the readings that a feed from the beginning on tells, as far as a position."""
    scope = {"type": "http", "method": "GET", "headers": [], "query_string": f"{query}&after=0".encode()}
    response: Any = await app.application.feed._open(Asked(Request(scope), app.grant("reader")))
    found: list[str] = []
    async for piece in response.body_iterator:
        told = [line[6:] for line in piece.splitlines() if line.startswith(b"data: ")]
        found += [msgspec.json.decode(line)["subject"] for line in told]
        if len(found) >= until:
            break
    await response.body_iterator.aclose()
    return found


async def test_the_feed_tells_of_those_who_are_inside_when_it_tells(app: App) -> None:
    cabinet = Cabinet(app)
    await cabinet.stands()
    await put(app, "quay", square(5))
    await put(app, "few", Content(devices=("lamp-2", "bin-1")), "group")
    await cabinet.reads()
    assert await told_of(app, "area=quay&type=reading", 2) == ["lamp-1", "bin-1"]
    assert await told_of(app, "group=few&type=reading", 2) == ["lamp-2", "bin-1"]
    await cabinet.stands(lamp_1=(6.1, 47.1), lost=(5.1, 47.1))
    await cabinet.reads("lamp-1", "lost")
    assert (await told_of(app, "area=quay&type=reading", 3))[-1] == "lost", "and not lamp-1, which has gone"
    await put(app, "quay", square(6))
    await cabinet.reads("lost", "lamp-1")
    assert (await told_of(app, "area=quay&type=reading", 3))[-1] == "lamp-1"


async def test_history_by_area_and_group_as_they_were_at_its_end(app: App) -> None:
    cabinet = Cabinet(app)
    await cabinet.stands()
    await cabinet.reads()
    await put(app, "quay", square(5))
    await put(app, "lamps", Content(devices=("lamp-1", "lamp-2", "lost")), "group")
    app.now.tick(3_600)
    wide = app.now()
    await put(app, "quay", square(6))
    app.now.tick(1)

    async def asked(query: str, status: int = 200) -> Any:
        answer = await app.ask("GET", f"/v1/history?point=dim_level&from={START_US - 3_600 * SECOND}&{query}", "reader")
        assert answer.status_code == status, answer.text
        return answer.json()

    def devices(answer: Any) -> list[str]:
        return [series["device"] for series in answer["series"]]

    assert devices(await asked("area=quay")) == ["lamp-2"]
    assert devices(await asked(f"area=quay&to={wide - SECOND}")) == ["bin-1", "lamp-1"]
    assert devices(await asked(f"area=quay&group=lamps&to={wide - SECOND}")) == ["lamp-1"]
    assert devices(await asked("group=lamps&kind=lamp")) == ["lamp-1", "lamp-2"]
    assert "did you mean quay" in (await asked("area=quai", 404))["detail"]
    assert "area" in (await asked("area=quay&device=lamp-1", 400))["detail"]
