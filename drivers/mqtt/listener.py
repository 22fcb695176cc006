"""The MQTT driver: what devices publish, kept before it is acknowledged, and commands to them.

Promises: a publish at QoS 1 is acknowledged only after `deliver` says that it is durable, in the order of arrival; a
repeat (see `repeats.py`) is acknowledged and not delivered again; a retained publish is asked for only with a new
subscription, and is uncertain; of what a broker sends more than once, for subscriptions that overlap, one copy is kept,
and what is no longer wanted is unsubscribed (`subscriptions.py`); a payload that cannot be read is a bad reading of its
device, never a stop. When the node cannot keep something, the connection is dropped, so that the broker sends it again
later; what came at QoS 0 would not come again, and is counted instead.

Bounds: `receive_maximum` publishes unacknowledged (the broker waits; at QoS 0, which has no flow control, further ones
are dropped and counted), MAX_TOPICS topics remembered, `max_payload_bytes` a payload. A packet above PACKET_BYTES
(`session.py`) is not even sent to us.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Self

from drivers.backoff import Backoff, Monotonic
from drivers.contract import Attachment, Deliver, Keeps, Now, Receipt, Receipts
from drivers.errors import Misconfigured, NotStored, Unreachable
from drivers.frames import Frame, Trace
from drivers.mishaps import Mishaps
from drivers.mqtt.command import command
from drivers.mqtt.inbox import Inbox, target
from drivers.mqtt.payload import Payload
from drivers.mqtt.places import named
from drivers.mqtt.repeats import Repeats
from drivers.mqtt.session import MqttSession
from drivers.mqtt.subscriptions import Subscriptions
from drivers.mqtt.words import Access, Address, Line, Whole
from drivers.readings import allowed
from wire.device import Device, Point
from wire.sample import Sample, Value

_log = logging.getLogger(__name__)

FORGOTTEN_S: Final = 86_400.0  # for how long health tells that the broker had forgotten the session


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
        payloads = {a.profile.name: Payload(a.profile, a.zone) for a in attachments}
        self._targets = [target(a, payloads[a.profile.name]) for a in attachments]
        self._line = line
        self._now = now
        self._receipts = receipts
        self._source = f"mqtt:{name}:{line.client_id}@{line.host}"
        port = line.port or (8883 if line.secure else 1883)
        self._remembered = f"mqtt/{line.client_id}@{line.host}:{port}/topics"
        self._draw = draw
        self._clock = clock
        self._backoff = Backoff.of_line(clock)
        self._session: MqttSession | None = None
        self._trouble = ""  # why there is no connection now
        self._refused: list[str] = []  # topics whose subscription the broker refuses
        self._forgotten: tuple[float, str] | None = None  # when the broker had forgotten the session: by our clock, UTC
        self._counts: Counter[str] = Counter(acknowledged=0)
        self._trace = Trace(t.device for t in self._targets)
        self._mishaps = Mishaps("payload", _log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._session = None

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": int(self._session is not None)}

    def notes(self) -> Sequence[str]:
        """What a person should know of this line; see the contract."""
        notes = [self._trouble] if self._trouble and self._session is None else []
        if self._refused:
            more = f", and to {len(self._refused) - 1} more" if len(self._refused) > 1 else ""
            notes.append(f"broker {self._line.host} refuses the subscription to {self._refused[0]}{more}")
        if self._forgotten is not None and self._clock() - self._forgotten[0] < FORGOTTEN_S:
            notes.append(
                f"broker {self._line.host} had forgotten the session at {self._forgotten[1]}:"
                " what it had queued for the node may be lost"
            )
        return notes

    def frames(self, device: str) -> Sequence[Frame]:
        """What it published last, and was told; see the contract."""
        found = next((t for t in self._targets if t.device == device), None)
        return () if found is None else named(self._trace.of(device), found.attachment.profile)

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        raise Misconfigured(f"{device.id} publishes by itself: its {len(points)} points cannot be polled")

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves; see the contract."""
        wanted = {d.id for d in devices}
        targets = [t for t in self._targets if t.device in wanted]
        recent = await self._receipts.recent(self._source)
        repeats = Repeats(recent, self._draw, now_us=self._now()[0], clock=self._clock)
        keeps = self._receipts if isinstance(self._receipts, Keeps) else None
        subscriptions = Subscriptions([t.topic for t in targets], self._remembered, keeps)
        await subscriptions.remember()
        said = ""
        while True:
            inbox = Inbox(
                line=self._line,
                targets=targets,
                repeats=repeats,
                source=self._source,
                now=self._now,
                deliver=deliver,
                counts=self._counts,
                mishaps=self._mishaps,
                trace=self._trace,
            )
            try:
                await self._connection(inbox, subscriptions, repeats, deliver)
            except (Unreachable, NotStored) as error:
                self._trouble = str(error)
                if str(error) != said:  # once for each reason, not once for each try
                    said = str(error)
                    _log.warning("%s", said)
            finally:
                self._session = None
            await asyncio.sleep(self._backoff.failed())

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        found = next((t for t in self._targets if t.device == device.id), None)
        if found is None or point.name not in found.attachment.profile.access:
            raise Misconfigured(f"{device.id} has no point {point.name} on this line")
        value = allowed(point, value)
        access: Access = found.attachment.profile.access[point.name]
        whole: Whole = found.attachment.profile.whole
        address: Address = found.attachment.address
        if not access.command:
            raise Misconfigured(f"profile {found.attachment.profile.name} has no command for {point.name}")
        if self._session is None:
            raise Unreachable(f"no connection to broker {self._line.host}")
        topic, data = command(whole, access, address, point, value)
        await self._session.publish(topic, data)
        self._trace.note(device.id, self._now()[0], "out", data, topic)
        self._counts["commands"] += 1

    def _forgot(self) -> None:
        """The broker was asked for the session that the node had there, and had none."""
        self._counts["sessions_forgotten"] += 1
        at = datetime.fromtimestamp(self._now()[0] / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._forgotten = self._clock(), at
        _log.warning(
            "broker %s had forgotten the session: what it had queued may be lost; see docs/mqtt-broker.md",
            self._line.host,
        )

    async def _connection(self, inbox: Inbox, subscriptions: Subscriptions, repeats: Repeats, deliver: Deliver) -> None:
        """One connection, from connecting until it is lost.

        Raises:
            Unreachable, NotStored, Misconfigured.
        """
        session = MqttSession(self._line, inbox.take)
        inbox.hold()  # publishes may come with the CONNACK, before it is known whose session this is
        async with session:
            self._counts["connects"] += 1
            self._trouble = ""
            if not session.resumed and repeats.known and self._line.session_expiry_s > 0:
                self._forgot()
            if (key := repeats.connected(session.resumed)) is not None:
                self._mishaps.handed(deliver, (), Receipt(self._source, key)).add_done_callback(_ignored)
            earlier = subscriptions.earlier if session.identifies else ()
            inbox.release(subscriptions.plan(session.resumed) if session.identifies else (), earlier)
            acker = asyncio.create_task(inbox.acknowledge(session), name="mqtt acker")
            gone = asyncio.create_task(session.gone(), name="mqtt gone")
            try:
                wanted = await subscriptions.settle(session, session.resumed)
                inbox.comes_by(wanted if session.identifies else (), earlier)
                self._refused = subscriptions.refused
                self._counts["subscriptions_refused"] += len(self._refused)
                for topic in self._refused:
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
                await asyncio.gather(acker, gone, return_exceptions=True)  # which is cancelled where this task is


def _ignored(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
