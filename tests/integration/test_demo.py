"""scripts/demo ends by itself with its verdict, and what it prints can be pasted as it is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import msgspec

from stage import ROOT

ENDLESS = "feed"


def test_the_demonstration_ends_well_and_its_lines_can_be_pasted(need: Callable[[str], str]) -> None:
    need("mosquitto")
    command = [sys.executable, ROOT / "scripts/demo.py", "--seconds", "16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1] == ENDLESS):
            lines.append(demo.stdout.readline().rstrip("\n"))
            assert lines[-1], f"it said only: {lines}"
        lines = lines[[line.startswith(". /") for line in lines].index(True) :]
        time.sleep(6)  # the first readings are there
        assert max(map(len, lines)) < 80, "each is one line on a terminal of 80 columns"
        script = "\n".join(lines[:-1])
        done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, done.stderr
        assert "urn:lamplighter:problem" not in done.stdout
        assert '"verdict"' in done.stdout
        assert '"cab-demo"' in done.stdout
        assert '"issued"' in done.stdout
        assert "dim_level: " in done.stdout, "why"
        feed = subprocess.run(
            ["timeout", "3", "bash", "-c", f"{lines[0]}\n{lines[-1]}"],
            capture_output=True,
            text=True,
            check=False,
        )
        events = [msgspec.json.decode(x[5:]) for x in feed.stdout.splitlines() if x.startswith("data:")]
        assert any(e["type"].endswith(".reading") for e in events)
        rest = demo.stdout.read()
    assert demo.returncode == 0, rest
    assert "0 missing, 0 doubled" in rest
    assert "lamp-003 lamp-fault: raised" in rest
    assert "lamp-010 dim_level: verified" in rest
