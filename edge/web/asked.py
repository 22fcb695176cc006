"""Asked: what a request to write has brought, as JSON or as a form of a page without a script. JSON is answered
with JSON, a form with a redirect to the path that its field `next` names, with `problem` (and `retry_s`) in the query
where it was turned away.

Bounds: those of `edge.web.answers`; a form has MAX_FIELDS.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from edge.web.answers import JSON, NotTaken, body_of, json_answer, media_type, refusal
from edge.web.table import FORM

MAX_FIELDS: Final = 32
NUMBERS: Final = frozenset({"for_s", "value"})
_NEXT: Final = re.compile(r"/(?:[\w.~%-][\w./~%-]*)?", re.ASCII)  # a path of this node, and of no other


class SentAway(Exception):
    """A request is not taken, and `answer` says why."""

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

    def turned_away(
        self, problem: str, text: str, status: int, retry_s: float | None = None, problems: Sequence[str] = ()
    ) -> Response:
        """It was not."""
        wait_s = None if retry_s is None else math.ceil(retry_s)
        if self.form:
            told = {"problem": problem} | ({} if wait_s is None else {"retry_s": str(wait_s)})
            return RedirectResponse(f"{self.next}?{urlencode(told)}", 303)
        answer = json_answer(NotTaken(error=text, problem=problem, retry_s=wait_s, problems=problems), status)
        if wait_s is not None:
            answer.headers["Retry-After"] = str(wait_s)
        return answer


async def asked_of(request: Request) -> WriteAsked:
    """What a request has brought.

    Raises:
        SentAway: it cannot be read.
    """
    body = await body_of(request, (JSON, FORM))
    if isinstance(body, Response):
        raise SentAway(body)
    if media_type(request) == FORM:
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except ValueError as error:
            raise SentAway(refusal(f"the form cannot be read: {error}", 400)) from error
        fields: dict[str, Any] = {k: _value(v) if k in NUMBERS else v for k, v in pairs}
        to = fields.pop("next", "/")
        return WriteAsked(fields, form=True, next=to if _NEXT.fullmatch(to) else "/")
    try:
        found: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SentAway(refusal(f"the body is not JSON: {error}", 400)) from error
    if not isinstance(found, Mapping):
        raise SentAway(refusal("the body must be an object", 400))
    return WriteAsked(dict(found), form=False)  # pyright: ignore[reportUnknownArgumentType]


def _value(text: str) -> object:
    """A field as JSON has it: a number or true and false where it is written so, else a text."""
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text
    return found if isinstance(found, int | float) else text
