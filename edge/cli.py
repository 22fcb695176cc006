"""`lamplighter-edge`: run the node, or check what it would run with.

Exit codes: 0 it was asked to end, or the configuration is sound; 1 it could not go on (the reason is on standard
error); 2 the command line is wrong; 78 the configuration is wrong, and starting again cannot help.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from drivers.errors import NotStored
from edge.config import Config, ConfigError, load
from edge.node import Node, Ready

EXIT_FAILED = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd is told not to try again


def parser() -> argparse.ArgumentParser:
    """What the command line may say."""
    parser = argparse.ArgumentParser(prog="lamplighter-edge", description="The node in the street cabinet.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run the node until it is told to stop")
    run.add_argument("--endpoints", type=Path, help="write the health URL to this file once the node serves (JSON)")
    check = verbs.add_parser("check", help="tell everything that is wrong in the configuration and its profiles")
    for verb in (run, check):
        verb.add_argument("--config", type=Path, required=True, help="node.toml")
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    try:
        config = load(args.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} problem(s); nothing was started", file=sys.stderr)
        return EXIT_CONFIG
    return _check(config) if args.verb == "check" else _run(config, args)


def _check(config: Config) -> int:
    for line in config.lines:
        print(f"line {line.name} ({line.kind.name}): {len(line.attachments)} devices")
        for attachment in line.attachments:
            device = attachment.device
            print(f"  {device.id}  {device.kind}, {device.profile}, {len(attachment.profile.points)} points")
    print(f"{config.node.id}: {len(config.roster.devices)} devices; the configuration is sound")
    return 0


def _run(config: Config, args: argparse.Namespace) -> int:
    logging.basicConfig(level=args.log_level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def ready(told: Ready) -> None:
        url = f"http://{told.health}/health"
        logging.getLogger("edge").info("%s runs; health at %s", config.node.id, url)
        if args.endpoints:
            temporary = args.endpoints.with_name(f".{args.endpoints.name}.{os.getpid()}")
            temporary.write_bytes(msgspec.json.encode({"health": url}))
            temporary.replace(args.endpoints)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await Node(config, on_ready=ready).run(stop)

    try:
        uvloop.run(until_stopped())
    except (RuntimeError, OSError, sqlite3.Error) as error:
        return _failed(error, config)
    except BaseExceptionGroup as group:
        told, bugs = group.split((OSError, NotStored))
        if bugs is not None:
            raise
        assert told is not None
        return _failed(told, config)
    return 0


def _failed(error: BaseException, config: Config) -> int:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    where = f"{config.node.data_dir}: " if isinstance(error, sqlite3.Error | NotStored) else ""
    print(f"lamplighter-edge: {where}{error}", file=sys.stderr)
    return EXIT_FAILED
