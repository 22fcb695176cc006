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
from starlette.routing import Route

from edge.changes.editor import DeviceEditor
from edge.web.sight import Sight
from edge.web.writing import TechnicianRoutes

if TYPE_CHECKING:
    from edge.web.screens import Screens


class FirstLook:
    """One for a node."""

    def __init__(
        self, sight: Sight, writing: TechnicianRoutes | None = None, editor: DeviceEditor | None = None
    ) -> None:
        """Without `writing` nobody can act from a page, without `editor` nobody change the list of devices."""
        self._sight, self._writing, self._editor = sight, writing, editor
        self._screens: Screens | None = None

    def routes(self) -> list[Route]:
        """What the pages answer to."""
        return [
            Route("/", self._home),
            Route("/devices/{device}", self._device),
            Route("/static/{name}", self._file),
            Route("/summary", self._summary),
            Route("/summary/devices", self._summary_devices),
            *self._changing(),
        ]

    def _changing(self) -> list[Route]:
        if self._writing is None or self._editor is None:
            return []
        places = [*(f"/devices/{{device}}/{act}" for act in ("replace", "change", "remove")), "/list/add"]
        return [
            Route("/list", self._list),
            Route("/list/back", self._relist, methods=["POST"]),
            *(Route(place, self._form, methods=["GET"]) for place in places),
            *(Route(place, self._relist, methods=["POST"]) for place in places),
        ]

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
