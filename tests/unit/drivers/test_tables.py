"""Checking tables: everything wrong at once, with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from drivers.tables import Problem, describe, parse, read


class Room(msgspec.Struct):
    up_to: Annotated[int, Meta(ge=4_194_304)]
    down_to: Annotated[int, Meta(le=16_777_216)]
    share: Annotated[float, Meta(gt=0.5)]


class Tcp(msgspec.Struct, tag_field="kind", tag="tcp"):
    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 502


class Serial(msgspec.Struct, tag_field="kind", tag="serial"):
    path: Annotated[str, Meta(pattern="^/dev/")]


class Place(msgspec.Struct):
    lon: Annotated[float, Meta(ge=-180, le=180)]
    lat: float


class Site(msgspec.Struct, kw_only=True):
    name: Annotated[str, Meta(min_length=1, description="what it is called")]
    period_s: Annotated[float, Meta(gt=0)] = 60
    mode: Literal["auto", "manual"] = "auto"
    place: Place | None = None
    lines: dict[str, Tcp | Serial] = {}
    tags: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    on: bool = True

    def __post_init__(self) -> None:
        if self.name == "moon":
            raise ValueError("name: write a place on earth")


def problems_of(table: object) -> list[str]:
    found: list[Problem] = []
    made = parse(Site, table, file="site.toml", key="", problems=found)
    assert (made is None) == bool(found)
    return [str(p) for p in found]


def test_a_right_table_becomes_its_struct() -> None:
    found: list[Problem] = []
    table = {
        "name": "pier", "period_s": 5, "mode": "manual", "place": {"lon": -4, "lat": 48.4}, "tags": ["a"],
        "window": [1, 2], "lines": {"a": {"kind": "tcp", "host": "h"}, "b": {"kind": "serial", "path": "/dev/x"}},
    }  # fmt: skip
    site = parse(Site, table, file="f", key="", problems=found)
    assert not found
    assert site == Site(
        name="pier", period_s=5.0, mode="manual", place=Place(-4.0, 48.4), tags=("a",), window=(1, 2),
        lines={"a": Tcp("h"), "b": Serial("/dev/x")},
    )  # fmt: skip
    assert site is not None
    assert isinstance(site.period_s, float)


def test_everything_wrong_is_told_at_once() -> None:
    table = {
        "nmae": "pier", "period_s": 0, "mode": "manuel", "place": {"lon": 200, "lat": "x"}, "tags": "a",
        "window": [1], "on": 1,
        "lines": {"a": {"kind": "udp"}, "b": {"host": "h"}, "c d": {"kind": "tcp", "host": 5, "port": 0}},
    }  # fmt: skip
    assert problems_of(table) == [
        'site.toml: nmae: no such key (did you mean "name"?)',
        "site.toml: name: is missing; write a text in quotes",
        "site.toml: period_s: must be a number above 0, not 0",
        'site.toml: mode: is "manuel" (did you mean "manual"?)',
        "site.toml: place.lon: must be a number from -180 to 180, not 200",
        'site.toml: place.lat: must be a number, not "x"',
        'site.toml: lines.a.kind: is "udp"; there are: serial, tcp',
        'site.toml: lines.b.kind: is missing; write one of "tcp", "serial"',
        'site.toml: lines."c d".host: must be a text in quotes, not 5',
        'site.toml: lines."c d".port: must be a whole number from 1 to 65535, not 0',
        'site.toml: tags: must be a list, each item a text in quotes, not "a"',
        "site.toml: window: must be a list of 2: [a whole number, a whole number], not a list of 1",
        "site.toml: on: must be true or false, not 1",
    ]  # fmt: skip


def test_what_only_the_struct_knows() -> None:
    assert problems_of({"name": "moon"}) == ["site.toml: name: write a place on earth"]
    assert problems_of({"name": ""}) == ["site.toml: name: must not be empty"]
    assert problems_of([]) == ["site.toml: must be a table, not a list of 0"]
    serial = {"name": "x", "lines": {"a": {"kind": "serial", "path": "COM1"}}}
    assert problems_of(serial) == ['site.toml: lines.a.path: is "COM1", which does not look like ^/dev/']


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from([*Site.__struct_fields__, "x"])


@given(st.dictionaries(keys, json, max_size=6))
def test_nothing_in_a_file_raises(table: dict[str, object]) -> None:
    found: list[Problem] = []
    made = parse(Site, table, file="f", key="", problems=found)
    assert (made is None) == bool(found)


def test_describe_names_types_and_defaults() -> None:
    keys = {k.name: k for k in describe(Site)}
    assert keys["name"].required
    assert keys["name"].description == "what it is called"
    assert keys["mode"].words == 'one of "auto", "manual"'
    assert keys["period_s"].default == 60


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    found: list[Problem] = []
    bad = tmp_path / "bad.toml"
    bad.write_text("a = \n")
    assert read(bad, found) is None
    bad.write_bytes(b"\xff")
    assert read(bad, found) is None
    assert read(tmp_path / "none.toml", found) is None
    bad.write_bytes(b"a" * ((1 << 20) + 1))
    assert read(bad, found) is None
    assert ["TOML" in found[0].text, "UTF-8" in found[1].text, "No such file" in found[2].text] == [True] * 3
    assert "line 1" in found[0].text
    assert "larger" in found[3].text


def test_large_bounds_are_told_whole() -> None:
    assert [k.words for k in describe(Room)] == [
        "a whole number of at least 4194304",
        "a whole number of at most 16777216",
        "a number above 0.5",
    ]
