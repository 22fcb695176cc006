"""The inbox of the radio: what each advert of a known device becomes, once.

A beacon sends each advert several times in a row. A repeat is the same packet id with the same values, heard again
within BURST_S of the last time: many devices start their counter anew at each wake-up, or never count at all, and what
they say minutes later is another measurement. Without a packet id the same data is a repeat for `repeat_s`; longer
than that nothing is one, so that a device that always says the same is not taken for dead. Devices that take turns
with several adverts are known by the last RECENT_IDS packet ids.

Nothing that an advert holds, nor a node that cannot take it, stops the scanner that calls it.
"""

from __future__ import annotations

from asyncio import Future
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from drivers.backoff import Monotonic
from drivers.ble.payload import Bytes
from drivers.ble.words import Whole
from drivers.contract import Attachment, Deliver, Now, Receipt
from drivers.frames import Trace
from drivers.mishaps import Mishaps
from drivers.readings import failed
from wire.sample import Sample

BURST_S: Final = (
    10.0  # the slowest beacons send every 10.24 s (Bluetooth Core 5.4, vol 6, part B, 4.4.2.2: advInterval)
)
RECENT_IDS: Final = 8
_HASH: Final = 8
_UNNUMBERED: Final = b""


class _Heard(msgspec.Struct):
    """One advert as it was heard last: a hash of what it says, and when, on the monotonic clock in seconds."""

    content: bytes
    taken_s: float
    last_s: float


class Beacon:
    """A device as its adverts show it."""

    def __init__(self, attachment: Attachment, reader: Bytes) -> None:
        whole: Whole = attachment.profile.whole
        self.id = attachment.device.id
        self.key = blake2b(self.id.encode(), digest_size=16).digest()
        self.profile = attachment.profile
        self.reader = reader
        self.packet_id = whole.packet_id
        self.repeat_s = whole.repeat_s
        self._heard: OrderedDict[bytes, _Heard] = OrderedDict()  # by packet id; all that have none under one

    def repeats(self, packet: bytes, content: bytes, now_s: float) -> bool:
        """Whether an advert says again what was taken lately."""
        heard = self._heard.get(packet)
        if heard is None or heard.content != content or now_s - heard.taken_s >= self.repeat_s:
            return False
        if packet and now_s - heard.last_s >= BURST_S:
            return False
        heard.last_s = now_s
        return True

    def took(self, packet: bytes, content: bytes, now_s: float) -> None:
        """An advert was taken."""
        self._heard[packet] = _Heard(content, now_s, now_s)
        self._heard.move_to_end(packet)
        while len(self._heard) > RECENT_IDS:
            self._heard.popitem(last=False)

    def lost(self, packet: bytes, content: bytes) -> None:
        """What was taken could not be kept: its next repeat gets another chance."""
        heard = self._heard.get(packet)
        if heard is not None and heard.content == content:
            del self._heard[packet]


class Inbox:
    """Adverts in, samples out; at most `max_pending` wait to be durable.

    A receipt is the beacon's key (16 bytes), hashes of packet id and content (8 each), and the node's time in
    microseconds (8): a restart within a burst is not heard as another measurement.
    """

    def __init__(
        self,
        *,
        source: str,
        max_pending: int,
        now: Now,
        clock: Monotonic,
        counts: Counter[str],
        mishaps: Mishaps,
        trace: Trace | None = None,
    ) -> None:
        self._trace = trace or Trace(())
        self._source = source
        self._max_pending = max_pending
        self._now = now
        self._clock = clock
        self._counts = counts
        self._mishaps = mishaps
        self._pending = 0

    def remember(self, keys: Iterable[bytes], beacons: Iterable[Beacon]) -> None:
        """Take up what was committed before a restart."""
        by_key = {b.key: b for b in beacons}
        now_us, now_s = self._now()[0], self._clock()
        for key in keys:
            beacon = by_key.get(key[:16])
            age_s = (now_us - int.from_bytes(key[32:])) / 1e6
            if beacon is not None and len(key) == 40 and age_s >= 0:
                beacon.took(key[16:24], key[24:32], now_s - age_s)

    def take(
        self, beacon: Beacon, manufacturer: Mapping[int, bytes], service: Mapping[str, bytes], deliver: Deliver
    ) -> None:
        """One advert. Called by the scanner for each, so nothing here waits or raises."""
        data = beacon.reader.mine(manufacturer, service)
        if data is None:
            return
        packet, content = _UNNUMBERED, _hash(data)
        receipt = None
        try:
            values, quality = beacon.reader.advert(data)
            stamp = self._now()
            if beacon.packet_id and (number := values.get(beacon.packet_id)) is not None:
                packet, content = _hash(repr(number).encode()), _hash(repr((values, quality)).encode())
                key = beacon.key + packet + content + stamp[0].to_bytes(8, signed=True)
                receipt = Receipt(self._source, key, redelivered=False)  # a beacon waits for nobody
            sample = Sample(beacon.id, *stamp, values, quality)
        except Exception as error:  # noqa: BLE001 -- it is logged there
            if not beacon.repeats(_UNNUMBERED, content, self._clock()):
                self._counts["unreadable"] += 1
            packet, receipt = _UNNUMBERED, None
            points = list(beacon.profile.points.values())
            sample = failed(beacon.id, points, self._now(), self._mishaps.why(error))
        now_s = self._clock()
        if beacon.repeats(packet, content, now_s):
            self._counts["repeats"] += 1
            return
        self._trace.note(beacon.id, sample.time_us, "in", data, beacon.reader.known_by)
        if self._pending >= self._max_pending:
            self._counts["dropped"] += 1
            return
        beacon.took(packet, content, now_s)
        self._pending += 1
        durable = self._mishaps.handed(deliver, (sample,), receipt)
        durable.add_done_callback(lambda d: self._delivered(beacon, packet, content, d))

    def _delivered(self, beacon: Beacon, packet: bytes, content: bytes, durable: Future[None]) -> None:
        self._pending -= 1
        if durable.cancelled() or durable.exception() is not None:
            self._counts["not_stored"] += 1
            beacon.lost(packet, content)


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_HASH).digest()
