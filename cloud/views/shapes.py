"""Shapes: areas on the map, as GeoJSON (RFC 7946), checked, and whether a place lies in one.

A Polygon or MultiPolygon of longitudes and latitudes in WGS 84 degrees; altitudes are left out, rings are turned as RFC
7946 wants them: outer ones counterclockwise, holes clockwise. Edges are straight in these degrees, as RFC 7946 has
them, and a place on an edge lies in the area, on the edge of a hole too. No edge goes over the antimeridian: an area
that does is given in two parts, one on each side (section 3.1.9). What is wrong is told by its place in `coordinates`,
counted from 0, as a program would go there.

shapely answers both questions, with exact predicates of GEOS. It brings numpy: 25 MB of memory and half a second once,
when the first area is looked at. Bounds: MAX_VERTICES an area, MAX_RINGS rings; MAX_TOLD things that are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import hypot, isfinite
from typing import Any, Final, cast

import msgspec

MAX_VERTICES: Final = 20_000
MAX_RINGS: Final = 2_000
MAX_TOLD: Final = 20

Place = tuple[float, float]  # longitude, latitude
Ring = tuple[Place, ...]  # closed: the last is the first
Part = tuple[Ring, ...]  # the outer ring, then holes


class Geometry(msgspec.Struct, frozen=True, gc=False):
    """What is kept of an area: its parts; written as a MultiPolygon where there is more than one."""

    parts: tuple[Part, ...]

    @property
    def vertices(self) -> int:
        """How many corners it has."""
        return sum(len(ring) - 1 for part in self.parts for ring in part)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all of it."""
        places = [place for part in self.parts for place in part[0]]
        lons, lats = [p[0] for p in places], [p[1] for p in places]
        return min(lons), min(lats), max(lons), max(lats)

    def json(self) -> bytes:
        """As GeoJSON."""
        one = len(self.parts) == 1
        coordinates: Any = self.parts[0] if one else self.parts
        return msgspec.json.encode({"type": "Polygon" if one else "MultiPolygon", "coordinates": coordinates})


