"""Supervisor: keeps every line open, whatever its driver does: each in a task of its own, which starts again with
back-off when the driver fails or is stuck, or somebody asks for it, without touching the others.

A driver is stuck that does not open within OPEN_S, ends no attempt for STUCK_S while one lasts, or one attempt not
within ATTEMPT_S: a slow bus with many silent devices is not. Whatever devices answer, attempts end. One that does not
even end when it is cancelled is left behind; with MAX_LEFT of those the node needs a new process.

Bounds: between two starts of a line a random wait of up to RESTART_MAX_S, but where somebody asks for one; of each line
the last reason why it was stuck, for ANEW_SHOWN_S.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from drivers.contract import Deliver, Driver, Noting, Now, Receipts, Rousing
from drivers.errors import DriverError, Misconfigured, Refused, Unreachable
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import AttachedLine
from edge.sampling.poller import Poller
from groundwork.backoff import Backoff, upper_half
from groundwork.liveness import END_S, LOOK_S, Late, ended, running_s
from wire.device import Point
from wire.sample import Sample

log = logging.getLogger(__name__)

RESTART_FIRST_S: Final = 2.0
RESTART_MAX_S: Final = 60.0
OPEN_S: Final = 120.0
STUCK_S: Final = 300.0
ATTEMPT_S: Final = 1_800.0
STOP_S: Final = 5.0  # for a driver to end when the node does
MAX_LEFT: Final = 3
READ_S: Final = 20.0
ANEW_SHOWN_S: Final = 3_600.0
CONNECT_S: Final = 5.0  # a line that has been open for less may still be connecting


class Restarted(DriverError):
    """A line was to start again."""


class Supervisor:
    """One for a node. `begin` it; then it says how its lines are."""

    def __init__(self, lines: Sequence[AttachedLine], *, street: LastSamples, now: Now, receipts: Receipts) -> None:
        """`street` is told of devices that will not be polled any more; `receipts` is what drivers are opened with."""
        self._street, self._now, self._receipts = street, now, receipts
        self._lines = list(lines)
        self._at_once: set[str] = set()  # devices that are asked as soon as their line is open
        self._line_of = {device: line.name for line in lines for device in line.tables}
        self._faults: dict[str, str] = {}
        self._drivers: dict[str, Driver] = {}
        self._opened: dict[str, float] = {}
        self._pollers: list[Poller] = []
        self._counted: Counter[str] = Counter()  # by pollers of lines that have started again since
        self._restarts = 0
        self._anew: dict[str, tuple[str, float]] = {}  # lines that were stuck: why, and when they were opened anew
        self._wishes: dict[str, asyncio.Future[str]] = {}  # of lines that are to start again: why
        self._left: list[asyncio.Future[Any]] = []
        self._reading: set[str] = set()  # lines of which somebody wants a device read now

    def begin(
        self, group: asyncio.TaskGroup, deliver: Deliver, opened: Callable[[Sequence[str]], object]
    ) -> list[asyncio.Task[None]]:
        """A task for each line, which ends only when it is cancelled. `opened` hears of a line's devices when it is
        open."""
        return [
            group.create_task(self._keep(line.name, deliver, opened), name=f"line {line.name}") for line in self._lines
        ]

    @property
    def lines(self) -> Sequence[AttachedLine]:
        """As they are now: always the same sequence, in which `swap` puts a line in the place of another."""
        return self._lines

    def swap(self, line: AttachedLine, why: str, at_once: Collection[str] = ()) -> None:
        """Let a line of this name start again with other addresses of the same devices, or other settings. The devices
        `at_once` are asked as soon as it is open.

        Raises:
            KeyError: there is none of that name. ValueError: other devices hang on it.
        """
        at = next((i for i, one in enumerate(self._lines) if one.name == line.name), None)
        if at is None:
            raise KeyError(line.name)
        if set(self._lines[at].tables) != set(line.tables):
            raise ValueError(f"line {line.name} has other devices")
        self._lines[at] = line
        self.ask_at_once(at_once)
        if line.name in self._wishes:
            self.restart(line.name, why)

    def ask_at_once(self, devices: Collection[str]) -> None:
        """Ask devices as soon as their lines are opened next."""
        self._at_once |= set(devices) & self._line_of.keys()

    def restart(self, line: str, why: str) -> None:
        """Let a line start again; what it is doing is cancelled.

        Raises:
            KeyError: there is none of that name.
        """
        wish = self._wishes[line]
        if not wish.done():
            wish.set_result(why)

    async def read(self, device: str) -> Sample:
        """Ask a device now, as somebody at the cabinet wants it; the sample is taken as any other.

        Raises:
            KeyError: there is none of that name. Refused: it cannot be asked, or its line is being asked so already.
            Unreachable: its line is down, or there was no end to it. Misconfigured.
        """
        line = self._line_of[device]
        poller = next((p for p in self._pollers if p.device == device), None)
        if (driver := self._drivers.get(line)) is None:
            raise Unreachable(self._faults.get(line, "the line is not open"))
        if poller is None:
            raise Refused("it speaks by itself: nobody can ask it")
        if line in self._reading:
            raise Refused("a device of this line is being read: try again in a moment")
        self._reading.add(line)
        if isinstance(driver, Rousing):
            driver.rouse(device)
        try:
            async with asyncio.timeout(READ_S):
                return await poller.ask(driver)
        except TimeoutError as error:
            raise Unreachable(f"no end within {READ_S:g} s") from error
        finally:
            self._reading.discard(line)

    def late(self) -> Late | None:
        """Too many drivers do not end: nothing but a new process frees what they hold."""
        self._left = [task for task in self._left if not task.done()]
        return Late("lines", f"the end of {len(self._left)} drivers", END_S) if len(self._left) >= MAX_LEFT else None

    @property
    def drivers(self) -> Mapping[str, Driver]:
        """Those that are open now, by line."""
        return self._drivers

    def driver_of(self, device: str) -> Driver | None:
        """The open driver of a device; None while its line is down."""
        return self._drivers.get(self._line_of[device])

    def faults(self) -> Mapping[str, str]:
        """Lines that failed, and those whose driver has no connection now: what raises alarms."""
        unconnected = {
            name: "; ".join(["not connected", *_notes(driver)])
            for name, driver in self._drivers.items()
            if driver.counters().get("connected", 1) == 0 and time.monotonic() - self._opened[name] > CONNECT_S
        }
        return unconnected | self._faults

    def anew(self) -> Mapping[str, tuple[str, float]]:
        """Lines that were opened anew lately because they were stuck: why, and how many seconds ago."""
        now = time.monotonic()
        self._anew = {line: said for line, said in self._anew.items() if now - said[1] < ANEW_SHOWN_S}
        return {line: (why, now - at) for line, (why, at) in self._anew.items()}

    def troubles(self) -> Mapping[str, str]:
        """The same, and what drivers note of lines that work: what a person should know."""
        noted = {
            name: "; ".join(notes)
            for name, driver in self._drivers.items()
            if driver.counters().get("connected", 1) and (notes := _notes(driver))
        }
        return {**noted, **self.faults()}

    def counters(self) -> Mapping[str, int]:
        """What pollers counted since the start, and drivers since they were opened, those by line."""
        found: Counter[str] = Counter(
            polls=sum(p.polls for p in self._pollers),
            polls_failed=sum(p.failed for p in self._pollers),
            polls_missed=sum(p.missed for p in self._pollers),
            line_restarts=self._restarts,
        )
        found.update(self._counted)
        for name, driver in self._drivers.items():
            found.update({f"{name}.{what}": count for what, count in driver.counters().items()})
        return found

    # ---- one line ------------------------------------------------------------------------------------------------

    async def _keep(self, name: str, deliver: Deliver, opened: Callable[[Sequence[str]], object]) -> None:
        """Keep one line going for as long as the node lives."""
        backoff = Backoff(first_s=RESTART_FIRST_S, longest_s=RESTART_MAX_S, jitter=upper_half)
        while True:
            started = time.monotonic()
            line = next(one for one in self._lines if one.name == name)
            wish = self._wishes[name] = asyncio.get_running_loop().create_future()
            try:
                await self._turn(line, wish, deliver, opened)
            except (Exception, SystemExit) as error:  # whatever a driver raises ends this line's turn, and no other's
                self._faults[line.name] = _reason(error)
                if time.monotonic() - started > RESTART_MAX_S:
                    backoff.succeeded()
                # What its driver says on purpose is one line; only what nobody expected is worth a traceback.
                bug = None if isinstance(_first(error), DriverError) else error
                log.log(logging.ERROR, "line %s failed and starts again: %s", line.name, _reason(error), exc_info=bug)
            self._restarts += 1
            # Whoever has asked for it stands there: it starts at once, also out of the middle of a wait.
            await asyncio.wait([wish], timeout=backoff.failed())

    async def _turn(
        self,
        line: AttachedLine,
        wish: asyncio.Future[str],
        deliver: Deliver,
        opened: Callable[[Sequence[str]], object],
    ) -> None:
        """From opening a line to its end.

        Raises:
            Restarted: it was stuck, or somebody has asked for it. Exception: whatever its driver raises.
        """
        pollers: list[Poller] = []
        began = running_s()
        opening = _fenced(self._open(line, deliver, opened, pollers))
        turn = asyncio.create_task(opening, name=f"the driver of line {line.name}")
        why = None
        try:
            while not (turn.done() or wish.done()):
                await asyncio.wait([turn, wish], timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                open_s = running_s() - began
                if line.name not in self._drivers and open_s > OPEN_S:
                    why = f"it has not opened for {open_s:.0f} s"
                else:
                    why = stuck(pollers, running_s())
                if why is not None:
                    break
        except asyncio.CancelledError:
            if not await ended(turn, within_s=STOP_S):
                self._leave(line.name, turn)
            raise
        if turn.done():
            return turn.result()
        if not await ended(turn):
            self._leave(line.name, turn)
        if why is None:
            raise Restarted(wish.result())
        self._anew[line.name] = why, time.monotonic()
        raise Restarted(why)

    def leave(self, device: str, answer: asyncio.Future[Any]) -> None:
        """What a driver was asked of a device does not end, and was left behind: its line is opened anew."""
        line, why = self._line_of[device], f"an answer of {device} does not end"
        log.error("line %s: %s", line, why)
        self._left.append(answer)
        self._anew[line] = why, time.monotonic()
        if line in self._wishes:
            self.restart(line, why)

    def _leave(self, line: str, turn: asyncio.Future[None]) -> None:
        log.error("the driver of line %s does not end, and is left behind", line)
        self._left.append(turn)

    async def _open(
        self,
        line: AttachedLine,
        deliver: Deliver,
        opened: Callable[[Sequence[str]], object],
        pollers: list[Poller],
    ) -> None:
        driver = line.kind.open(line.name, line.settings, line.attachments, self._now, self._receipts)
        try:
            async with driver, asyncio.TaskGroup() as group:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError  # a driver that has swallowed it: another one has the line by now
                self._drivers[line.name] = driver
                self._opened[line.name] = time.monotonic()
                self._faults.pop(line.name, None)
                opened(list(line.tables))
                listeners = [a.device for a in line.attachments if line.kind.polled(a.profile) < set(a.profile.points)]
                if listeners:
                    group.create_task(_fenced(driver.listen(listeners, deliver)))
                for attachment in line.attachments:
                    polled = line.kind.polled(attachment.profile)
                    if points := [p for n, p in attachment.profile.points.items() if n in polled]:
                        poll_s = line.tables[attachment.device.id].poll_s
                        poller = Poller(
                            attachment.device, points, poll_s, now=self._now, accept=lambda sample: deliver([sample])
                        )
                        pollers.append(poller)
                        self._pollers.append(poller)
                        group.create_task(self._poll(poller, driver, attachment.device.id, points))
                        if attachment.device.id in self._at_once:
                            self._at_once.discard(attachment.device.id)
                            group.create_task(_asked(poller, driver))
                await asyncio.Event().wait()
        finally:
            if self._drivers.get(line.name) is driver:
                del self._drivers[line.name]
            for poller in pollers:  # what they counted stays counted
                self._pollers.remove(poller)
                self._counted.update(polls=poller.polls, polls_failed=poller.failed, polls_missed=poller.missed)

    async def _poll(self, poller: Poller, driver: Driver, device: str, points: Sequence[Point]) -> None:
        try:
            await _fenced(poller.run(driver))
        except Misconfigured as error:
            log.error("%s is not polled any more: %s", device, error)  # noqa: TRY400 - no bug of ours
            self._street.devices[device].fault = f"misconfigured: {error} ({len(points)} points)"


def stuck(pollers: Collection[Poller], now: float) -> str | None:
    """Why a line is, by its pollers; None where it is not."""
    busy = [p.began for p in pollers if p.began is not None]
    if not busy:
        return None
    longest = now - min(busy)
    if longest > ATTEMPT_S:
        return f"an attempt has not ended for {longest:.0f} s"
    idle = now - max(min(busy), *(p.ended for p in pollers))
    return f"no attempt has ended for {idle:.0f} s" if idle > STUCK_S else None


async def _asked(poller: Poller, driver: Driver) -> None:
    """Once, beside its schedule; what is wrong with it is told by that."""
    try:
        await _fenced(_nothing_of(poller.ask(driver)))
    except Misconfigured as error:
        log.warning("%s: %s", poller.device, error)


async def _nothing_of(call: Awaitable[object]) -> None:
    await call


async def _fenced(call: Awaitable[None]) -> None:
    """What a driver does in a task of its own; sys.exit() in there is no wish of the node's.

    Raises:
        RuntimeError: instead of SystemExit, which would end the loop.
    """
    try:
        await call
    except SystemExit as error:
        raise RuntimeError(f"the driver called sys.exit({error.code!r})") from error


def _notes(driver: Driver) -> Sequence[str]:
    return driver.notes() if isinstance(driver, Noting) else ()


def _reason(error: BaseException) -> str:
    """The first thing that went wrong, in words."""
    first = _first(error)
    return f"{type(first).__name__}: {first}"[:300]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
