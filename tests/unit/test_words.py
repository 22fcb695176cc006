"""The words of the glossary, and that a class name means one thing in each deployable."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 60
# Every protocol has these: what its files say is part of the driver contract (drivers/contract.py, ProtocolKind).
OF_EVERY_PROTOCOL = {"Line", "Address", "Access", "Whole", "Inbox"}


def rows() -> list[tuple[str, str]]:
    text = (ROOT / "docs" / "glossary.md").read_text()
    return re.findall(r"^\| (?!word \|)([^|]+) \| [^|]+ \| ?([^|]*)\|$", text, flags=re.MULTILINE)


def defined(file: Path) -> set[str]:
    body = ast.parse(file.read_text()).body
    names = {getattr(n, "name", "") for n in body}
    return names | {t.id for n in body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}


def test_the_glossary_is_short() -> None:
    assert 40 <= len(rows()) <= MOST


@pytest.mark.parametrize(("word", "where"), rows())
def test_what_the_glossary_names_is_there(word: str, where: str) -> None:
    names = re.findall(r"`([^`]+)`", where)
    if not names:
        assert not where.strip(), f"{word}: names stand in backticks"
        return
    file = ROOT / names[0]
    assert file.exists(), names[0]
    for name in names[1:]:
        assert name in defined(file), f"{names[0]} has no {name}"


@pytest.mark.parametrize("deployable", [("edge", "drivers"), ("cloud",)])
def test_a_class_name_means_one_thing(deployable: tuple[str, ...]) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for package in (*deployable, "wire", "groundwork"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].add(str(path.relative_to(ROOT)))
    twice = {name: files for name, files in found.items() if len(files) > 1 and name not in OF_EVERY_PROTOCOL}
    assert not twice
