"""The inbox of the radio: what each advert of a known device becomes, once.

Nothing that an advert holds, nor a node that cannot take it, stops the scanner that calls it.
"""

from __future__ import annotations

from asyncio import Future
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from drivers.backoff import Monotonic
from drivers.ble.payload import Bytes
from drivers.ble.words import Whole
from drivers.contract import Attachment, Deliver, Now, Receipt
from drivers.mishaps import Mishaps
from drivers.readings import failed
from wire.sample import Sample


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
        self.last: object = None  # packet id, or the data itself where there is none
        self.last_s = 0.0


class Inbox:
    """Adverts in, samples out; at most `max_pending` wait to be durable."""

    def __init__(
        self, *, source: str, max_pending: int, now: Now, clock: Monotonic, counts: Counter[str], mishaps: Mishaps
    ) -> None:
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
        for key in keys:
            if (beacon := by_key.get(key[8:])) is not None:
                beacon.last = int.from_bytes(key[:8], signed=True)

    def take(
        self, beacon: Beacon, manufacturer: Mapping[int, bytes], service: Mapping[str, bytes], deliver: Deliver
    ) -> None:
        """One advert. Called by the scanner for each, so nothing here waits or raises."""
        data = beacon.reader.mine(manufacturer, service)
        if data is None:
            return
        packet: object = data
        receipt = None
        try:
            values, quality = beacon.reader.advert(data)
            if beacon.packet_id and (number := values.get(beacon.packet_id)) is not None:
                packet = number
            if isinstance(packet, int):  # restarted, the node shall know this advert again
                key = packet.to_bytes(8, signed=True) + beacon.key
                receipt = Receipt(self._source, key, redelivered=False)  # a beacon waits for nobody
            sample = Sample(beacon.id, *self._now(), values, quality)
        except Exception as error:  # noqa: BLE001 -- it is logged there
            if beacon.last == data:
                return
            self._counts["unreadable"] += 1
            packet, receipt = data, None
            beacon.last = None
            points = list(beacon.profile.points.values())
            sample = failed(beacon.id, points, self._now(), self._mishaps.why(error))
        if packet == beacon.last and (packet is not data or self._clock() - beacon.last_s < beacon.repeat_s):
            self._counts["repeats"] += 1
            return
        if self._pending >= self._max_pending:
            self._counts["dropped"] += 1
            return
        beacon.last, beacon.last_s = packet, self._clock()
        self._pending += 1
        durable = self._mishaps.handed(deliver, (sample,), receipt)
        durable.add_done_callback(lambda d: self._delivered(beacon, packet, d))

    def _delivered(self, beacon: Beacon, packet: object, durable: Future[None]) -> None:
        self._pending -= 1
        if durable.cancelled() or durable.exception() is not None:
            self._counts["not_stored"] += 1
            if beacon.last == packet:
                beacon.last = None  # the next repeat gets another chance
