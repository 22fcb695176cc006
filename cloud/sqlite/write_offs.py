"""Write-offs in SQLite. Promises and bounds: `cloud.records.write_offs`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from cloud.log.notices import Finding
from cloud.problem import Problem, or_raise
from cloud.records.write_offs import end_is_known, no_run
from cloud.sqlite.interned import load_streams
from cloud.sqlite.writer import NoteIn, Writer
from cloud.times import text
from cloud.views.answers import WrittenOff
from cloud.views.runs import states_of
from wire.batch import Lane
from wire.time import Utc


class SqliteWriteOffs:
    """Owns no writer; `cloud.sqlite.store` does."""

    def __init__(self, writer: Writer, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        self._writer = writer
        self._note_in = note_in
        self._grow = grow

    async def write_off(self, node: str, lane: Lane, epoch: int, by: str, now_us: Utc, note: str) -> WrittenOff:
        """See `WriteOffStore.write_off`."""

        def work(connection: sqlite3.Connection) -> tuple[WrittenOff | Problem, int]:
            return _written_off(connection, self._note_in, (node, lane, epoch), (by, now_us, note))

        done, _ = await self._writer.do(work, lambda result: self._grow(result[1]))
        return or_raise(done)


def _written_off(
    connection: sqlite3.Connection, note_in: NoteIn, run: tuple[str, Lane, int], act: tuple[str, Utc, str]
) -> tuple[WrittenOff | Problem, int]:
    (node, lane, epoch), (by, now_us, note) = run, act
    streams = load_streams(connection, node)
    stream = next((s for s in streams if (s.lane, s.epoch) == (lane, epoch)), None)
    if stream is None:
        return no_run(node, lane, epoch), 0
    before = connection.execute(
        "SELECT by_whom, time_us, note FROM written_off WHERE stream_no = ?", (stream.order,)
    ).fetchone()
    if before is not None:
        return WrittenOff(by=before[0], time=text(before[1]), note=before[2]), 0
    state = states_of(streams)[stream.order]
    if state not in {"unfinished", "unknown"}:
        return end_is_known(state), 0
    connection.execute("INSERT INTO written_off VALUES (?, ?, ?, ?)", (stream.order, by, now_us, note))
    detail = {"epoch": epoch, "lane": lane.value, "by": by, "note": note}
    head = note_in(connection, [Finding(node=node, kind="written_off", time_us=now_us, detail=detail)])
    return WrittenOff(by=by, time=text(now_us), note=note), head
