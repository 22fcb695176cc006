"""Delivery: one webhook. Follows the feed and posts what comes, in order, each event at least once.

Events that are there go together, as CloudEvents in JSON batch format (CloudEvents 1.0, JSON 4): at most MOST_EVENTS,
about BATCH_BYTES, and what comes within LINGER_S. Taken is what is answered 2xx: the bookmark is kept then, and the
next ones are sent. Anything else is tried again, with full jitter up to LONGEST_S, or as long as Retry-After says, for
an hour at most; meanwhile the stream is closed and nothing is held: what was not taken is read again. Answered 410, it
is sent nothing more until this starts again. No redirect is followed: only the file says where a webhook goes.

What the feed could not tell any more (a `reset`) is told as an event of the type `city.lamplighter.reset`.

Bounds: those above; EVENT_CHARS an event, STREAM_BYTES a stream, which is then opened anew; an answer within ANSWER_S,
of which ANSWER_BYTES are read where it says no, within SAID_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Final, cast

import httpx
import msgspec
from httpx_sse import EventSource, ServerSentEvent, SSEError

from cloud.times import SECOND_US, Now, text
from cloud.webhooks.config import Webhook
from cloud.webhooks.signing import headers_of
from groundwork.backoff import Backoff, retry_after
from groundwork.bounded_sse import IDENTITY, BoundedResponse, Oversized

LOG: Final = logging.getLogger("lamplighter.cloud")
MEDIA_TYPE: Final = "application/cloudevents-batch+json"
RESET: Final = "city.lamplighter.reset"
PING: Final = "city.lamplighter.ping"
MOST_EVENTS: Final = 100
BATCH_BYTES: Final = 256 << 10
LINGER_S: Final = 1.0
BOOKMARK_S: Final = 30.0  # where nothing that is wanted comes
CONNECT_S: Final = 10.0
ANSWER_S: Final = 30.0
ANSWER_BYTES, SAID_S = 300, 5.0
SILENCE_S: Final = 40.0
FIRST_S, LONGEST_S = 1.0, 300.0
EVENT_CHARS: Final = 8 << 20
STREAM_BYTES: Final = 4 << 30


class Failed(Exception):
    """It is tried again; the text says why. `asked_s` is for how long the other end wants to be left alone; `of_feed`
    says that it is the feed which could not be followed."""

    def __init__(self, why: str, asked_s: float = 0.0, *, of_feed: bool = False) -> None:
        super().__init__(why)
        self.asked_s, self.of_feed = asked_s, of_feed


class Gone(Exception):
    """The other end wants nothing more."""


class Post(msgspec.Struct):
    """Events that go together, and where the feed goes on after them."""

    events: list[bytes]
    size: int = 0
    cursor: str = ""

    @property
    def full(self) -> bool:
        """Say whether no more goes with it."""
        return len(self.events) >= MOST_EVENTS or self.size >= BATCH_BYTES


class Delivery:
    """`run` it. `failing` says why nothing is taken now, empty where all is well."""

    def __init__(
        self,
        hook: Webhook,
        key: bytes,
        *,
        client: httpx.AsyncClient,
        feed: str,
        token: Callable[[], str],
        cursor: str,
        reached: Callable[[str], None],
        now: Now,
    ) -> None:
        """`feed` is the aggregator's address, `token` reads the token anew each time; `reached` keeps the bookmark."""
        self.hook, self._key = hook, key
        self._client, self._feed, self._token = client, feed.rstrip("/"), token
        self.cursor, self._reached, self._now = cursor, reached, now
        self._backoff = Backoff(first_s=FIRST_S, longest_s=LONGEST_S)
        self.failing = ""
        self._of_feed = False
        self.gone = False

    async def run(self) -> None:
        """Until cancelled, or until the other end wants nothing more."""
        while True:
            try:
                await self._follow()
            except Gone:
                self.gone = True
                LOG.warning("webhook %s: %s says 410 Gone; nothing more is sent", self.hook.name, self.hook.url)
                return
            except Failed as failed:
                if not self.failing:
                    LOG.warning("webhook %s: %s; tried again until it is taken", self.hook.name, failed)
                self.failing, self._of_feed = str(failed), failed.of_feed
                await asyncio.sleep(max(failed.asked_s, self._backoff.failed()))

    async def ping(self) -> None:
        """Open the feed once, and post one event of the type `city.lamplighter.ping`. No bookmark is kept.

        Raises:
            Failed: the feed cannot be followed, or the event was not taken.
            Gone: the other end wants nothing more.
        """
        async with self._feed_stream():
            pass
        now_us = self._now()
        await self._post(
            _own(PING, f"ping/{self.hook.name}/{now_us}", text(now_us), {"webhook": self.hook.name}), "ping"
        )

    async def _follow(self) -> None:
        """One stream of the feed, to its end.

        Raises:
            Failed: the feed, or the other end, wants to be tried again.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with self._feed_stream() as answer:
            if self._of_feed:
                self._fine()
            bounded = BoundedResponse(answer, event_chars=EVENT_CHARS, stream_bytes=STREAM_BYTES)
            async with aclosing(EventSource(cast("httpx.Response", bounded)).aiter_sse()) as events:
                await self._deliver(events)
        if loop.time() - began_s >= SILENCE_S:  # one that ends at once is no better than one that fails
            self._backoff.succeeded()
        raise Failed("the feed has ended", of_feed=True)

    @asynccontextmanager
    async def _feed_stream(self) -> AsyncGenerator[httpx.Response]:
        """The feed, open from where this webhook is.

        Raises:
            Failed: it cannot be followed, now or any more.
        """
        try:
            asked = [*self.hook.asked(), *([("after", self.cursor)] if self.cursor else [])]
            async with self._client.stream(
                "GET",
                f"{self._feed}/v1/feed",
                params=tuple(asked),
                headers={"Authorization": f"Bearer {self._token()}", **IDENTITY},
                timeout=httpx.Timeout(CONNECT_S, read=SILENCE_S),
            ) as answer:
                if answer.status_code != 200:
                    raise Failed(
                        f"the feed answers {await _said(answer)}",
                        retry_after(answer.headers.get("Retry-After")),
                        of_feed=True,
                    )
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL, SSEError, Oversized, OSError, ValueError) as error:
            raise Failed(f"the feed: {type(error).__name__}: {error}".rstrip(": "), of_feed=True) from error

    async def _deliver(self, events: AsyncGenerator[ServerSentEvent]) -> None:
        """Post all that comes, until the stream ends."""
        coming: asyncio.Task[ServerSentEvent] | None = None
        loop = asyncio.get_running_loop()
        marked_s = float("-inf")  # the first cursor is kept at once: what comes from then on is delivered
        try:
            while True:
                found = Post([], cursor=self.cursor)
                until_s = None
                while not found.full:
                    coming = coming or asyncio.ensure_future(anext(events))
                    wait_s = None if until_s is None else max(0.0, until_s - loop.time())
                    if not (await asyncio.wait((coming,), timeout=wait_s))[0]:
                        break
                    sent, coming = await coming, None
                    self._gather(found, sent)
                    if found.events and until_s is None:
                        until_s = loop.time() + LINGER_S
                    elif not found.events and loop.time() - marked_s >= BOOKMARK_S:
                        break
                if found.events:
                    # What is fresh has no cursor: who keeps ids must not take it for what came before it.
                    moved = found.cursor != self.cursor
                    await self._post(found, found.cursor if moved else f"{found.cursor}/{self._now()}")
                    self._backoff.succeeded()
                    self._fine()
                if found.cursor != self.cursor:
                    self.cursor, marked_s = found.cursor, loop.time()
                    await self._mark()
        except StopAsyncIteration:
            return
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait((coming,))
                if not coming.cancelled():
                    coming.exception()  # the stream ends here in any case

    async def _mark(self) -> None:
        """Keep the bookmark.

        Raises:
            Failed: the disk does not take it; what was posted since the last one is posted again.
        """
        try:
            await asyncio.to_thread(self._reached, self.cursor)
        except OSError as error:
            raise Failed(f"its bookmark cannot be kept: {error}") from error

    def _gather(self, found: Post, sent: ServerSentEvent) -> None:
        if sent.event == "reset":
            told = msgspec.json.decode(sent.data)
            event = _own(RESET, f"reset/{sent.id}", text(self._now()), told).events[0]
        else:
            event = sent.data.encode()
        if sent.data:
            found.events.append(event)
            found.size += len(event)
        found.cursor = sent.id or found.cursor

    def _fine(self) -> None:
        if self.failing:
            LOG.info("webhook %s: it goes on", self.hook.name)
        self.failing, self._of_feed = "", False

    async def _post(self, found: Post, what: str) -> None:
        """Post some events once.

        Raises:
            Failed: they were not taken.
            Gone: the other end wants nothing more.
        """
        body = b"[" + b",".join(found.events) + b"]"
        signed = headers_of(self._key, f"{self.hook.name}/{what}", self._now() // SECOND_US, body)
        try:
            async with (
                asyncio.timeout(ANSWER_S),
                self._client.stream(
                    "POST",
                    self.hook.url,
                    content=body,
                    headers={"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity", **signed},
                    follow_redirects=False,
                    timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
                ) as answer,
            ):
                if answer.status_code == 410:
                    raise Gone
                if answer.is_redirect:
                    raise Failed(
                        f"it answers {answer.status_code}, and leads elsewhere: write that address in the file"
                    )
                if not answer.is_success:
                    raise Failed(f"it answers {await _said(answer)}", retry_after(answer.headers.get("Retry-After")))
        except TimeoutError as error:
            raise Failed(f"it has not answered within {ANSWER_S:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Failed(f"{type(error).__name__}: {error}".rstrip(": ")) from error


def _own(type_: str, name: str, time: str, data: object) -> Post:
    event: Mapping[str, object] = {
        "specversion": "1.0", "id": name, "source": "/webhooks", "type": type_, "time": time,
        "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return Post([msgspec.json.encode(event)])


async def _said(answer: httpx.Response) -> str:
    """Its status, and how its body begins."""
    body = b""
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(SAID_S):
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) >= ANSWER_BYTES:
                    break
    words = " ".join(body[:ANSWER_BYTES].decode(errors="replace").split())
    return f"{answer.status_code}: {words}" if words else str(answer.status_code)
