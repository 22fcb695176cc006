"""Origins: what a browser says, and what of it is let through."""

from __future__ import annotations

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cloud.entrance.origins import open_to, origins_of


@pytest.mark.parametrize("text", ["https://console.example.org", "http://192.0.2.7:8090", "http://[2001:db8::1]:81"])
def test_an_origin_is_taken_as_a_browser_sends_it(text: str) -> None:
    assert origins_of([text]) == (text,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*", "is no origin"),
        ("null", "is no origin"),
        ("console.example.org", "is no origin"),
        ("https://console.example.org/", "is no origin"),
        ("https://console.example.org/x?y", "is no origin"),
        ("ftp://console.example.org", "is no origin"),
        ("https://", "is no origin"),
        ("https://me@console.example.org", "a browser writes it small"),
        ("https://Console.example.org", "a browser writes it small"),
        ("https://console.example.org:443", "a browser writes it small"),
        ("http://console.example.org:99999", "Port out of range"),
    ],
)
def test_what_no_browser_sends_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        origins_of([text])


def test_so_many_and_no_more() -> None:
    with pytest.raises(ValueError, match="at most 100"):
        origins_of([f"http://h{number}.example" for number in range(101)])


async def served(scope: Scope, _receive: Receive, send: Send) -> None:
    assert scope["method"] != "OPTIONS"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"it"})


async def asked(app: ASGIApp, method: str, origin: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client:
        return await client.request(method, "/v1/latest", headers={"Origin": origin, **headers})


async def test_pages_of_one_origin_may_read_and_those_of_another_may_not() -> None:
    app = open_to(served, origins_of(["https://console.example.org"]))
    mine = await asked(app, "GET", "https://console.example.org")
    assert mine.text == "it"
    assert mine.headers["access-control-allow-origin"] == "https://console.example.org"
    assert "etag" in mine.headers["access-control-expose-headers"].lower()
    assert "access-control-allow-credentials" not in mine.headers
    other = await asked(app, "GET", "https://elsewhere.example.org")
    assert "access-control-allow-origin" not in other.headers

    ask = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization, if-match"}
    allowed = await asked(app, "OPTIONS", "https://console.example.org", **ask)
    assert (allowed.status_code, allowed.headers["access-control-max-age"]) == (200, "600")
    refused = await asked(app, "OPTIONS", "https://elsewhere.example.org", **ask)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


def test_without_any_nothing_stands_between() -> None:
    assert open_to(served, ()) is served
