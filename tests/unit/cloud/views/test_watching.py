"""Watching: a look counts for thirty seconds, an open live feed as long as it is open."""

from __future__ import annotations

import pytest

from cloud.views import watching as watching_module
from cloud.views.watching import LIVE_S, Looked, Watching


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
        with watching.open(frozenset()) as hurried:
            assert not hurried
            assert watching.live_s("cab-9") == 0, "nobody looks at all of the city"
    assert watching.live_s("cab-1") == 0


def test_what_is_looked_at_in_another_process_counts_until_that_ends() -> None:
    watching = Watching(lambda: 0.0)
    watching.elsewhere(1, Looked(frozenset({"cab-1"})))
    watching.elsewhere(2, Looked(frozenset({"cab-9"})))
    assert watching.live_s("cab-9") == LIVE_S
    watching.elsewhere(2, None)
    assert (watching.live_s("cab-1"), watching.live_s("cab-9")) == (LIVE_S, 0)
    assert watching.looked == Looked(), "it is not looked at here"


def test_what_is_looked_at_here_is_told_on() -> None:
    now, told = [0.0], []
    watching = Watching(lambda: now[0], lambda: told.append(1))
    watching.look("cab-1")
    with watching.open(frozenset({"cab-2"})):
        assert watching.looked == Looked(frozenset({"cab-1", "cab-2"}))
    assert len(told) == 3
    now[0] = LIVE_S
    assert watching.looked == Looked()


def test_no_more_than_so_many_are_asked_to_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "MOST", 2)
    now = [0.0]
    watching = Watching(lambda: now[0])
    with watching.open({"cab-1", "cab-2", "cab-3"}) as hurried:
        assert hurried == {"cab-1", "cab-2"}
        watching.look("cab-4")
        watching.look("cab-2")
        with watching.open({"cab-2", "cab-5"}) as more:
            assert more == {"cab-2"}
        assert [watching.live_s(f"cab-{n}") for n in range(1, 6)] == [LIVE_S, LIVE_S, 0, 0, 0]
    watching.look("cab-4")
    assert watching.looked == Looked(frozenset({"cab-2", "cab-4"}))
    now[0] = LIVE_S
    with watching.open({"cab-3", "cab-5"}) as hurried:
        assert hurried == {"cab-3", "cab-5"}
