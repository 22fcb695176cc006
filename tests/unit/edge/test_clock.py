from __future__ import annotations

import pytest

from edge.clock import EARLIEST_US, NodeClock, kernel_boot, kernel_synced, monotonic_us
from wire.sample import Clock

TRUE = EARLIEST_US + 10**12


class World:
    """A machine whose clocks are set by hand."""

    def __init__(self, wall: int, *, synced: bool = False) -> None:
        self.wall, self.mono, self.synced = wall, 1_000_000, synced

    def passes(self, us: int) -> None:
        self.wall += us
        self.mono += us

    def clock(self, last_known_us: int = 0) -> NodeClock:
        return NodeClock(
            last_known_us=last_known_us,
            wall_us=lambda: self.wall,
            monotonic_us=lambda: self.mono,
            synced=lambda: self.synced,
            boot=lambda: 7,
        )


def test_a_synchronised_clock_is_taken() -> None:
    clock = World(TRUE, synced=True).clock()
    assert clock()[0] == TRUE
    assert clock()[1].synced
    assert clock.hear(TRUE + 5_000_000, 1000) is None


def test_it_is_never_1970_and_never_before_what_it_wrote() -> None:
    world = World(0)
    clock = world.clock(last_known_us=TRUE)
    assert clock() == (TRUE, clock.clock)
    assert not clock.synced
    world.passes(5)
    assert clock()[0] == TRUE + 5
    assert World(0).clock()()[0] == EARLIEST_US


def test_time_set_back_a_little_does_not_go_back() -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    clock()
    world.wall -= 9_000_000
    assert clock()[0] == TRUE


DAY = 86_400_000_000


@pytest.mark.parametrize("jump_us", [DAY, -DAY, 11_000_000, -11_000_000])
def test_a_clock_that_jumps_and_comes_back_moves_nothing(jump_us: int) -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    times = [clock()]
    world.wall += jump_us
    for _ in range(3):
        world.passes(1_000_000)
        assert clock.check() is None
        times.append(clock())
    assert [t for t, _ in times] == [TRUE + i * 1_000_000 for i in range(4)], "by the monotonic clock"
    doubted = times[-1][1]
    assert not doubted.synced
    assert doubted.boot != 7, "its fix must not correct what was estimated before"
    assert clock.jump_us == jump_us
    world.wall -= jump_us
    fix = clock.check()
    assert fix is not None
    assert (fix.boot, fix.offset_us) == (doubted.boot, 0)
    world.passes(1_000_000)
    assert clock() == (TRUE + 4_000_000, Clock(7, synced=True))
    assert (clock.jump_us, clock.jumps) == (None, 1)


@pytest.mark.parametrize("jump_us", [DAY, -DAY])
def test_a_new_time_that_stands_is_believed_after_a_minute(jump_us: int) -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    world.wall += jump_us
    for _ in range(60):
        assert clock.check() is None
        world.passes(1_000_000)
    fix = clock.check()
    assert fix is not None
    assert fix.offset_us == jump_us
    assert clock() == (TRUE + 60_000_000 + jump_us, Clock(7, synced=True)), "also back in time, and that is told"


def test_a_new_time_is_believed_at_once_when_the_cloud_has_it_too_and_not_while_it_denies_it() -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    world.wall += DAY
    clock()
    for _ in range(10):
        world.passes(30_000_000)
        assert clock.hear(world.wall - DAY, took_us=1000) is None
        assert clock.check() is None
    assert clock()[0] == TRUE + 300_000_000
    assert clock.hear(world.wall + 3 * DAY, took_us=1000) is None, "a third opinion decides nothing"
    fix = clock.hear(world.wall, took_us=1000)
    assert fix is not None
    assert fix.offset_us == DAY


def test_a_clock_that_jumps_to_and_fro_is_not_followed() -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    for i in range(100):
        world.passes(1_000_000)
        world.wall += DAY if i % 2 else -DAY
        clock.check()
        assert clock()[0] == TRUE + (i + 1) * 1_000_000


def test_a_clock_that_is_no_longer_synchronised_after_its_jump_is_waited_for() -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    world.wall, world.synced = EARLIEST_US - DAY, False
    for _ in range(200):
        world.passes(1_000_000)
        assert clock.check() is None
    assert clock()[0] == TRUE + 200_000_000
    assert not clock.synced


def test_an_hour_of_sleep_is_no_jump() -> None:
    world = World(TRUE, synced=True)
    clock = world.clock()
    world.passes(3_600_000_000)
    world.wall += 2_000_000  # slewed meanwhile
    assert clock() == (TRUE + 3_602_000_000, Clock(7, synced=True))


def test_the_cloud_tells_the_time_and_a_fix_says_by_how_much_it_was_off() -> None:
    world = World(0)
    clock = world.clock(last_known_us=TRUE)
    world.passes(1_000_000)
    estimated = clock()[0]
    fix = clock.hear(TRUE + 86_400_000_000, took_us=200_000)
    assert fix is not None
    assert (fix.boot, fix.error_us) == (7, 101_000)
    assert estimated + fix.offset_us == TRUE + 86_400_000_000 + 100_000
    assert clock() == (TRUE + 86_400_000_000 + 100_000, clock.clock)
    assert clock.synced


def test_a_clock_set_by_the_cloud_is_kept_right() -> None:
    world = World(0)
    clock = world.clock(last_known_us=TRUE)
    clock.hear(TRUE + 10**9, took_us=0)
    world.passes(86_400_000_000)
    assert clock.hear(TRUE + 10**9 + 86_400_000_000 + 400_000, took_us=0) is None
    assert clock()[0] == TRUE + 10**9 + 86_400_000_000, "small differences are the network's"
    assert clock.hear(TRUE + 10**9 + 86_400_000_000 + 4_000_000, took_us=0) is None
    assert clock()[0] == TRUE + 10**9 + 86_400_000_000 + 4_000_000
    world.wall, world.synced = TRUE + 10**12, True
    assert clock.check() is None
    assert clock()[0] == TRUE + 10**12, "the kernel knows better"


def test_an_answer_that_took_long_tells_no_time() -> None:
    assert World(0).clock(TRUE).hear(TRUE + 10**10, took_us=3_000_000) is None


def test_the_kernel_finds_the_time() -> None:
    world = World(0)
    clock = world.clock(last_known_us=TRUE)
    assert clock.check() is None
    world.wall, world.synced = TRUE + 777, True
    fix = clock.check()
    assert fix is not None
    assert fix.offset_us == 777
    assert clock()[0] == TRUE + 777
    assert clock.check() is None


def test_this_machine_has_a_boot_and_a_monotonic_clock() -> None:
    assert kernel_boot() == kernel_boot() > 0
    assert monotonic_us() <= monotonic_us()
    assert kernel_synced() in (True, False)
