"""Relisting: the forms by which a technician replaces, changes, adds or removes a device, and goes back.

    GET, POST /devices/{device}/replace, …/change, …/remove    /list/add?line=L    /list/back    GET /list

A form is tried as the file would be (`edge.changes`): what is wrong stands at its field, and nothing that was typed is
lost. What is right is shown once more, and done with `confirm` = yes; who removes a device sees before that what else
of the node has to do with it (`edge.web.named`). In JSON the same fields are done at once: 200
with the version that counts then, 422 with what is wrong by field, 409 where the list has changed since `version`, 503
where it cannot be kept.

Bounds: those of `edge.web.writing` and `edge.changes.versions`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.changes.editor import DeviceEditor, Edit, Stale, Tried
from edge.changes.versions import Unusable
from edge.sampling.lines import AttachedLine
from edge.web import typed
from edge.web.answers import json_answer, refusal
from edge.web.asked import SentAway, WriteAsked
from edge.web.language import Speech
from edge.web.writing import TechnicianRoutes
from wire.device import Device

if TYPE_CHECKING:
    from edge.visit.sessions import VisitSession

SHOWN: Final = ("name", "profile", "line", "poll_s", "expect_s", "lon", "lat", "tags")
KEPT: Final = 40  # hidden fields of a form that is shown once more


class Paint(Protocol):
    """Make a page of a template, for who asks."""

    async def __call__(
        self, request: Request, template: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        """Never kept."""
        ...


class NamedBy(Protocol):
    """What else of the node has to do with a device."""

    def __call__(self, device: Device, speech: Speech, /) -> tuple[Sequence[str], int]:
        """A sentence for each, and how many more there are."""
        ...


class Relisting:
    """One for a node."""

    def __init__(
        self,
        editor: DeviceEditor,
        writing: TechnicianRoutes,
        lines: Sequence[AttachedLine],
        paint: Paint,
        named: NamedBy,
    ) -> None:
        self._editor, self._writing, self._lines, self._paint, self._named = editor, writing, lines, paint, named

    async def versions(self, request: Request) -> Response:
        """All devices, and what was changed of them."""
        if "application/json" in request.headers.get("accept", ""):
            return json_answer(self._editor.versions.versions)
        return await self._paint(request, "list.html", self._listed())

    async def form(self, request: Request) -> Response:
        """What is there now, to be changed."""
        act, device = _what(request)
        line = self._line_of(device) or self._line(request.query_params.get("line", ""))
        if line is None or (act != "added" and device not in line.tables):
            return RedirectResponse("/list", 303)
        return await self._show(request, act, device, line, {}, Tried())

    async def post(self, request: Request) -> Response:
        """Somebody wants to change it."""
        try:
            asked, session = await self._writing.writes(request)
        except SentAway as error:
            return error.answer
        act, device = _what(request)
        fields = asked.fields
        version, confirm = str(fields.pop("version", self._editor.versions.number)), fields.pop("confirm", "")
        if act == "back":
            number = str(fields.get("number", ""))
            edit = Edit(act="back", number=int(number) if number.isdecimal() and len(number) < 9 else -1)
            return await self._make(request, asked, session, edit, version, None, {})
        line = self._line_of(device) or self._line(str(fields.get("line", "")))
        if line is None or (act != "added" and device not in line.tables):
            return asked.turned_away("unknown", "there is no such device or line", 404)
        line = self._line(str(fields.get("line", line.name))) or line
        if act == "replaced" and not asked.form and (more := sorted(fields.keys() - _allowed(fields, act).keys())):
            return refusal(f"{more[0][:100]}: replacing changes `address.KEY` alone", 400)
        device = device or str(fields.get("id", "")).strip()[:200]
        before = self._editor.table(device) or {} if act != "added" else {}
        table = None if act == "removed" else typed.table_of(_allowed(fields, act), line.kind.Address, before)
        edit = Edit(act=act, device=device, table=table)
        if asked.form and confirm != "yes":
            try:
                tried = Tried() if confirm == "no" else await self._editor.attempt(edit)
            except Unusable as error:
                return self._unusable(asked, str(error))
            if confirm == "no" or tried.problems:
                status = 200 if confirm == "no" else 422
                return await self._show(request, act, device, line, fields, tried, status=status, version=version)
            hidden = {k: typed.shown(v) for k, v in list(fields.items())[:KEPT]} | {"version": version}
            return await self._paint(
                request,
                "confirm.html",
                {
                    "act": act,
                    "device": device,
                    "hidden": hidden,
                    "detail": self._editor.detail(edit),
                    "line": line.name,
                    "named": self._naming(act, device, line),
                },
            )
        return await self._make(request, asked, session, edit, version, line, fields)

    async def _make(
        self,
        request: Request,
        asked: WriteAsked,
        session: VisitSession,
        edit: Edit,
        version: str,
        line: AttachedLine | None,
        fields: Mapping[str, Any],
    ) -> Response:
        detail = self._editor.detail(edit)
        try:
            tried = await self._editor.make(edit, session.by, int(version) if version.isdecimal() else -1)
        except Stale:
            if asked.form:
                asked.next = "/list"
            return asked.turned_away("stale", "the list has changed since: look at it again", 409)
        except Unusable as error:
            return self._unusable(asked, str(error))
        if tried.problems:
            if not asked.form:
                own, others = tried.of_device(edit.device)
                body = {"error": "this does not fit", "problems": own, "others": [str(p) for p in others]}
                return json_answer(body, 422)
            if line is None:
                asked.next = "/list"
                return asked.turned_away("unfit", "; ".join(map(str, tried.problems))[:2_000], 422)
            return await self._show(request, edit.act, edit.device, line, fields, tried, status=422, version=version)
        said = f"back to version {edit.number}" if edit.act == "back" else f"{edit.act}: {detail}"
        self._writing.acted(session, said, edit.device)
        gone = edit.act in ("removed", "back")
        asked.next = "/list" if gone else f"/devices/{quote(edit.device, safe='')}"
        return asked.done({"version": self._editor.versions.number}, 200)

    def _unusable(self, asked: WriteAsked, why: str) -> Response:
        if asked.form:
            asked.next = "/list"
        return asked.turned_away("unusable", why, 503)

    async def _show(
        self,
        request: Request,
        act: str,
        device: str,
        line: AttachedLine,
        given: Mapping[str, Any],
        tried: Tried,
        *,
        status: int = 200,
        version: str = "",
    ) -> Response:
        """The form, with what was typed and what is wrong with it."""
        own, others = tried.of_device(device)
        table: dict[str, Any] = self._editor.table(device) or {} if act != "added" else {"line": line.name}
        address: dict[str, Any] = table.get("address", {})

        def fields(speech: Speech) -> list[typed.FormField]:
            made: list[typed.FormField] = []
            words = typed.keys_of(line.kind.Address)
            now = {**table, **{typed.ADDRESS + k: v for k, v in address.items()}}
            shown = list(words)
            if act != "replaced":
                polled = "expect_s" if line.kind.name == "mqtt" else "poll_s"
                shown = [
                    *(["id"] if act == "added" else []),
                    "name",
                    "profile",
                    "line",
                    *shown,
                    polled,
                    "lon",
                    "lat",
                    "tags",
                ]
            for key in shown:
                value = given.get(key, now.get(key, 10 if key == "poll_s" else ""))
                wrong = own.pop(key, "") or (own.pop("address", "") if key == next(iter(words), "") else "")
                made.append(
                    typed.field(
                        key, value, words.get(key, _KINDS.get(key, "")), wrong, speech, self._choices(key, line)
                    )
                )
            return made

        def rest(speech: Speech) -> list[tuple[str, bool]]:
            more = [f"{k}: {v}" for k, v in own.items()] + [str(p) for p in others]
            return [typed.told(text, speech) for text in more[:10]]

        context = {
            "act": act,
            "device": device,
            "line": line.name,
            "version": version or str(self._editor.versions.number),
            "fields": fields,
            "rest": rest,
            "name": table.get("name") or device,
            "named": self._naming(act, device, line),
        }
        return await self._paint(request, "relist.html", context, status)

    def _naming(self, act: str, device: str, line: AttachedLine) -> Callable[[Speech], tuple[Sequence[str], int]]:
        """What a device is about to be removed from under."""
        found = next((a.device for a in line.attachments if a.device.id == device), None)
        return lambda speech: ((), 0) if act != "removed" or found is None else self._named(found, speech)

    def _choices(self, key: str, line: AttachedLine) -> list[str]:
        if key == "line":
            return [one.name for one in self._lines if one.kind.name == line.kind.name]
        return []

    def _listed(self) -> dict[str, Any]:
        made = self._editor.made
        rows = [
            (a.device.id, a.device.name, line.name, made.get(a.device.id))
            for line in self._lines
            for a in line.attachments
        ]
        return {
            "rows": rows[:500],
            "left_out": max(0, len(rows) - 500),
            "lines": [line.name for line in self._lines],
            "versions": list(reversed(self._editor.versions.versions)),
            "number": self._editor.versions.number,
        }

    def _line_of(self, device: str) -> AttachedLine | None:
        return next((line for line in self._lines if device in line.tables), None)

    def _line(self, name: str) -> AttachedLine | None:
        return next((line for line in self._lines if line.name == name), None)


_KINDS: Final = {"poll_s": "a number", "expect_s": "a number", "lon": "a number", "lat": "a number"}
_ACTS: Final[Mapping[str, Any]] = {
    "replace": "replaced",
    "change": "changed",
    "remove": "removed",
    "add": "added",
    "back": "back",
}


def _what(request: Request) -> tuple[Any, str]:
    return _ACTS[request.url.path.rpartition("/")[2]], request.path_params.get("device", "")


def _allowed(fields: Mapping[str, Any], act: str) -> dict[str, Any]:
    """What a form of this kind may say: replacing changes the address, and an id never changes."""
    if act == "replaced":
        return {k: v for k, v in fields.items() if k.startswith(typed.ADDRESS)}
    return {k: v for k, v in fields.items() if k != "id" or act == "added"}
