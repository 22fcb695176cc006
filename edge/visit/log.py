"""Log: who is at the cabinet and what they did, by the node's own clock, told urgently (`wire.entries.Visit`).

A visit begins with a code and has exactly one end: its technician says so, comes again, or the time is over until when
they said, or their session would last. A visit that stands lies on the card, under PREFIX, from the commit that tells
of its beginning to the one that tells of its end: a node that starts again ends those whose technician has not said
until when they are there, and keeps the others.

Bounds: MAX_VISITS stand, and the oldest ends for a new one; a visit has MAX_ACTS, for whoever does more is a program,
and the city keeps a bounded number; MAX_HERE_S ahead may be said; the last MAX_SAID are shown.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from drivers.contract import Now
from wire.codes import spelled
from wire.entries import Entry, Visit, VisitAct
from wire.time import Utc, micros

log = logging.getLogger(__name__)

PREFIX: Final = "visit/open/"
MAX_VISITS: Final = 16
MAX_ACTS: Final = 500
MAX_SAID: Final = 200
MIN_HERE_S: Final = 60.0
MAX_HERE_S: Final = 12 * 3_600.0

RESTARTED: Final = "the node has started again"
AGAIN: Final = "came again"
OVER: Final = "the time is over"
LOGGED_OUT: Final = "logged out"
MORE: Final = "more visits stand than are kept"

Kept = Mapping[str, bytes | None]


class PutVisit(Protocol):
    """Put urgent entries and state into the next commit (`edge.outbox.group_commit`)."""

    def __call__(self, *entries: Entry, kept: Kept) -> object:
        """Never blocks."""
        ...


class OpenVisit(msgspec.Struct, kw_only=True):
    """A visit that has not ended. `until_us` is by the node's clock, `ends_s` the same on the monotonic clock; `here`:
    they have said until when. `acts` is how much was done or said."""

    visit: str
    by: str
    until_us: Utc
    ends_s: float
    here: bool = False
    acts: int = 0


class _Kept(msgspec.Struct, kw_only=True):
    visit: str
    by: str
    until_us: Utc
    here: bool


class VisitLog:
    """Of one node. On the event loop."""

    def __init__(
        self,
        *,
        kept: Mapping[str, bytes],
        now: Now,
        monotonic: Callable[[], float],
        put: PutVisit,
        draw_id: Callable[[], str],
        before: VisitLog | None = None,
    ) -> None:
        """Visits that stood `before`, in this process, go on."""
        self._now, self._monotonic, self._put, self._draw_id = now, monotonic, put, draw_id
        self._standing: dict[str, OpenVisit] = {}  # oldest first
        self.said: deque[Visit] = deque(() if before is None else before.said, maxlen=MAX_SAID)
        self._restore(
            {k: v for k, v in kept.items() if k.startswith(PREFIX)}, () if before is None else before.standing
        )

    @property
    def standing(self) -> list[OpenVisit]:
        """The visits that have not ended, oldest first."""
        return list(self._standing.values())

    def stands(self, visit: str) -> bool:
        """Whether a visit has not ended."""
        return visit in self._standing

    def begin(self, by: str, code: int, lasts_s: float) -> tuple[str, list[Visit], Kept]:
        """A visit begins with the code of this counter and lasts so long unless more is said. Its id, and what is to be
        told and kept, which the caller does in one commit."""
        for one in [s for s in self.standing if spelled(s.by) == spelled(by)]:
            self.leave(one.visit, AGAIN)
        while len(self._standing) >= MAX_VISITS:
            self.leave(next(iter(self._standing)), MORE)
        visit = self._draw_id()
        one = OpenVisit(visit=visit, by=by, until_us=self._ends_us(lasts_s), ends_s=self._monotonic() + lasts_s)
        self._standing[visit] = one
        began = self._visit(one, "began", until_us=one.until_us, code=code)
        self.said.append(began)
        return visit, [began], self._keep(one)

    def may_act(self, visit: str) -> bool:
        """Whether more may be done in a visit."""
        return visit in self._standing and self._standing[visit].acts < MAX_ACTS

    def here(self, visit: str, for_s: float) -> None:
        """They are there for so many seconds from now."""
        one = self._standing.get(visit)
        if one is None:
            return
        one.acts += 1
        one.until_us, one.ends_s, one.here = self._ends_us(for_s), self._monotonic() + for_s, True
        self._tell(self._visit(one, "here", until_us=one.until_us), self._keep(one))

    def acted(self, visit: str, detail: str, *, device: str = "", order: str = "") -> None:
        """They have done something."""
        if (one := self._standing.get(visit)) is not None:
            one.acts += 1
            self._tell(self._visit(one, "acted", detail=detail[:2_000], device=device, order=order), {})

    def leave(self, visit: str, why: str) -> None:
        """It is over."""
        if (one := self._standing.pop(visit, None)) is not None:
            self._tell(self._visit(one, "left", detail=why), {PREFIX + visit: None})

    def advance(self) -> None:
        """What time alone ends."""
        now_s = self._monotonic()
        for one in [s for s in self.standing if s.ends_s <= now_s]:
            self.leave(one.visit, OVER)

    def _restore(self, kept: Mapping[str, bytes], before: Iterable[OpenVisit]) -> None:
        stood = {one.visit: one for one in before}
        now_us, now_s = self._now()[0], self._monotonic()
        for key, body in sorted(kept.items()):
            try:
                was = msgspec.msgpack.decode(body, type=_Kept)
            except msgspec.DecodeError as error:
                log.error("%s was kept and cannot be read: %s", key, error)  # noqa: TRY400 - no bug of ours
                self._put(kept={key: None})
                continue
            # However far off the clock was or is: nobody is there for longer than could have been said.
            left_s = min((was.until_us - now_us) / 1e6, MAX_HERE_S)
            one = OpenVisit(visit=was.visit, by=was.by, until_us=was.until_us, ends_s=now_s + left_s, here=was.here)
            self._standing[one.visit] = one = stood.get(one.visit, one)
            if one.visit in stood:
                continue
            if not was.here or left_s <= 0:
                self.leave(one.visit, RESTARTED)

    def _tell(self, visit: Visit, kept: Kept) -> None:
        log.info("visit %s of %s: %s %s %s", visit.visit, visit.by, visit.act, visit.device, visit.detail)
        self.said.append(visit)
        self._put(visit, kept=kept)

    def _ends_us(self, in_s: float) -> Utc:
        return self._now()[0] + micros(in_s)

    def _visit(self, one: OpenVisit, act: VisitAct, **more: Any) -> Visit:
        now_us, clock = self._now()
        boot = None if clock.synced else clock.boot
        return Visit(visit=one.visit, by=one.by, act=act, time_us=now_us, boot=boot, **more)

    @staticmethod
    def _keep(one: OpenVisit) -> Kept:
        kept = _Kept(visit=one.visit, by=one.by, until_us=one.until_us, here=one.here)
        return {PREFIX + one.visit: msgspec.msgpack.encode(kept)}
