"""Reading: one poll of one device, from its plan to its values: what is asked next, and what becomes of each answer.

Pure; no line is touched here. Bounds: PROBES refusals; what has not been found out by then is left to the next poll.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.modbus.limits import ILLEGAL_VALUE, PASSING, PROBES, Span
from drivers.modbus.link import Said
from drivers.modbus.registers import Block, Piece, Reader
from drivers.modbus.units import Unit
from drivers.modbus.words import Space
from wire.sample import Value, bad


class Reading:
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
        self._learnt = False

    def next(self) -> Reader | None:
        """The next read, or None when all is read that can be."""
        unit = self._unit
        while self._queue:
            reader = self._queue.pop(0)
            if self._tries or unit.limits.gives(Span.of(reader.block)):
                return reader
            self.spoil([p.point for p in reader.block.pieces], self.why)  # left to the next poll
        for space in list(self._open):
            pieces = self._open[space]
            for piece in pieces:
                if (why := unit.limits.why(piece, space)) is not None:
                    self.spoil([piece.point], why)
            block, rest = unit.limits.first(space, pieces, unit.profile.whole, self._tries)
            if block is not None:
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
        if self._unit.limits.known:
            self._unit.limits.give(reader.block)
            self._learnt = True
        else:
            self._given.append(reader.block)

    def refused(self, reader: Reader, said: Said) -> None:
        """A read was refused."""
        block = reader.block
        why = _refusal(block, said)
        self.why = self.why or why
        if said.code in PASSING:
            self.spoil([p.point for p in block.pieces], why)
            return
        self._tries = max(0, self._tries - 1)
        self._unit.limits.refuse(block, said.code, why)
        for given in self._given:
            self._unit.limits.give(given)
        self._given.clear()
        self._learnt = True
        self._open.setdefault(block.space, [])
        self._open[block.space] = sorted([*self._open[block.space], *block.pieces], key=lambda p: (p.start, p.width))
        self._text[block.space] = why

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
