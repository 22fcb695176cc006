"""A clock that is set is seen by one that is not; its own slow corrections are no jump."""

from __future__ import annotations

from cloud.clock_jump import ClockJumps
from support.cloud_batches import SECOND, Ticking


class Two:
    """A clock that can be set, and one that only goes on."""

    def __init__(self) -> None:
        self.wall = Ticking()
        self.steady_s = 100.0

    def go_on(self, seconds: float, *, set_by: float = 0) -> None:
        self.wall.tick(seconds + set_by)
        self.steady_s += seconds


def test_a_leap_is_told_once_and_how_far() -> None:
    two = Two()
    jumps = ClockJumps(two.wall, lambda: two.steady_s)
    assert jumps.jumped_us() == 0
    two.go_on(5)
    assert jumps.jumped_us() == 0
    two.go_on(5, set_by=3_600)
    assert jumps.jumped_us() == 3_600 * SECOND
    assert jumps.jumped_us() == 0
    two.go_on(5, set_by=-86_400)
    assert jumps.jumped_us() == -86_400 * SECOND
    two.go_on(5, set_by=0.5)
    assert jumps.jumped_us() == 0
