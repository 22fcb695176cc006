"""Codes for technicians: asked for over HTTP and on the command line, kept and told; and what nodes tell of visits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloud_batches import Sender
from support.cloud_process import Process
from wire.batch import Lane
from wire.codes import AHEAD, code, node_secret, person_secret, token_digest
from wire.entries import Visit, VisitAct

SECOND = 1_000_000


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.close()


def expected(token: str, name: str, counter: int) -> str:
    digest = token_digest(token)
    assert digest is not None
    return code(person_secret(node_secret(digest), name), counter)


def asked(cloud: Process, status: int = 201, node: str = "cab-1", key: str | None = None, **body: Any) -> Any:
    answer = cloud.order(f"/v1/nodes/{node}/codes", {"for": "M. Dupont", **body}, key)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_code_is_made_kept_told_and_never_shown_again(cloud: Process) -> None:
    token = cloud.token("node", "cab-1")
    cloud.start()
    first = asked(cloud, key="k1")
    assert first["code"] == expected(token, "m dupont", 1)
    assert (first["counter"], first["for"], first["node"]) == (1, "M. Dupont", "cab-1")
    assert asked(cloud, key="k1") == first, "the same request, the same code"
    assert asked(cloud, 422, key="k1", **{"for": "Léa"})["detail"].startswith("this Idempotency-Key")
    assert asked(cloud, **{"for": "  Léa  B. "})["for"] == "Léa B."
    page = cloud.get("/v1/nodes/cab-1/codes", limit=1)
    assert [(c["counter"], c["for"]) for c in page["codes"]] == [(2, "Léa B.")]
    page = cloud.get("/v1/nodes/cab-1/codes", cursor=page["next"])
    assert [(c["counter"], c["for"], c["by"]) for c in page["codes"]] == [(1, "M. Dupont", first["by"])]
    assert page["next"] is None
    assert "code" not in page["codes"][0]
    with cloud.feed(after="0", type="code", node="cab-1") as feed:
        events = [e["data"] for e in feed.take(2)]
    assert [(e["source"], e["data"]["counter"], e["data"]["for"]) for e in events] == [
        ("/aggregator", 1, "M. Dupont"), ("/aggregator", 2, "Léa B."),
    ]  # fmt: skip
    assert first["code"] not in json.dumps(events)
    assert cloud.stop()[0] == 0
    kept = b"".join(p.read_bytes() for p in cloud.data.iterdir() if p.is_file())
    assert first["code"].encode() not in kept
    cloud.start()
    assert asked(cloud)["counter"] == 3


def test_who_may_not_and_what_is_wrong(cloud: Process) -> None:
    cloud.token("node", "cab-1")
    cloud.start()
    for role in ("reader", "node"):
        headers = {**cloud.bearer(role, "cab-1" if role == "node" else None), "Idempotency-Key": "k"}
        answer = cloud.client.post(f"{cloud.url}/v1/nodes/cab-1/codes", json={"for": "x"}, headers=headers)
        assert answer.status_code == 403
    assert "never had a token" in asked(cloud, 404, node="cab-9")["detail"]
    for name in ("", "...", "a\u202eb", "x" * 101):
        assert "for" in asked(cloud, 400, **{"for": name})["detail"]
    assert "did you mean" in asked(cloud, 400, token_="x")["detail"]
    assert "no valid token" in asked(cloud, 404, token="nobodys")["detail"]
    assert cloud.get("/v1/nodes/cab-1/codes")["codes"] == []


def test_which_token_it_follows_from(cloud: Process) -> None:
    old = cloud.token("node", "cab-1")
    cloud.start()
    assert cloud.place("cab-1", 7).through_seq == 0  # the node speaks
    new = cloud.verb("token", "create", "--data", str(cloud.data), "--role", "node", "--node", "cab-1")
    ids = [t.split("_")[1] for t in (old, new)]
    assert asked(cloud)["token"] == ids[0], "the one that it has"
    made = asked(cloud, token=ids[1])
    assert made["code"] == expected(new, "M. Dupont", 1)
    for id_ in ids:
        cloud.verb("token", "revoke", "--data", str(cloud.data), id_)
    assert "no token of node cab-1 is valid" in asked(cloud, 422)["detail"]


def test_no_more_than_a_node_takes(cloud: Process) -> None:
    cloud.token("node", "cab-1")
    cloud.start()
    for _ in range(AHEAD):
        asked(cloud)
    assert f"{AHEAD} codes of cab-1" in asked(cloud, 422)["detail"]
    began = Visit(visit="v1", by="M. Dupont", act="began", time_us=2 * SECOND, until_us=3 * SECOND, code=5)
    cloud.push(Sender("cab-1").batch(began, lane=Lane.URGENT))
    assert asked(cloud)["counter"] == AHEAD + 1


def test_on_the_command_line(cloud: Process) -> None:
    token = cloud.token("node", "cab-1")
    cloud.start()
    file = cloud.directory / "operator"
    file.write_text(cloud.token("operator"))
    to = ("--url", cloud.url, "--token-file", str(file))
    assert cloud.verb("code", "cab-1", "--for", "Léa", *to).replace(" ", "") == expected(token, "Léa", 1)
    assert "404: node 'cab-8'" in cloud.verb("code", "cab-8", "--for", "Léa", *to, ok=False)


def test_who_is_at_a_cabinet_and_what_was_done_there(cloud: Process) -> None:
    cloud.start()
    sender, hour_us = Sender("cab-1"), 3_600 * SECOND
    now_us = cloud.place("cab-1", 7).server_us

    def said(act: VisitAct, at_s: int, **more: Any) -> Visit:
        return Visit(visit="v1", by="M. Dupont", act=act, time_us=now_us + at_s * SECOND, **more)

    began, here = said("began", 0, until_us=now_us + hour_us, code=1), said("here", 1, until_us=now_us + 2 * hour_us)
    acted = said("acted", 2, device="lamp-1", order="site-1", detail="on")
    cloud.push(sender.batch(began, lane=Lane.URGENT))
    (one,) = cloud.get("/v1/nodes/cab-1")["technicians"]
    assert (one["by"], one["until_us"], one["here"]) == ("M. Dupont", now_us + hour_us, False)
    cloud.push(sender.batch(here, acted, lane=Lane.URGENT))
    (one,) = cloud.get("/v1/nodes/cab-1")["technicians"]
    assert (one["until_us"], one["here"]) == (now_us + 2 * hour_us, True)
    cloud.push(sender.batch(said("left", 3, detail="logged out"), lane=Lane.URGENT))
    assert cloud.get("/v1/nodes/cab-1")["technicians"] == []
    visits: list[Any] = []
    query: dict[str, Any] = {"limit": 3}
    while True:
        page = cloud.get("/v1/nodes/cab-1/visits", **query)
        visits += page["visits"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert [(v["act"], v["detail"], v["device"]) for v in visits] == [
        ("left", "logged out", None), ("acted", "on", "lamp-1"), ("here", "", None), ("began", "", None),
    ]  # fmt: skip
    for path, status in (("cab-9/visits", 404), ("cab-9/codes", 404), ("cab-1/visits?cursor=x", 400),
                         ("cab-1/visits?cursor=9999999999999999999.0", 400)):  # fmt: skip
        assert cloud.client.get(f"{cloud.url}/v1/nodes/{path}", headers=cloud.bearer()).status_code == status
