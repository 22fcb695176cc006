"""The description is made of the rows; that real answers are so: tests/integration/test_node_api.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.requests import Request
from starlette.responses import Response

from edge.control.on_site import Given
from edge.web.first_look import FirstLook
from edge.web.openapi import document
from edge.web.pages import Pages
from edge.web.table import DEVICE, NO_DEVICE, NodeRoute, RouteAnswer, served
from edge.web.writing import TechnicianRoutes
from unit.edge.web.test_screens import Cabinet
from wire.sample import Sample


async def handler(_request: Request) -> Response:
    return Response()


READ = NodeRoute(path="/samples/{device}", name="sample", summary="s", handler=handler, params=(DEVICE,),
                 answers={200: RouteAnswer("One.", list[Sample]), **NO_DEVICE})  # fmt: skip
GIVE = NodeRoute(method="POST", path="/orders", name="give", summary="s", handler=handler, takes=Given, form=True,
                 shown="writes", answers={202: RouteAnswer("Taken.", headers={"Location": "Where."})})  # fmt: skip
HEALTH = NodeRoute(path="/health", name="health", summary="s", handler=handler, answers={200: RouteAnswer("It.")})


def described(*rows: NodeRoute, where: str = "tcp") -> Any:
    found = json.loads(document(rows, where=where))
    OpenAPIV31SpecValidator(found).validate()
    return found


def test_a_row_has_its_parameters_its_answers_and_what_stands_before_it() -> None:
    operation = described(READ)["paths"]["/samples/{device}"]["get"]
    (parameter,) = operation["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("device", "path", True)
    assert set(operation["responses"]) == {"200", "403", "404", "421", "503"}
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/Sample"}}
    at_socket = described(READ, where="socket")["paths"]["/samples/{device}"]["get"]
    assert set(at_socket["responses"]) == {"200", "404"}, "who asks there needs no name of the node"


def test_health_is_what_places_are_kept_for() -> None:
    assert "503" not in described(HEALTH)["paths"]["/health"]["get"]["responses"]


def test_what_changes_something_needs_a_session_and_says_what_it_takes() -> None:
    found = described(GIVE)
    operation = found["paths"]["/orders"]["post"]
    assert operation["security"][0] == {"session": [], "csrf": []}
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-www-form-urlencoded"}
    assert {"202", "303", "400", "403", "408", "413", "415", "429"} <= set(operation["responses"])
    assert {"CommandGiven", "RelinquishGiven", "AlarmActGiven", "NotTaken"} <= set(found["components"]["schemas"])
    assert "Location" in operation["responses"]["202"]["headers"]


def test_descriptions_have_no_line_ends_of_the_source() -> None:
    schemas = described(GIVE, READ)["components"]["schemas"]
    assert not [name for name, schema in schemas.items() if "\n" in schema.get("description", "")]


def test_pages_and_files_are_in_it(tmp_path: Path) -> None:
    rows = Cabinet(tmp_path, {"lamp-1": ""}).table()
    paths = described(*rows)["paths"]
    assert set(paths) == {r.path for r in rows} >= {"/", "/devices/{device}", "/static/{name}", "/summary"}
    assert set(paths["/"]["get"]["responses"]["200"]["content"]) == {"text/html"}


def test_every_route_that_is_served_stands_in_it_and_no_other(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path, {"lamp-1": ""})
    writing = TechnicianRoutes(None, None, None)  # type: ignore[arg-type]
    screens = FirstLook(None, writing)  # type: ignore[arg-type]
    pages = Pages(
        look=cabinet.examine, decided=list, alarms=list, explain=lambda _: [], writing=writing, screens=screens
    )  # type: ignore[arg-type]
    for routes, rows, where, least in (
        (served(pages.table()), pages.table(), "tcp", 25),
        (pages.own_app().routes, pages.own_table(), "socket", 16),
    ):
        there = [(r.path, m.lower()) for r in routes for m in r.methods or () if m != "HEAD"]  # type: ignore[attr-defined]
        told = [(path, method) for path, item in described(*rows, where=where)["paths"].items() for method in item]
        assert sorted(there) == sorted(told), "none is there twice, either"
        assert len(there) >= least
