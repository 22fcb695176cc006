"""Which nodes a bundle is for: known ones, or what is wrong with those that are not."""

from __future__ import annotations

from pathlib import Path

from cloud.orders.checks import Wrongs
from cloud.orders.orders import _nodes
from cloud.orders.requests import BundleGiven
from support.cloud_app import app_over
from support.cloud_batches import Sender, roster, send
from wire.batch import Lane
from wire.entries import Alarm

KNOWN = [f"cab-{i}" for i in range(2_000)]


def given(**more: object) -> BundleGiven:
    return BundleGiven(**{"kind": "plan", "version": "1", "text": "", **more})  # pyright: ignore[reportArgumentType]


def test_one_some_or_all() -> None:
    wrongs = Wrongs()
    assert _nodes(given(node="cab-7"), KNOWN, wrongs) == ["cab-7"]
    assert _nodes(given(nodes=("cab-7", "cab-8", "cab-7")), KNOWN, wrongs) == ["cab-7", "cab-8"]
    assert _nodes(given(all=True), KNOWN, wrongs) == KNOWN
    assert (wrongs.problems, wrongs.unknown) == ([], [])


def test_nodes_that_were_never_heard_are_told_with_the_nearest() -> None:
    wrongs = Wrongs()
    _nodes(given(nodes=("cab-7", "cap-1234", *(f"x{i}" for i in range(9_000)))), KNOWN, wrongs)
    assert wrongs.unknown[0] == "no node 'cap-1234' was ever heard; did you mean cab-1234?"
    assert wrongs.unknown[-1] == "and 8996 more nodes that were never heard"
    assert len(wrongs.unknown) == 6


def test_one_way_to_say_it() -> None:
    wrongs = Wrongs()
    assert _nodes(given(node="cab-7", all=True), KNOWN, wrongs) == []
    assert _nodes(given(), KNOWN, wrongs) == []
    assert [p.split(", not ")[1] for p in wrongs.problems] == ["node and all", "none of them"]


async def test_the_person_behind_a_shared_token_is_named_wherever_the_order_is(tmp_path: Path) -> None:
    async with app_over(tmp_path) as app:
        await send(app.store.log, Sender().batch(roster("lamp-1"), lane=Lane.URGENT))
        body = {"device": "lamp-1", "point": "n", "value": 1, "expires_in_s": 60, "on_behalf": "M. Dupont"}
        for path, key in (("/v1/commands", "a"), ("/v1/relinquish", "b")):
            given_ = body if key == "a" else {k: v for k, v in body.items() if k != "value"}
            answer = await app.ask("POST", path, json=given_, headers={"Idempotency-Key": key})
            assert answer.status_code == 202, answer.text
            (order,) = answer.json()["orders"]
            assert order["by"] == "M. Dupont (an operator)"
            kept = await app.get(f"/v1/commands/{order['id']}")
            assert kept["orders"][0]["by"] == "M. Dupont (an operator)"
        text = {"node": "cab-1", "kind": "rules", "version": "1", "text": "", "on_behalf": "Léa"}
        answer = await app.ask("POST", "/v1/bundles", json=text, headers={"Idempotency-Key": "c"})
        assert answer.json()["orders"][0]["by"] == "Léa (an operator)"
        wrong = {**body, "on_behalf": "M. Dupont\n"}
        answer = await app.ask("POST", "/v1/commands", json=wrong, headers={"Idempotency-Key": "d"})
        assert (answer.status_code, "on_behalf" in answer.json()["detail"]) == (422, True)
        raised = Alarm(
            id="al-1", device="lamp-1", rule="r", severity="high", state="raised", raised_us=1, time_us=app.now()
        )
        await send(app.store.log, Sender(epoch=8).batch(raised, lane=Lane.URGENT))
        act = {"act": "acknowledge", "on_behalf": "Léa"}
        answer = await app.ask("POST", "/v1/alarms/al-1/acts", json=act, headers={"Idempotency-Key": "e"})
        assert answer.json()["orders"][0]["by"] == "Léa (an operator)"
        (alarm,) = (await app.get("/v1/alarms", device="lamp-1"))["alarms"]
        assert alarm["asked"][0]["by"] == "Léa (an operator)"
