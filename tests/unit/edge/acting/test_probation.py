"""Which bundle is put aside, when, and what is followed instead."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.acting.probation import ASIDE, BEFORE, MAX_ENDS, PROVEN_S, STARTS, Aside, aside, begin
from edge.config import Config, load
from support.acting import NODE, RULES, Cabinet, bundle, live
from wire.orders import Bundle


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


def body(kind: Any, version: str, issued_us: int) -> bytes:
    return msgspec.msgpack.encode(
        Bundle(id=version, by="m", issued_us=issued_us, expires_us=9, kind=kind, version=version, text="")
    )


def start(kept: dict[str, bytes]) -> dict[str, bytes]:
    return {k: v for k, v in (kept | begin(kept)).items() if v is not None}


def test_after_so_many_lives_the_one_given_last_is_put_aside_then_the_others() -> None:
    plan, older, newer = body("plan", "p", 2), body("rules", "1", 1), body("rules", "2", 3)
    kept = {"bundle/plan": plan, "bundle/rules": newer, f"{BEFORE}rules": older}
    followed: list[tuple[bytes | None, bytes | None]] = []
    for _ in range(3 * MAX_ENDS + 2):
        kept = start(kept)
        followed.append((kept.get("bundle/plan"), kept.get("bundle/rules")))
    n = MAX_ENDS
    assert followed == [(plan, newer)] * n + [(plan, older)] * n + [(None, older)] * n + [(None, None)] * 2
    assert aside(kept) == {"plan": Aside("p", "m"), "rules": Aside("1", "m")}
    assert STARTS not in kept, "the node's own files are not counted"


def test_without_a_bundle_nothing_is_written() -> None:
    assert begin({}) == {}
    assert begin({"bundle/rules": b"nothing", "alarm/x": b""}) == {}


@pytest.mark.parametrize("count", [b"", b"nothing", msgspec.msgpack.encode("x")])
def test_a_count_that_cannot_be_read_is_none(count: bytes) -> None:
    kept = {"bundle/plan": body("plan", "p", 1), STARTS: count}
    assert begin(kept) == {STARTS: msgspec.msgpack.encode(1)}


def test_a_bundle_is_on_probation_until_the_node_has_lived_with_it(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        taken = cabinet.autonomy.adopt(bundle(RULES))[0]
        cabinet.commit.put(kept=taken)
        assert (await cabinet.kept())[STARTS] == msgspec.msgpack.encode(1)
        await asyncio.sleep(PROVEN_S / 2)
        assert STARTS in await cabinet.kept()
        await asyncio.sleep(PROVEN_S)
        assert STARTS not in await cabinet.kept()
        again = cabinet.autonomy.adopt(bundle(RULES))[0]
        assert again[f"{BEFORE}rules"] == taken["bundle/rules"]
        cabinet.commit.put(kept=again)
        await cabinet.autonomy.close()
        assert STARTS not in await cabinet.kept(), "a wanted end is none of the bundle's"

    live(config, story)


def test_what_was_put_aside_is_told_until_another_is_given(config: Config) -> None:
    kept = {f"{ASIDE}rules": msgspec.msgpack.encode(Aside("7", "m.dupont"))}

    async def story(cabinet: Cabinet) -> None:
        await asyncio.sleep(10)
        assert cabinet.alarms() == {("cab-1", "rules-put-aside"): "raised"}
        (alarm,) = cabinet.autonomy.alarming.standing()
        assert alarm.detail.startswith("rules 7, given by m.dupont: the node ended 3 times within 60 s of its start")
        cabinet.commit.put(kept=cabinet.autonomy.adopt(bundle(RULES))[0])
        await asyncio.sleep(15)
        assert cabinet.alarms() == {("cab-1", "rules-put-aside"): "returned"}
        assert f"{ASIDE}rules" not in await cabinet.kept()

    live(config, story, kept=kept)
