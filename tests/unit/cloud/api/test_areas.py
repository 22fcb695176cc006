"""Areas and groups over HTTP: two operators at once, errors that say where, and what held when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.times import text
from support.cloud_app import App, app_over
from support.cloud_batches import SECOND, START_US

SQUARE = [[5.0, 47.0], [6.0, 47.0], [6.0, 48.0], [5.0, 48.0], [5.0, 47.0]]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with app_over(tmp_path) as made:
        yield made


def area(*rings: Any, **more: Any) -> dict[str, Any]:
    return {"geometry": {"type": "Polygon", "coordinates": list(rings or (SQUARE,))}, **more}


async def put(app: App, path: str, body: Any, status: int = 200, role: str = "operator", **headers: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await app.ask("PUT", path, role, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_an_area_is_kept_changed_by_who_has_seen_it_and_ended(app: App) -> None:
    made = await put(app, "/v1/areas/quay", area(name="Quai n° 3", note="works"), 201)
    assert (made["revision"], made["area"]["name"], made["area"]["by"]) == (1, "Quai n° 3", "an operator")
    assert made["area"]["geometry"] == area()["geometry"]
    answer = await app.ask("GET", "/v1/areas/quay", "reader")
    assert answer.headers["etag"] == '"1"'
    assert answer.json()["area"]["bbox"] == [5, 47, 6, 48]
    app.now.tick(10)
    told = await put(app, "/v1/areas/quay", area(), 428)
    assert "If-Match" in told["detail"]
    await put(app, "/v1/areas/quay", area(name="wider"), If_Match='"1"')
    told = await put(app, "/v1/areas/quay", area(), 412, If_Match='"1"')
    assert told["detail"] == "area 'quay' is at revision 2, not 1: somebody has changed it; read it again"
    await put(app, "/v1/areas/quay", area(), 412, If_None_Match="*")
    await put(app, "/v1/areas/quay", area(), 403, role="reader")
    app.now.tick(10)
    ended = await app.ask("DELETE", "/v1/areas/quay", headers={"If-Match": '"2"'})
    assert (ended.status_code, ended.json()["area"], ended.headers["etag"]) == (200, None, '"3"')
    assert (await app.get("/v1/areas"))["areas"] == []
    then = text(START_US + 15 * SECOND)
    (found,) = (await app.get("/v1/areas", at=then))["areas"]
    assert (found["id"], found["name"], found["geometry"]) == ("quay", "wider", None)
    assert (await app.get("/v1/areas/quay", at=then))["area"]["revision"] == 2
    versions = (await app.get("/v1/areas/quay"))["versions"]
    assert [(v["revision"], v["ended"], v["by"]) for v in versions] == [(n, n == 3, "an operator") for n in (1, 2, 3)]


async def test_what_is_no_area_is_told_by_ring_and_vertex_and_all_at_once(app: App) -> None:
    hole = [[5.4, 47.4], [5.6, 47.4], [5.6, 147.6], [5.4, 47.4]]
    told = await put(app, "/v1/areas/quay", area(SQUARE, hole, name="a\u202eb"), 422)
    assert told["problems"] == [
        "name: has U+202E at character 2, which turns the direction of the text: leave it out",
        "geometry: coordinates[1][2]: latitude 147.6 lies outside -90 to 90 (longitude goes first)",
    ]
    crossed = [SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]]
    told = await put(app, "/v1/areas/quay", area(crossed), 422)
    assert told["problems"] == [
        "geometry: coordinates[0], at vertex 0 or between it and the next (5.5, 47.5): self-intersection"
    ]
    await put(app, "/v1/areas/a%20b", area(), 400)
    await put(app, "/v1/areas/quay", area(valid_from="tomorrow"), 400)
    assert "did you mean geometry" in (await put(app, "/v1/areas/quay", {"geometri": {}}, 400))["detail"]


async def test_a_group_is_a_list_or_a_selector(app: App) -> None:
    made = await put(app, "/v1/groups/few", {"devices": ["lamp-1", "lamp-2", "lamp-1"]}, 201)
    assert (made["group"]["devices"], made["group"]["listed"]) == (["lamp-1", "lamp-2"], 2)
    await put(app, "/v1/groups/lit", {"selector": {"kind": "streetlight", "tag": "quay"}}, 201)
    found = (await app.get("/v1/groups"))["groups"]
    assert [(g["id"], g["listed"], g["devices"], g["selector"]) for g in found] == [
        ("few", 2, None, None), ("lit", 0, None, {"kind": "streetlight", "tag": "quay"}),
    ]  # fmt: skip
    for body in ({}, {"devices": ["a"], "selector": {"kind": "bin"}}, {"selector": {}}):
        await put(app, "/v1/groups/none", body, 422)
    assert "did you mean lit?" in (await app.get("/v1/groups/lti", 404))["detail"]
