"""The street of tests/faults, with its aggregator; the node is started by the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stage import Stage

FAULTS = Path(__file__).parents[1] / "faults"


@contextmanager
def street_of_faults(directory: Path) -> Iterator[Stage]:
    found = Stage(directory, FAULTS / "scene.toml", FAULTS / "node.toml", "cab-faults")
    found.make_tokens()
    found.start_cloud()
    found.start_street()
    yield found
    found.close()
