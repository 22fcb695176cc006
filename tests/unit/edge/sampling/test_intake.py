from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sampling.intake import Gate, Report, quantiser, time_resolution_us
from wire.device import Point
from wire.sample import Clock, Sample, Value

CLOCK = Clock(1, synced=True)


def sample(time_us: int = 0, quality: dict[str, str] | None = None, **values: Value) -> Sample:
    return Sample("d", time_us, CLOCK, values, quality or {})


def gate(*points: Point, **reports: Report) -> Gate:
    return Gate({p.name: p for p in points}, time_resolution_us=1_000_000, reports=reports)


@given(st.floats(-1e6, 1e6), st.sampled_from([0.1, 0.01, 0.005, 0.5, 2.0, 10.0, 0.25, 1.0, 1e-3]))
def test_a_float_is_within_half_its_resolution_and_is_a_multiple_of_it(value: float, resolution: float) -> None:
    quantise = quantiser(resolution)
    assert quantise is not None
    kept = quantise(value)
    assert abs(kept - value) <= resolution / 2 * (1 + 1e-9)
    assert float(f"{kept:.6f}") == kept, "the double that a reader of the decimal number has"
    assert quantise(kept) == kept


def test_times_are_cut_and_floats_quantised() -> None:
    point = Point(name="p", type="float", resolution=0.1)
    kept = gate(point).take(sample(1_999_999, p=20.26))
    assert kept is not None
    assert (kept.time_us, kept.values) == (1_000_000, {"p": 20.3})


def test_what_cannot_be_kept_is_null_and_bad_and_unknown_points_are_counted() -> None:
    found = gate(Point(name="p", type="int"))
    kept = found.take(sample(p=2**70, other=1))
    assert kept is not None
    assert kept.values == {"p": None}
    assert kept.quality == {"p": "bad:integer beyond 64 bits"}
    assert found.unknown_points == 1


@pytest.mark.parametrize(
    ("value", "quality"), [(5.0, None), (-1.0, "uncertain:out of range"), (float("nan"), "uncertain")]
)
def test_a_value_out_of_range_is_kept_and_uncertain(value: float, quality: str | None) -> None:
    kept = gate(Point(name="p", type="float", low=0, high=10)).take(sample(p=value))
    assert kept is not None
    assert (kept.quality.get("p") or "").startswith(quality or "")
    assert bool(kept.quality) == bool(quality)


def test_report_by_exception_has_a_deadband_and_a_heartbeat() -> None:
    found = gate(Point(name="p", type="float"), p=Report(deadband=2, heartbeat_s=60))
    reported = [
        at for at, value in [(0, 10.0), (1, 11.9), (2, 12.0), (3, 10.5), (61, 10.5), (62, 12.0), (63, 10.1)]
        if found.take(sample(at * 1_000_000, p=value)) is not None
    ]  # fmt: skip
    assert reported == [0, 2, 62]


def test_a_change_of_quality_or_text_is_always_reported() -> None:
    found = gate(Point(name="p", type="text"), p=Report(deadband=5, heartbeat_s=60))
    assert found.take(sample(0, p="open"))
    assert not found.take(sample(1, p="open"))
    assert found.take(sample(2, p="closed"))
    assert found.take(sample(3, {"p": "bad:x"}, p="closed"))


def test_a_live_point_is_noticed_when_it_moves() -> None:
    found = gate(Point(name="p", type="int", live=True), Point(name="q", type="int"))
    moves = [found.moved(sample(p=p, q=q)) for p, q in [(1, 1), (1, 2), (2, 2), (2, 2)]]
    assert moves == [True, False, True, False]


def test_time_resolution() -> None:
    assert time_resolution_us(None, 10) == 1_000_000
    assert time_resolution_us(None, 5) == 1_000
    assert time_resolution_us(None, None) == 1_000
    assert time_resolution_us(250_000, 60) == 250_000


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, float("inf"), 1e16])
@pytest.mark.parametrize("resolution", [0.01, 0.5, 10.0])
def test_a_giant_float_is_kept_as_it_is(value: float, resolution: float) -> None:
    kept = gate(Point(name="p", type="float", resolution=resolution)).take(sample(p=value))
    assert kept is not None
    assert kept.values == {"p": value}


@pytest.mark.parametrize("time_us", [-5, 2**62, 10**303])
def test_a_time_that_cannot_be_is_held_inside_what_can(time_us: int) -> None:
    kept = gate(Point(name="p", type="int")).take(sample(time_us, p=1))
    assert kept is not None
    assert 0 <= kept.time_us < 2**52


def test_what_the_card_refused_is_news_again() -> None:
    found = gate(Point(name="p", type="int", live=True), p=Report())
    first = found.take(sample(0, p=1))
    assert first is not None
    assert found.moved(first)
    assert found.take(sample(1, p=1)) is None
    found.forget()
    again = found.take(sample(2, p=1))
    assert again is not None
    assert found.moved(again)
