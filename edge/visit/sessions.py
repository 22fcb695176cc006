"""Sessions: who may act over HTTP, for how long and from which address. In memory: a restart ends them all.

A session is named by a cookie of 128 random bits that scripts cannot read, and each write brings its other secret, too,
which pages of the node hold and pages of others do not. It ends by the monotonic clock LASTS_S after it began, with its
visit, or when its technician comes again with another code.

Bound: MAX_SESSIONS at a time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from wire.codes import spelled

LASTS_S: Final = 1_800.0
MAX_SESSIONS: Final = 8
SECRET_BYTES: Final = 16


class VisitSession(msgspec.Struct, frozen=True, kw_only=True):
    """`by` is the technician's name, `ends_s` on the monotonic clock, `csrf` what each write must bring."""

    cookie: str
    csrf: str
    visit: str
    by: str
    address: str
    ends_s: float

    def brings(self, given: str) -> bool:
        """Whether a write brings what it must."""
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """Those that are open. On the event loop."""

    def __init__(
        self,
        monotonic: Callable[[], float],
        draw: Callable[[], str] = lambda: secrets.token_urlsafe(SECRET_BYTES),
    ) -> None:
        self._monotonic, self._draw = monotonic, draw
        self._open: dict[str, VisitSession] = {}

    def room_for(self, by: str) -> bool:
        """Whether this technician may begin one."""
        self.ended()
        others = [s for s in self._open.values() if spelled(s.by) != spelled(by)]
        return len(others) < MAX_SESSIONS

    def begin(self, visit: str, by: str, address: str) -> VisitSession:
        """Begin one; those of the same technician end."""
        for one in [s for s in self._open.values() if spelled(s.by) == spelled(by)]:
            self.end(one)
        ends_s = self._monotonic() + LASTS_S
        session = VisitSession(
            cookie=self._draw(), csrf=self._draw(), visit=visit, by=by, address=address, ends_s=ends_s
        )
        self._open[session.cookie] = session
        return session

    def of(self, cookie: str, address: str) -> VisitSession | None:
        """The session of a cookie, where it comes from the address that it was given to."""
        self.ended()
        found = self._open.get(cookie)
        return found if found is not None and found.address == address else None

    def lasts(self, visit: str) -> bool:
        """Whether a visit has a session that is not over."""
        self.ended()
        return any(one.visit == visit for one in self._open.values())

    def left_s(self, session: VisitSession) -> float:
        """For how many seconds it goes on."""
        return max(0.0, session.ends_s - self._monotonic())

    def end(self, session: VisitSession) -> None:
        """It is over."""
        self._open.pop(session.cookie, None)

    def ended(self) -> None:
        """Forget those whose time is over."""
        now_s = self._monotonic()
        for one in [s for s in self._open.values() if s.ends_s <= now_s]:
            self.end(one)
