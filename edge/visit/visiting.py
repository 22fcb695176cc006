"""Visiting: a technician comes with a code and goes again. Puts codes, guesses, sessions and the log together.

A code is used, and its visit told, in one commit; the session is granted once that is on the card. Where the card
takes longer than CARD_S there is no session yet: the same code, given again by the same name from the same address,
gets it then. Where the node ends in between, the code is used and its visit has begun, and ends when the node starts
again.

Bounds: those of its parts; time is looked at every LOOK_S.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future
from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from drivers.contract import Now
from edge.visit.codes import Codes
from edge.visit.guesses import Guesses, TooSoon
from edge.visit.log import LOGGED_OUT, MAX_HERE_S, MIN_HERE_S, Kept, PutVisit, VisitLog
from edge.visit.sessions import LASTS_S, Sessions, VisitSession
from wire.codes import spelled
from wire.entries import Entry

log = logging.getLogger(__name__)

CARD_S: Final = 2.0
LOOK_S: Final = 5.0
FULL: Final = "too many technicians are at work here"

Why = Literal["name", "code", "too_soon", "full", "card", "no_codes"]


class InsistVisit(Protocol):
    """Put entries and state on the card: the future ends when they are durable."""

    def __call__(self, *entries: Entry, kept: Kept) -> Future[None]:
        """Never blocks."""
        ...


class TurnedAway(Exception):
    """No session, and why, in one word and in several. `retry_s`: it makes sense again after so many seconds."""

    def __init__(self, why: Why, text: str, retry_s: float | None = None) -> None:
        super().__init__(text)
        self.why, self.retry_s = why, retry_s


class Visiting:
    """Of one node. On the event loop."""

    def __init__(
        self,
        *,
        token: str,
        kept: Mapping[str, bytes],
        now: Now,
        put: PutVisit,
        insist: InsistVisit,
        draw_id: Callable[[], str],
        monotonic: Callable[[], float] = time.monotonic,
        guesses: Guesses | None = None,
        before: Visiting | None = None,
    ) -> None:
        """`token` is the node's own, `kept` what the card holds. What was known `before`, in this process, goes on:
        sessions with their visits, and who is slowed down."""
        self._codes = Codes(token, kept)
        self.guesses = guesses or (Guesses(monotonic) if before is None else before.guesses)
        self._insist = insist
        self._granting: dict[tuple[str, str, str], tuple[Future[None], str]] = {}  # its key: on the card? its visit
        self.sessions = Sessions(monotonic) if before is None else before.sessions
        log = None if before is None else before.log
        self.log = VisitLog(kept=kept, now=now, monotonic=monotonic, put=put, draw_id=draw_id, before=log)
        self.wrong = 0 if before is None else before.wrong

    @property
    def possible(self) -> bool:
        """Whether there are codes for this node at all."""
        return self._codes.possible

    async def begin(self, name: str, given: str, address: str) -> VisitSession:
        """A technician comes: their name, their code, and the address that they ask from.

        Raises:
            TurnedAway.
        """
        by = " ".join(name.split())
        try:
            key = (spelled(by), "".join(given.split()), address)
        except ValueError as error:
            raise TurnedAway("name", str(error)) from error
        if not self.possible:
            raise TurnedAway("no_codes", "there are no codes for this node: its token is not one of the aggregator's")
        if key not in self._granting:
            try:
                async with self.guesses.turn():
                    if key not in self._granting:
                        await self._use(key, by)
            except TooSoon as error:
                raise TurnedAway("too_soon", str(error), error.retry_s) from error
        return await self._grant(key, by, address)

    async def _use(self, key: tuple[str, str, str], by: str) -> None:
        counter = await asyncio.to_thread(self._codes.find, by, key[1])
        if counter is None:
            self.wrong += 1
            self.guesses.wrong()
            log.warning("a wrong code was given, the %d. since the start", self.wrong)
            raise TurnedAway("code", "this code is wrong or was used already, or belongs to another name or node")
        self.guesses.right()
        if not self.sessions.room_for(by):  # the code stays good
            raise TurnedAway("full", FULL, 60.0)
        visit, entries, kept = self.log.begin(by, counter, LASTS_S)
        done = self._insist(*entries, kept={**kept, **self._codes.using(counter)})
        self._granting[key] = (done, visit)

    async def _grant(self, key: tuple[str, str, str], by: str, address: str) -> VisitSession:
        done, visit = self._granting[key]
        try:
            await asyncio.wait_for(asyncio.shield(done), CARD_S)
        except TimeoutError:
            text = "the card does not take it: give the same code again in a while"
            raise TurnedAway("card", text, LOOK_S) from None
        if not self.sessions.room_for(by):  # others were granted one meanwhile
            raise TurnedAway("full", FULL, 60.0)
        if self._granting.pop(key, None) is None:  # somebody gave the same at the same time, and was first
            raise TurnedAway("code", "this code was used a moment ago")
        return self.sessions.begin(visit, by, address)

    def session(self, cookie: str, address: str) -> VisitSession | None:
        """The session of a cookie that comes from this address. None: there is none, or it is over."""
        found = self.sessions.of(cookie, address)
        if found is not None and not self.log.stands(found.visit):
            self.sessions.end(found)
            return None
        return found

    def here(self, session: VisitSession, for_s: float) -> float:
        """They say that they are there for so many seconds; what was taken of it."""
        for_s = max(min(for_s, MAX_HERE_S), MIN_HERE_S, self.sessions.left_s(session))
        self.log.here(session.visit, for_s)
        return for_s

    def end(self, session: VisitSession) -> None:
        """They go."""
        self.sessions.end(session)
        self.log.leave(session.visit, LOGGED_OUT)

    def advance(self) -> None:
        """What time alone ends."""
        self.sessions.ended()
        self.log.advance()
        standing = {one.visit for one in self.log.standing}
        for key in [k for k, (_, visit) in self._granting.items() if visit not in standing]:
            del self._granting[key]

    async def run(self) -> None:
        """Look at time until cancelled."""
        while True:
            self.advance()
            await asyncio.sleep(LOOK_S)
