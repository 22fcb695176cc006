"""Rows opened in a process of its own: the same answer, whatever becomes of that process."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.outbox import joiner as opener_module
from edge.outbox.joiner import ROWS_APART, Opener
from edge.outbox.joining import MAX_FRAME_BYTES, SealedRow, opened
from edge.outbox.sealing import seal
from wire import codec
from wire.batch import Batch, Lane
from wire.columns import Columns
from wire.contents import Placed
from wire.sample import Clock, Sample

CLOCK = Clock(1, synced=True)
PATIENCE_S = 30.0


def rows(count: int) -> list[SealedRow]:
    found: list[SealedRow] = []
    for n in range(count):
        samples = [Sample(f"lamp-{d}", 5_000_000 * n, CLOCK, {"level": d + n / 10, "on": n % 7 > 0}) for d in range(3)]
        (sealed,) = seal(samples)
        found.append(SealedRow(3 * n + 1, 3 * n + 3, bytes(16), sealed.body))
    return found


def told(answer: tuple[Sequence[Any], int, str]) -> tuple[bytes, int, str]:
    """What would go into a body."""
    entries, taken, damage = answer
    return entries.plain if isinstance(entries, codec.Packed) else codec.encode_contents(entries), taken, damage


def shown(entries: Sequence[Placed]) -> list[Any]:
    return [(list(p.places), p.entry.samples()) for p in entries if isinstance(p.entry, Columns)]


def python(text: str) -> Opener:
    return Opener((sys.executable, "-c", f"import sys; source, sink = sys.stdin.buffer, sys.stdout.buffer; {text}"))


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not what():  # noqa: ASYNC110 - nothing tells when a process is gone
            await asyncio.sleep(0)


async def gone(pid: int) -> None:
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_the_same_answer_from_one_process() -> None:
    opener, backlog = Opener(), rows(ROWS_APART)
    try:
        first = await opener.open(0, backlog)
        pid = opener.pid
        assert pid is not None
        assert isinstance(first[0], codec.Packed)
        assert told(first) == told(opened(0, backlog))
        assert shown(first[0]) == shown(opened(0, backlog)[0])
        broken = [*backlog[:5], msgspec.structs.replace(backlog[5], body=b"no frame"), *backlog[6:]]
        second = await opener.open(0, broken)
        assert told(second) == told(opened(0, broken))
        assert second[1] == 5
        assert "zstd" in second[2]
        assert opener.pid == pid
    finally:
        await opener.close()
    assert opener.pid is None
    await gone(pid)


async def test_a_few_rows_start_no_process() -> None:
    opener, few = Opener(("/no/such/program",)), rows(ROWS_APART - 1)
    assert told(await opener.open(0, few)) == told(opened(0, few))
    assert opener.pid is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "sys.exit(1)",
        "source.read(4)",
        "source.read(4); sink.write(b'\\0')",
        f"source.read(4); sink.write(({MAX_FRAME_BYTES} + 1).to_bytes(4, 'big'))",
        "source.read(4); sink.write(b'\\0\\0\\0\\2' + b'no')",
        "source.read(4); sink.write(b'\\0\\0\\0\\1' + b'\\x93')",
    ],
)
async def test_a_process_that_fails_is_done_without(text: str, caplog: pytest.LogCaptureFixture) -> None:
    opener, backlog = python(text), rows(ROWS_APART)
    with caplog.at_level(logging.WARNING):
        assert told(await opener.open(0, backlog)) == told(opened(0, backlog))
        assert told(await opener.open(0, backlog)) == told(opened(0, backlog))
    told_of = [r for r in caplog.records if r.name.startswith("edge.")]  # asyncio may complain of the process, too
    assert len(told_of) == 1, "it is not tried again at once"
    assert opener.pid is None


async def test_a_process_that_cannot_be_started_is_done_without() -> None:
    opener, backlog = Opener(("/no/such/program",)), rows(ROWS_APART)
    assert told(await opener.open(0, backlog)) == told(opened(0, backlog))


async def test_a_process_that_does_not_answer_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opener_module, "ANSWER_S", 0.05)
    opener, backlog = python("source.read()"), rows(ROWS_APART)
    assert told(await opener.open(0, backlog)) == told(opened(0, backlog))
    assert opener.pid is None


async def test_who_is_cancelled_leaves_no_half_answer() -> None:
    opener, backlog = python("source.read()"), rows(ROWS_APART)
    task = asyncio.create_task(opener.open(0, backlog))
    await until(lambda: opener.pid is not None)
    pid = opener.pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opener.pid is None
    await gone(pid)


async def test_it_ends_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opener_module, "IDLE_S", 0)
    opener = Opener()
    await opener.open(0, rows(ROWS_APART))
    pid = opener.pid
    assert pid is not None
    await gone(pid)
    await opener.close()


def test_entries_go_into_a_body_as_they_are() -> None:
    contents = opened(0, rows(3))[0]
    batch = Batch(
        node="cab", epoch=1, lane=Lane.BULK, first_seq=1, through_seq=9, prev=bytes(16), digest=bytes(16), held_from=1,
        head_seq=9, entries=contents,
    )  # fmt: skip
    packed = codec.Packed(codec.encode_contents(contents))
    body = codec.encode_batch(msgspec.structs.replace(batch, entries=packed))
    assert body == codec.encode_batch(batch)
    assert shown(codec.decode_batch(body).entries) == shown(packed) == shown(contents)
    assert len(packed) == len(contents) == 3
    assert shown(packed[1:2]) == shown([packed[1]]) == shown([contents[1]])
