from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from edge.control.arbitration import Held
from edge.control.arrays import PriorityArrays
from edge.control.decided import HeldAt, decided
from edge.plans.local import to_us
from wire.device import Point

PARIS = ZoneInfo("Europe/Paris")
LEVEL = Point(name="dim_level", type="float", unit="%", low=0, high=100, writable=True, safe=100.0)
SWITCH = Point(name="lamp_on", type="bool", writable=True)
NOW_US = to_us(datetime(2026, 11, 24, 20, tzinfo=PARIS))
UNTIL_US = to_us(datetime(2026, 11, 24, 22, 14, tzinfo=PARIS))


def control() -> PriorityArrays:
    return PriorityArrays(
        {("lamp-2", "dim_level"): LEVEL, ("lamp-1", "dim_level"): LEVEL, ("lamp-1", "lamp_on"): SWITCH}, 1
    )


def test_every_point_that_something_is_held_for_with_all_its_levels() -> None:
    found = control()
    assert list(decided(found, PARIS, NOW_US)) == []
    found.hold(("lamp-2", "dim_level"), "plan", Held(value=40.0, by="night"))
    found.hold(("lamp-1", "lamp_on"), "hypervisor", Held(value=True, by="m.dupont"))
    found.hold(("lamp-2", "dim_level"), "rule", Held(value=100.0, by="crossing", ends_us=5, until_us=UNTIL_US))
    one, two = decided(found, PARIS, NOW_US)
    assert (one.device, one.point, one.value) == ("lamp-1", "lamp_on", True)
    assert one.why == {"en": "true because of the control room (m.dupont)", "fr": "vrai : poste de contrôle (m.dupont)"}
    assert (two.device, two.value) == ("lamp-2", 100.0)
    assert two.why["en"] == "100 % because rule crossing until 22:14; below it: plan 40 %"
    assert two.why["fr"] == "100 % : règle crossing, jusqu'à 22:14 ; en dessous : programme, 40 %"
    assert two.levels == (
        HeldAt(level="rule", value=100.0, by="crossing", until_us=UNTIL_US),
        HeldAt(level="plan", value=40.0, by="night", until_us=None),
        HeldAt(level="default", value=100.0, by="", until_us=None),
    )


def test_an_end_on_another_day_has_its_date() -> None:
    found = control()
    found.hold(("lamp-2", "dim_level"), "rule", Held(value=100.0, by="r", until_us=UNTIL_US + 86_400_000_000))
    (one,) = decided(found, PARIS, NOW_US)
    assert "until 2026-11-25 22:14" in one.why["en"]
    (one,) = decided(found, PARIS)
    assert "until 22:14" in one.why["en"]
