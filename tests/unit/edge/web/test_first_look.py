"""A node that nobody visits carries nothing of the pages."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = (
    "jinja2",
    "markupsafe",
    "babel",
    "edge.web.screens",
    "edge.web.language",
    "edge.web.devices",
    "edge.web.drawing",
)


@pytest.mark.slow
def test_what_pages_need_comes_at_the_first_of_them() -> None:
    script = "import sys, edge.cli, edge.node; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    there = set(done.stdout.split())
    assert "edge.web.first_look" in there
    assert not there & set(LATER)
