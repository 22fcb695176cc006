"""Answers: what the routes of the node's own HTTP share: a body that is bounded, an answer in JSON.

Bounds: a body has `edge.control.on_site.MAX_BODY_BYTES`, and BODY_S to arrive. Numbers that JSON has not (NaN,
infinities) are null.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edge.control.on_site import MAX_BODY_BYTES

BODY_S: Final = 5.0
JSON: Final = "application/json"


def media_type(request: Request) -> str:
    """Of its body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request, types: Collection[str] = (JSON,)) -> bytes | Response:
    """The whole body, or the answer to one that is not taken; then the rest of it is not read."""
    if media_type(request) not in types:
        return json_answer({"error": f"the Content-Type must be {' or '.join(types)}"}, 415)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return json_answer({"error": f"a body has at most {MAX_BODY_BYTES} bytes"}, 413)
    except TimeoutError:
        return json_answer({"error": f"the body did not come within {BODY_S:g} s"}, 408)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody hears it
    return bytes(body)


def json_answer(body: object, status: int = 200) -> Response:
    """What is told, in JSON that a person can read."""
    content = msgspec.json.format(msgspec.json.encode(body))
    return Response(content, status, {"Cache-Control": "no-store"}, "application/json")
