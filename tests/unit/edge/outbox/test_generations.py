"""Which generation a node believes in: never one that a single answer has named."""

from __future__ import annotations

import pytest

from edge.outbox.generations import GenerationCheck, Generations
from wire.batch import GENERATIONS_AHEAD_US

NOW_US = 1_795_000_000_000_000
KNOWN, NEWER, DOUBTED, IGNORED = (
    GenerationCheck.KNOWN,
    GenerationCheck.NEWER,
    GenerationCheck.DOUBTED,
    GenerationCheck.IGNORED,
)


def heard(*generations: int) -> tuple[list[GenerationCheck], int]:
    found = Generations()
    return [found.hear(g, NOW_US) for g in generations], found.known


@pytest.mark.parametrize(
    ("generations", "words", "known"),
    [
        ([5], [KNOWN], 0),
        ([5, 5, 5], [KNOWN, KNOWN, KNOWN], 5),
        ([9, 5, 5], [KNOWN, NEWER, KNOWN], 5),
        ([9, 5, 6, 6], [KNOWN, NEWER, NEWER, KNOWN], 6),
        ([5, 5, 4, 5], [KNOWN, KNOWN, IGNORED, KNOWN], 5),
        ([5, 5, 7, 7, 7], [KNOWN, KNOWN, DOUBTED, NEWER, KNOWN], 7),
        ([5, 5, 7, 5, 7, 5], [KNOWN, KNOWN, DOUBTED, KNOWN, DOUBTED, KNOWN], 5),
        ([5, 5, 7, 8, 8], [KNOWN, KNOWN, DOUBTED, DOUBTED, NEWER], 8),
        ([5, 5, 7, 4, 7], [KNOWN, KNOWN, DOUBTED, IGNORED, NEWER], 7),
    ],
)
def test_believed_is_what_is_said_again(generations: list[int], words: list[GenerationCheck], known: int) -> None:
    assert heard(*generations) == (words, known)


def test_what_lies_beyond_the_bound_is_never_believed() -> None:
    beyond = NOW_US + GENERATIONS_AHEAD_US + 1
    assert heard(beyond, beyond, 5, 5, beyond, beyond, 5)[1] == 5
    assert heard(2**63 - 1, 2**63 - 1)[1] == 0
    assert heard(beyond - 1, beyond - 1)[1] == beyond - 1


def test_a_clock_that_stands_in_1970_does_not_make_it_deaf() -> None:
    found = Generations()
    assert [found.hear(NOW_US, 0) for _ in range(2)] == [KNOWN, KNOWN]
    assert found.known == NOW_US


def test_why_it_is_ignored_is_said() -> None:
    found = Generations()
    for _ in range(2):
        found.hear(5, NOW_US)
    assert found.ignored(5, NOW_US) is None
    assert "generation 4, and 5 was known" in str(found.ignored(4, NOW_US))
    assert "cannot be" in str(found.ignored(2**62, NOW_US))
