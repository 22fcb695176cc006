"""What a node tells of who decides, and what it answers when the city asks."""

from __future__ import annotations

import asyncio
from datetime import UTC
from pathlib import Path

import pytest

from edge.acting.explaining import Explaining, InForce
from edge.config import Config, load
from edge.rules.rule import Rules
from support.acting import NODE, RULES, UTC0, Cabinet, S, bundle, live
from wire.entries import Decision, Decisions
from wire.orders import Command, Down
from wire.why import AskWhy, WhyAnswer

ORDER = Command(
    id="o1",
    by="ops",
    issued_us=UTC0 + 1000 * S,
    expires_us=UTC0 + 5000 * S,
    device="lamp-1",
    point="dim_level",
    value=40,
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    return load(tmp_path / "node.toml", {})


def why(cabinet: Cabinet, device: str) -> WhyAnswer:
    node = cabinet.autonomy
    return Explaining(["lamp-1", "bin-1"], node, cabinet.clock, UTC).why(AskWhy(id="w1", device=device))


async def last(cabinet: Cabinet) -> Decision:
    """What was told last of the lamp's level."""
    told: list[Decisions] = await cabinet.told(Decisions)
    found = [d for entry in told for d in entry.decided if (d.point, d.devices) == ("dim_level", ("lamp-1",))]
    return found[-1]


def test_who_wins_is_told_as_it_changes(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        await asyncio.sleep(1)
        cabinet.open()
        (first,) = await cabinet.told(Decisions)
        assert (first.plan, first.rules.endswith("rules.toml: 2"), first.boot) == ("", True, None)
        assert {d.point: d.level for d in first.decided}["dim_level"] is None
        cabinet.autonomy.down(Down(server_us=UTC0 + 1001 * S, order=ORDER))
        await asyncio.sleep(1)
        now = await last(cabinet)
        assert (now.level, now.value, now.by, now.order, now.until_us) == (
            "hypervisor", 40, "ops", "o1", ORDER.expires_us,
        )  # fmt: skip
        await asyncio.sleep(5_000)
        now = await last(cabinet)
        assert (now.level, now.order) == ("default", "")

    live(config, story)


def test_a_new_card_and_other_rules_are_told(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        await asyncio.sleep(1)
        cabinet.autonomy.telling.again()
        await asyncio.sleep(10)
        first, again = await cabinet.told(Decisions)
        assert again.decided == first.decided
        cabinet.autonomy.adopt(bundle(RULES.split('[[rule]]\nname = "look"', maxsplit=1)[0]))
        await asyncio.sleep(10)
        assert (await cabinet.told(Decisions))[-1].rules == "rules 2: 1"

    live(config, story)


def test_an_answer_has_every_level_in_words_and_where_rules_stand(config: Config) -> None:
    async def story(cabinet: Cabinet) -> None:
        cabinet.open()
        cabinet.autonomy.down(Down(server_us=UTC0 + 1001 * S, order=ORDER))
        cabinet.say("bin-1", fill_level=60.0)
        await asyncio.sleep(4)
        found = why(cabinet, "lamp-1")
        (point,) = [p for p in found.points if p.point == "dim_level"]
        assert [(h.level, h.value, h.by) for h in point.levels][:2] == [("hypervisor", 40, "ops"), ("rule", 70, "look")]
        assert point.text["en"].startswith("40 % because of the control room (ops) until ")
        assert point.text["fr"].startswith("40 % : poste de contrôle (ops), jusqu'à ")
        assert (found.known, found.id, found.boot) == (True, "w1", None)
        assert {r.name: r.state for r in why(cabinet, "bin-1").watching} == {"full": "over", "look": "true"}
        assert why(cabinet, "bin-1").points == ()
        assert not why(cabinet, "lamp-9").known

    live(config, story)


def test_no_rules_are_no_words() -> None:
    assert InForce().words(None, Rules()) == ("", "")
