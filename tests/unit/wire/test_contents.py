"""Contents: whatever rows are joined, each sample keeps the seq that its own row gave it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import many
from support.samples import names, others, qualities, shown, values
from wire import codec
from wire.columns import Cell, Columns
from wire.contents import Contents, Placed, join
from wire.entries import ClockFix, Entry, Gap
from wire.errors import Malformed
from wire.sample import Clock, Sample, Value
from wire.table import Table
from wire.vector import Runs, pack_ints

CLOCKS = [Clock(1, synced=True), Clock(1, synced=False), Clock(0, synced=False)]
DEVICES = ["lamp-001", "lamp-002", "bin/7", "ü", "Z"]
SHAPES: list[dict[str, Value]] = [{"a": 1, "b": 20.5}, {"b": 20.5, "a": 1}, {"a": True}, {"b": "x", "c": None}]

clocks = st.sampled_from(CLOCKS)
devices = st.sampled_from(DEVICES)
moments = st.integers(0, 2**41)


@st.composite
def regular(draw: st.DrawFn) -> Columns:
    """What a poller makes: the same points each time."""
    device, clock, shape = draw(devices), draw(clocks), draw(st.sampled_from(SHAPES))
    at, n = draw(moments), draw(st.integers(1, 4))
    return Columns.of([Sample(device, at + i, clock, shape) for i in range(n)])


@st.composite
def ragged(draw: st.DrawFn) -> Columns:
    """What comes from devices that speak when they like: points left out, and not all of them good."""
    device, clock = draw(devices), draw(clocks)
    samples: list[Sample] = []
    for _ in range(draw(st.integers(1, 5))):
        taken = draw(st.dictionaries(names, values, min_size=1))
        quality = draw(st.dictionaries(st.sampled_from(sorted(taken)), qualities, max_size=2))
        samples.append(Sample(device, draw(moments), clock, taken, quality))
    return Columns.of(samples)


entries = st.one_of(regular(), regular(), ragged(), others)
rows = st.lists(st.lists(entries, min_size=1, max_size=8), min_size=1, max_size=5)


def by_place(placed: Sequence[Placed], offset: int = 0) -> dict[int, str]:
    """What stands at each place."""
    found: dict[int, str] = {}

    def put(place: int, what: str) -> None:
        assert place + offset not in found
        found[place + offset] = what

    for item in placed:
        if isinstance(item.entry, Columns):
            for place, sample in zip(item.places, item.entry.samples(), strict=True):
                put(place, shown(sample))
        else:
            put(item.places[0], f"{len(item.places)} {item.entry!r}")
    return found


@pytest.mark.slow
@given(rows)
@settings(deadline=None, max_examples=many(150))
def test_every_sample_keeps_the_seq_that_its_own_row_gave_it(rows: list[list[Entry]]) -> None:
    opened: list[tuple[int, Contents]] = []
    expected: dict[int, str] = {}
    offset = 0
    for row in rows:
        contents = Contents.of(row)
        contents.fills(contents.width)
        back = codec.decode_row(codec.encode_row(contents))
        assert by_place(back) == by_place(contents)
        assert (len(back), back.width, back.samples, back.readings) == (
            len(contents), contents.width, contents.samples, contents.readings
        )  # fmt: skip
        opened.append((offset, back))
        expected |= by_place(contents, offset)
        offset += contents.width
    batch = join(opened)
    batch.fills(offset)
    assert by_place(batch) == expected
    sent = codec.decode_row(codec.encode_row(batch))
    sent.fills(offset)
    assert by_place(sent) == expected
    assert sorted(expected.values()) == sorted(
        what for row in rows for entry in row for what in by_place(Contents.placed(one(entry))).values()
    ), "nothing was lost and nothing made up"


@pytest.mark.slow
@given(rows)
@settings(deadline=None, max_examples=many(100))
def test_a_joined_batch_has_one_run_of_a_device_and_clock(rows: list[list[Entry]]) -> None:
    opened: list[tuple[int, Contents]] = []
    for row in rows:
        contents = Contents.of(row)
        opened.append((sum(c.width for _, c in opened), contents))
    found = [(p.entry.device, p.entry.clock) for p in join(opened) if isinstance(p.entry, Columns)]
    assert len(found) == len(set(found))


def one(entry: Entry) -> list[Placed]:
    width = entry.n if isinstance(entry, Columns) else entry.seqs if isinstance(entry, Gap) else 1
    return [Placed(range(width), entry)]


@given(st.lists(entries, min_size=1, max_size=8), st.data())
@settings(deadline=None, max_examples=many(100))
def test_entries_that_name_their_places_keep_them(found: list[Entry], data: st.DataObject) -> None:
    blocks: list[list[int]] = []
    at = 0
    for entry in found:
        width = len(one(entry)[0].places)
        blocks.append(list(range(at, at + width)) if isinstance(entry, Columns) else [at])
        at += width
    # The samples change places with each other, as those of several devices do.
    seats = [p for block, e in zip(blocks, found, strict=True) if isinstance(e, Columns) for p in block]
    mixed = iter(data.draw(st.permutations(seats)))
    placed = [
        Placed([next(mixed) for _ in block], e)
        if isinstance(e, Columns)
        else Placed(range(block[0], block[0] + len(one(e)[0].places)), e)
        for block, e in zip(blocks, found, strict=True)
    ]
    contents = Contents.placed(placed)
    contents.fills(at)
    assert by_place(contents) == by_place(placed)
    back = codec.decode_row(codec.encode_row(placed))
    back.fills(at)
    assert by_place(back) == by_place(placed)
    assert Contents.placed(back) is back


@given(
    st.lists(
        st.one_of(
            st.lists(st.integers(0, 12), min_size=1, max_size=4), st.builds(range, st.integers(0, 6), st.just(9))
        ),
        max_size=3,
    ),
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=3),
    st.booleans(),
    st.data(),
)
def test_whether_places_are_filled(
    seats: list[Sequence[int]], gaps: list[tuple[int, int]], seated: bool, data: st.DataObject
) -> None:
    tables = [table_at(places) for places in seats]
    others = [Placed(range(at, at + n), Gap(reason="x", lost=n, seqs=n)) for at, n in gaps]
    contents = Contents(tables, others, seated=seated)
    width = data.draw(st.sampled_from([contents.width, contents.width, contents.width + 1, max(0, contents.width - 1)]))
    taken = [place for gap in others for place in gap.places]
    if seated:
        taken += [place for places in seats for place in places]
        right = sorted(taken) == list(range(width))
    else:
        right = len(taken) == len(set(taken)) and max(taken, default=-1) < width == contents.width
    with contextlib.nullcontext() if width and right else pytest.raises(Malformed):
        contents.fills(width)


@given(st.data())
@settings(deadline=None)
def test_places_of_many_devices_that_fill(data: st.DataObject) -> None:
    width = data.draw(st.integers(2, 30))
    gap = data.draw(st.integers(1, width - 1))
    at = data.draw(st.integers(0, width - gap))
    mixed = data.draw(st.permutations([p for p in range(width) if not at <= p < at + gap]))
    others = [Placed(range(at, at + gap), Gap(reason="x", lost=gap, seqs=gap))]
    Contents([table_at(mixed)] if mixed else [], others, seated=True).fills(width)
    if mixed:
        wrong = data.draw(st.integers(0, width))
        with contextlib.nullcontext() if wrong == mixed[0] else pytest.raises(Malformed):
            Contents([table_at([wrong, *mixed[1:]])], others, seated=True).fills(width)


def table_at(places: Sequence[int]) -> Table:
    """Samples of one or two devices at these places."""
    counts = [len(places)] if isinstance(places, range) or len(places) < 2 else [1, len(places) - 1]
    runs = Runs(counts)
    order = pack_ints(list(places), runs)
    return Table(CLOCKS[0], DEVICES[: len(counts)], runs, order, 1, [0, 5], {"a": Cell([0, 1])})


def test_within_a_row_others_come_first_and_then_samples_by_device_and_clock() -> None:
    fix = ClockFix(boot=1, offset_us=0, error_us=0)
    early, late = CLOCKS[2], CLOCKS[0]
    row = Contents.of(
        [
            Columns.of([Sample("b", 1, late, {"n": 1}), Sample("b", 2, late, {"n": 2})]),
            Columns.of([Sample("b", 3, early, {"n": 3})]),
            Gap(reason="x", lost=2, seqs=2),
            Columns.of([Sample("a", 4, late, {"m": 4})]),
            fix,
            Columns.of([Sample("b", 5, late, {"m": 5})]),
        ]
    )
    times = {
        p: t
        for item in row
        if isinstance(item.entry, Columns)
        for p, t in zip(item.places, item.entry.times, strict=True)
    }
    assert [(list(o.places), o.entry) for o in row.others] == [
        ([0, 1], Gap(reason="x", lost=2, seqs=2)),
        ([2], fix),
    ]
    assert times == {3: 4, 4: 3, 5: 1, 6: 2, 7: 5}


def test_what_is_not_sealed_by_a_node_is_not_joined() -> None:
    columns = Columns.of([Sample("a", 1, CLOCKS[0], {"n": 1}), Sample("a", 2, CLOCKS[0], {"n": 2})])
    row = Contents.of([columns])
    joined = join([(0, row), (2, row)])
    seated = Contents.placed([Placed([1, 0], columns)])
    for wrong in (joined, seated):
        with pytest.raises(Malformed, match="commit"):
            join([(0, row), (2, wrong)])


def test_one_row_is_what_it_was() -> None:
    row = Contents.of([Columns.of([Sample("a", 1, CLOCKS[0], {"n": 1})])])
    assert join([(0, row)]) is row
    assert row[0].places[0] == 0
    assert list(row[0].places[:1]) == [0]


def test_columns_that_were_cut_can_be_sealed() -> None:
    """Where a point was left out of all that remains, it is left out of the columns."""
    columns = Columns.of([Sample("a", i, CLOCKS[0], {"n": i, **({"rare": 1} if i == 5 else {})}) for i in range(6)])
    row = codec.decode_row(codec.encode_row(Contents.of([columns.cut(0, 3)])))
    assert [t.points for t in row.tables] == [("n",)]
    assert [c.entry.samples() for c in row if isinstance(c.entry, Columns)] == [columns.samples()[:3]]
