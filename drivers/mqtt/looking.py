"""Looking: what is published at a broker, by topic.

On a connection of its own, as `client_id` with `-identify` behind it, without a session: what the line itself
receives is not touched. Bounds: MAX_TOPICS topics, the last MAX_READ payloads of each; `Ask.seconds`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import msgspec

from drivers.errors import Unreachable
from drivers.guesses import Ask, Heard, Tell
from drivers.mqtt.guessing import MAX_READ, Published
from drivers.mqtt.session import MqttSession, Publish
from drivers.mqtt.settings import Line
from groundwork.backoff import Monotonic

MAX_TOPICS: Final = 1_000
TELL_S: Final = 1.0


async def look(line: Line, ask: Ask, tell: Tell, clock: Monotonic) -> list[Heard]:
    """What comes by a filter; by all topics where none is asked for.

    Raises:
        Unreachable, Misconfigured.
    """
    kept: dict[str, deque[bytes]] = {}
    session: MqttSession | None = None

    def heard(message: Publish) -> None:
        if session is not None and message.qos:
            session.acknowledge(message.mid, message.qos)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        if message.payload and len(message.payload) <= line.max_payload_bytes:
            if topic not in kept and len(kept) >= MAX_TOPICS:
                return
            kept.setdefault(topic, deque(maxlen=MAX_READ)).append(bytes(message.payload))

    own = msgspec.structs.replace(line, client_id=f"{line.client_id}-identify", session_expiry_s=0)
    session = MqttSession(own, heard)
    until_s = clock() + ask.seconds
    async with session:
        wanted = ask.topic or "#"
        if await session.subscribe([wanted]):
            raise Unreachable(f"broker {line.host} refuses the subscription to {wanted}")
        gone = asyncio.ensure_future(session.gone())
        try:
            while (left_s := until_s - clock()) > 0 and not gone.done():
                tell("listening", {"found": len(kept), "left_s": round(left_s)})
                await asyncio.wait([gone], timeout=min(TELL_S, left_s))
        finally:
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
    return [Heard(address={"topic": topic}, evidence=Published(topic, tuple(ps))) for topic, ps in sorted(kept.items())]
