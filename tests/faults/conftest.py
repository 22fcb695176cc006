"""The stage that fault tests play on, and the count of the seeds that were tried."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stage import Stage
from support.laboratory import drawn_from

HERE = Path(__file__).parent


@pytest.fixture
def stage(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stage]:
    """Street and aggregator; the node is not started yet."""
    need("mosquitto")
    found = Stage(tmp_path, HERE / "scene.toml", HERE / "node.toml", "cab-faults")
    try:
        found.make_tokens()
        found.start_cloud()
        found.start_street()
        yield found
    finally:
        found.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write down which fault it is, in its way, and with how many seeds."""
    mark = item.get_closest_marker("fault")
    if mark is not None:
        name, seeds = mark.args
        way = re.sub(r"-?seed=\d+", "", item.callspec.id) if isinstance(item, pytest.Function) else ""
        item.user_properties.append(("fault", [name, way, seeds]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many seeds of each fault ran, from what they were drawn, and so how to repeat them."""
    ran: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if report.when == "call":
                for key, value in report.user_properties:
                    if key == "fault":
                        name, way, seeds = value  # pyright: ignore[reportGeneralTypeIssues]
                        ran.setdefault(name, Counter())[way] += seeds
    if ran:
        terminalreporter.section(f"seeds of faults, drawn from {drawn_from()}")
        for name, ways in ran.items():
            of = f" in {len(ways)} ways, at least {min(ways.values())} of each" if len(ways) > 1 else ""
            terminalreporter.write_line(f"{ways.total():6} {name}{of}")
