"""The table of faults: each is tried by a test, and docs/operations.md says of each what a person sees and does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import laboratory
from support.laboratory import FAULTS, NAMED

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def rows() -> dict[str, list[str]]:
    """What breaks → what is seen, what to do."""
    section = OPERATIONS.partition("\n## What can break\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {what: rest for what, *rest in cells}


def anchors() -> set[str]:
    """The headings, as links name them."""
    found = re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_docs_have_a_row_for_each_fault_and_for_none_other() -> None:
    assert set(rows()) == set(NAMED)
    for what, cells in rows().items():
        assert len(cells) == 2, what
        assert all(cells), f"{what}: what a person sees, and what to do"
        for anchor in re.findall(r"\]\(#([^)]*)\)", " ".join(cells)):
            assert anchor in anchors(), (what, anchor)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_a_test_draws_the_seeds_of_each_fault(fault: laboratory.Fault) -> None:
    text = (ROOT / "tests" / "faults" / fault.file).read_text()
    assert f'"{fault.name}"' in text
    assert "support.laboratory" in text


def test_no_test_draws_in_another_way() -> None:
    for path in (ROOT / "tests" / "faults").glob("*.py"):
        assert "SystemRandom" not in path.read_text(), path


def test_a_commit_gives_the_same_seeds_and_another_one_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAULT_SEED", "FAULT_SEEDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAULT_FROM", "one commit")
    first = [p.values for p in laboratory.draw("writes hang")]
    assert first == [p.values for p in laboratory.draw("writes hang")]
    assert len(set(first)) == NAMED["writes hang"].few
    assert first != [p.values for p in laboratory.draw("the power goes")]
    monkeypatch.setenv("FAULT_FROM", "another")
    assert first != [p.values for p in laboratory.draw("writes hang")]


def test_one_seed_is_repeated_and_more_are_asked_for_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT_SEEDS", "7")
    monkeypatch.delenv("FAULT_SEED", raising=False)
    assert len(laboratory.draw("writes hang")) == 7
    assert [p.values[0] for p in laboratory.draw("writes hang", "abc")] == list("abcabca"), "in turn"
    assert len(laboratory.draw("writes hang", "abc", each=True)) == 21
    monkeypatch.setenv("FAULT_SEED", "4711")
    assert [p.values for p in laboratory.draw("writes hang")] == [(4711,)]
    assert [p.values for p in laboratory.draw("writes hang", "ab")] == [("a", 4711), ("b", 4711)]
    assert laboratory.seed_of("writes hang", 5) == 4711


def test_a_fault_that_is_not_in_the_table_is_none() -> None:
    with pytest.raises(KeyError):
        laboratory.draw("frogs")
