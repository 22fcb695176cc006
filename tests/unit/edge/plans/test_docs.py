"""docs/plans.md says every key that there is, and its examples are plans."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from drivers.tables import describe
from edge.plans.load import load
from edge.plans.local import Location
from edge.plans.tables import (
    AssignTable,
    CalendarRuleTable,
    CalendarTable,
    HolidaysTable,
    PeriodTable,
    PlanTable,
    ProgramTable,
    StepTable,
)
from edge.selector import Selector

PAGE = (Path(__file__).parents[4] / "docs" / "plans.md").read_text()
KINDS = [
    PlanTable, HolidaysTable, ProgramTable, PeriodTable, StepTable, CalendarTable, CalendarRuleTable,
    AssignTable, Selector,
]  # fmt: skip


def left_out(default: Any, *, required: bool) -> str:
    if required:
        return "required"
    match default:
        case bool():
            return str(default).lower()
        case int():
            return str(default)
        case str() if default:
            return f'"{default}"'
        case _:
            return "–"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_key_is_told(kind: Any) -> None:
    for key in describe(kind):
        description = key.description.replace("|", "\\|")
        row = f"| `{key.name}` | {key.words} | {left_out(key.default, required=key.required)} | {description} |"
        assert row in PAGE, f"docs/plans.md: write the row {row}"


def test_the_first_example_is_a_plan() -> None:
    examples = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert load(examples[0], Location(lat=47.3, lon=5.0, time_zone="Europe/Paris", country="FR"))
