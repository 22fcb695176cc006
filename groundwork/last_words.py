"""Last words: why a process is about to be ended by its watchdog, kept where the next one finds it.

A thread looks every LOOK_S, for an event loop that is blocked writes nothing. It writes once: what is late, what every
thread is doing (faulthandler), the last LINES of the log, versions. The file lies where memory is (systemd's
RuntimeDirectory), for a card that hangs takes no words. A process that ends in another way leaves none.

The next process puts them aside before it may have some of its own, and keeps them until they are told for good.

Bounds: LINES lines of LINE_CHARS in memory; STACK_BYTES of stacks; one file, and KEPT that were put aside.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import platform
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from groundwork.liveness import LOOK_S, running_s

log = logging.getLogger(__name__)

LINES: Final = 40
LINE_CHARS: Final = 300
STACK_BYTES: Final = 16_384
MAX_BYTES: Final = 65_536
KEPT: Final = 3  # of processes before that nobody was told of yet
# Of URLs, tokens, and whatever is called a password or a secret.
SECRETS: Final = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|\blamp_\w{4,}[\w-]*|(?<=[Bb]earer )\S+"
    r"|(?i:\b\w*(?:passw(?:or)?d|secret)[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|\S+)"
)


class LastWords(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has left. `time_us` is in UTC microseconds, as its machine's clock was."""

    time_us: int
    late: str
    version: str
    python: str
    log: tuple[str, ...]
    stacks: str


class Ring(logging.Handler):
    """The last lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=LINES)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        line = SECRETS.sub("***", self.format(record).partition("\n")[0])
        self._lines.append(line[:LINE_CHARS])

    def lines(self) -> Sequence[str]:
        """Them, the oldest first."""
        return tuple(self._lines)


class Witness:
    """Sees from a thread of its own whether the process lives. `seen` says that it does."""

    def __init__(
        self,
        path: Path,
        late: Callable[[], Sequence[object]],
        *,
        loop_s: float,
        ring: Ring,
        monotonic: Callable[[], float] = running_s,
    ) -> None:
        """`late` tells what is late; an event loop is that has not said `seen` for `loop_s`."""
        self._path, self._late, self._loop_s, self._ring, self._monotonic = path, late, loop_s, ring, monotonic
        self._seen_s = monotonic()
        self._said = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def seen(self) -> None:
        """The event loop turns."""
        self._seen_s = self._monotonic()

    def begin(self) -> None:
        """Look from now on."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Write the last words, if it is time for them. What was late and is through takes them back."""
        silent_s = self._monotonic() - self._seen_s
        late = [f"the event loop has not turned for {silent_s:.0f} s"] if silent_s > self._loop_s else []
        late += map(str, self._late())
        if late and not self._said:
            self._said = True
            log.error("%s", "; ".join(late))
            self._write("; ".join(late))
        elif not late and self._said:
            self._said = False
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _write(self, late: str) -> None:
        words = LastWords(
            time_us=time.time_ns() // 1000,
            late=late,
            version=version("lamplighter"),
            python=platform.python_version(),
            log=tuple(self._ring.lines()),
            stacks=stacks(),
        )
        try:
            temporary = self._path.with_name(f".{self._path.name}")
            temporary.write_bytes(msgspec.json.encode(words))
            temporary.replace(self._path)
        except OSError as error:
            log.error("what happens here cannot be kept: %s", error)  # noqa: TRY400 - no bug of ours

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self.look()


def stacks() -> str:
    """What every thread is doing, the most recent call first."""
    # In memory: a disk that hangs may be what is late.
    with os.fdopen(os.memfd_create("stacks"), "w+b", buffering=0) as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read(STACK_BYTES).decode(errors="replace")


def put_aside(path: Path) -> Sequence[LastWords]:
    """What processes before have left and nobody has been told yet, the oldest first: put aside, so that what this
    process may have to say does not take its place, and kept until it is `told`."""
    places = _aside(path)
    with contextlib.suppress(OSError):
        if path.exists():
            path.replace(next((p for p in places if not p.exists()), places[-1]))
    return [words for place in places if (words := _read(place)) is not None]


def told(path: Path) -> None:
    """Whoever had to know of them knows, and would still know after a power cut."""
    for place in _aside(path):
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)


def _aside(path: Path) -> Sequence[Path]:
    return [path.with_name(f"{path.stem}.{n}{path.suffix}") for n in range(1, KEPT + 1)]


def _read(path: Path) -> LastWords | None:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        return msgspec.json.decode(text, type=LastWords)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("what a process before has left cannot be read: %s", error)
        with contextlib.suppress(OSError):
            path.unlink()
        return None
