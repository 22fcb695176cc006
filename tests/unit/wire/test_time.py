"""Instants and durations: at run time integers, to the type checker four types that cannot be mixed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import time as times
from wire.time import AxisTime, Micros, Mono, Utc, micros

ROOT = Path(__file__).parents[3]
PACKAGES = ("wire", "drivers", "edge", "cloud")  # groundwork knows no types of ours
SCALES = {"unit_us"}  # no duration, but what ticks are counted in

RIGHT = """
from wire.time import AxisTime, Micros, Mono, Utc, micros
def later(utc: Utc, mono: Mono, axis: AxisTime, length: Micros) -> tuple[Utc, Mono, AxisTime]:
    return utc + length, mono - micros(2.5), axis + length * 2 // 3
def between(one: Utc, other: Utc) -> Micros:
    return max(one, other) - min(one, other)
def ratio(one: Micros, other: Micros) -> int:
    return one // other
def known(utc: Utc, mono: Mono, behind: Micros) -> bool:
    return Utc(mono + behind) <= utc
"""
WRONG = (
    "def due(utc: Utc, mono: Mono) -> bool: return utc <= mono",
    "def due(axis: AxisTime, mono: Mono) -> bool: return axis > mono",
    "def apart(utc: Utc, mono: Mono) -> Micros: return utc - mono",
    "def later(utc: Utc, other: Utc) -> Utc: return utc + other",
    "def ends(mono: Mono) -> Utc: return mono",
    "def ends(utc: Utc) -> Mono: return utc + micros(1)",
    "def ends(axis: AxisTime) -> Utc: return axis",
    "def length(utc: Utc) -> Micros: return utc",
    "def instant(length: Micros) -> Utc: return length",
    "def later(utc: Utc) -> Utc: return utc + 5_000_000",
    "def plain(number: int) -> Utc: return number",
)


@given(st.integers(-(10**9), 10**9))
def test_whole_seconds_and_milliseconds_are_exact(number: int) -> None:
    assert micros(number) == number * 1_000_000
    assert micros(number / 1000) == number * 1_000


def test_at_run_time_all_are_integers() -> None:
    assert {Utc, Mono, AxisTime, Micros} == {int}


def test_the_checker_is_shown_what_there_is() -> None:
    shown = ast.parse((ROOT / "wire" / "time.pyi").read_text(encoding="utf-8")).body
    names = {n.name for n in shown if isinstance(n, ast.ClassDef | ast.FunctionDef) and not n.name.startswith("_")}
    assert names == {
        n for n, what in vars(times).items() if what is int or getattr(what, "__module__", "") == "wire.time"
    }


@pytest.mark.slow
def test_the_checker_takes_what_is_right_and_nothing_that_mixes_clocks(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(RIGHT, encoding="utf-8")
    wrong.write_text("from wire.time import AxisTime, Micros, Mono, Utc, micros\n" + "\n".join(WRONG), encoding="utf-8")
    settings = {"include": [str(tmp_path)], "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "-p", str(tmp_path), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [d for d in json.loads(done.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    assert not [d for d in told if d["file"] == str(right)]
    lines = {d["range"]["start"]["line"] for d in told if "obscured" not in d["message"]}
    assert lines == set(range(1, len(WRONG) + 1))


def _named(tree: ast.AST) -> list[tuple[str, ast.expr | None, int]]:
    """Name, annotation and line of each parameter, field and function whose name ends in `_us`."""
    found: list[tuple[str, ast.expr | None, int]] = []
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name, annotation=annotation):
                found.append((name, annotation, node.lineno))
            case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name), annotation=annotation):
                found.append((name, annotation, node.lineno))
            case ast.FunctionDef(name=name, returns=annotation) | ast.AsyncFunctionDef(name=name, returns=annotation):
                found.append((name, annotation, node.lineno))
            case _:
                pass
    return [n for n in found if n[0].endswith("_us") and n[0] not in SCALES]


def test_whatever_is_in_microseconds_says_whether_it_is_an_instant_and_by_which_clock() -> None:
    plain: list[str] = []
    seen = 0
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for name, annotation, line in _named(ast.parse(path.read_text(encoding="utf-8"))):
                seen += 1
                if annotation is not None and any(
                    isinstance(n, ast.Name) and n.id == "int" for n in ast.walk(annotation)
                ):
                    plain.append(f"{path.relative_to(ROOT)}:{line} {name}: {ast.unparse(annotation)}")
    assert seen > 300
    assert plain == []
