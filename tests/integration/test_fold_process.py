"""The process that folds history, as the one that writes keeps it: started, killed, left alone, and shown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cloud.reader import fold_keeper
from cloud.reader.fold_keeper import ALARM, FoldKeeper
from cloud.reader.link import BeginFold
from cloud.reader.linked import CUT_AFTER
from cloud.sqlite.folding import folding
from cloud.store import opened
from support.cloud_batches import Sender, Ticking, columns, roster
from support.cloud_process import Process
from wire.batch import Lane

HOUR = 3_600_000_000
NOW_US = time.time_ns() // 1000
BEGAN = NOW_US - NOW_US % HOUR - 60 * HOUR
AT_ONCE = {"fold_first_s": 0.0}
SAYS = """
import asyncio, socket, sys
from cloud.reader.link import *
async def main():
    link = await Link.over(socket.socket(fileno=int(sys.argv[2])))
    assert isinstance(await link.receive(), BeginFold)
    await link.send(FoldedSoFar(through=7, steps=1, trouble=sys.argv[1] or None))
    while (message := await link.receive()) is not None:
        if isinstance(message, Pause):
            await link.send(Paused(message.number, True))
asyncio.run(main())
"""
DEAF = "import time; time.sleep(600)"


def folders(pid: int) -> list[int]:
    """The fold processes that a process has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children if b"fold_process" in Path(f"/proc/{c}/cmdline").read_bytes()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(true: Callable[[], Any], what: str, most_s: float = 60) -> Any:
    deadline = time.monotonic() + most_s
    while not (found := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def shown(cloud: Process) -> dict[str, float]:
    answer = cloud.client.get(f"{cloud.url}/metrics", headers=cloud.bearer())
    lines = [line.split() for line in answer.text.splitlines() if line.startswith("lamplighter_history")]
    return {name.removeprefix("lamplighter_history_"): float(value) for name, value in lines}


def test_run_folds_by_itself_and_goes_on_whoever_is_killed(tmp_path: Path) -> None:
    cloud = Process(tmp_path)
    sender = Sender()

    def push(first: int, last: int) -> None:
        for hour in range(first, last):
            cloud.push(sender.batch(columns("lamp-001", BEGAN + hour * HOUR, n=7, step_us=HOUR // 7)))

    def ask() -> Any:
        asked = {
            "device": "lamp-001",
            "point": "n",
            "from": BEGAN,
            "to": BEGAN + 60 * HOUR,
            "fn": "mean,increase,count",
        }
        return cloud.get("/v1/history", **asked)["series"]

    def folded() -> bool:
        now = shown(cloud)
        return now["days_over"] > 0 and now["days"] == now["days_over"] and not now["behind"]

    try:
        cloud.start(pace=AT_ONCE)
        assert cloud.running is not None
        cloud.push(sender.batch(roster("lamp-001"), lane=Lane.URGENT))
        push(0, 30)
        until(lambda: list((cloud.data / "history").glob("day=*/hours.parquet")), "nothing is folded")
        (folder,) = folders(cloud.running.pid)
        assert "is folded by another" in cloud.verb("fold", "--data", str(cloud.data), "--once", ok=False)

        os.kill(folder, signal.SIGKILL)
        push(30, 59)
        (again,) = until(lambda: folders(cloud.running.pid), "no other one comes")  # type: ignore[union-attr]
        assert again != folder
        until(folded, "what came meanwhile is not folded")
        assert shown(cloud)["folders_ended"] == 1
        expected = ask()
        assert sum(n for n in expected[0]["values"]["count"] if n) == 59 * 7

        cloud.stop(signal.SIGKILL)
        until(lambda: not alive(again), "it outlives who has started it", 30)
        cloud.start(pace=AT_ONCE)
        until(folded, "it does not go on")
        assert ask() == expected
        keys = pq.read_table(cloud.data / "history").select(["point", "device", "hour"]).to_pylist()
        assert len({tuple(k.values()) for k in keys}) == len(keys) > 0

        code, errors = cloud.stop()
        assert code == 0
        assert "Traceback" not in errors
        until(lambda: not folders_of_all(cloud.data), "it outlives an orderly end", 30)
    finally:
        cloud.close()


def folders_of_all(data: Path) -> list[str]:
    """Who holds the lock of its files."""
    inode = (data / "history" / "_lock").stat().st_ino
    return [line for line in Path("/proc/locks").read_text().splitlines() if f":{inode} " in line]


def test_it_can_be_left_away_and_its_files_lie_elsewhere(tmp_path: Path) -> None:
    cloud = Process(tmp_path)
    try:
        cloud.start("--no-fold", "--history", str(tmp_path / "elsewhere"))
        sender = Sender()
        for hour in range(48):
            cloud.push(sender.batch(columns("lamp-001", BEGAN + hour * HOUR, n=2)))
        assert shown(cloud) == {}
        where = ("--data", str(cloud.data), "--history", str(tmp_path / "elsewhere"))
        cloud.verb("fold", *where, "--once")
        assert list((tmp_path / "elsewhere").glob("day=*/hours.parquet"))
        assert not (cloud.data / "history").exists()
        (tmp_path / "elsewhere" / "_place.json").unlink()
        assert "says that it is ours" in cloud.verb("fold", *where, "--once", ok=False)
    finally:
        cloud.close()


@contextlib.asynccontextmanager
async def kept(script: str, *given: str) -> AsyncGenerator[FoldKeeper]:
    keeper = FoldKeeper(
        BeginFold(data="", history=""),
        lambda: NOW_US,
        0,
        lambda link: [sys.executable, "-c", script, *given, str(link)],
    )
    keeping = asyncio.create_task(keeper.keep())
    try:
        yield keeper
    finally:
        keeping.cancel()
        await asyncio.wait((keeping,))
    assert keeping.cancelled()
    assert not keeper.running


async def turned(true: Callable[[], object]) -> None:
    while not true():  # noqa: ASYNC110  a process of another one has no event to wait for
        await asyncio.sleep(0.01)


async def test_trouble_that_lasts_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    async with kept(SAYS, "no room") as keeper:
        await turned(lambda: keeper.so_far.trouble)
        assert keeper.so_far.through == 7
        assert not keeper.conditions(), "not at once"
        monkeypatch.setattr(fold_keeper, "FAILING_S", 0)
        (condition,) = keeper.conditions().values()
        assert (condition.id, condition.node, "no room" in condition.why["en"]) == (ALARM, "city", True)


async def test_one_that_ends_is_trouble_until_another_does_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_keeper, "FAILING_S", 0)
    async with kept("raise SystemExit(3)") as keeper:
        await turned(lambda: keeper.ended)
        assert fold_keeper.ENDED in keeper.conditions()[ALARM].why["en"]
    async with kept(SAYS, "") as keeper:
        await turned(lambda: keeper.so_far.through)
        assert not keeper.conditions()


async def test_it_lets_its_queries_end_or_is_ended() -> None:
    async with kept(SAYS, "") as keeper:
        await turned(lambda: keeper.so_far.through)
        async with keeper.held(30) as ended:
            assert ended
    async with kept(DEAF) as keeper:
        await turned(lambda: keeper.running)
        for _ in range(CUT_AFTER):
            async with keeper.held(0.01) as ended:
                assert not ended
        await turned(lambda: keeper.ended)


async def test_a_pause_holds_the_folder_back(tmp_path: Path) -> None:
    async with opened(tmp_path, Ticking()), folding(tmp_path) as work:
        async with work.pause(30) as ended:
            assert ended
            step = asyncio.create_task(work.folder.step())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not step.done()
        assert await step is False
