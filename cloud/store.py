"""Store: what is kept, opened, with the aggregator's own alarms over it. One process at a time.

What keeps it is SQLite (`cloud.sqlite.store`). Opening settles the generation, loads what is held in memory and goes
over the log from where `latest` was last saved. Closing finishes what waits and saves.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cloud.alarms.keeper import Keeper
from cloud.alarms.own_alarms import StandingCondition
from cloud.crash import Crash, never
from cloud.sqlite import store as kept
from cloud.sqlite.store import Held, Progress, SqliteStore, nobody_else, rebuild, silent, untimed
from cloud.times import Now, utc_us
from groundwork.liveness import Part
from wire.time import Micros, Utc

__all__ = ["Held", "Progress", "Store", "nobody_else", "opened", "rebuild", "silent"]


class Store(SqliteStore, frozen=True):
    """An open store, and the aggregator's own alarms."""

    alarms: Keeper

    async def look(
        self,
        now_us: Utc,
        since_us: Utc,
        jumped_us: Micros = Micros(0),
        holding: Mapping[str, StandingCondition] | None = None,
    ) -> None:
        """Tell who has fallen silent and who is heard again, and let our own alarms follow.

        `jumped_us` is how far the clock was set since the last look, `holding` conditions that only others can see,
        None where they are not known now.
        """
        if jumped_us > 0:
            self.heard.clock_was_set(jumped_us, now_us)
        await self.note_silence(now_us, since_us)
        while await self.alarms.look(now_us, since_us, holding):
            pass


@asynccontextmanager
async def opened(
    directory: Path,
    now: Now = utc_us,
    crash: Crash = never,
    timed: Callable[[int, float], None] = untimed,
    progress: Progress = silent,
    alive: Part | None = None,
    history: Path | None = None,
) -> AsyncGenerator[Store]:
    """Open a store for the length of a block. `alive` is told what its writer does; folded hours lie in `history`.

    Raises:
        Misplaced: it is in use, or of another schema.
    """
    async with kept.opened(directory, now, crash, timed, progress, alive, history) as held:
        alarms = Keeper(alarms=held.own_alarms.stood, store=held.own_alarms, heard=held.heard)
        yield Store(alarms=alarms, **{field: getattr(held, field) for field in held.__struct_fields__})
