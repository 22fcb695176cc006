"""Stand: what a row is measured on. Real processes, each pinned to its side of the machine, each ending with us.

What is under test (ours or a peer's) has core 0 to itself; load, broker and stand-in servers have the others. With
one core all share it, and the report says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

import msgspec
import psutil

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PEERS = ROOT / ".bench"  # where scripts/bench puts what it installs
END_S = 15.0
# Everything is compiled once, as an installation would have it: each start and its memory are the program's own.
COMPILED = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(PEERS / "pycache")}
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")

Side = Literal["test", "load", "all"]


class BenchError(Exception):
    """A row could not be measured; the text says why."""


class Absent(Exception):
    """A peer or a limit is not installed here; the text says how it would be."""


class Usage(msgspec.Struct, frozen=True):
    """What processes have used so far: CPU seconds (user and system, ended children too), bytes handed to the disk;
    and what they hold now: bytes of memory that are theirs (PSS)."""

    cpu_s: float
    written_bytes: int
    memory_bytes: int

    def since(self, before: Usage) -> Usage:
        """What was used since; memory as it is now."""
        return Usage(self.cpu_s - before.cpu_s, self.written_bytes - before.written_bytes, self.memory_bytes)


class Process:
    """One process of the stand, its output in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name, self.process, self.log = name, process, log
        self._ps = psutil.Process(process.pid)

    def said(self) -> str:
        """The last of its output."""
        return self.log.read_text(errors="replace")[-3000:]

    def usage(self) -> Usage:
        """Of it and of all that it started.

        Raises:
            BenchError: it has ended.
        """
        cpu_s, written, memory = 0.0, 0, 0
        try:
            tree = [self._ps, *self._ps.children(recursive=True)]
        except psutil.NoSuchProcess as error:
            raise BenchError(f"{self.name} has ended:\n{self.said()}") from error
        for one in tree:
            try:
                cpu_s += sum(one.cpu_times()[:4])
                written += one.io_counters().write_bytes
                memory += one.memory_full_info().pss
            except psutil.NoSuchProcess:  # ended meanwhile: its parent has its CPU time
                continue
        return Usage(cpu_s, written, memory)

    def wait_until(self, what: Callable[[], bool], why: str, timeout_s: float = 120) -> None:
        """Ask again and again.

        Raises:
            BenchError: it ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not what():
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self.process.returncode} ({why}):\n{self.said()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: {why}: not within {timeout_s:.0f} s:\n{self.said()}")
            time.sleep(0.02)

    def end(self) -> None:
        """Ask it to end, then make it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()


class Stand:
    """For one row: a directory, processes, and how long it may take. `say` shows progress.

    `hours` is how long a city is filled, where that was asked for.
    """

    def __init__(self, *, quick: bool, repeats: int, say: Callable[[str], None], hours: float | None = None) -> None:
        self.quick, self.repeats, self.say, self.hours = quick, repeats, say, hours
        self.directory = Path()
        self._processes: list[Process] = []
        cores = sorted(os.sched_getaffinity(0))
        self._cores: dict[Side, set[int]] = {"test": {cores[0]}, "load": set(cores[1:] or cores), "all": set(cores)}

    def __enter__(self) -> Self:
        # Beside the checkout and not in /tmp, which may be memory: bytes written are part of what is measured.
        PEERS.mkdir(exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix="run-", dir=PEERS))
        os.sched_setaffinity(0, self._cores["load"])
        return self

    def __exit__(self, *exc: object) -> None:
        self.end_all()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        side: Side,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Process:
        """Start a process on its side of the machine."""
        cores = ",".join(map(str, sorted(self._cores[side])))
        log = self.directory / f"{len(self._processes):02}-{name.replace(' ', '-').replace('/', '-')}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                ["taskset", "-c", cores, *DIE_WITH_PARENT, *map(str, command)],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **COMPILED, **(environment or {})},
                cwd=directory or self.directory,
            )
        started = Process(name, process, log)
        self._processes.append(started)
        return started

    def end_all(self) -> None:
        """The last started first."""
        while self._processes:
            self._processes.pop().end()

    def cores(self, side: Side) -> list[int]:
        """Those of a side."""
        return sorted(self._cores[side])

    @contextmanager
    def pinned(self, side: Side) -> Iterator[None]:
        """Run what is inside, in this very process, on that side."""
        os.sched_setaffinity(0, self._cores[side])
        try:
            yield
        finally:
            os.sched_setaffinity(0, self._cores["load"])

    def fresh(self, name: str) -> Path:
        """A new directory for one run."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))

    def times(self) -> Iterator[int]:
        """The repeats of one measurement: all that a run starts in one is ended before the next."""
        for i in range(self.repeats):
            self.say(f"run {i + 1} of {self.repeats}")
            yield i
            self.end_all()
