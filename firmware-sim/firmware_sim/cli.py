"""The command `firmware-sim`: run a street, or check its scene.

Promises: exit code 0 after a street that was asked to end, 1 when a part of it failed, 2 when scene or arguments
are wrong; everything wrong with a scene is told at once. SIGUSR1 hushes the street (`silent` on stdout once the
ledger no longer grows), SIGUSR2 lets it speak again (`speaking`), SIGTERM and SIGINT end it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from firmware_sim.errors import StreetError
from firmware_sim.ledger import Ledger
from firmware_sim.scene import MAX_SPEED, MIN_SPEED, Scene, SceneError, load
from firmware_sim.street import Street, write_endpoints

OK, FAILED, MISUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="firmware-sim: %(message)s", stream=sys.stderr)
    try:
        scene = load(options.scene)
    except SceneError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return MISUSED
    if options.command == "check":
        print(_summary(options.scene, scene))
        return OK
    return _run(options, scene)


def _run(options: argparse.Namespace, scene: Scene) -> int:
    if options.speed is not None:
        scene = dataclasses.replace(scene, speed=options.speed)
    if options.seed is not None:
        scene = dataclasses.replace(scene, seed=options.seed)
    try:
        with Ledger(options.ledger) as ledger, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(options, scene, ledger))
            _say(f"ended {ledger.lines} lines {ledger.readings} readings")
    except BaseExceptionGroup as group:
        known, bugs = group.split((StreetError, OSError))
        for error in _leaves(known):
            print(f"firmware-sim: {error}", file=sys.stderr)
        if bugs is not None:
            raise bugs from None
        return FAILED
    return OK


async def _live(options: argparse.Namespace, scene: Scene, ledger: Ledger) -> None:
    street = Street(scene, ledger)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, street.stop.set)
    wishes: asyncio.Queue[bool] = asyncio.Queue(maxsize=16)

    def wish(hushed: bool) -> None:
        if not wishes.full():
            wishes.put_nowait(hushed)

    loop.add_signal_handler(signal.SIGUSR1, wish, True)
    loop.add_signal_handler(signal.SIGUSR2, wish, False)

    def ready(endpoints: dict[str, object]) -> None:
        if options.endpoints is not None:
            write_endpoints(options.endpoints, endpoints)
        _say("ready " + msgspec.json.encode(endpoints).decode())
        if options.seconds is not None:
            loop.call_later(options.seconds, street.stop.set)

    async with asyncio.TaskGroup() as tasks:
        obedient = tasks.create_task(_obey(street, wishes))
        await street.run(ready)
        obedient.cancel()


async def _obey(street: Street, wishes: asyncio.Queue[bool]) -> None:
    while True:
        if await wishes.get():
            await street.hush()
            _say("silent")
        else:
            street.speak()
            _say("speaking")


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Whoever read us is gone; the street goes on. Without this the interpreter would complain at exit.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - open to the end


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return [leaf for one in inner for leaf in _leaves(one)]
    return [] if error is None else [error]


def _summary(path: Path, scene: Scene) -> str:
    counts: dict[str, int] = {}
    for device in scene.devices:
        counts[device.model] = counts.get(device.model, 0) + 1
    models = ", ".join(f"{count} {model}" for model, count in counts.items())
    return f"{path}: {len(scene.devices)} devices ({models}), {len(scene.faults)} faults: good"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="firmware-sim", description="A simulated street on real protocols.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="tell everything that is wrong with a scene")
    check.add_argument("scene", type=Path)
    run = commands.add_parser("run", help="run a street until SIGTERM")
    run.add_argument("scene", type=Path)
    run.add_argument("--ledger", type=Path, help="append what was offered to this file, one JSON object a line")
    run.add_argument("--endpoints", type=Path, help="write where everything listens to this file, once it does")
    run.add_argument("--seconds", type=_bounded(0.1, 366 * 86_400.0), help="end by itself after so many real seconds")
    run.add_argument("--speed", type=_bounded(MIN_SPEED, MAX_SPEED), help="street seconds per real second")
    run.add_argument("--seed", type=_seed, help="use this seed instead of the scene's")
    return parser


class _bounded:  # noqa: N801 - used as a function; argparse shows its name
    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, text: str) -> float:
        value = float(text)
        if not self._low <= value <= self._high:
            message = f"{text} is not between {self._low:g} and {self._high:g}"
            raise argparse.ArgumentTypeError(message)
        return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 32:
        message = f"{text} is not between 0 and {(1 << 32) - 1}"
        raise argparse.ArgumentTypeError(message)
    return value


if __name__ == "__main__":
    sys.exit(main())
