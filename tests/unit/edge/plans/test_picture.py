from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from edge.plans.load import load
from edge.plans.local import Location
from edge.plans.picture import WIDTH, Language, picture
from edge.plans.plan import Plan

ROOT = Path(__file__).parents[4]
STREET = (ROOT / "examples" / "street" / "plan.toml").read_text()
DIJON = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris", country="FR")


@pytest.fixture(scope="module")
def street() -> Plan:
    return load(STREET, DIJON)


def test_the_picture_of_the_page_is_the_picture(street: Plan) -> None:
    page = (ROOT / "docs" / "plans.md").read_text()
    assert picture(street, "street", date(2026, 11, 23), devices=58) in page


def test_a_picture_says_when_what_and_why_in_two_languages(street: Plan) -> None:
    english = picture(street, "street", date(2026, 7, 13), devices=58).splitlines()
    assert english[0] == "Rue Monge, version 3: night of Monday 2026-07-13 (24 h)"
    assert english[1] == "calendar street: program late, because of its rule for the eve of Fête nationale"
    assert english[2] == "58 device(s), point dim_level"
    assert english[3] == "sunset 21:34, dusk 22:12, dawn 05:19, sunrise 05:57"
    assert "22:07  100 %   dusk-5" in english
    assert "05:19    off   dawn" in english
    named = picture(street, "street", date(2026, 7, 14)).splitlines()
    assert named[1] == 'calendar street: program feast, because of its rule "14 juillet"'
    french = picture(street, "crossing", date(2026, 11, 23), devices=2, language="fr").splitlines()
    assert french[0] == "Rue Monge, version 3 : nuit du lundi 2026-11-23 (24 h)"
    assert french[1] == "calendrier crossing : programme crossing, comme toute autre nuit"
    assert "cellule : allume à toute heure du jour si elle détecte l'obscurité" in french


def columns(text: str) -> int:
    return max(len(line) for line in text.splitlines() if "│" in line) - 6


def test_the_bars_are_as_long_as_the_light(street: Plan) -> None:
    text = picture(street, "street", date(2026, 7, 14)).splitlines()
    bars = [line.partition("│")[2] for line in text if "│" in line]
    assert len(bars) == 5
    assert {bar.strip() for bar in bars} == {"█" * 22}, "7 h 14 min of full light"
    half = load(STREET.replace("level = 100", "level = 50"), DIJON)
    rows = [
        line.partition("│")[2].strip()
        for line in picture(half, "street", date(2026, 7, 14)).splitlines()
        if "│" in line
    ]
    assert rows == ["", "", "▄" * 22, "█" * 22, "█" * 22]


@pytest.mark.parametrize(("night", "axis"), [("2026-03-28", "00    02 04"), ("2026-10-24", "00    02       04")])
def test_the_axis_has_the_hours_that_the_clock_shows(street: Plan, night: str, axis: str) -> None:
    assert axis in picture(street, "street", date.fromisoformat(night))


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("calendar", ["street", "crossing"])
def test_every_night_of_a_year_fits_a_terminal(street: Plan, calendar: str, language: Language) -> None:
    for i in range(0, 366, 5):
        text = picture(street, calendar, date(2026, 1, 1) + timedelta(days=i), devices=2_000, language=language)
        assert all(len(line) <= WIDTH and line == line.rstrip() for line in text.splitlines())
        assert "\x1b" not in text


def test_a_long_name_is_cut_and_not_wrapped() -> None:
    plan = load(STREET.replace("Rue Monge", "R" * 100), DIJON)
    assert max(map(len, picture(plan, "street", date(2026, 7, 14)).splitlines())) == WIDTH


def test_nights_without_a_turn_of_the_sun_say_so() -> None:
    tromso = Location(lat=69.649, lon=18.955, time_zone="Europe/Oslo", country="NO")
    plan = load(STREET, tromso)
    summer = picture(plan, "street", date(2026, 6, 22)).splitlines()
    assert summer[3].startswith("sunset none (light), dusk none (light), dawn none (light)")
    assert "the same all night: 0 %" in summer
    winter = picture(plan, "crossing", date(2026, 12, 22), language="fr").splitlines()
    assert winter[3].startswith("coucher aucun (nuit), crépuscule 13:53, aube 09:32, lever aucun (nuit)")
    assert "12:00  100 %   sunset" in winter
