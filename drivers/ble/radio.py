"""The BLE driver: adverts heard and devices read over GATT, with one adapter. The only place that knows bleak.

Promises: what a beacon repeats within a burst is one reading, also across a restart (`inbox.py`); a scanner that hears
no advert for `silence_s`, or whose adapter or bus goes away, is started again; at most `max_connections` devices are
connected at a time, commands before polls; a device that does not answer is left alone as on any line (doubling to
five minutes). Devices of one address are one to the radio, which connects to it for one of them at a time; each of
them hears the adverts that its profile reads.

BlueZ tells of each change of a device, of connections too, and every time with all that it last knew of its adverts
(org.bluez.Device1). Only what an advert has brought counts as heard: see `is_advert`.

Bounds: `max_pending` readings waiting to be durable, further ones are dropped and counted; what was last told of a
device is kept for the devices of this line only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Self, TypeVar

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakCharacteristicNotFoundError, BleakDBusError, BleakError, BleakGATTProtocolError

from drivers.ble.inbox import Beacon, Inbox
from drivers.ble.looking import Air, characteristics
from drivers.ble.payload import Bytes, encode
from drivers.ble.settings import Access, Address, Line, Whole, full_uuid
from drivers.contract import Attachment, Deliver, Now, Receipts
from drivers.errors import Misconfigured, Refused, Unreachable
from drivers.frames import Field, Frame, Trace
from drivers.guesses import Ask, Heard, Tell
from drivers.mishaps import LineMishaps
from drivers.profile import Profile
from drivers.readings import allowed
from drivers.reasons import why
from drivers.turns import COMMAND, LOOK, POLL, Turns
from groundwork.backoff import Backoff, Monotonic
from wire.device import Device, Point
from wire.sample import Sample, Value, bad
from wire.time import Utc

CHECK_S: Final = 1.0  # how often the watchdog looks
_GONE: Final = (BleakError, TimeoutError, OSError, EOFError)  # EOFError: the D-Bus daemon went away

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Peer:
    """What answers at one address, whichever devices it stands for."""

    def __init__(self, mac: str, line: Line, clock: Monotonic) -> None:
        self.mac = mac
        self.backoff = Backoff.of_device(clock, line.backoff_first_s)
        self.why = ""  # it failed last
        self.turns = Turns()
        self.seen: BLEDevice | None = None
        self.sighted = asyncio.Event()
        self.told: Mapping[str, Any] | None = None  # its properties as BlueZ told them last
        self.nodes: list[_Node] = []


class _Node:
    """A device as connections reach it; as its adverts show it, it is a Beacon."""

    def __init__(self, attachment: Attachment, reader: Bytes, peer: _Peer) -> None:
        whole: Whole = attachment.profile.whole
        self.id = attachment.device.id
        self.peer = peer
        self.profile = attachment.profile
        self.reader = reader
        self.advertises = whole.manufacturer is not None or whole.service is not None
        self.beacon = Beacon(attachment, reader)
        peer.nodes.append(self)


class BleDriver:
    """One adapter and the devices in its range."""

    def __init__(
        self,
        name: str,
        line: Line,
        attachments: Sequence[Attachment],
        now: Now,
        receipts: Receipts,
        *,
        clock: Monotonic = time.monotonic,
    ) -> None:
        readers = {a.profile.name: Bytes(a.profile) for a in attachments}
        self._peers: dict[str, _Peer] = {}
        self._nodes: dict[str, _Node] = {}
        for attachment in attachments:
            address: Address = attachment.address
            mac = address.mac.upper()
            peer = self._peers.setdefault(mac, _Peer(mac, line, clock))
            self._nodes[attachment.device.id] = _Node(attachment, readers[attachment.profile.name], peer)
        self._line = line
        self._now = now
        self._clock = clock
        self._discovery = asyncio.Lock()
        self._receipts = receipts
        self._source = f"ble:{name}"
        self._counts: Counter[str] = Counter()
        self._trace = Trace(self._nodes)
        self._inbox = Inbox(
            source=self._source,
            max_pending=line.max_pending,
            now=now,
            clock=clock,
            counts=self._counts,
            mishaps=LineMishaps("advert", _log),
            trace=self._trace,
        )
        self._radio = Turns(line.max_connections)
        self._backoff = Backoff.of_line(clock)
        self._heard_s = 0.0
        self._scanning = False
        self._airs: set[Air] = set()  # who looks at all that is heard

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        pass

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": int(self._scanning)}

    def rouse(self, device: str) -> None:
        """See the contract."""
        if (node := self._nodes.get(device)) is not None:
            node.peer.backoff.rouse()

    def frames(self, device: str) -> Sequence[Frame]:
        """What it said last in adverts and on connections, and was told; see the contract."""
        if (node := self._nodes.get(device)) is None:
            return ()
        by_characteristic: dict[str, list[str]] = {}
        for name, access in node.profile.access.items():
            if access.characteristic is not None:
                by_characteristic.setdefault(f"characteristic {full_uuid(access.characteristic)}", []).append(name)
        found: list[Frame] = []
        for each in self._trace.of(device):
            names = by_characteristic.get(each.about, node.reader.adverts)
            fields = sorted(node.reader.fields(each.data, names))
            found.append(Frame(Utc(each.when), each.direction, each.data, tuple(Field(*f) for f in fields), each.about))
        return found

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves; see the contract."""
        nodes = [n for d in devices if (n := self._nodes.get(d.id)) is not None and n.advertises]
        if not nodes:
            return
        self._inbox.remember(await self._receipts.recent(self._source), (n.beacon for n in self._nodes.values()))
        said = ""
        while True:
            try:
                await self._scan(nodes, deliver)
            except _GONE as error:
                if str(error) != said:
                    said = str(error)
                    _log.warning("bluetooth: %s", said or type(error).__name__)
                self._counts["scanner_failures"] += 1
                await asyncio.sleep(self._backoff.failed())
            finally:
                self._scanning = False

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        node = self._node(device)
        wanted: dict[str, list[str]] = {}
        for point in points:
            access: Access | None = node.profile.access.get(point.name)
            if access is None or access.characteristic is None:
                raise Misconfigured(f"{point.name} of profile {node.profile.name} is not read on a connection")
            wanted.setdefault(full_uuid(access.characteristic), []).append(point.name)
        return await self._connected(POLL, node, lambda client: self._read(node, wanted, client))

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        node = self._node(device)
        access: Access | None = node.profile.access.get(point.name)
        if access is None or access.characteristic is None:
            raise Misconfigured(f"{point.name} of profile {node.profile.name} cannot be written")
        data, uuid = encode(access, point, allowed(point, value)), full_uuid(access.characteristic)

        async def write(client: BleakClient) -> None:
            try:
                await client.write_gatt_char(uuid, data, response=True)
            except (BleakDBusError, BleakGATTProtocolError, BleakCharacteristicNotFoundError) as error:
                if not client.is_connected:
                    raise
                raise Refused(f"the device refused the value: {_words(error)}") from error
            finally:
                self._trace.note(node.id, self._now()[0], "out", data, f"characteristic {uuid}")

        await self._connected(COMMAND, node, write)

    def _node(self, device: Device) -> _Node:
        if device.id not in self._nodes:
            raise Misconfigured(f"{device.id} is not on this line")
        return self._nodes[device.id]

    # ---- adverts

    async def _scan(self, nodes: Sequence[_Node], deliver: Deliver) -> None:
        """Scan until no advert has been heard for `silence_s`."""
        listening = {n.id for n in nodes}

        def heard(device: BLEDevice, advert: AdvertisementData) -> None:
            peer = self._peers.get(device.address.upper())
            told: Mapping[str, Any] = advert.platform_data[1]
            before = None
            if peer is not None:
                before, peer.told = peer.told, told
            if not is_advert(before, told):
                return
            self._heard_s = self._clock()
            self._counts["adverts"] += 1
            for air in self._airs:
                air(device, advert)
            if peer is None:
                return
            peer.seen = device
            peer.sighted.set()
            for node in peer.nodes:
                if node.id in listening:
                    self._inbox.take(node.beacon, advert.manufacturer_data, advert.service_data, deliver)

        scanner = BleakScanner(heard, scanning_mode=self._line.scanning, bluez=self._arguments(nodes))
        self._heard_s = self._clock()
        try:
            async with self._discovery, asyncio.timeout(self._line.connect_timeout_s):
                await scanner.start()
                self._scanning = True
            self._counts["scanner_starts"] += 1
            while self._clock() - self._heard_s < self._line.silence_s:
                await asyncio.sleep(min(CHECK_S, self._line.silence_s / 4))
                if self._heard_s:
                    self._backoff.succeeded()
            self._counts["scanner_silences"] += 1
        finally:
            self._scanning = False
            try:
                async with asyncio.timeout(self._line.connect_timeout_s):
                    await scanner.stop()
            except _GONE:
                self._counts["scanner_stops_failed"] += 1

    def _arguments(self, nodes: Sequence[_Node]) -> Any:
        arguments = self._adapter()
        if self._line.scanning == "passive":
            arguments["or_patterns"] = list(dict.fromkeys(p for n in nodes for p in _patterns(n.profile.whole)))
        return arguments

    async def look(self, ask: Ask, profiles: Sequence[Profile], tell: Tell) -> Sequence[Heard]:
        """Who speaks on the air, and what one of them holds; see the contract."""
        air, until_s = Air(), self._clock() + ask.seconds
        mac = ask.mac.upper()
        self._airs.add(air)
        try:
            async with AsyncExitStack() as stack:
                if not self._scanning:
                    await stack.enter_async_context(self._discovery)
                    await stack.enter_async_context(BleakScanner(air, bluez=self._adapter()))
                while (left_s := until_s - self._clock()) > 0 and not (mac and mac in air.devices):
                    tell("listening", {"found": len(air.devices), "left_s": round(left_s)})
                    await asyncio.sleep(min(CHECK_S, left_s))
            held: dict[str, bytes] = {}
            if mac in air.devices and any(a.characteristic for p in profiles for a in p.access.values()):
                tell("connecting", {"mac": mac})
                peer = self._peers.get(mac) or _Peer(mac, self._line, self._clock)
                with suppress(*_GONE):  # most beacons take no connection
                    async with peer.turns.turn(LOOK), self._radio.turn(LOOK):
                        held = await self._on_connection(peer, air.devices[mac], lambda c: characteristics(c, profiles))
        except _GONE as error:
            raise Unreachable(f"bluetooth cannot be listened to: {why(error)}") from error
        finally:
            self._airs.discard(air)
        return air.heard(mac, held)

    # ---- connections

    async def _connected(self, urgency: int, node: _Node, act: Callable[[BleakClient], Awaitable[_T]]) -> _T:
        """Do something on a connection to a device, in its turn.

        Raises:
            Unreachable, Refused.
        """
        self._rest(node.peer)
        async with node.peer.turns.turn(urgency):
            self._rest(node.peer)
            try:
                device = await self._find(node.peer)
                async with self._radio.turn(urgency):
                    self._counts["connections"] += 1
                    result = await self._on_connection(node.peer, device, act)
            except _GONE as error:
                self._counts["failures"] += 1
                node.peer.backoff.failed()
                silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
                node.peer.why = str(error) or silent
                raise Unreachable(node.peer.why) from error
        node.peer.backoff.succeeded()
        return result

    def _rest(self, peer: _Peer) -> None:
        if peer.backoff.left_s():  # this becomes a quality, and one that changes is always reported: the same words
            raise Unreachable(peer.why)

    async def _find(self, peer: _Peer) -> BLEDevice:
        """The device as it was last heard. BlueZ allows one discovery for each of its clients, so that bleak must not
        look for a device on its own while the scanner runs, nor the other way round."""
        if peer.seen is not None:
            return peer.seen
        timeout_s = self._line.connect_timeout_s
        async with asyncio.timeout(timeout_s), self._discovery:
            if not (self._scanning and self._line.scanning == "active"):
                peer.seen = await BleakScanner.find_device_by_address(peer.mac, timeout_s, bluez=self._adapter())
        if peer.seen is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s if self._scanning else 0):
                    await peer.sighted.wait()
        if peer.seen is None:
            raise TimeoutError(f"{peer.mac} was not heard within {timeout_s:g} s")
        return peer.seen

    def _adapter(self) -> Any:
        return {"adapter": self._line.adapter} if self._line.adapter else {}

    async def _on_connection(self, peer: _Peer, device: BLEDevice, act: Callable[[BleakClient], Awaitable[_T]]) -> _T:
        timeout_s = self._line.connect_timeout_s
        client = BleakClient(device, timeout=timeout_s, bluez=self._adapter())
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect()
                return await act(client)
        except _GONE:
            peer.seen = None  # what was known of it may be outdated
            peer.sighted.clear()
            raise
        finally:
            try:
                async with asyncio.timeout(timeout_s):
                    await client.disconnect()
            except _GONE:
                self._counts["disconnects_failed"] += 1

    async def _read(self, node: _Node, wanted: Mapping[str, Sequence[str]], client: BleakClient) -> Sample:
        values: dict[str, Value] = {}
        quality: dict[str, str] = {}
        refusals: list[str] = []
        for uuid, names in wanted.items():
            try:
                data = bytes(await client.read_gatt_char(uuid))
            except (BleakDBusError, BleakGATTProtocolError, BleakCharacteristicNotFoundError) as error:
                if not client.is_connected:
                    raise
                refusals.append(f"the device refused {uuid}: {_words(error)}")
                values |= dict.fromkeys(names)
                quality |= dict.fromkeys(names, bad(refusals[-1]))
            else:
                self._trace.note(node.id, self._now()[0], "in", data, f"characteristic {uuid}")
                node.reader.characteristic(names, data, values, quality)
        if refusals and len(refusals) == len(wanted):
            raise Refused(refusals[0])
        return Sample(node.id, *self._now(), values, quality)


