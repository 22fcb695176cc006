"""Screens: the pages for who stands at the cabinet, with a phone: `GET /` how the cabinet is, `GET /devices/{id}` one
device. They need no script; with it, they are brought up to date every few seconds. Nothing on them comes from
elsewhere, and no browser would take it (Content-Security-Policy); the style is in the page, named there by its hash.

All of this is loaded when somebody looks first (`edge.web.first_look`): import it nowhere else. Templates are compiled
in threads: that of the page that is asked for, and once it is made all others, before somebody goes on to them.
A page is made at most once in FRESH_S for all who look at it (for each technician who acts, each time), in pieces
between which others have their turn.

Bounds: MAX_KEPT pages are kept; a page lists at most `edge.web.home.ROWS` devices; those of `edge.web.connections`.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b, sha256
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from drivers.tables import suggest
from edge.changes.editor import DeviceEditor
from edge.sampling.lines import AttachedLine
from edge.web import devices, framed, home, summary
from edge.web.acting import Acting, settings
from edge.web.answers import json_answer
from edge.web.devices import Hung
from edge.web.language import LANGUAGES, Language, Speech, preferred
from edge.web.named import named
from edge.web.relisting import Relisting
from edge.web.sight import Sight
from edge.web.writing import TechnicianRoutes
from wire.device import Device

if TYPE_CHECKING:
    from jinja2 import Environment, Template

FRESH_S: Final = 1.0
MAX_KEPT: Final = 32
TURN_S: Final = 0.005  # a page is made for so long before the others on this loop have their turn
COOKIE: Final = "language"
COOKIE_S: Final = 365 * 86_400
HERE: Final = Path(__file__).parent
SHARED: Final = ("base.html", "parts.html", "acting.html")  # what others are made of
KINDS: Final = {"page.js": "text/javascript", "icon.svg": "image/svg+xml"}
# In each page: a phone on a slow network shows it a round trip sooner than one that comes by itself.
STYLE: Final = (HERE / "static" / "page.css").read_text(encoding="utf-8")
STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()  # CSP Level 3, section 8.3: of what is between
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without, a form would not say whence it comes
    "Vary": "Accept-Language, Cookie, Accept-Encoding",
    "Cache-Control": "no-cache",
}

Build = Callable[[Speech], Awaitable[Mapping[str, Any]]]


class _Made(NamedTuple):
    """A page, and when it was made."""

    at: float
    status: int
    body: bytes
    squeezed: bytes
    tag: str


class Screens:
    """One for a node."""

    def __init__(
        self, sight: Sight, writing: TechnicianRoutes | None = None, editor: DeviceEditor | None = None
    ) -> None:
        """Without `writing` nobody can act from a page, without `editor` nobody change the list of devices."""
        self._sight, self._writing, self._editor = sight, writing, editor
        self._lines: list[AttachedLine] = []
        self._seen: dict[str, Hung] = {}
        self._made: dict[tuple[str, ...], _Made] = {}
        self._making = asyncio.Lock()
        self._templates: Environment | None = None
        self._ahead: asyncio.Task[None] | None = None
        self._static: dict[str, _Made] = {}

    @property
    def relisting(self) -> Relisting:
        """The forms by which the list of devices is changed."""
        assert self._writing is not None
        assert self._editor is not None
        sight = self._sight

        def named_by(device: Device, speech: Speech) -> tuple[list[str], int]:
            return named(device, sight.plan(), sight.rules(), sight.decided(), speech)

        return Relisting(self._editor, self._writing, sight.lines, self._paint, named_by)

    @property
    def _hung(self) -> dict[str, Hung]:
        """The devices as they hang now."""
        if any(a is not b for a, b in zip_longest(self._lines, self._sight.lines)):
            self._lines, self._seen = list(self._sight.lines), devices.hung(self._sight.lines)
        return self._seen

    async def home(self, request: Request) -> Response:
        """How the cabinet is."""
        page = request.query_params.get("page", "1")
        number = int(page) if page.isdecimal() and len(page) < 4 else 1
        start = min(max(0, number - 1), max(0, len(self._hung) - 1) // home.ROWS) * home.ROWS

        async def build(speech: Speech) -> Mapping[str, Any]:
            sight, hung = self._sight, self._hung
            looked = await home.look(sight)
            found = home.cards(hung, looked, sight, speech)
            state, sentence = home.verdict(hung, looked, found, speech)
            return {
                "state": state,
                "sentence": sentence,
                "cards": [c for c in found if c.advice.weight != "note"][: home.MAX_CARDS],
                "notes": [c for c in found if c.advice.weight == "note"],
                "more_cards": max(0, sum(c.advice.weight != "note" for c in found) - home.MAX_CARDS),
                "queue": home.queue(looked.health, looked, speech),
                "rows": home.rows(hung, looked, sight, speech, start),
                "pages": range(1, (len(hung) - 1) // home.ROWS + 2),
                "page_number": start // home.ROWS + 1,
                "total": len(hung),
                "alarms": home.standing(looked.alarms, hung, speech),
                "alarms_more": max(0, len(looked.alarms) - home.MAX_ALARMS),
                "health": looked.health,
            }

        return await self._page(request, "home.html", (str(start),), build)

    async def device(self, request: Request) -> Response:
        """One device; 404 where there is none of this name."""
        name: str = request.path_params["device"]
        device = self._hung.get(name)
        if device is None:
            near = suggest(name[:64], self._hung)[:500]

            async def lost(_speech: Speech) -> Mapping[str, Any]:
                return {"asked": name[:64], "near": near}

            return await self._page(request, "lost.html", (name[:64],), lost, 404)

        async def build(speech: Speech) -> Mapping[str, Any]:
            sight, hung = self._sight, self._hung
            profile, day = device.attachment.profile, await sight.days.of(name)
            looked = await home.look(sight)
            trouble = looked.of_device.get(name)
            down = looked.down.get(device.line.name)
            others = home.others_answer(hung, looked, device)
            ids = list(hung)
            at = ids.index(name)
            now_us = sight.now()[0]
            decided = [d for d in sight.decided() if d.device == name]
            shown = devices.readings(device, sight.street.devices[name], day or (), sight, speech)
            return {
                "device": device,
                "row": devices.row(device, trouble, sight, speech, alarms=looked.alarmed.get(name, 0)),
                "advice": None
                if trouble is None
                else devices.judge(device, trouble, sight, speech, others_answer=others),
                "line_down": None
                if down is None
                else home.advice.of_line(device.line.name, down, 1, speech, down=True),
                "address": devices.address(device, speech),
                "where": devices.where(device, speech),
                "main": [r for r in shown if r.main],
                "rest": [r for r in shown if not r.main],
                "waiting": day is None,
                "time_us": None if (s := sight.street.devices[name].sample) is None else s.time_us,
                "decided": decided,
                "frames": framed.shown(sight.frames(name)),
                "birth": devices.birth(device, sight, looked.down, speech),
                "changes": self._editor is not None,
                "settings": settings(profile.points.values(), decided, now_us, speech, profile.writing),
                "alarms": home.standing([a for a in looked.alarms if a.device == name], hung, speech),
                "before": ids[at - 1] if at else None,
                "after": ids[at + 1] if at + 1 < len(ids) else None,
            }

        return await self._page(request, "device.html", (name,), build)

    async def summary(self, request: Request) -> Response:
        """What `home` says, in JSON."""
        return json_answer(await summary.summary(self._hung, self._sight, await self._speech(request)))

    async def summary_devices(self, request: Request) -> Response:
        """All devices, in JSON."""
        made = None if self._editor is None else self._editor.made
        speech = await self._speech(request)
        return json_answer(await summary.device_lines(self._hung, self._sight, speech, made or {}))

    async def _speech(self, request: Request) -> Speech:
        asked = request.query_params.get("lang")
        language = asked if asked in LANGUAGES else _language(request)
        return await asyncio.to_thread(Speech, language, self._sight.zone, self._sight.now()[0])

    # ---- how a page is made -------------------------------------------------------------------------------------

    async def _page(
        self, request: Request, template: str, what: tuple[str, ...], build: Build, status: int = 200
    ) -> Response:
        accept = request.headers.get("accept", "*/*")
        if "text/html" not in accept and "*/*" not in accept:
            return Response("this is a page; GET /health is for programs", 406, media_type="text/plain")
        if (chosen := request.query_params.get("lang")) in LANGUAGES:
            back = RedirectResponse(quote(request.url.path), 303, HEADERS)
            back.set_cookie(COOKIE, chosen or "", max_age=COOKIE_S, samesite="lax", httponly=True)
            return back
        language = _language(request)
        acting = self._acting(request)
        key = (template, language, acting.visit, acting.problem, acting.retry_s, *what)
        # Whoever acts sees what they have just done; all others may see what was made a moment ago.
        since = time.monotonic() - (0 if acting.visit else FRESH_S)
        made = self._made.get(key)
        if made is None or made.at < since:
            async with self._making:  # one at a time, and whoever waited looks again
                made = self._made.get(key)
                if made is None or made.at < since:
                    made = await self._make(template, language, request.url.path, acting, build, status)
                    self._made.pop(key, None)
                    while len(self._made) >= MAX_KEPT:
                        del self._made[next(iter(self._made))]
                    self._made[key] = made
        return _answer(request, made, "text/html", HEADERS)

    async def _paint(self, request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> Response:
        """A page for one who acts, which nobody keeps."""

        async def build(_speech: Speech) -> Mapping[str, Any]:
            return context

        made = await self._make(template, _language(request), request.url.path, self._acting(request), build, status)
        return Response(made.body, status, {**HEADERS, "Cache-Control": "no-store"}, "text/html")

    def _acting(self, request: Request) -> Acting:
        """Who asks, where they may act."""
        if self._writing is None:
            return Acting()
        session = self._writing.session_of(request)
        told = self._writing.told(session)
        return Acting.of(told, request.query_params.get("problem", ""), request.query_params.get("retry_s", ""))

    async def _make(
        self, template: str, language: Language, path: str, acting: Acting, build: Build, status: int
    ) -> _Made:
        began = time.monotonic()
        if self._templates is None:
            self._templates = await asyncio.to_thread(_templates)
        now_us, clock = self._sight.now()
        speech = await asyncio.to_thread(Speech, language, self._sight.zone, now_us)
        context = {
            "say": speech.say,
            "count": speech.count,
            "speech": speech,
            "language": language,
            "other": "en" if language == "fr" else "fr",
            "path": path,
            "acting": acting,
            "message": acting.message(speech),
            "node": self._sight.node,
            "now_us": now_us,
            "synced": clock.synced,
            "style": STYLE,
            "script": self._file_tag("page.js"),
            **await build(speech),
        }
        body = await _rendered(await asyncio.to_thread(self._templates.get_template, template), context)
        if self._ahead is None:
            self._ahead = asyncio.create_task(asyncio.to_thread(_compile_all, self._templates))
        return _made(body, status, began)

    def _file_tag(self, name: str) -> str:
        return self._read(name).tag

    def _read(self, name: str) -> _Made:
        if name not in self._static:
            self._static[name] = _made((HERE / "static" / name).read_bytes(), 200)
        return self._static[name]

    async def file(self, request: Request) -> Response:
        """The script, the icon."""
        name: str = request.path_params["name"]
        if name not in KINDS:
            return Response("there is nothing of this name", 404, media_type="text/plain")
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return _answer(request, self._read(name), KINDS[name], headers)


async def _rendered(template: Template, context: Mapping[str, Any]) -> bytes:
    """A template with what belongs in it, made piece by piece."""
    pieces: list[str] = []
    began = time.monotonic()
    for piece in template.generate(**context):
        pieces.append(piece)
        if time.monotonic() - began > TURN_S:
            await asyncio.sleep(0)
            began = time.monotonic()
    return "".join(pieces).encode()


def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    for name in SHARED:
        templates.get_template(name)
    return templates


def _compile_all(templates: Environment) -> None:
    for name in templates.list_templates():
        templates.get_template(name)


def _language(request: Request) -> Language:
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def _made(body: bytes, status: int, at: float | None = None) -> _Made:
    tag = blake2b(body, digest_size=8).hexdigest()
    at = time.monotonic() if at is None else at
    return _Made(at, status, body, gzip.compress(body, 6, mtime=0), tag)


def _answer(request: Request, made: _Made, kind: str, headers: Mapping[str, str]) -> Response:
    headers = {**headers, "ETag": f'"{made.tag}"'}
    if request.headers.get("if-none-match") == f'"{made.tag}"':
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(made.squeezed, made.status, {**headers, "Content-Encoding": "gzip"}, kind)
    return Response(made.body, made.status, headers, kind)
