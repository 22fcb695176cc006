"""Whatever is taken meanwhile, wherever a reader resumes: it has everything, and nothing twice unless it goes back."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cloud.feed.progress import Progress
from cloud.log import cursor as cursors
from cloud.log.contract import Reach
from cloud.log.cursor import Cursor, Origins, RankPlace, Start
from cloud.log.outline import Rank

GENERATION = 50
ORIGINS = Origins(GENERATION, 40, 0)

Piece = tuple[int, int]  # position, offset


class Reader(RuleBasedStateMachine):
    """One reader of a log that grows. Each record has a rank and some events, which go out some at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[Rank, int]] = []
        self.floor = 0
        self.had: dict[Piece, int] = {}
        self.ids: list[tuple[str, dict[Piece, int]]] = []
        self.missed = 0  # what was at and below it may never have come
        self.demoted: set[int] = set()
        self.progress = Progress(Start(0))

    def next(self) -> tuple[Rank, int] | None:
        for rank in Rank:
            through = self.progress.bound(rank, len(self.records))
            for position in range(self.progress.at(rank).after + 1, through + 1):
                if self.records[position - 1][0] is rank:
                    self.progress.passed(rank, position - 1)
                    return rank, position
            self.progress.passed(rank, through)
        return None

    @rule(rank=st.sampled_from(Rank), events=st.integers(0, 3))
    def append(self, rank: Rank, events: int) -> None:
        self.records.append((rank, events))

    @rule(size=st.integers(1, 3))
    def read(self, size: int) -> None:
        found = self.next()
        if found is None:
            return
        rank, position = found
        ahead = [p for p, (r, _) in enumerate(self.records, 1) if r < rank and p > self.missed]
        assert all((p, o) in self.had for p in ahead for o in range(self.records[p - 1][1])), "what goes ahead waits"
        events = self.records[position - 1][1]
        start = self.progress.at(rank).skip
        until = min(events, start + size)
        last = events - 1 if until == events else None
        name = self.progress.ids(GENERATION, rank, position, last)
        for offset in range(start, until):
            piece = (position, offset)
            self.had[piece] = self.had.get(piece, 0) + 1
            self.ids.append((name(offset), dict(self.had)))
            then = Progress(Start(0))
            then._places = list(self.progress.state)
            then.sent(rank, position, None if offset == last else offset)
            assert name(offset) == str(then.cursor(GENERATION))
        self.progress.sent(rank, position, None if until == events else until - 1)

    def resume(self, text: str) -> None:
        start = cursors.start(cursors.parse(text), ORIGINS, Reach(self.floor, len(self.records)))
        if start.reset is not None:
            self.missed = max(self.missed, self.floor)
        self.progress = Progress(start)

    @precondition(lambda self: self.ids)
    @rule(data=st.data())
    def resume_at_an_event(self, data: Any) -> None:
        """All that came after it is given up: it comes again."""
        text, had = self.ids[data.draw(st.integers(0, len(self.ids) - 1))]
        self.had = dict(had)
        self.resume(text)

    @rule()
    def resume_where_it_is(self) -> None:
        text = str(self.progress.cursor(GENERATION))
        assert str(cursors.parse(text)) == text
        self.resume(text)

    @rule()
    def another_begins_to_count_lower(self) -> None:
        """A record that was live counts as late from now on: it may come again, and is not lost."""
        live = [p for p, (rank, _) in enumerate(self.records, 1) if rank is Rank.LIVE and p not in self.demoted]
        if live:
            self.records[live[-1] - 1] = (Rank.LATE, self.records[live[-1] - 1][1])
            self.demoted.add(live[-1])
            self.ids.clear()  # what was read before is looked at as things were then

    @property
    def reach(self) -> Reach:
        return Reach(self.floor, len(self.records))

    @precondition(lambda self: len(self.records) > self.floor + 1)
    @rule()
    def compact(self) -> None:
        self.floor += 1
        if self.progress.last < self.floor:
            self.progress.rise(self.floor)
            self.missed = self.floor

    @invariant()
    def ranks_never_overtake(self) -> None:
        urgent, live, late = self.progress.state
        assert late.after <= live.after <= urgent.after

    def teardown(self) -> None:
        for _ in range(1_000):
            if self.next() is None:
                break
            self.read(3)
        wanted = {(p, o) for p, (_, n) in enumerate(self.records, 1) if p > self.missed for o in range(n)}
        assert wanted <= self.had.keys(), "something never came"
        twice = {p for p, o in wanted if self.had[p, o] > 1}
        assert twice <= self.demoted, "something came twice to who did not go back"
        assert str(self.progress.cursor(GENERATION)) == f"{GENERATION}.{len(self.records)}", "all ranks meet at the end"


Reader.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestReader = Reader.TestCase


def test_who_was_at_a_place_of_before_goes_on_there() -> None:
    progress = Progress(cursors.start(cursors.parse("50.9.3"), ORIGINS, Reach(0, 20)))
    assert progress.state == (RankPlace(8, 4),) * 3
    assert str(progress.cursor(GENERATION)) == "50.9.3"
    progress.passed(Rank.URGENT, 20)
    progress.sent(Rank.LIVE, 9, None)
    progress.passed(Rank.LIVE, 20)
    progress.passed(Rank.LATE, 20)
    assert progress.cursor(GENERATION) == Cursor(GENERATION, 20)