class NoShape(ValueError):
    """It is no area; `problems` are all that is wrong, up to MAX_TOLD."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Shape:
    """A geometry, made ready to be asked. Any thread may ask it."""

    def __init__(self, geometry: Geometry) -> None:
        self.bounds: Final = geometry.bounds
        self._made = _made(geometry)
        _shapely().prepare(self._made)
        west, south, east, north = self.bounds
        self.has((west + east) / 2, (south + north) / 2)  # builds its index, which no two threads may do at once

    def has(self, lon: float | None, lat: float | None) -> bool:
        """Say whether a place lies in it, its edges too."""
        if lon is None or lat is None:
            return False
        west, south, east, north = self.bounds
        if not (west <= lon <= east and south <= lat <= north):  # so it is for NaN, and for nearly all of a city
            return False
        return bool(_shapely().intersects_xy(self._made, lon, lat))


def geometry_of(given: Mapping[str, Any]) -> Geometry:
    """The geometry that a GeoJSON object describes; other members of it are left out.

    Raises:
        NoShape: it describes none.
    """
    coordinates = given.get("coordinates")
    match given.get("type"):
        case "Polygon":
            parts, where = [coordinates], "coordinates"
        case "MultiPolygon":
            parts, where = coordinates, "coordinates[{}]"
        case other:
            shown = repr(other[:50]) if isinstance(other, str) else "missing"
            raise NoShape([f"type is {shown}; it is Polygon or MultiPolygon"])
    if not isinstance(parts, list) or not parts:
        raise NoShape(["coordinates: write a list of polygons, with one at least"])
    reading = _Reading()
    made = tuple(
        reading.part(part, where.format(i)) for i, part in enumerate(cast("list[Any]", parts)) if reading.goes_on
    )
    if reading.problems:
        raise NoShape(reading.problems)
    geometry = Geometry(tuple(tuple(_turned(r, outer=i == 0) for i, r in enumerate(part)) for part in made))
    if (why := _invalid(made, where)) is not None:
        raise NoShape([why])
    return geometry


def opened(body: bytes) -> Geometry:
    """What `Geometry.json` has written."""
    raw = msgspec.json.decode(body)
    parts: Any = [raw["coordinates"]] if raw["type"] == "Polygon" else raw["coordinates"]
    return Geometry(msgspec.convert(parts, tuple[Part, ...]))


class _Reading:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._vertices = self._rings = 0

    @property
    def goes_on(self) -> bool:
        return len(self.problems) < MAX_TOLD

    def part(self, given: Any, where: str) -> Part:
        if not isinstance(given, list) or not given:
            self.problems.append(f"{where}: write a list of rings, the outer one first")
            return ()
        rings = cast("list[Any]", given)
        return tuple(self._ring(ring, f"{where}[{i}]") for i, ring in enumerate(rings) if self.goes_on)

    def _ring(self, given: Any, where: str) -> Ring:
        self._rings += 1
        if self._rings > MAX_RINGS:
            self._tell(f"there are more than {MAX_RINGS} rings")
            return ()
        if not isinstance(given, list):
            self._tell(f"{where}: write a ring, a list of positions")
            return ()
        positions = cast("list[Any]", given)
        self._vertices += len(positions)
        if self._vertices > MAX_VERTICES:
            self._tell(f"there are more than {MAX_VERTICES} vertices; at {where}")
            return ()
        before = len(self.problems)
        ring = tuple(self._place(p, f"{where}[{i}]") for i, p in enumerate(positions) if self.goes_on)
        if len(self.problems) > before:
            return ()
        if len(ring) < 4:
            self._tell(f"{where}: a ring has at least 4 positions, the last one being the first; this has {len(ring)}")
        elif ring[0] != ring[-1]:
            self._tell(f"{where}: the ring is not closed: {where}[{len(ring) - 1}] is not {where}[0]")
        for i, (a, b) in enumerate(pairwise(ring)):
            if abs(a[0] - b[0]) > 180 and self.goes_on:
                self._tell(
                    f"{where}[{i}] to [{i + 1}]: the edge spans {abs(a[0] - b[0]):g}° of longitude; cut an area that"
                    " goes over the antimeridian in two there, in a MultiPolygon (RFC 7946, section 3.1.9)"
                )
        return ring

    def _place(self, given: Any, where: str) -> Place:
        numbers = cast("list[Any]", given) if isinstance(given, list) else []
        if not 2 <= len(numbers) <= 4 or not all(_finite(n) for n in numbers):
            self._tell(f"{where}: write longitude and latitude, two numbers")
            return 0.0, 0.0
        lon, lat = float(numbers[0]), float(numbers[1])
        if not -180 <= lon <= 180:
            self._tell(f"{where}: longitude {lon:g} lies outside -180 to 180")
        if not -90 <= lat <= 90:
            turned = " (longitude goes first)" if -90 <= lon <= 90 and -180 <= lat <= 180 else ""
            self._tell(f"{where}: latitude {lat:g} lies outside -90 to 90{turned}")
        return lon, lat

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e9 and isfinite(number)


def _turned(ring: Ring, *, outer: bool) -> Ring:
    """Counterclockwise where it is an outer one, else clockwise."""
    lon, lat = ring[0]  # as from there, so that little is lost in the products
    area = sum((a[0] - lon) * (b[1] - lat) - (b[0] - lon) * (a[1] - lat) for a, b in pairwise(ring))
    return ring if (area > 0) == outer else ring[::-1]


def _invalid(parts: tuple[Part, ...], where: str) -> str | None:
    """Why it encloses no area of its own: rings that cross themselves or others, holes outside, parts that overlap."""
    reason = str(_shapely().is_valid_reason(_made(Geometry(parts))))
    if reason == "Valid Geometry":
        return None
    found = re.fullmatch(r"(.*)\[(\S+) (\S+)\]", reason)
    if found is None:
        return reason
    what, at = found[1], (float(found[2]), float(found[3]))
    ring, vertex = min(_edges(parts, where), key=lambda edge: _apart(at, edge[2], edge[3]))[:2]
    return f"{ring}, at vertex {vertex} or between it and the next ({at[0]:.9g}, {at[1]:.9g}): {what.lower()}"


def _edges(parts: tuple[Part, ...], where: str) -> Iterator[tuple[str, int, Place, Place]]:
    for i, part in enumerate(parts):
        for j, ring in enumerate(part):
            for k, (a, b) in enumerate(pairwise(ring)):
                yield f"{where.format(i)}[{j}]", k, a, b


def _apart(at: Place, a: Place, b: Place) -> float:
    """How far a place is from an edge, in degrees."""
    (x, y), (dx, dy) = (at[0] - a[0], at[1] - a[1]), (b[0] - a[0], b[1] - a[1])
    length = dx * dx + dy * dy
    along = 0.0 if length == 0 else min(1.0, max(0.0, (x * dx + y * dy) / length))
    return hypot(x - along * dx, y - along * dy)


def _made(geometry: Geometry) -> Any:
    lib = _shapely()
    polygons = [lib.Polygon(part[0], part[1:]) for part in geometry.parts]
    return polygons[0] if len(polygons) == 1 else lib.MultiPolygon(polygons)


@cache
def _shapely() -> Any:
    """Loaded when the first area is looked at."""
    return import_module("shapely")
