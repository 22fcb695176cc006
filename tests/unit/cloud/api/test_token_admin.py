"""Tokens over HTTP: made once, listed without secrets, revoked for good, and by whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cloud.times import DAY_US, text
from support.cloud_app import App, app_over
from support.cloud_batches import Sender, send
from wire.batch import Lane
from wire.device import Device, Point, Roster
from wire.entries import Alarm


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with app_over(tmp_path) as made:
        yield made


async def make(app: App, status: int = 201, **given: Any) -> Any:
    answer = await app.ask("POST", "/v1/tokens", "admin", json=given)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_token_is_made_used_and_revoked(app: App) -> None:
    made = await make(app, role="reader", name="dashboard", days=365)
    assert (made["state"], made["by"], made["until"]) == ("valid", "an admin", text(app.now() + 365 * DAY_US))
    app.tokens["made"] = made["token"]
    assert (await app.ask("GET", "/v1/nodes", "made")).status_code == 200, "at once"
    assert (await app.ask("GET", "/v1/tokens", "made")).status_code == 403
    listed = (await app.ask("GET", "/v1/tokens", "admin")).json()["tokens"]
    assert made["token"] not in str(listed)
    assert {t["name"]: t["by"] for t in listed} == {
        "an admin": "", "an operator": "", "an reader": "", "dashboard": "an admin",
    }  # fmt: skip
    gone = await app.ask("DELETE", f"/v1/tokens/{made['id']}", "admin")
    assert (gone.status_code, gone.json()["state"], gone.json()["revoked_by"]) == (200, "revoked", "an admin")
    app.known._checked_s = float("-inf")  # a second has passed
    assert (await app.ask("GET", "/v1/nodes", "made")).status_code == 401
    again = await app.ask("DELETE", f"/v1/tokens/{made['id']}", "admin")
    assert again.json()["revoked"] == gone.json()["revoked"], "the first stays on record"


async def test_a_node_s_token_is_for_one_node(app: App) -> None:
    made = await make(app, role="node", node="cab-1")
    assert [g.node for g, _ in app.known.of_node("cab-1")] == ["cab-1"]
    assert (made["node"], made["until"]) == ("cab-1", None)


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        ({"role": "node"}, 422, "needs --node"),
        ({"role": "reader", "node": "cab-1"}, 422, "no other has one"),
        ({"role": "node", "node": "cab 1"}, 400, "node: 1 to 64 letters"),
        ({"role": "reader", "name": "a\u202eb"}, 422, "turns the direction"),
        ({"role": "king"}, 400, "role"),
        ({"role": "reader", "days": 1, "until": "2027-01-01T00:00:00Z"}, 400, "one of days and until"),
        ({"role": "reader", "until": "2020-01-01T00:00:00Z"}, 422, "has ended already"),
        ({"role": "reader", "until": "soon"}, 400, "until: 'soon' is no time"),
        ({"role": "reader", "scope": {"kinds": ["bin"]}}, 422, "a scope is for the role operator"),
        ({"role": "operator", "scope": {}}, 400, "scope: say at least one"),
        ({"role": "operator", "scope": {"area": ["x"]}}, 400, "did you mean scope.areas?"),
    ],
)
async def test_what_cannot_be_made_is_told(app: App, given: dict[str, Any], status: int, told: str) -> None:
    assert told in (await make(app, status, **given))["detail"]


async def test_no_token_revokes_itself_and_only_an_admin_revokes(app: App) -> None:
    own = app.tokens["admin"].split("_")[1]
    assert (await app.ask("DELETE", f"/v1/tokens/{own}", "admin")).status_code == 422
    assert (await app.ask("DELETE", f"/v1/tokens/{own}", "operator")).status_code == 403
    assert (await app.ask("DELETE", "/v1/tokens/none", "admin")).status_code == 404
    first = (await app.ask("GET", "/v1/tokens?limit=2", "admin")).json()
    rest = (await app.ask("GET", f"/v1/tokens?limit=2&cursor={first['next']}", "admin")).json()
    ids = [t["id"] for page in (first, rest) for t in page["tokens"]]
    assert (ids, rest["next"]) == (sorted(ids), None)
    assert len(ids) == 3


async def test_a_token_with_a_scope_orders_its_own_devices_and_reads_all(app: App) -> None:
    places = {"lamp-1": (5.5, 47.5), "lamp-2": (6.5, 47.5), "bin-1": (5.6, 47.6)}
    devices = tuple(
        Device(id=d, kind=d.split("-")[0], profile="p", lon=lon, lat=lat) for d, (lon, lat) in places.items()
    )
    points = (Point(name="dim", type="float", writable=True),)
    raised = Alarm(id="a", device="lamp-1", rule="r", severity="high", state="raised", raised_us=1, time_us=app.now())
    others = [replace(raised, id="b", device="bin-1"), replace(raised, id="n", device="cab-1")]
    said = (Roster(devices=devices, profiles={"p": points}), raised, *others)
    await send(app.store.log, Sender().batch(*said, lane=Lane.URGENT))
    ring = [[5, 47], [6, 47], [6, 48], [5, 48], [5, 47]]
    body = {"geometry": {"type": "Polygon", "coordinates": [ring]}}
    assert (await app.ask("PUT", "/v1/areas/quay", json=body)).status_code == 201
    made = await make(app, role="operator", name="crew", scope={"areas": ["quay"], "kinds": ["lamp"]})
    assert made["scope"] == {"areas": ["quay"], "kinds": ["lamp"]}
    app.tokens["crew"] = made["token"]

    async def order(path: str = "/v1/commands", method: str = "POST", **given: Any) -> tuple[int, str]:
        key = {"Idempotency-Key": f"k{app.now.now_us}"}
        app.now.tick(1)
        answer = await app.ask(method, path, "crew", json=given, headers=key)
        return answer.status_code, answer.json().get("detail", "")

    aim: dict[str, Any] = {"point": "dim", "value": 1, "expires_in_s": 60}
    assert (await order(device="lamp-1", **aim))[0] == 202
    assert (await order(area="quay", group={"kind": "lamp"}, **aim))[0] == 202
    assert await order(devices=["lamp-1", "lamp-2"], **aim) == (403, "outside of this token's scope: lamp-2")
    assert await order(area="quay", **aim) == (403, "outside of this token's scope: bin-1")
    assert (await order("/v1/relinquish", device="bin-1", point="dim", expires_in_s=60))[0] == 403
    assert (await order("/v1/alarms/a/acts", act="acknowledge"))[0] == 202
    assert (await order("/v1/alarms/b/acts", act="acknowledge"))[0] == 403
    assert (await order("/v1/alarms/n/acts", act="acknowledge"))[0] == 403, "of the node itself"
    for path in ("/v1/bundles", "/v1/assignments", "/v1/nodes/cab-1/codes"):
        assert (await order(path))[0] == 403
    assert (await order("/v1/areas/quay", "PUT", **body))[0] == 403
    assert (await app.ask("GET", "/v1/devices", "crew")).status_code == 200
    ended = await app.ask("DELETE", "/v1/areas/quay", headers={"If-Match": "*"})
    assert ended.status_code == 200
    app.now.tick(1)
    assert (await order(device="lamp-1", **aim))[0] == 403, "an area that is over has nothing in it"
