"""What the node calls its own alarms: one table, for those that raise them, for rules and for the page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from drivers.tables import Problem
from edge.alarms.own import NAMES, is_own, of_line
from edge.rules.load import load_texts
from wire.device import Roster

ROOT = Path(__file__).parents[4]
RULE = """
[[rule]]
name = "{}"
on = {{ kind = "bin" }}
when = "fill_level > 90.0"
alarm = {{ severity = "high", text = {{ en = "Full" }} }}
"""


@pytest.mark.parametrize("name", [*sorted(NAMES), of_line("north")])
@pytest.mark.parametrize("own", [True, False], ids=["file", "bundle"])
def test_no_rule_may_be_called_so(name: str, own: bool) -> None:
    problems: list[Problem] = []
    load_texts({Path("r"): RULE.format(name)}, Roster(devices=(), profiles={}), problems, own=own)
    assert f'r:3: rule.{name}.name: "{name}" is what the node calls an alarm of its own; choose another name' in [
        str(p) for p in problems
    ]


def named(call: ast.Call) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == "rule"), None)


def test_what_the_node_raises_is_in_the_table() -> None:
    """Wherever an alarm is made with a name that is written there, the name is one of the table's."""
    strange: list[str] = []
    found: set[str] = set()
    constants = {
        n: v for n, v in vars(__import__("edge.alarms.own").alarms.own).items() if n.isupper() and n != "NAMES"
    }
    for path in (ROOT / "edge").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)):
            if call.func.id not in {"Alarm", "Raised"}:  # type: ignore[attr-defined]
                continue
            match named(call):
                case ast.Name(id=name) if name in constants:
                    found.add(constants[name])
                case ast.Constant(value=str(text)):
                    strange.append(f"{path}: {text}")
                case _:
                    pass  # a rule's, or a line's
    assert strange == []
    assert found == NAMES
    assert not any(map(is_own, ("full", "cards", "lineage")))


def test_the_page_has_them_all() -> None:
    page = (ROOT / "docs" / "alarms.md").read_text()
    table = page[page.index("## The node's own alarms") :].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert told == NAMES | {of_line("NAME")}
    rules = (ROOT / "docs" / "rules.md").read_text()
    assert all(f"`{name}`" in rules for name in NAMES)
