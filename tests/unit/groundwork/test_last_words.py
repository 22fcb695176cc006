"""Last words: written once by a thread when something is late, taken back when it is through, told once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from groundwork.last_words import (
    KEPT,
    LINE_CHARS,
    LINES,
    MAX_BYTES,
    STACK_BYTES,
    Ring,
    Witness,
    put_aside,
    stacks,
    told,
)
from groundwork.liveness import LOOK_S, Running

LOOP_S = 15.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log() -> logging.Logger:
    logger = logging.getLogger("edge.test")
    logger.setLevel(logging.INFO)
    return logger


@pytest.fixture
def ring(log: logging.Logger) -> Iterator[Ring]:
    found = Ring()
    log.addHandler(found)
    yield found
    log.removeHandler(found)


class Scene:
    def __init__(self, path: Path, ring: Ring) -> None:
        self.path, self.clock = path, Clock()
        self.late: list[str] = []
        self.witness = Witness(path, lambda: self.late, loop_s=LOOP_S, ring=ring, monotonic=self.clock)

    def look(self) -> bool:
        """Whether the last words are there afterwards."""
        self.witness.look()
        return self.path.exists()


@pytest.fixture
def scene(tmp_path: Path, ring: Ring) -> Scene:
    return Scene(tmp_path / "last-words.json", ring)


def test_an_event_loop_that_does_not_turn_is_late(scene: Scene, log: logging.Logger) -> None:
    log.warning("the bus is silent")
    assert not scene.look()
    scene.clock.now += LOOP_S
    assert not scene.look()
    scene.clock.now += 1
    assert scene.look()
    (words,) = put_aside(scene.path)
    assert words.late == "the event loop has not turned for 16 s"
    assert words.log[0].endswith("WARNING edge.test: the bus is silent")
    assert "test_last_words.py" in words.stacks
    told(scene.path)
    assert put_aside(scene.path) == [], "they are told once"


def test_what_is_through_takes_them_back(scene: Scene) -> None:
    scene.late = ["commit: a commit has taken 601 s", "card: an answer has taken 31 s"]
    assert scene.look()
    scene.late.pop()
    before = scene.path.read_bytes()
    assert scene.look()
    assert scene.path.read_bytes() == before, "they are written once"
    scene.late.clear()
    assert not scene.look()
    scene.late = ["commit: a commit has taken 601 s"]
    assert scene.look(), "and again the next time"


def test_where_they_cannot_be_written_the_process_goes_on(tmp_path: Path, ring: Ring) -> None:
    scene = Scene(tmp_path / "nowhere" / "last-words.json", ring)
    scene.late = ["commit"]
    assert not scene.look()
    scene.late.clear()
    assert not scene.look()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff" * 10, b" " * (MAX_BYTES + 1)])
def test_what_is_damaged_is_none(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "last-words.json"
    path.write_bytes(text)
    assert put_aside(path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_was_told_of_is_kept_beside_what_comes_next(scene: Scene) -> None:
    for n in range(KEPT + 2):  # processes that end before anybody is told
        scene.late = [f"commit: a commit has taken {n} s"]
        assert scene.look()
        scene.witness = Witness(scene.path, lambda: scene.late, loop_s=LOOP_S, ring=Ring(), monotonic=scene.clock)
        assert [w.late[-3:] for w in put_aside(scene.path)][-1] == f"{n} s"
        assert not scene.path.exists(), "there is room for what this one has to say"
    assert [w.late[-3:] for w in put_aside(scene.path)] == ["0 s", "1 s", "4 s"]
    told(scene.path)
    assert list(scene.path.parent.iterdir()) == []


def test_the_ring_is_bounded_and_holds_no_secrets(ring: Ring, log: logging.Logger) -> None:
    for n in range(2 * LINES):
        log.info("line %d", n)
    log.info("x" * 2 * LINE_CHARS)
    log.info("first\nsecond")
    secrets = (
        "https://cabinet:hunter2@city.example/v1",
        "lamp_0123456789_c2VjcmV0",
        "Authorization: Bearer abc.def",
        'password = "two words"',
        "client_secret=s3same",
    )
    for secret in secrets:
        log.info("tried %s", secret)
    lines = ring.lines()
    assert len(lines) == LINES
    assert max(map(len, lines)) == LINE_CHARS
    assert not any(
        word in "\n".join(lines) for word in ("second", "hunter2", "c2VjcmV0", "abc.def", "two words", "s3same")
    )
    assert "city.example/v1" in lines[-5], "only the secret goes"


def test_stacks_are_bounded() -> None:
    def deep(n: int) -> str:
        return stacks() if not n else deep(n - 1)

    assert len(deep(600)) <= STACK_BYTES


def test_an_event_loop_that_was_stopped_with_its_process_is_not_blocked(tmp_path: Path, ring: Ring) -> None:
    clock = Clock()
    running = Running(clock)
    path = tmp_path / "last-words.json"
    witness = Witness(path, lambda: (), loop_s=LOOP_S, ring=ring, monotonic=running)
    with running.watching():
        clock.now += 3600
        witness.look()
        assert not path.exists()
        for _ in range(4):
            clock.now += LOOK_S
            witness.look()
        assert path.exists(), "it has not turned since"
