"""The Modbus driver: polls and writes of all devices behind one connection or serial line.

Promises: one dead device costs the others at most one of its time-outs for each step of its back-off (doubling to
five minutes); while it is left alone, asking for it fails at once, and in the words of its last failure, for texts
that change would be reported again and again. Commands go ahead of polls, also between the requests of one poll. A
read that a device refuses is made smaller until it is known what the device does not give, and that is remembered
(`limits.py`): at most PROBES refusals, then what is left point by point, and one second try a poll, each in its own
turn. What a device that answers other reads cuts short, or leaves unanswered twice in a row, is made smaller too, at
most TIME_OUTS time-outs a poll (`reading.py`); whoever was silent is first asked for something small. What a unit may
still answer belongs to all devices of that unit: before it is asked again, a read that cannot be mistaken tells late
answers from new ones.
When the connection itself is gone, no device is blamed: it is opened again after a short, random wait, and devices
that had failed since the last answer on it may be asked at once. Where the other end closes a connection that has
worked, which some do after each answer, a read is sent once more on a new one; a write is not, for nobody knows what
became of it: unless it is seen that the other end keeps connections open, a write gets a new one.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from drivers.contract import Attachment, Deliver, Now
from drivers.errors import Misconfigured, Refused, Unreachable
from drivers.frames import Frame, Trace
from drivers.guesses import Ask, Heard, Tell
from drivers.modbus.limits import Span
from drivers.modbus.link import ModbusLink, NoAnswer, NoLine, Said
from drivers.modbus.looking import Asked, Looker
from drivers.modbus.naming import named
from drivers.modbus.reading import PollResult, Unread
from drivers.modbus.registers import Block, Decoder, encode
from drivers.modbus.settings import Access, Address, Line
from drivers.modbus.units import Expected, Slave, Unit
from drivers.profile import Profile
from drivers.readings import allowed
from drivers.turns import COMMAND, LOOK, POLL, Turns
from groundwork.backoff import Backoff, Monotonic
from wire.device import Device, Point
from wire.sample import Sample, Value

SILENT_LIMIT: Final = 3  # time-outs in a row, from whomever, after which a connection is suspected itself
GATEWAY: Final = (10, 11)  # said by a gateway in the device's stead: as good as no answer
NEEDS_PAUSE: Final = ", right after another answer: if it needs a pause between requests, set pause_ms of its line"

NOT_APART: Final = "an answer to an earlier question may still come, and cannot be told from the one asked for"

_log = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """One request: what distinguishes its response from others; of a read, where, and whether its device is one that
    answers other reads while it is silent to some."""

    expected: Expected
    span: Span | None = None
    answers: bool = False


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
        decoders = {id(a.profile): Decoder(a.profile) for a in attachments}
        self._slaves: dict[int, Slave] = {}
        self._units: dict[str, Unit] = {}
        for a in attachments:
            address: Address = a.address
            slave = self._slaves.setdefault(address.unit, Slave(address.unit, clock, line.backoff_first_s))
            self._units[a.device.id] = Unit(a, slave, line, clock, decoders[id(a.profile)])
        self._clock, self._settings = clock, line
        self._trace = Trace(self._slaves)
        self._link = ModbusLink(name, line, clock, self._trace)
        self._turns = Turns()
        self._line = Backoff.of_line(clock)
        self._now = now
        self._silent = 0
        self._hurried_in_vain = 0  # requests right after another answer, none of which was answered
        self._blamed: set[Slave] = set()  # who failed since the last answer on this line
        self._suspect = False
        self._why = ""  # the line failed last
        self._counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._link.close()

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Modbus devices never speak by themselves."""

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened."""
        # A connection that the other end closes when it likes, and that is opened when it is needed, is not down.
        well = self._link.connected or (self._counts["connects"] > 0 and not self._line.failures)
        resting = sum(s.backoff.left_s() > 0 for s in self._slaves.values())
        return {**self._counts, "connected": int(well), "left_alone": resting, "strays": self._link.strays}

    def notes(self) -> Sequence[str]:
        """Why the line does not work; see the contract."""
        return [self._why] if self._why else []

    def rouse(self, device: str) -> None:
        """See the contract. Also the line is tried at once."""
        if (unit := self._units.get(device)) is not None:
            unit.slave.backoff.rouse()
            self._line.rouse()

    def frames(self, device: str) -> Sequence[Frame]:
        """What was said last to a unit and by it; see the contract. Devices of one unit have the same frames."""
        if (unit := self._units.get(device)) is None:
            return ()
        to_us, serial = self._now()[0] - self._clock() * 1e6, self._link.serial
        return named(self._trace.of(unit.slave.number), unit.profile, serial=serial, to_us=to_us)

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now; see the contract."""
        unit = self._unit(device)
        planned = unit.plan(points)
        reading = PollResult(unit, planned.readers)
        for name, why in planned.missing.items():
            reading.spoil([name], why)
        stamp = None
        while (reader := reading.next()) is not None:
            try:
                answer = await self._read(unit, reader.block, answers=reading.time_outs > 0 or unit.limits.silent)
            except Said as said:
                reading.refused(reader, said)
            except Unread as unread:
                reading.unread(reader, unread)
            except Unreachable as gone:
                reading.stopped(reader, str(gone))
                if stamp is None:
                    raise
                break
            else:
                stamp = stamp or self._now()
                reading.answered(reader, answer)
        if stamp is None and reading.time_outs:  # nothing for its time-outs: it is left alone like a silent one
            raise await self._failed(unit, reading.why)
        if stamp is None and reading.why:
            raise Refused(reading.why)
        await self._second_try(unit)
        return Sample(
            device.id, *(stamp or self._now()), {n: reading.values[n] for n in planned.names}, reading.quality
        )

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; see the contract."""
        unit = self._unit(device)
        access: Access | None = unit.profile.access.get(point.name)
        if access is None or access.space not in ("holding", "coil"):
            raise Misconfigured(f"{point.name} of profile {unit.profile.name} cannot be written")
        registers = encode(access, point, allowed(point, value))
        multiple = access.write == "multiple"
        expected = Expected.of_write(access.space, multiple=multiple or len(registers) > 1)
        try:
            await self._turn(
                COMMAND, unit, _Asked(expected), lambda: self._link.write(
                    unit.slave.number, access.space, access.where, registers,
                    multiple=multiple, timeout_s=unit.timeout_s,
                )
            )  # fmt: skip
        except Said as said:
            raise Refused(str(said)) from said

    async def look(self, ask: Ask, profiles: Sequence[Profile], tell: Tell) -> Sequence[Heard]:
        """Ask units that no device may be known of; see the contract, and `looking.py`."""
        return await Looker(self._ask_anybody, self._settings, self._clock).look(ask, profiles, tell)

    async def _ask_anybody(self, number: int, block: Block, timeout_s: float) -> Asked:
        """One read of whatever unit, when nobody else wants the line."""
        async with self._turns.turn(LOOK):
            if not self._link.connected:
                await self._connect()
            known = next((u for u in self._units.values() if u.slave.number == number), None)
            slave = None if known is None else known.slave
            try:
                if known is not None and known.slave.owes:
                    await self._settle(known)
                answer = await self._link.read(number, block.space, block.start, block.count, timeout_s=timeout_s)
            except Said as said:
                return Asked(code=said.code)
            except NoAnswer as silent:
                garbled = self._link.pieces > 0 and not silent.got
                if slave is not None:
                    slave.owe(Expected.of_read(block.space, block.count))
                await self._link.quiet()
                return Asked(garbled=garbled)
            except NoLine as gone:
                raise self._lost(str(gone)) from gone
            before = self._link.pieces
            await self._link.quiet()
            return Asked(answer, garbled=self._link.pieces > before)

    def _unit(self, device: Device) -> Unit:
        unit = self._units.get(device.id)
        if unit is None:
            raise Misconfigured(f"{device.id} is not on this line")
        return unit

    async def _read(self, unit: Unit, block: Block, *, answers: bool) -> bytes | Sequence[bool]:
        """What one read gives. `answers`: whether the device is known to answer others while it is silent to some.

        Raises:
            Unreachable, Said, Unread.
        """
        expected, span = Expected.of_read(block.space, block.count), Span.of(block)
        answer = await self._turn(
            POLL, unit, _Asked(expected, span, answers), lambda: self._link.read(
                unit.slave.number, block.space, block.start, block.count, timeout_s=unit.timeout_s
            )
        )  # fmt: skip
        unit.gave(block, expected, span)
        return answer

    async def _second_try(self, unit: Unit) -> None:
        """Ask again for something that was refused long ago, if it is time; what comes of it shows in later polls."""
        if (block := unit.limits.due()) is None:
            return
        try:
            await self._read(unit, block, answers=True)
        except (Said, Unread, Unreachable):
            unit.limits.still(block)
        else:
            unit.limits.give(block)
            unit.learnt()

    async def _turn(self, urgency: int, unit: Unit, asked: _Asked, request: Any) -> Any:
        """One request in its turn, with everything that its outcome says about line and device.

        Raises:
            Unreachable, Said, Unread.
        """
        self._rest(unit)
        async with self._turns.turn(urgency):
            self._rest(unit)  # it may have failed while this one waited
            try:
                return await self._asked(urgency, unit, asked, request)
            except NoLine as gone:
                if gone.sent and (urgency == COMMAND or not gone.used or unit.slave.breaks > 1):
                    raise self._broken(urgency, unit, asked.expected, gone) from gone
            try:
                return await self._asked(urgency, unit, asked, request)
            except NoLine as gone:
                raise self._broken(urgency, unit, asked.expected, gone) from gone

    async def _asked(self, urgency: int, unit: Unit, asked: _Asked, request: Any) -> Any:
        """One request on a connection.

        Raises:
            Unreachable, Said, Unread, NoLine.
        """
        if not self._link.connected:
            await self._connect()
        slave = unit.slave
        suspect = asked.span is not None and unit.suspects(asked.span)
        whole = sent = False
        try:
            if slave.owes or (suspect and not slave.heard):
                await self._settle(unit)
            if suspect:
                self._link.hold()
            if urgency == COMMAND and not self._link.lasts:
                self._link.close()  # it may be closing just now, and nobody would know what became of the write
                await self._connect()
            self._counts["requests"] += 1
            sent = True
            answer = await request()
            whole = True
        except NoLine as gone:
            whole = True  # it is sent once more, or is owed from then on
            slave.breaks += gone.sent
            raise
        except NoAnswer as silent:
            self._silent += 1
            why = self._explained(slave, str(silent))
            raise await self._unanswered(unit, asked if sent else None, why, silent.got) from silent
        except Said as said:
            if said.code in GATEWAY:
                self._silent = 0
                raise await self._unanswered(unit, asked if sent else None, str(said)) from said
            whole = True
            self._counts["refusals"] += 1
            self._answered(slave)
            raise
        finally:
            if sent and not whole:  # also when cancelled: what was asked may still be answered, through a gateway too
                slave.owe(asked.expected, asked.span)
        self._answered(slave)
        return answer

    async def _unanswered(self, unit: Unit, asked: _Asked | None, why: str, got: int = 0) -> Unreachable | Unread:
        """No whole answer: of a device that is there, it says something of the read alone."""
        span = None if asked is None else asked.span
        if asked is None or span is None:
            return await self._failed(unit, why)
        times = 0
        if got:
            self._answered(unit.slave)
        elif (times := unit.silent(span)) < (1 if asked.answers else 2):
            return await self._failed(unit, why)
        self._counts["unread"] += 1
        await self._link.quiet()
        return Unread(why, got=got, times=times)

    def _rest(self, unit: Unit) -> None:
        # These texts become qualities, and a quality that changes is always reported: they are those of the failure.
        if self._line.left_s() and not self._link.connected:
            raise Unreachable(self._why)
        if unit.slave.backoff.left_s():
            raise Unreachable(unit.slave.why)

    async def _connect(self) -> None:
        if self._line.left_s():
            raise Unreachable(self._why)
        try:
            await self._link.connect()
        except NoLine as gone:
            raise self._lost(str(gone)) from gone
        self._counts["connects"] += 1
        self._silent = 0
        if self._line.failures or not self._suspect:
            # The line was at fault, or may have been: whoever failed on it gets another chance at once.
            for slave in self._blamed:
                slave.backoff.succeeded()
            self._blamed.clear()
        self._suspect = False
        self._line.succeeded()
        self._why = ""

    async def _settle(self, unit: Unit) -> None:
        """Before a unit is asked again that still owes an answer: distinguish that from the one now asked for.

        Answers say which unit gives them, the function, and on a serial line no more than a size: first comes a
        question whose answer has a function or size that is not owed, and which nobody uses.

        Raises:
            NoLine, NoAnswer, Said: by a gateway.
            Unreachable: there is no such question; it is left alone until nothing can be owed any more.
        """
        slave = unit.slave
        if (found := slave.probe(unit.points)) is None:
            raise Unreachable(slave.why if slave.backoff.failures else NOT_APART)
        span, sure = found
        self._counts["settled"] += 1
        expected = Expected.of_read(span.space, span.size)
        slave.owe(expected, span)  # until it is answered, also when cancelled
        try:
            await self._link.read(
                slave.number, span.space, span.start, span.size, timeout_s=unit.timeout_s, doubtful=not sure
            )
        except Said as said:
            if said.code in GATEWAY:
                raise
        else:
            slave.gave(Block(span.space, span.start, span.size, ()), expected)
        slave.settled()
        slave.heard = True
        self._silent = 0

    def _answered(self, slave: Slave) -> None:
        slave.heard = True
        slave.backoff.succeeded()
        slave.breaks = 0
        slave.hinted = False
        self._silent = 0
        if self._link.hurried:
            self._hurried_in_vain = 0
        self._blamed.clear()

    def _explained(self, slave: Slave, why: str) -> str:
        """What is said of a missing answer: the same as long as it is missing, and with the key that may help.

        A device may be in need of a pause when it is lost to requests that come right after an answer, twice with no
        such request answered in between, or after its own.
        """
        if self._link.hurried:
            self._hurried_in_vain += 1
            slave.hinted |= self._hurried_in_vain > 1 or self._link.heard_of == slave.number
        return why + NEEDS_PAUSE if slave.hinted else why

    async def _failed(self, unit: Unit, why: str) -> Unreachable:
        slave = unit.slave
        self._counts["failures"] += 1
        self._blamed.add(slave)
        if why != slave.why or not slave.backoff.failures:
            _log.info("%s (unit %d): %s", unit.id, slave.number, why)
        slave.why = why
        slave.backoff.failed()
        if self._silent >= SILENT_LIMIT and not self._link.serial and not self._suspect:
            # Nobody answers: the connection may be half-open. Opened anew at once, it clears nobody of blame.
            self._suspect = True
            self._link.close()
        await self._link.quiet()
        return Unreachable(why)

    def _broken(self, urgency: int, unit: Unit, expected: Expected, gone: NoLine) -> Unreachable:
        """The connection broke while a device was asked."""
        slave, why = unit.slave, str(gone)
        if gone.sent:
            slave.owe(expected)
            why += "; whether the device took the value is not known" if urgency == COMMAND else ""
        if slave.breaks > 1:  # the second time in a row it is rather this device that breaks the connection
            slave.why = str(gone)
            slave.backoff.failed()
        if gone.used:  # which is no fault of the line: it is opened again when it is needed
            self._counts["disconnects"] += 1
            self._link.close()
        else:
            self._lost(str(gone))
        return Unreachable(why)

    def _lost(self, why: str) -> Unreachable:
        self._counts["disconnects"] += 1
        self._link.close()
        wait_s = self._line.failed()
        if why != self._why:
            _log.info("%s; next try in %.0f s", why, wait_s)
        self._why = why
        return Unreachable(why)
