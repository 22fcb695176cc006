"""A lamp's controller is replaced in the street, and told to the node from a phone: over real processes and sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.lamps import SCENE, Lamps, stage, until
from support.visits import code_for

NOBODY = 'url = "http://127.0.0.1:9"\ntoken_file = "${DEMO_DIR}/node.token"'
MORE = SCENE.replace("count = 2", "count = 3")


@pytest.fixture
def lamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lamps]:
    """Three lamps on the bus, two of which the node knows; no city."""
    monkeypatch.setattr("support.lamps.SCENE", MORE)
    found = stage(tmp_path, cloud=NOBODY)
    try:
        found.start_street()
        found.make_tokens()
        found.start_node()
        lamps = Lamps(found)
        until(lambda: lamps.level(1) == lamps.level(2) == 35, within_s=30)
        yield lamps
    finally:
        found.close()


def addresses(lamps: Lamps) -> dict[str, str]:
    try:
        return {d["id"]: d["state"] for d in lamps.stage.health()["device_states"]}
    except httpx.TransportError:  # a connection that was open while the list was taken up anew
        return {}


@pytest.mark.slow
def test_a_device_is_replaced_and_comes_alive(lamps: Lamps) -> None:
    stage = lamps.stage
    token = (stage.directory / "node.token").read_text().strip()
    url = stage.health_url.removesuffix("/health")
    with httpx.Client(base_url=url, timeout=30) as phone:
        assert phone.post("/devices/lamp-001/replace", json={"address.unit": 3}).status_code == 403
        answer = phone.post("/session", json={"name": "Zoé", "code": code_for("Zoé", 1, token)})
        phone.headers["X-CSRF-Token"] = csrf = answer.json()["session"]["csrf"]
        phone.headers["Accept-Language"] = "fr"
        # What does not fit is said at its field, and nothing that was typed is lost.
        taken = phone.post("/devices/lamp-001/replace", json={"address.unit": 2})
        assert taken.status_code == 422, taken.text
        assert "lamp-002" in taken.json()["problems"]["address.unit"]
        form = {"csrf": csrf, "next": "/", "version": "0", "address.unit": "trois"}
        page = phone.post("/devices/lamp-001/replace", data=form)
        assert page.status_code == 422
        assert "Un nombre entier de 0 à 255." in page.text
        assert 'value="trois"' in page.text
        # Unit 3 takes its place: shown once more, confirmed, done.
        page = phone.post("/devices/lamp-001/replace", data={**form, "address.unit": "3"})
        assert page.status_code == 200
        assert "unit 1 → 3" in page.text
        assert lamps.level(3) != 35
        done = phone.post("/devices/lamp-001/replace", data={**form, "address.unit": "3", "confirm": "yes"})
        assert (done.status_code, done.headers["Location"]) == (303, "/devices/lamp-001")
        until(lambda: "Il vit" in phone.get("/devices/lamp-001").text)
        until(lambda: lamps.level(3) == 35, within_s=30)  # the plan has it, too
        assert stage.health()["counters"]["line_restarts"] == 1
        # Somebody who has looked before that is told so.
        assert phone.post("/devices/lamp-001/replace", json={"address.unit": 1, "version": 0}).status_code == 409
        # A device is taken out: the node takes its list up anew, and the session goes on.
        removed = phone.post("/devices/lamp-002/remove", json={})
        assert removed.json() == {"version": 2}
        until(lambda: set(addresses(lamps)) == {"lamp-001"})
        assert phone.get("/session").json()["session"]["by"] == "Zoé"
        # It survives a restart, and one press goes back.
        node = stage.node
        assert node is not None
        node.kill()
        stage.start_node()
        assert set(addresses(lamps)) == {"lamp-001"}
        phone.base_url = stage.health_url.removesuffix("/health")
        answer = phone.post("/session", json={"name": "Zoé", "code": code_for("Zoé", 2, token)})
        phone.headers["X-CSRF-Token"] = answer.json()["session"]["csrf"]
        assert phone.post("/list/back", json={"number": "1"}).json() == {"version": 3}
        until(lambda: addresses(lamps).get("lamp-002") == "good")
        versions = phone.get("/list", headers={"Accept": "application/json"}).json()
        assert [(v["by"], v["act"], v.get("device", "")) for v in versions] == [
            ("Zoé", "replaced", "lamp-001"),
            ("Zoé", "removed", "lamp-002"),
            ("Zoé", "back", ""),
        ]
        said = [v["detail"] for v in phone.get("/visits").json() if v["act"] == "acted"]
        assert said == ["back to version 1"]
