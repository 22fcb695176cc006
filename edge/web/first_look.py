"""First look: the routes of the pages for people, whose code comes when somebody looks first. A node that nobody visits
does without all of it, jinja2 and catalogues included: about 10 MB.

Bounds: those of `edge.web.screens`.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from edge.web.glance import DeviceLine, Summary
from edge.web.sight import Sight
from edge.web.table import DEVICE, HTML, LANGUAGE, TEXT, NodeRoute, RouteAnswer, RouteParam
from edge.web.writing import TechnicianRoutes

if TYPE_CHECKING:
    from edge.web.screens import Screens


class FirstLook:
    """One for a node."""

    def __init__(self, sight: Sight, writing: TechnicianRoutes | None = None) -> None:
        """Without `writing` nobody can act from a page."""
        self._sight, self._writing = sight, writing
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
        ]  # fmt: skip

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
                self._screens = module.Screens(self._sight, self._writing)
        assert self._screens is not None
        return self._screens
