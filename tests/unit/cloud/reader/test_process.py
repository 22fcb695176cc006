"""What goes on in a reader process beside its requests."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from cloud.reader.link import Link, LookedAt, Pause, Paused, Resume, looked_at
from cloud.reader.process import _Reader
from cloud.reader.processes import ReaderProcess
from cloud.sqlite.readers import Readers
from cloud.views.watching import Looked, Watching


async def test_queries_that_may_go_on_at_once_do_though_both_words_came_together(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    here, there = await Link.over(one), await Link.over(other)
    readers = Readers(tmp_path)
    store = cast("Any", SimpleNamespace(readers=readers))
    await here.send(Pause(1, 3_600.0))
    await here.send(Resume(1))
    hearing = asyncio.create_task(_Reader(store, there, Watching(), asyncio.Event()).hear())
    assert await here.receive() == Paused(1, ended=True)
    await readers._free.wait()  # for an hour, where the second word was lost
    here.close()
    await hearing
    there.close()
    await readers.close()


def test_what_no_node_is_called_is_not_told_on() -> None:
    looked = Looked(frozenset({"cab-1", "x" * 65, "a b", "é", ""}))
    assert looked_at(looked) == LookedAt(["cab-1"])


def test_who_takes_nothing_in_though_there_is_something_says_nothing() -> None:
    one = ReaderProcess(0, cast("Any", None), cast("Any", None))

    def counts(through: int, head: int) -> bool:
        one.heard_s = 0.0
        one.beat(through, head)
        return one.heard_s > 0

    assert counts(5, 9), "it has come further"
    assert not counts(5, 9)
    assert counts(9, 9)
    assert counts(9, 9), "there is nothing to take in"
    assert not counts(9, 10)
