"""Each row of the benchmark runs, finds again what went in, and has a figure of ours. How fast is not asked here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import machine, rows

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", rows.NAMES)
def test_a_row_has_its_figures(row: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", row, "--json", out],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    machine, *figures = map(json.loads, out.read_text().splitlines())
    assert machine["machine"]["commit"]
    assert figures
    for figure in figures:
        assert figure["name"].split("/")[0] == row
        assert figure["ours"] is not None or figure["note"]
    assert any(figure["ours"] is not None for figure in figures) or "scripts/bench brings them" in figures[0]["note"]


def test_several_may_describe_the_machine_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: machine.describe(), range(8)))
    assert len({t["machine"] for t in told}) == 1
