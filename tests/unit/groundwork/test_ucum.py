"""Which units UCUM has, and what is told of those that it has not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundwork.ucum import _METRIC, _OTHERS, _PREFIXES, why_not_ucum
from support.examples import many

PROFILES = Path(__file__).parents[3] / "drivers" / "profiles"


@pytest.mark.parametrize(
    "unit",
    [
        "", "V", "kW.h", "V.A{reactive}", "ug/m3", "m/s2", "10*3/uL", "10^-6", "1/min", "/min", "{rotations}/min",
        "%", "[degF]", "dB[SPL]", "B[10.nV]", "[m/s2/Hz^(1/2)]", "kg.m2/(s3.A)", "(m/s)/(m{wide}.s)", "m+2", "W/m2.s-1",
        "Mibit/s", "dag", "[ppm]", "cal_[15]/h", "''", "100/d", "dB{mW}", "{}", "mol{CO2}/m3",
    ],
)  # fmt: skip
def test_what_is_one(unit: str) -> None:
    assert why_not_ucum(unit) is None


@pytest.mark.parametrize(
    ("unit", "told"),
    [
        ("°C", "there is no unit '°C'; write Cel"),
        ("kWh", "write kW.h"),
        ("µg/m³", "there is no unit 'µg'; write ug/m3"),
        ("l/hour", "there is no unit 'hour'; write l/h"),
        ("kw", "write kW"),
        ("w/M2", "write W/m2"),
        ("dBm", "write dB{mW}"),
        ("mw", "there is no unit 'mw'"),
        ("veh/h", "there is no unit 'veh'"),
        ("k[degF]", "there is no unit 'k[degF]'"),
        ("m//s", "a unit is missing before '/'"),
        ("m/", "a unit is missing at the end"),
        ("(m/s", "a parenthesis is not closed"),
        ("m)", "')' at character 2 belongs to nothing"),
        ("m{", "an annotation"),
        ("m{a b}", "an annotation"),
        ("V ", "write V"),
        ("m\n", "write m"),
        ("m0", "there is no unit 'm0'"),
        ("(" * 9 + "m" + ")" * 9, "parentheses nest more than 8 deep"),
        ("m" * 201, "has 201 characters"),
    ],
)
def test_what_is_none_is_told_with_what_is_right(unit: str, told: str) -> None:
    why = why_not_ucum(unit)
    assert why is not None
    assert told in why
    if "; write " in why:
        assert why_not_ucum(why.partition("; write ")[2]) is None, "what is told is one"


def test_how_many_atoms_version_2_2_has() -> None:
    assert (len(_PREFIXES), len(_METRIC), len(_OTHERS)) == (24, 96, 216)
    assert not _METRIC & _OTHERS


def test_every_unit_of_a_shipped_profile_is_one() -> None:
    units = {
        (path.stem, name): point.get("unit", "")
        for path in PROFILES.glob("*.toml")
        for name, point in tomllib.loads(path.read_text())["point"].items()
    }
    assert len(units) > 50
    assert {of: why for of, unit in units.items() if (why := why_not_ucum(unit)) is not None} == {}


Atom = st.one_of(
    st.sampled_from(sorted(_OTHERS)),
    st.builds(lambda p, a: p + a, st.sampled_from(["", *sorted(_PREFIXES)]), st.sampled_from(sorted(_METRIC))),
)
Component = st.builds(
    lambda a, power, note: f"{a}{power}{note}", Atom, st.sampled_from(["", "2", "-1", "+3"]),
    st.sampled_from(["", "{of all}".replace(" ", "_"), "{}"]),
)  # fmt: skip
Term = st.recursive(
    Component,
    lambda inner: st.one_of(
        st.builds(lambda a, op, b: f"{a}{op}{b}", inner, st.sampled_from("./"), inner), st.builds("({})".format, inner)
    ),
    max_leaves=5,
)


@settings(max_examples=many(150), deadline=None)
@given(Term)
def test_whatever_the_grammar_makes_is_one(unit: str) -> None:
    if len(unit) <= 200:
        assert why_not_ucum(unit) is None or "nest" in str(why_not_ucum(unit))


@settings(max_examples=many(150), deadline=None)
@given(st.text(max_size=40))
def test_no_text_is_too_strange_to_be_told_of(unit: str) -> None:
    why_not_ucum(unit)
