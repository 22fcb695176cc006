from __future__ import annotations

import argparse
from datetime import datetime
from io import StringIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from edge.plans.local import Location, to_us
from edge.verbs.plan import EXIT_CONFIG, EXIT_FAILED, MAX_SHOWN, add, run
from wire.device import Device, Point, Roster

STREET = Path(__file__).parents[4] / "examples" / "street" / "plan.toml"
DIJON = Location(lat=47.322, lon=5.041, time_zone="Europe/Paris", country="FR")
ROSTER = Roster(
    devices=(
        Device(id="lamp-1", kind="streetlight", profile="lx-1"),
        Device(id="lamp-003", kind="streetlight", profile="lx-1", tags=("school",)),
        Device(id="bin-1", kind="bin", profile="bn-1"),
    ),
    profiles={"lx-1": (Point(name="dim_level", type="float", writable=True),), "bn-1": ()},
)
NOW_US = to_us(datetime(2026, 11, 24, 9, tzinfo=ZoneInfo("Europe/Paris")))


def said(
    *words: str, plan: Path | None = STREET, place: Location | None = DIJON, roster: Roster = ROSTER, locale: str = "C"
) -> tuple[int, str, str]:
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(["plan", *words, "--config", "node.toml"])
    out, err = StringIO(), StringIO()
    code = run(args, plan=plan, place=place, roster=roster, now_us=NOW_US, out=out, err=err, locale=locale)
    return code, out.getvalue(), err.getvalue()


def test_show_draws_tonight_for_each_calendar_of_the_node() -> None:
    code, out, err = said("show")
    assert (code, err) == (0, "")
    assert out.count("night of Tuesday 2026-11-24") == 2
    assert out.count("1 device(s), point dim_level") == 2


def test_show_draws_the_nights_and_the_device_that_are_asked_for() -> None:
    code, out, _ = said("show", "--device", "lamp-003", "--date", "2026-07-13", "--nights", "3")
    assert code == 0
    assert [f"2026-07-{d} (24 h)" in out for d in (12, 13, 14, 15, 16)] == [False, True, True, True, False]
    assert "calendar street:" not in out


def test_the_language_is_that_of_the_locale_unless_one_is_asked_for() -> None:
    assert "nuit du mardi" in said("show", locale="fr_FR.UTF-8")[1]
    assert "night of Tuesday" in said("show", "--lang", "en", locale="fr_FR.UTF-8")[1]


def test_a_node_without_devices_sees_every_calendar() -> None:
    _, out, _ = said("show", roster=Roster(devices=(), profiles={}))
    assert out.count("0 device(s)") == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--device", "lamp-3"), 'there is no device "lamp-3" (did you mean "lamp-003"?)'),
        (("--device", "bin-1"), "bin-1 follows no calendar"),
    ],
)
def test_what_cannot_be_drawn_is_told(words: tuple[str, ...], text: str) -> None:
    code, out, err = said("show", *words)
    assert (code, out) == (EXIT_FAILED, "")
    assert text in err


def test_a_node_without_place_or_plan_is_told() -> None:
    assert "lon and lat" in said("show", place=None)[2]
    assert "plan = " in said("show", plan=None)[2]


@pytest.mark.parametrize(
    "words", [("--date", "14 juillet"), ("--date", "1066-10-14"), ("--nights", "0"), ("--nights", f"{MAX_SHOWN + 1}")]
)
def test_a_wrong_command_line_is_refused(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        said("show", *words)
    assert caught.value.code == 2
    assert "write" in capsys.readouterr().err


def test_check_says_who_follows_what(tmp_path: Path) -> None:
    code, out, _ = said("check", str(STREET), plan=None)
    assert code == 0
    assert out.splitlines() == [
        "calendar street: 1 device(s) of this node",
        "calendar crossing: 1 device(s) of this node",
        "1 device(s) of this node follow no calendar",
        "Rue Monge, version 3: the plan is sound",
    ]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(STREET.read_text().replace('default = "street"', 'default = "stret"').replace("05:00", "5h"))
    code, out, err = said("check", str(wrong))
    assert (code, out) == (EXIT_CONFIG, "")
    at = 'at is "5h"; write a time such as "22:30", or dusk, dawn, sunset, sunrise as in "dusk-10"'
    assert err.splitlines() == [
        f"{wrong}: program.street.steps[2]: {at}",
        f'{wrong}: calendar.street.default: there is no program "stret" (did you mean "street"?)',
        "2 problem(s); the plan would not be taken",
    ]


def test_check_without_a_file_checks_the_one_of_the_configuration(tmp_path: Path) -> None:
    assert said("check")[1].endswith("Rue Monge, version 3: the plan is sound\n")
    assert 'node.toml names no plan: write plan = "plan.toml"' in said("check", plan=None)[2]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(STREET.read_text().replace('on = { kind = "streetlight" }', 'on = { kind = "streetlamp" }'))
    code, _, err = said("check", plan=wrong)
    assert code == EXIT_CONFIG
    assert f'{wrong}: assign[1].on.kind: no device has the kind "streetlamp" (did you mean "streetlight"?)' in err
