"""Units: the devices of a line as they are here, and the unit numbers by which the line knows them.

Several devices may share one unit number: they are one thing on the line, which is silent as one, and whose late
answers belong to all of them.

Bounds: of what a unit owes, and of what it gave, one entry for each function and size that was asked for; PLACES
places at which it said nothing; one plan for each choice of points that is asked for; of reads that got no answer, as
many as a device has points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from drivers.contract import Attachment
from drivers.errors import Misconfigured
from drivers.modbus.limits import Limits, Span
from drivers.modbus.link import READS, WRITES
from drivers.modbus.registers import Block, Decoder, Piece, Reader, plan, spaces
from drivers.modbus.settings import Address, Line, Space
from drivers.profile import Profile
from groundwork.backoff import Backoff, Monotonic
from wire.device import Point

OWED_S: Final = 30.0  # an answer later than this came while nobody waited for one, and was thrown away
PLACES: Final = 256
REGISTERS: Final = 65_536  # of a space
MOST: Final = 125  # registers of a read (Modbus Application Protocol V1.1b3, 6.3)
GROWN: Final = 8  # registers, or bytes of bits, that a guess adds to a point


class Expected(NamedTuple):
    """What distinguishes the response to one request from others: its function, and its bytes of data where it is a
    read."""

    function: int
    size: int

    @classmethod
    def of_read(cls, space: Space, count: int) -> Expected:
        """To a read of so many registers or bits."""
        return cls(READS[space], (count + 7) // 8 if space in ("coil", "discrete") else 2 * count)

    @classmethod
    def of_write(cls, space: Space, *, multiple: bool) -> Expected:
        """To a write."""
        return cls(WRITES["coil" if space == "coil" else "multiple" if multiple else "single"], 0)


class Slave:
    """What answers to one unit number."""

    def __init__(self, number: int, clock: Monotonic, first_s: float) -> None:
        self.number = number
        self.backoff = Backoff.of_device(clock, first_s)
        self.why = ""  # it failed last; the same words as long as it is left alone
        self.hinted = False  # whether they say more than that it failed
        self.heard = False  # whether it has answered anything since it was silent last
        self.breaks = 0  # how often in a row the connection broke while it was asked
        self._clock = clock
        self._owed: set[Expected] = set()
        self._owed_s = 0.0
        self._guessed = False  # whether it was asked for what it may not have, since it last owed nothing
        self._known: dict[Expected, Block] = {}  # what it gave, the last of each size
        self._silent: dict[tuple[Space, int], int] = {}  # where it said nothing, and in which order

    @property
    def owes(self) -> bool:
        """Whether an answer may still come to what was asked before."""
        if self._owed and self._clock() - self._owed_s > OWED_S:
            self.settled()
        return bool(self._owed)

    def owe(self, expected: Expected, span: Span | None = None) -> None:
        """It was asked this, and has not answered; of a read, where."""
        self._owed.add(expected)
        self._owed_s = self._clock()
        if span is not None:
            self._was_silent(span)

    def settled(self) -> None:
        """It has answered a later question (units answer one after the other), or can answer no more."""
        self._owed.clear()
        self._guessed = False

    def gave(self, block: Block, expected: Expected) -> None:
        """It answered this."""
        if block.pieces or expected not in self._known:
            self._known[expected] = block
        if self._silent:
            self._silent.pop((block.space, block.start), None)

    def probe(self, points: Sequence[Span]) -> tuple[Span, bool] | None:
        """A read whose answer cannot be taken for one that is owed, and whether even a refusal could not. None where
        there is none, or only such as have to wait until nothing is owed any more.

        Best what it has given before, as it was asked for or one point of it (some devices give no part of one); else
        a part of that; else a guess by the `points` of its profile. To a guess it may say nothing, and then owes one
        answer more: a unit that is known to be there is asked one. Where it said nothing comes last.
        """
        functions = {e.function for e in self._owed}
        known = list(self._known.values())
        reads = self._free([*(Span.of(b) for b in known), *(_span(b.space, p) for b in known for p in b.pieces)])
        reads = reads or self._free(_parts(known))
        if not reads and not (known and self._guessed):
            reads = self._free([*points, *_grown(points)])
            self._guessed = True
        if not reads:
            return None
        span = min(reads, key=lambda r: (self._silent.get((r.space, r.start), 0), READS[r.space] in functions))
        return span, READS[span.space] not in functions

    def _free(self, reads: Iterable[Span]) -> list[Span]:
        """Those whose answer cannot be taken for one that is owed."""
        return [r for r in reads if Expected.of_read(r.space, r.size) not in self._owed]

    def _was_silent(self, span: Span) -> None:
        if len(self._silent) >= PLACES:
            self._silent.clear()
        self._silent[span.space, span.start] = max(self._silent.values(), default=0) + 1


def _span(space: Space, piece: Piece) -> Span:
    return Span(space, piece.start, piece.start + piece.width)


def _step(space: Space) -> int:
    """What makes an answer a register, or a byte of bits, longer."""
    return 8 if space in ("coil", "discrete") else 1


def _parts(blocks: Iterable[Block]) -> Iterable[Span]:
    """Each from the beginning of a read on."""
    for b in blocks:
        for count in range(1, b.count, _step(b.space)):
            yield Span(b.space, b.start, b.start + count)


def _grown(points: Sequence[Span]) -> Iterable[Span]:
    """Each a point and what comes after it."""
    for more in range(1, GROWN + 1):
        for space, start, end in points:
            if (longer := end + more * _step(space)) <= REGISTERS and longer - start <= MOST:
                yield Span(space, start, longer)


class ReadPlan(NamedTuple):
    """The requests that fetch some points, and why the others of them cannot be had."""

    points: tuple[Point, ...]
    names: tuple[str, ...]
    readers: list[Reader]
    missing: dict[str, str]


class Unit:
    """One device."""

    def __init__(self, attachment: Attachment, slave: Slave, line: Line, clock: Monotonic, decoder: Decoder) -> None:
        address: Address = attachment.address
        self.id = attachment.device.id
        self.slave = slave
        self.profile: Profile = attachment.profile
        self.timeout_s = address.timeout_s or line.timeout_s
        self.decoder = decoder
        self.limits = Limits(self.id, clock)
        self._silences: dict[Span, int] = {}
        self._gave: set[Span] = set()
        self._plans: dict[tuple[str, ...], ReadPlan] = {}
        self._last: ReadPlan | None = None

    def plan(self, points: Sequence[Point]) -> ReadPlan:
        """The requests for these points; planned once, as long as nothing new is learnt of the device.

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
            planned = self._plans[names] = self._planned(asked, names)
        self._last = planned
        return planned

    def silent(self, span: Span) -> int:
        """This read got no answer; returns how often in a row, with an answer to something else in between.

        The first time that a read which was once given gets none does not count: answers are lost on poor lines.
        """
        slave = self.slave
        times = self._silences.get(span, 0) + 1 if slave.heard else 1
        if span in self._gave:
            self._gave.clear()
            times = 0
        if len(self._silences) >= len(self.profile.points):
            self._silences.clear()
        self._silences[span] = times
        slave.heard = False
        return times

    def suspects(self, span: Span) -> bool:
        """Whether this read got no answer when it was asked for last."""
        return bool(self._silences) and span in self._silences

    @property
    def points(self) -> list[Span]:
        """Where its points are."""
        found = spaces(self.profile, list(self.profile.points))
        return [_span(space, piece) for space, pieces in found.items() for piece in pieces]

    def gave(self, block: Block, expected: Expected, span: Span) -> None:
        """It answered this."""
        self.slave.gave(block, expected)
        if self._silences:
            self._silences.pop(span, None)
        if span not in self._gave:
            if len(self._gave) >= len(self.profile.points):
                self._gave.clear()
            self._gave.add(span)

    def learnt(self) -> None:
        """What it gives is known better now: plan anew."""
        self._plans.clear()
        self._last = None

    def _planned(self, asked: tuple[Point, ...], names: tuple[str, ...]) -> ReadPlan:
        missing: dict[str, str] = {}
        if not self.limits.known:
            blocks = plan(self.profile, names)
        else:
            blocks = list[Block]()
            where = spaces(self.profile, names)
            for space, pieces in where.items():
                missing |= {p.point: why for p in pieces if (why := self.limits.why(p, space)) is not None}
                blocks += self.limits.blocks(space, pieces, self.profile.whole)
            if not blocks and where:  # one is asked for all the same: else nobody would know whether it is there
                space, (piece, *_) = next(iter(where.items()))
                blocks = [Block(space, piece.start, piece.width, (piece,))]
        return ReadPlan(asked, names, [self.decoder.reader(b) for b in blocks], missing)
