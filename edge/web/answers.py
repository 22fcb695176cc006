"""Answers: what the routes of the node's own HTTP share: a body that is bounded, an answer in JSON.

Bounds: a body has `edge.control.on_site.MAX_BODY_BYTES`, and BODY_S to arrive; an answer at most MAX_ITEMS, and
`Left-Out` says how many more there are. Numbers that JSON has not (NaN,
infinities) are null.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edge.control.on_site import MAX_BODY_BYTES

BODY_S: Final = 5.0
JSON: Final = "application/json"
MAX_ITEMS: Final = 4_000


class NotTaken(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was not taken: `error` in words, `problem` in one word where a page has words of its own for it,
    `problems` all that is wrong where that is more, and in how many seconds it may be tried again."""

    error: str
    problem: str = ""
    retry_s: int | None = None
    problems: Sequence[str] = ()


def media_type(request: Request) -> str:
    """Of its body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request, types: Collection[str] = (JSON,)) -> bytes | Response:
    """The whole body, or the answer to one that is not taken; then the rest of it is not read."""
    if media_type(request) not in types:
        return refusal(f"the Content-Type must be {' or '.join(types)}", 415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return refusal(f"a body has at most {MAX_BODY_BYTES} bytes", 413)
    except TimeoutError:
        return refusal(f"the body did not come within {BODY_S:g} s", 408)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody hears it
    return bytes(body)


def json_answer(body: object, status: int = 200) -> Response:
    """What is told, in JSON that a person can read."""
    content = msgspec.json.format(msgspec.json.encode(body))
    return Response(content, status, {"Cache-Control": "no-store"}, JSON)


def refusal(error: str, status: int, problems: Sequence[str] = ()) -> Response:
    """What is told where a request is not taken."""
    return json_answer(NotTaken(error=error, problems=problems), status)


def listed(items: Sequence[object]) -> Response:
    """A list, as far as an answer goes."""
    answer = json_answer(items[:MAX_ITEMS])
    if len(items) > MAX_ITEMS:
        answer.headers["Left-Out"] = str(len(items) - MAX_ITEMS)
    return answer
