"""Lives: one after another, and an end that does not wait for what does not end, nor blames the card for it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from edge import lives
from edge.ending import end
from edge.lives import EXIT_FAILED, live
from edge.watchdog import NodeWatchdog
from groundwork.last_words import Ring
from groundwork.marker import Stood
from groundwork.systemd import Notify


class Life:
    """A node that runs until it is stopped, or so many lives."""

    def __init__(self, lives: int = 0, *, abandoned: bool = False) -> None:
        self.left_lives, self.abandoned, self.hangs = lives, abandoned, ""
        self.begun = 0
        self.deaf: asyncio.Task[None] | None = None
        self.released = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> bool:
        self.begun += 1
        if self.begun <= self.left_lives:
            return True
        os.kill(os.getpid(), signal.SIGTERM)
        await stop.wait()
        return False

    async def never(self) -> None:
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue


class Process:
    def __init__(self, directory: Path, life: Life) -> None:
        self.watchdog = NodeWatchdog(Notify({}), directory / "node.sock", ring=Ring(), boot=1)
        self.life, self.directory = life, directory
        self.codes: list[int] = []
        self.left = threading.Event()

    def leave(self, code: int) -> None:
        self.codes.append(code)
        self.left.set()

    def said(self) -> Stood | None:
        """What the next process finds."""
        return NodeWatchdog(Notify({}), self.directory / "node.sock", ring=Ring(), boot=1).marker.begin()

    async def run(self) -> None:
        self.watchdog.marker.begin()
        await live(lambda: self.life, self.watchdog, self.leave)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "LEFT_S", 0.01)


async def test_one_life_follows_another_until_it_is_told_to_end(tmp_path: Path) -> None:
    process = Process(tmp_path, Life(lives=2))
    await process.run()
    assert (process.life.begun, process.codes) == (3, [])
    assert process.said() is None


async def test_an_error_is_left_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path, Life())
    monkeypatch.setattr(process.life, "run", fails)
    with pytest.raises(KeyError):
        await process.run()
    said = process.said()
    assert said is not None
    assert said.why == "KeyError: 'lamp'"


async def fails(_stop: asyncio.Event) -> bool:
    raise KeyError("lamp")


async def test_what_is_deaf_is_named_and_the_card_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    life = Life()
    deaf = asyncio.create_task(life.never(), name="the driver of line bus")
    process = Process(tmp_path, life)
    await process.run()
    assert process.codes == [0], "it was told to end, and does"
    said = capsys.readouterr().err
    assert "the driver of line bus does not end: the node ends without it" in said
    assert "card" not in said
    assert process.said() is None, "that is no end as it should not be"
    life.released.set()
    await deaf


@pytest.mark.parametrize(
    ("hangs", "says"),
    [("the card has not answered for 7 s", "the card has not answered for 7 s:"), ("", "does not end:")],
)
async def test_an_end_that_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hangs: str, says: str
) -> None:
    monkeypatch.setattr(lives, "GIVE_UP_S", 0.0)
    life = Life()
    life.hangs = hangs
    process = Process(tmp_path, life)
    monkeypatch.setattr(life, "run", lambda _stop: slow(life, process))
    await process.run()
    assert process.codes == [EXIT_FAILED]
    assert says in capsys.readouterr().err


async def slow(life: Life, process: Process) -> bool:
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.to_thread(process.left.wait)
    del life
    return False


async def test_a_card_that_hangs_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = Process(tmp_path, Life(abandoned=True))
    await process.run()
    assert process.codes == [0]
    assert "the card hangs: the node ends without it" in capsys.readouterr().err


async def test_tasks_end_or_are_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.ending.END_S", 0.0)
    life = Life()
    deaf = asyncio.create_task(life.never(), name="commit")
    good = asyncio.create_task(asyncio.Event().wait(), name="health")
    await asyncio.sleep(0)
    await end([deaf], lambda: "the card has not answered for 7 s")
    assert "commit does not end: the card has not answered for 7 s" in caplog.text
    caplog.clear()
    await end([deaf])
    assert caplog.messages == ["commit does not end"]
    monkeypatch.setattr("edge.ending.END_S", 60.0)
    await end([good])  # type: ignore[list-item]
    assert good.cancelled()
    life.released.set()
    await deaf
