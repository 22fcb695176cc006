"""One MQTT 5 connection of a persistent session: the only place that knows aiomqtt and the paho client inside it.

aiomqtt acknowledges a publish when it merely queues it, drops the DUP flag, and starts a task for each message; paho
reads and writes each packet by itself. What must be taken from paho instead is taken here and in `stream.py` and
nowhere else: manual acknowledgement, the message callback, what is read, the queue of what is written, and whether the
broker had kept the session. Tests guard these private names: `test_mqtt_session.py`, `test_mqtt_stream.py`.

Acknowledgements of one turn of the loop, which are those of one commit, go out in one write.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.cancelled import told
from drivers.errors import DriverError, Misconfigured, Unreachable
from drivers.mqtt.greeting import old_version, unlike
from drivers.mqtt.settings import Line
from drivers.mqtt.stream import Arrived, Stream

SUBSCRIBE_AT_ONCE: Final = 100
RETAINED_ONLY_WHEN_NEW: Final = 1
MAX_TEXT: Final = 65_535  # bytes of a text, also a password (MQTT 5, section 1.5.4)
PACKET_BYTES: Final = (1 << 20) + (1 << 16)  # memory guard: the largest max_payload_bytes and a topic; see `words.py`
CREDENTIALS_REFUSED: Final = frozenset({0x86, 0x87, 0x8C})  # bad user name or password, not authorized, bad method
PUBACK: Final = 0x40
UNSUPPORTED_VERSION: Final = frozenset({0x01, 0x84})  # as MQTT 3.1.1 says it (section 3.2.2.3), and as MQTT 5 does
THROWN_OUT: Final = frozenset({0x80, 0x8E})  # a closed socket without a reason, session taken over

_quiet = logging.getLogger(f"{__name__}.paho")
_quiet.setLevel(logging.CRITICAL)  # what it would log is raised to us, and logged once


class Publish(Protocol):
    """What came, as far as it is used: cut out of the stream, or paho's own message."""

    mid: int
    qos: int
    dup: bool
    retain: bool
    payload: bytes

    @property
    def topic(self) -> str:
        """Decoded anew each time it is asked for."""
        ...

    @property
    def identifiers(self) -> Sequence[int]:
        """Of the subscriptions by which it came, as far as those have one."""
        ...


