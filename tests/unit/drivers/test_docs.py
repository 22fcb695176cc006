"""The pages say every key that there is, and their examples hold."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers import registry
from drivers.profile_files import PointTable, ProfileTable
from drivers.tables import describe

DOCS = Path(__file__).parents[3] / "docs"
KINDS = [ProfileTable, PointTable] + [
    getattr(registry.find(n), part)
    for n in ("modbus", "mqtt", "ble")
    for part in ("Line", "Address", "Whole", "Access")
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_every_key_is_told(kind: Any) -> None:
    page = (DOCS / "profiles.md").read_text()
    for key in describe(kind):
        assert key.description, f"{kind.__name__}.{key.name} has no description"
        assert f"| `{key.name}` | {key.words} |" in page, f"docs/profiles.md does not tell {key.name} as it is"


@pytest.mark.parametrize("page", ["profiles.md", "adding-a-driver.md"])
def test_toml_examples_are_toml(page: str) -> None:
    examples = re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert examples
    for example in examples:
        for part in example.split("\nat = ") if example.startswith("at = ") else [example]:
            tomllib.loads(part if part.lstrip().startswith(("[", "a", "d", "k")) else "at = " + part)
