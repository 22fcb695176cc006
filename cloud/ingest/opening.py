"""Opening: what nodes send, made into batches beside the event loop, with a bound on how much of it is open at a time.

What a body takes is not what came: 21 KB may open to 4 MiB of CBOR, and that takes some thirty times as much as
objects. All of it is Python, so that threads only take the interpreter from each other and from the event loop; hence
few of them, and a lane of their own for the large ones, so that those wait for each other and nobody waits for them.

Bounds, of each lane: THREADS bodies are opened at a time; OPEN_BYTES of CBOR are open at a time, from before a body is
opened until it is in the log, by what its frame says of its size (`wire.frame` holds it to that), and IN_HAND bodies;
the others wait in the order in which they came, and keep only their compressed bytes (`cloud.ingest.bodies`). Beyond
LIGHT_BYTES a body is a large one. MAX_OTHERS entries of a batch are something else than columns, and they say of
MAX_DECIDED points who decides; a node that has more sends them in several.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import thread_time
from typing import Final, TypeVar

import msgspec

from cloud.ingest.bases import NoBase, in_full
from cloud.log.batch_facts import BatchFacts, check_snapshot, facts_of
from wire import chain
from wire.batch import Batch, Snapshot
from wire.chain import Base, Chained
from wire.codec import decode_batch, decode_snapshot
from wire.entries import Decisions
from wire.errors import TooLarge
from wire.frame import MAX_PLAIN_BYTES, plain_bytes

THREADS: Final = (2, 1)  # for small ones, for large ones
OPEN_BYTES: Final = MAX_PLAIN_BYTES
IN_HAND: Final = 64
LIGHT_BYTES: Final = 256 << 10
MAX_OTHERS: Final = 20_000
MAX_DECIDED: Final = 100_000

T = TypeVar("T")


class Opened(msgspec.Struct, frozen=True):
    """A batch, what it holds, and the self-contained body that is kept of it."""

    batch: Batch
    facts: BatchFacts
    body: bytes


class Opening:
    """Both lanes."""

    def __init__(self) -> None:
        self._light, self._heavy = (OpeningLane(threads) for threads in THREADS)

    def lane(self, size: int) -> OpeningLane:
        """The one for bodies of so many bytes."""
        return self._light if size <= LIGHT_BYTES else self._heavy


class OpeningLane:
    """Owns its threads. On the event loop."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="lamplighter-opening")
        self._open = 0
        self._count = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncGenerator[None]:
        """Wait until so many bytes of CBOR may be open besides the others, and hold their place."""
        size = min(max(size, 0), MAX_PLAIN_BYTES)
        if self._waiting or not self._fits(size):
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._let_in()  # which passes over it
                else:
                    self._leave(size)
                raise
        else:
            self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def do(self, work: Callable[[], T], spent: Callable[[float], None]) -> T:
        """Its result, or what it raises; `spent` is called in either case with the seconds of processor time it
        took."""

        def timed() -> T:
            began_s = thread_time()
            try:
                return work()
            finally:
                loop.call_soon_threadsafe(spent, thread_time() - began_s)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, timed)

    def _fits(self, size: int) -> bool:
        return self._count < IN_HAND and self._open + size <= OPEN_BYTES

    def _enter(self, size: int) -> None:
        self._open += size
        self._count += 1

    def _leave(self, size: int) -> None:
        self._open -= size
        self._count -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._enter(size)
                turn.set_result(None)


def size_of(body: bytes) -> int:
    """How many bytes of CBOR a frame says that it holds; 0 for what is none, which will not open at all."""
    try:
        return plain_bytes(body)
    except Exception:  # noqa: BLE001  python-zstandard's own errors; opening it tells what is wrong
        return 0


def batch_of(body: bytes) -> Opened:
    """A self-contained body.

    Raises:
        BadInput.
    """
    batch = decode_batch(body)
    facts = facts_of(batch)
    if len(facts.others) > MAX_OTHERS:
        raise TooLarge(f"{len(facts.others)} entries that are not columns; at most {MAX_OTHERS} a batch")
    said = (item.entry.decided for item in facts.others if isinstance(item.entry, Decisions))
    if sum(len(decision.devices) for decided in said for decision in decided) > MAX_DECIDED:
        raise TooLarge(f"who decides is said of more than {MAX_DECIDED} points in one batch")
    return Opened(batch, facts, body)


def chained_of(body: bytes) -> Chained:
    """A chained body, its frame unopened.

    Raises:
        BadInput.
    """
    return chain.decode(body)


def batch_on(chained: Chained, base: Base) -> Opened | None:
    """The batch of a chained body; None where it does not lean on this base.

    Raises:
        BadInput.
    """
    try:
        return batch_of(in_full(chained, base))
    except NoBase:
        return None


def snapshot_of(body: bytes) -> Snapshot:
    """A snapshot.

    Raises:
        BadInput.
    """
    snapshot = decode_snapshot(body)
    check_snapshot(snapshot)
    return snapshot
