"""Actuators: every writable point has the value that its priority array says, or the reason is reported.

A point is written, then read back, and only what was read counts. After a restart, or when its state is not known, a
device is asked before it is told, and not told what it has already. One that someone else has changed, or that has
forgotten, is set again as soon as a sample shows it. A relay is left alone for `min_write_s` between writes. What has
ended is not written any more, whether or not the array has been told yet.

A try that fails is repeated, TRIES times in all; then `failed` is told, and again after each further try: an order
lets its place go. It is tried again for as long as the array says so, with waits that double up to RETRY_MAX_S; another
value, an order and a device that answers again do not wait. Whatever a driver raises is a try that failed. A line that
is down has LINE_S to come back first, as it does after a restart.

A point that only reports is told once, and then has REPORT_S, or the profile's `settle_s` where that is longer, to
answer: meanwhile nothing is sent again, not for another order of the same value, nor because it says something else;
only another value goes out. What it says before it has heard may well be what is wanted, and what was queued before may
still reach it after that.

Bounds: one task a point that is not yet as it should be; a driver has CALL_S to answer (`edge.control.answering`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Self

import msgspec

from drivers.contract import Driver
from drivers.errors import DriverError, Refused, Unreachable
from edge.clock import monotonic_us as node_monotonic_us
from edge.control.actuator import Actuator, ProgressListener
from edge.control.answering import Deaf, answered, nobody_cares
from edge.control.arbitration import Held
from edge.control.arrays import Key, PriorityArrays
from wire.entries import Level
from wire.sample import Sample, Value
from wire.time import Mono

log = logging.getLogger(__name__)

TRIES: Final = 3
RETRY_FIRST_S: Final = 0.2
RETRY_MAX_S: Final = 300.0
REPORT_S: Final = 10.0
LINE_S: Final = 10.0
END_S: Final = 2.0  # for tries to end; a driver that is deaf to it is no reason to wait
CALL_S: Final = 60.0  # a busy line may let a write wait; a driver that never answers is a bug, and no reason to stop


class _Failure(msgspec.Struct, frozen=True):
    why: str
    read: Value = None
    line: bool = False  # its line is down


class _State(msgspec.Struct):
    """What is known of one point."""

    known: Value = None  # as it was last read, None: not known
    written: float | None = None  # when, on the loop's clock
    wake: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    after: list[asyncio.Future[None]] = []  # what must be on the card first
    # Of a write that is read back by report: what is hoped for, and what was said since.
    hoped: Value = None
    reported: Value = None
    told: float | None = None  # when it was told what is hoped for, on the loop's clock; None: that is over
    # Of a pause between two tries.
    pausing: bool = False
    hurry: bool = False  # the device answers again
    silent: bool = False
    stuck: bool = False
    said: str = ""  # the last bug that was logged, so that it is logged once


class Actuators:
    """An async context manager; leaving ends all tries."""

    def __init__(
        self,
        actuators: Mapping[Key, Actuator],
        control: PriorityArrays,
        driver: Callable[[str], Driver | None],
        told: ProgressListener,
        *,
        monotonic_us: Callable[[], Mono] = node_monotonic_us,
        deaf: Deaf = nobody_cares,
    ) -> None:
        """`driver` gives the open driver of a device, None while its line is down. `monotonic_us` is the axis by which
        values end. `deaf` hears of a driver's answer that does not end when it is cancelled."""
        self._actuators, self._control, self._driver, self._told = actuators, control, driver, told
        self._monotonic_us, self._deaf = monotonic_us, deaf
        self._states = {key: _State() for key in actuators}
        self._closed = False
        self._watched: dict[str, list[tuple[Key, str]]] = {}
        for key, actuator in actuators.items():
            self._watched.setdefault(key[0], []).append((key, actuator.reads_back.name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all tries, and begin none."""
        self._closed = True
        for state in self._states.values():
            if state.task is not None:
                state.task.cancel()
        await self.settle(self._states, END_S)

    def wake(self, key: Key, after: asyncio.Future[None] | None = None) -> None:
        """The array may say something else now. Nothing is written before `after` is done.

        Raises:
            KeyError: there is no such actuator.
        """
        state = self._states[key]
        if self._closed:
            return
        if after is not None:
            state.after.append(after)
        state.wake.set()
        if state.task is None:
            state.task = asyncio.create_task(self._settle(key, state), name=f"actuator {key[0]} {key[1]}")

    async def settle(self, keys: Iterable[Key], within_s: float) -> None:
        """Wait so long for points to be as they should."""
        if tasks := [t for key in keys if (t := self._states[key].task) is not None]:
            await asyncio.wait(tasks, timeout=within_s)

    def seen(self, sample: Sample) -> None:
        """What devices say of themselves: the answer that someone waits for, or a change that was not ours."""
        for key, name in self._watched.get(sample.device, ()):
            state, actuator = self._states[key], self._actuators[key]
            if name in sample.quality:
                state.silent = True
                continue
            value = sample.values.get(name)
            if value is None:
                continue
            answers_again, state.silent = state.silent, False
            if state.hoped is not None and not actuator.matches(state.hoped, state.reported):
                state.reported = value
                state.wake.set()
            top = self._control.top(key)
            right = top is None or actuator.matches(top[1].value, value)
            if state.pausing and (answers_again or right):
                state.hurry = True
                state.wake.set()
            if state.known is not None and not actuator.matches(state.known, value):
                state.known = None
            if not right and state.task is None:
                state.known, state.reported = None, value
                self.wake(key)

    # ---- one point -----------------------------------------------------------------------------------------------

    async def _settle(self, key: Key, state: _State) -> None:
        """Until the point is as its array says."""
        tries, pause_s, since = 0, 0.0, 0.0
        tried: object = None
        loop = asyncio.get_running_loop()
        try:
            while not self._closed:
                state.wake.clear()
                while state.after:
                    # Not awaited itself: a task that is cancelled would cancel it for whoever else waits.
                    await asyncio.wait([state.after[0]])
                    if (durable := state.after.pop(0)).cancelled() or durable.exception() is not None:
                        log.error("%s %s is not set: what it should have could not be kept", *key)
                        return
                top = self._control.top(key)
                failure = await self._once(key, state, top)
                if failure is None:
                    tries, pause_s = 0, 0.0
                    # A wake-up alone is no reason: what only reports would be written again for each.
                    if state.after or _wanted(self._control.top(key)) != _wanted(top):
                        continue
                    return
                assert top is not None  # nothing held cannot fail
                wanted = _wanted(top)
                if wanted != tried:
                    tries, pause_s, tried, since = 0, 0.0, wanted, loop.time()
                tries += 1
                enough = tries >= TRIES and (not failure.line or loop.time() - since >= LINE_S)
                if enough and self._wants(key, wanted) and not self._over(top[1]):
                    self._log_once(key, state, failure.why)
                    if self._told.failed(key, *top, failure.why, failure.read):
                        tried = None
                        continue
                pause_s = min(RETRY_MAX_S, max(RETRY_FIRST_S, 2 * pause_s))
                await self._pause(key, state, wanted, pause_s, line=failure.line)
        except Exception:  # a bug of whoever is told; the next sample or order begins again
            log.exception("%s %s is left as it is", *key)
        finally:
            state.task = None

    async def _once(self, key: Key, state: _State, top: tuple[Level, Held] | None) -> _Failure | None:
        """One try; why it failed, or None: it is as it should be, or something else is wanted by now."""
        if top is None:
            state.stuck, state.hoped, state.told = False, None, None
            self._told.settled(key, None, None, None)
            return None
        if self._over(top[1]):
            return None  # the array will be told, and wakes us
        try:
            return await self._try(key, state, *top)
        except DriverError as error:
            state.known = None
            return _Failure(str(error))
        except Exception as error:  # what a driver raises is told once; it must not leave a lamp dark for ever
            state.known = None
            text = f"{type(error).__name__}: {error}"
            if state.said != text:
                state.said = text
                log.exception("%s %s cannot be set", *key)
            return _Failure(text)

    async def _try(self, key: Key, state: _State, level: Level, held: Held) -> _Failure | None:
        actuator, wanted = self._actuators[key], _wanted((level, held))
        driver = self._driver(key[0])
        if driver is None:
            return _Failure("its line is down", line=True)
        if actuator.polled:
            if state.known is None or actuator.matches(held.value, state.known):
                state.known = read = await self._asked(driver, actuator, state)
                if read is not None and actuator.matches(held.value, read):
                    self._settled(key, state, level, held, read)
                    return None
        elif _on_its_way(state, actuator, held.value, asyncio.get_running_loop().time()):
            if state.known is not None:  # it has said so since it was told
                self._settled(key, state, level, held, state.known)
                return None
            return await self._hear(key, state, actuator, level, held)
        else:
            state.known = None  # it cannot be asked; what it said last is not believed for a new value
        if not await self._rested(key, state, actuator, wanted) or self._over(held):
            return None
        return await self._write(driver, key, state, actuator, level, held)

    async def _asked(self, driver: Driver, actuator: Actuator, state: _State) -> Value:
        try:
            return await self._read(driver, actuator, state)
        except Refused:
            return None  # it answers and cannot say what it has: no reason to leave it as it is

    async def _rested(self, key: Key, state: _State, actuator: Actuator, wanted: object) -> bool:
        """Wait until it may be written again; False when something else is wanted by then."""
        rest_s = 0.0
        if state.written is not None:
            rest_s = state.written + actuator.writing.min_write_s - asyncio.get_running_loop().time()
        return await self._while_wanted(key, state, wanted, rest_s)

    async def _write(
        self, driver: Driver, key: Key, state: _State, actuator: Actuator, level: Level, held: Held
    ) -> _Failure | None:
        loop, wanted = asyncio.get_running_loop(), _wanted((level, held))
        state.known = state.reported = None
        state.hoped = None if actuator.polled else held.value
        state.told = None
        left_s = CALL_S if held.ends_us is None else min(CALL_S, (held.ends_us - self._monotonic_us()) / 1e6)
        try:
            writing = driver.write(actuator.device, actuator.point, held.value)
            await answered(writing, left_s, key[0], self._deaf)
        except BaseException:
            state.hoped = None
            raise
        finally:
            state.written = loop.time()  # it may have been told, whatever came back
        if not actuator.polled:
            state.told = loop.time()
            return await self._hear(key, state, actuator, level, held)
        self._told.applied(key, level, held)
        if not await self._while_wanted(key, state, wanted, actuator.writing.settle_s):
            return None
        return self._compared(key, state, actuator, level, held, await self._read(driver, actuator, state))

    async def _hear(self, key: Key, state: _State, actuator: Actuator, level: Level, held: Held) -> _Failure | None:
        """Wait for the answer of a point that only reports and was sent this value, for as long as it may take.

        Raises:
            Unreachable: it has said nothing in that time.
        """
        assert state.told is not None
        self._told.applied(key, level, held)
        wait_s = _answer_s(actuator)
        left_s = state.told + wait_s - asyncio.get_running_loop().time()
        said = lambda: actuator.matches(held.value, state.reported)  # noqa: E731 - a name for what is waited for
        if not said() and not await self._while_wanted(key, state, _wanted((level, held)), left_s, said):
            return None  # what it was told stays on its way, should the same be wanted again
        read, state.reported = state.reported, None
        if not actuator.matches(held.value, read):
            state.hoped = state.told = None  # its time is over: it is told again
        if read is None:
            raise Unreachable(f"it has not said within {wait_s:g} s what it was set to")
        return self._compared(key, state, actuator, level, held, read)

    def _compared(
        self, key: Key, state: _State, actuator: Actuator, level: Level, held: Held, read: Value
    ) -> _Failure | None:
        state.known = read
        if not actuator.matches(held.value, read):
            return _Failure(f"it was told {held.value!r} and says {read!r}", read)
        self._settled(key, state, level, held, read)
        return None

    async def _read(self, driver: Driver, actuator: Actuator, state: _State) -> Value:
        """What the device says now.

        Raises:
            Unreachable: it does not answer. Refused: it answers, and cannot say.
        """
        try:
            asking = driver.poll(actuator.device, [actuator.reads_back])
            sample = await answered(asking, CALL_S, actuator.device.id, self._deaf)
        except Unreachable:
            state.silent = True
            raise
        name = actuator.reads_back.name
        if (quality := sample.quality.get(name)) is not None:
            raise Refused(f"what it reads back is {quality}")
        return sample.values.get(name)

    def _settled(self, key: Key, state: _State, level: Level, held: Held, read: Value) -> None:
        state.said = ""
        state.stuck = False
        self._told.settled(key, level, held, read)

    def _log_once(self, key: Key, state: _State, why: str) -> None:
        if not state.stuck:
            state.stuck = True
            log.warning("%s %s cannot be set: %s", *key, why)

    # ---- waiting -------------------------------------------------------------------------------------------------

    def _wants(self, key: Key, wanted: object) -> bool:
        return _wanted(self._control.top(key)) == wanted

    def _over(self, held: Held) -> bool:
        return held.ends_us is not None and held.ends_us <= self._monotonic_us()

    async def _while_wanted(
        self, key: Key, state: _State, wanted: object, wait_s: float, done: Callable[[], bool] = lambda: False
    ) -> bool:
        """Wait so long, or until it is done; False as soon as something else is wanted, and then at once."""
        try:
            async with asyncio.timeout(wait_s):
                while wait_s > 0 and self._wants(key, wanted) and not done():
                    state.wake.clear()
                    await state.wake.wait()
        except TimeoutError:
            pass  # the usual end
        if self._wants(key, wanted):
            return True
        state.wake.set()
        return False

    async def _pause(self, key: Key, state: _State, wanted: object, pause_s: float, *, line: bool) -> None:
        """Wait for the next try, or for what cannot wait; `line`: for a line that is down."""
        state.pausing, state.hurry = True, False
        try:
            async with asyncio.timeout(pause_s):
                while self._wants(key, wanted) and not state.hurry and not state.after:
                    if line and self._driver(key[0]) is not None:
                        return
                    state.wake.clear()
                    await state.wake.wait()
        except TimeoutError:
            pass  # the next try
        finally:
            state.pausing = False


def _wanted(top: tuple[Level, Held] | None) -> object:
    """What makes two values in an array the same to a device and to whoever gave them."""
    if top is None:
        return None
    level, held = top
    return level, held.value, type(held.value), held.by, held.order


def _answer_s(actuator: Actuator) -> float:
    """How long a point that only reports may take to say what it was set to."""
    return max(REPORT_S, actuator.writing.settle_s)


def _on_its_way(state: _State, actuator: Actuator, value: Value, now_s: float) -> bool:
    """Whether a point that only reports was sent just this and may still answer: sending it again would queue
    the same command twice (a LoRaWAN device of class A takes one for each uplink, hours apart)."""
    return (
        state.told is not None
        and now_s < state.told + _answer_s(actuator)
        and type(state.hoped) is type(value)
        and state.hoped == value
    )
