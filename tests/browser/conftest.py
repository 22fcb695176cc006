"""A real browser before a real node: Debian's chromium, a simulated street, the aggregator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from support.lamps import NODE, Lamps, playing, until

FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
GHOST = """
[[device]]
id = "lamp-009"
name = "Passage Darcy"
profile = "lx-1"
line = "north"
address = {{ unit = 9 }}
poll_s = 0.5
"""


@pytest.fixture(scope="module")
def chromium(need: Callable[[str], str]) -> Iterator[Browser]:
    """For one module: while playwright is there its event loop is, too, and no asynchronous test can run."""
    path = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def cabinet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lamps]:
    """Two lamps that answer, and one that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("support.lamps.NODE", NODE + GHOST)
        with playing(Path(tmp_path_factory.mktemp("cabinet"))) as lamps:
            until(lambda: "lamp-009" in lamps.stage.health()["devices_silent"])
            yield lamps
