"""Reading: one poll of one device, from its plan to its values: what is asked next, and what becomes of each answer.

Pure; no line is touched here. Bounds: PROBES refusals, after which what has not been found out is asked for point by
point, ALONE of them, and PROBES where nothing was ever given; TIME_OUTS reads that end in one, of a device that answers
others. What is left then is left to the next poll.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from drivers.modbus.limits import ALONE, ILLEGAL_VALUE, PASSING, PROBES, SILENCE, Span, joins
from drivers.modbus.link import Said
from drivers.modbus.registers import Block, Piece, Reader
from drivers.modbus.settings import Space
from drivers.modbus.units import Unit
from wire.sample import Value, bad

TIME_OUTS: Final = 2
SURE: Final = 3  # silences to one point by itself, which may be lost by chance, until it is left out


class Unread(Exception):
    """A device that answers other reads gave no whole answer to this one, in time.

    `got`: how many registers or bits came of those that were asked for. `times`: how often in a row nothing came.
    """

    def __init__(self, text: str, *, got: int = 0, times: int = 0) -> None:
        super().__init__(text)
        self.got, self.times = got, times


class PollResult:
    """What one poll has read, what it has not, and what it asks for next."""

    def __init__(self, unit: Unit, readers: Sequence[Reader]) -> None:
        self.values: dict[str, Value] = {}
        self.quality: dict[str, str] = {}
        self.why = ""  # the first refusal
        self._unit = unit
        self._queue = list(readers)
        self._given: list[Block] = []
        self._open: dict[Space, list[Piece]] = {}  # points whose read was refused: smaller ones are tried
        self._text: dict[Space, str] = {}
        self._tries = PROBES
        self._alone = 0  # points that were asked for by themselves when no tries were left
        self.time_outs = 0
        self._learnt = False

    def next(self) -> Reader | None:
        """The next read, or None when all is read that can be."""
        unit = self._unit
        while self._queue:
            reader = self._queue.pop(0)
            if self._tries or unit.limits.gives(Span.of(reader.block)):
                return reader
            self._later(reader.block, self.why)
        for space in list(self._open):
            pieces = self._open[space]
            for piece in pieces:
                if (why := unit.limits.why(piece, space)) is not None:
                    self.spoil([piece.point], why)
            alone = not self._tries and self._may_alone()
            block, rest = unit.limits.first(space, pieces, unit.profile.whole, self._tries, alone=alone)
            if block is not None:
                self._alone += alone and not unit.limits.gives(Span.of(block))
                asked = {p.point for p in (*block.pieces, *rest)}
                skipped = [p.point for p in pieces if p.point not in asked and p.point not in self.values]
                self.spoil(skipped, self._text[space])
                self._open[space] = list(rest)
                return unit.decoder.reader(block)
            self.spoil([p.point for p in pieces if p.point not in self.values], self._text[space])
            del self._open[space]
        if self._learnt:
            unit.learnt()
            unit.limits.tell(unit.profile.whole, unit.profile.name)
        return None

    def spoil(self, names: Sequence[str], why: str) -> None:
        """These cannot be read."""
        for name in names:
            self.values[name] = None
            self.quality[name] = bad(why)

    def answered(self, reader: Reader, answer: bytes | Sequence[bool]) -> None:
        """A read was given."""
        for piece in reader.block.pieces if self.quality else ():
            self.quality.pop(piece.point, None)  # it may have been thought missing
        reader.read(answer, self.values, self.quality)
        limits = self._unit.limits
        if not limits.known:
            self._given.append(reader.block)
        elif not limits.gives(Span.of(reader.block)):
            limits.give(reader.block)
            self._learnt = True

    def refused(self, reader: Reader, said: Said) -> None:
        """A read was refused."""
        block = reader.block
        why = _refusal(block, said)
        self.why = self.why or why
        if said.code in PASSING:
            self.spoil([p.point for p in block.pieces], why)
            return
        self._unit.limits.refuse(block, said.code, why)
        self._smaller(block, why)

    def unread(self, reader: Reader, unread: Unread) -> None:
        """A read got no answer, or the beginning of one, from a device that answers others."""
        block, why = reader.block, str(unread)
        self.why = self.why or why
        self.time_outs += 1
        if not unread.got:
            self._tries = 0  # a smaller one may end in a time-out too; point by point most are given
        if unread.got:
            self._unit.limits.cut(block, unread.got, why)
        elif joins(block) or unread.times >= SURE:
            self._unit.limits.refuse(block, SILENCE, why)
        else:
            self.spoil([p.point for p in block.pieces], why)
            block = None
        if block is not None:
            self._smaller(block, why)
        if self.time_outs >= TIME_OUTS:
            self._tries, self._alone = 0, ALONE  # enough for one poll

    def _smaller(self, block: Block, why: str) -> None:
        """A read was refused, and what is smaller is tried."""
        self._tries = max(0, self._tries - 1)
        for given in self._given:
            self._unit.limits.give(given)
        self._given.clear()
        self._learnt = True
        self._later(block, why)

    def _later(self, block: Block, why: str) -> None:
        """Points that have not been read are looked at again when the plan is through."""
        pieces = [*self._open.get(block.space, ()), *block.pieces]
        self._open[block.space] = sorted(pieces, key=lambda p: (p.start, p.width))
        self._text[block.space] = why

    def _may_alone(self) -> bool:
        """Whether a point may be asked for by itself."""
        return self._alone < (ALONE if self._given or self._unit.limits.gave else PROBES)

    def stopped(self, reader: Reader, why: str) -> None:
        """No answer: what has not been read will not be."""
        for pieces in (*(r.block.pieces for r in (reader, *self._queue)), *self._open.values()):
            self.spoil([p.point for p in pieces if p.point not in self.values], why)
        if self._learnt:
            self._unit.learnt()


def _refusal(block: Block, said: Said) -> str:
    """Why a read was refused, in words."""
    if said.code != ILLEGAL_VALUE:
        return str(said)
    if block.space in ("coil", "discrete"):
        what, key = f"{block.count} bits", "max_bits"
    else:
        what, key = f"{block.count} registers", "max_registers"
    if block.count == 1:
        return "the device does not give this register or bit (exception 3)"
    return f"the device does not give {what} at once (exception 3): set {key} of its profile to what its manual says"
