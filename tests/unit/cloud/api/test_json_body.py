"""Whatever is sent, it is read or refused with words; never a fault of ours."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.api.json_body import MAX_AT_ONCE, MAX_OF_ONE, MAX_STRANGE, BodiesInHand, found_in, read
from cloud.api.json_errors import MAX_SHOWN
from cloud.orders.checks import MAX_LIFE_US, Given, Wrongs, aimed_at, drafts_of, end_of
from cloud.orders.requests import ActGiven, BundleGiven, CommandGiven, RelinquishGiven
from cloud.problem import Problem
from cloud.views.contract import KnownDevice
from wire.device import Device, Point
from wire.orders import Order

NOW_US = 1_790_000_000_000_000
KINDS = [CommandGiven, RelinquishGiven, ActGiven, BundleGiven]
KEYS = sorted({f for kind in KINDS for f in kind.__struct_fields__} | {"devcie", ""})
POINTS = tuple(Point(name=t, type=t, writable=True, low=-5) for t in ("int", "float", "bool", "text"))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.sampled_from(
        ["int", "float", "bool", "text", "hypervisor", "2026-09-22T00:00:00Z", "shelve", "plan", 60, 1e308]
    ),
)
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)))


def sensible(given_: dict[str, Any]) -> dict[str, Any]:
    """One that may well be taken."""
    return {"device": "lamp", "point": "float", "value": 1, "expires_in_s": 60} | given_


def read_or_refused(raw: dict[str, Any], kind: type[Any]) -> object:
    try:
        return read(msgspec.json.encode(raw), kind)
    except Problem as problem:
        return problem


@given(
    st.sampled_from(KINDS),
    st.one_of(
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6),
        st.dictionaries(st.sampled_from(["point", "value", "expires_in_s", "expires", "level"]), VALUES).map(sensible),
    ),
)
def test_whatever_is_sent_is_an_order_or_refused(kind: type[Any], raw: dict[str, Any]) -> None:
    found = read_or_refused(raw, kind)
    if isinstance(found, Problem):
        assert (found.status, bool(found.detail)) == (400, True)
    if not isinstance(found, CommandGiven | RelinquishGiven):
        return
    wrongs = Wrongs()
    expires_us = end_of(found.expires, found.expires_in_s, ("expires", "expires_in_s"), NOW_US, wrongs)
    aimed_at(found, wrongs)
    target = KnownDevice("lamp", "cab-1", Device(id="lamp", kind="k", profile="p"), POINTS)
    by = Given(by="room", now_us=NOW_US, group="g", draw=lambda: "1")
    drafts = drafts_of(found, [target], expires_us, by, wrongs)
    if not wrongs.problems:  # what is taken can be sent, and is what the node will read
        (draft,) = drafts
        order: Order = msgspec.json.decode(msgspec.json.encode(draft.order), type=Order)
        assert order == draft.order
        assert NOW_US < order.expires_us <= NOW_US + MAX_LIFE_US


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"\xff", b'{"point": "\\ud800"}', b"[" * 5_000, b'"x"'])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(Problem) as refused:
        read(body, CommandGiven)
    assert refused.value.status == 400


def test_one_token_does_not_keep_the_others_out() -> None:
    door = BodiesInHand()
    with ExitStack() as held:
        for _ in range(MAX_OF_ONE):
            held.enter_context(door.open("slow"))
        with pytest.raises(Problem, match="for this token") as refused, door.open("slow"):
            pass
        assert refused.value.status == 429
        for i in range(MAX_AT_ONCE - MAX_OF_ONE):
            held.enter_context(door.open(f"other {i}"))
        with pytest.raises(Problem, match="32 requests with a body"), door.open("another"):
            pass
    with door.open("slow"):
        pass


def test_of_very_many_keys_only_the_first_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def matches(word: str, _: object) -> None:
        compared.append(word)

    monkeypatch.setattr("cloud.api.json_body.near", matches)
    many = {f"{i}{'x' * 1_000}": 1 for i in range(1_000)}
    with pytest.raises(Problem) as refused:
        read(msgspec.json.encode(many), CommandGiven)
    assert len(compared) == MAX_STRANGE
    assert max(map(len, compared)) == MAX_SHOWN
    assert "and 980 more keys that there are not" in refused.value.problems


def test_all_that_is_wrong_is_told() -> None:
    with pytest.raises(Problem) as refused:
        read(b'{"devcie": "a", "level": "plan", "value": null, "group": {"knd": "x"}}', CommandGiven)
    told = refused.value.problems
    assert len(told) == 5
    assert set(told) == {
        "there is no 'devcie'; did you mean device?",
        "level: there is no 'plan'; write one of hypervisor, emergency, in quotes",
        "point is missing",
        "value: write true or false, a number or a text in quotes, not null",
        "there is no 'group.knd'; did you mean group.kind?",
    }


@pytest.mark.parametrize(
    ("kind", "given_", "told"),
    [
        (BundleGiven, {"version": 1}, "version: write a text in quotes, not a whole number"),
        (BundleGiven, {"version": ""}, "version: write a text of at least 1 character"),
        (BundleGiven, {"version": "x" * 201}, "version: write a text of at most 200 characters"),
        (BundleGiven, {"nodes": ["cab-1", 2]}, "nodes[1]: write a text in quotes, not a whole number"),
        (BundleGiven, {"nodes": []}, "nodes: write a list of at least 1 item"),
        (BundleGiven, {"nodes": "cab-1"}, "nodes: write a list, in [ ], not a text in quotes"),
        (BundleGiven, {"all": "yes"}, "all: write true or false, not a text in quotes"),
        (CommandGiven, {"group": 7}, "group: write a text in quotes or an object, in { }, not a whole number"),
        (CommandGiven, {"group": {"kind": 1}}, "group.kind: write a text in quotes, not a whole number"),
        (CommandGiven, {"expires": True}, "expires: write a whole number or a text in quotes, not true or false"),
        (CommandGiven, {"expires_in_s": -1.5}, "expires_in_s: write a number greater than 0"),
        (CommandGiven, {"expires_in_s": "60"}, "expires_in_s: write a number, not a text in quotes"),
        (CommandGiven, {"expires_in_s": 1e10}, "expires_in_s: write a number not greater than 1000000000"),
        (ActGiven, {"act": 1}, "act: write one of acknowledge, shelve, unshelve, in quotes"),
    ],
)
def test_it_is_said_what_to_write(kind: type[Any], given_: dict[str, Any], told: str) -> None:
    problem = read_or_refused(given_, kind)
    assert isinstance(problem, Problem)
    assert told in problem.problems
    assert not [p for p in problem.problems if "`" in p], "the words of a parser"


def test_what_seems_to_be_missing_may_be_misspelt() -> None:
    found = found_in(b'{"devcie": "a", "expires": {}, "point": "dim"}', CommandGiven)
    assert (found.knows("device", "devices", "group"), found.knows("expires", "expires_in_s")) == (False, False)
    assert found.made == {"point": "dim"}
    found = found_in(b'{"device": "a", "pont": "dim"}', CommandGiven)
    assert found.knows("device", "devices", "group")
    assert found_in(b'{"point": "dim", "value": 1}', CommandGiven).knows("device"), "nothing is strange"
