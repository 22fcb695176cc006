"""Identifying: what is on the node's lines, over its HTTP.

`GET /identify` says which devices were never heard since the start, and why; `GET /frames/{device}` gives the last
frames of a device, where its driver keeps them. Both are for whoever may read. `POST /identify` begins to look on a
line (`edge.identify.looking.LookFor`), for technicians at the node's socket; `GET /identify/{id}` there says how far it
has come, and at the end what was found.

Bounds: one look at a time, which ends by itself when nobody has asked for it in LEFT_ALONE_S; the last KEPT are kept; a
body as in `edge.web.answers`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from drivers.errors import DriverError
from drivers.frames import Frame
from edge.identify.looking import LookFor, LookReport
from edge.identify.on_lines import OnLines, Unheard
from edge.web.answers import json_answer, refusal
from groundwork.backoff import Monotonic
from wire.time import Utc

LEFT_ALONE_S: Final = 20.0
KEPT: Final = 8

log = logging.getLogger(__name__)


class LookProgress(msgspec.Struct, kw_only=True):
    """How far a look has come: a word of progress with its details, or what was found, or why nothing could be."""

    id: str
    step: str = ""
    details: Mapping[str, Any] = {}
    report: LookReport | None = None
    error: str = ""


class ShownField(msgspec.Struct, frozen=True):
    """A part of a frame; see `drivers.frames.Field`."""

    first: int
    length: int
    name: str
    hex: str


class ShownFrame(msgspec.Struct, frozen=True):
    """A frame as it is shown; see `drivers.frames.Frame`."""

    time_us: Utc
    direction: str
    about: str
    hex: str
    fields: tuple[ShownField, ...]


class UnheardDevices(msgspec.Struct, frozen=True):
    """Those of the node."""

    unheard: tuple[Unheard, ...]


class Identifying:
    """The routes' answers."""

    def __init__(self, lines: OnLines, clock: Monotonic = time.monotonic) -> None:
        self._lines, self._clock = lines, clock
        self._kept: dict[str, LookProgress] = {}
        self._working: asyncio.Task[None] | None = None
        self._asked_s = 0.0

    def unheard(self) -> Response:
        """Which devices have never been heard."""
        return json_answer(UnheardDevices(tuple(self._lines.unheard())))

    def frames(self, device: str) -> Response:
        """The last frames of a device that is there."""
        found = self._lines.frames(device)
        if found is None:
            return refusal(f"the driver of {device} keeps no frames", 404)
        return json_answer([shown(f) for f in found])

    def begin(self, body: bytes) -> Response:
        """Begin to look on a line."""
        try:
            ask = msgspec.json.decode(body, type=LookFor)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return refusal(f"this cannot be looked for: {error}", 400)
        if self._working is not None and not self._working.done():
            return refusal("somebody looks already: wait until they have done", 409)
        looked = LookProgress(id=secrets.token_hex(8))
        self._kept[looked.id] = looked
        for old in list(self._kept)[:-KEPT]:
            del self._kept[old]
        self._asked_s = self._clock()
        self._working = asyncio.create_task(self._work(ask, looked), name="identify")
        answer = json_answer(looked, 202)
        answer.headers["Location"] = f"/identify/{looked.id}"
        return answer

    def looked(self, one: str) -> Response:
        """How far it has come."""
        if (found := self._kept.get(one)) is None:
            return refusal(f"no look {one[:64]} is known here", 404)
        self._asked_s = self._clock()
        return json_answer(found)

    async def _work(self, ask: LookFor, looked: LookProgress) -> None:
        working = asyncio.current_task()

        def tell(word: str, details: Mapping[str, Any]) -> None:
            looked.step, looked.details = word, details
            if self._clock() - self._asked_s > LEFT_ALONE_S and working is not None:
                looked.error = "nobody has asked how far it has come"
                working.cancel()

        try:
            looked.report = await self._lines.look(ask, tell)
        except DriverError as error:
            looked.error = str(error)
        except Exception as error:
            looked.error = f"{type(error).__name__}: {error}"
            log.exception("looking on line %s", ask.line)


def shown(frame: Frame) -> ShownFrame:
    """A frame with its bytes in hexadecimal."""
    fields = (
        ShownField(f.first, f.length, f.name, frame.data[f.first : f.first + f.length].hex()) for f in frame.fields
    )
    return ShownFrame(frame.time_us, frame.direction, frame.about, frame.data.hex(), tuple(fields))
