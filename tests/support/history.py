"""Random readings of a meter and a lamp, on clocks that are sometimes wrong, and random questions about them."""

from __future__ import annotations

from hypothesis import strategies as st

from cloud.history.contract import HistoryAsked, HistoryFound
from cloud.views.contract import TargetsAsked
from support.cloud_batches import START_US
from wire.columns import Columns
from wire.device import Device, Point, Roster
from wire.entries import ClockFix
from wire.sample import Clock, Sample, Value

HOUR = 3_600_000_000
MINUTE = 60_000_000
ROSTER = Roster(
    devices=(
        Device(id="a", kind="meter", profile="m"),
        Device(id="b", kind="lamp", profile="l", period_s=120.0, heartbeats_s={"t": 1_800.0}),
    ),
    profiles={
        "m": (
            Point(name="e", type="int", counter=True, wraps_at=1_000, stale_after_s=600),
            Point(name="p", type="float", stale_after_s=7_200),
        ),
        "l": (Point(name="e", type="int", counter=True), Point(name="t", type="text", stale_after_s=90)),
    },
)

values: st.SearchStrategy[Value] = st.one_of(
    st.integers(0, 999),
    st.floats(-1e3, 1e3, allow_nan=False).map(lambda v: round(v, 2)),
    st.sampled_from([None, float("nan"), True]),
)


@st.composite
def samples(draw: st.DrawFn, device: str) -> Columns:
    synced = draw(st.booleans())
    clock = Clock(draw(st.integers(1, 2)), synced=synced)
    at = START_US - draw(st.integers(0, 30 * 60)) * MINUTE
    step = draw(st.sampled_from([1, 7_000_001, MINUTE, 17 * MINUTE, 3 * HOUR]))
    found: list[Sample] = []
    for i in range(draw(st.integers(1, 12))):
        given_: dict[str, Value] = {"e": draw(values), "p": draw(values)}
        if device == "b":
            given_ = {"e": draw(values), "t": draw(st.sampled_from(["on", "off"]))}
        for point in list(given_)[: draw(st.sampled_from([0, 0, 0, 1]))]:
            del given_[point]
        quality = {p: q for p in given_ if (q := draw(st.sampled_from(["", "", "", "bad:x", "uncertain:y"])))}
        found.append(Sample(device, at + i * step - draw(st.sampled_from([0, 0, 0, 2 * step])), clock, given_, quality))
    return Columns.of(found)


entries = st.lists(
    st.one_of(
        samples("a"),
        samples("b"),
        st.builds(
            ClockFix,
            boot=st.integers(1, 2),
            offset_us=st.integers(-20, 20).map(lambda n: n * 7 * MINUTE),
            error_us=st.just(1),
        ),
        st.sampled_from(["again", "roster"]),
    ),
    min_size=1,
    max_size=8,
)
asking = st.builds(
    HistoryAsked,
    which=st.sampled_from(
        [TargetsAsked(devices=("a", "b", "nobody")), TargetsAsked(kind="lamp"), TargetsAsked(node="cab-1")]
    ),
    points=st.sampled_from([("e",), ("e", "p", "t")]),
    every=st.sampled_from(["15m", "1h", "1d"]),
    zone=st.sampled_from(["UTC", "Europe/Paris", "Asia/Kolkata"]),
    from_us=st.integers(2, 30 * 60).map(lambda n: START_US - n * MINUTE),
    to_us=st.integers(-60, 1).map(lambda n: START_US - n * MINUTE),
)


async def told(found: HistoryFound) -> list[tuple[object, dict[str, list[object]], dict[int, str]]]:
    rows: list[tuple[object, dict[str, list[object]], dict[int, str]]] = []
    async for block in found.blocks:
        course = block.course
        for i, series in enumerate(block.series):
            of = {n: getattr(course, n)[i].tolist() for n in course.__struct_fields__ if n != "words"}
            rows.append((series, of, {b: w for (s, b), w in course.words.items() if s == i}))
    return rows
