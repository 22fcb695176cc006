"""What health says of lines: failures, connections that do not stand, and what drivers note of themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import pytest

from drivers.errors import Refused, Unreachable
from edge.sampling import supervisor
from edge.sampling.last_samples import LastSamples
from edge.sampling.supervisor import CONNECT_S, STUCK_S, Supervisor, stuck
from groundwork.liveness import ended
from wire.device import Device, Point
from wire.sample import Clock, Sample


class Told:
    """A driver, as far as health asks it."""

    def __init__(self, connected: int, *notes: str) -> None:
        self._connected, self._notes = connected, notes

    def counters(self) -> Mapping[str, int]:
        return {"connected": self._connected}

    def notes(self) -> Sequence[str]:
        return list(self._notes)


class Silent:
    def counters(self) -> Mapping[str, int]:
        return {"connected": 0}


class NoReceipts:
    async def recent(self, source: str) -> Sequence[bytes]:
        del source
        return ()


def test_what_drivers_note_is_what_health_says() -> None:
    lines: Any = Supervisor((), street=LastSamples(), now=lambda: (0, Clock(1, synced=True)), receipts=NoReceipts())
    old, new = time.monotonic() - CONNECT_S - 1, time.monotonic() + 3600
    lines._drivers = {
        "a": Told(1), "b": Told(1, "forgotten", "refused"), "c": Told(0, "nobody listens"), "d": Silent(),
        "e": Told(0, "nobody listens yet"), "f": Told(0, "x"),
    }  # fmt: skip
    lines._opened = {**dict.fromkeys("abcdf", old), "e": new}
    lines._faults = {"f": "failed"}
    assert lines.faults() == {"c": "not connected; nobody listens", "d": "not connected", "f": "failed"}
    assert lines.troubles() == {
        "b": "forgotten; refused", "c": "not connected; nobody listens", "d": "not connected", "f": "failed",
    }  # fmt: skip


LAMP = Device(id="lamp-001", kind="streetlight", profile="x")
POINT = Point(name="a", type="int")


class Driving:
    """A driver that hangs where it is told to, the first time; the second one works."""

    def __init__(self, hangs: str, *, stubborn: bool = False) -> None:
        self.hangs, self.stubborn = hangs, stubborn
        self.opens, self.polls = 0, 0
        self.ends = asyncio.Event()

    def open(self, *_settings: object) -> Self:
        return self

    async def _hang(self, where: str) -> None:
        while self.hangs == where and self.opens == 1:
            try:
                await self.ends.wait()
            except asyncio.CancelledError:
                if not self.stubborn:
                    raise
            if self.ends.is_set():
                return

    async def __aenter__(self) -> Self:
        self.opens += 1
        await self._hang("open")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._hang("close")

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        self.polls += 1
        await self._hang("poll")
        return Sample(device.id, 1, Clock(1, synced=True), dict.fromkeys([p.name for p in points], 1))

    def counters(self) -> Mapping[str, int]:
        return {}


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110 - what it waits for says nothing by itself
        await asyncio.sleep(0)


def hung(driving: Driving) -> Any:
    profile = SimpleNamespace(points={"a": POINT})
    return SimpleNamespace(
        name="bus",
        settings=None,
        attachments=[SimpleNamespace(device=LAMP, profile=profile)],
        tables={LAMP.id: SimpleNamespace(poll_s=0.1)},
        kind=SimpleNamespace(open=driving.open, polled=lambda _: frozenset({"a"})),
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound is reached at once."""
    for name in ("OPEN_S", "STUCK_S", "LOOK_S", "RESTART_FIRST_S"):
        monkeypatch.setattr(supervisor, name, 0.0)
    monkeypatch.setattr(supervisor, "ended", partial(ended, within_s=0.01))


@asynccontextmanager
async def kept(driving: Driving) -> AsyncIterator[tuple[Supervisor, list[Sample]]]:
    lines = Supervisor(
        [hung(driving)], street=LastSamples(), now=lambda: (1, Clock(1, synced=True)), receipts=NoReceipts()
    )
    samples: list[Sample] = []

    def deliver(given: Sequence[Sample], _receipt: object = None) -> Any:
        samples.extend(given)

    async with asyncio.TaskGroup() as group:
        tasks = lines.begin(group, deliver, lambda _: None)
        yield lines, samples
        driving.ends.set()
        for task in tasks:
            task.cancel()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("where", ["open", "poll"])
@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_driver_that_never_returns_is_opened_again(
    where: str, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driving = Driving(where, stubborn=stubborn)
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples)
        assert driving.opens >= 2
        assert lines.counters()["line_restarts"] >= 1
        assert lines.late() is None, "one that does not end harms nobody"
        why, ago_s = lines.anew()["bus"]
        assert why.startswith("it has not opened for" if where == "open" else "no attempt has ended for")
        monkeypatch.setattr(supervisor, "ANEW_SHOWN_S", ago_s)
        assert lines.anew() == {}, "it is shown for a while"


@pytest.mark.usefixtures("impatient")
async def test_drivers_that_do_not_end_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_LEFT", 1)
    driving = Driving("open", stubborn=True)
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples)
        assert str(lines.late()) == "lines: the end of 1 drivers has taken 10 s"
        driving.ends.set()
        await until(lambda: lines.late() is None)


