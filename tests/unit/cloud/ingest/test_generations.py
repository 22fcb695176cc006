"""A node that knows a greater generation: another is drawn, and nobody can make that happen without end."""

from __future__ import annotations

from cloud.ingest.generations import DAY_S, DRAWS, Generations
from cloud.metrics import Metrics
from wire.batch import GENERATIONS_AHEAD_US

NOW_US = 1_795_000_000_000_000


class Scene:
    def __init__(self) -> None:
        self.generation = 100
        self.time_s = 0.0
        self.told: list[tuple[str, int]] = []
        self.metrics = Metrics()
        self.generations = Generations(self, self.metrics, lambda: NOW_US, lambda: self.time_s)

    async def draw(self, generation: int, node: str, heard: int) -> None:
        self.generation = generation
        self.told.append((node, heard))


async def test_a_greater_one_is_drawn_once() -> None:
    scene = Scene()
    for node in ("a", "b", "c"):
        await scene.generations.hear(node, NOW_US + 5)
    assert scene.generation == NOW_US + 6
    assert scene.told == [("a", NOW_US + 5)]
    await scene.generations.hear("a", 0)
    await scene.generations.hear("a", 99)
    assert len(scene.told) == 1


async def test_by_the_clock_where_that_is_ahead() -> None:
    scene = Scene()
    await scene.generations.hear("a", 101)
    assert scene.generation == NOW_US


async def test_one_huge_number_moves_nothing() -> None:
    scene = Scene()
    for huge in (2**63 - 1, NOW_US + GENERATIONS_AHEAD_US + 1):
        await scene.generations.hear("a", huge)
    assert scene.generation == 100
    assert 'what="not_believed"} 2.0' in scene.metrics.text().decode()
    await scene.generations.hear("b", 200)
    assert scene.generation == NOW_US, "nor does it keep others from being heard"


async def test_nobody_can_reset_the_city_over_and_over() -> None:
    scene = Scene()
    for step in range(100):
        await scene.generations.hear("a", scene.generation + step + 1)
    assert len(scene.told) == 1
    for step in range(100):
        await scene.generations.hear(f"b{step}", scene.generation + step + 1)
    assert len(scene.told) == DRAWS
    scene.time_s = DAY_S + 1
    await scene.generations.hear("a", scene.generation + 1)
    assert len(scene.told) == DRAWS + 1
