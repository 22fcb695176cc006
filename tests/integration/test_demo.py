"""scripts/demo ends by itself with its verdict, and what it prints can be pasted as it is."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import msgspec

from stage import ROOT

ENDLESS = "feed"


def until_said(out: IO[str], text: str) -> str:
    """All lines up to the one that has this."""
    said: list[str] = []
    while not (said and text in said[-1]):
        said.append(out.readline())
        assert said[-1], "".join(said)
    return "".join(said)


def test_the_demonstration_ends_well_and_its_lines_can_be_pasted(need: Callable[[str], str]) -> None:
    need("mosquitto")
    command = [sys.executable, ROOT / "scripts/demo.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1] == ENDLESS):
            lines.append(demo.stdout.readline().rstrip("\n"))
            assert lines[-1], f"it said only: {lines}"
        lines = lines[[line.startswith(". /") for line in lines].index(True) :]
        said = [until_said(demo.stdout, "lamp-003 lamp-fault: raised")]  # readings are there by then
        assert max(map(len, lines)) < 80, "each is one line on a terminal of 80 columns"
        script = "\n".join(lines[:-1])
        done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert "urn:lamplighter:problem" not in done.stdout
        assert '"verdict"' in done.stdout
        assert '"cab-demo"' in done.stdout
        assert '"issued"' in done.stdout
        assert "dim_level: " in done.stdout, "why"
        feed = subprocess.run(
            ["timeout", "10", "bash", "-c", f"{lines[0]}\n{lines[-1]}"],
            capture_output=True,
            text=True,
            check=False,
        )
        events = [msgspec.json.decode(x[5:]) for x in feed.stdout.splitlines() if x.startswith("data:")]
        assert any(e["type"].endswith(".reading") for e in events)
        said.append(until_said(demo.stdout, "lamp-010 dim_level: verified"))
        demo.send_signal(signal.SIGINT)
        rest = "".join([*said, demo.stdout.read()])
    assert demo.returncode == 0, rest
    assert "0 missing, 0 doubled" in rest
    assert "lamp-003 lamp-fault: raised" in rest
    assert "lamp-010 dim_level: verified" in rest
