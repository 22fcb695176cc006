"""Busy: what is told to whoever comes beyond the bounds of `edge.web.connections`: 503, and when to come again. People
are told in both languages, for nothing is loaded for it, and the page comes back by itself.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.types import Scope

from edge.web.answers import refusal

AGAIN_S: Final = 5
HTML: Final = "text/html"
HEADS: Final = {"Retry-After": str(AGAIN_S), "Cache-Control": "no-store"}
PAGE_HEADS: Final = {**HEADS, "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
PAGE: Final = f"""<!doctype html>
<html lang="fr"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{AGAIN_S}"><title>Un instant · One moment</title>
<h1>Trop de téléphones regardent cette armoire</h1>
<p>La page revient d’elle-même dans {AGAIN_S} secondes.</p>
<div lang="en"><h1>Too many phones look at this cabinet</h1>
<p>The page comes back by itself in {AGAIN_S} seconds.</p></div>
</html>
"""


def busy(scope: Scope) -> Response:
    """The answer on a connection that is kept for health."""
    if any(name == b"accept" and b"text/html" in value for name, value in scope["headers"]):
        return Response(PAGE, 503, PAGE_HEADS, HTML)
    answer = refusal("too many connections are open; this one is kept for /health", 503)
    answer.headers.update(HEADS)
    return answer


def _unasked() -> bytes:
    body = PAGE.encode()
    heads = {**PAGE_HEADS, "Content-Type": f"{HTML}; charset=utf-8", "Content-Length": len(body), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in heads.items())
    return f"HTTP/1.1 503 Service Unavailable\r\n{lines}\r\n".encode() + body


UNASKED: Final = _unasked()
"""The answer on a connection that has no place at all, whatever it is going to ask."""
