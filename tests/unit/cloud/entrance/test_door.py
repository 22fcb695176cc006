"""Strangers are bounded by themselves, and the one who has most of them makes room for the newcomer."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.entrance import door as doors
from cloud.entrance.addresses import Proxies, networks_of
from cloud.entrance.door import Bounds, Door, Guest
from cloud.problem import Problem
from cloud.records.tokens import Grant, Role


class Line:
    """A connection as the door sees it."""

    def __init__(self, idle: bool = True) -> None:
        self.idle = idle
        self.was_cut = False

    def cut(self) -> None:
        self.was_cut = True


def grant(name: str, role: Role = "node") -> Grant:
    return Grant(id=name, role=role, node="cab-1" if role == "node" else None, name="", created_us=1, revoked_us=None)


def door(known: int = 100, strangers: int = 8, an_address: int = 4) -> Door:
    bounds = Bounds(known=known, strangers=strangers, an_address=an_address)
    return Door(bounds, Proxies(networks_of(["10.0.0.1"])), lambda: 0.0)


def enter(at: Door, address: str, idle: bool = True) -> tuple[Guest, Line]:
    guest = at.enter(address, cast("socket.socket", cast("Any", None)))
    guest.connection = line = Line(idle)
    return guest, line


def test_the_oldest_of_one_address_goes_for_its_newest() -> None:
    at = door()
    lines = [enter(at, "192.0.2.1")[1] for _ in range(6)]
    assert [line.was_cut for line in lines] == [True, True, False, False, False, False]
    assert (at.strangers, at.evicted) == (4, 2)


def test_the_address_that_has_most_makes_room() -> None:
    at = door()
    first = enter(at, "192.0.2.1")[1]
    many = [enter(at, "192.0.2.2")[1] for _ in range(4)]
    some = [enter(at, "192.0.2.3")[1] for _ in range(3)]
    newcomer = enter(at, "192.0.2.4")[1]
    assert many[0].was_cut
    assert not any(line.was_cut for line in [first, newcomer, *many[1:], *some])
    assert at.strangers == 8


def test_who_has_shown_a_token_stays() -> None:
    at = door()
    guest, line = enter(at, "192.0.2.1")
    at.know(guest, grant("a"))
    at.know(guest, grant("b"))  # the first counts
    for _ in range(50):
        enter(at, "192.0.2.1")
    assert not line.was_cut
    assert (at.known, at.strangers) == (1, 4)
    at.leave(guest)
    at.leave(guest)
    assert at.known == 0


def test_an_evicted_one_is_nobody_any_more() -> None:
    at = door(an_address=1)
    guest, line = enter(at, "192.0.2.1")
    enter(at, "192.0.2.1")
    assert line.was_cut
    at.know(guest, grant("a"))
    at.leave(guest)
    assert (at.known, at.strangers) == (0, 1)


def test_one_token_has_its_bound_and_the_longest_idle_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "NODE_MOST", 3)
    at = door()
    first, busy, idle = [enter(at, "192.0.2.1", idle=each) for each in (True, False, True)]
    for guest, _ in (first, busy, idle, first):  # the first one known has asked last
        at.know(guest, grant("a"))
    guest, _ = enter(at, "192.0.2.1", idle=False)
    at.know(guest, grant("a"))
    assert [one[1].was_cut for one in (first, busy, idle)] == [False, False, True]
    first[1].idle = False
    fourth, _ = enter(at, "192.0.2.1")
    with pytest.raises(Problem) as refused:
        at.know(fourth, grant("a"))
    assert refused.value.status == 429
    assert "at most 3" in refused.value.detail
    at.know(fourth, grant("b"))
    assert at.known == 4


def test_those_with_a_token_have_a_bound_and_leave_strangers_their_places() -> None:
    at = door(known=2)
    for name in "ab":
        at.know(enter(at, "192.0.2.1")[0], grant(name))
    third, line = enter(at, "192.0.2.1")
    with pytest.raises(Problem) as refused:
        at.know(third, grant("c"))
    assert refused.value.status == 503
    assert not line.was_cut
    assert (at.known, at.strangers) == (2, 1)


def test_a_proxy_that_is_believed_counts_as_known() -> None:
    at = door(strangers=1, an_address=1)
    guests = [enter(at, "10.0.0.1") for _ in range(5)]
    assert not any(line.was_cut for _, line in guests)
    assert (at.known, at.strangers) == (5, 0)
    at.know(guests[0][0], grant("a"))
    for guest, _ in guests:
        at.leave(guest)
    assert at.known == 0


def test_one_whose_handshake_is_not_done_can_go() -> None:
    at = door(an_address=1)
    near, far = socket.socketpair()
    with near, far:
        at.enter("192.0.2.1", near)
        at.enter("192.0.2.1", far)
        far.settimeout(5)
        assert far.recv(1) == b""


@pytest.mark.parametrize("descriptors", [64, 300, 1_024, 4_096, 20_000, 1_000_000])
def test_the_bounds_add_up(descriptors: int) -> None:
    bounds = Bounds.of(descriptors)
    assert bounds.known + bounds.strangers <= max(64, descriptors - doors.RESERVE)
    assert 0 < bounds.an_address <= bounds.strangers <= bounds.known
    if descriptors >= 20_000:
        assert bounds == Bounds(known=12_288, strangers=4_096, an_address=1_024)


@given(st.lists(st.tuples(st.sampled_from(["enter", "leave", "know"]), st.integers(0, 5)), max_size=200))
def test_the_counts_are_those_of_a_naive_model(steps: list[tuple[str, int]]) -> None:
    at = door(known=6, strangers=5, an_address=3)
    guests: list[Guest] = []
    for what, number in steps:
        if what == "enter":
            guests.append(enter(at, f"192.0.2.{number}")[0])
        elif guests and what == "leave":
            at.leave(guests[number % len(guests)])
        elif guests:
            full = at.known == 6
            guest = guests[number % len(guests)]
            with pytest.raises(Problem) if full and guest.standing == "stranger" else nullcontext():
                at.know(guest, grant(str(number), "reader"))
        strangers = [g for g in guests if g.standing == "stranger"]
        assert at.strangers == len(strangers) <= 5
        assert at.known == sum(g.standing == "known" for g in guests) <= 6
        counts = [sum(s.address == a for s in strangers) for a in {s.address for s in strangers}]
        assert at._most == max(counts, default=0) <= 3
