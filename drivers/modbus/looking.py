"""Looking: who answers on a Modbus line, and what its registers hold, read as each profile would read them.

A unit counts as there when it says anything, a refusal included; what a gateway says in its stead does not count. Two
devices that are set to one unit are seen by what only they do: answers that cannot be read between others that can,
a second answer after the first, values that change back and forth.

Bounds: MAX_READS reads of one unit, some READINGS times, each with the line's time-out; a scan waits
SCAN_TIMEOUT_S at most for each unit. `Ask.seconds` in all, after which what has been found is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from drivers.errors import Misconfigured
from drivers.guesses import Ask, Heard, Tell
from drivers.modbus.guessing import OTHER, Place, Registers
from drivers.modbus.registers import Block, Piece, plan
from drivers.modbus.settings import Line, Space
from drivers.profile import Profile
from groundwork.backoff import Monotonic

SCAN_TIMEOUT_S: Final = 0.25
MAX_READS: Final = 200
READINGS: Final = 4
TRIES: Final = 3  # of one read: on a poor line answers are lost
MAX_SILENCES: Final = 3  # reads of a unit that has answered; of one that has not, one is enough
MANY: Final = 16  # so many units over TCP are one device that answers to any number
GATEWAY: Final = (10, 11)
NO_FUNCTION: Final = 1
PROBES: Final[tuple[Space, ...]] = ("holding", "input")


class Asked(NamedTuple):
    """What became of one read: its answer, or the code of a refusal, or neither; `garbled`: something came that is no
    part of an answer."""

    answer: bytes | Sequence[bool] | None = None
    code: int = 0
    garbled: bool = False

    @property
    def there(self) -> bool:
        """Whether a device said this."""
        return self.answer is not None or (self.code > 0 and self.code not in GATEWAY)


AskAnybody = Callable[[int, Block, float], Awaitable[Asked]]


class Looker:
    """Looks at one line through whoever owns it."""

    def __init__(self, ask: AskAnybody, line: Line, clock: Monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._serial, self._timeout_s = bool(line.serial), line.timeout_s

    async def look(self, ask: Ask, profiles: Sequence[Profile], tell: Tell) -> Sequence[Heard]:
        """The unit that is asked for, or those that answer; see the contract."""
        until_s = self._clock() + ask.seconds
        if ask.unit is not None:
            found = await self._unit(ask.unit, profiles, tell, until_s)
            return [] if found is None else [found]
        if ask.units is None:
            raise Misconfigured("a Modbus line is asked for a unit, or for units from one to another")
        units, garbled = await self._scan(range(ask.units[0], ask.units[1] + 1), tell, until_s)
        if not self._serial and len(units) >= MANY:
            note = {"any_unit": len(units)}
            first = await self._unit(units[0], profiles, tell, until_s)
            return [] if first is None else [Heard(address=first.address, evidence=first.evidence, notes=note)]
        heard: list[Heard] = []
        for unit in units:
            found = await self._unit(unit, profiles, tell, until_s)
            heard.append(found or Heard(address={"unit": unit}))
        heard += [Heard(address={"unit": unit}, notes={"garbled": 1}) for unit in garbled if unit not in units]
        return heard

    async def _scan(self, units: range, tell: Tell, until_s: float) -> tuple[list[int], list[int]]:
        """Units that answer, and those at which something speaks that cannot be read."""
        found: list[int] = []
        garbled: list[int] = []
        for space in PROBES:
            for n, unit in enumerate(units):
                if unit in found or self._clock() > until_s:
                    continue
                tell("scanning", {"unit": unit, "done": n, "of": len(units), "found": len(found)})
                asked = await self._ask(unit, Block(space, 0, 1, ()), min(SCAN_TIMEOUT_S, self._timeout_s))
                if asked.there:
                    found.append(unit)
                elif asked.garbled:
                    garbled.append(unit)
        return sorted(found), sorted(set(garbled))

    async def _unit(self, unit: int, profiles: Sequence[Profile], tell: Tell, until_s: float) -> Heard | None:
        one = _Unit(unit, self._ask, self._timeout_s)
        for n, profile in enumerate(profiles):
            tell("reading", {"unit": unit, "done": n, "of": len(profiles)})
            if one.gone or self._clock() > until_s:
                break
            await one.learn(profile)
        if not one.there:
            return Heard(address={"unit": unit}, notes={"garbled": one.garbled}) if one.garbled else None
        for n in range(1, READINGS):
            tell("again", {"unit": unit, "done": n, "of": READINGS})
            if self._clock() > until_s:
                break
            await one.read_again()
        notes: dict[str, str | int | float] = {}
        if (self._serial and one.garbled) or one.back_and_forth():
            notes["two_devices"] = one.garbled
        evidence = Registers(unit, tuple(one.readings), frozenset(one.refused))
        return Heard(address={"unit": unit}, evidence=evidence, notes=notes)


class _Unit:
    """What is known of one unit so far."""

    def __init__(self, unit: int, ask: AskAnybody, timeout_s: float) -> None:
        self._number, self._ask, self._timeout_s = unit, ask, timeout_s
        self.readings: list[dict[Place, int]] = [{}]
        self.refused: set[Place] = set()
        self.garbled = 0
        self.there = False
        self._blocks: list[Block] = []
        self._without: set[Space] = set()  # functions that it does not know
        self._silences = self._reads = 0

    @property
    def gone(self) -> bool:
        """Whether it is not worth asking on."""
        return self._silences >= (MAX_SILENCES if self.there else 1) or self._reads >= MAX_READS

    async def learn(self, profile: Profile) -> None:
        """Read what this profile would, and find out what of it the unit does not have."""
        blocks = plan(profile, list(profile.points))
        before = len(self.readings[0])
        for block in blocks:
            await self._learn(block)
        if len(self.readings[0]) == before and all(b.space in OTHER for b in blocks):
            for block in blocks:  # nothing of it is there: data sheets take one kind of register for the other
                await self._learn(Block(OTHER[block.space], block.start, block.count, block.pieces))

    async def _learn(self, block: Block) -> None:
        places = [(block.space, block.start + i) for i in range(block.count)]
        if self.gone or all(p in self.readings[0] or p in self.refused for p in places):
            return
        if block.space in self._without:
            self.refused.update(p for piece in block.pieces for p in _places(block.space, piece))
            return
        asked = await self._asked(block)
        if asked.answer is not None or self.gone:
            return
        if asked.code == NO_FUNCTION:
            self._without.add(block.space)
        elif len(block.pieces) > 1:
            for piece in block.pieces:
                await self._learn(Block(block.space, piece.start, piece.width, (piece,)))
            return
        if asked.there:
            self.refused.update(p for piece in block.pieces for p in _places(block.space, piece))

    async def _asked(self, block: Block) -> Asked:
        asked = Asked()
        for _ in range(TRIES):
            self._reads += 1
            asked = await self._ask(self._number, block, self._timeout_s)
            self.garbled += asked.garbled
            if asked.there or asked.code in GATEWAY:
                break
        self.there |= asked.there
        if asked.answer is not None:
            self._blocks.append(block)
            self.readings[0].update(_words(block, asked.answer))
        self._silences = 0 if asked.there else self._silences + 1
        return asked

    async def read_again(self) -> None:
        """Another reading of all that it gave."""
        found: dict[Place, int] = {}
        for block in self._blocks:
            asked = await self._ask(self._number, block, self._timeout_s)
            self.garbled += asked.garbled
            if asked.answer is not None:
                found.update(_words(block, asked.answer))
        self.readings.append(found)

    def back_and_forth(self) -> bool:
        """Whether many values change and change back, as if two answered in turn."""
        kept = [p for p in self.readings[0] if all(p in r for r in self.readings) and self.readings[0][p]]
        if len(self.readings) < 4:
            return False
        turning = 0
        for place in kept:
            values = [r[place] for r in self.readings]
            changes = sum(a != b for a, b in pairwise(values))
            turning += changes >= 2 and len(set(values)) == 2
        return turning > max(2, len(kept) // 3)


def _places(space: Space, piece: Piece) -> Iterator[Place]:
    return ((space, piece.start + i) for i in range(piece.width))


def _words(block: Block, answer: bytes | Sequence[bool]) -> dict[Place, int]:
    if isinstance(answer, bytes):
        return {
            (block.space, block.start + i): int.from_bytes(answer[2 * i : 2 * i + 2]) for i in range(len(answer) // 2)
        }
    return {(block.space, block.start + i): int(bit) for i, bit in enumerate(answer)}
