"""`lamplighter-edge`: run the node, check what it would run with, read what it has kept, ask what it decides by, act.

Exit codes: 0 it was asked to end, or the configuration is sound; 1 it could not go on (the reason is on standard
error); 2 the command line is wrong; 78 the configuration is wrong, and starting again cannot help.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import msgspec
import uvloop

from drivers.errors import NotStored
from drivers.tables import suggest
from edge import interpreter
from edge.acting.bundles import followed
from edge.acting.sky import sky
from edge.clock import kernel_boot, utc_us
from edge.config import Config, ConfigError, load, place_of
from edge.handover import Handover
from edge.lives import EXIT_FAILED, live
from edge.node import Node, Ready
from edge.outbox.reading import CardError, read_history
from edge.watchdog import NodeWatchdog
from groundwork.last_words import Ring
from groundwork.systemd import Notify
from groundwork.terminal import guard, log_to_stderr, shown
from wire.sample import Sample
from wire.time import Utc, micros

# Verbs that ask the running node: the token is not theirs to read.
ASKING = frozenset(
    {
        "status",
        "devices",
        "watch",
        "test",
        "why",
        "set",
        "release",
        "alarms",
        "acknowledge",
        "shelve",
        "unshelve",
        "quarantine",
        "identify",
        "log",
        "door",
        "support",
    }
)
VERBS = (  # modules of edge.verbs, in the order of --help
    *("init", "status", "doctor", "watch", "lamp_test", "rules", "plan", "why", "site", "alarms", "quarantine", "log"),
    *("identify", "door", "support"),
)
CONFIG = Path("/etc/lamplighter/node.toml")  # as docs/operations.md installs it
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: systemd is told not to try again


def parser(*, whole: bool = True) -> argparse.ArgumentParser:
    """What the command line may say; not whole: what a node that runs for years has to carry of it."""
    parser = argparse.ArgumentParser(prog="lamplighter-edge", description="The node in the street cabinet.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run the node until it is told to stop")
    run.add_argument("--endpoints", type=Path, help="write the health URL to this file once the node serves (JSON)")
    check = verbs.add_parser("check", help="tell everything that is wrong in the configuration and its profiles")
    history = verbs.add_parser("history", help="print what the node has kept, also while it runs")
    history.add_argument("--device", help="only this device")
    history.add_argument("--hours", type=float, default=1.0, help="how far back (default 1)")
    if whole:
        for name in VERBS:
            import_module(f"edge.verbs.{name}").add(verbs)
    for verb in (run, check, history):
        verb.add_argument("--config", type=Path, default=CONFIG, help=f"node.toml (default {CONFIG})")
    run.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    with guard():
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        except BrokenPipeError:  # whoever read has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_FAILED


def _main(given: list[str]) -> int:
    args = parser(whole=given[:1] != ["run"]).parse_args(given)
    if args.verb == "init":
        from edge.verbs import init

        return init.run(args, locale=_locale(), source=sys.stdin, out=sys.stdout, err=sys.stderr)
    try:
        config = load(args.config, connects=args.verb == "run", secrets=args.verb not in ASKING)
    except ConfigError as error:
        if args.verb == "support":
            return _support(error, args)
        print(error, file=sys.stderr)
        print(f"{len(error.problems)} problem(s); nothing was started", file=sys.stderr)
        if args.config == CONFIG and not CONFIG.exists():
            print("write --config FILE where node.toml lies elsewhere", file=sys.stderr)
        return EXIT_CONFIG
    match args.verb:
        case "check":
            return _check(config)
        case "history":
            return _history(config, args.device, args.hours)
        case "rules":
            return _rules(config, args)
        case "plan":
            return _plan(config, args)
        case "status" | "devices":
            from edge.verbs import status

            return status.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "doctor":
            from edge.verbs import doctor

            return doctor.run(config, args, locale=_locale(), out=sys.stdout)
        case "watch":
            from edge.verbs import watch

            return watch.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "test":
            from edge.verbs import lamp_test

            return lamp_test.run(config, args, locale=_locale(), user=_user(), out=sys.stdout, err=sys.stderr)
        case "why":
            from edge.verbs import why

            return why.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "set" | "release":
            from edge.verbs import site

            return site.run(config, args, locale=_locale(), user=_user(), out=sys.stdout, err=sys.stderr)
        case "alarms" | "acknowledge" | "shelve" | "unshelve":
            from edge.verbs import alarms

            return alarms.run(
                config,
                args,
                locale=_locale(),
                user=_user(),
                out=sys.stdout,
                err=sys.stderr,
                colours=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
            )
        case "identify":
            from edge.verbs import identify

            return identify.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "log":
            from edge.verbs import log

            return log.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "door":
            from edge.verbs import door

            return door.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case "support":
            return _support(config, args)
        case "quarantine":
            from edge.verbs import quarantine

            return quarantine.run(config, args, locale=_locale(), out=sys.stdout, err=sys.stderr)
        case _:
            return _run(config, args)


def _support(found: Config | ConfigError, args: argparse.Namespace) -> int:
    from edge.verbs import support

    return support.run(found, args, locale=_locale(), out=sys.stdout, err=sys.stderr)


def _check(config: Config) -> int:
    changed = {c.device: c for c in config.listed.counting}
    for line in config.lines:
        print(f"line {line.name} ({line.kind.name}): {len(line.attachments)} devices")
        for attachment in line.attachments:
            device = attachment.device
            made = f", {config.listed.made(changed[device.id])}" if device.id in changed else ""
            print(f"  {device.id}  {device.kind}, {device.profile}, {len(attachment.profile.points)} points{made}")
    for change in config.listed.counting:
        if change.now is None:
            print(f"{change.device} of node.toml is not there: {config.listed.made(change)}")
    for told in (*config.exposed, *config.listed.told(), *config.unclear, *config.doubts):
        print(told, file=sys.stderr)
    if config.unclear:
        count = len(config.unclear)
        print(f"{count} text(s) that the city will mark; the node runs with them as they are", file=sys.stderr)
    if config.doubts:
        print(f"{len(config.doubts)} problem(s); the node would run without these lines", file=sys.stderr)
    if config.doubts or config.unclear:
        return EXIT_CONFIG
    for missing in config.absent:
        print(f"{missing}\nthe node needs its token to start; all else was checked", file=sys.stderr)
    print(f"{config.node.id}: {len(config.roster.devices)} devices; the configuration is sound")
    return 0


def _history(config: Config, device: str | None, hours: float) -> int:
    """A line a sample: time, device, point=value, and in brackets why a value is not good."""
    path = Path(config.node.data_dir) / "outbox.db"

    async def show() -> None:
        from_us = utc_us() - micros(hours * 3600)
        async for columns in read_history(path, from_us, Utc(2**62), device):
            for sample in columns.samples():
                if sample.time_us >= from_us:
                    print(shown(_line(sample)))

    known = {d.id for d in config.roster.devices}
    if device is not None and device not in known:
        print(f'there is no device "{device}"{suggest(device, known)}', file=sys.stderr)
        return EXIT_FAILED
    try:
        if not path.exists():
            print(f"{path} is not there: the node has not run yet", file=sys.stderr)
            return EXIT_FAILED
        asyncio.run(show())
    except BrokenPipeError:  # as in `… | head`
        sys.stdout = None
    except CardError as error:
        print(f"lamplighter-edge: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _rules(config: Config, args: argparse.Namespace) -> int:
    zone = UTC if config.site is None else ZoneInfo(config.site.time_zone)
    from edge.verbs import rules

    return rules.run(config, args, ambient=sky(config.site), zone=zone)


def _plan(config: Config, args: argparse.Namespace) -> int:
    try:
        sent = followed(config.node.data_dir, "plan")
    except CardError as error:
        print(f"lamplighter-edge: {error}", file=sys.stderr)
        sent = None
    from edge.verbs import plan

    return plan.run(
        args,
        plan=config.plan,
        place=None if config.site is None else place_of(config.site),
        roster=config.roster,
        now_us=utc_us(),
        out=sys.stdout,
        err=sys.stderr,
        locale=_locale(),
        followed=sent,
    )


def _locale() -> str:
    return next((v for n in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(n))), "")


def _user() -> str:
    """Who is logged in, also behind sudo."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or ""