class MqttSession:
    """An async context manager: connected inside, disconnected (the session staying at the broker) outside."""

    def __init__(self, line: Line, on_publish: Callable[[Publish], None]) -> None:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = line.session_expiry_s
        properties.ReceiveMaximum = line.receive_maximum
        properties.MaximumPacketSize = PACKET_BYTES
        self._line = line
        self._client = aiomqtt.Client(
            line.host,
            line.port or (8883 if line.secure else 1883),
            identifier=line.client_id,
            username=line.username or None,
            password=_password(line),
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            properties=properties,
            keepalive=line.keepalive_s,
            timeout=line.timeout_s,
            tls_context=_tls(line) if line.secure else None,
            logger=_quiet,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # what is written has been gathered already
        )
        self.resumed = False
        self.identifies = True  # whether the broker knows subscription identifiers
        self._answered = False  # whether the broker has answered CONNECT
        paho: Any = self._client._client  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] -- see the docstring
        self._paho = paho
        self._acks = bytearray()
        self._ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._stream = Stream(paho, on_publish, limit_bytes=PACKET_BYTES)
        self._stream.on_end = self._on_end
        self._stream.unlike = partial(unlike, line=line)
        paho.manual_ack_set(True)

        def on_message(_client: Any, _userdata: Any, message: Any) -> None:
            identifiers = tuple(getattr(message.properties, "SubscriptionIdentifier", ()))
            name = message._topic  # noqa: SLF001 -- it need not be text
            on_publish(
                Arrived(message.mid, message.qos, message.dup, message.retain, name, message.payload, identifiers)
            )

        paho.on_message = on_message
        connected = paho.on_connect

        def on_connect(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any = None) -> None:
            self._answered = True
            self.identifies = bool(getattr(properties, "SubscriptionIdentifierAvailable", 1))
            self.resumed = bool(flags.session_present)
            connected(client, userdata, flags, reason, properties)

        paho.on_connect = on_connect

    async def __aenter__(self) -> Self:
        try:
            await self._entered()
        except aiomqtt.MqttError as error:
            raise self._unconnected(error) from error
        except UnicodeError as error:  # of a name with an empty label, or one of more than 63 characters
            raise Misconfigured(f"host {self._line.host!r} is no name of a host: {error}") from error
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._write_acks()  # what is kept is acknowledged before it is said that we go
        try:
            with suppress(aiomqtt.MqttError):  # the connection is gone already, which is what leaving wants
                await told(self._client.__aexit__(None, None, None))
        finally:
            self._close()

    async def _entered(self) -> None:
        """Connect. aiomqtt waits for the answer as long as it may take, also where the connection has ended already."""
        entering = asyncio.ensure_future(self._client.__aenter__())
        try:
            await asyncio.wait((entering, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if entering.done() or self._answered:
                await told(entering)
                return
        except BaseException:
            await self._given_up(entering)
            raise
        await self._given_up(entering)
        why = self._ended.result()
        raise why if isinstance(why, DriverError) else aiomqtt.MqttError(str(why))

    async def _given_up(self, entering: asyncio.Future[Any]) -> None:
        entering.cancel()
        try:
            await asyncio.gather(entering, return_exceptions=True)
        finally:
            self._close()

    def _on_end(self, why: Exception) -> None:
        if not self._ended.done():
            self._ended.set_result(why)

    def _close(self) -> None:
        """Close the socket, which aiomqtt leaves open, and listens to, where entering or leaving failed half-way."""
        if self._paho.socket() is not None:
            self._paho._sock_close()  # noqa: SLF001
        gone: asyncio.Future[None] = self._client._disconnected  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        if gone.done() and not gone.cancelled():
            gone.exception()  # looked at, where nobody waited for it any more

    async def subscribe(self, topics: Sequence[str], identifier: int = 0) -> list[str]:
        """Subscribe at QoS 1, with retained publishes only where the subscription is new.

        What comes by it has this identifier, where it is not 0. Returns the topics that the broker refused.

        Raises:
            Unreachable.
        """
        options = SubscribeOptions(qos=1, retainAsPublished=False, retainHandling=RETAINED_ONLY_WHEN_NEW)
        properties = Properties(PacketTypes.SUBSCRIBE)
        if identifier and self.identifies:
            properties.SubscriptionIdentifier = identifier
        refused: list[str] = []
        for first in range(0, len(topics), SUBSCRIBE_AT_ONCE):
            some = topics[first : first + SUBSCRIBE_AT_ONCE]
            try:
                codes: Any = await told(self._client.subscribe([(t, options) for t in some], properties=properties))
            except aiomqtt.MqttError as error:
                raise Unreachable(self._explained(error)) from error
            refused += [t for t, code in zip(some, codes, strict=True) if code.value >= 0x80]
        return refused

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Let the broker forget subscriptions; one that it does not have is no matter.

        Raises:
            Unreachable.
        """
        for i in range(0, len(filters), SUBSCRIBE_AT_ONCE):
            try:
                await told(self._client.unsubscribe(list(filters[i : i + SUBSCRIBE_AT_ONCE])))
            except aiomqtt.MqttError as error:
                raise Unreachable(self._explained(error)) from error

    async def gone(self) -> None:
        """Wait until the connection is lost.

        Raises:
            Unreachable: it is, with the reason.
        """
        try:
            async for _ in self._client.messages:
                raise AssertionError("aiomqtt queued a message that on_publish should have had")
        except aiomqtt.MqttError as error:
            raise Unreachable(self._explained(error.__cause__ or error)) from error

    def acknowledge(self, mid: int, qos: int) -> None:
        """Tell the broker that a publish is kept. Without effect when the connection is gone."""
        if qos != 1:
            self._paho.ack(mid, qos)
            return
        if not self._acks:
            asyncio.get_running_loop().call_soon(self._write_acks)
        self._acks += bytes((PUBACK, 2, mid >> 8, mid & 255))

    def _write_acks(self) -> None:
        if self._acks:
            acks, self._acks = bytes(self._acks), bytearray()
            self._paho._packet_queue(PUBACK, acks, 0, 1)  # noqa: SLF001 -- one packet after the other, to paho one

    async def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1; returns when the broker has it.

        Raises:
            Unreachable.
        """
        try:
            await told(self._client.publish(topic, payload, qos=1))
        except aiomqtt.MqttError as error:
            raise Unreachable(f"the broker did not take the command: {error}") from error

    def _unconnected(self, error: aiomqtt.MqttError) -> DriverError:
        """Why there is no connection, in the words of the system or the broker, and what to look at."""
        line, code = self._line, _code(error)
        if code in CREDENTIALS_REFUSED:
            text = f"broker {line.host}: {error}; see username and password_file, and what the broker allows"
            return Misconfigured(text)
        if code in UNSUPPORTED_VERSION:
            return old_version(line)
        port = line.port or (8883 if line.secure else 1883)
        text = f"broker {line.host}, port {port}: {_plain(str(error))}"
        if any(words in str(error) for words in ("Name or service", "name resolution", "No address", "nodename")):
            text += " (see host, and the name server)"
        elif "Connection refused" in str(error):
            text += " (nobody listens there; see host and port, and whether the broker runs)"
        elif "CERTIFICATE_VERIFY_FAILED" in str(error):
            text += " (see ca, the names in the broker's certificate, and the node's clock)"
        elif "WRONG_VERSION_NUMBER" in str(error):
            text += " (it speaks no TLS on this port; see port and tls)"
        elif line.secure and not line.cert and ("ALERT" in str(error) or "timed out" in str(error)):
            text += " (the broker wants a client certificate: set cert and key)"
        elif not self._answered and any(words in str(error) for words in ("closed the", "reset by", "EOF")):
            may = (
                "speak no TLS on this port; see port and tls"
                if line.secure
                else "want TLS on this port, or know no MQTT 5"
            )
            text += f" (it may {may})"
        return Unreachable(text)

    def _explained(self, error: BaseException) -> str:
        line = self._line
        text = f"broker {line.host}: {self._stream.broken or error}"
        if _code(error) in THROWN_OUT:
            text += f' (another client that calls itself client_id = "{line.client_id}" looks like this too)'
        return text


def _plain(text: str) -> str:
    """Without the numbers of the system and the places in a library's source."""
    return re.sub(r"^\[Errno -?\d+\] | \(_ssl\.c:\d+\)$", "", text)


def _code(error: BaseException) -> int | None:
    rc = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
    return rc.value if isinstance(rc, ReasonCode) else rc


def _password(line: Line) -> str | None:
    key, password = "password", line.password
    if line.password_file:
        key = f"password_file {line.password_file}"
        try:
            password = Path(line.password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{key} cannot be read: {error}") from error
    if len(password.encode()) > MAX_TEXT or len(line.username.encode()) > MAX_TEXT:
        raise Misconfigured(f"{key} or username has more than the {MAX_TEXT} bytes that MQTT allows")
    return password or None


def _tls(line: Line) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=line.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(f"ca {line.ca} cannot be read: {error}") from error
    if line.cert:
        try:
            context.load_cert_chain(line.cert, line.key)
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(f"cert {line.cert} and key {line.key} cannot be used: {error}") from error
    return context
