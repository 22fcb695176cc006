"""Tickets: each opens once, for a while, and none that we have not made."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.entrance import tickets
from cloud.entrance.tickets import LIFE_US, Spent, Tickets, new_key
from cloud.problem import Problem
from support.cloud_batches import Ticking
from wire.time import Micros


def test_a_ticket_opens_once_for_the_token_that_it_was_made_for() -> None:
    now = Ticking()
    office = Tickets(new_key(), now)
    ticket, until_us = office.make("0123456789")
    assert 0 < until_us - now() <= LIFE_US
    assert office.use(ticket) == "0123456789"
    with pytest.raises(Spent, match="was used"):
        office.use(ticket)


def test_each_process_that_has_the_key_lets_it_open_once() -> None:
    key, now = new_key(), Ticking()
    ticket, _ = Tickets(key, now).make("0123456789")
    for process in (Tickets(key, now), Tickets(key, now)):
        assert process.use(ticket) == "0123456789"
    assert Tickets(new_key(), now).use(ticket) is None


def test_it_is_over_after_its_time_and_when_the_clock_is_set_back() -> None:
    now = Ticking()
    office = Tickets(new_key(), now)
    late, early = office.make("a")[0], office.make("b")[0]
    now.now_us += LIFE_US + 1
    with pytest.raises(Spent, match="is over"):
        office.use(late)
    now.now_us -= 10 * LIFE_US
    with pytest.raises(Spent, match="is over"):
        office.use(early)


@given(st.data())
def test_whatever_is_changed_in_it_opens_nothing(data: st.DataObject) -> None:
    office = Tickets(new_key(), Ticking())
    ticket, _ = office.make("0123456789")
    raw = bytearray(base64.urlsafe_b64decode(ticket + "=="))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assert office.use(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) is None
    assert office.use(ticket) == "0123456789"


@given(st.text(max_size=300))
def test_any_other_text_is_no_ticket(text: str) -> None:
    assert Tickets(new_key(), Ticking()).use(text) is None


def test_so_many_used_ones_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MOST", 3)
    now = Ticking()
    office = Tickets(new_key(), now)
    made = [office.make("a")[0] for _ in range(4)]
    for ticket in made[:3]:
        office.use(ticket)
    with pytest.raises(Problem) as refused:
        office.use(made[3])
    assert refused.value.status == 503
    now.now_us += Micros(LIFE_US + 1)
    assert office.use(office.make("a")[0]) == "a"