def _line(sample: Sample) -> str:
    moment = datetime.fromtimestamp(sample.time_us / 1e6, UTC).isoformat(timespec="milliseconds")
    values = (
        f"{point}={value}" + (f" [{sample.quality[point]}]" if point in sample.quality else "")
        for point, value in sample.values.items()
    )
    estimated = "" if sample.clock.synced else " (estimated)"
    return f"{moment.replace('+00:00', 'Z')}{estimated} {sample.device} {' '.join(values)}"


def _run(config: Config, args: argparse.Namespace) -> int:
    log_to_stderr(args.log_level)
    faulthandler.enable()  # systemd's watchdog ends with SIGABRT: then the journal has what every thread did
    ring = Ring()
    logging.getLogger().addHandler(ring)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a warning a bad request would fill the journal
    logging.getLogger("bleak").setLevel(logging.ERROR)  # it warns of a version of BlueZ that it cannot read

    for doubt in config.doubts:
        logging.getLogger("edge").error("%s", doubt)
    for told in (*config.exposed, *config.listed.told(), *config.unclear):
        logging.getLogger("edge").warning("%s", told)

    def ready(told: Ready) -> None:
        interpreter.settled()
        url = f"http://{told.health}/health"
        logging.getLogger("edge").info("%s runs; health at %s", config.node.id, url)
        if args.endpoints:
            temporary = args.endpoints.with_name(f".{args.endpoints.name}.{os.getpid()}")
            temporary.write_bytes(msgspec.json.encode({"health": url, "socket": str(Path(told.socket).absolute())}))
            temporary.replace(args.endpoints)

    systemd = Notify()
    watchdog = NodeWatchdog(systemd, config.socket, ring=ring, boot=kernel_boot())
    handover = Handover(config)

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes, or log rotation: there is nothing to reopen
    interpreter.tune()
    try:
        uvloop.run(live(lambda: Node(handover, watchdog, systemd, on_ready=ready), watchdog))
    except (RuntimeError, OSError, CardError) as error:
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
    where = f"{config.node.data_dir}: " if isinstance(error, NotStored) else ""
    print(f"lamplighter-edge: {where}{error}", file=sys.stderr)
    return EXIT_FAILED
