"""What a page offers to who may act."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

from drivers.profile import Writing
from edge.control.decided import Decided, HeldAt
from edge.visit.visiting import Why
from edge.web.acting import PROBLEMS, Acting, settings
from edge.web.language import Speech
from edge.web.writing import SessionTold
from wire.device import Point

ROOT = Path(__file__).parents[4]
EN = Speech("en", ZoneInfo("Europe/Paris"), 0)
NOW_US = 1_000_000_000_000
DIM = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True, resolution=0.1)
NOBODY = SessionTold(session=None, codes=True)


def test_whatever_can_be_turned_away_has_words() -> None:
    """As `edge.web.writing` says it in the address that a form comes back to."""
    source = "".join((ROOT / f"edge/web/{name}.py").read_text() for name in ("writing", "relisting"))
    assert set(re.findall(r'turned_away\("(\w+)"', source)) | set(Why.__args__) == set(PROBLEMS)
    for problem in PROBLEMS:
        said, wait_s, then = Acting.of(NOBODY, problem, "40").message(EN) or ("", None, "")
        assert said
        assert "{" not in said + then
        assert (wait_s is None) == (problem != "too_soon")
    assert Acting.of(NOBODY, "too_soon", "40").message(EN) == ("Too many wrong codes. Try again in ", 40, ".")
    assert Acting.of(NOBODY, "", "").message(EN) is None


def test_only_known_words_are_taken_from_an_address() -> None:
    for problem, retry_s in (("x" * 99, "1"), ("", ""), ("code", "9" * 99), ("code", "-1"), ("code", "٣")):
        found = Acting.of(NOBODY, problem, retry_s)
        assert found.retry_s == ""
        assert found.problem in ("", "code")


def test_a_point_has_a_button_for_each_value_worth_one() -> None:
    mode = Point(name="mode", type="text", choices=("auto", "manual"), writable=True)
    on = Point(name="on", type="bool", writable=True)
    free = Point(name="free", type="text", writable=True)
    power = Point(name="power", type="float")
    found = {s.point: [c.label for c in s.choices] for s in settings((DIM, mode, on, free, power), (), NOW_US, EN)}
    assert found == {
        "dim_level": ["0\u202f%", "50\u202f%", "100\u202f%"],
        "mode": ["auto", "manual"],
        "on": ["no", "yes"],
    }


def test_what_has_two_ends_and_may_be_written_often_enough_has_a_button_to_blink() -> None:
    mode = Point(name="mode", type="text", choices=("auto", "manual"), writable=True)
    on = Point(name="on", type="bool", writable=True)
    slow = {"on": Writing(reads_back="on", min_write_s=60)}
    assert [(s.point, s.may_blink) for s in settings((DIM, mode, on), (), NOW_US, EN)] == [
        ("dim_level", True), ("mode", False), ("on", True),
    ]  # fmt: skip
    assert [(s.point, s.may_blink) for s in settings((DIM, on), (), NOW_US, EN, slow)] == [
        ("dim_level", True), ("on", False),
    ]  # fmt: skip
    own = HeldAt(level="technician", value=100.0, by="Jeanne", until_us=NOW_US + 95_500_000, blinks=True)
    decided = Decided(device="lamp", point="dim_level", value=100.0, why={}, levels=(own,))
    (found,) = settings([DIM], [decided], NOW_US, EN)
    assert (found.blinks, found.left_s) == (True, 95)


def test_what_a_technician_holds_is_counted_down() -> None:
    plan = HeldAt(level="plan", value=30.0, by="always", until_us=None)
    own = HeldAt(level="technician", value=100.0, by="Jeanne", until_us=NOW_US + 95_500_000)
    decided = Decided(device="lamp", point="dim_level", value=100.0, why={}, levels=(own, plan))
    (found,) = settings([DIM], [decided], NOW_US, EN)
    assert (found.held, found.by, found.left_s) == ("100\u202f%", "Jeanne", 95)
    (found,) = settings(
        [DIM], [Decided(device="lamp", point="dim_level", value=30.0, why={}, levels=(plan,))], NOW_US, EN
    )
    assert (found.held, found.left_s) == ("", None)
