"""Refusals: when a row that the cloud refuses may be given up, and how long to wait before the next try. Pure.

A cloud that refuses a body may be right: there is something in it that it cannot read. It may as well be broken
itself, or a hop between may change bytes; then giving up rows would only throw away what is sound. So a row is set
aside only after the same body was refused TRIES times, at most BURST rows within BURST_S, and after BURST rows in which
nothing but gaps was taken only one more every PROOF_S: everything else is held, and tried again slowly. What proves
that the cloud can read is a body with more than gaps in it.

Bounds, for one lane: waits of up to 1, 2, 4 … HALVE_MAX_S seconds while a body is halved, and of HELD_FIRST_S doubling
to HELD_MAX_S while the lane is held.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

TRIES: Final = 3
BURST: Final = 3
BURST_S: Final = 3_600.0
PROOF_S: Final = 86_400.0
HALVE_MAX_S: Final = 8.0
HELD_FIRST_S: Final = 30.0
HELD_MAX_S: Final = 600.0

Row = tuple[int, int, int]  # epoch, first and last seq


class Refusals:
    """What one lane has been refused. Times are monotonic seconds."""

    def __init__(self, given_up_s: Iterable[float] = ()) -> None:
        """`given_up_s` says when rows were given up before this run of the process."""
        self._given_up: deque[float] = deque(given_up_s, BURST)
        self._unproven = len(self._given_up)  # given up since something was taken last
        self._row: Row | None = None
        self._times = 0  # that this row was refused
        self._in_a_row = 0
        self._held = 0

    @property
    def held(self) -> bool:
        """Whether nothing is given up any more: what is refused stays."""
        return self._held > 0

    def refused(self, row: Row | None) -> float:
        """A body was refused, of this one row or of several: the longest wait before the next one."""
        if row is None or row != self._row:
            self._times = 0
        self._row = row
        self._times += 1
        self._in_a_row += 1
        return min(HALVE_MAX_S, 2.0 ** min(self._in_a_row - 1, 10))

    def may_give_up(self, now_s: float) -> bool:
        """Whether the row that was refused last may be set aside now."""
        if self._row is None or self._times < TRIES:
            return False
        if sum(now_s - each < BURST_S for each in self._given_up) >= BURST:
            return False
        return self._unproven < BURST or now_s - self._given_up[-1] >= PROOF_S

    @property
    def ripe(self) -> bool:
        """Whether the row that was refused last was tried often enough."""
        return self._row is not None and self._times >= TRIES

    def gave_up(self, now_s: float) -> None:
        """It was set aside."""
        self._given_up.append(now_s)
        self._unproven += 1
        self._row, self._times, self._in_a_row, self._held = None, 0, 0, 0

    def hold(self) -> float:
        """It was not: how long to leave the lane alone."""
        self._held += 1
        return min(HELD_MAX_S, HELD_FIRST_S * 2.0 ** min(self._held - 1, 10))

    def taken(self, *, more_than_gaps: bool) -> None:
        """A body was taken."""
        self._row, self._times, self._in_a_row = None, 0, 0
        if more_than_gaps:
            self._unproven = self._held = 0
