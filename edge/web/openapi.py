"""OpenAPI 3.1 of the node's own HTTP, made from the tables that also make its routes; schemas from the types that are
encoded and decoded. Loaded when somebody asks for it first.

What stands before every route is in it, too: on TCP which names it answers to and how many connections there may be
(`edge.web.hosts`, `edge.web.connections`), before a body how large it may be (`edge.web.answers`), before a write a
session (`edge.web.writing`) or who asks at the socket (`edge.web.peers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from edge.control.on_site import MAX_BODY_BYTES
from edge.web.answers import BODY_S, JSON
from edge.web.table import FORM, NodeRoute, RouteAnswer, RouteParam, refusals

REFERENCE: Final = "#/components/schemas/{name}"
ON_TCP: Final = refusals(
    s403="It was sent by a page of another site, or this needs more than who asks has.",
    s421="The node is not called by this name; `error` says which names it answers to.",
    s503="Too many connections are open, and this one is kept for `/health`; or what `error` says.",
)
AT_SOCKET: Final = refusals(s403="Whoever asks is no technician of this node (`control.technicians`), or a web page.")
WITH_BODY: Final = refusals(
    s400="It is not what it must be; `error` says what is wrong, `problems` all of it.",
    s408=f"The body did not come within {BODY_S:g} s.",
    s413=f"A body has at most {MAX_BODY_BYTES} bytes.",
    s415="It is of another Content-Type.",
)
WRITES: Final = refusals(
    s403="There is no session, or the request does not come from it; or a page of another site has sent it.",
    s429="So much was done in this visit that no more is taken.",
)
AS_FORM: Final = {
    303: RouteAnswer(
        "To a form: back to the path of its field `next`, with `problem` (and `retry_s`) in the query where it was"
        " turned away.",
        headers={"Location": "A path of this node."},
    )
}
ABOUT: Final[Mapping[str, str]] = {
    "tcp": "What the node answers on TCP: to read, and to act with a session that a one-time code has begun.",
    "socket": "What the node answers at its Unix socket; the kernel says who asks.",
}


def document(rows: Sequence[NodeRoute], *, where: str) -> bytes:
    """The description of a whole table, in JSON. `where` is `tcp` or `socket`."""
    kinds = [kind for row in rows for kind in (row.takes, *(a.body for a in _answers(row, where).values()))]
    kinds = [kind for kind in kinds if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    schema_of = {repr(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, where, schema_of)
    parts: dict[str, Any] = {"schemas": {name: _plain(found) for name, found in components.items()}}
    if where == "tcp":
        parts["securitySchemes"] = {
            "session": {"type": "apiKey", "in": "cookie", "name": "lamplighter"},
            "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
        }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Lamplighter node", "version": _version(), "description": ABOUT[where]},
            "paths": paths,
            "components": parts,
        }
    )


def _version() -> str:
    try:
        return version("lamplighter")
    except PackageNotFoundError:
        return "0"


def _plain(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema whose description has no line ends of the source."""
    return {**schema, "description": " ".join(schema["description"].split())} if "description" in schema else schema


def _answers(row: NodeRoute, where: str) -> dict[int, RouteAnswer]:
    """Those of a route, and of all that stands before it."""
    before: dict[int, RouteAnswer] = {}
    if where == "tcp":
        before |= ON_TCP
    if row.path == "/health":
        before.pop(503, None)  # this is what places are kept for
    if row.shown == "socket":
        before |= AT_SOCKET
    if row.takes is not None:
        before |= WITH_BODY
    if row.shown == "writes":
        before |= WRITES
    if row.form:
        before |= AS_FORM
    return dict(sorted({**before, **row.answers}.items()))


def _operation(row: NodeRoute, where: str, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": row.name,
        "summary": row.summary,
        "responses": {str(s): _response(a, schema_of) for s, a in _answers(row, where).items()},
        "security": _security(row),
    }
    if row.params:
        operation["parameters"] = [_parameter(p) for p in row.params]
    if row.takes is not None:
        schema = schema_of[repr(row.takes)]
        content = {JSON: {"schema": schema}}
        if row.form:
            more: dict[str, Any] = {"next": {"type": "string", "description": "A path of this node, to go on at."}}
            if row.shown == "writes":
                more["csrf"] = {"type": "string", "description": "The session's, in place of X-CSRF-Token."}
            content[FORM] = {"schema": {"allOf": [schema, {"type": "object", "properties": more}]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _security(row: NodeRoute) -> list[dict[str, list[str]]]:
    match row.shown:
        case "session":
            return [{"session": []}]
        case "writes":
            return [{"session": [], "csrf": []}, {"session": []}] if row.form else [{"session": [], "csrf": []}]
        case _:
            return []


def _parameter(param: RouteParam) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": param.at,
        "description": param.what,
        "required": param.at == "path",
        "schema": param.schema,
    }


def _response(answer: RouteAnswer, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"description": answer.what}
    if answer.headers:
        found["headers"] = {
            name: {"description": what, "schema": {"type": "string"}} for name, what in answer.headers.items()
        }
    if answer.body is not None:
        found["content"] = {answer.media_type: {"schema": schema_of[repr(answer.body)]}}
    elif answer.media_type != JSON:
        found["content"] = {answer.media_type: {"schema": {"type": "string"}}}
    return found
