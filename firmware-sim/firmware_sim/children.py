"""Child processes that never outlive the simulator.

Promises: the kernel kills a child the moment the simulator dies, by whatever means; `stop` ends one politely
within `STOP_WITHIN_S`, then by force.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from firmware_sim.errors import StreetError

STOP_WITHIN_S = 3.0
LAST_LINES = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class MissingProgramError(StreetError):
    """A program that the scene needs is not installed."""


def bound_to_parent() -> Callable[[], None]:
    """What a child of this process does between fork and exec, so that the kernel kills it the moment we die."""
    parent = os.getpid()

    def bind() -> None:
        # Not inherited by grandchildren, and lost if the child changes its user: whoever is spawned must stay the user
        # that we are.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return bind


async def spawn(command: Sequence[str], log: Path) -> asyncio.subprocess.Process:
    """Start a program whose life is bound to ours; what it says goes to `log`."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/usr/local/sbin:/sbin")
    if program is None:
        message = f"{command[0]} is not installed; on Debian: apt-get install {_PACKAGES.get(command[0], command[0])}"
        raise MissingProgramError(message)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            program,
            *command[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=bound_to_parent(),
            start_new_session=True,  # a Ctrl-C at the terminal reaches only us; we then stop them in order
        )


def last_words(log: Path) -> str:
    """The end of what a child said, for an error message."""
    return " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]) or "nothing"


async def stop(child: asyncio.subprocess.Process) -> None:
    """End a child and wait for it."""
    if child.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), STOP_WITHIN_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


_PACKAGES = {"dbus-daemon": "dbus-daemon", "mosquitto": "mosquitto"}
