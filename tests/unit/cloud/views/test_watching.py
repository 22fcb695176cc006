"""Watching: a look counts for thirty seconds, an open live feed as long as it is open."""

from __future__ import annotations

from cloud.views.watching import LIVE_S, Watching


def test_a_look_counts_for_a_while() -> None:
    now = [0.0]
    watching = Watching(lambda: now[0])
    assert watching.live_s("cab-1") == 0
    watching.look("cab-1")
    now[0] = LIVE_S - 0.1
    assert (watching.live_s("cab-1"), watching.live_s("cab-2")) == (LIVE_S, 0)
    now[0] = LIVE_S
    assert watching.live_s("cab-1") == 0


def test_open_feeds_count_until_the_last_is_closed() -> None:
    watching = Watching(lambda: 0.0)
    with watching.open(frozenset({"cab-1"})):
        with watching.open(frozenset({"cab-1", "cab-2"})):
            assert watching.live_s("cab-2") == LIVE_S
        assert (watching.live_s("cab-1"), watching.live_s("cab-2")) == (LIVE_S, 0)
        with watching.open(frozenset()):
            assert watching.live_s("cab-9") == LIVE_S
    assert watching.live_s("cab-1") == 0