_IN_ADVERTS: Final = ("RSSI", "TxPower", "ManufacturerData", "ServiceData", "AdvertisingData", "AdvertisingFlags")


def is_advert(before: Mapping[str, Any] | None, told: Mapping[str, Any]) -> bool:
    """Whether it was an advert that made BlueZ tell the properties of a device; `before` are those reported last.

    An advert brings some of _IN_ADVERTS; signal strength and power are taken away when discovery ends, which no advert
    does. What has not changed at all is an advert like the one before (bleak asks BlueZ for duplicates). Names and
    services change with adverts and connections, but with adverts never alone.
    """
    if before is None:
        return not told.get("Connected", False)
    changed = {key for key in before.keys() | told.keys() if before.get(key) != told.get(key)}
    return not changed or any(key in told for key in changed.intersection(_IN_ADVERTS))


def _words(error: BleakError) -> str:
    if isinstance(error, BleakGATTProtocolError):
        return error.code.name.replace("_", " ").lower()
    if isinstance(error, BleakCharacteristicNotFoundError):
        return "it has no such characteristic"
    return str(error)


def _patterns(whole: Whole) -> list[OrPattern]:
    prefix = bytes.fromhex(whole.prefix)
    if whole.manufacturer is not None:
        content = whole.manufacturer.to_bytes(2, "little") + prefix
        return [OrPattern(0, AdvertisementDataType.MANUFACTURER_SPECIFIC_DATA, content)]
    if whole.service is not None and len(whole.service) == 4:
        content = int(whole.service, 16).to_bytes(2, "little") + prefix
        return [OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, content)]
    if whole.service is not None:
        content = bytes.fromhex(whole.service.replace("-", ""))[::-1] + prefix
        return [OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID128, content)]
    return [OrPattern(0, AdvertisementDataType.FLAGS, b"\x06")]  # BlueZ wants at least one
