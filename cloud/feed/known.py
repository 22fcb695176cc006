"""What is known of nodes, kept for the feed until it changes: the kinds of their devices, their clock fixes, and how
their rosters describe what they have named.

A record that changes any of it has the bit NEWS in its outline; whoever sees one says `forget`. What was asked before
that and comes after it is given to who has asked, and not kept.

Bounds: KEPT_DEVICES devices and one node more, those longest not asked for go first; so many again of descriptions,
which are kept only of nodes that somebody asks about by area or group; a number for each node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from cloud.feed.events import NodeKnown
from cloud.views.answers import DeviceSeen
from cloud.views.contract import ReadViews

KEPT_DEVICES: Final = 200_000

T = TypeVar("T")


class NodesKnown:
    """On the event loop."""

    def __init__(self, views: ReadViews) -> None:
        self._views = views
        self._all = 0
        self._news: dict[str, int] = {}
        self._nodes = _Kept(self._look, lambda known: len(known.kinds))
        self._described = _Kept(lambda node: views.described(node, None), len)

    async def of(self, node: str) -> NodeKnown:
        """What is known of a node."""
        return await self._nodes.get(node)

    async def described(self, node: str) -> Sequence[DeviceSeen]:
        """All that a node has named, as its roster describes it."""
        return await self._described.get(node)

    def version(self, node: str) -> tuple[int, int]:
        """Another one whenever what is known of a node may be another; for no node, of any."""
        return self._all, self._news.get(node, 0)

    def forget(self, node: str) -> None:
        """What is known of a node may be another; of all where none is named."""
        self._news[""] = self._news.get("", 0) + 1
        if node:
            self._news[node] = self._news.get(node, 0) + 1
        else:
            self._all += 1
        self._nodes.forget(node)
        self._described.forget(node)

    async def _look(self, node: str) -> NodeKnown:
        return NodeKnown(await self._views.kinds(node), await self._views.fixes(node))


class _Kept(Generic[T]):
    def __init__(self, look: Callable[[str], Awaitable[T]], size: Callable[[T], int]) -> None:
        self._look, self._size_of = look, size
        self._found: OrderedDict[str, T] = OrderedDict()
        self._size = 0
        self._news = 0

    async def get(self, node: str) -> T:
        if (found := self._found.get(node)) is not None:
            self._found.move_to_end(node)
            return found
        news = self._news
        found = await self._look(node)
        if news == self._news and node not in self._found:
            self._found[node] = found
            self._size += 1 + self._size_of(found)
            while self._size > KEPT_DEVICES and len(self._found) > 1:
                self._drop(next(iter(self._found)))
        return found

    def forget(self, node: str) -> None:
        self._news += 1
        if not node:
            self._found.clear()
            self._size = 0
        elif node in self._found:
            self._drop(node)

    def _drop(self, node: str) -> None:
        self._size -= 1 + self._size_of(self._found.pop(node))
