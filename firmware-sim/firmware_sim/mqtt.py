"""MQTT publishers: devices that speak MQTT 5 at QoS 1 over a few shared connections.

Promises: a publish counts as offered when the broker's PUBACK says Success; 0x10, no matching subscribers,
means that nobody was there, and it does not count. A publish whose connection broke before its PUBACK is not
repeated and goes into the ledger as `uncertain`. A lost broker is tried again every `RETRY_S`. At most
`MAX_CONNECTIONS` connections; each device has at most one publish on its way.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiomqtt import Client, MqttError, ProtocolVersion
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from firmware_sim.devices.uplink import Message, Publisher
from firmware_sim.faults import Faults, Kind
from firmware_sim.flight import Flight
from firmware_sim.ledger import Ledger
from firmware_sim.pace import Pace

MAX_CONNECTIONS = 4
RETRY_S = 1.0
ACKNOWLEDGED_WITHIN_S = 10.0
_SUCCESS = 0
_log = logging.getLogger(__name__)


class Connection(Client):
    """aiomqtt's client, with the one thing that it keeps to itself: the reason code of a PUBACK."""

    def __init__(self, host: str, port: int, name: str) -> None:
        self._reasons: dict[int, asyncio.Future[int]] = {}
        super().__init__(host, port, identifier=name, protocol=ProtocolVersion.V5)
        # A broker that goes while nobody publishes is noticed at the next publish; asyncio need not complain.
        self._disconnected.add_done_callback(lambda gone: gone.cancelled() or gone.exception())

    async def offer(self, topic: str, payload: bytes) -> int:
        """Publish at QoS 1 and return the broker's reason code."""
        info = self._client.publish(topic, payload, qos=1)
        if info.rc != MQTT_ERR_SUCCESS:
            message = f"not sent, paho says {info.rc}"
            raise MqttError(message)
        reason: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reasons[info.mid] = reason
        try:
            either = {reason, self._disconnected}
            await asyncio.wait(either, timeout=ACKNOWLEDGED_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._reasons[info.mid]
        if not reason.done():
            message = "no acknowledgement"
            raise UnacknowledgedError(message)
        return reason.result()

    def _on_publish(
        self, client: PahoClient, userdata: object, mid: int, reason_code: ReasonCode, properties: Properties
    ) -> None:
        reason = self._reasons.get(mid)
        if reason is not None and not reason.done():
            reason.set_result(int(reason_code.value))
        super()._on_publish(client, userdata, mid, reason_code, properties)


class UnacknowledgedError(MqttError):
    """The broker may or may not have the publish."""


@dataclass
class Speaker:
    """One device that publishes."""

    device: str
    publisher: Publisher
    pace: Pace
    random: random.Random
    n: int = field(default=0)

    def next(self, faults: Faults) -> tuple[Message, bool]:
        """The next message, and whether it can be read."""
        reboot = faults.rebooted(self.device)
        if reboot is not None and reboot.reset_counters:
            self.n = 0
        self.n += 1
        message = self.publisher.message(self.n, faults.hold(self.device, self.publisher.measure()))
        if faults.active(self.device, Kind.GARBAGE) is None:
            return message, True
        cut = self.random.randrange(1, len(message.payload) - 1)
        return Message(message.payload[:cut], {}), False


class Publishers:
    """All devices of a street that publish, over a few connections."""

    def __init__(
        self, broker: tuple[str, int], speakers: Sequence[Speaker], faults: Faults, ledger: Ledger, flight: Flight
    ) -> None:
        self._host, self._port = broker
        self._speakers = speakers
        self._faults = faults
        self._ledger = ledger
        self._flight = flight

    async def run(self) -> None:
        """Publish until cancelled."""
        count = min(MAX_CONNECTIONS, len(self._speakers))
        async with asyncio.TaskGroup() as connections:
            for index in range(count):
                connections.create_task(self._hold(f"street-{id(self):x}-{index}", self._speakers[index::count]))

    async def _hold(self, name: str, speakers: Sequence[Speaker]) -> None:
        while True:
            try:
                async with Connection(self._host, self._port, name) as connection, asyncio.TaskGroup() as devices:
                    for speaker in speakers:
                        devices.create_task(self._speak(connection, speaker))
            except* MqttError as errors:
                _log.warning("broker %s:%d: %s", self._host, self._port, errors.exceptions[0])
            await asyncio.sleep(RETRY_S)

    async def _speak(self, connection: Connection, speaker: Speaker) -> None:
        while True:
            await speaker.pace.wait()
            if self._faults.silent(speaker.device):
                continue
            with self._flight:
                message, readable = speaker.next(self._faults)
                await self._publish(connection, speaker, message, readable=readable)

    async def _publish(self, connection: Connection, speaker: Speaker, message: Message, *, readable: bool) -> None:
        try:
            reason = await connection.offer(speaker.publisher.topic, message.payload)
        except (UnacknowledgedError, asyncio.CancelledError):
            # Cancelled means stopped, or a neighbour on this connection found it broken: equally unknown.
            if readable:
                self._ledger.offered(speaker.device, "mqtt", message.points, n=speaker.n, uncertain=True)
            raise
        if readable and reason == _SUCCESS:
            self._ledger.offered(speaker.device, "mqtt", message.points, n=speaker.n)
