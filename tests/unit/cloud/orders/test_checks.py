"""What is asked for, against what is known: each problem once, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from cloud.orders import checks
from cloud.orders.checks import MAX_LIFE_US, Given, Wrongs, aimed_at, author, drafts_of, end_of, why_not
from cloud.orders.requests import CommandGiven, GroupGiven, RelinquishGiven
from cloud.views.contract import KnownDevice, TargetsAsked
from wire.device import Device, Point
from wire.orders import Command, Relinquish

NOW_US = 1_790_000_000_000_000
DIM = Point(name="dim", type="float", unit="%", low=0, high=100, writable=True)
LAMP = (DIM, Point(name="power", type="float", unit="W"), Point(name="count", type="int", writable=True))


def target(name: str, profile: str = "lx", points: tuple[Point, ...] = LAMP) -> KnownDevice:
    return KnownDevice(name, "cab-1", Device(id=name, kind="streetlight", profile=profile), points)


def command(**given: Any) -> CommandGiven:
    return CommandGiven(**{"point": "dim", "value": 40, **given})


def by() -> Given:
    numbers: Iterator[int] = count()
    return Given(by="room", now_us=NOW_US, group="g-1", draw=lambda: str(next(numbers)))


def test_who_gives_an_order_is_the_person_and_always_the_token() -> None:
    wrongs = Wrongs()
    assert author("room", "", wrongs) == "room"
    assert author("room", "M. Dupont", wrongs) == "M. Dupont (room)"
    longest = author("r" * 200, "p" * 100, wrongs)
    assert (len(longest), longest[:101], longest[-3:]) == (200, "p" * 100 + " ", "rr)")
    assert wrongs.problems == []
    author("room", "M.\u202e Dupont", wrongs)
    assert "on_behalf: 'M.\\u202e Dupont' has U+202E at character 3" in wrongs.problems[0]


def test_one_order_a_device_all_with_the_groups_id() -> None:
    wrongs = Wrongs()
    drafts = drafts_of(command(), [target("a"), target("b")], NOW_US + 9, by(), wrongs)
    assert (wrongs.problems, [d.node for d in drafts], [d.kind for d in drafts]) == (
        [],
        ["cab-1"] * 2,
        ["streetlight"] * 2,
    )
    orders = [d.order for d in drafts]
    assert orders == [
        Command(
            id=f"o-{i}",
            group="g-1",
            by="room",
            issued_us=NOW_US,
            expires_us=NOW_US + 9,
            device=d,
            point="dim",
            value=40.0,
        )
        for i, d in enumerate("ab")
    ]
    assert isinstance(orders[0], Command)
    assert type(orders[0].value) is float
    (taken,) = drafts_of(RelinquishGiven(point="dim", level="emergency"), [target("a")], NOW_US + 9, by(), wrongs)
    assert isinstance(taken.order, Relinquish)
    assert taken.order.level == "emergency"


class Compared(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_device_that_is_named_twice_is_found_without_comparing_all_with_all() -> None:
    names = [Compared(f"lamp-{i}") for i in range(1_000)]
    wrongs = Wrongs()
    Compared.times = 0
    aimed_at(command(devices=(*names, Compared("lamp-999"))), wrongs)
    assert wrongs.problems == ["devices: 'lamp-999' stands there more than once"]
    assert Compared.times < 10_000


def test_a_long_text_is_not_told_in_full() -> None:
    point = Point(name="scene", type="text", choices=("night",), writable=True)
    assert len(why_not(point, "x" * 1_000_000) or "") < 200
    wrongs = Wrongs()
    end_of("x" * 1_000_000, None, ("expires", "expires_in_s"), NOW_US, wrongs)
    assert len(wrongs.problems[0]) < 200


def test_what_is_wrong_is_told_once_a_profile() -> None:
    wrongs = Wrongs()
    others = (Point(name="dimmer", type="int", writable=True),)
    targets = [target(f"a{i}", points=LAMP) for i in range(9)] + [target(f"b{i}", "other", others) for i in range(9)]
    assert len(drafts_of(command(), targets, NOW_US + 9, by(), wrongs)) == 9
    assert wrongs.problems == ["point: b0 has no point 'dim'; did you mean dimmer?"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (command(point="power"), "power of a cannot be written"),
        (command(point="brightness"), "writable are: dim, count"),
        (command(value=101), "101 lies outside 0 to 100 %"),
        (RelinquishGiven(point="power"), "cannot be written"),
    ],
)
def test_what_a_point_cannot_do(given: CommandGiven | RelinquishGiven, words: str) -> None:
    wrongs = Wrongs()
    assert drafts_of(given, [target("a")], NOW_US + 9, by(), wrongs) == []
    assert words in wrongs.problems[0]


def test_a_device_that_no_roster_names_has_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    wrongs = Wrongs()
    assert drafts_of(command(), [KnownDevice("a", "cab-1", None, ())], NOW_US + 9, by(), wrongs) == []
    assert "in no roster" in wrongs.problems[0]
    monkeypatch.setattr(checks, "MAX_GROUP_DEVICES", 2)
    assert drafts_of(command(), [target(n) for n in "abc"], NOW_US + 9, by(), wrongs) == []
    assert "more than 2 devices" in wrongs.problems[1]


@pytest.mark.parametrize(
    ("point", "value", "words"),
    [
        (DIM, 0, None),
        (DIM, 100.0, None),
        (DIM, -0.1, "outside 0 to 100 %"),
        (Point(name="x", type="float"), float("inf"), "finite number"),
        (Point(name="x", type="float"), float("nan"), "finite number"),
        (Point(name="x", type="float", low=1), 0.5, "outside 1 to …"),
        (Point(name="x", type="int"), 1.0, "whole number"),
        (Point(name="x", type="int"), 2**64, "64 bits"),
        (Point(name="x", type="int"), True, "must be a number, not true"),
        (Point(name="x", type="bool"), False, None),
        (Point(name="x", type="bool"), 0, "true or false"),
        (Point(name="x", type="text"), "free", None),
        (Point(name="x", type="text"), "x" * 5_000, "longer than"),
        (Point(name="x", type="text", choices=("a", "b")), "c", "one of a, b"),
        (Point(name="x", type="text"), 5, "must be a text"),
    ],
)
def test_values(point: Point, value: bool | float | str, words: str | None) -> None:
    why = why_not(point, value)
    assert (why is None) if words is None else (why is not None and words in why)


def test_exactly_one_way_to_say_which_devices() -> None:
    for given, expected in (
        (command(device="a"), TargetsAsked(devices=("a",))),
        (command(devices=("a", "b")), TargetsAsked(devices=("a", "b"))),
        (command(group=GroupGiven(tag="quay", node="cab-1")), TargetsAsked(tag="quay", node="cab-1")),
    ):
        wrongs = Wrongs()
        assert (aimed_at(given, wrongs), wrongs.problems) == (expected, [])
    for given in (command(), command(device="a", devices=("b",)), command(group=GroupGiven())):
        wrongs = Wrongs()
        assert aimed_at(given, wrongs) is None
        assert len(wrongs.problems) == 1


@pytest.mark.parametrize(
    ("until", "for_s", "words"),
    [
        (None, 1.0, None),
        (NOW_US + 1, None, None),
        ("2026-09-21T16:13:19+02:00", None, "not in the future"),
        ("2026-09-21T16:13:21", None, "time zone"),
        ("soon", None, "no time"),
        (NOW_US, None, "not in the future"),
        (NOW_US + MAX_LIFE_US, None, None),
        (NOW_US + MAX_LIFE_US + 1, None, "more than 30 days"),
        (None, 1e9, "more than 30 days"),
        (None, None, "one of expires"),
        (NOW_US + 1, 1.0, "one of expires"),
    ],
)
def test_ends(until: str | int | None, for_s: float | None, words: str | None) -> None:
    wrongs = Wrongs()
    end_us = end_of(until, for_s, ("expires", "expires_in_s"), NOW_US, wrongs)
    if words is None:
        assert not wrongs.problems
        assert NOW_US < end_us <= NOW_US + MAX_LIFE_US
    else:
        assert words in wrongs.problems[0]
    assert end_of(None, None, ("expires", "expires_in_s"), NOW_US, Wrongs(), 5) == NOW_US + 5
