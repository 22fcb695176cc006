"""A bundle is tried in a real process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge.acting.bundles import Ground
from edge.acting.trial import Trial
from edge.config import load
from support.acting import NODE, RULES, bundle

DOTTED = ".".join("a" * 40_000) + " = 1"


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    (tmp_path / "node.toml").write_text(NODE)
    (tmp_path / "rules.toml").write_text(RULES)
    config = load(tmp_path / "node.toml", {})
    return Ground(site=config.site, roster=config.roster)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (RULES, "rules"),
        pytest.param("no rules", "rules", marks=pytest.mark.slow),
        pytest.param(DOTTED, "rules", marks=pytest.mark.slow),
        (DOTTED, "plan"),
    ],
)
async def test_what_is_read_within_bounds_may_be_taken(ground: Ground, text: str, kind: str) -> None:
    assert await Trial(ground).run(bundle(text, kind)) is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("while True: pass", id="without end", marks=pytest.mark.slow),
        pytest.param("x = bytearray(1 << 31)", id="without room"),
        pytest.param("import os; os.kill(os.getpid(), 9)", id="killed"),
    ],
)
async def test_what_takes_too_much_is_not(ground: Ground, body: str) -> None:
    """With a reader that does what a bundle must never bring one to do."""
    script = f"""
import sys
from edge.acting import bundles, trial
trial.CPU_S = 0
def rules_of(self, bundle):
    {body}
bundles.Bundles.rules_of = rules_of
trial.main()
"""
    why = await Trial(ground, (sys.executable, "-c", script)).run(bundle(RULES))
    assert why is not None
    assert "this rules cannot be taken" in why


async def test_one_that_never_answers_is_ended(ground: Ground) -> None:
    why = await Trial(ground, (sys.executable, "-c", "import time; time.sleep(1000)"), wait_s=0.2).run(bundle(RULES))
    assert why is not None
    assert "longer than" in why
