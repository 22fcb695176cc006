"""Telling: what wins in the priority arrays goes up when it changes (`wire.entries.Decisions`). Pure.

All that has changed since the last look is one table: at dusk a hundred lamps that their plan takes up are one entry.
Entries are spared: BURST can be told at once, then one each EVERY_S; what changes more often is told as it is when its
turn has come, and what is by then as it was told last is not told at all. All writable points are told at a start, when
the card is another one, and each WHOLE_S: so an aggregator that could not read it before, or has lost it, knows it
again.

Bounds: one look costs a step for each point that was touched since the last; an entry says something of at most
AN_ENTRY points, and all that are told at once go into one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from drivers.contract import Now
from edge.control.arrays import Key, PriorityArrays
from wire.entries import Decision, Decisions, Entry, Level
from wire.sample import Value
from wire.time import Utc

BURST: Final = 10
EVERY_S: Final = 60.0
WHOLE_S: Final = 6 * 3_600.0
AN_ENTRY: Final = 2_000


class _Wins(msgspec.Struct, frozen=True, gc=False):
    """What wins, as it is told."""

    level: Level | None
    value: Value
    by: str
    order: str
    until_us: Utc | None
    blinks: bool


class Telling:
    """One for a node."""

    def __init__(
        self,
        control: PriorityArrays,
        *,
        now: Now,
        monotonic: Callable[[], float],
        put: Callable[[*tuple[Entry, ...]], object],
        in_force: Callable[[], tuple[str, str]],
    ) -> None:
        """`in_force` names the plan and the rules that the node lives by; `monotonic` is in seconds."""
        self._control, self._now, self._monotonic, self._put = control, now, monotonic, put
        self._in_force = in_force
        self._told: dict[Key, _Wins] = {}
        self._told_in_force: tuple[str, str] | None = None
        self._waiting: set[Key] = set()
        self._left, self._since_s = float(BURST), monotonic()
        self._whole_s = self._since_s  # when all is told next
        self._held_back = False

    def again(self) -> None:
        """Nothing counts as told any more."""
        self._told.clear()
        self._told_in_force = None
        self._waiting.update(self._control.points)

    def due_s(self) -> float:
        """Seconds until `look` has something to do though nothing changes."""
        due_s = self._whole_s - self._monotonic()
        if self._held_back:
            due_s = min(due_s, (1 - self._left) * EVERY_S - (self._monotonic() - self._since_s))
        return max(0.0, due_s)

    def look(self) -> None:
        """Tell what has changed."""
        now_s = self._monotonic()
        if now_s >= self._whole_s:
            self._whole_s = now_s + WHOLE_S
            self.again()
        self._waiting |= self._control.touched()
        in_force = self._in_force()
        if not self._waiting and in_force == self._told_in_force:
            return
        wins = {key: _wins(self._control, key) for key in self._waiting}
        changed = {key: found for key, found in wins.items() if self._told.get(key) != found}
        self._held_back = False
        if not changed and in_force == self._told_in_force:
            self._waiting.clear()
            return
        self._left, self._since_s = min(BURST, self._left + (now_s - self._since_s) / EVERY_S), now_s
        if self._left < 1:
            self._held_back = True
            return
        self._left -= 1
        self._put(*self._entries(changed, *in_force))
        self._waiting.clear()
        self._told |= changed
        self._told_in_force = in_force

    def _entries(self, changed: dict[Key, _Wins], plan: str, rules: str) -> Iterator[Decisions]:
        time_us, clock = self._now()
        boot = None if clock.synced else clock.boot
        keys = sorted(changed)
        for first in range(0, max(1, len(keys)), AN_ENTRY):
            decided = tuple(_decisions((key, changed[key]) for key in keys[first : first + AN_ENTRY]))
            yield Decisions(time_us=time_us, decided=decided, plan=plan, rules=rules, boot=boot)


def _wins(control: PriorityArrays, key: Key) -> _Wins:
    top = control.top(key)
    if top is None:
        return _Wins(None, None, "", "", None, False)
    level, held = top
    return _Wins(level, None if held.blinks else held.value, held.by, held.order, held.until_us, held.blinks)


def _decisions(changed: Iterable[tuple[Key, _Wins]]) -> Iterator[Decision]:
    """A row for all devices of which the same is told."""
    alike: dict[tuple[str, type, _Wins], list[str]] = {}
    for (device, point), found in changed:
        alike.setdefault((point, type(found.value), found), []).append(device)
    for (point, _, found), devices in alike.items():
        yield Decision(point=point, devices=tuple(devices), **msgspec.structs.asdict(found))
