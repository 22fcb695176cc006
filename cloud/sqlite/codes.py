"""Codes in SQLite. Promises and bounds: `cloud.records.codes`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from cloud.problem import Problem, or_raise
from cloud.records.codes import KEPT, CodeGiven, told
from cloud.records.keys import Answered, Keyed
from cloud.sqlite import keys
from cloud.sqlite.code_counters import CodeCounters
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from cloud.times import text
from wire.time import Utc


class SqliteCodes:
    """Owns the counters, but neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        note_in: NoteIn,
        grow: Callable[[int], None],
        counters: CodeCounters,
    ) -> None:
        self._writer, self._readers, self._note_in, self._grow = writer, readers, note_in, grow
        self._counters = counters

    async def answered(self, keyed: Keyed) -> CodeGiven | None:
        """See `CodeStore.answered`."""
        before = or_raise(await self._readers.ask(lambda connection: keys.answered(connection, keyed)))
        return None if before is None else _of(before)

    async def give(self, node: str, token: str, name: str, by: str, now_us: Utc, keyed: Keyed, used: int) -> CodeGiven:
        """See `CodeStore.give`."""
        above = max(used, await self._kept(token))
        counter = await asyncio.to_thread(self._counters.take, token, above)
        given = CodeGiven(node=node, token=token, counter=counter, for_=name, by=by, time=text(now_us), time_us=now_us)

        def work(connection: sqlite3.Connection) -> tuple[Answered | Problem | None, int]:
            before = keys.answered(connection, keyed)
            if before is not None:
                return before, 0
            connection.execute(
                "INSERT INTO codes (node, token, counter, body) VALUES (?, ?, ?, ?)",
                (node, token, counter, msgspec.json.encode(given)),
            )
            connection.execute(
                "DELETE FROM codes WHERE node = ?1 AND code_no <= (SELECT code_no FROM codes WHERE node = ?1"
                " ORDER BY code_no DESC LIMIT 1 OFFSET ?2)",
                (node, KEPT),
            )
            keys.keep(connection, keyed, Answered(201, msgspec.json.encode(given)), now_us)
            return None, self._note_in(connection, [told(given)])

        def committed(done: tuple[Answered | Problem | None, int]) -> None:
            if done[0] is None:
                self._grow(done[1])

        before, _ = await self._writer.do(work, committed)
        earlier = or_raise(before)
        return given if earlier is None else _of(earlier)

    async def given(self, node: str, before: int, limit: int) -> Sequence[tuple[int, CodeGiven]]:
        """See `CodeStore.given`."""

        def query(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            return connection.execute(
                "SELECT code_no, body FROM codes WHERE node = ? AND code_no < ? ORDER BY code_no DESC LIMIT ?",
                (node, before, limit),
            ).fetchall()

        return [(no, msgspec.json.decode(body, type=CodeGiven)) for no, body in await self._readers.ask(query)]

    async def highest(self, token: str) -> int:
        """See `CodeStore.highest`."""
        return max(await self._kept(token), await asyncio.to_thread(self._counters.highest, token))

    async def _kept(self, token: str) -> int:
        """The highest counter that the store has kept: `codes.db` may have been lost."""

        def query(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT ifnull(max(counter), 0) FROM codes WHERE token = ?", (token,)).fetchone()
            return int(row[0])

        return await self._readers.ask(query)


def _of(answer: Answered) -> CodeGiven:
    return msgspec.json.decode(answer.body, type=CodeGiven)
