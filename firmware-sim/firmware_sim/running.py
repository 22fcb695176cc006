"""A street in a process of its own, for whoever tries something against it: a test, a demonstration, a notebook.

Promises: the street serves when `start` returns; it ends with `end`, and with whoever started it, even by kill -9; what
it said is kept in a file and is part of every error. Waits are bounded by `READY_S` and `SILENT_S`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from firmware_sim.children import bound_to_parent
from firmware_sim.compare import Comparison, Tolerance, Values, compare
from firmware_sim.errors import StreetError

READY_S: Final = 60.0  # a busy machine takes its time; an idle one needs less than a second
SILENT_S: Final = 30.0
END_S: Final = 10.0
_LOOK_S: Final = 0.02
_SAID_CHARACTERS: Final = 3000


class RunningStreet:
    """The street of one scene file. `ledger` holds what it has offered, `endpoints` where its servers listen."""

    def __init__(self, scene: Path, directory: Path) -> None:
        """Files go to `directory`: `ledger.jsonl`, `street.log`, `street.json`. Nothing is started yet."""
        self._scene, self._ready, self._log = scene, directory / "street.json", directory / "street.log"
        self.ledger: Path = directory / "ledger.jsonl"
        self.endpoints: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RunningStreet:
        """Start it, and return when all its servers listen.

        Raises:
            StreetError: it ended, or did not serve within `READY_S`; the text holds what it said last.
        """
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "firmware_sim", "run", str(self._scene)]
        command += ["--ledger", str(self.ledger), "--endpoints", str(self._ready)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=bound_to_parent(),  # noqa: PLW1509 - a prctl and nothing else
                start_new_session=True,  # Ctrl-C reaches whoever started it, who then ends it
            )
        self._wait(self._ready.exists, READY_S, "did not serve")
        self.endpoints = json.loads(self._ready.read_text())
        return self

    def hush(self) -> None:
        """Let it fall silent: on return the ledger does not grow any more.

        Raises:
            StreetError: it did not within `SILENT_S`.
        """
        self._signal(signal.SIGUSR1)
        self._wait(lambda: self._last_word() == "silent", SILENT_S, "did not fall silent")

    def speak(self) -> None:
        """Let it go on.

        Raises:
            StreetError: it did not within `SILENT_S`.
        """
        self._signal(signal.SIGUSR2)
        self._wait(lambda: self._last_word() == "speaking", SILENT_S, "did not speak again")

    def offered(self) -> list[dict[str, Any]]:
        """The ledger's whole lines so far."""
        if not self.ledger.exists():
            return []
        text = self.ledger.read_bytes()
        return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]

    def compare(
        self, stored: Iterable[tuple[str, int, Values]], tolerance: Tolerance = lambda _device, _point: 0.0
    ) -> Comparison:
        """Hold what a reader has stored, as (device, time in µs, values), against what was offered."""
        return compare(self.offered(), stored, tolerance)

    def said(self) -> str:
        """The last of its output."""
        return self._log.read_text(errors="replace")[-_SAID_CHARACTERS:] if self._log.exists() else ""

    def end(self) -> int:
        """Ask it to end; its exit code. It is killed after `END_S`.

        Raises:
            StreetError: it had to be killed.
        """
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired as error:
                self.process.kill()
                self.process.wait()
                message = f"the street did not end within {END_S:.0f} s:\n{self.said()}"
                raise StreetError(message) from error
        return self.process.returncode

    def _last_word(self) -> str:
        said = [w for w in self.said().splitlines() if w in ("silent", "speaking")]
        return said[-1] if said else ""

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def _wait(self, check: Any, most_s: float, what: str) -> None:
        assert self.process is not None
        deadline = time.monotonic() + most_s
        while not check():
            if self.process.poll() is not None:
                message = f"the street ended with {self.process.returncode}:\n{self.said()}"
                raise StreetError(message)
            if time.monotonic() > deadline:
                message = f"the street {what} within {most_s:.0f} s:\n{self.said()}"
                raise StreetError(message)
            time.sleep(_LOOK_S)
