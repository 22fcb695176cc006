"""What is an area, what is not and why, and which places lie in one."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.views import shapes
from cloud.views.shapes import Geometry, NoShape, Shape, geometry_of, opened
from support.examples import many

SQUARE = [[5.0, 47.0], [6.0, 47.0], [6.0, 48.0], [5.0, 48.0], [5.0, 47.0]]
HOLE = [[5.4, 47.4], [5.6, 47.4], [5.6, 47.6], [5.4, 47.6], [5.4, 47.4]]


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def wrong(given: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(NoShape) as told:
        geometry_of(given)
    return told.value.problems


def test_a_hole_is_outside_and_edges_are_inside() -> None:
    shape = Shape(geometry_of(polygon(SQUARE, HOLE)))
    inside = [(5.1, 47.1), (5.0, 47.5), (6.0, 48.0), (5.4, 47.5)]
    outside = [(5.5, 47.5), (4.999999999, 47.5), (6.5, 47.5), (5.5, 49.0), (float("nan"), 47.5), (None, None)]
    assert [shape.has(*place) for place in inside] == [True] * 4
    assert [shape.has(*place) for place in outside] == [False] * 6


def test_rings_are_turned_as_rfc_7946_wants_them_and_altitudes_left_out() -> None:
    clockwise = [[lon, lat, 240.0] for lon, lat in reversed(SQUARE)]
    geometry = geometry_of({**polygon(clockwise, HOLE), "bbox": [5, 47, 6, 48]})
    assert [list(map(list, ring)) for ring in geometry.parts[0]] == [SQUARE, list(reversed(HOLE))]
    assert msgspec.json.decode(geometry.json())["type"] == "Polygon"
    assert opened(geometry.json()) == geometry
    assert (geometry.vertices, geometry.bounds) == (8, (5.0, 47.0, 6.0, 48.0))


def test_an_area_over_the_antimeridian_is_given_in_two_parts() -> None:
    over = [[179.0, -17.0], [-179.0, -17.0], [-179.0, -16.0], [179.0, -16.0], [179.0, -17.0]]
    (why, *_) = wrong(polygon(over))
    assert why.startswith("coordinates[0][0] to [1]: the edge spans 358° of longitude; cut an area")
    east = [[179.0, -17.0], [180.0, -17.0], [180.0, -16.0], [179.0, -16.0], [179.0, -17.0]]
    west = [[-180.0, -17.0], [-179.0, -17.0], [-179.0, -16.0], [-180.0, -16.0], [-180.0, -17.0]]
    geometry = geometry_of({"type": "MultiPolygon", "coordinates": [[east], [west]]})
    shape = Shape(geometry)
    assert [shape.has(lon, -16.5) for lon in (179.5, 180.0, -180.0, -179.5, 0.0)] == [True, True, True, True, False]
    assert opened(geometry.json()) == geometry


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "Point", "coordinates": [5, 47]}, "type is 'Point'; it is Polygon or MultiPolygon"),
        ({}, "type is missing"),
        ({"type": "Polygon"}, "coordinates: write a list of rings"),
        ({"type": "MultiPolygon", "coordinates": []}, "coordinates: write a list of polygons"),
        (polygon(SQUARE, 7), "coordinates[1]: write a ring"),
        (polygon([*SQUARE[:2], [6.0], *SQUARE[3:]]), "coordinates[0][2]: write longitude and latitude"),
        (polygon([*SQUARE[:2], [6.0, True], *SQUARE[3:]]), "coordinates[0][2]: write longitude and latitude"),
        (polygon([*SQUARE[:2], [6.0, 10**400], *SQUARE[3:]]), "coordinates[0][2]: write longitude and latitude"),
        (polygon(SQUARE, [*HOLE[:3], [5.4, 97.6], HOLE[4]]), "coordinates[1][3]: latitude 97.6 lies outside -90 to 90"),
        (
            polygon([[lat, lon + 100] for lon, lat in SQUARE]),
            "latitude 105 lies outside -90 to 90 (longitude goes first",
        ),
        (polygon([[185.0, 47.0], *SQUARE[1:4], [185.0, 47.0]]), "coordinates[0][0]: longitude 185 lies outside"),
        (polygon(SQUARE[:4]), "coordinates[0]: the ring is not closed: coordinates[0][3] is not coordinates[0][0]"),
        (polygon([SQUARE[0], SQUARE[1], SQUARE[0]]), "coordinates[0]: a ring has at least 4 positions"),
        (
            polygon([SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]]),
            "coordinates[0], at vertex 0 or between it and the next (5.5, 47.5): self-intersection",
        ),
        (
            polygon(SQUARE, [[lon + 9, lat] for lon, lat in HOLE]),
            "coordinates[1], at vertex 0 or between it and the next (14.4, 47.4): hole lies outside shell",
        ),
        (
            {"type": "MultiPolygon", "coordinates": [[SQUARE], [[[lon + 0.5, lat] for lon, lat in SQUARE]]]},
            "self-intersection",
        ),
    ],
)
def test_what_is_wrong_is_told_by_ring_and_vertex(given: dict[str, Any], told: str) -> None:
    assert told in wrong(given)[0]


def test_there_is_a_bound_on_what_is_read_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(wrong(polygon([["x"]] * 500))) == shapes.MAX_TOLD
    monkeypatch.setattr(shapes, "MAX_VERTICES", 9)
    assert wrong(polygon(SQUARE, HOLE)) == ("there are more than 9 vertices; at coordinates[1]",)
    monkeypatch.setattr(shapes, "MAX_RINGS", 1)
    assert wrong(polygon(SQUARE, HOLE)) == ("there are more than 1 rings",)


Grid = st.integers(0, 8)


@settings(max_examples=many(60), deadline=None)
@given(st.lists(st.tuples(Grid, Grid), min_size=3, max_size=7), st.integers(0, 2**32))
def test_it_answers_as_counting_crossings_does(corners: list[tuple[int, int]], seed: int) -> None:
    """Corners and places on a coarse grid: many lie exactly on edges and corners."""
    ring = [[float(x), float(y)] for x, y in [*corners, corners[0]]]
    try:
        shape = Shape(geometry_of(polygon(ring)))
    except NoShape:
        return
    rng = random.Random(seed)
    for _ in range(30):
        place = (rng.randint(0, 16) / 2, rng.randint(0, 16) / 2)
        assert shape.has(*place) == naive(ring, place), place


def naive(ring: list[list[float]], place: tuple[float, float]) -> bool:
    x, y = place
    inside = False
    for (ax, ay), (bx, by) in pairwise(ring):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if cross == 0 and min(ax, bx) <= x <= max(ax, bx) and min(ay, by) <= y <= max(ay, by):
            return True
        if (ay > y) != (by > y) and (cross > 0) == (by > ay):
            inside = not inside
    return inside


def test_what_is_kept_of_an_area_is_small() -> None:
    assert Geometry(((((5.0, 47.0), (6.0, 47.0), (6.0, 48.0), (5.0, 47.0)),),)).json().count(b"47.0") == 3
