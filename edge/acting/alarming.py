"""Alarming: the alarm book at work. What it reports goes up urgently, and is kept in the same commit as its report.

A sample's alarms go into the commit that the sample goes into: call right after it was added. Bounds: the book's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from drivers.contract import Now
from edge.alarms.acts import Refusal
from edge.alarms.book import AlarmBook
from edge.alarms.causes import Suppression
from edge.alarms.raised import Raised
from edge.control.order_contract import Declined
from wire.entries import Alarm, ClockFix, Entry
from wire.orders import AlarmAct
from wire.sample import Value
from wire.time import Utc

log = logging.getLogger(__name__)

PREFIX: Final = "alarm/"

Kept = Mapping[str, bytes | None]
Suppresses = Callable[[str, str], tuple[Suppression, ...]]


class Put(Protocol):
    """Put urgent entries and state into the next commit."""

    def __call__(self, *entries: Entry, kept: Kept) -> object:
        """Never blocks."""
        ...


class Alarming:
    """The node's alarms."""

    def __init__(
        self,
        *,
        node: str,
        kept: Mapping[str, bytes],
        suppresses: Suppresses,
        draw_id: Callable[[], str],
        now: Now,
        put: Put,
    ) -> None:
        self._now, self._put = now, put
        alarms, unreadable = _read(kept)
        self._book = AlarmBook(node=node, draw_id=draw_id, kept=alarms, suppresses=suppresses)
        if unreadable:
            put(kept=dict.fromkeys(unreadable))

    def raise_(self, raised: Raised) -> None:
        """A condition holds."""
        self._tell(self._book.raise_(raised, self._boot()))

    def returned(self, device: str, rule: str, values: Mapping[str, Value], time_us: Utc) -> None:
        """A condition holds no more."""
        self._tell(self._book.returned(device, rule, values, time_us, self._boot()))

    def act(self, act: AlarmAct) -> tuple[list[Alarm], Kept]:
        """What an operator does with an alarm: what to report and keep, which the caller does.

        Raises:
            Declined.
        """
        try:
            alarms = self._book.act(act, self._now()[0], self._boot())
        except Refusal as refusal:
            raise Declined(str(refusal)) from refusal
        return alarms, _kept(alarms)

    def advance(self) -> None:
        """What time alone changes."""
        self._tell(self._book.advance(self._now()[0], self._boot()))

    def due_us(self) -> Utc | None:
        """When `advance` has something to do next, in UTC microseconds."""
        return self._book.due_us()

    def forget(self, gone: Callable[[str, str], bool]) -> None:
        """Devices and rules that are no more: their alarms return."""
        self._tell(self._book.forget(gone, self._now()[0], self._boot()))

    def corrected(self, fix: ClockFix) -> None:
        """True time has become known: deadlines keep their length. Nothing is reported again, but it is kept anew."""
        self._book.shift(fix.offset_us, fix.boot)
        if standing := self._book.standing():
            self._put(kept=_kept(standing))

    def tell_again(self) -> None:
        """Say all that stand once more, as they are: in a new run, whose reader takes them for lost otherwise."""
        if standing := self._book.standing():
            self._put(*standing, kept={})

    def standing(self) -> Sequence[Alarm]:
        """All that are not cleared."""
        return self._book.standing()

    def _boot(self) -> int | None:
        clock = self._now()[1]
        return None if clock.synced else clock.boot

    def _tell(self, alarms: Iterable[Alarm]) -> None:
        told = list(alarms)
        for alarm in told:
            log.info("alarm %s on %s: %s (%s) %s", alarm.rule, alarm.device, alarm.state, alarm.severity, alarm.detail)
        if told:
            self._put(*told, kept=_kept(told))


def kept_alarms(kept: Mapping[str, bytes]) -> list[Alarm]:
    """Those on a card, oldest first."""
    return _read(kept)[0]


def _read(kept: Mapping[str, bytes]) -> tuple[list[Alarm], list[str]]:
    """The alarms, oldest first, and the keys of what is none: a node that would not start for it helps nobody."""
    alarms: list[Alarm] = []
    unreadable: list[str] = []
    for key, body in kept.items():
        try:
            alarms.append(msgspec.msgpack.decode(body, type=Alarm))
        except msgspec.DecodeError as error:
            log.error("%s was kept and cannot be read: %s", key, error)  # noqa: TRY400 - no bug of ours
            unreadable.append(key)
    return sorted(alarms, key=lambda a: a.raised_us), unreadable


def _kept(alarms: Iterable[Alarm]) -> Kept:
    return {PREFIX + a.id: None if a.state == "cleared" else msgspec.msgpack.encode(a) for a in alarms}
