"""Writing: what a technician does over HTTP at the cabinet, with a session that a one-time code has begun.

    POST /session        name, code: a session begins; 401 wrong, 429 too soon (Retry-After), 503 not now
    GET  /session        the session of whoever asks, or null
    DELETE /session      it ends, and so does the visit (for forms: POST /session/end)
    POST /here           for_s: they say for how many seconds they are there
    GET  /visits         what was said of visits since the node started, the newest last
    POST /devices/{device}/read  it is asked now: its sample; 409 where it cannot be, 503 where it does not answer
    POST /lines/{line}/restart   the line is closed and opened again
    POST /orders         an order as at the node's socket, by the technician; GET /orders/{id} how far one has come

Bodies are JSON or forms (application/x-www-form-urlencoded). What changes something needs the session's cookie, from
the address that it was given to, and the session's `csrf`: the field of a form, or the header X-CSRF-Token. A form is
answered with a redirect to the path that its field `next` names, with `problem` (and `retry_s`) in the query where it
was turned away; JSON with JSON.

Bounds: those of `edge.web.answers` and `edge.visit`; a form has MAX_FIELDS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from drivers.errors import Misconfigured, Refused, Unreachable
from edge.control.on_site import (
    AlarmActGiven,
    BadRequest,
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
from edge.web.answers import JSON, body_of, json_answer, media_type
from wire.sample import Sample

FORM: Final = "application/x-www-form-urlencoded"
COOKIE: Final = "lamplighter"
CSRF: Final = "X-CSRF-Token"
MAX_FIELDS: Final = 32
MAX_PROBLEMS: Final = 20
NUMBERS: Final = frozenset({"for_s", "value"})
_NEXT: Final = re.compile(r"/(?:[\w.~%-][\w./~%-]*)?", re.ASCII)  # a path of this node, and of no other
_STATUS: Final = {"name": 400, "code": 401, "too_soon": 429, "full": 503, "card": 503, "no_codes": 403}

SessionBody = dict[str, Any]


class NotTaken(Exception):
    """An answer to a request that is not taken."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class WriteAsked(msgspec.Struct):
    """What a request has brought. `form` where a browser without a script has sent it."""

    fields: dict[str, Any]
    form: bool
    next: str = "/"

    def done(self, body: object, status: int) -> Response:
        """It was done."""
        return RedirectResponse(self.next, 303) if self.form else json_answer(body, status)

    def turned_away(self, problem: str, text: str, status: int, retry_s: float | None = None, **more: Any) -> Response:
        """It was not."""
        told: dict[str, Any] = {"problem": problem}
        if retry_s is not None:
            told["retry_s"] = math.ceil(retry_s)
        if self.form:
            return RedirectResponse(f"{self.next}?{urlencode(told)}", 303)
        answer = json_answer({"error": text, **told, **more}, status)
        if retry_s is not None:
            answer.headers["Retry-After"] = str(math.ceil(retry_s))
        return answer


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

    def __init__(self, visiting: Visiting, on_site: OnSite, lines: LineActs) -> None:
        self._visiting, self._on_site, self._lines = visiting, on_site, lines

    def routes(self) -> list[Route]:
        """What there is on TCP beside what can be read."""
        return [
            Route("/session", self._begin, methods=["POST"]),
            Route("/session", self._shown, methods=["GET"]),
            Route("/session", self._end, methods=["DELETE"]),
            Route("/session/end", self._end, methods=["POST"]),
            Route("/here", self._here, methods=["POST"]),
            Route("/visits", self._visits, methods=["GET"]),
            Route("/devices/{device}/read", self._read, methods=["POST"]),
            Route("/lines/{line}/restart", self._restart, methods=["POST"]),
            Route("/orders", self._order, methods=["POST"]),
            Route("/orders/{id}", self._how_far, methods=["GET"]),
        ]

    def session_of(self, request: Request) -> VisitSession | None:
        """The session of whoever asks, while it lasts."""
        return self._visiting.session(request.cookies.get(COOKIE, "")[:100], _address(request))

    def acted(self, session: VisitSession, detail: str, device: str = "") -> None:
        """They have done something, which goes into the log of their visit."""
        self._visiting.log.acted(session.visit, detail, device=device)

    def told(self, session: VisitSession | None) -> SessionBody:
        """What a page needs of it: never the cookie."""
        if session is None:
            return {"session": None, "codes": self._visiting.possible}
        visit = next((one for one in self._visiting.log.standing if one.visit == session.visit), None)
        return {
            "session": {
                "by": session.by,
                "visit": session.visit,
                "csrf": session.csrf,
                "left_s": round(self._visiting.sessions.left_s(session), 1),
                "here_until_us": visit.until_us if visit is not None and visit.here else None,
            },
            "codes": self._visiting.possible,
        }

    async def _begin(self, request: Request) -> Response:
        try:
            asked = await _asked(request)
        except NotTaken as error:
            return error.answer
        try:
            name, code = asked.fields.get("name"), asked.fields.get("code")
            if not isinstance(name, str) or not isinstance(code, str):
                return asked.turned_away("name", "name and code are missing, or are no texts", 400)
            session = await self._visiting.begin(name[:1_000], code[:100], _address(request))
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
        except NotTaken as error:
            return error.answer
        self._visiting.end(session)
        answer = asked.done(self.told(None), 200)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _here(self, request: Request) -> Response:
        try:
            asked, session = await self.writes(request)
        except NotTaken as error:
            return error.answer
        for_s = asked.fields.get("for_s")
        if not isinstance(for_s, int | float) or isinstance(for_s, bool) or not 0 < for_s <= MAX_HERE_S:
            return asked.turned_away("for_s", f"for_s is a number of seconds, at most {MAX_HERE_S:g}", 400)
        self._visiting.here(session, for_s)
        return asked.done(self.told(session), 200)

    async def _visits(self, request: Request) -> Response:
        if self.session_of(request) is None:
            return _no_session(WriteAsked({}, form=False))
        return json_answer(list(self._visiting.log.said))

    async def _order(self, request: Request) -> Response:
        try:
            asked, session = await self.writes(request)
        except NotTaken as error:
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

        told = await self._on_site.give(given, taken)
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
        except NotTaken as error:
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
        except NotTaken as error:
            return error.answer
        try:
            self._lines.restart(line, f"{session.by} has asked for it")
        except KeyError:
            return asked.turned_away("unknown", f"there is no line {line[:64]}", 404)
        self._visiting.log.acted(session.visit, f"line {line} restarted")
        return asked.done({"line": line}, 202)

    async def _how_far(self, request: Request) -> Response:
        if self.session_of(request) is None:
            return _no_session(WriteAsked({}, form=False))
        order: str = request.path_params["id"]
        told = self._on_site.told(order)
        return (
            json_answer({"error": f"no order {order[:64]} is known here"}, 404) if told is None else json_answer(told)
        )

    async def writes(
        self, request: Request, *, acts: bool = True, bodiless: bool = False
    ) -> tuple[WriteAsked, VisitSession]:
        """What somebody wants to change, who has a session and says so.

        Raises:
            NotTaken.
        """
        asked = WriteAsked({}, form=False) if bodiless else await _asked(request)
        session = self.session_of(request)
        if session is None:
            raise NotTaken(_no_session(asked))
        given = asked.fields.pop("csrf", None) if asked.form else request.headers.get(CSRF)
        if not isinstance(given, str) or not session.brings(given):
            text = (
                f"this did not come from a page of this session: send its csrf in {CSRF}, or in the form's field csrf"
            )
            raise NotTaken(asked.turned_away("csrf", text, 403))
        if acts and not self._visiting.log.may_act(session.visit):
            text = "so much was done in this visit that no more is taken: come again with another code"
            raise NotTaken(asked.turned_away("acts", text, 429))
        return asked, session


