"""The Modbus driver: polls and writes of all devices behind one connection or serial line.

Promises: one dead device costs the others at most one of its time-outs for each step of its back-off (doubling to
five minutes); while it is left alone, asking for it fails at once. Commands go ahead of polls, also between the
requests of one poll. A block refused because of the gaps that were read along is asked for without them from then on.
When the connection itself is gone, no device is blamed: it is opened again after a short, random wait, and devices
that had failed since the last answer on it may be asked at once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from drivers.backoff import Backoff, Monotonic
from drivers.contract import Attachment, Deliver, Now
from drivers.errors import Misconfigured, Refused, Unreachable
from drivers.modbus.link import ModbusLink, NoAnswer, NoLine, Said
from drivers.modbus.registers import Block, Decoder, Reader, encode, plan
from drivers.modbus.words import Access, Address, Line, Space
from drivers.profile import Profile
from drivers.readings import allowed
from drivers.turns import COMMAND, POLL, Turns
from wire.device import Device, Point
from wire.sample import Sample, Value, bad

SILENT_LIMIT: Final = 3  # time-outs in a row, from whomever, after which a connection is suspected itself
ILLEGAL_ADDRESS: Final = 2
GATEWAY: Final = (10, 11)  # said by a gateway in the device's stead: as good as no answer


class _Plan(NamedTuple):
    """The requests that fetch some points."""

    points: tuple[Point, ...]
    names: tuple[str, ...]
    readers: list[Reader]


class _Unit:
    """One device on the line."""

    def __init__(self, attachment: Attachment, line: Line, clock: Monotonic, decoder: Decoder) -> None:
        address: Address = attachment.address
        self.profile: Profile = attachment.profile
        self.number = address.unit
        self.timeout_s = address.timeout_s or line.timeout_s
        self.decoder = decoder
        self.backoff = Backoff.of_device(clock, line.backoff_first_s)
        self.split: set[Block] = set()
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._last: _Plan | None = None
        self.owed: set[int] = set()  # sizes of answers that may still come, on a line where they could be mistaken
        self.breaks = 0  # how often in a row the connection broke while this device was asked

    def plan(self, points: Sequence[Point]) -> _Plan:
        """The requests for these points; planned once.

        Raises:
            Misconfigured: its profile has no such point.
        """
        asked = tuple(points)
        if self._last is not None and self._last.points == asked:
            return self._last
        names = tuple(p.name for p in asked)
        if (planned := self._plans.get(names)) is None:
            for name in names:
                if name not in self.profile.points:
                    raise Misconfigured(f"profile {self.profile.name} has no point {name}")
            blocks = [b for w in plan(self.profile, names) for b in (w.without_gaps() if w in self.split else [w])]
            planned = self._plans[names] = _Plan(asked, names, [self.decoder.reader(b) for b in blocks])
        self._last = planned
        return planned

    def split_at_gaps(self, block: Block) -> list[Reader]:
        """Remember that this block is refused as a whole; what to ask for instead, if that makes sense."""
        parts = block.without_gaps()
        if len(parts) < 2:
            return []
        self.split.add(block)
        self._plans.clear()
        self._last = None
        return [self.decoder.reader(b) for b in parts]


class ModbusDriver:
    """One line and its devices."""

    def __init__(
        self,
        name: str,
        line: Line,
        attachments: Sequence[Attachment],
        now: Now,
        *,
        clock: Monotonic = time.monotonic,
    ) -> None:
        decoders = {a.profile.name: Decoder(a.profile) for a in attachments}
        self._units = {a.device.id: _Unit(a, line, clock, decoders[a.profile.name]) for a in attachments}
        self._link = ModbusLink(name, line)
        self._turns = Turns()
        self._line = Backoff.of_line(clock)
        self._now = now
        self._silent = 0
        self._blamed: set[str] = set()  # devices that failed since the last answer on this line
        self._suspect = False
        self._counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._link.close()

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Modbus devices never speak by themselves."""

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        return {**self._counts, "connected": int(self._link.connected)}

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        unit = self._unit(device)
        planned = unit.plan(points)
        values: dict[str, Value] = {}
        quality: dict[str, str] = {}
        refusals: list[str] = []
        stamp = None
        queue = planned.readers
        while queue:
            reader, *queue = queue
            block = reader.block
            try:
                answer = await self._turn(
                    POLL, device, _size(block.space, block.count), lambda b=block: self._link.read(
                        unit.number, b.space, b.start, b.count, timeout_s=unit.timeout_s
                    )
                )  # fmt: skip
            except Said as said:
                parts = unit.split_at_gaps(block) if said.code == ILLEGAL_ADDRESS else []
                queue = [*parts, *queue]
                if not parts:
                    refusals.append(str(said))
                    _spoil(block, str(said), values, quality)
            except Unreachable as gone:
                if stamp is None:
                    raise
                for rest in (reader, *queue):
                    _spoil(rest.block, str(gone), values, quality)
                break
            else:
                stamp = stamp or self._now()
                reader.read(answer, values, quality)
        if refusals and stamp is None:
            raise Refused(refusals[0])
        return Sample(device.id, *(stamp or self._now()), {n: values[n] for n in planned.names}, quality)

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        unit = self._unit(device)
        access: Access | None = unit.profile.access.get(point.name)
        if access is None or access.space not in ("holding", "coil"):
            raise Misconfigured(f"{point.name} of profile {unit.profile.name} cannot be written")
        registers = encode(access, point, allowed(point, value))
        multiple = access.write == "multiple"
        try:
            await self._turn(
                COMMAND, device, 0, lambda: self._link.write(
                    unit.number, access.space, access.where, registers, multiple=multiple, timeout_s=unit.timeout_s
                )
            )  # fmt: skip
        except Said as said:
            raise Refused(str(said)) from said

    def _unit(self, device: Device) -> _Unit:
        unit = self._units.get(device.id)
        if unit is None:
            raise Misconfigured(f"{device.id} is not on this line")
        return unit

    async def _turn(self, urgency: int, device: Device, size: int, request: Any) -> Any:
        """One request in its turn, with everything that its outcome says about line and device.

        Raises:
            Unreachable, Said.
        """
        unit = self._unit(device)
        self._rest(unit)
        async with self._turns.turn(urgency):
            self._rest(unit)  # it may have failed while this one waited
            if not self._link.connected:
                await self._connect()
            whole = False
            try:
                if unit.owed:
                    await self._settle(unit)
                self._counts["requests"] += 1
                answer = await request()
                whole = True
            except NoLine as gone:
                unit.breaks += 1
                if unit.breaks > 1:  # the second time in a row it is rather this device that breaks the connection
                    unit.backoff.failed()
                raise self._lost(str(gone)) from gone
            except NoAnswer as silent:
                self._silent += 1
                raise await self._failed(device.id, unit, str(silent)) from silent
            except Said as said:
                whole = True
                if said.code in GATEWAY:
                    self._silent = 0
                    raise await self._failed(device.id, unit, str(said)) from said
                self._counts["refusals"] += 1
                self._answered(unit)
                raise
            finally:
                if not whole and self._link.serial:  # also when cancelled: what was asked may still be answered
                    unit.owed.add(size)
        self._answered(unit)
        return answer

    def _rest(self, unit: _Unit) -> None:
        # No countdown in these texts: they become qualities, and a quality that changes is always reported.
        if self._line.left_s() and not self._link.connected:
            raise Unreachable(f"no connection to {self._link.where}")
        if unit.backoff.left_s():
            raise Unreachable(f"left alone after {unit.backoff.failures} failures")

    async def _connect(self) -> None:
        if self._line.left_s():
            raise Unreachable(f"no connection to {self._link.where}")
        try:
            await self._link.connect()
        except NoLine as gone:
            raise self._lost(str(gone)) from gone
        self._counts["connects"] += 1
        self._silent = 0
        for unit in self._units.values():
            unit.owed.clear()  # an answer still owed went with the old connection
        if self._line.failures or not self._suspect:
            # The line was at fault, or may have been: whoever failed on it gets another chance at once.
            for name in self._blamed:
                self._units[name].backoff.succeeded()
            self._blamed.clear()
        self._suspect = False
        self._line.succeeded()

    async def _settle(self, unit: _Unit) -> None:
        """Before a device is asked again that still owes an answer: let that be told from the one now asked for.

        On a serial line answers carry no number, only a size: first comes a question whose answer has a size that is
        not owed, and which nobody uses.
        """
        probe = plan(unit.profile, list(unit.profile.points))[0]
        step = 8 if probe.space in ("coil", "discrete") else 1
        counts = range(step, 8 * step + 1, step)
        count = next((c for c in counts if _size(probe.space, c) not in unit.owed), step)
        try:
            await self._link.read(unit.number, probe.space, probe.start, count, timeout_s=unit.timeout_s)
        except Said:
            pass  # a refusal is an answer too, and a short one
        except NoAnswer:
            unit.owed.add(_size(probe.space, count))
            raise
        unit.owed.clear()

    def _answered(self, unit: _Unit) -> None:
        unit.backoff.succeeded()
        unit.breaks = 0
        self._silent = 0
        self._blamed.clear()

    async def _failed(self, name: str, unit: _Unit, why: str) -> Unreachable:
        self._counts["failures"] += 1
        self._blamed.add(name)
        wait_s = unit.backoff.failed()
        if self._silent >= SILENT_LIMIT and not self._link.serial and not self._suspect:
            # Nobody answers: the connection may be half-open. Opened anew at once, it clears nobody of blame.
            self._suspect = True
            self._link.close()
        await self._link.quiet()
        return Unreachable(f"{why}; next try in {wait_s:.0f} s")

    def _lost(self, why: str) -> Unreachable:
        self._counts["disconnects"] += 1
        self._link.close()
        wait_s = self._line.failed()
        return Unreachable(f"{why}; next try in {wait_s:.0f} s")


def _spoil(block: Block, why: str, values: dict[str, Value], quality: dict[str, str]) -> None:
    for piece in block.pieces:
        values[piece.point] = None
        quality[piece.point] = bad(why)


def _size(space: Space, count: int) -> int:
    """Bytes of data in an answer."""
    return (count + 7) // 8 if space in ("coil", "discrete") else 2 * count
