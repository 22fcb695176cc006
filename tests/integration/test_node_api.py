"""The node's own HTTP as it describes itself: every route is in the description, and every answer is as described; on
TCP and at the socket, from one real node."""

from __future__ import annotations

import copy
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from support.node_process import COUNTERS, NodeProcess, wait_for
from support.visits import TOKEN, code_for

SET = {"order": "command", "device": "c-1", "point": "n", "value": 1, "for_s": 60}
HTML = {"Accept": "text/html"}


def strict(schema: Any) -> Any:
    """The same, where what is not named may not be there."""
    if isinstance(schema, dict):
        found = {name: strict(each) for name, each in schema.items()}
        if found.get("type") == "object" and "properties" in found:
            found.setdefault("additionalProperties", False)
        return found
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


class Described:
    """The HTTP of a node at one of its two places, each answer held against the description."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.document: Any = client.get("/openapi.json").json()
        self.components = strict(copy.deepcopy(self.document["components"]))
        self.operations = {(m.upper(), path) for path, item in self.document["paths"].items() for m in item}
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, method: str, path: str, status: int, **more: Any) -> httpx.Response:
        answer = self.client.request(method, path, **more)
        assert answer.status_code == status, answer.text
        operation = self._operation(method, path.partition("?")[0])
        told = operation["responses"][str(status)]
        for name in told.get("headers", {}):
            assert name in answer.headers or name == "Left-Out", f"{method} {path} has no {name}"
        media = answer.headers.get("content-type", "").partition(";")[0]
        if "content" not in told:
            assert status == 303 or not media.endswith("json")
            return answer
        schema = {**told["content"][media]["schema"], "components": self.components}
        if media == "application/json":
            Draft202012Validator(schema).validate(answer.json())
        if "json" in more and status < 400:
            takes = operation["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator({**takes, "components": self.components}).validate(more["json"])
        return answer

    def _operation(self, method: str, path: str) -> Any:
        fits = [t for t in self.document["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", t), path)]
        template = min(fits, key=lambda t: t.count("{"))
        self.seen.add((method, template))
        return self.document["paths"][template][method.lower()]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    process = NodeProcess(Path(tmp_path_factory.mktemp("api")), COUNTERS, token=TOKEN)
    wait_for(lambda: process.health()["counters"]["samples_committed"] > 3, "it is read")
    yield process
    process.actor.kill()


def test_all_that_is_answered_on_tcp_is_as_described(node: NodeProcess) -> None:
    with httpx.Client(base_url=node.ready().removesuffix("/health"), timeout=30) as client:
        ask = Described(client)
        OpenAPIV31SpecValidator(ask.document).validate()
        for path in ("/openapi.json", "/health", "/metrics", "/samples/c-1", "/control", "/control/c-1", "/alarms",
                     "/rules/c-1", "/identify", "/session", "/summary", "/summary?lang=fr", "/summary/devices",
                     "/static/icon.svg"):  # fmt: skip
            ask("GET", path, 200)
        for path in ("/samples/none", "/control/none", "/rules/none", "/frames/none", "/frames/c-1", "/static/none"):
            ask("GET", path, 404)
        for path in ("/", "/devices/c-1"):
            ask("GET", path, 200, headers=HTML)
            ask("GET", path, 406, headers={"Accept": "application/json"})
        ask("GET", "/?lang=fr", 303, headers=HTML)
        ask("GET", "/devices/none", 404, headers=HTML)
        ask("GET", "/health", 421, headers={"Host": "evil.example"})
        ask("GET", "/alarms", 403, headers={"Origin": "http://evil.example"})
        for path in ("/visits", "/orders/x", "/support"):
            ask("GET", path, 403)
        ask("POST", "/orders", 403, json=SET)
        ask("POST", "/session", 400, json={"name": 3})
        ask("POST", "/session", 401, json={"name": "M. Dupont", "code": "00000000"})
        ask("POST", "/session", 415, content=b"x", headers={"Content-Type": "text/plain"})
        given = {"name": "M. Dupont", "code": code_for("M. Dupont", 1)}
        told = ask("POST", "/session", 201, json=given).json()
        client.headers["X-CSRF-Token"] = told["session"]["csrf"]
        assert ask("GET", "/session", 200).json()["session"]["by"] == "M. Dupont"
        ask("POST", "/here", 200, json={"for_s": 600})
        ask("POST", "/here", 400, json={"for_s": -1})
        ask("POST", "/here", 303, data={"for_s": "600", "csrf": told["session"]["csrf"], "next": "/"})
        order = ask("POST", "/orders", 202, json=SET)
        ask("GET", order.headers["Location"], 200)
        ask("POST", "/orders", 400, json=SET | {"for_s": 1, "vaule": 3})
        ask("GET", "/orders/none", 404)
        assert ask("POST", "/devices/c-1/read", 200, json={}).json()["device"] == "c-1"
        ask("POST", "/devices/none/read", 404, json={})
        ask("POST", "/lines/table/restart", 202, json={})
        ask("POST", "/lines/none/restart", 404, json={})
        assert ask("GET", "/visits", 200).json()
        with zipfile.ZipFile(io.BytesIO(ask("GET", "/support", 200).content)) as support:
            parts = {name: support.read(name).decode() for name in support.namelist()}
        assert parts.keys() >= {"health.json", "states.json", "frames.json", "node.toml", "log.txt", "packages.txt"}
        assert not any(TOKEN in part for part in parts.values())
        ask("GET", "/list", 200, headers=HTML)
        ask("GET", "/list/add?line=table", 200, headers=HTML)
        for act in ("replace", "change", "remove"):
            ask("GET", f"/devices/c-1/{act}", 200, headers=HTML)
        ask("POST", "/devices/none/replace", 404, json={})
        ask("POST", "/devices/c-1/replace", 409, json={"version": "7"})
        ask("POST", "/devices/c-1/replace", 400, json={"name": "it has another address alone"})
        ask("POST", "/devices/c-1/change", 422, json={"poll_s": "fast"})
        ask("POST", "/list/add", 422, json={"line": "table", "id": "c-1"})
        ask("POST", "/devices/c-1/change", 409, json={"version": "7"})
        ask("POST", "/devices/c-1/remove", 409, json={"version": "7"})
        ask("POST", "/list/back", 503, json={"number": "7"})
        ask("POST", "/session/end", 200, json={})
        told = ask("POST", "/session", 201, json=given | {"code": code_for("M. Dupont", 2)}).json()
        ask("DELETE", "/session", 200, headers={"X-CSRF-Token": told["session"]["csrf"]})
        assert ask.seen == ask.operations, "every route was tried"


def test_all_that_is_answered_at_the_socket_is_as_described(node: NodeProcess) -> None:
    socket = node.endpoints()["socket"]
    transport = httpx.HTTPTransport(uds=socket)
    with httpx.Client(transport=transport, base_url="http://node", timeout=30) as client:
        ask = Described(client)
        OpenAPIV31SpecValidator(ask.document).validate()
        for path in ("/openapi.json", "/health", "/metrics", "/samples/c-1", "/control", "/control/c-1", "/alarms",
                     "/rules/c-1", "/identify", "/quarantine", "/support"):  # fmt: skip
            ask("GET", path, 200)
        ask("GET", "/frames/c-1", 404)
        order = ask("POST", "/orders", 202, json=SET | {"by": "jean"})
        ask("GET", order.headers["Location"], 200)
        ask("POST", "/orders", 400, json={"order": "x"})
        ask("POST", "/orders", 403, json=SET, headers={"Origin": "http://node"})
        ask("GET", "/log", 200)
        ask("GET", "/log?days=0", 400)
        ask("POST", "/quarantine/send", 200, json={"ids": None})
        ask("POST", "/quarantine/send", 400, json={"ids": "all"})
        look = ask("POST", "/identify", 202, json={"line": "table"})
        ask("GET", look.headers["Location"], 200)
        ask("POST", "/identify", 400, json={"lien": "table"})
        ask("GET", "/identify/none", 404)
        assert ask.seen == ask.operations, "every route was tried"
