"""Trial: a bundle is read in a process of its own before the node reads it, so that none can stall or end the node.

A bundle's text is looked through before anything parses it (`groundwork.toml_text`), and what passes is read in time
that grows with its length. This holds also where that is mistaken: the process has CPU_S of processor time and
MEMORY_BYTES of its own, and is ended after WAIT_S. What it has read within CPU_S the node reads in as long.

`python -P -m edge.acting.trial` is that process: one MessagePack question on standard input, one answer on standard
output. Bounds: one at a time (the caller's), MAX_QUESTION_BYTES, MAX_TEXT_CHARS of an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

from edge.acting.bundles import Bundles, Ground
from edge.control.order_contract import Declined
from wire.orders import Bundle

CPU_S: Final = 3
MEMORY_BYTES: Final = 192 * 1024 * 1024  # beyond what the process has when it begins to read
WAIT_S: Final = 60.0  # a busy board starts an interpreter in some seconds
MAX_QUESTION_BYTES: Final = 32 * 1024 * 1024
MAX_TEXT_CHARS: Final = 2_000
NICE: Final = 10
COMMAND: Final = (sys.executable, "-P", "-m", "edge.acting.trial")


class Question(msgspec.Struct, frozen=True):
    """A bundle, and what it is read by."""

    ground: Ground
    bundle: Bundle


class Verdict(msgspec.Struct, frozen=True):
    """`declined` says what is wrong in a bundle that was read to its end."""

    declined: str | None = None


class Trial:
    """`run` it for each bundle."""

    def __init__(self, ground: Ground, command: Sequence[str] = COMMAND, wait_s: float = WAIT_S) -> None:
        self._ground, self._command, self._wait_s = ground, command, wait_s

    async def run(self, bundle: Bundle) -> str | None:
        """None where the bundle may be read by the node, which then says itself what is wrong in it; else why not.

        Raises:
            OSError: the process cannot be started.
        """
        question = msgspec.msgpack.encode(Question(self._ground, bundle))
        if len(question) > MAX_QUESTION_BYTES:
            return f"it cannot be tried: {len(question)} bytes with the devices of this node"
        process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        with contextlib.suppress(OSError):  # forbidden by systemd's unit, or it has ended already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        try:
            async with asyncio.timeout(self._wait_s):
                answer, _ = await process.communicate(question)
        except TimeoutError:
            return f"this {bundle.kind} cannot be taken: reading it takes longer than {self._wait_s:g} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        try:
            msgspec.msgpack.decode(answer, type=Verdict)
        except msgspec.DecodeError:
            return (
                f"this {bundle.kind} cannot be taken: reading it needs more than {CPU_S} s of the processor or"
                f" {MEMORY_BYTES >> 20} MB, or ends the process (code {process.returncode})"
            )
        return None


def _limit() -> None:
    """From here on: so much more time and memory."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime) + CPU_S + 1  # whole seconds only
    bytes_ = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY_BYTES
    for what, most in ((resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, bytes_), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # forbidden, or narrower already
            resource.setrlimit(what, (most, most))


def main() -> None:
    """The process."""
    question = msgspec.msgpack.decode(sys.stdin.buffer.read(MAX_QUESTION_BYTES + 1), type=Question)
    bundles, bundle = Bundles(question.ground), question.bundle
    if bundle.kind == "rules":
        import_module("edge.rules.load")  # what that costs is not the bundle's
    _limit()
    verdict = Verdict()
    try:
        bundles.told(bundles.plan_of(bundle) if bundle.kind == "plan" else bundles.rules_of(bundle))
    except Declined as declined:
        verdict = Verdict(str(declined)[:MAX_TEXT_CHARS])
    sys.stdout.buffer.write(msgspec.msgpack.encode(verdict))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
