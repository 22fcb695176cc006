"""Checking tables: everything wrong at once, with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from drivers.tables import Problem, describe, parse, read, suggest


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


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    en: str = ""
    fr: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: str | tuple[str, ...] = ()
    tag: str | tuple[str, ...] = ()


class Hinted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(pattern="^[a-z-]+$", title="small letters", examples=["cold-lamp"])] = "a"
    plain: Annotated[str, msgspec.Meta(pattern="^[a-z-]+$")] = "a"
    level: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    for_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 0
    early_min: int = 0
    text: Said = Said()
    on: Chosen = Chosen()
    many: tuple[Chosen, ...] = ()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("name", "Lampe éteinte", 'is "Lampe éteinte"; small letters: write "lampe-eteinte"'),
        ("name", "14", 'is "14"; small letters: write "cold-lamp"'),
        ("plain", "A B", 'is "A B", which does not look like ^[a-z-]+$; write "a-b"'),
        ("plain", "14", 'is "14", which does not look like ^[a-z-]+$'),
        ("level", "60%", 'must be a whole number from 0 to 100, not "60%"; write 60'),
        ("level", "160", 'must be a whole number from 0 to 100, not "160"'),
        ("level", "1.5", 'must be a whole number from 0 to 100, not "1.5"'),
        ("for_s", "1h", 'must be a number from 0 to 86400, not "1h"; write 3600'),
        ("for_s", "1,5 min", 'must be a number from 0 to 86400, not "1,5 min"; write 90'),
        ("for_s", "2 lux", 'must be a number from 0 to 86400, not "2 lux"'),
        ("early_min", "1 h", 'must be a whole number, not "1 h"; write 60'),
        ("text", "Lampe", 'must be a table, not "Lampe"; write text = { en = "…", fr = "Lampe" }'),
        ("on", "bin", 'must be a table, not "bin"; write on = { kind = "bin" }'),
        ("on", 3, "must be a table, not 3; write on = { kind = … }"),
    ],
)
def test_what_was_written_for_something_else_is_told_as_it_should_be(key: str, value: object, says: str) -> None:
    problems: list[Problem] = []
    assert parse(Hinted, {key: value}, file="f", key="", problems=problems) is None
    assert [str(p) for p in problems] == [f"f: {key}: {says}"]


def test_an_item_of_a_list_and_a_table_with_needed_keys_are_told_too() -> None:
    problems: list[Problem] = []
    assert parse(Hinted, {"many": ["bin"]}, file="f", key="", problems=problems) is None
    assert str(problems[0]) == 'f: many[0]: must be a table, not "bin"; write { kind = "bin" }'
    assert suggest("x", []) == "", "nothing is known, and nothing can be listed"
