"""The walls between the rooms: each contract of import-linter turns red when somebody goes through it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("wire", "drivers", "edge", "cloud", "groundwork")
CONTRACTS = {
    c["name"]: c for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PLANTED = {  # one line through each wall
    "wire imports no package of ours": ("wire/errors.py", "import groundwork.nearest"),
    "groundwork imports no package of ours": ("groundwork/nearest.py", "import wire.errors"),
    "drivers know nothing of the node, the cloud or the simulator": ("drivers/errors.py", "import edge.clock"),
    "the node knows nothing of the cloud or the simulator": ("edge/clock.py", "import cloud.times"),
    "the cloud knows nothing of drivers, the node or the simulator": ("cloud/times.py", "import drivers.errors"),
    "the simulator is an independent witness": ("firmware-sim/firmware_sim/compare.py", "import wire.errors"),
    "drivers know nothing of each other": ("drivers/ble/settings.py", "import drivers.mqtt.settings"),
    "the rooms of the cloud import one way": ("cloud/records/keys.py", "import cloud.api.routes"),
    "only cloud.sqlite knows SQLite": ("cloud/orders/checks.py", "import sqlite3"),
    "the rooms of the node import one way": ("edge/sampling/poller.py", "import edge.outbox.card"),
    "only edge.outbox knows SQLite": ("edge/verbs/why.py", "import sqlite3"),
    "wire alone knows CBOR, zstd and one-time passwords": ("cloud/ingest/bases.py", "import cbor2"),
    "pymodbus, aiomqtt and bleak are each known to one driver": ("edge/sync/proxies.py", "import aiomqtt"),
    "the Modbus driver has pymodbus": ("drivers/modbus/registers.py", "import bleak"),
    "the MQTT driver has aiomqtt": ("drivers/mqtt/inbox.py", "import pymodbus"),
    "the Bluetooth driver has bleak": ("drivers/ble/settings.py", "import aiomqtt"),
    "HTTP is served in one place at each end": ("cloud/feed/events.py", "import uvicorn"),
    "deciding needs no I/O": ("cloud/views/ledger.py", "import asyncio"),
}


@pytest.mark.slow
def test_a_line_through_each_wall_is_found(tmp_path: Path) -> None:
    assert PLANTED.keys() == CONTRACTS.keys(), "each contract has a line that breaks it"
    for name in (*PACKAGES, "firmware-sim"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in PLANTED.values():
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    linter = Path(sys.executable).with_name("lint-imports")
    paths = f"{tmp_path}:{tmp_path / 'firmware-sim'}"
    environment = {"PYTHONPATH": paths, "COLUMNS": "200"}
    done = subprocess.run(
        [linter, "--no-cache"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    broken = {name for name in CONTRACTS if f"{name} BROKEN" in done.stdout}
    assert broken == set(CONTRACTS), done.stdout + done.stderr


@cache
def modules() -> dict[str, ast.Module]:
    found: dict[str, ast.Module] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text())
    return found


@pytest.mark.slow
def test_whatever_calls_itself_pure_is_held_to_it() -> None:
    held = CONTRACTS["deciding needs no I/O"]["source_modules"]
    for name, tree in modules().items():
        first = (ast.get_docstring(tree) or "").split("\n\n")[0]
        if re.search(r"\bPure\b(?!, but)", first):
            assert any(name == h or name.startswith(f"{h}.") for h in held), f"{name} says that it is pure"


@pytest.mark.parametrize("package", ["cloud", "edge"])
def test_every_room_has_its_place_in_the_order(package: str) -> None:
    (layers,) = (c["layers"] for c in CONTRACTS.values() if c.get("containers") == [package])
    placed = {room.strip() for layer in layers for room in layer.split("|")}
    there = {p.stem for p in (ROOT / package).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert placed == there - {"__init__"}


@pytest.mark.parametrize("package", ["cloud", "edge"])
def test_the_architecture_has_a_line_for_every_room(package: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    tree = re.search(rf"^{package}/ .*?(?=^[a-z])", text, flags=re.DOTALL | re.MULTILINE)
    assert tree is not None
    told = set(re.findall(r"(?:^  |^  [a-z]+/ )([a-z]+)/", tree[0], flags=re.MULTILINE))
    told |= set(re.findall(r"^  [a-z]+/ ([a-z]+)/", tree[0], flags=re.MULTILINE))
    assert told == {p.name for p in (ROOT / package).iterdir() if (p / "__init__.py").exists()}


def test_where_to_find_it_is_true() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text().partition("## Where to find it")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!what \|)[^|]+ \| `([\w/.]+)`(?: `(\w+)[.\w]*`)? \|$", text, flags=re.MULTILINE)
    assert len(rows) == text.count("\n| ") - 1 >= 40
    for file, name in rows:
        body = ast.parse((ROOT / file).read_text()).body
        named = {n.name for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}
        named |= {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        assert not name or name in named, f"{file} has no {name}"


SCREEN = 70  # lines


def test_a_contract_is_read_on_one_screen() -> None:
    lengths = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module, tree in modules().items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.end_lineno and any(ast.unparse(b) == "Protocol" for b in node.bases)
    }
    assert len(lengths) > 30, "contracts are found by their base"
    assert not {name: n for name, n in lengths.items() if n > SCREEN}
