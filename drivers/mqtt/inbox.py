"""The inbox of one MQTT connection: what each publish becomes, and when it is acknowledged.

Nothing that a publish holds, nor a node that cannot take it, stops the inbox: each ends as a reading, good or bad, or
as a topic that nobody knows, and is acknowledged in its turn, so that none keeps its place in the receive window. Only
where the node cannot keep one that the broker would bring again is the connection given up.

The time in a payload is believed while the node's own clock is synchronised and it lies between 2020 and FUTURE_US
from now; in place of any other (counted: `times_refused`) stands the node's stamp.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from drivers.contract import Attachment, Deliver, Now, Receipt
from drivers.errors import NotStored
from drivers.mishaps import Mishaps, Unreadable
from drivers.mqtt.payload import Payload, Reading
from drivers.mqtt.repeats import Pending, Repeats, content_of, delivery_of
from drivers.mqtt.session import Publish
from drivers.mqtt.words import Address, Line, Whole
from drivers.readings import failed, tainted
from wire.sample import Clock, Sample

MAX_TOPICS: Final = 16_384
FUTURE_US: Final = 300_000_000  # a payload's time further ahead of the node's clock than this is not believed


class Acknowledge(Protocol):
    """As much of a session as the inbox uses."""

    def acknowledge(self, mid: int, qos: int) -> None:
        """Tell the broker that a publish is kept."""
        ...


class Target(msgspec.Struct):
    """One device: where it publishes, and how that is read."""

    device: str
    attachment: Attachment
    topic: str
    payload: Payload


class _Unacked(msgspec.Struct):
    """One publish that waits for its samples to be durable: by its future it may lead back to whoever waits here."""

    durable: Pending
    mid: int
    qos: int


class Inbox:
    """What comes in on one connection, in the order of arrival."""

    def __init__(
        self,
        *,
        line: Line,
        targets: Sequence[Target],
        repeats: Repeats,
        source: str,
        now: Now,
        deliver: Deliver,
        counts: Counter[str],
        mishaps: Mishaps,
    ) -> None:
        self._line = line
        self._exact = {t.topic: t for t in targets if not set(t.topic) & set("+#")}
        self._patterns = [(t.topic.split("/"), t) for t in targets if t.topic not in self._exact]
        self._known: dict[str, Target | None] = dict(self._exact)
        self._repeats = repeats
        self._source = source
        self._now = now
        self._deliver = deliver
        self._counts = counts
        self._mishaps = mishaps
        self._waiting: deque[_Unacked] = deque()
        self._more = asyncio.Event()
        self._held: list[Publish] | None = None

    def hold(self) -> None:
        """Set aside what comes, until `release`; bounded as what waits is."""
        self._held = []

    def release(self) -> None:
        """Take what was set aside."""
        held, self._held = self._held or [], None
        for message in held:
            self.take(message)

    def take(self, message: Publish) -> None:
        """One publish. Called by the connection for each, so nothing here waits or raises."""
        if not message.qos and len(self._waiting if self._held is None else self._held) >= self._line.receive_maximum:
            self._counts["dropped"] += 1
            return
        if self._held is not None:
            self._held.append(message)
            return
        self._counts["publishes"] += 1
        target, topic = self._target(message)
        if target is None:
            self._counts["unknown_topics"] += 1
            self._settled(message, None)
            return
        delivery = delivery_of(message.mid, topic, message.payload) if message.qos else b""
        if message.dup and delivery:
            seen, durable = self._repeats.delivered(delivery)
            if seen:
                self._counts["repeats"] += 1
                self._settled(message, durable)
                return
        sample, content = self._sample(target, message)
        if content:
            seen, durable = self._repeats.published(content)
            if seen:
                self._counts["repeats"] += 1
                self._settled(message, durable)
                return
        receipt = None
        if delivery or content:
            again = message.qos > 0 and self._line.session_expiry_s > 0  # a session that expires at once brings nothing
            receipt = Receipt(self._source, self._repeats.key(delivery, content), again)
        durable = self._mishaps.handed(self._deliver, (sample,), receipt)
        self._repeats.add(delivery, content, durable)
        self._settled(message, durable)

    async def acknowledge(self, session: Acknowledge) -> None:
        """Acknowledge each publish when it is durable, in order, until cancelled.

        Raises:
            NotStored: the node could not keep one that the broker brings again; nothing after it is acknowledged.
        """
        while True:
            while self._waiting:
                first = self._waiting[0]
                if first.durable is not None and not await _durable(first.durable):
                    if first.qos:
                        raise NotStored("the node cannot keep what the broker sends")
                    self._counts["not_stored"] += 1
                self._waiting.popleft()
                if first.qos:
                    session.acknowledge(first.mid, first.qos)
                    self._counts["acknowledged"] += 1
            self._more.clear()
            await self._more.wait()

    def _settled(self, message: Publish, durable: Pending) -> None:
        self._waiting.append(_Unacked(durable, message.mid, message.qos))
        self._more.set()

    def _sample(self, target: Target, message: Publish) -> tuple[Sample, bytes]:
        try:
            if len(message.payload) > self._line.max_payload_bytes:
                raise Unreadable(f"the payload has {len(message.payload)} bytes")  # noqa: TRY301
            reading = target.payload.read(message.payload)
            quality = tainted(reading.values, reading.quality, "retained") if message.retain else reading.quality
            numbered = target.payload.numbered and reading.packet is not None
            content = content_of(target.device, reading.packet, reading.values) if numbered else b""
        except Exception as error:  # noqa: BLE001 -- it is logged there
            self._counts["unreadable"] += 1
            points = list(target.attachment.profile.points.values())
            return failed(target.device, points, self._now(), self._mishaps.why(error)), b""
        return Sample(target.device, *self._stamp(reading), reading.values, quality), content

    def _stamp(self, reading: Reading) -> tuple[int, Clock]:
        time_us, clock = self._now()
        if not reading.timed:
            return time_us, clock
        if reading.time_us is None or not clock.synced or reading.time_us > time_us + FUTURE_US:
            self._counts["times_refused"] += 1
            return time_us, clock
        return reading.time_us, clock

    def _target(self, message: Publish) -> tuple[Target | None, str]:
        """Whose publish it is, and its topic, which is decoded anew each time it is asked for."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return None, ""
        if topic in self._known:
            return self._known[topic], topic
        levels = topic.split("/")
        found = next((t for pattern, t in self._patterns if _matches(pattern, levels)), None)
        if len(self._known) >= MAX_TOPICS:
            self._known = dict(self._exact)
        self._known[topic] = found
        return found, topic


def target(attachment: Attachment, payload: Payload) -> Target:
    """The device of an attachment, its topic filled in."""
    whole: Whole = attachment.profile.whole
    address: Address = attachment.address
    return Target(attachment.device.id, attachment, address.filled(whole.topic), payload)


def _matches(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    for i, want in enumerate(pattern):
        if want == "#":
            return True
        if i >= len(levels) or want not in ("+", levels[i]):
            return False
    return len(pattern) == len(levels)


async def _durable(future: asyncio.Future[None]) -> bool:
    """Whether the node has kept it."""
    if not future.done():
        await asyncio.wait((future,))  # not the future itself: being cancelled here would end it for all who share it
    return not future.cancelled() and future.exception() is None
