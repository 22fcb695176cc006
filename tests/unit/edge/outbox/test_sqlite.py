"""The outbox on a card: what only it can get wrong. The contract itself is tested in tests/conformance."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from drivers.errors import NotStored
from edge.outbox.contract import Cut, PositionQuery
from edge.outbox.joiner import ROWS_APART
from support.cloud import SmallCloud
from support.examples import many
from support.outbox import box, columns, drain
from wire.batch import Lane

T = TypeVar("T")


async def test_what_was_accepted_is_there_after_opening_again(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(3))]})
        await drain(outbox, cloud)
        await outbox.append({Lane.BULK: [columns(range(3, 5))]})
    async with box(tmp_path) as outbox:
        assert (await outbox.depth()).pending[Lane.BULK] == 2, "the ack was written down on closing"
        assert outbox.card.last_known_us == 4
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [0, 1, 2, 3, 4]
    assert len({epoch for epoch, _ in cloud.numbers()}) == 1


async def test_a_card_that_refuses_everything_says_so_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with box(tmp_path) as outbox:
        await outbox.append({Lane.BULK: [columns(range(2))]})

        async def refuse(*_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patched:
            patched.setattr(outbox.card.runs, "save", refuse)
            with pytest.raises(NotStored, match="disk I/O error"):
                await outbox.append({Lane.BULK: [columns(range(2, 4))]})
        assert (await outbox.depth()).pending[Lane.BULK] == 2, "nothing of it is believed"
        await outbox.append({Lane.BULK: [columns(range(2, 4))]})
        cloud = SmallCloud()
        await drain(outbox, cloud)
    assert [n for _, n in cloud.numbers()] == [0, 1, 2, 3]


async def test_a_backlog_is_opened_in_a_process_that_does_not_hold_the_card(tmp_path: Path) -> None:
    cloud = SmallCloud()
    async with box(tmp_path) as outbox:
        await drain(outbox, cloud)
        for n in range(ROWS_APART + 5):
            await outbox.append({Lane.BULK: [columns(range(n, n + 1))]})
        cut = await outbox.cut(Lane.BULK, 1 << 20)
        assert isinstance(cut, Cut)
        pid = outbox.opener.pid
        assert pid is not None
        held = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any(name.startswith(str(tmp_path)) for name in held)
        await drain(outbox, cloud)
    assert not Path(f"/proc/{pid}").exists()
    assert [n for _, n in cloud.numbers()] == list(range(ROWS_APART + 5))


class OutboxMachine(RuleBasedStateMachine):
    """The outbox against a plain list: whatever happens, the cloud ends with the list, in order, once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvloop.new_event_loop()
        self.accepted: list[int] = []
        self.kept: dict[str, bytes] = {}
        self.cloud = SmallCloud()
        self.epochs = itertools.count(1)
        self.late: list[Any] = []

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(what)

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="outbox"))
        self.open()

    def open(self) -> None:
        self.outbox = box(self.path, epoch=lambda: next(self.epochs))
        self.do(self.outbox.__aenter__())

    @rule(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def append(self, sizes: list[int]) -> None:
        entries = []
        for size in sizes:
            first = len(self.accepted)
            self.accepted.extend(range(first, first + size))
            entries.append(columns(range(first, first + size)))
        self.do(self.outbox.append({Lane.BULK: entries}))

    @rule(changes=st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=3), min_size=1))
    def keep(self, changes: dict[str, bytes | None]) -> None:
        """State that goes with an entry."""
        first = len(self.accepted)
        self.accepted.append(first)
        self.do(self.outbox.append({Lane.BULK: [columns([first])]}, (), changes))
        for key, value in changes.items():
            self.kept.pop(key, None)
            if value is not None:
                self.kept[key] = value

    @invariant()
    def what_is_kept_is_known_again(self) -> None:
        if hasattr(self, "outbox"):
            assert self.do(self.outbox.kept("")) == self.kept

    @rule(limit=st.sampled_from([1, 200, 1 << 20]), heard=st.booleans(), later=st.booleans())
    def push(self, limit: int, heard: bool, later: bool) -> None:
        """A batch goes up; its answer may be lost, or be heard late."""
        found = self.do(self.outbox.cut(Lane.BULK, limit))
        if found is None:
            return
        ack = (
            self.cloud.ack(found.epoch, Lane.BULK) if isinstance(found, PositionQuery) else self.cloud.take(found.batch)
        )
        if later:
            self.late.append(ack)
        elif heard:
            assert not self.do(self.outbox.confirm(ack)), "no fork without a disaster"

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 100))
    def hear_late(self, which: int) -> None:
        """An old answer: it may move the outbox back, never lose or double anything."""
        assert not self.do(self.outbox.confirm(self.late.pop(which % len(self.late))))

    @rule()
    def close_and_open(self) -> None:
        self.do(self.outbox.__aexit__())
        self.open()

    @rule()
    def crash(self) -> None:
        """The process dies: what counts is what lies on the card now."""
        for name in ("outbox.db", "outbox.db-wal"):
            if (self.path / name).exists():
                shutil.copy(self.path / name, self.path / f"{name}.copy")
        self.do(self.outbox.__aexit__())
        for name in ("outbox.db", "outbox.db-wal", "outbox.db-shm"):
            (self.path / name).unlink(missing_ok=True)
        for name in ("outbox.db", "outbox.db-wal"):
            if (self.path / f"{name}.copy").exists():
                (self.path / f"{name}.copy").rename(self.path / name)
        self.open()

    @rule()
    def restore_nothing(self) -> None:
        """The cloud's store is restored from a backup that is as new as itself: only the generation changes."""
        self.cloud.generation += 1
        self.late.clear()

    @invariant()
    def nothing_is_ever_doubled(self) -> None:
        numbers = [n for _, n in self.cloud.numbers()]
        assert numbers == self.accepted[: len(numbers)]

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        self.do(drain(self.outbox, self.cloud))
        assert [n for _, n in self.cloud.numbers()] == self.accepted
        assert len({epoch for epoch, _ in self.cloud.numbers()}) <= 1
        self.do(self.outbox.__aexit__())
        self.loop.close()
        shutil.rmtree(self.path)


OutboxMachine.TestCase.settings = settings(max_examples=many(25), stateful_step_count=30, deadline=None)
OutboxMachine.TestCase.pytestmark = pytest.mark.slow
TestOutboxMachine = OutboxMachine.TestCase
