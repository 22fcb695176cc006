"""Two languages, one clock."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from edge.web.language import MAX_ACCEPT_CHARS, Language, Speech, preferred
from wire.device import Point
from wire.sample import Value

PARIS = ZoneInfo("Europe/Paris")
NOON_US = 1_795_258_800_000_000  # 2026-11-21 12:00:00 in Paris
HOUR_US = 3_600_000_000


def speech(language: Language) -> Speech:
    return Speech(language, PARIS, NOON_US)


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"), ("fr", "fr"), ("fr-CA,fr;q=0.8,en;q=0.5", "fr"), ("en-GB,fr;q=0.9", "en"), ("de,fr;q=0.3", "fr"),
        ("de", "en"), ("fr;q=0,en;q=0.1", "en"), ("FR", "fr"), ("*", "en"), (";;;,,q=", "en"), ("fr;q=1.2.3", "en"),
        ("de;q=0.9,en;q=0.2,fr;q=0.3", "fr"),
    ],
)  # fmt: skip
def test_the_language_that_a_phone_asks_for(accept: str, language: Language) -> None:
    assert preferred(accept) == language


def test_of_a_header_of_any_length_only_the_beginning_is_read() -> None:
    assert preferred("," * MAX_ACCEPT_CHARS + "fr") == "en"
    assert preferred("fr" + ",en" * 100_000) == "fr"


def test_times_are_those_of_the_site_and_name_the_day_where_it_is_another() -> None:
    fr, en = speech("fr"), speech("en")
    assert fr.clock(NOON_US) == "12:00"
    assert (fr.clock(NOON_US - 13 * HOUR_US), en.clock(NOON_US - 13 * HOUR_US)) == ("hier 23:00", "yesterday 23:00")
    assert fr.clock(NOON_US + 13 * HOUR_US) == "demain 01:00"
    assert (fr.clock(NOON_US - 60 * HOUR_US), en.clock(NOON_US - 60 * HOUR_US)) == ("19/11 00:00", "19 Nov 00:00")
    assert fr.hours_back(24) == "12:00"


@pytest.mark.parametrize(
    ("seconds", "fr", "en"),
    [(0, "0 s", "0 s"), (119, "119 s", "119 s"), (120, "2 min", "2 min"), (7_200, "2 h", "2 h"),
     (200_000, "2 j", "2 d"), (-5, "0 s", "0 s")],
)  # fmt: skip
def test_lengths_of_time(seconds: float, fr: str, en: str) -> None:
    assert speech("fr").lasting(seconds).replace("\u202f", " ") == fr
    assert speech("en").lasting(seconds).replace("\u202f", " ") == en


@pytest.mark.parametrize(
    ("value", "point", "fr", "en"),
    [
        (12_345.678, {"unit": "W", "resolution": 0.1}, "12 346 W", "12 346 W"),
        (21.46, {"unit": "Cel", "resolution": 0.1}, "21,5 °C", "21.5 °C"),
        (21.46, {"unit": "V"}, "21,5 V", "21.5 V"),
        (1.4567, {}, "1,46", "1.46"),
        (3, {"unit": "ug/m3"}, "3 µg/m³", "3 µg/m³"),
        (True, {"type": "bool"}, "oui", "yes"),
        ("auto", {"type": "text"}, "auto", "auto"),
        (None, {}, "–", "–"),
        (float("inf"), {}, "inf", "inf"),
        (float("nan"), {"resolution": 0.5}, "nan", "nan"),
    ],
)
def test_values(value: Value, point: dict[str, object], fr: str, en: str) -> None:
    declared = Point(**{"name": "p", "type": "float", **point})  # type: ignore[arg-type]
    assert speech("fr").value(value, declared).replace("\u202f", " ") == fr
    assert speech("en").value(value, declared).replace("\u202f", " ") == en


def test_what_points_are_called() -> None:
    point = Point(name="p", type="int", label={"en": "Power", "fr": "Puissance"})
    assert (speech("fr").label(point), speech("en").label(point)) == ("Puissance", "Power")
    assert speech("fr").label(Point(name="p", type="int")) == "p"


def test_one_and_many() -> None:
    fr = speech("fr")
    assert fr.count("{n} device needs you", "{n} devices need you", 1) == "1 appareil a besoin de vous"
    assert fr.count("{n} device needs you", "{n} devices need you", 2) == "2 appareils ont besoin de vous"
