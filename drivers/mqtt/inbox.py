"""The inbox of one MQTT connection: what each publish becomes, and when it is acknowledged.

Nothing that a publish holds, nor a node that cannot take it, stops the inbox: each ends as a reading, good or bad, or
as a topic that nobody knows, and is acknowledged in its turn, so that none keeps its place in the receive window. Only
where the node cannot keep one that the broker would bring again is the connection given up, and what the broker would
bring again after it is not taken any more: it would stand before it.

The time in a payload is believed while the node's own clock is synchronised and `moment.py` takes it for one; in place
of any other (counted: `times_refused`, and logged once for each profile and reason of a connection) stands the node's
stamp. Of the copies that a broker sends of one publish, for several subscriptions, one counts; `copies` are the
others. An empty payload, by which a retained publish is cleared, is nothing: it is acknowledged and counted
(`cleared`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import Final, Protocol

import msgspec

from drivers.contract import Attachment, Deliver, Now, Receipt
from drivers.errors import NotStored
from drivers.frames import Trace
from drivers.mishaps import LineMishaps, Unreadable
from drivers.mqtt.moment import NotBelieved
from drivers.mqtt.payload import Payload, PayloadReading
from drivers.mqtt.repeats import Pending, Repeats, content_of, delivery_of
from drivers.mqtt.session import Publish
from drivers.mqtt.settings import Address, Line, Whole
from drivers.mqtt.topics import Copies, Filters, Subscription, matches, most_specific
from drivers.readings import failed, tainted
from wire.sample import Clock, Sample
from wire.time import Utc

MAX_TOPICS: Final = 16_384

_log = logging.getLogger(__name__)


class Acknowledge(Protocol):
    """As much of a session as the inbox uses."""

    def acknowledge(self, mid: int, qos: int) -> None:
        """Tell the broker that a publish is kept."""
        ...


class DeviceTopics(msgspec.Struct):
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
        targets: Sequence[DeviceTopics],
        repeats: Repeats,
        source: str,
        now: Now,
        deliver: Deliver,
        counts: Counter[str],
        mishaps: LineMishaps,
        trace: Trace | None = None,
    ) -> None:
        self._line = line
        self._trace = trace or Trace(())
        self._targets: dict[str, tuple[DeviceTopics, ...]] = {}  # by filter
        for each in targets:
            self._targets[each.topic] = (*self._targets.get(each.topic, ()), each)
        self._order = {name: i for i, name in enumerate(self._targets)}
        self._exact = {f: ts for f, ts in self._targets.items() if not set(f) & set("+#")}
        self._patterns = Filters(f for f in self._targets if f not in self._exact)
        self._known: dict[str, tuple[DeviceTopics, ...]] = dict(self._exact)
        self._copies = Copies(())
        self._repeats = repeats
        self._source = source
        self._now = now
        self._deliver = deliver
        self._counts = counts
        self._mishaps = mishaps
        self._waiting: deque[_Unacked] = deque()
        self._more = asyncio.Event()
        self._held: list[Publish] | None = None
        self._over = False  # whether the connection is being given up
        self._said: set[tuple[str, str]] = set()  # profiles, and why their times are not believed

    def hold(self) -> None:
        """Set aside what comes, until `release`; bounded as what waits is."""
        self._held = []

    def comes_by(self, subscriptions: Sequence[Subscription], earlier: Sequence[Subscription] = ()) -> None:
        """By which subscriptions it comes from now on, and came before."""
        self._copies = Copies(subscriptions, earlier)

    def release(self, subscriptions: Sequence[Subscription] = (), earlier: Sequence[Subscription] = ()) -> None:
        """Take what was set aside. It came, and what follows will come, by these subscriptions."""
        self.comes_by(subscriptions, earlier)
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
        if self._over and message.qos and self._line.session_expiry_s > 0:
            return
        self._counts["publishes"] += 1
        targets, topic = self._heard_by(message)
        unwanted = (
            "unknown_topics" if not targets
            else "cleared" if not message.payload
            else "copies" if message.identifiers and not self._copies.counts(topic, message.identifiers)
            else None
        )  # fmt: skip
        if unwanted is not None:
            self._counts[unwanted] += 1
            self._settled(message, None)
            return
        delivery = delivery_of(message.mid, topic, message.payload) if message.qos else b""
        if message.dup and delivery:
            seen, durable = self._repeats.delivered(delivery)
            if seen:
                self._counts["repeats"] += 1
                self._settled(message, durable)
                return
        stamp = self._now()
        for each in targets:
            self._trace.note(each.device, stamp[0], "in", message.payload, topic)
        samples, content, within_s = self._samples(targets, message, stamp)
        if content:
            seen, durable = self._repeats.published(content, within_s)
            if seen:
                self._counts["repeats"] += 1
                self._settled(message, durable)
                return
        receipt = None
        if delivery or content:
            again = message.qos > 0 and self._line.session_expiry_s > 0  # a session that expires at once brings nothing
            receipt = Receipt(self._source, self._repeats.key(delivery, content, stamp[0]), again)
        durable = self._mishaps.handed(self._deliver, samples, receipt)
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
                        self._over = True
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

    def _samples(
        self, targets: Sequence[DeviceTopics], message: Publish, stamp: tuple[Utc, Clock]
    ) -> tuple[list[Sample], bytes, float]:
        """What it becomes for each device, by what all of it is known again, and for how long."""
        samples: list[Sample] = []
        said: list[object] = []
        numbered, within_s = False, inf
        for target in targets:
            sample, reading, dated = self._sample(target, message, stamp)
            samples.append(sample)
            words = None if reading is None else reading.said or (reading.values, reading.quality)
            said.append((target.device, words, dated and sample.time_us))
            if reading is not None and reading.said is not None:
                numbered = True
                if not dated and not message.retain:
                    whole: Whole = target.attachment.profile.whole
                    within_s = min(within_s, whole.repeat_s)
        return samples, content_of(*said) if numbered else b"", within_s

    def _sample(
        self, target: DeviceTopics, message: Publish, stamp: tuple[Utc, Clock]
    ) -> tuple[Sample, PayloadReading | None, bool]:
        """The sample, what was read, and whether the time that it says is believed."""
        try:
            if len(message.payload) > self._line.max_payload_bytes:
                raise Unreadable(f"the payload has {len(message.payload)} bytes")  # noqa: TRY301
            reading = target.payload.read(message.payload)
            quality = tainted(reading.values, reading.quality, "retained") if message.retain else reading.quality
            measured = self._measured(target, reading, stamp)
            sample = Sample(target.device, *measured, reading.values, quality)
            if reading.said is not None:
                repr(reading.said)  # what nests too deep to be compared is no reading
        except Exception as error:  # noqa: BLE001 -- it is logged there
            self._counts["unreadable"] += 1
            points = list(target.attachment.profile.points.values())
            return failed(target.device, points, stamp, self._mishaps.why(error)), None, False
        return sample, reading, measured is not stamp

    def _measured(self, target: DeviceTopics, reading: PayloadReading, stamp: tuple[Utc, Clock]) -> tuple[Utc, Clock]:
        """When it was measured: by the payload where that is believed, else `stamp` itself, when it arrived."""
        if reading.sent is None:
            return stamp
        try:
            if stamp[1].synced:
                return reading.measured_us(stamp[0]), stamp[1]
        except NotBelieved as error:
            name, why = target.attachment.profile.name, str(error)
            if (name, why) not in self._said:
                self._said.add((name, why))
                _log.warning(
                    "%s (profile %s): the time of a payload is not believed: %s; the time of arrival stands for it",
                    target.device, name, why,
                )  # fmt: skip
        self._counts["times_refused"] += 1
        return stamp

    def _heard_by(self, message: Publish) -> tuple[Sequence[DeviceTopics], str]:
        """Whose publish it is, and its topic, which is decoded anew each time it is asked for.

        All devices of one filter hear it; of several filters those that cover no other one of them.
        """
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return (), ""
        if topic in self._known:
            return self._known[topic], topic
        levels = topic.split("/")
        near = [(f, pattern) for f in self._patterns.near(levels) if matches(pattern := f.split("/"), levels)]
        near.sort(key=lambda each: self._order[each[0]])
        chosen = most_specific([pattern for _, pattern in near])
        found = tuple(t for i in chosen for t in self._targets[near[i][0]])
        if len(self._known) >= MAX_TOPICS:
            self._known = dict(self._exact)
        self._known[topic] = found
        return found, topic


def target(attachment: Attachment, payload: Payload) -> DeviceTopics:
    """The device of an attachment, its topic filled in."""
    whole: Whole = attachment.profile.whole
    address: Address = attachment.address
    return DeviceTopics(attachment.device.id, attachment, address.filled(whole.topic), payload)


async def _durable(future: asyncio.Future[None]) -> bool:
    """Whether the node has kept it."""
    if not future.done():
        await asyncio.wait((future,))  # not the future itself: being cancelled here would end it for all who share it
    return not future.cancelled() and future.exception() is None
