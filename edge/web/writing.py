"""Writing: what a technician does over HTTP at the cabinet, with a session that a one-time code has begun.

What there is stands in the table below; bodies are JSON or forms (`edge.web.asked`). What changes something needs the
session's cookie, from the address that it was given to, and the session's `csrf`: the field of a form, or the header
X-CSRF-Token.

Bounds: those of `edge.web.asked` and `edge.visit`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Protocol

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from drivers.errors import Misconfigured, Refused, Unreachable
from edge.control.on_site import (
    AlarmActGiven,
    BadRequest,
    BlinkGiven,
    CommandGiven,
    Given,
    OnSite,
    OrderProgress,
    RelinquishGiven,
    read,
)
from edge.sampling.last_samples import says_something
from edge.visit.log import MAX_HERE_S
from edge.visit.sessions import LASTS_S, VisitSession
from edge.visit.visiting import TurnedAway, Visiting
from edge.web.answers import json_answer, refusal
from edge.web.asked import SentAway, WriteAsked, asked_of
from edge.web.support import ZIP, SupportFile, attached
from edge.web.table import DEVICE, LOCATION, ORDER, NodeRoute, RouteAnswer, RouteParam, refusals
from wire.entries import Visit
from wire.sample import Sample
from wire.time import Utc

COOKIE: Final = "lamplighter"
CSRF: Final = "X-CSRF-Token"
MAX_PROBLEMS: Final = 20
_STATUS: Final = {"name": 400, "code": 401, "too_soon": 429, "full": 503, "card": 503, "no_codes": 403}


class LogIn(msgspec.Struct, frozen=True):
    """A technician's name and the code that the city has made for it."""

    name: str
    code: str


