"""First look: the routes of the pages for people, whose code comes when somebody looks first. A node that nobody visits
does without all of it, jinja2 and catalogues included: about 10 MB.

Bounds: those of `edge.web.screens`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from edge.changes.editor import DeviceEditor
from edge.web.answers import NotTaken
from edge.web.glance import DeviceLine, Summary
from edge.web.sight import Sight
from edge.web.table import DEVICE, HTML, LANGUAGE, TEXT, NodeRoute, RouteAnswer, RouteParam, refusals
from edge.web.writing import TechnicianRoutes

if TYPE_CHECKING:
    from edge.web.screens import Screens


class ListTaken(msgspec.Struct, frozen=True):
    """The version of the list of devices that counts now."""

    version: int


class UnfitDevice(msgspec.Struct, frozen=True):
    """What is wrong with a device, by the key of its table, and what else is wrong then."""

    error: str
    problems: Mapping[str, str]
    others: Sequence[str]


class FirstLook:
    """One for a node."""

    def __init__(
        self, sight: Sight, writing: TechnicianRoutes | None = None, editor: DeviceEditor | None = None
    ) -> None:
        """Without `writing` nobody can act from a page, without `editor` nobody change the list of devices."""
        self._sight, self._writing, self._editor = sight, writing, editor
        self._screens: Screens | None = None

    def table(self) -> list[NodeRoute]:
        """What the pages answer to."""
        other = {303: RouteAnswer("Back to the page, in the language of `lang`.", headers={"Location": "The page."})}
        page = {200: RouteAnswer("The page.", media_type=HTML), **other,
                406: RouteAnswer("The request takes no HTML.", media_type=TEXT)}  # fmt: skip
        return [
            NodeRoute(
                path="/", name="home", summary="How the cabinet is, for a browser.", handler=self._home, shown="page",
                params=(LANGUAGE, RouteParam(name="page", what="Which page of the devices.", at="query")), answers=page,
            ),
            NodeRoute(
                path="/devices/{device}", name="device", summary="One device, for a browser.", handler=self._device,
                shown="page", params=(DEVICE, LANGUAGE),
                answers={**page, 404: RouteAnswer("There is no device of this name.", media_type=HTML)},
            ),
            NodeRoute(
                path="/static/{name}", name="static", summary="What the pages need.", handler=self._file, shown="page",
                params=(RouteParam(name="name", what="A file's name."),),
                answers={200: RouteAnswer("The file."), 404: RouteAnswer("There is none.", media_type=TEXT)},
            ),
            NodeRoute(
                path="/summary", name="summary", summary="What the first page says, as data.", handler=self._summary,
                params=(LANGUAGE,), answers={200: RouteAnswer("The cabinet at one look.", Summary)},
            ),
            NodeRoute(
                path="/summary/devices", name="summary_devices", summary="Each device, as data.",
                handler=self._summary_devices, params=(LANGUAGE,),
                answers={200: RouteAnswer("The devices, as they are configured.", list[DeviceLine])},
            ),
            *self._changing(page),
        ]  # fmt: skip

    def _changing(self, page: Mapping[int, RouteAnswer]) -> list[NodeRoute]:
        if self._writing is None or self._editor is None:
            return []
        unfit = {
            409: RouteAnswer("The list has changed since `version`.", NotTaken),
            422: RouteAnswer("It does not fit: `problems` says what of the device, by key.", UnfitDevice),
            503: RouteAnswer("It cannot be kept.", NotTaken),
        }
        done = {200: RouteAnswer("Done: the version that counts now.", ListTaken), **unfit}
        rows = [
            NodeRoute(
                path="/list", name="list", summary="All devices, and the versions of their list.", handler=self._list,
                shown="page", params=(LANGUAGE,), answers=page,
            ),
            NodeRoute(
                method="POST", path="/list/back", name="list_back", summary="Go back to a version of the list.",
                handler=self._relist, shown="writes", form=True, takes=dict[str, Any], answers=done,
            ),
        ]  # fmt: skip
        for act in ("replace", "change", "remove", "add"):
            path = "/list/add" if act == "add" else f"/devices/{{device}}/{act}"
            of = () if act == "add" else (DEVICE,)
            line = (RouteParam(name="line", what="On which line.", at="query"),) if act == "add" else ()
            rows += [
                NodeRoute(
                    path=path, name=f"{act}_form", summary=f"The form to {act} a device.", handler=self._form,
                    shown="page", params=(*of, *line, LANGUAGE), answers=page,
                ),
                NodeRoute(
                    method="POST", path=path, name=f"{act}_device", handler=self._relist, shown="writes", form=True,
                    summary=f"{act.capitalize()} a device: the keys of its table in the configuration, those of its"
                    " address as `address.KEY`.",
                    params=of, takes=dict[str, Any],
                    answers={**done, **refusals(s404="There is no such device or line.")},
                ),
            ]  # fmt: skip
        return rows

    async def _list(self, request: Request) -> Response:
        return await (await self._loaded()).relisting.versions(request)

    async def _form(self, request: Request) -> Response:
        return await (await self._loaded()).relisting.form(request)

    async def _relist(self, request: Request) -> Response:
        return await (await self._loaded()).relisting.post(request)

    async def _home(self, request: Request) -> Response:
        return await (await self._loaded()).home(request)

    async def _device(self, request: Request) -> Response:
        return await (await self._loaded()).device(request)

    async def _file(self, request: Request) -> Response:
        return await (await self._loaded()).file(request)

    async def _summary(self, request: Request) -> Response:
        return await (await self._loaded()).summary(request)

    async def _summary_devices(self, request: Request) -> Response:
        return await (await self._loaded()).summary_devices(request)

    async def _loaded(self) -> Screens:
        if self._screens is None:
            module = await asyncio.to_thread(import_module, "edge.web.screens")
            if self._screens is None:  # another look was as early
                self._screens = module.Screens(self._sight, self._writing, self._editor)
        assert self._screens is not None
        return self._screens
