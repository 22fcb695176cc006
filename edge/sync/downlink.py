"""The downlink: orders from the cloud, over one stream of server-sent events that the node opens and keeps open.

The node calls, so no cabinet needs an address; the cloud sends its time every 15 s, so that a stream which brings
nothing for SILENCE_S is known to be dead, whatever a NAT or a proxy thinks of it. A proxy that holds answers back until
they end shows as a stream that never begins: after BUFFERED streams like that in a row the node asks for what is open
every ASK_S instead, and tries the stream again every STREAM_AGAIN_S.

A stream says that this node answers questions (`edge.sync.answers`), which come down with the orders.

Nothing that comes down ends it: what cannot be read or taken is counted and left out. Bounds: one stream, one `Down` of
at most MAX_DOWN_BYTES at a time, MAX_STREAM_BYTES a stream, which is then opened anew (`groundwork.bounded_sse`); waits
with full jitter up to `max_wait_s`; they double as long as streams do not last for SILENCE_S. One that another has
replaced is opened again after REPLACED_S at the earliest; Retry-After is obeyed up to an hour.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final, cast

import httpx
import msgspec
from httpx_sse import EventSource, SSEError

from groundwork.backoff import Backoff, Jitter, full, retry_after
from groundwork.bounded_sse import IDENTITY, BoundedResponse, Oversized
from groundwork.liveness import SLACK_S, Part
from wire.orders import MAX_DOWN_BYTES, Down
from wire.why import ANSWERS

log = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
SILENCE_S: Final = 40.0
BEGIN_S: Final = 20.0
BUFFERED: Final = 2
ASK_S: Final = 15.0
STREAM_AGAIN_S: Final = 900.0
FIRST_WAIT_S: Final = 1.0
MAX_STREAM_BYTES: Final = 64 * 1024 * 1024
REPLACED_S: Final = 60.0  # two nodes with one token must not take the stream from each other all day long
_DOWN: Final = msgspec.json.Decoder(Down)


class _Dead(Exception):
    """The stream is of no use any more; the text says why.

    `held_back`: it was waited for, and brought nothing. `least_s` is how long to leave it alone;
    `asked_s` what the cloud has asked for, up to an hour, which comes before the wait.
    """

    def __init__(self, text: str, *, held_back: bool = False, least_s: float = 0.0, asked_s: float = 0.0) -> None:
        super().__init__(text)
        self.held_back, self.least_s, self.asked_s = held_back, least_s, asked_s


class Downlink:
    """`run` it; `take` is called with each `Down`, in their order."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        take: Callable[[Down], None],
        *,
        max_wait_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Jitter = full,
        alive: Part | None = None,
    ) -> None:
        """`alive` is told of each attempt and each wait."""
        self.alive = Part("downlink", monotonic) if alive is None else alive
        self._client, self._url, self._take = client, url, take
        self._max_wait_s, self._sleep, self._monotonic, self._jitter = max_wait_s, sleep, monotonic, jitter
        self._unbegun = 0  # streams in a row that were held back
        self._stream_again = 0.0
        self._begun = False
        self._said_down = False  # in the log
        self.connected = False
        self.streams = self.orders = 0
        self.unreadable = 0

    async def run(self) -> None:
        """Until cancelled."""
        # The first failure waits twice as long as a stream that lasted.
        backoff = Backoff(first_s=2 * FIRST_WAIT_S, longest_s=self._max_wait_s, jitter=self._jitter)
        while True:
            began = self._monotonic()
            asking = self._unbegun >= BUFFERED and began < self._stream_again
            dead: _Dead | None = None
            try:
                await self._once(asking=asking)
            except _Dead as error:
                dead = error
                if not self._said_down:
                    log.warning("the downlink from %s ended: %s", self._url, dead)
                self._said_down = True
            finally:
                self.connected = False
            if not asking and self._begun:
                self._unbegun = 0
            elif not asking and dead is not None and dead.held_back:
                self._unbegun += 1
                self._stream_again = began + STREAM_AGAIN_S
            if dead is None and asking:
                backoff.succeeded()
                wait_s = ASK_S
            elif self._begun and self._monotonic() - began >= SILENCE_S:
                backoff.succeeded()
                wait_s = self._jitter(min(self._max_wait_s, FIRST_WAIT_S))
            else:
                # A stream that ends at once is no better than one that fails, however politely it ends.
                wait_s = backoff.failed()
            wait_s = wait_s if dead is None else dead.asked_s + max(dead.least_s, wait_s)
            self.alive.waits(wait_s)
            await self._sleep(wait_s)

    async def _once(self, *, asking: bool) -> None:
        """One stream to its end, or what is open now.

        Raises:
            _Dead.
        """
        self.streams += 1
        self._begun = False
        self.alive.within(BEGIN_S + SLACK_S, "the beginning of a stream")
        try:
            async with (
                asyncio.timeout(BEGIN_S) as patience,
                self._client.stream(
                    "GET",
                    self._url,
                    params={"once": "1"} if asking else {"answers": ANSWERS},
                    headers=IDENTITY,
                    timeout=httpx.Timeout(CONNECT_S, read=SILENCE_S),
                ) as response,
            ):
                if response.status_code != 200:
                    asked_s = retry_after(response.headers.get("Retry-After"))
                    raise _Dead(f"the cloud answered {response.status_code}", asked_s=asked_s)
                bounded = BoundedResponse(response, event_chars=MAX_DOWN_BYTES, stream_bytes=MAX_STREAM_BYTES)
                async with aclosing(EventSource(cast("httpx.Response", bounded)).aiter_sse()) as events:
                    async for sent in events:
                        self._begun = self.connected = True
                        if self._said_down:
                            self._said_down = False
                            log.info("the downlink is open again")
                        self.alive.within(SILENCE_S + SLACK_S, "a stream that says nothing")
                        patience.reschedule(asyncio.get_running_loop().time() + SILENCE_S)
                        if sent.event == "replaced":
                            raise _Dead("another node has opened the stream with the same token", least_s=REPLACED_S)
                        if sent.data:
                            self._down(sent.data)
        except TimeoutError as error:
            text = f"nothing came for {SILENCE_S:g} s" if self._begun else f"it has not begun within {BEGIN_S:g} s"
            raise _Dead(text, held_back=not self._begun) from error
        except Oversized as error:
            raise _Dead(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL, SSEError, OSError) as error:
            raise _Dead(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        if not (self._begun or asking):
            raise _Dead("it ended before it began")

    def _down(self, data: str) -> None:
        try:
            down = _DOWN.decode(data)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            # A newer cloud may know orders that this node does not: they expire there, and the others go on.
            self.unreadable += 1
            log.error("something came down that cannot be read: %s", error)  # noqa: TRY400 - no bug of ours
            return
        self.orders += down.order is not None
        try:
            self._take(down)
        except Exception:  # a bug of ours in one order; those after it must get through
            self.unreadable += 1
            log.exception("order %s could not be taken", "" if down.order is None else down.order.id)
