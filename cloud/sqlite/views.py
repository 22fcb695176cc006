"""The views in SQLite, as they are kept: what a batch or a snapshot changes in them.

Promises and bounds as `cloud.views.contract` has them; what they answer is in `cloud.sqlite.read_views`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cloud.log.batch_facts import BatchFacts
from cloud.log.notices import Finding
from cloud.sqlite.latest_table import LatestTable
from cloud.sqlite.read_views import SqliteReadViews
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import ViewBuilder
from cloud.sqlite.writer import Writer
from cloud.times import Now
from cloud.views.silence import LastHeard
from wire.batch import Batch, Snapshot
from wire.time import Utc


class SqliteViews(SqliteReadViews):
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(
        self,
        *,
        writer: Writer,
        readers: Readers,
        building: ViewBuilder,
        latest: LatestTable,
        heard: LastHeard,
        now: Now,
    ) -> None:
        super().__init__(readers=readers, latest=latest, heard=heard, now=now)
        self._writer = writer
        self._building = building

    async def apply(self, position: int, received_us: Utc, batch: Batch, facts: BatchFacts) -> Sequence[Finding]:
        """Take in a batch that the log holds already."""

        def work(connection: sqlite3.Connection) -> Sequence[Finding]:
            return self._building.apply(connection, position, received_us, batch, facts)

        def committed(_findings: Sequence[Finding]) -> None:
            self.applied(position, received_us, batch, facts)

        return await self._writer.do(work, committed)

    def applied(self, position: int, received_us: Utc, batch: Batch, facts: BatchFacts) -> None:
        """What of a batch is kept in memory. On the event loop, once it is durable."""
        self._heard.hear(batch.node, received_us, facts)
        self._latest.take(batch.node, position, received_us, batch)

    async def fresh(self, snapshot: Snapshot) -> None:
        """Take in a snapshot."""
        await self._latest.fresh(snapshot, self._writer, self._building, self._now())
        self._heard.hear(snapshot.node, self._now())
