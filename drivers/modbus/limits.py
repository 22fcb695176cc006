"""Limits: what a device was found to refuse to read, and the fewest reads that are left. Pure; no line is touched here.

A device refuses a read as a whole: because one register in it does not exist, because it joins what the device keeps
apart, or because it is longer than the device gives at once (Modbus Application Protocol V1.1b3, 7: exceptions 2 and
3; some devices say 1, 4, or what the protocol does not know). Whatever the reason, a read that contains a refused one
is refused too, and a part of a read that was given is given. From that the longest reads are found by halving, and
remembered. Some devices say nothing in place of a refusal, which is the same once it is known that they are there; and
some answer a long read with what they give at once.

What was refused is tried again, one read at a time, after RETRY_FIRST_S and then twice as long each time up to
RETRY_LONGEST_S: firmware may change. Once it is given, all that was learnt of the device is forgotten.

Bounds: what was refused, and what was given, holds no read inside another, so at most one for each register that a
point begins at. PROBES refusals a poll: what has not been found out by then is asked for point by point, ALONE of them
a poll, so that what a device gives is read at once, and in the fewest reads some polls later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from drivers.modbus.registers import Block, Piece
from drivers.modbus.settings import Space, Whole
from groundwork.backoff import Monotonic

PASSING: Final = frozenset({5, 6})  # said for reasons that pass: acknowledged, busy; all others may be for ever
ILLEGAL_VALUE: Final = 3
SILENCE: Final = 0  # no exception at all
CUT: Final = -1  # answered, with less than was asked for
PROBES: Final = 8
ALONE: Final = 125
RETRY_FIRST_S: Final = 60.0
RETRY_LONGEST_S: Final = 6 * 3600.0

_log = logging.getLogger(__name__)


class Span(NamedTuple):
    """Registers or bits from `start` up to, and without, `end`."""

    space: Space
    start: int
    end: int

    @classmethod
    def of(cls, block: Block) -> Span:
        """What a read asks for."""
        return cls(block.space, block.start, block.start + block.count)

    def within(self, other: Span) -> bool:
        """Whether the other has all of it."""
        return self.space == other.space and other.start <= self.start and self.end <= other.end

    @property
    def size(self) -> int:
        """How many."""
        return self.end - self.start


class _Refusal(msgspec.Struct):
    code: int
    text: str
    single: bool  # one point by itself: nothing smaller can be asked for
    due_s: float
    more: int = 0  # bits that are asked for beyond it when it is tried again: only then would padding show
    wait_s: float = RETRY_FIRST_S


class Limits:
    """What one device refuses."""

    def __init__(self, device: str, clock: Monotonic) -> None:
        self._device = device
        self._clock = clock
        self._refused: dict[Span, _Refusal] = {}
        self._given: set[Span] = set()
        self._told: object = None

    @property
    def known(self) -> bool:
        """Whether anything was refused."""
        return bool(self._refused)

    @property
    def silent(self) -> bool:
        """Whether anything was refused by saying nothing."""
        return any(r.code == SILENCE for r in self._refused.values())

    @property
    def gave(self) -> bool:
        """Whether anything is known to be given."""
        return bool(self._given)

    def give(self, block: Block) -> None:
        """This read was answered. Where it was refused before, the device is another one now: begin anew."""
        span = Span.of(block)
        if any(r.within(span) for r in self._refused):
            _log.info("%s gives now what it refused: %s", self._device, _words(span))
            self._refused.clear()
            self._given.clear()
            self._told = None
        if not any(span.within(g) for g in self._given):
            self._given = {g for g in self._given if not g.within(span)} | {span}

    def refuse(self, block: Block, code: int, text: str) -> None:
        """This read was refused, with these words for the points that cannot be read because of it."""
        span = Span.of(block)
        self._given = {g for g in self._given if not span.within(g)}
        if any(r.within(span) for r in self._refused):
            return
        for r in [r for r in self._refused if span.within(r)]:
            del self._refused[r]
        more = 7 if code == CUT and block.space in ("coil", "discrete") else 0
        self._refused[span] = _Refusal(code, text, not joins(block), self._clock() + RETRY_FIRST_S, more)

    def cut(self, block: Block, got: int, text: str) -> None:
        """This read was answered with its first `got` registers or bits: one more than that is refused, everywhere."""
        if joins(block) and got < block.count:
            block = Block(block.space, block.start, got + 1, block.pieces)
        self.refuse(block, CUT, text)

    def due(self) -> Block | None:
        """A read that was refused so long ago that it is worth another try."""
        if not self._refused:
            return None
        span = min(self._refused, key=lambda s: self._refused[s].due_s)
        refusal = self._refused[span]
        return Block(span.space, span.start, span.size + refusal.more, ()) if refusal.due_s <= self._clock() else None

    def still(self, block: Block) -> None:
        """It was tried again, in vain: not so soon again."""
        for span, refusal in self._refused.items():
            if (span.space, span.start, span.size + refusal.more) == (block.space, block.start, block.count):
                refusal.wait_s = min(2 * refusal.wait_s, RETRY_LONGEST_S)
                refusal.due_s = self._clock() + refusal.wait_s

    def why(self, piece: Piece, space: Space) -> str | None:
        """Why a point cannot be read by itself either; None where it can, as far as is known."""
        own = Span(space, piece.start, piece.start + piece.width)
        return next((r.text for s, r in self._refused.items() if s.within(own)), None)

    def blocks(self, space: Space, pieces: Sequence[Piece], whole: Whole) -> list[Block]:
        """The reads that fetch these points, but for those that cannot be read at all."""
        rows = _Rows(self, space, [p for p in pieces if self.why(p, space) is None], whole)
        found: list[Block] = []
        at = 0
        while at < len(rows.atoms):
            if (last := rows.choose(at, PROBES, alone=False)) >= at:
                found.append(rows.block(at, last))
            at = max(last, at) + 1
        return found

    def first(
        self, space: Space, pieces: Iterable[Piece], whole: Whole, tries: int, *, alone: bool = False
    ) -> tuple[Block | None, Sequence[Piece]]:
        """The first read for these points, and the points after it; none where nothing is left that may be asked.

        `tries` refusals may be risked: with 0, only what was given before is asked again, and what is asked for
        `alone`.
        """
        rows = _Rows(self, space, [p for p in pieces if self.why(p, space) is None], whole)
        at = 0
        while at < len(rows.atoms):
            last = rows.choose(at, tries, alone=alone)
            if last >= at:
                return rows.block(at, last), [p for atom in rows.atoms[last + 1 :] for p in atom.pieces]
            at += 1  # it is not known whether this one is given; it waits for the next poll
        return None, ()

    def tell(self, whole: Whole, profile: str) -> None:
        """Say in the log what was learnt, when it is news."""
        singles = sorted(_words(s) for s, r in self._refused.items() if r.single)
        longest: dict[Space, int] = {
            s.space: self.longest(s.space) for s in self._refused if self.limit(s.space) is not None
        }
        if (news := (singles, longest)) == self._told or not (singles or longest):
            return
        self._told = news
        if singles:
            _log.warning("%s refuses %s: left out, and tried again seldom", self._device, ", ".join(singles[:20]))
        for space, count in longest.items():
            key, limit = _limit(space, whole)
            if 0 < count < limit:
                text = "%s gives at most %d in one read of %s: %s = %d in profile %s spares it the tries"
                _log.warning(text, self._device, count, space, key, count, profile)

    # ---- what follows from what was given and refused

    def gives(self, span: Span) -> bool:
        """Whether this read is known to be given."""
        return any(span.within(g) for g in self._given)

    def allows(self, span: Span) -> bool:
        """Whether nothing that is known speaks against this read."""
        limit = self.limit(span.space)
        return (limit is None or span.size < limit) and not any(r.within(span) for r in self._refused)

    def longest(self, space: Space) -> int:
        """The longest read that was given."""
        return max((g.size for g in self._given if g.space == space), default=0)

    def shortest(self, space: Space) -> int | None:
        """The shortest read of several points that was refused, where none as long was given: then it may have been
        refused for its length alone."""
        counts = [s.size for s, r in self._refused.items() if s.space == space and not r.single]
        return min(counts) if counts and min(counts) > self.longest(space) else None

    def limit(self, space: Space) -> int | None:
        """The length from which on reads are refused, wherever they are.

        Believed where the device has shown it, by answering with less than was asked for, or where reads of the same
        length were refused in several places. One refusal does not say it, also not with exception 3: some devices
        say that of a read across what they keep apart.
        """
        count = self.shortest(space)
        alike = [r for s, r in self._refused.items() if s.space == space and not r.single and s.size == count]
        return count if any(r.code == CUT for r in alike) or len(alike) > 1 else None

    def suspects(self, span: Span) -> bool:
        """Whether a read was refused when just this was added to it, and not for its length."""
        return any(
            s.space == span.space and s.start < span.start and s.end == span.end and r.code not in {ILLEGAL_VALUE, CUT}
            for s, r in self._refused.items()
        )


class _Atom(msgspec.Struct):
    """The points that lie in the very same registers."""

    start: int
    end: int
    pieces: list[Piece]


class _Rows:
    """The points of one space in the order of addresses, and how far reads of them may go."""

    def __init__(self, limits: Limits, space: Space, pieces: Sequence[Piece], whole: Whole) -> None:
        self._limits = limits
        self._space: Space = space
        self._most, self._max_gap = _limit(space, whole)[1], whole.max_gap
        self.atoms: list[_Atom] = []
        for p in sorted(pieces, key=lambda p: (p.start, p.width)):
            if self.atoms and (p.start, p.start + p.width) == (self.atoms[-1].start, self.atoms[-1].end):
                self.atoms[-1].pieces.append(p)
            else:
                self.atoms.append(_Atom(p.start, p.start + p.width, [p]))

    def block(self, at: int, last: int) -> Block:
        """The read from one of them to another."""
        span = self._span(at, last)
        return Block(self._space, span.start, span.size, tuple(p for a in self.atoms[at : last + 1] for p in a.pieces))

    def choose(self, at: int, tries: int, *, alone: bool) -> int:
        """Up to which one to read from `at` on; before `at` where that is not known and may not be tried."""
        known, _ = self._reach(at, self._limits.gives)
        if not tries:
            return max(known, at) if alone else known
        most, cut_short = self._reach(at, self._limits.allows)
        most = max(most, at)  # by itself it may be asked for, however long it is
        if not cut_short or known >= most:
            return most
        if known >= at and self._reads(known + 1) <= self._reads(most + 1):
            return known  # reading further would save nothing
        longest = self._limits.longest(self._space)
        if tries == 1 and longest:  # the last one is not risked
            return max(known, self._up_to(at, most, longest))
        if known < at and self._limits.suspects(self._span(at, at)):
            return at
        low = self._span(at, known).size if known >= at else 0
        high = self._span(at, most).size + 1
        if (shortest := self._limits.shortest(self._space)) is not None:  # perhaps all have one limit: look for that
            low, high = max(low, longest), min(high, shortest)
        middle = min(max(self._up_to(at, most, (low + high) // 2), known + 1, at), most)
        if known < at:  # what lies in a gap is suspected first
            gaps = [i for i in range(at, most + 1) if i + 1 < len(self.atoms) and self._gap(at, i)]
            middle = min(gaps, key=lambda i: abs(i - middle), default=middle)
        return middle

    def _span(self, at: int, last: int) -> Span:
        atoms = self.atoms[at : last + 1]
        return Span(self._space, atoms[0].start, max(a.end for a in atoms))

    def _gap(self, at: int, i: int) -> bool:
        return self.atoms[i + 1].start > self._span(at, i).end

    def _up_to(self, at: int, most: int, count: int) -> int:
        """The last one that a read of `count` from `at` reaches, up to `most`; before `at` where there is none."""
        last = at - 1
        while last < most and self._span(at, last + 1).size <= count:
            last += 1
        return last

    def _reach(self, at: int, may: Callable[[Span], bool]) -> tuple[int, bool]:
        """The last one that one read from `at` on may reach, and whether it is `may` that forbids to go on."""
        last, end = at - 1, self.atoms[at].start
        while last + 1 < len(self.atoms):
            atom = self.atoms[last + 1]
            reach = max(end, atom.end)
            if last >= at and (atom.start - end > self._max_gap or reach - self.atoms[at].start > self._most):
                break
            if not may(Span(self._space, self.atoms[at].start, reach)):
                return last, True
            last, end = last + 1, reach
        return last, False

    def _reads(self, at: int) -> int:
        """How many reads fetch all from `at` on, if everything is given that was not refused."""
        reads = 0
        while at < len(self.atoms):
            at = max(self._reach(at, self._limits.allows)[0], at) + 1
            reads += 1
        return reads


def joins(block: Block) -> bool:
    """Whether a read fetches points from several places, so that a smaller one can be asked for."""
    return len({(p.start, p.width) for p in block.pieces}) > 1


def _limit(space: Space, whole: Whole) -> tuple[str, int]:
    if space in ("coil", "discrete"):
        return "max_bits", whole.max_bits
    return "max_registers", whole.max_registers


def _words(span: Span) -> str:
    return f"{span.space} {span.start}" + (f" to {span.end - 1}" if span.size > 1 else "")
