"""`lamplighter-edge init` as somebody types it: a terminal, and a bus with lamps of the simulated street on it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_sim.running import RunningStreet
from stage import BIN

SCENE = """
    seed = 3
    [place]
    lon = 5.04
    lat = 47.32
    [[modbus_rtu]]
    name = "line1"
    baudrate = 0
    [[device]]
    model = "LX-1"
    id = "lamp-{n:03}"
    count = 2
    line = "line1"
    unit = 2
"""


class Terminal:
    """Somebody at a terminal of their own: waits for what is asked, and types."""

    def __init__(self, words: list[str | Path]) -> None:
        self.text = ""
        self._pid, self._number = pty.fork()
        if not self._pid:
            os.environ |= {"LANG": "C.UTF-8", "LC_ALL": ""}
            os.execv(words[0], list(map(str, words)))

    def answer(self, asked: str, typed: str) -> None:
        self.wait(asked)
        self.text = self.text.partition(asked)[2]
        os.write(self._number, f"{typed}\n".encode())

    def wait(self, asked: str, within_s: float = 60) -> None:
        until = time.monotonic() + within_s
        while asked not in self.text:
            assert self._more(until - time.monotonic()), f"{asked!r} was not asked:\n{self.text}"

    def interrupt(self) -> int:
        """Press Ctrl-C until it has ended, as somebody would: what comes just as a process begins to wait for a line is
        noticed with the next key (signal-safety(7): nothing lies between the look and the wait). Its exit code."""
        os.write(self._number, b"\x03")
        return self.end(lambda: os.write(self._number, b"\x03"))

    def end(self, again: Callable[[], object] = lambda: None, within_s: float = 120) -> int:
        """Its exit code. `again` is done every few seconds until it has ended."""
        until = time.monotonic() + within_s
        while not (gone := os.waitpid(self._pid, os.WNOHANG))[0]:
            if time.monotonic() >= until:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                raise AssertionError(f"it has not ended within {within_s:g} s:\n{self.text}")
            if not self._more(5):
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    again()
        while self._more(0):
            pass
        os.close(self._number)
        return os.waitstatus_to_exitcode(gone[1])

    def _more(self, within_s: float) -> bool:
        if not select.select([self._number], [], [], max(within_s, 0))[0]:
            return False
        with contextlib.suppress(OSError):  # it has ended
            if piece := os.read(self._number, 65_536):
                self.text += piece.decode(errors="replace")
                return True
        return False


@pytest.fixture
def bus(street: Callable[[str | Path], RunningStreet]) -> str:
    return street(SCENE).endpoints["modbus_rtu"]["line1"]


def test_a_new_board_is_asked_for_and_its_lamps_are_found(bus: str, tmp_path: Path) -> None:
    path, command = tmp_path / "node.toml", BIN / "lamplighter-edge"
    there = Terminal([command, "init", "--config", path, "--token-file", "token", "--time-zone", "Europe/Paris"])
    there.answer("name of the node", "cab-17")
    there.answer("address of the aggregator", "https://l.example.org")
    there.answer("latitude, longitude", "47.322, 5.0415")
    there.answer("where it stands", "")
    there.answer("read its page", "y")
    there.wait("serial port: another, by its path")
    number = next(line for line in there.text.splitlines() if "another, by its path" in line).split()[0]
    there.answer("number of a line", number)
    there.answer("its path", bus)
    there.answer("speed", "")
    there.answer("parity", "")
    there.answer("call the line", "")
    there.answer("number of a line", "")
    there.answer("look on rs485 for devices now?", "y")
    there.answer("which units", "1-4")
    there.answer("write 2 (lx-1) down as device", "lamp-002")
    there.answer("write 3 (lx-1) down as device", "-")
    there.answer("paste the token", "lamp_secret")
    assert there.end() == 0, there.text
    assert "written: " in there.text
    assert "lamp_secret" not in there.text, "what is pasted is not shown"
    found = tomllib.loads(path.read_text())
    assert found["device"] == [{"id": "lamp-002", "profile": "lx-1", "line": "rs485", "address": {"unit": 2}}]
    assert "cab-17.local" in found["health"]["names"]
    done = subprocess.run([command, "check", "--config", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "cab-17: 1 devices; the configuration is sound")
    # Without a terminal the same finds both, and the file of before is kept.
    words = ["--node", "cab-17", "--cloud", "https://l.example.org", "--at", "-", "--force", "--scan", "--units", "2-3"]
    line = f"rs485,protocol=modbus,serial={bus}"
    done = subprocess.run(
        [command, "init", "--config", path, *words, "--line", line],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [d["id"] for d in tomllib.loads(path.read_text())["device"]] == ["cab-17-rs485-2", "cab-17-rs485-3"]
    assert len(list(tmp_path.glob("node.toml.2*"))) == 1


def test_somebody_who_thinks_better_of_it_leaves_nothing(tmp_path: Path) -> None:
    there = Terminal([BIN / "lamplighter-edge", "init", "--config", tmp_path / "node.toml", "--lang", "fr"])
    there.answer("nom du nœud", "cab-17")
    there.wait("adresse de l’agrégateur")
    assert there.interrupt() == 1
    assert "rien n’a été écrit" in there.text
    assert list(tmp_path.iterdir()) == []
