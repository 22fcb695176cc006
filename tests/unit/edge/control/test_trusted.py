from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.control.trusted import MAX_APART_US, MAX_SERVER_AGE_US, TrustedTime
from wire.sample import Clock

T = 1_800_000_000_000_000
SECOND = 1_000_000


class Scene:
    def __init__(self) -> None:
        self.mono, self.own, self.synced = 5_000_000, T, False
        self.trusted = TrustedTime(lambda: (self.own, Clock(1, synced=self.synced)), lambda: self.mono)

    def wait(self, us: int) -> None:
        self.mono += us
        self.own += us


def test_with_neither_nobody_knows() -> None:
    assert Scene().trusted.now_us() is None


def test_the_nodes_own_clock_counts_while_it_is_synchronised() -> None:
    scene = Scene()
    scene.synced = True
    assert scene.trusted.now_us() == T
    scene.synced = False
    assert scene.trusted.now_us() is None


def test_the_later_of_both_is_believed() -> None:
    scene = Scene()
    scene.synced = True
    scene.trusted.hear(T + 7 * SECOND)
    assert scene.trusted.now_us() == T + 7 * SECOND
    scene.wait(SECOND)
    assert scene.trusted.now_us() == T + 8 * SECOND, "the cloud's goes on by the monotonic clock"
    scene.own += 100 * SECOND
    assert scene.trusted.now_us() == scene.own


def test_a_synchronised_clock_counts_against_a_cloud_that_is_a_year_ahead() -> None:
    """Or honest orders would be over before they came."""
    scene = Scene()
    scene.synced = True
    scene.trusted.hear(T + 365 * 86_400 * SECOND)
    assert scene.trusted.now_us() == T
    assert scene.trusted.apart_us() == 365 * 86_400 * SECOND
    scene.synced = False
    assert scene.trusted.now_us() == T + 365 * 86_400 * SECOND, "with nothing else, it is what there is"
    assert scene.trusted.apart_us() is None
    scene = Scene()
    scene.synced = True
    scene.trusted.hear(T + MAX_APART_US)
    assert (scene.trusted.now_us(), scene.trusted.apart_us()) == (T + MAX_APART_US, None)


def test_words_that_come_late_do_not_set_time_back() -> None:
    scene = Scene()
    scene.trusted.hear(T)
    scene.wait(30 * SECOND)
    scene.trusted.hear(T + 5 * SECOND)  # 25 s on the way
    assert scene.trusted.now_us() == T + 30 * SECOND


def test_words_of_yesterday_say_nothing() -> None:
    scene = Scene()
    scene.trusted.hear(T)
    scene.wait(MAX_SERVER_AGE_US)
    assert scene.trusted.now_us() == T + MAX_SERVER_AGE_US
    scene.wait(1)
    assert scene.trusted.now_us() is None


def test_a_crystal_that_runs_fast_never_leaves_a_node_without_time() -> None:
    """Each word of the cloud is a little earlier than the node has counted up to; it is heard all the same."""
    scene = Scene()
    for beat in range(4 * 24 * 60):
        truth = T + beat * 60 * SECOND
        scene.trusted.hear(truth)
        now = scene.trusted.now_us()
        assert now is not None
        assert 0 <= now - truth <= 5 * SECOND, "no more than a day's drift"
        scene.wait(60 * SECOND + 3000)  # 50 ppm


def test_a_cloud_whose_clock_was_ahead_is_believed_again_after_a_day() -> None:
    scene = Scene()
    scene.trusted.hear(T + 10**12)
    for _ in range(25):
        scene.wait(3600 * SECOND)
        scene.trusted.hear(scene.own)
    assert scene.trusted.now_us() == scene.own


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(-(10**8), 10**8)), max_size=30))
def test_within_a_day_it_never_goes_back(steps: list[tuple[int, int]]) -> None:
    scene = Scene()
    last = None
    for wait, off in steps:
        scene.wait(wait)
        scene.trusted.hear(scene.own + off)
        now = scene.trusted.now_us()
        assert now is not None
        assert now >= scene.own + off
        assert last is None or now >= last + wait
        last = now
