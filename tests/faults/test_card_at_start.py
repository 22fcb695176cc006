"""A node whose card is full, read-only, damaged or hangs: it runs, answers and tells, and uses the card again as soon
as it can."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest

from edge.outbox.reading import read_history
from stage import Stage
from support.disk import HANG, Ballast, build_shim, mounted, small_disk
from support.laboratory import draw
from support.node_process import COUNTERS, NodeProcess, wait_for
from support.verdict import accounted
from wire import codec
from wire.entries import Gap

HURRIED = (sys.executable, Path(__file__).parents[1] / "support" / "hurried_node.py")
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    made: list[NodeProcess] = []

    def make(**more: object) -> NodeProcess:
        made.append(NodeProcess(tmp_path, COUNTERS, command=HURRIED, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for process in made:
        if process.actor.process.poll() is None:
            process.actor.kill()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB where the node's data lies."""
    with small_disk(tmp_path / "data") as path:
        yield path


@pytest.fixture
def ballast(disk: Path) -> Iterator[Ballast]:
    with Ballast(disk) as found:
        yield found


def says(node: NodeProcess, words: str) -> bool:
    try:
        return any(words in r for r in node.health()["reasons"])
    except httpx.TransportError:  # between two lives
        return False


def committed(node: NodeProcess) -> int:
    return node.health()["counters"]["samples_committed"]


def raised(node: NodeProcess) -> bool:
    """Whether the card's alarm holds; one that nobody has acknowledged stands on after it has returned."""
    try:
        found = httpx.get(node.ready().replace("/health", "/alarms"), timeout=10).json()
    except httpx.TransportError:
        return False
    return any(a["rule"] == "card" and a["state"] in ("raised", "acknowledged") for a in found)


def held(data: Path) -> list[object]:
    async def read() -> list[object]:
        return [s.values["n"] async for c in read_history(data / "outbox.db", 0, 2**62, "c-1") for s in c.samples()]

    return asyncio.run(read())


def given_up(data: Path) -> int:
    """How many readings the card has no room for any more, as the gaps on it tell."""
    with closing(sqlite3.connect(data / "outbox.db")) as db:
        rows = [codec.decode_row(body) for (body,) in db.execute("SELECT body FROM rows ORDER BY id")]
    return sum(p.entry.lost for row in rows for p in row if isinstance(p.entry, Gap))


def ended(node: NodeProcess) -> None:
    """After a first life in which it has kept something."""
    wait_for(lambda: committed(node) > 3, "it keeps readings")
    assert node.end()[0] == 0, node.said()


def works_without(node: NodeProcess, words: str) -> None:
    wait_for(lambda: says(node, "without its card"), f"it runs without its card; {node.said()}")
    assert says(node, words), node.health()["reasons"]
    before = committed(node)
    wait_for(lambda: committed(node) > before + 5, "it goes on polling")
    wait_for(lambda: raised(node), "and raises an alarm")


def works_with(node: NodeProcess) -> None:
    wait_for(lambda: says(node, "cloud is out of reach") and not says(node, "without its card"), "it uses it again")
    wait_for(lambda: not raised(node), "the alarm returns")


def test_a_disk_that_was_filled_meanwhile_is_started_on_with_the_reserve(
    node: Callable[..., NodeProcess], disk: Path, ballast: Ballast
) -> None:
    process = node()
    ended(process)
    ballast.fill()
    process.again()
    wait_for(lambda: committed(process) > 3, f"it keeps readings; {process.said()}")
    assert not says(process, "without its card")
    ballast.drop()


def test_a_disk_without_any_room_is_done_without_until_there_is_some(
    node: Callable[..., NodeProcess], disk: Path, ballast: Ballast
) -> None:
    process = node()
    ended(process)
    before = len(held(disk))
    ballast.keep_full()
    process.again()
    works_without(process, "full")
    ballast.drop()
    works_with(process)
    assert process.end()[0] == 0
    found = held(disk)
    assert len(found) > before + 5, "what was in memory is on the card"
    second = found[before - given_up(disk) :]  # room may have been made of what the first life kept, and that is told
    assert second[:5] == [0, 1, 2, 3, 4], "from the first reading on"


def test_the_first_start_ever_on_a_full_disk(node: Callable[..., NodeProcess], disk: Path, ballast: Ballast) -> None:
    ballast.keep_full()
    process = node()
    works_without(process, "full")
    ballast.drop()
    works_with(process)


