"""Random samples and entries, as wild as the outbox may hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from wire.batch import Batch, Lane, Placed, Predecessor
from wire.columns import Columns
from wire.device import Device, Point, Roster
from wire.entries import Alarm, ClockFix, Decision, Decisions, Entry, Gap, Health, Mark, Result, Visit
from wire.sample import INT_MAX, INT_MIN, Clock, Sample, bad, uncertain

clocks = st.builds(Clock, st.integers(0, 2**63 - 1), st.booleans())
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.one_of(st.integers(-200, 200), st.integers(INT_MIN, INT_MAX))
decimals = st.builds(lambda n, d: n / 10**d, st.integers(-(10**6), 10**6), st.integers(0, 6))
floats = st.one_of(decimals, st.floats(), st.floats(width=32))
values = st.one_of(st.none(), st.booleans(), integers, floats, texts)
columns_of_values = st.sampled_from([st.booleans(), integers, floats, decimals, texts, st.none(), values]).flatmap(
    lambda kind: st.lists(kind, min_size=1, max_size=30)
)
qualities = st.sampled_from([bad("no answer"), uncertain("out of range"), bad("exception 2: illegal data address")])
times = st.one_of(
    st.integers(0, 2**41),
    st.integers(1_700_000_000, 1_900_000_000).map(lambda s: s * 1_000_000),
    st.integers(1_700_000_000_000, 1_900_000_000_000).map(lambda ms: ms * 1_000),
)
names = st.sampled_from(["a", "b", "dim_level", "é"])


@st.composite
def runs(draw: st.DrawFn) -> list[Sample]:
    """One or more samples of one device with one clock."""
    device, clock = draw(st.sampled_from(["lamp-001", "bin/7", "ü"])), draw(clocks)
    found: list[Sample] = []
    for _ in range(draw(st.integers(1, 12))):
        taken = draw(st.dictionaries(names, values, min_size=1))
        quality = draw(st.dictionaries(st.sampled_from(sorted(taken)), qualities))
        found.append(Sample(device, draw(times), clock, taken, quality))
    return found


others = st.one_of(
    st.builds(Gap, reason=texts, lost=st.integers(0, 1000), seqs=st.integers(1, 10**9), devices=st.just(("lamp-001",))),
    st.builds(ClockFix, boot=st.integers(0, 2**63 - 1), offset_us=st.integers(-(2**50), 2**50), error_us=st.just(5)),
    st.builds(Health, time_us=times, verdict=st.sampled_from(["ok", "degraded", "failed"]), reasons=st.just(("x",))),
    st.builds(
        Alarm,
        id=texts,
        device=texts,
        rule=texts,
        severity=st.just("high"),
        state=st.sampled_from(["raised", "shelved"]),
        raised_us=times,
        time_us=times,
        text=st.just({"en": "Lamp fault", "fr": "Défaut de lampe"}),
        values=st.dictionaries(names, values, max_size=2),
        active=st.booleans(),
        acknowledged=st.booleans(),
        until_us=st.none() | times,
        boot=st.none() | st.integers(0, 2**63 - 1),
    ),
    st.builds(
        Mark, device=texts, rule=texts, tag=texts, time_us=times, values=st.dictionaries(names, values, max_size=2)
    ),
    st.builds(
        Result,
        order=texts,
        stage=st.sampled_from(["accepted", "verified", "refused"]),
        time_us=times,
        device=texts,
        read_back=values,
        boot=st.none() | st.integers(0, 2**63 - 1),
    ),
    st.builds(
        Visit,
        visit=texts,
        by=texts,
        act=st.sampled_from(["began", "here", "acted", "left"]),
        time_us=times,
        until_us=st.none() | times,
        code=st.none() | st.integers(0, 2**63 - 1),
        device=texts,
        detail=texts,
        boot=st.none() | st.integers(0, 2**63 - 1),
    ),
    st.builds(
        Decisions,
        time_us=times,
        decided=st.lists(
            st.builds(
                Decision,
                point=texts,
                devices=st.lists(texts, max_size=3).map(tuple),
                level=st.sampled_from([None, "technician", "plan"]),
                value=values,
                by=texts,
                until_us=st.none() | times,
                blinks=st.booleans(),
            ),
            max_size=3,
        ).map(tuple),
        plan=texts,
        boot=st.none() | st.integers(0, 2**63 - 1),
    ),
    st.builds(
        lambda unit: Roster(
            devices=(Device(id="lamp-001", kind="streetlight", profile="lx-1", lon=5.041, lat=47.322, period_s=60.0),),
            profiles={"lx-1": (Point(name="dim_level", type="float", unit=unit, low=0.0, high=100.0, writable=True),)},
        ),
        st.sampled_from(["%", "W"]),
    ),
)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """A batch whose entries fill their places, with rows joined as the outbox joins them."""
    entries: list[Entry] = [Columns.of(draw(runs())) for _ in range(draw(st.integers(0, 4)))]
    entries += draw(st.lists(others, min_size=0 if entries else 1, max_size=3))
    placed: list[Placed] = []
    at = 0
    for entry in draw(st.permutations(entries)):
        width = entry.n if isinstance(entry, Columns) else entry.seqs if isinstance(entry, Gap) else 1
        placed.append(Placed(range(at, at + width), entry))
        at += width
    first = draw(st.integers(1, 2**40))
    digests = st.binary(min_size=16, max_size=16)
    before = st.builds(Predecessor, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), digests, st.booleans())
    return Batch(
        node=draw(st.sampled_from(["cab-1", "é"])),
        epoch=draw(st.integers(0, 2**63 - 1)),
        lane=draw(st.sampled_from(list(Lane))),
        first_seq=first,
        through_seq=first + at - 1,
        prev=draw(st.binary(min_size=16, max_size=16)),
        digest=draw(st.binary(min_size=16, max_size=16)),
        held_from=draw(st.integers(1, first)),
        head_seq=first + at - 1,
        entries=placed,
        predecessor=draw(st.just(msgspec.UNSET) | st.none() | before),
    )


def same(one: Sequence[Sample], other: Sequence[Sample]) -> bool:
    """Equality that knows NaN from NaN by text, and -0.0 from 0.0."""
    return [shown(s) for s in one] == [shown(s) for s in other]


def shown(sample: Sample) -> str:
    """A sample as text that is the same for the same sample, in whatever order its points stand."""
    values, quality = sorted(sample.values.items()), sorted(sample.quality.items())
    return repr((sample.device, sample.time_us, sample.clock, values, quality))
