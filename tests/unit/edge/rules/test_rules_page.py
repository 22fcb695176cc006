"""docs/rules.md tells every key, name and function that there is; its rules and conditions are sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drivers.tables import Key, describe
from edge.rules import load, rule, tables, trial, window
from edge.rules.condition import AMBIENT
from edge.rules.language import FUNCTIONS
from edge.selector import Selector

if TYPE_CHECKING:
    from conftest import Street
else:
    Street = Any

PAGE = (Path(__file__).parents[4] / "docs/rules.md").read_text()
TABLES = {
    "[[rule]]": tables.RuleTable,
    "on": Selector,
    "window.NAME": tables.WindowTable,
    "alarm": tables.AlarmTable,
    "command": tables.CommandTable,
}


def section(heading: str) -> str:
    parts = re.split(r"^#+ (.*)$", PAGE, flags=re.MULTILINE)
    return next(t for h, t in zip(parts[1::2], parts[2::2], strict=True) if h.replace("`", "") == heading)


def default(key: Key) -> str:
    if key.required:
        return "required"
    if isinstance(key.default, bool):
        return str(key.default).lower()
    return "–" if key.default in (None, "", ()) or isinstance(key.default, dict) else f"{key.default:g}"


@pytest.mark.parametrize("heading", TABLES)
def test_every_key_is_told_with_its_default(heading: str) -> None:
    text = section(heading)
    for key in describe(TABLES[heading]):
        # msgspec hands out the default of a table as a factory: nothing is written there
        left_out = "–" if key.name in ("window", "units") else default(key)
        row = f"| `{key.name}` | {key.words} | {left_out} | {key.description} |"
        assert row in text, f"docs/rules.md, {heading}: write the row {row}"
    assert re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE) == [k.name for k in describe(TABLES[heading])]


def test_every_name_function_and_bound_is_told() -> None:
    for name in (*AMBIENT, *FUNCTIONS, "silent", "quality.NAME", "age_s.NAME", *trial.QUALITIES):
        assert re.search(rf"[`\"]{name}\b", PAGE), name
    assert f"{rule.MAX_RULES} rules and {load.MAX_FILES} files a node, {rule.MAX_WATCHES:,} pairs" in PAGE
    assert f"At most {tables.MAX_WINDOWS_A_RULE} windows a rule and {rule.MAX_WINDOWS:,} over" in PAGE
    assert f"{tables.MAX_CONDITION_CHARS:,} characters a condition" in PAGE
    assert f"up to {trial.MAX_TRIALS:,} combinations" in PAGE
    assert f"in {window.BUCKETS} parts" in PAGE


def test_the_rules_of_the_page_are_sound(street: Street) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        assert street.problems(block) == []


EXAMPLES = re.findall(r"^\| [^|`]+ \| (`.*) \|$", section("Examples"), flags=re.MULTILINE)


@pytest.mark.parametrize("cell", EXAMPLES)
def test_the_conditions_of_the_page_are_sound(street: Street, cell: str) -> None:
    condition, *more = re.findall(r"`([^`]+)`", cell.replace("\\|", "|"))
    wrong: list[str] = []
    for kind in ("streetlight", "bin", "meter"):
        text = f"[[rule]]\nname = \"r\"\non = {{ kind = \"{kind}\" }}\nwhen = '''{condition}'''\ntag = \"x\"\n"
        found = street.problems("\n".join([text, *more]))
        if not found:
            return
        wrong += found
    pytest.fail("\n".join(wrong))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8
