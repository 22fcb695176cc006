"""A street for your own tests: `pip install firmware-sim[pytest]`, then take the fixture `street`.

    def test_my_gateway(street):
        city = street('''
            [place]
            lon = 5.04
            lat = 47.32
            [[modbus_tcp]]
            name = "quay"
            [[device]]
            model = "LX-1"
            id = "lamp-001"
            server = "quay"
            unit = 1
        ''')
        address = city.endpoints["modbus_tcp"]["quay"]
        …
        city.hush()
        assert city.compare(what_my_gateway_has).faultless

Each street has a directory and ports of its own and ends with its test.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from firmware_sim.running import RunningStreet


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Callable[[str | Path], RunningStreet]]:
    """Starts the street of a scene, given as TOML text or as a file's path, and returns it once it serves."""
    started: list[RunningStreet] = []

    def start(scene: str | Path) -> RunningStreet:
        directory = tmp_path / f"street-{len(started) + 1}"
        directory.mkdir()
        if isinstance(scene, str):
            (directory / "scene.toml").write_text(textwrap.dedent(scene))
            scene = directory / "scene.toml"
        started.append(RunningStreet(scene, directory))
        return started[-1].start()

    yield start
    for one in started:
        one.end()