@pytest.mark.parametrize("where", ["open", "poll", "close"])
async def test_a_node_that_ends_waits_for_no_driver_that_does_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    monkeypatch.setattr(supervisor, "STOP_S", 0.01)
    driving = Driving(where, stubborn=True)
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples if where == "close" else driving.opens and (where == "open" or driving.polls))
        (task,) = [t for t in asyncio.all_tasks() if t.get_name() == "line bus"]
        task.cancel()
        await asyncio.wait([task])
        assert "the driver of line bus does not end, and is left behind" in caplog.text
        assert len(lines._left) == 1


async def test_a_line_starts_again_for_who_asks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.0)
    driving = Driving("never")
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples)
        lines.restart("bus", "Léa asked for it")
        lines.restart("bus", "and so did Max")
        await until(lambda: driving.opens >= 2)
        with pytest.raises(KeyError):
            lines.restart("buss", "nobody knows it")
        assert lines.anew() == {}, "it was not stuck"
    assert "Léa asked for it" in caplog.text
    assert "Max" not in caplog.text


async def test_an_answer_that_does_not_end_opens_its_line_anew_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.0)
    monkeypatch.setattr(supervisor, "MAX_LEFT", 1)
    driving = Driving("never")
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lines.leave(LAMP.id, answer)
        await until(lambda: driving.opens >= 2)
        assert lines.anew()["bus"][0] == f"an answer of {LAMP.id} does not end"
        assert lines.late() is not None
        answer.set_result(None)
        assert lines.late() is None


async def test_a_line_is_swapped_and_a_device_is_asked_at_once() -> None:
    """Its next poll would be a day away, and so would the next start of a line that has failed so often."""
    driving, after = Driving("never"), Driving("never")
    slow = hung(driving)
    slow.tables = {LAMP.id: SimpleNamespace(poll_s=86_400)}
    lines = Supervisor([slow], street=LastSamples(), now=lambda: (1, Clock(1, synced=True)), receipts=NoReceipts())
    samples: list[Sample] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = lines.begin(group, lambda given, _=None: samples.extend(given), lambda _: None)  # type: ignore[arg-type,return-value]
        seen = lines.lines
        await until(lambda: driving.opens)
        other = hung(after)
        other.tables = slow.tables
        lines.swap(other, "Zoé has replaced lamp-001", [LAMP.id])
        await until(lambda: samples)
        assert (driving.polls, after.polls) == (0, 1)
        assert seen[0] is other, "whoever looks at the lines sees it"
        stranger = hung(after)
        stranger.name = "bass"
        with pytest.raises(KeyError):
            lines.swap(stranger, "there is none")
        stranger = hung(after)
        stranger.tables = {}
        with pytest.raises(ValueError, match="other devices"):
            lines.swap(stranger, "it has lost one")
        for task in tasks:
            task.cancel()


async def test_who_asks_does_not_wait_for_a_line_that_has_failed_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 3600.0)
    monkeypatch.setattr(supervisor, "RESTART_MAX_S", 3600.0)
    driving = Driving("never")
    opening, driving.open = driving.open, lambda *_: 1 / 0  # type: ignore[assignment,return-value]
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: "bus" in lines.faults())
        await asyncio.sleep(0)
        lines._lines[0].kind.open = opening  # type: ignore[misc]
        lines.restart("bus", "Léa asked for it")
        await until(lambda: samples)


def at(began: float | None, ended_: float) -> Any:
    return SimpleNamespace(began=began, ended=ended_)


def test_a_line_is_stuck_where_attempts_last_and_none_ends() -> None:
    never = float("-inf")
    assert stuck([], 1e9) is None
    assert stuck([at(None, 0.0)], 1e9) is None, "nothing is asked"
    assert stuck([at(1000.0, never)], 1000 + STUCK_S) is None
    assert stuck([at(1000.0, never)], 1001 + STUCK_S) == "no attempt has ended for 301 s"
    busy = [at(1000.0 + i, never) for i in range(200)]
    assert stuck([*busy, at(None, 1290.0)], 1500.0) is None, "a slow bus: others were answered meanwhile"
    assert stuck([*busy, at(None, 2790.0)], 2801.0) == "an attempt has not ended for 1801 s"


async def test_somebody_wants_a_device_read_now() -> None:
    driving = Driving("never")
    async with asyncio.timeout(60), kept(driving) as (lines, samples):
        await until(lambda: samples)
        before = driving.polls
        roused: list[str] = []
        driving.rouse = roused.append  # type: ignore[attr-defined]
        assert (await lines.read(LAMP.id)).values == {"a": 1}
        assert driving.polls > before
        assert roused == [LAMP.id], "also one that is left alone"
        with pytest.raises(KeyError):
            await lines.read("nobody")
        lines._reading.add("bus")
        with pytest.raises(Refused, match="is being read"):
            await lines.read(LAMP.id)
        lines._reading.clear()
        lines._pollers.clear()
        with pytest.raises(Refused, match="speaks by itself"):
            await lines.read(LAMP.id)
        lines._drivers.clear()
        with pytest.raises(Unreachable, match="not open"):
            await lines.read(LAMP.id)
