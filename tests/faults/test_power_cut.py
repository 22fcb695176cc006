"""The power goes: what lies on the disk at that moment is all that there is.

The outbox writes to a file system of its own in an image file. The image is copied while the writer is stopped in the
middle of its work, so that whatever the kernel had not yet written is not in the copy: as on a card whose power went.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.outbox.contract import PositionQuery
from edge.outbox.sqlite import SqliteOutbox
from stage import ROOT
from support.cloud import SmallCloud
from support.disk import mounted
from support.laboratory import draw
from wire.batch import Lane

CUTS = 3  # with each seed

WRITER = """
import asyncio, os, sys
from pathlib import Path
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.columns import Columns
from wire.entries import Alarm
from wire.sample import Clock, Sample

async def main():
    told = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
    async with SqliteOutbox(Path(sys.argv[1]), node="cab", limit_bytes=8 << 20, now_us=lambda: 0) as outbox:
        for n in range(10**6):
            lanes = {Lane.BULK: [Columns.of([Sample("lamp", n, Clock(1, synced=True), {"n": n, "t": "x" * 200})])]}
            if n % 10 == 0:
                lanes[Lane.URGENT] = [
                    Alarm(id=f"a{n}", device="d", rule="r", severity="high", state="raised", raised_us=n, time_us=n)
                ]
            await outbox.append(lanes)
            os.write(told, f"{n}\\n".encode())

asyncio.run(main())
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def image(tmp_path: Path, need: Callable[[str], str]) -> Path:
    """An ext4 file system in a file."""
    if os.geteuid() != 0:
        pytest.skip("mounting an image needs root")
    path = tmp_path / "card.img"
    with path.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run([need("mkfs.ext4"), "-q", "-F", str(path)], check=True, capture_output=True)
    return path


@pytest.fixture
def card(image: Path, tmp_path: Path) -> Iterator[Path]:
    try:
        with mounted(str(image), tmp_path / "card", "-o", "loop") as path:
            yield path
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no image can be mounted here: {error.stderr}")


async def held(directory: Path) -> tuple[list[object], int]:
    """The numbers that an outbox has, and how many alarms."""
    cloud = SmallCloud()
    async with SqliteOutbox(directory, node="cab", limit_bytes=8 << 20, now_us=lambda: 0) as outbox:
        for lane in Lane:
            while (found := await outbox.cut(lane, 1 << 18)) is not None:
                answer = cloud.ack(found.epoch, lane) if isinstance(found, PositionQuery) else cloud.take(found.batch)
                await outbox.confirm(answer)
        assert not await outbox.card.db.all("SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'")
    return [n for _, n in cloud.numbers()], len(cloud.entries(Lane.URGENT))


@pytest.mark.parametrize("seed", draw("the power goes"))
def test_everything_that_was_accepted_survives_a_power_cut(card: Path, image: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    told = tmp_path / "told"  # on another disk: it knows more than the card
    told.touch()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(card), str(told)], cwd=ROOT)
    try:
        while told.stat().st_size < 200:
            assert writer.poll() is None
            time.sleep(0.01)
        for cut in range(CUTS):
            time.sleep(rng.uniform(0.02, 0.4))
            writer.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
            accepted = [int(n) for n in told.read_text().split()]
            copy = tmp_path / f"copy-{cut}.img"
            shutil.copyfile(image, copy)
            writer.send_signal(signal.SIGCONT)
            with mounted(str(copy), tmp_path / f"copy-{cut}", "-o", "loop") as after:
                numbers, alarms = asyncio.run(held(after))
            copy.unlink()
            assert numbers[: len(accepted)] == accepted, "every accepted entry, in order, once"
            assert len(numbers) - len(accepted) in (0, 1), "and at most the one that was being written"
            assert alarms == len(range(0, len(numbers), 10)), "both lanes of a commit, or none"
    finally:
        writer.kill()
        writer.wait()
    assert len(told.read_text().split()) > 100


def test_the_copy_is_a_harsh_one(card: Path, image: Path, tmp_path: Path) -> None:
    """The oracle itself is tried: what was written and not synced is missing from the copy."""
    (card / "synced").write_bytes(b"x" * 8192)
    fd = os.open(card / "synced", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    (card / "not-synced").write_bytes(b"x" * 8192)
    copy = tmp_path / "copy.img"
    shutil.copyfile(image, copy)
    with mounted(str(copy), tmp_path / "copy", "-o", "loop") as after:
        assert (after / "synced").read_bytes() == b"x" * 8192
        lost = after / "not-synced"
        assert not lost.exists() or lost.read_bytes() != b"x" * 8192
