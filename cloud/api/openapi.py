"""OpenAPI 3.1, made from the table that also makes the routes; schemas from the structs that are encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from cloud.api.routes import JSON, Answer, Param, Route


def document(table: Sequence[Route]) -> bytes:
    """The description of the whole table, in JSON."""
    bodies = {
        a.body
        for r in table
        for a in r.all_answers.values()
        if isinstance(a.body, type) and issubclass(a.body, msgspec.Struct)
    }
    bodies |= {r.takes for r in table if r.takes is not None}
    kinds = sorted(bodies, key=lambda b: b.__name__)
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "Lamplighter aggregator",
            "version": _version(),
            "description": "What a city's nodes have sent, and where nodes send it.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }
    return msgspec.json.encode(described)


def _version() -> str:
    try:
        return version("lamplighter")
    except PackageNotFoundError:
        return "0"


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": {str(s): _response(a) for s, a in route.all_answers.items()},
        "security": [] if route.roles is None else [{"token": []}, *([{"ticket": []}] if route.ticketed else [])],
    }
    if route.roles is not None:
        operation["description"] = f"Roles: {', '.join(sorted(route.roles))}."
    if route.params:
        operation["parameters"] = [_parameter(p) for p in route.params]
    if route.bodies:
        content: dict[str, Any] = {media_type: {"schema": {"type": "string"}} for media_type in route.bodies}
        content[route.bodies[0]]["schema"]["contentEncoding"] = "zstd"
        operation["requestBody"] = {"required": True, "content": content}
    if route.takes is not None:
        schema = {"$ref": f"#/components/schemas/{route.takes.__name__}"}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return operation


def _parameter(param: Param) -> dict[str, Any]:
    schema: Mapping[str, Any] = {"type": "array", "items": param.schema} if param.many else param.schema
    described: dict[str, Any] = {
        "name": param.name,
        "in": param.at,
        "description": param.what,
        "required": param.at == "path" or param.required,
        "schema": schema,
    }
    if param.many:
        described |= {"style": "form", "explode": True}
    return described


def _response(answer: Answer) -> dict[str, Any]:
    if not answer.media_type:
        return {"description": answer.what}
    if answer.body is dict:
        schema: Any = {"type": "object"}
    elif answer.body is not None:
        schema = {"$ref": f"#/components/schemas/{answer.body.__name__}"}
    elif answer.media_type == JSON:
        schema = {}
    else:
        schema = {"type": "string"}
    return {"description": answer.what, "content": {answer.media_type: {"schema": schema}}}
