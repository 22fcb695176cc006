"""The two ways that the row `order` times, and the bare one: in this process, by one clock, one thread.

Each ends when `over` says so, which is asked at most every LOOK_S beside the way, and in a thread: it may ask the
aggregator. Bounds: what is under way is waited for LAST_S at most; an extra result or event is waited for EXTRA_S.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import aiomqtt
import msgspec
import uvloop

from bench.loads.feed_tail import Tail
from bench.loads.ingest_reader import Reader
from bench.stand import BenchError

LOOK_S: Final = 0.25
LAST_S: Final = 60.0
EXTRA_S: Final = 1.0
FINAL: Final = frozenset({"verified", "refused", "failed", "expired", "superseded"})
CHEAPEST: Final = "/healthz"

Over = Callable[[float], bool]


class Took(msgspec.Struct, frozen=True):
    """How long each took, in milliseconds; `seconds` is how long they were given for."""

    ms: list[float]
    seconds: float

    def run(self) -> dict[str, float]:
        """As the figures want it."""
        ms = sorted(self.ms)
        if not ms:
            raise BenchError("nothing was timed")
        return {
            "p50_ms": ms[len(ms) // 2], "p99_ms": ms[len(ms) * 99 // 100], "worst_ms": ms[-1], "count": len(ms)
        }  # fmt: skip


class _Asked:
    """Asks `over` beside what is timed. An async context manager."""

    def __init__(self, over: Over) -> None:
        self._ask = over
        self._began_s = self._ended_s = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._until())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _until(self) -> None:
        while not await asyncio.to_thread(self._ask, time.monotonic() - self._began_s):  # noqa: ASYNC110 - it only answers
            await asyncio.sleep(LOOK_S)
        self._ended_s = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it is; what went wrong in asking is raised."""
        if self._task is None or not self._task.done():
            return False
        self._task.result()
        return True

    @property
    def seconds(self) -> float:
        """From the beginning to the end."""
        return self._ended_s - self._began_s


def give(url: str, operator: str, node: str, devices: Sequence[str], point: str, over: Over) -> Took:
    """Give a command to each device in turn, the next when the feed has told how the last one ended.

    Raises:
        BenchError: one did not end as verified, or ended twice.
    """
    return uvloop.run(_give(url, operator, node, devices, point, over))


async def _give(url: str, operator: str, node: str, devices: Sequence[str], point: str, over: Over) -> Took:
    ms: list[float] = []
    ended: Counter[tuple[str, str]] = Counter()
    given: list[str] = []
    async with (
        Reader(url, operator) as room,
        Tail(url, operator, f"type=result&node={node}") as tail,
        _Asked(over) as asked,
    ):
        events = tail.events()
        while not asked.over:
            value = 500 + len(given) % 5000 / 10  # one that the device does not have: it would be left as it is
            body = {"device": devices[len(given) % len(devices)], "point": point, "value": value, "expires_in_s": 600}
            began_s = time.monotonic()
            told: dict[str, Any] = msgspec.json.decode(
                await room.post("/v1/commands", f"k{len(given)}", msgspec.json.encode(body))
            )
            order: str = told["orders"][0]["id"]
            given.append(order)
            async with asyncio.timeout(LAST_S):
                async for at_s, result in events:
                    if result["stage"] in FINAL:
                        ended[result["order"], result["stage"]] += 1
                        if result["order"] == order:
                            ms.append((at_s - began_s) * 1e3)
                            break
        seconds = asked.seconds
        try:
            async with asyncio.timeout(EXTRA_S):
                async for _, result in events:
                    if result["stage"] in FINAL:
                        ended[result["order"], result["stage"]] += 1
        except TimeoutError:
            pass  # nothing but what was asked for
        due = Counter((order, "verified") for order in given)
        if ended != due:
            raise BenchError(f"not every order was verified once: {dict((ended - due) + (due - ended))}")
        for order in given:
            (seen,) = msgspec.json.decode(await room.get(f"/v1/commands/{order}"))["orders"]
            finals = [stage["stage"] for stage in seen["stages"] if stage["stage"] in FINAL]
            if finals != ["verified"] or seen["stage"] != "verified":
                raise BenchError(f"order {order} ended as {finals}")
    return Took(ms, seconds)


def change(url: str, reader: str, broker_port: int, lamps: Sequence[str], per_second: float, over: Over) -> Took:
    """Let lamps publish in turn, evenly, and see when the feed has it.

    Raises:
        BenchError: a change was not seen, or not once.
    """
    return uvloop.run(_change(url, reader, broker_port, lamps, per_second, over))


async def _change(url: str, reader: str, port: int, lamps: Sequence[str], per_second: float, over: Over) -> Took:
    sent_s: list[float] = []
    seen: Counter[int] = Counter()
    ms: list[float] = []

    def take(at_s: float, reading: dict[str, Any]) -> None:
        n: int = reading["values"]["n"]
        seen[n] += 1
        ms.append((at_s - sent_s[n]) * 1e3)

    async def listen(tail: Tail) -> None:
        async for at_s, reading in tail.events():
            take(at_s, reading)

    async with (
        aiomqtt.Client("127.0.0.1", port) as client,
        Tail(url, reader, "type=reading&kind=streetlight") as tail,
        _Asked(over) as asked,
    ):
        listening = asyncio.create_task(listen(tail))
        began_s = time.monotonic()
        while not asked.over:
            n = len(sent_s)
            await asyncio.sleep(began_s + n / per_second - time.monotonic())
            sent_s.append(time.monotonic())
            await client.publish(f"lamps/{lamps[n % len(lamps)]}/state", msgspec.json.encode({"n": n}), qos=1)
        seconds, deadline_s = asked.seconds, time.monotonic() + LAST_S
        while len(seen) < len(sent_s) and time.monotonic() < deadline_s and not listening.done():  # noqa: ASYNC110 - any
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(EXTRA_S)
        if listening.done():
            listening.result()
        listening.cancel()
    if seen != Counter(range(len(sent_s))):
        raise BenchError(f"{len(sent_s)} changes, {len(seen)} of them seen, {seen.total()} times")
    return Took(ms, seconds)


def round_trips(url: str, token: str, count: int) -> Took:
    """So many requests for the cheapest that the aggregator has, one after the other."""
    return uvloop.run(_round_trips(url, token, count))


async def _round_trips(url: str, token: str, count: int) -> Took:
    ms: list[float] = []
    began_s = time.monotonic()
    async with Reader(url, token) as reader:
        for _ in range(count):
            sent_s = time.monotonic()
            await reader.get(CHEAPEST)
            ms.append((time.monotonic() - sent_s) * 1e3)
    return Took(ms, time.monotonic() - began_s)