def test_a_disk_that_has_become_read_only(node: Callable[..., NodeProcess], disk: Path) -> None:
    process = node()
    ended(process)
    before = held(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    process.again()
    works_without(process, "Read-only")
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    works_with(process)
    assert process.end()[0] == 0
    found = held(disk)
    assert found[: len(before)] == before
    assert len(found) > len(before) + 5


@pytest.mark.parametrize("table", ["kept", "receipts", "runs", "rows"])
def test_one_bad_page_does_not_keep_the_node_from_starting(node: Callable[..., NodeProcess], table: str) -> None:
    process = node()
    ended(process)
    path = process.data / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek(size * (page - 1))
        file.write(b"\xff" * size)
    process.again()
    wait_for(lambda: committed(process) > 3, f"it keeps readings; {process.said()}")
    assert says(process, "the card was damaged")
    wait_for(lambda: raised(process), "an alarm says so")
    assert process.end()[0] == 0
    process.again()
    wait_for(lambda: committed(process) > 3, "and again")
    assert not says(process, "the card was damaged")
    wait_for(lambda: not raised(process), "the alarm has returned")


@pytest.fixture
def hang(tmp_path: Path, need: Callable[[str], str]) -> tuple[Path, dict[str, str]]:
    """The file that makes the card hang, and what the node needs in its environment for that."""
    at = tmp_path / "hangs"
    return at, {"LD_PRELOAD": str(build_shim(tmp_path, need("gcc"), HANG)), "HANG": str(at)}


def test_a_card_that_hangs_while_it_is_used(
    node: Callable[..., NodeProcess], hang: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    at, environment = hang
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(20)
        process = node(environment={**environment, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        wait_for(lambda: committed(process) > 3, "it keeps readings")
        at.touch()
        wait_for(lambda: says(process, "the card has not answered for"), "health answers, and says so")
        assert process.health()["verdict"] == "failed"
        with httpx.Client(base_url=process.ready().removesuffix("/health"), timeout=10) as client:
            for path in ("/devices/c-1", "/summary", "/summary/devices", "/samples/c-1", "/control", "/alarms",
                         "/rules/c-1", "/identify", "/metrics", "/openapi.json"):  # fmt: skip
                assert client.get(path).status_code == 200, path
            assert "The memory card does not answer: nothing is kept" in client.get("/").text
        quiet(told)
        at.unlink()
        while told.recv(100) != b"WATCHDOG=1":
            pass
        before = committed(process)
        wait_for(lambda: committed(process) > before, "it goes on when the card does")
        at.touch()
        wait_for(lambda: says(process, "the card has not answered for"), "and again")
        process.actor.process.terminate()
        assert process.actor.process.wait(30) == 0, process.said()


def quiet(told: socket.socket) -> None:
    """Until the watchdog has not been patted for ten times as long as it should be."""
    told.settimeout(1)
    for _ in range(200):
        try:
            told.recv(100)
        except TimeoutError:
            told.settimeout(20)
            return
    pytest.fail("it goes on saying that all is well")


def test_a_card_that_hangs_when_it_is_opened(
    node: Callable[..., NodeProcess], hang: tuple[Path, dict[str, str]]
) -> None:
    at, environment = hang
    process = node(environment=environment)
    ended(process)
    before = len(held(process.data))
    at.touch()
    process.again()
    works_without(process, "has not answered")
    at.unlink()
    works_with(process)
    assert process.end()[0] == 0
    assert len(held(process.data)) > before + 5


def test_a_node_without_its_card_ends_when_it_is_told_to(
    node: Callable[..., NodeProcess], hang: tuple[Path, dict[str, str]]
) -> None:
    at, environment = hang
    at.touch()
    process = node(environment=environment)
    works_without(process, "has not answered")
    process.actor.process.terminate()
    assert process.actor.process.wait(30) == 0, process.said()


@pytest.mark.parametrize(
    ("way", "seed"), draw("the node's card is full or read-only at the start", ("full", "read-only"))
)
def test_what_comes_meanwhile_is_in_by_the_ledger(stage: Stage, way: str, seed: int) -> None:
    """The whole street: killed, started with a card that takes nothing, which is then mended."""
    rng = random.Random(seed)
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    with ExitStack() as ends:
        try:
            disk = ends.enter_context(mounted("tmpfs", stage.directory / "node", "-t", "tmpfs", "-o", "size=4m"))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no tmpfs can be mounted here: {error.stderr}")
        ballast = Ballast(disk)
        ends.callback(ballast.drop)
        actor = stage.start_node(command=HURRIED)
        time.sleep(rng.uniform(0.5, 2))
        killed = time.time()
        actor.kill()
        if way == "full":
            ballast.keep_full()
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        stage.start_node(command=HURRIED)
        wait_for(lambda: in_need(stage), "it says so")
        time.sleep(rng.uniform(0, 2))
        if way == "full":
            ballast.drop()
        else:
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        wait_for(lambda: in_need(stage) is False, "it uses it again")
        # What was not up yet when a full card needed room is given up, and told of; read-only, nothing is.
        accounted(stage, [killed], polls_only=way == "read-only")
        assert stage.node is not None
        assert stage.node.end() == 0


def in_need(stage: Stage) -> bool | None:
    """Whether health says that the card takes nothing; None between two lives."""
    try:
        reasons = stage.health()["reasons"]
    except httpx.TransportError:
        return None
    return any("without its card" in reason or "nothing can be kept" in reason for reason in reasons)
