"""The MQTT driver: what devices publish, kept before it is acknowledged, and commands to them.

Promises: a publish at QoS 1 is acknowledged only after `deliver` says that it is durable, in the order of arrival; a
repeat (see `repeats.py`) is acknowledged and not delivered again; a retained publish is asked for only with a new
subscription, and is uncertain; a payload that cannot be read is a bad reading of its device, never a stop. When the
node cannot keep something, the connection is dropped, so that the broker sends it again later.

Bounds: `receive_maximum` publishes unacknowledged (the broker waits; at QoS 0, which has no flow control, further ones
are dropped and counted), MAX_TOPICS topics remembered, `max_payload_bytes` a payload.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self

import msgspec

from drivers.backoff import Backoff, Monotonic
from drivers.contract import Attachment, Deliver, Now, Receipt, Receipts
from drivers.errors import Misconfigured, NotStored, Unreachable
from drivers.mqtt.payload import Payload, Reading, Unreadable
from drivers.mqtt.repeats import Pending, Repeats, content_of, delivery_of
from drivers.mqtt.session import MqttSession, Publish
from drivers.mqtt.words import VALUE, Access, Address, Line, Whole
from drivers.readings import allowed, failed, tainted
from wire.device import Device, Point
from wire.sample import Clock, Sample, Value

MAX_TOPICS: Final = 16_384
FUTURE_US: Final = 300_000_000  # a payload's time further ahead of a synchronised clock than this is not believed

_log = logging.getLogger("lamplighter.drivers.mqtt.words")


class _Target(msgspec.Struct):
    """One device: where it publishes, and how that is read."""

    device: str
    attachment: Attachment
    topic: str
    payload: Payload


class _Unacked(msgspec.Struct, gc=False):
    """One publish that waits for its samples to be durable."""

    durable: Pending
    mid: int
    qos: int


class MqttDriver:
    """One broker and the devices behind it."""

    def __init__(
        self,
        name: str,
        line: Line,
        attachments: Sequence[Attachment],
        now: Now,
        receipts: Receipts,
        *,
        clock: Monotonic = time.monotonic,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        payloads = {a.profile.name: Payload(a.profile) for a in attachments}
        self._targets = [_target(a, payloads[a.profile.name]) for a in attachments]
        self._line = line
        self._now = now
        self._receipts = receipts
        self._source = f"mqtt:{name}:{line.client_id}@{line.host}"
        self._draw = draw
        self._backoff = Backoff.of_line(clock)
        self._session: MqttSession | None = None
        self._counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._session = None

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": int(self._session is not None)}

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        raise Misconfigured(f"{device.id} publishes by itself: its {len(points)} points cannot be polled")

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves; see the contract."""
        wanted = {d.id for d in devices}
        targets = [t for t in self._targets if t.device in wanted]
        repeats = Repeats(await self._receipts.recent(self._source), self._draw)
        said = ""
        while True:
            inbox = _Inbox(
                line=self._line,
                targets=targets,
                repeats=repeats,
                source=self._source,
                now=self._now,
                deliver=deliver,
                counts=self._counts,
            )
            try:
                await self._connection(inbox, targets, repeats, deliver)
            except (Unreachable, NotStored) as error:
                if str(error) != said:  # once for each reason, not once for each try
                    said = str(error)
                    _log.warning("%s", said)
            except BaseExceptionGroup as group:
                raise group.exceptions[0] from group
            finally:
                self._session = None
            await asyncio.sleep(self._backoff.failed())

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        target = next((t for t in self._targets if t.device == device.id), None)
        if target is None or point.name not in target.attachment.profile.access:
            raise Misconfigured(f"{device.id} has no point {point.name} on this line")
        value = allowed(point, value)
        access: Access = target.attachment.profile.access[point.name]
        whole: Whole = target.attachment.profile.whole
        address: Address = target.attachment.address
        if not access.command:
            raise Misconfigured(f"profile {target.attachment.profile.name} has no command for {point.name}")
        if self._session is None:
            raise Unreachable(f"no connection to broker {self._line.host}")
        payload = access.command.replace(VALUE, msgspec.json.encode(_raw(access, value)).decode())
        await self._session.publish(address.filled(access.command_topic or whole.command_topic), payload.encode())
        self._counts["commands"] += 1

    async def _connection(self, inbox: _Inbox, targets: Sequence[_Target], repeats: Repeats, deliver: Deliver) -> None:
        """One connection, from connecting until it is lost.

        Raises:
            Unreachable, NotStored, Misconfigured.
        """
        session = MqttSession(self._line, inbox.take)
        inbox.hold()  # publishes may come with the CONNACK, before it is known whose session this is
        async with session:
            self._counts["connects"] += 1
            if (key := repeats.connected(session.resumed)) is not None:
                deliver((), Receipt(self._source, key)).add_done_callback(_ignored)
            inbox.release()
            acker = asyncio.create_task(inbox.acknowledge(session), name="mqtt acker")
            gone = asyncio.create_task(session.gone(), name="mqtt gone")
            try:
                for topic in await session.subscribe(list(dict.fromkeys(t.topic for t in targets))):
                    self._counts["subscriptions_refused"] += 1
                    _log.warning("broker %s refuses the subscription to %s", self._line.host, topic)
                self._session = session
                self._backoff.succeeded()
                done, _ = await asyncio.wait((acker, gone), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                self._session = None
                self._counts["disconnects"] += 1
                for task in (acker, gone):
                    task.cancel()
                    with suppress(asyncio.CancelledError, Unreachable, NotStored):
                        await task


class _Inbox:
    """What comes in on one connection, in the order of arrival."""

    def __init__(
        self,
        *,
        line: Line,
        targets: Sequence[_Target],
        repeats: Repeats,
        source: str,
        now: Now,
        deliver: Deliver,
        counts: Counter[str],
    ) -> None:
        self._line = line
        self._exact = {t.topic: t for t in targets if not set(t.topic) & set("+#")}
        self._patterns = [(t.topic.split("/"), t) for t in targets if t.topic not in self._exact]
        self._known: dict[str, _Target | None] = dict(self._exact)
        self._repeats = repeats
        self._source = source
        self._now = now
        self._deliver = deliver
        self._counts = counts
        self._waiting: deque[_Unacked] = deque()
        self._more = asyncio.Event()
        self._held: list[Publish] | None = None

    def hold(self) -> None:
        """Set aside what comes, until `release`; the receive window bounds it."""
        self._held = []

    def release(self) -> None:
        """Take what was set aside."""
        held, self._held = self._held or [], None
        for message in held:
            self.take(message)

    def take(self, message: Publish) -> None:
        """One publish. Called by the connection for each, so nothing here waits or raises."""
        if self._held is not None:
            self._held.append(message)
            return
        self._counts["publishes"] += 1
        topic, payload = message.topic, message.payload
        target = self._target(topic)
        if target is None:
            self._counts["unknown_topics"] += 1
            self._settled(message, None)
            return
        if len(self._waiting) >= self._line.receive_maximum and not message.qos:
            self._counts["dropped"] += 1
            return
        delivery = delivery_of(message.mid, topic, payload) if message.qos else b""
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
        receipt = Receipt(self._source, self._repeats.key(delivery, content)) if delivery or content else None
        durable = self._deliver((sample,), receipt)
        self._repeats.add(delivery, content, durable)
        self._settled(message, durable)

    async def acknowledge(self, session: MqttSession) -> None:
        """Acknowledge each publish when it is durable, in order, until cancelled.

        Raises:
            NotStored: the node could not keep one; nothing after it is acknowledged.
        """
        while True:
            while self._waiting:
                first = self._waiting[0]
                if first.durable is not None:
                    await _durable(first.durable)
                self._waiting.popleft()
                if first.qos:
                    session.acknowledge(first.mid, first.qos)
                    self._counts["acknowledged"] += 1
            self._more.clear()
            await self._more.wait()

    def _settled(self, message: Publish, durable: Pending) -> None:
        self._waiting.append(_Unacked(durable, message.mid, message.qos))
        self._more.set()

    def _sample(self, target: _Target, message: Publish) -> tuple[Sample, bytes]:
        points = list(target.attachment.profile.points.values())
        try:
            if len(message.payload) > self._line.max_payload_bytes:
                raise Unreadable(f"the payload has {len(message.payload)} bytes")  # noqa: TRY301
            reading = target.payload.read(message.payload)
        except Unreadable as error:
            self._counts["unreadable"] += 1
            return failed(target.device, points, self._now(), str(error)), b""
        stamp = self._stamp(reading)
        quality = tainted(reading.values, reading.quality, "retained") if message.retain else reading.quality
        numbered = target.payload.numbered and reading.packet is not None
        content = content_of(target.device, reading.packet, reading.values) if numbered else b""
        return Sample(target.device, *stamp, reading.values, quality), content

    def _stamp(self, reading: Reading) -> tuple[int, Clock]:
        time_us, clock = self._now()
        if reading.time_us is None:
            return time_us, clock
        if clock.synced and reading.time_us > time_us + FUTURE_US:
            self._counts["times_refused"] += 1
            return time_us, clock
        return reading.time_us, Clock(clock.boot, True)

    def _target(self, topic: str) -> _Target | None:
        try:
            return self._known[topic]
        except KeyError:
            pass
        levels = topic.split("/")
        found = next((t for pattern, t in self._patterns if _matches(pattern, levels)), None)
        if len(self._known) >= MAX_TOPICS:
            self._known = dict(self._exact)
        self._known[topic] = found
        return found


def _target(attachment: Attachment, payload: Payload) -> _Target:
    whole: Whole = attachment.profile.whole
    address: Address = attachment.address
    return _Target(attachment.device.id, attachment, address.filled(whole.topic), payload)


def _matches(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    for i, want in enumerate(pattern):
        if want == "#":
            return True
        if i >= len(levels) or want not in ("+", levels[i]):
            return False
    return len(pattern) == len(levels)


def _raw(access: Access, value: Value) -> Any:
    if access.choices is not None:
        return next(code for code, text in access.choices.items() if text == value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        raw = access.scaling.raw(value)
        return int(raw) if raw.denominator == 1 else float(raw)
    return value


def _ignored(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()


async def _durable(future: asyncio.Future[None]) -> None:
    if not future.done():
        await asyncio.wait((future,))  # not the future itself: being cancelled here would end it for all who share it
    if future.cancelled() or future.exception() is not None:
        raise NotStored("the node cannot keep what the broker sends")
