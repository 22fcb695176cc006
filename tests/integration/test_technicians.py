"""A technician with a one-time code, over real processes: a street, a node, and an aggregator that goes away."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from stage import Stage
from support import killable_node
from support.lamps import WITH_CLOUD, Lamps, playing, stage, until

KILLABLE = [sys.executable, Path(killable_node.__file__)]


def code_of(stage: Stage, name: str) -> str:
    """As the aggregator makes it."""
    answer = stage.order(f"/v1/nodes/{stage.node_name}/codes", str(uuid4()), **{"for": name})
    assert answer.status_code == 201, answer.text
    return answer.json()["code"]


class Phone(httpx.Client):
    """A technician's, with an address of its own on the cabinet's network."""

    def __init__(self, stage: Stage, address: str) -> None:
        transport = httpx.HTTPTransport(local_address=address)
        super().__init__(transport=transport, base_url=stage.health_url.removesuffix("/health"), timeout=30)

    def comes(self, name: str, code: str) -> httpx.Response:
        answer = self.post("/session", json={"name": name, "code": code})
        if answer.status_code == 201:
            self.headers["X-CSRF-Token"] = answer.json()["session"]["csrf"]
        return answer


def visits(stage: Stage) -> list[tuple[str, str, str]]:
    """What the city knows, the oldest first: who, what, and how."""
    if not stage.get("/v1/nodes")["nodes"]:
        return []
    found = stage.get(f"/v1/nodes/{stage.node_name}/visits")
    assert found["next"] is None
    return [(v["by"], v["act"], v["detail"]) for v in reversed(found["visits"])]


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path) as found:
        yield found


@pytest.mark.slow
def test_two_technicians_at_a_cabinet_without_a_network(lamps: Lamps) -> None:
    stage = lamps.stage
    first, second, third = (code_of(stage, name) for name in ("M. Dupont", "Léa", "Max"))
    cloud = stage.cloud
    assert cloud is not None
    cloud.kill()  # from here on the node is alone
    with ExitStack() as stack:
        dupont, lea, thief = (stack.enter_context(Phone(stage, f"127.0.0.{n}")) for n in (2, 3, 4))
        # Who guesses is slowed down, and whoever comes with a right code after it still gets in.
        guessed = [thief.comes("M. Dupont", f"{n:08}") for n in range(10)]
        assert [a.status_code for a in guessed] == [401] * 5 + [429] * 5
        until(lambda: lea.comes("lea", second).status_code == 201, within_s=30)
        assert dupont.comes("M. Dupont", first).status_code == 201, "the earlier code, though the later one was used"
        # What was heard on the radio is worth nothing from elsewhere.
        assert thief.comes("M. Dupont", first).status_code == 401
        thief.cookies = dupont.cookies
        thief.headers["X-CSRF-Token"] = dupont.headers["X-CSRF-Token"]
        order: dict[str, Any] = {"order": "command", "device": "lamp-001", "point": "dim_level", "value": 80}
        assert thief.post("/orders", json=order).status_code == 403
        # Each acts under their own name.
        answer = dupont.post("/orders", json={**order, "for_s": 60})
        assert answer.status_code == 202, answer.text
        until(lambda: dupont.get(answer.headers["Location"]).json()["stage"] == "verified")
        assert lamps.level(1) == 80
        assert lamps.get("/control/lamp-001")[0]["levels"][0]["by"] == "M. Dupont"
        form = {"order": "relinquish", "device": "lamp-001", "point": "dim_level", "csrf": lea.headers["X-CSRF-Token"]}
        assert lea.post("/orders", data=form).status_code == 303
        until(lambda: lamps.level(1) == 35)
        assert lea.post("/here", json={"for_s": 7_200}).status_code == 200
        read = dupont.post("/devices/lamp-002/read", json={})
        assert read.status_code == 200, read.text
        assert read.json()["values"]["dim_level"] == 35
        before = stage.health()["counters"]["line_restarts"]
        assert dupont.post("/lines/north/restart", json={}).status_code == 202
        until(lambda: stage.health()["counters"]["line_restarts"] > before)
        assert dupont.request("DELETE", "/session").status_code == 200
        assert dupont.post("/orders", json=order).status_code == 403
        assert lea.get("/session").json()["session"]["by"] == "lea"
        assert stage.health()["counters"]["codes_wrong"] == 6
        for _ in range(2):  # a commit may have begun before the last words; the one after it has them
            held = stage.health()["outbox_entries"]
            until(lambda held=held: stage.health()["outbox_entries"] > held)
        # The node starts again: sessions are over, and who has said so is there still.
        node = stage.node
        assert node is not None
        node.kill()
        stage.start_node()
        again, other = (stack.enter_context(Phone(stage, f"127.0.0.{n}")) for n in (3, 5))
        assert again.comes("lea", second).status_code == 401
        assert other.comes("Max", third).status_code == 201
    stage.start_cloud()
    until(lambda: len(visits(stage)) == 9, within_s=30)
    assert visits(stage) == [
        ("lea", "began", ""),
        ("M. Dupont", "began", ""),
        ("M. Dupont", "acted", "dim_level = 80 for 60 s"),
        ("lea", "acted", "dim_level released"),
        ("lea", "here", ""),
        ("M. Dupont", "acted", "read"),
        ("M. Dupont", "acted", "line north restarted"),
        ("M. Dupont", "left", "logged out"),
        ("Max", "began", ""),
    ]
    there = stage.get(f"/v1/nodes/{stage.node_name}")["technicians"]
    assert [(t["by"], t["here"]) for t in there] == [("lea", True), ("Max", False)]


@pytest.mark.slow
def test_killed_between_the_use_of_a_code_and_its_session(tmp_path: Path) -> None:
    found = stage(tmp_path, cloud=WITH_CLOUD)
    try:
        found.start_street()
        found.make_tokens()
        found.start_cloud()
        code = code_of(found, "M. Dupont")
        for point in ("code.used", "session.before"):
            node = found.start_node({"KILL_AT": point}, KILLABLE)
            with Phone(found, "127.0.0.2") as phone, pytest.raises(httpx.HTTPError):
                phone.comes("M. Dupont", code)
            assert node.process.wait(10) == -9
        found.start_node()
        with Phone(found, "127.0.0.2") as phone:
            assert phone.comes("M. Dupont", code).status_code == 401, "it was used before the node ended"
        until(lambda: len(visits(found)) == 2, within_s=30)
        assert visits(found) == [("M. Dupont", "began", ""), ("M. Dupont", "left", "the node has started again")]
        assert found.get(f"/v1/nodes/{found.node_name}")["technicians"] == []
    finally:
        found.close()
