"""The BLE driver: adverts heard and devices read over GATT, with one adapter. The only place that knows bleak.

Promises: a repeat of the same packet id is one reading, also across a restart; a scanner that hears nothing for
`silence_s`, or whose adapter or bus goes away, is started again; at most `max_connections` devices are connected at a
time, commands before polls; a device that does not answer is left alone as on any line (doubling to five minutes).

Bounds: `max_pending` readings waiting to be durable, further ones are dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

from bleak import BleakClient, BleakScanner
from bleak.args.bluez import OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakCharacteristicNotFoundError, BleakDBusError, BleakError, BleakGATTProtocolError

from drivers.backoff import Backoff, Monotonic
from drivers.ble.inbox import Beacon, Inbox
from drivers.ble.payload import Bytes, encode
from drivers.ble.words import Access, Address, Line, Whole, full_uuid
from drivers.contract import Attachment, Deliver, Now, Receipts
from drivers.errors import Misconfigured, Refused, Unreachable
from drivers.mishaps import Mishaps
from drivers.readings import allowed
from drivers.turns import COMMAND, POLL, Turns
from wire.device import Device, Point
from wire.sample import Sample, Value, bad

CHECK_S: Final = 1.0  # how often the watchdog looks
_GONE: Final = (BleakError, TimeoutError, OSError, EOFError)  # EOFError: the D-Bus daemon went away

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class _Node:
    """A device as connections reach it; as its adverts show it, it is a Beacon."""

    def __init__(self, attachment: Attachment, reader: Bytes, line: Line, clock: Monotonic) -> None:
        address: Address = attachment.address
        whole: Whole = attachment.profile.whole
        self.id = attachment.device.id
        self.mac = address.mac.upper()
        self.profile = attachment.profile
        self.reader = reader
        self.advertises = whole.manufacturer is not None or whole.service is not None
        self.backoff = Backoff.of_device(clock, line.backoff_first_s)
        self.why = ""  # it failed last
        self.turns = Turns()
        self.seen: BLEDevice | None = None
        self.sighted = asyncio.Event()
        self.beacon = Beacon(attachment, reader)


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
        self._nodes = {a.device.id: _Node(a, readers[a.profile.name], line, clock) for a in attachments}
        self._by_mac = {n.mac: n for n in self._nodes.values()}
        self._line = line
        self._now = now
        self._clock = clock
        self._discovery = asyncio.Lock()
        self._receipts = receipts
        self._source = f"ble:{name}"
        self._counts: Counter[str] = Counter()
        self._inbox = Inbox(
            source=self._source,
            max_pending=line.max_pending,
            now=now,
            clock=clock,
            counts=self._counts,
            mishaps=Mishaps("advert", _log),
        )
        self._radio = Turns(line.max_connections)
        self._backoff = Backoff.of_line(clock)
        self._heard_s = 0.0
        self._scanning = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        pass

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": int(self._scanning)}

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves; see the contract."""
        nodes = {n.mac: n for d in devices if (n := self._nodes.get(d.id)) is not None and n.advertises}
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

        await self._connected(COMMAND, node, write)

    def _node(self, device: Device) -> _Node:
        if device.id not in self._nodes:
            raise Misconfigured(f"{device.id} is not on this line")
        return self._nodes[device.id]

    # ---- adverts

    async def _scan(self, nodes: Mapping[str, _Node], deliver: Deliver) -> None:
        """Scan until nothing has been heard for `silence_s`."""

        def heard(device: BLEDevice, advert: AdvertisementData) -> None:
            self._heard_s = self._clock()
            self._counts["adverts"] += 1
            mac = device.address.upper()
            if (node := self._by_mac.get(mac)) is not None:
                node.seen = device
                node.sighted.set()
                if mac in nodes:
                    self._inbox.take(node.beacon, advert.manufacturer_data, advert.service_data, deliver)

        scanner = BleakScanner(heard, scanning_mode=self._line.scanning, bluez=self._arguments(nodes.values()))
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

    def _arguments(self, nodes: Any) -> Any:
        arguments = self._adapter()
        if self._line.scanning == "passive":
            arguments["or_patterns"] = list(dict.fromkeys(p for n in nodes for p in _patterns(n.profile.whole)))
        return arguments

    # ---- connections

    async def _connected(self, urgency: int, node: _Node, act: Callable[[BleakClient], Awaitable[_T]]) -> _T:
        """Do something on a connection to a device, in its turn.

        Raises:
            Unreachable, Refused.
        """
        self._rest(node)
        async with node.turns.turn(urgency):
            self._rest(node)
            try:
                device = await self._find(node)
                async with self._radio.turn(urgency):
                    self._counts["connections"] += 1
                    result = await self._on_connection(node, device, act)
            except _GONE as error:
                self._counts["failures"] += 1
                node.backoff.failed()
                silent = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
                node.why = str(error) or silent
                raise Unreachable(node.why) from error
        node.backoff.succeeded()
        return result

    def _rest(self, node: _Node) -> None:
        if node.backoff.left_s():  # this becomes a quality, and one that changes is always reported: the same words
            raise Unreachable(node.why)

    async def _find(self, node: _Node) -> BLEDevice:
        """The device as it was last heard. BlueZ allows one discovery for each of its clients, so that bleak must not
        look for a device on its own while the scanner runs, nor the other way round."""
        if node.seen is not None:
            return node.seen
        timeout_s = self._line.connect_timeout_s
        async with asyncio.timeout(timeout_s), self._discovery:
            if not (self._scanning and self._line.scanning == "active"):
                node.seen = await BleakScanner.find_device_by_address(node.mac, timeout_s, bluez=self._adapter())
        if node.seen is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s if self._scanning else 0):
                    await node.sighted.wait()
        if node.seen is None:
            raise TimeoutError(f"{node.mac} was not heard within {timeout_s:g} s")
        return node.seen

    def _adapter(self) -> Any:
        return {"adapter": self._line.adapter} if self._line.adapter else {}

    async def _on_connection(self, node: _Node, device: BLEDevice, act: Callable[[BleakClient], Awaitable[_T]]) -> _T:
        timeout_s = self._line.connect_timeout_s
        client = BleakClient(device, timeout=timeout_s, bluez=self._adapter())
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect()
                return await act(client)
        except _GONE:
            node.seen = None  # what was known of it may be outdated
            node.sighted.clear()
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
                node.reader.characteristic(names, data, values, quality)
        if refusals and len(refusals) == len(wanted):
            raise Refused(refusals[0])
        return Sample(node.id, *self._now(), values, quality)


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