def said_of(given: Given) -> str:
    """What an order does, for the log of visits."""
    match given:
        case CommandGiven():
            return f"{given.point} = {given.value} for {given.for_s:g} s"
        case RelinquishGiven():
            return f"{given.point} released"
        case AlarmActGiven():
            return f"{given.act} {given.alarm}" + ("" if given.for_s is None else f" for {given.for_s:g} s")


def _no_session(asked: WriteAsked) -> Response:
    text = "this needs a technician's session: POST /session with name and code, or use lamplighter-edge on the node"
    return asked.turned_away("session", text, 403)


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


async def _asked(request: Request) -> WriteAsked:
    """Raises NotTaken."""
    body = await body_of(request, (JSON, FORM))
    if isinstance(body, Response):
        raise NotTaken(body)
    if media_type(request) == FORM:
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except ValueError as error:
            raise NotTaken(json_answer({"error": f"the form cannot be read: {error}"}, 400)) from error
        fields: dict[str, Any] = {k: _value(v) if k in NUMBERS else v for k, v in pairs}
        to = fields.pop("next", "/")
        return WriteAsked(fields, form=True, next=to if _NEXT.fullmatch(to) else "/")
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotTaken(json_answer({"error": f"the body is not JSON: {error}"}, 400)) from error
    if not isinstance(found, Mapping):
        raise NotTaken(json_answer({"error": "the body must be an object"}, 400))
    return WriteAsked(dict(found), form=False)  # pyright: ignore[reportUnknownArgumentType]


def _value(text: str) -> object:
    """A field as JSON has it: a number or true and false where it is written so, else a text."""
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
    return found if isinstance(found, int | float) else text
