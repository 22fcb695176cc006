"""The same samples give the same effects: live, however often time is looked at; after a restart; and in replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.profile_files import SHIPPED, load_profiles
from edge.rules.effects import Effect
from edge.rules.engine import Engine
from edge.rules.load import load
from edge.rules.replay import MAX_WAITING, REORDER_US, Replay, replay
from edge.rules.rule import Rules
from support.examples import many
from wire.columns import Columns
from wire.device import Device, Roster
from wire.sample import Clock, Sample, Value

if TYPE_CHECKING:
    from conftest import Street
else:
    Street = Any

S = 1_000_000
CLOCK = Clock(1, synced=True)
ALARM = 'alarm = { severity = "low", text = { en = "{fill_level}" } }\n'
CONDITIONS = (
    'when = "fill_level > 50.0"',
    'when = "fill_level > 50.0"\nfor_s = 90',
    'when = "fill_level > 50.0"\nclear = "fill_level < 20.0"\nfor_s = 30\nmin_interval_s = 200',
    "when = \"tilted && lid == 'open'\"\nmin_interval_s = 120",
    'when = "silent"\nsilent_s = 100',
    'when = "age_s.fill_level > 70.0 && !tilted"',
    "when = \"quality.fill_level == 'bad' || tilted\"\nfor_s = 10",
    'when = "w > 40.0"\nclear = "w < 30.0"\nwindow.w = { mean = "fill_level", over_s = 120 }',
    'when = "w > 3"\nwindow.w = { count = "n", over_s = 60 }\nfor_s = 20',
    'when = "w * 60.0 > 10.0"\nwindow.w = { rate = "fill_level", over_s = 300 }',
    'when = "night && fill_level > 50.0"\nfor_s = 45',
    'when = "tilted || silent"\nsilent_s = 500\nfor_s = 30',
    'when = "hour > 0.05 && tilted || silent"\nsilent_s = 200',
)
ACTS = (
    ALARM,
    'tag = "x"\n',
    '[rule.command]\npoint = "dim_level"\nvalue = 80\nhold_s = 100\non = { id = "lamp-1" }\n',
    '[rule.command]\npoint = "dim_level"\nvalue = 80\nhold_s = 100\nrelease = true\non = { id = "lamp-*" }\n',
)


def ambient(at_us: int) -> Mapping[str, Value]:
    return {"night": at_us // S // 180 % 2 == 1, "hour": at_us / S / 3600 % 24}


texts = st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(ACTS)), min_size=1, max_size=4)
level = st.sampled_from([0.0, 10.0, 25.0, 49.0, 50.0, 51.0, 80.0, None])
values = st.fixed_dictionaries(
    {},
    optional={
        "fill_level": level,
        "tilted": st.booleans(),
        "lid": st.sampled_from(["open", "closed"]),
        "n": st.integers(0, 9),
    },
)
steps = st.lists(
    st.tuples(
        st.integers(0, 200),  # seconds since the sample before
        st.sampled_from(["bin-1", "bin-2"]),
        values,
        st.sampled_from(["", "", "", "bad:no answer", "uncertain:out of range"]),
        st.integers(0, 8_000),  # how late it comes, mostly not
        st.integers(0, 3),
    ),
    max_size=40,
)


def made(drawn: Sequence[tuple[int, str, dict[str, Value], str, int, int]]) -> list[tuple[Sample, int, int]]:
    at_s, found = 1000, []
    for gap_s, device, given_values, quality, late_s, when in drawn:
        at_s += gap_s
        late_us = late_s * S if when == 0 else 0
        bad = {n: quality for n in given_values if n == "fill_level"} if quality else {}
        held = {n: None if bad.get(n, "").startswith("bad") else v for n, v in given_values.items()}
        found.append((Sample(device, at_s * S - late_us, CLOCK, held, bad), at_s * S, late_us))
    return found


def go(engine: Engine, inputs: Sequence[tuple[Sample, int, int]]) -> list[Effect]:
    return [e for sample, at_us, late_us in inputs for e in engine.take(sample, at_us, late_us)]


@pytest.mark.slow
@settings(
    max_examples=many(150),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(texts=texts, drawn=steps, data=st.data())
def test_through_and_restarted_and_looked_at_often(street: Street, texts: Any, drawn: Any, data: st.DataObject) -> None:
    rules = street.rules(
        "".join(f'[[rule]]\nname = "r{i}"\non = {{ kind = "bin" }}\n{w}\n{a}' for i, (w, a) in enumerate(texts))
    )
    inputs = made(drawn)
    end_us = (inputs[-1][1] if inputs else 1000 * S) + 500 * S

    def engine() -> Engine:
        fresh = street.engine(rules, ambient)
        start.append(fresh.advance(1000 * S))
        return fresh

    start: list[list[Effect]] = []
    through = engine()
    expected = go(through, inputs) + through.advance(end_us)
    assert expected == sorted(expected, key=lambda e: e.time_us), "in the order of time"
    assert len(start[0]) == 0 or "silent" in str(texts) or "night" in str(texts)

    at = data.draw(st.integers(0, len(inputs)), label="restart before")
    before = engine()
    known = go(before, inputs[:at])
    after = engine()
    assert go(after, inputs[:at]) == known  # thrown away
    assert known + go(after, inputs[at:]) + after.advance(end_us) == expected

    looked = engine()
    found: list[Effect] = []
    last_us = 1000 * S
    for sample, at_us, late_us in inputs:
        for look_us in sorted(data.draw(st.lists(st.integers(last_us, at_us), max_size=3))):
            due_us = looked.due_us()
            effects = looked.advance(look_us)
            assert not effects or (due_us is not None and due_us <= effects[0].time_us)
            found += effects
            looked.explain(sample.device, look_us)
        found += looked.take(sample, at_us, late_us)
        last_us = at_us
    assert found + looked.advance(end_us) == expected

    if all(late_us == 0 for _, _, late_us in inputs):
        again = engine()
        assert replay(again, history([s for s, _, _ in inputs]), end_us) == expected


@pytest.mark.slow
@settings(
    max_examples=many(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(texts=texts, drawn=steps)
def test_no_moment_is_missed(street: Street, texts: Any, drawn: Any) -> None:
    """Looking at every rule in every second finds nothing that the timers had not found."""
    rules = street.rules(
        "".join(f'[[rule]]\nname = "r{i}"\non = {{ kind = "bin" }}\n{w}\n{a}' for i, (w, a) in enumerate(texts))
    )
    inputs = made([(gap % 40, *rest[:-1], 1) for gap, *rest in drawn])
    engine = street.engine(rules, ambient)
    at_s = 1000
    engine.advance(at_s * S)
    for sample, at_us, _ in [*inputs, (None, at_s * S + 2000 * S, 0)]:
        while (at_s + 1) * S < at_us:
            at_s += 1
            engine.advance(at_s * S)
            extra: list[Effect] = []
            for watch in engine._watches:
                watch.look(at_s * S, engine._ambient, extra)
            assert extra == []
        if sample is not None:
            engine.take(sample, at_us)


def history(samples: Sequence[Sample]) -> list[Columns | Sequence[Sample]]:
    """As the outbox keeps it: by device within a commit (60 s at most)."""
    found: list[Columns | Sequence[Sample]] = []
    for commit in sorted({s.time_us // (60 * S) for s in samples}):
        there = [s for s in samples if s.time_us // (60 * S) == commit]
        if len({s.time_us for s in there}) < len(there):
            found.append(there)  # at one time by two devices: their order is that of the line, which columns lose
        else:
            found += [Columns.of(many) for d in ("bin-2", "bin-1") if (many := [s for s in there if s.device == d])]
    return found


def test_replay_puts_devices_in_order_of_time(street: Street) -> None:
    rules = street.rules(f'[[rule]]\nname = "r"\non = {{ kind = "bin" }}\nwhen = "fill_level > 50.0"\n{ALARM}')
    one = [street.sample("bin-1", t, fill_level=v) for t, v in [(1, 60.0), (5, 1.0)]]
    two = [street.sample("bin-2", t, fill_level=v) for t, v in [(2, 60.0), (4, 1.0)]]
    effects = replay(street.engine(rules), [Columns.of(one), Columns.of(two)])
    assert [(e.device, e.time_us // S) for e in effects] == [("bin-1", 1), ("bin-2", 2), ("bin-2", 4), ("bin-1", 5)]


def test_replay_takes_what_a_device_had_buffered_as_late(street: Street) -> None:
    rules = street.rules(f'[[rule]]\nname = "r"\non = {{ kind = "bin" }}\nwhen = "fill_level > 50.0"\n{ALARM}')
    run = Replay(street.engine(rules))
    assert run.feed([street.sample("bin-1", 100_000, fill_level=1.0)]) == []
    assert run.feed([street.sample("bin-1", 101_000, fill_level=1.0)]) == []
    assert run.feed([street.sample("bin-1", 50_000, fill_level=99.0)]) == []
    assert run.end(200_000 * S) == []


@pytest.mark.parametrize("spread_s", [0, REORDER_US // S - 1])
def test_replay_holds_a_bounded_number_of_samples(street: Street, spread_s: int) -> None:
    rules = street.rules(f'[[rule]]\nname = "r"\non = {{ kind = "bin" }}\nwhen = "fill_level > 50.0"\n{ALARM}')
    run = Replay(street.engine(rules))
    sample = Sample("lamp-1", 0, CLOCK, {"passages": 1})
    many = [Sample("lamp-1", i % (spread_s + 1) * S, CLOCK, sample.values) for i in range(MAX_WAITING + 10)]
    run.feed(many)
    assert len(run._waiting) == MAX_WAITING


def test_the_rules_of_the_example_fit_the_shipped_profiles(street: Street) -> None:
    problems: list[Any] = []
    profiles = load_profiles([SHIPPED], problems)
    everything = Roster(
        devices=tuple(Device(id=f"{n}-1", kind=p.kind, profile=n) for n, p in profiles.items()),
        profiles={n: tuple(p.points.values()) for n, p in profiles.items()},
    )
    rules = load([Path(__file__).parents[4] / "examples/street/rules.toml"], everything, problems)
    assert not problems, "\n".join(map(str, problems))
    assert isinstance(rules, Rules)
    assert {"bin-overflow", "lamp-fault", "lamp-on-by-day", "phase-lost", "crosswalk-night", "device-silent"} <= {
        r.name for r in rules.rules
    }
    assert rules.suppressed_by("phase-lost", "lx-1-1") == ["lamp-fault", "device-silent"]
    assert rules.suppressed_by("phase-lost", "bn-1-1") == []
