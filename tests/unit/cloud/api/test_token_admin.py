"""Tokens over HTTP: made once, listed without secrets, revoked for good, and by whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.times import DAY_US, text
from support.cloud_app import App, app_over


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
