"""Outlines of the log, held page by page for all the feed's readers, and who is woken by what comes.

A reader asks for the next record of a rank that may hold something for it, and opens no other. While there is any
reader, what comes is looked at once: those are woken that may want it, and what a record changes about its node is
told first.

Bounds: PAGES pages of PAGE outlines, which were loaded last, and SAME different ones among them, kept once. The event
loop is free after each page.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

from cloud.api.routes import LOG
from cloud.feed.filter import Filter
from cloud.log.contract import ReadLog, Unavailable
from cloud.log.outline import RANK_AT, Outline, Rank

PAGE: Final = 1_024
PAGES: Final = 512
SAME: Final = 50_000
AGAIN_S: Final = 0.5


class Outlines:
    """On the event loop."""

    def __init__(self, log: ReadLog, came: Callable[[Outline | None], object]) -> None:
        """`came` is told of each record that comes while there are readers, before any of them is; None for those that
        came while there was none."""
        self._log = log
        self._came = came
        self._pages: OrderedDict[int, list[Outline]] = OrderedDict()
        self._same: dict[Outline, Outline] = {}
        self._loading = asyncio.Lock()
        self._waiting: dict[asyncio.Future[None], Callable[[Outline], bool]] = {}
        self._readers = 0
        self._looking: asyncio.Task[None] | None = None
        self._looked = 0

    @property
    def looked(self) -> int:
        """Up to here what came has been looked at, and `came` told of it: no reader goes further."""
        return self._looked

    async def find(self, wanted: Filter, rank: Rank, after: int, through: int) -> tuple[int, Outline] | None:
        """The first record of a rank beyond `after` and not beyond `through` that may hold something wanted.

        Raises:
            Unavailable: the store does not answer.
        """
        may, of_rank = wanted.may, int(rank)
        while after < through:
            number, at = divmod(after, PAGE)
            until = min(PAGE, through - number * PAGE)
            page = self._pages.get(number)
            if page is None or len(page) < until:
                page = await self._load(number, until)
            for place in range(at, until):
                outline = page[place]
                if outline.holds >> RANK_AT == of_rank and may(outline.node, outline.holds):
                    return number * PAGE + place + 1, outline
            after = number * PAGE + until
            if after < through:
                await asyncio.sleep(0)
        return None

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[None]:
        """There is a reader for the length of a block."""
        self._readers += 1
        if self._readers == 1:
            self._looked = self._log.reach().head
            self._came(None)
            self._looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self._readers -= 1
            looking = self._looking
            if not self._readers and looking is not None:
                looking.cancel()
                self._looking = None

    async def more(self, may: Callable[[Outline], bool], wait_s: float) -> None:
        """Wait until something has come that `may` be wanted, or `wake` is called, or so many seconds have passed."""
        coming = asyncio.get_running_loop().create_future()
        self._waiting[coming] = may
        try:
            async with asyncio.timeout(wait_s):
                await coming
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(coming, None)

    def wake(self) -> None:
        """Wake all who wait."""
        for coming in self._waiting:
            if not coming.done():
                coming.set_result(None)

    async def _look(self) -> None:
        while True:
            try:
                await self._log.grown(self._looked)
                head = self._log.reach().head
                while self._looked < head:
                    number, at = divmod(self._looked, PAGE)
                    until = min(PAGE, head - number * PAGE)
                    page = self._pages.get(number)
                    if page is None or len(page) < until:
                        page = await self._load(number, until)
                    came = page[at:until]
                    self._looked = number * PAGE + until
                    self._tell(came)
            except Unavailable as error:
                LOG.warning("what comes into the log could not be looked at for the feed, and will be: %s", error)
                await asyncio.sleep(AGAIN_S)

    def _tell(self, came: list[Outline]) -> None:
        for outline in came:
            self._came(outline)
        for coming, may in self._waiting.items():
            if not coming.done() and any(map(may, came)):
                coming.set_result(None)

    async def _load(self, number: int, until: int) -> list[Outline]:
        async with self._loading:
            page = self._pages.setdefault(number, [])
            self._pages.move_to_end(number)
            if len(page) < until:
                begin = number * PAGE
                came = await self._log.outlines(begin + len(page), begin + until)
                if len(self._same) > SAME:
                    self._same.clear()
                page.extend(self._same.setdefault(outline, outline) for outline in came)
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)
        return page
