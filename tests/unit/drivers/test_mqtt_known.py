"""Expressions over what a payload does not say: left out, never false."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.driver_rigs import profile_of
from drivers.mqtt.payload import MISSING, Payload, picker, why_no_expression

LINK = {"linkquality": 80}
LEFT_OUT = [
    "state == 'ON'",
    "state != 'OFF'",
    "'ON' == state",
    "power > `5`",
    "power < `5`",
    "power >= linkquality",
    "!state",
    "!(state == 'ON')",
    "!!state",
    "state && linkquality",
    "state == 'ON' && linkquality > `5`",
    "state == 'ON' && 'lit' || 'dark'",
    "state == 'ON' && `100` || `0`",
    "!(state == 'ON') && 'dark' || 'lit'",
    "contains(state, 'ON') && `1` || `0`",
    "starts_with(state, 'O') && 'lit' || 'dark'",
    "state && 'lit' || 'dark'",
    "(state == 'ON' && linkquality > `5`) && 'lit' || 'dark'",
    "(state == 'ON' || mode == 'auto') && 'lit' || 'dark'",
    "length(lamps[?state == 'ON']) > `0` && 'lit' || 'dark'",
    "linkquality > `5` && state == 'ON'",
    "state || mode",
    "state == 'ON' || mode == 'auto'",
    "state == 'ON' || linkquality > `100`",
    "linkquality > `100` || state == 'ON'",
    "to_string(state)",
    "to_string(state) == 'ON'",
    "type(state)",
    "type(state) == 'string'",
    "to_number(state)",
    "to_array(state)",
    "length(to_array(state))",
    "length(state)",
    "length(state) > `0`",
    "contains(state, 'ON')",
    "contains(['ON', 'on'], state)",
    "contains([state, mode], 'ON')",
    "[state, mode] == ['ON', 'auto']",
    "{s: state} == {s: 'ON'}",
    "not_null(state, mode)",
    "not_null(state == 'ON', mode)",
    "starts_with(state, 'O')",
    "lamps[?state == 'ON']",
    "length(lamps[?state == 'ON'])",
    "lamps[?state == 'ON'] | length(@) > `0`",
    "phases[].power | sum(@)",
    "sum(phases[*].power)",
    "sum(values(phases))",
    "state | to_string(@)",
    "state | 'ON'",
    "rooms.kitchen.state == 'ON'",
    "max(rx[].rssi)",
    "rx[0].rssi > `-100`",
    "join(',', [state, mode])",
    "merge({a: `1`}, state)",
]


@pytest.mark.parametrize("expression", LEFT_OUT)
@pytest.mark.parametrize("null", [False, True])
def test_what_is_not_said_is_left_out(expression: str, null: bool) -> None:
    missing = dict.fromkeys(("state", "mode", "power", "lamps", "phases", "rx", "rooms")) if null else {}
    assert picker(expression)({**LINK, **missing}) is MISSING


@pytest.mark.parametrize(
    ("expression", "body"),
    [
        ("length(lamps[?state == 'ON'])", {"lamps": [LINK, LINK]}),
        ("lamps[?!on] | length(@)", {"lamps": [LINK]}),
        ("sum(phases[].power)", {"phases": [{"current": 1}, {"current": 2}]}),
        ("length(phases.*.power)", {"phases": {"a": {}, "b": {}}}),
        ("lamps[0].state == 'ON'", {"lamps": [LINK]}),
        ("lamps[3].state == 'ON'", {"lamps": [LINK]}),
        ("map(&state, lamps) | [0] == 'ON'", {"lamps": [LINK]}),
    ],
)
def test_elements_that_do_not_say_it_say_nothing(expression: str, body: Any) -> None:
    assert picker(expression)(body) is MISSING


@pytest.mark.parametrize(
    ("expression", "body", "value"),
    [
        ("state == 'ON'", {"state": "ON"}, True),
        ("state == 'ON'", {"state": "OFF"}, False),
        ("state != 'ON'", {"state": ""}, True),
        ("state == 'ON'", {"state": 1}, False),
        ("!on", {"on": False}, True),
        ("!on", {"on": 0}, False),  # JMESPath: numbers are true
        ("a || b", {"b": False}, False),
        ("a || b", {"a": False, "b": 3}, 3),
        ("a == `1` || b == `2`", {"b": 2}, True),  # certain whatever a is
        ("a == `1` && b == `2`", {"b": 3}, False),
        ("b == `2` && a == `1`", {"b": 3}, False),
        ("not_null(a, b)", {"b": 0}, 0),
        ("error == `null`", {"error": None}, True),  # asked on purpose
        ("error == `null`", {"error": 3}, False),
        ("error != `null`", {"error": 3}, True),
        ("contains(keys(@), 'state')", LINK, False),
        ("lamps[?state == 'ON'] | length(@)", {"lamps": []}, 0),
        ("lamps[?state == 'ON'] | length(@)", {"lamps": [{"state": "OFF"}, LINK]}, 0),
        ("many[?name == 't'].v | [0]", {"many": [{"id": 1}, {"name": "t", "v": 7}]}, 7),
        ("sum(phases[].power)", {"phases": [{"power": 1}, {"power": 2}]}, 3),
        ("max(rx[].rssi)", {"rx": [{"rssi": -90}, {}]}, -90),
        ("to_string(n)", {"n": 3}, "3"),
        ("a.b || c.d", {"c": {"d": 4}}, 4),
        ("to_number(a) || b", {"b": 4}, 4),
        ("rx[*].rssi || b", {"rx": [{}], "b": 4}, 4),
        ("state == 'ON' && 'lit' || 'dark'", {"state": "ON"}, "lit"),
        ("state == 'ON' && 'lit' || 'dark'", {"state": "OFF"}, "dark"),
        ("state && `100` || `0`", {"state": False}, 0),
    ],
)
def test_what_is_said_is_as_jmespath_has_it(expression: str, body: Any, value: Any) -> None:
    found = picker(expression)(body)
    assert (found, type(found)) == (value, type(value))


def test_a_lamp_that_says_nothing_of_itself_is_not_off() -> None:
    profile = profile_of(
        "lamp",
        {
            "driver": "mqtt",
            "mqtt": {"topic": "z/{name}"},
            "point": {
                "on": {"type": "bool", "at": {"value": "state == 'ON'"}},
                "link": {"type": "int", "at": {"value": "linkquality"}},
            },
        },
    )
    reading = Payload(profile).read(json.dumps(LINK).encode())
    assert reading.values == {"link": 80}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["ON", "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["state", "lamps", "rx", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.sampled_from(LEFT_OUT), json_values)
def test_no_payload_raises(expression: str, body: Any) -> None:
    picker(expression)(body)


@pytest.mark.parametrize(
    ("expression", "why"),
    [("lenght(state)", "it has no function lenght"), ("a[?lenght(@)]", "no function"), ("(" * 5000 + "a", "too deep")],
)
def test_what_can_never_give_a_value_is_told(expression: str, why: str) -> None:
    assert why in (why_no_expression(expression) or "")