class HereFor(msgspec.Struct, frozen=True):
    """For how many seconds they are there."""

    for_s: Annotated[float, Meta(gt=0, le=MAX_HERE_S)]


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as a page needs it: never the cookie. `left_s` is how long it goes on, `here_until_us` (UTC
    microseconds) until when they have said that they are there."""

    by: str
    visit: str
    csrf: str
    left_s: float
    here_until_us: Utc | None


class SessionTold(msgspec.Struct, frozen=True, kw_only=True):
    """The session of whoever asks, or None. `codes`: whether there are any for this node."""

    session: OpenSession | None
    codes: bool


class LineRestarted(msgspec.Struct, frozen=True):
    """Which line."""

    line: str


Nothing = dict[str, Any]
"""The body of what needs no more than its path."""


class LineActs(Protocol):
    """What of `edge.sampling.supervisor.Supervisor` technicians may do."""

    async def read(self, device: str) -> Sample:
        """See there."""
        ...

    def restart(self, line: str, why: str) -> None:
        """See there."""
        ...


class TechnicianRoutes:
    """The routes, and whose session a request has."""

    def __init__(
        self, visiting: Visiting, on_site: OnSite, lines: LineActs, support: SupportFile | None = None
    ) -> None:
        """Without `support` there is no support file."""
        self._visiting, self._on_site, self._lines, self._support = visiting, on_site, lines, support

    def table(self) -> list[NodeRoute]:
        """What there is on TCP beside what can be read."""
        line = RouteParam(name="line", what="A line's name, as in the configuration.")
        told = RouteAnswer("How it is now.", SessionTold)
        far = RouteAnswer("How far it is.", OrderProgress, headers=LOCATION)
        return [
            NodeRoute(
                method="POST", path="/session", name="log_in", summary="Begin a session with a one-time code.",
                handler=self._begin, takes=LogIn, form=True,
                answers={201: RouteAnswer("It has begun; its cookie comes along.", SessionTold),
                         **refusals(s401="The code is wrong, or was used.", s403="There are no codes for this node.",
                                    s429="Wrong codes were given: again in `retry_s` seconds.",
                                    s503="Too many technicians are at work, or the card does not take it.")},
            ),
            NodeRoute(path="/session", name="session", summary="The session of whoever asks.", handler=self._shown,
                      answers={200: told}),
            NodeRoute(method="DELETE", path="/session", name="log_out", summary="The session and its visit end.",
                      handler=self._end, shown="writes", answers={200: told}),
            NodeRoute(method="POST", path="/session/end", name="leave", summary="The same, for forms.",
                      handler=self._end, takes=Nothing, form=True, shown="writes", answers={200: told}),
            NodeRoute(method="POST", path="/here", name="here", summary="Say for how long you are there.",
                      handler=self._here, takes=HereFor, form=True, shown="writes", answers={200: told}),
            NodeRoute(
                path="/visits", name="visits", summary="What was said of visits since the node started.",
                handler=self._visits, shown="session",
                answers={200: RouteAnswer("The newest last.", list[Visit]), **refusals(s403="There is no session.")},
            ),
            NodeRoute(
                path="/support", name="support", summary="The support file: a zip, without secrets.",
                handler=self._support_file, shown="session",
                answers={200: RouteAnswer("The file.", media_type=ZIP), **refusals(s403="There is no session.",
                                                                                   s404="None is made here.")},
            ),
            NodeRoute(
                method="POST", path="/devices/{device}/read", name="read", summary="Ask a device now.",
                handler=self._read, params=(DEVICE,), takes=Nothing, form=True, shown="writes",
                answers={200: RouteAnswer("Its sample.", Sample),
                         **refusals(s404="There is no device of this name.", s503="It does not answer.",
                                    s409="It cannot be asked: it speaks by itself, or its line is busy.")},
            ),
            NodeRoute(
                method="POST", path="/lines/{line}/restart", name="restart", summary="Close a line and open it again.",
                handler=self._restart, params=(line,), takes=Nothing, form=True, shown="writes",
                answers={202: RouteAnswer("It begins anew.", LineRestarted), **refusals(s404="There is no such line.")},
            ),
            NodeRoute(method="POST", path="/orders", name="give", summary="Take an order, by the technician.",
                      handler=self._order, takes=Given, form=True, shown="writes", answers={202: far}),
            NodeRoute(
                path="/orders/{id}", name="order", summary="How far an order has come.", handler=self._how_far,
                params=(ORDER,), shown="session",
                answers={200: RouteAnswer("How far it is.", OrderProgress), **refusals(s404="It is not known here.")},
            ),
        ]  # fmt: skip

    def session_of(self, request: Request) -> VisitSession | None:
        """The session of whoever asks, while it lasts."""
        return self._visiting.session(request.cookies.get(COOKIE, "")[:100], _address(request))

    def acted(self, session: VisitSession, detail: str, device: str = "") -> None:
        """They have done something, which goes into the log of their visit."""
        self._visiting.log.acted(session.visit, detail, device=device)

    def told(self, session: VisitSession | None) -> SessionTold:
        """What a page needs of it."""
        codes = self._visiting.possible
        if session is None:
            return SessionTold(session=None, codes=codes)
        visit = next((one for one in self._visiting.log.standing if one.visit == session.visit), None)
        shown = OpenSession(
            by=session.by,
            visit=session.visit,
            csrf=session.csrf,
            left_s=round(self._visiting.sessions.left_s(session), 1),
            here_until_us=visit.until_us if visit is not None and visit.here else None,
        )
        return SessionTold(session=shown, codes=codes)

    async def _begin(self, request: Request) -> Response:
        try:
            asked = await asked_of(request)
        except SentAway as error:
            return error.answer
        try:
            given = msgspec.convert(asked.fields, LogIn)
        except msgspec.ValidationError:
            return asked.turned_away("name", "name and code are missing, or are no texts", 400)
        try:
            session = await self._visiting.begin(given.name[:1_000], given.code[:100], _address(request))
        except TurnedAway as error:
            return asked.turned_away(error.why, str(error), _STATUS[error.why], error.retry_s)
        answer = asked.done(self.told(session), 201)
        answer.set_cookie(COOKIE, session.cookie, max_age=round(LASTS_S), httponly=True, samesite="strict")
        return answer

    async def _shown(self, request: Request) -> Response:
        return json_answer(self.told(self.session_of(request)))

    async def _end(self, request: Request) -> Response:
        try:
            asked, session = await self.writes(request, acts=False, bodiless=request.method == "DELETE")
        except SentAway as error:
            return error.answer
        self._visiting.end(session)
        answer = asked.done(self.told(None), 200)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _here(self, request: Request) -> Response:
        try:
            asked, session = await self.writes(request)
        except SentAway as error:
            return error.answer
        try:
            given = msgspec.convert(asked.fields, HereFor)
        except msgspec.ValidationError:
            return asked.turned_away("for_s", f"for_s is a number of seconds, at most {MAX_HERE_S:g}", 400)
        self._visiting.here(session, given.for_s)
        return asked.done(self.told(session), 200)

    async def _visits(self, request: Request) -> Response:
        if self.session_of(request) is None:
            return _no_session(WriteAsked({}, form=False))
        return json_answer(list(self._visiting.log.said))

    async def _support_file(self, request: Request) -> Response:
        session = self.session_of(request)
        if session is None:
            return _no_session(WriteAsked({}, form=False))
        if self._support is None:
            return refusal("no support file is made here", 404)
        name, content = await self._support.make()
        self.acted(session, "took the support file")
        return attached(name, content)

    async def _order(self, request: Request) -> Response:
        try:
            asked, session = await self.writes(request)
        except SentAway as error:
            return error.answer
        try:
            given = read(msgspec.json.encode({**asked.fields, "by": session.by}))
        except BadRequest as error:
            problems = error.problems[:MAX_PROBLEMS]
            return asked.turned_away("order", "; ".join(problems)[:2_000], 400, problems=problems)

        def taken(told: OrderProgress) -> None:  # in the commit that keeps the order
            if told.stage != "refused":
                device = given.alarm if isinstance(given, AlarmActGiven) else given.device
                self._visiting.log.acted(session.visit, said_of(given), device=device, order=told.id)

        told = await self._on_site.give(given, taken, visit=session.visit)
        answer = asked.done(told, 202)
        if not asked.form:
            answer.headers["Location"] = f"/orders/{told.id}"
        elif told.stage == "refused":
            return asked.turned_away("refused", told.detail, 303)
        return answer

    async def _read(self, request: Request) -> Response:
        device: str = request.path_params["device"]
        try:
            asked, session = await self.writes(request)
        except SentAway as error:
            return error.answer
        try:
            sample = await self._lines.read(device)
        except KeyError:
            return asked.turned_away("unknown", f"there is no device {device[:64]}", 404)
        except (Refused, Misconfigured) as error:
            return asked.turned_away("not_asked", str(error), 409)
        except Unreachable as error:
            return asked.turned_away("silent", str(error), 503)
        self._visiting.log.acted(session.visit, "read", device=device)
        if not says_something(sample):
            why = next(iter(sample.quality.values()), "")
            return asked.turned_away("silent", why, 503)
        return asked.done(sample, 200)

    async def _restart(self, request: Request) -> Response:
        line: str = request.path_params["line"]
        try:
            asked, session = await self.writes(request)
        except SentAway as error:
            return error.answer
        try:
            self._lines.restart(line, f"{session.by} has asked for it")
        except KeyError:
            return asked.turned_away("unknown", f"there is no line {line[:64]}", 404)
        self._visiting.log.acted(session.visit, f"line {line} restarted")
        return asked.done(LineRestarted(line), 202)

    async def _how_far(self, request: Request) -> Response:
        if self.session_of(request) is None:
            return _no_session(WriteAsked({}, form=False))
        order: str = request.path_params["id"]
        told = self._on_site.told(order)
        return refusal(f"no order {order[:64]} is known here", 404) if told is None else json_answer(told)

    async def writes(
        self, request: Request, *, acts: bool = True, bodiless: bool = False
    ) -> tuple[WriteAsked, VisitSession]:
        """What somebody wants to change, who has a session and says so.

        Raises:
            SentAway.
        """
        asked = WriteAsked({}, form=False) if bodiless else await asked_of(request)
        session = self.session_of(request)
        if session is None:
            raise SentAway(_no_session(asked))
        given = asked.fields.pop("csrf", None) if asked.form else request.headers.get(CSRF)
        if not isinstance(given, str) or not session.brings(given):
            text = (
                f"this did not come from a page of this session: send its csrf in {CSRF}, or in the form's field csrf"
            )
            raise SentAway(asked.turned_away("csrf", text, 403))
        if acts and not self._visiting.log.may_act(session.visit):
            text = "so much was done in this visit that no more is taken: come again with another code"
            raise SentAway(asked.turned_away("acts", text, 429))
        return asked, session


def said_of(given: Given) -> str:
    """What an order does, for the log of visits."""
    match given:
        case CommandGiven():
            return f"{given.point} = {given.value} for {given.for_s:g} s"
        case RelinquishGiven():
            return f"{given.point} released"
        case BlinkGiven():
            return f"{given.point} blinks for {given.for_s:g} s"
        case AlarmActGiven():
            return f"{given.act} {given.alarm}" + ("" if given.for_s is None else f" for {given.for_s:g} s")


def _no_session(asked: WriteAsked) -> Response:
    text = "this needs a technician's session: POST /session with name and code, or use lamplighter-edge on the node"
    return asked.turned_away("session", text, 403)


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host
