"""Origins: which pages of other sites a browser lets read what is answered here (CORS; WHATWG Fetch, 3.2).

None by default. A token is needed all the same, and nothing is taken from a cookie, so that a page acts only with what
somebody has given to it. Preflights are answered before any token is looked at, and touch nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

MOST: Final = 100
PREFLIGHT_S: Final = 600
METHODS: Final = ("GET", "POST", "PUT", "DELETE")
REQUEST_HEADERS: Final = (
    "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
)  # fmt: skip
ANSWER_HEADERS: Final = ("Content-Disposition", "ETag", "Link", "Location", "Retry-After")


def origins_of(given: Sequence[str]) -> tuple[str, ...]:
    """Origins as browsers send them (RFC 6454, 6.2): scheme, host and, unless it is the scheme's own, port.

    Raises:
        ValueError: one is none, or there are too many.
    """
    if len(given) > MOST:
        raise ValueError(f"--cors-origin is given {len(given)} times; at most {MOST} are")
    for text in given:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or text != f"{parts.scheme}://{parts.netloc}" or not parts.hostname:
            raise ValueError(f"--cors-origin {text!r} is no origin; write it as https://console.example.org")
        if text != text.lower() or "@" in text or parts.port in _OWN_PORT[parts.scheme]:
            raise ValueError(f"--cors-origin {text!r}: a browser writes it small, and without its scheme's own port")
    return tuple(given)


_OWN_PORT: Final = {"http": {80}, "https": {443}}


def open_to(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """The application as pages of these origins may read it; itself where there are none."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=ANSWER_HEADERS,
        max_age=PREFLIGHT_S,
    )
