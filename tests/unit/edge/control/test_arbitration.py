from __future__ import annotations

from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.control.arbitration import Held, PriorityArray, why
from wire.entries import Level
from wire.orders import LEVELS
from wire.sample import Value

PARIS = ZoneInfo("Europe/Paris")
EVENING_US = 1_800_000_000_000_000  # 2027-01-15 08:00 UTC
HOUR_US = 3_600_000_000

levels = st.sampled_from(LEVELS)
steps = st.one_of(
    st.tuples(st.just("put"), levels, st.integers(0, 100), st.none() | st.integers(1, 20)),
    st.tuples(st.just("relinquish"), levels, st.just(0), st.none()),
    st.tuples(st.just("pass"), levels, st.integers(0, 10), st.none()),
)


def test_no_level_is_forgotten() -> None:
    assert set(LEVELS) == set(get_args(Level))


@given(st.lists(steps, max_size=40))
def test_it_is_a_list_of_what_was_given_from_which_the_highest_is_taken(
    given_: list[tuple[str, Level, int, int]],
) -> None:
    array, naive, now = PriorityArray(), list[tuple[Level, int, int | None]](), 0
    for what, level, number, lasts in given_:
        if what == "pass":
            now += number
            gone = [(lv, v) for lv, v, end in naive if end is not None and end <= now]
            assert sorted(gone) == sorted((lv, h.value) for lv, h in array.expire(now))
            naive = [one for one in naive if one[2] is None or one[2] > now]
        else:
            before = next((v for lv, v, _ in naive if lv == level), None)
            naive = [one for one in naive if one[0] != level]
            if what == "put":
                end = None if lasts is None else now + lasts
                naive.append((level, number, end))
                was = array.put(level, Held(value=number, by="x", ends_us=end))
            else:
                was = array.relinquish(level)
            assert (None if was is None else was.value) == before
        ranked = sorted(naive, key=lambda one: LEVELS.index(one[0]))
        top = array.top()
        assert (None if top is None else (top[0], top[1].value)) == (ranked[0][:2] if ranked else None)
        assert [(lv, h.value) for lv, h in array] == [one[:2] for one in ranked]
        assert array.due_us() == min((end for _, _, end in naive if end is not None), default=None)
        for level_ in LEVELS:
            held = array.held(level_)
            assert (None if held is None else held.value) == next((v for lv, v, _ in naive if lv == level_), None)


def array(**held: Held) -> PriorityArray:
    found = PriorityArray()
    for level in LEVELS:
        if level in held:
            found.put(level, held[level])
    return found


def test_why_says_who_until_when_and_what_lies_below() -> None:
    found = array(
        rule=Held(value=100.0, by="crosswalk-night", until_us=EVENING_US),
        plan=Held(value=40.0, by="street"),
        default=Held(value=100, by=""),
    )
    assert why(found, "%", PARIS) == "100 % because rule crosswalk-night until 09:00; below it: plan 40 %"
    french = "100 % : règle crosswalk-night, jusqu'à 09:00 ; en dessous : programme, 40 %"
    assert why(found, "%", PARIS, "fr") == french


def test_an_end_on_another_day_is_told_with_its_date() -> None:
    found = array(emergency=Held(value=100, by="ops", until_us=EVENING_US))
    assert why(found, "%", now_us=EVENING_US - HOUR_US) == "100 % because of an emergency (ops) until 08:00"
    soon = "100 % because of an emergency (ops) until 08:00:00"
    assert why(found, "%", now_us=EVENING_US - HOUR_US + 1) == soon
    assert (
        why(found, "%", now_us=EVENING_US - 24 * HOUR_US)
        == "100 % because of an emergency (ops) until 2027-01-15 08:00"
    )
    midnight = EVENING_US + 15 * HOUR_US  # 23:00 UTC is tomorrow in Paris
    found = array(emergency=Held(value=100, by="ops", until_us=midnight))
    assert why(found, "%", PARIS, now_us=EVENING_US) == "100 % because of an emergency (ops) until 2027-01-16 00:00"


@pytest.mark.parametrize(
    ("value", "unit", "en", "fr"),
    [
        (True, "", "true because of its safe value", "vrai : valeur de repli"),
        (False, "", "false because of its safe value", "faux : valeur de repli"),
        ("eco", "", "eco because of its safe value", "eco : valeur de repli"),
        (0.1 + 0.2, "kW", "0.3 kW because of its safe value", "0.3 kW : valeur de repli"),
        (12345678.5, "", "12345678.5 because of its safe value", "12345678.5 : valeur de repli"),
    ],
)
def test_values_are_shown_as_people_write_them(value: Value, unit: str, en: str, fr: str) -> None:
    found = array(default=Held(value=value, by=""))
    assert (why(found, unit), why(found, unit, language="fr")) == (en, fr)


def test_people_are_named_after_their_place() -> None:
    found = array(hypervisor=Held(value=80, by="ops", until_us=EVENING_US), plan=Held(value=0, by="street"))
    assert why(found, "%", PARIS) == "80 % because of the control room (ops) until 09:00; below it: plan 0 %"
    french = "80 % : poste de contrôle (ops), jusqu'à 09:00 ; en dessous : programme, 0 %"
    assert why(found, "%", PARIS, "fr") == french
    assert why(array(technician=Held(value=1, by="")), "%") == "1 % because of the technician"


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_has_a_name_in_both_languages(level: Level) -> None:
    found = array(**{level: Held(value=1, by="x")})
    assert why(found, "%").startswith("1 % because ")
    assert why(found, "%", language="fr").startswith("1 % : ")


def test_what_blinks_is_said_to_and_not_what_it_is_at_the_moment() -> None:
    found = array(technician=Held(value=100, by="jean", blinks=True), plan=Held(value=40, by="street"))
    assert why(found, "%") == "blinking because of the technician (jean); below it: plan 40 %"
    assert why(found, "%", language="fr") == "clignote : technicien (jean) ; en dessous : programme, 40 %"


def test_nothing_held_is_said_too() -> None:
    assert why(PriorityArray(), "%") == "nothing is held: the device is left as it is"
    assert why(PriorityArray(), "%", language="fr") == "rien n'est imposé : l'appareil reste comme il est"
