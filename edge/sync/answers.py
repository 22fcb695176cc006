"""Answers: what the city asks through the downlink is answered in a request of its own, at once or not at all.

Whoever asks waits for a few seconds only: an answer that cannot be sent is not kept, and not sent again.

Bounds: MAX_WAITING questions wait, more are left out and counted; an answer takes ANSWER_S at most; one connection,
which is opened for the first question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import httpx
import msgspec

from groundwork.liveness import SLACK_S, Part
from wire.why import MAX_ANSWER_BYTES, AskWhy, WhyAnswer

log = logging.getLogger(__name__)

MAX_WAITING: Final = 16
ANSWER_S: Final = 5.0


class Answers:
    """`ask` it; `run` sends."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        why: Callable[[AskWhy], WhyAnswer],
        *,
        alive: Part | None = None,
    ) -> None:
        """`why` is what there is to say; `alive` is told of each answer."""
        self.alive = Part("answers") if alive is None else alive
        self._client, self._url, self._why = client, url, why
        self._waiting: asyncio.Queue[AskWhy] = asyncio.Queue(MAX_WAITING)
        self.sent = self.failed = 0

    def ask(self, asked: AskWhy) -> None:
        """A question has come. Never blocks."""
        try:
            self._waiting.put_nowait(asked)
        except asyncio.QueueFull:
            self.failed += 1

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.alive.rest()
            asked = await self._waiting.get()
            self.alive.within(ANSWER_S + SLACK_S, "an answer to the city")
            try:
                await self._send(asked)
                self.sent += 1
            except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
                self.failed += 1
                text = f"{type(error).__name__}: {error}".rstrip(": ")
                log.info("the city has asked about %s, and was not answered: %s", asked.device, text)
            except Exception:  # a bug of ours in one answer; the node goes on
                self.failed += 1
                log.exception("the city has asked about %s, and could not be answered", asked.device)

    async def _send(self, asked: AskWhy) -> None:
        body = msgspec.json.encode(self._why(asked))
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"there are {len(body)} bytes to say; {MAX_ANSWER_BYTES} can be sent")
        headers = {"Content-Type": "application/json"}
        async with (
            asyncio.timeout(ANSWER_S),
            self._client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            if response.status_code >= 400:
                raise ValueError(f"the cloud answered {response.status_code}")
            async for _ in response.aiter_raw(MAX_ANSWER_BYTES):  # to its end, so that the connection can be kept
                break
