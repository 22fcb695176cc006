"""lamplighter-cloud: run the aggregator, make tokens, back up, restore, build the views again.

Exit codes: 0 done, 1 it could not be done (the reason is on standard error), 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen
from uuid import uuid4

import uvloop

from cloud import crash
from cloud.entrance.quota import A_DAY
from cloud.exporting import verb as exporting
from cloud.exporting.export import CannotExport
from cloud.history.contract import TooMuch
from cloud.log.contract import Unavailable
from cloud.reader.fold_process import IDLE_S, step_aside
from cloud.records.alarm_steps import ALARM_DAYS
from cloud.records.keys import HEADER
from cloud.records.tokens import NODE_NAME, ROLES
from cloud.server import Options, refusal, run
from cloud.sqlite import backup
from cloud.sqlite.database import Misplaced
from cloud.sqlite.folding import folding
from cloud.sqlite.shrink import shrink
from cloud.sqlite.tokens import tokens_of
from cloud.store import rebuild
from cloud.times import DAY_US, SECOND_US, parse, text, utc_us
from cloud.webhooks import verb as webhooks
from groundwork.last_words import Ring
from groundwork.terminal import guard, log_to_stderr, shown
from wire.time import Micros

ANSWER_S: Final = 30
MAX_ANSWER: Final = 1 << 20
MAX_DAYS: Final = 36_500
PROGRESS_US: Final = SECOND_US
HISTORY_HELP: Final = "where folded hours lie; history/ in the store's directory when left out"
TROUBLE: Final = (
    Misplaced, Unavailable, backup.CannotBackUp, backup.CannotRestore, CannotExport, TooMuch, OSError, ValueError,
)  # fmt: skip
EXIT_LOST: Final = 3  # of rebuild: a store was built, and something is not in it


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says."""
    given = _parser().parse_args(arguments)
    log_to_stderr(logging.INFO)
    with guard():
        try:
            return given.act(given)
        except TROUBLE as error:
            print(shown(f"lamplighter-cloud: {error}"), file=sys.stderr)
            return 1


def _run(given: argparse.Namespace) -> int:
    options = Options(**{name: getattr(given, name) for name in Options.__struct_fields__ if hasattr(given, name)})
    if (why := refusal(options)) is not None:
        print(f"lamplighter-cloud: {why}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the event loop says so
    faulthandler.enable()  # systemd's watchdog ends with SIGABRT: then the journal has what every thread did
    ring = Ring()
    logging.getLogger().addHandler(ring)
    # Bodies make many short-lived lists and no cycles: the collector would go over all that is held for nothing. What
    # requests leave in cycles is young and found among the first; for what lived long see `cloud.app`.
    gc.set_threshold(100_000, 50, 100)
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options, crash.from_environment(dict(os.environ)), ring))
    return 0


def _create(given: argparse.Namespace) -> int:
    if given.node is not None and not NODE_NAME.fullmatch(given.node):
        raise ValueError("a node's name has 1 to 64 letters, digits, dots, dashes or underscores, no dash first")
    now_us = utc_us()
    until_us = None if given.until is None else parse(given.until)
    if given.days is not None:
        if not 0 < given.days <= MAX_DAYS:
            raise ValueError(f"--days lies between 0 and {MAX_DAYS:,}")
        until_us = now_us + Micros(given.days * DAY_US)
    with tokens_of(given.data) as tokens:
        print(tokens.create(given.role, given.node, given.name, now_us, until_us))
    return 0


def _list(given: argparse.Namespace) -> int:
    with tokens_of(given.data) as tokens:
        for grant in tokens.all():
            if grant.revoked_us is not None:
                state = f"revoked {text(grant.revoked_us)}"
            elif grant.until_us is None:
                state = "valid"
            else:
                state = f"{'valid until' if tokens.valid(grant) else 'expired'} {text(grant.until_us)}"
            line = (
                f"{grant.id}  {grant.role:8}  {grant.node or '-':20}  {text(grant.created_us)}  {state}  {grant.name}"
            )
            print(shown(line))
    return 0


def _revoke(given: argparse.Namespace) -> int:
    with tokens_of(given.data) as tokens:
        if tokens.revoke(given.id, utc_us()):
            return 0
    raise ValueError(f"no valid token has the id {given.id}; `token list` shows all")


def _assign(given: argparse.Namespace) -> int:
    done = _asked(given, "/v1/assignments", {"device": given.device, "node": given.node})
    to = "to no node any more" if done["node"] is None else f"to {done['node']}"
    print(shown(f"{done['device']} is assigned {to}, by {done['by']} at {done['time']}"))
    return 0


def _code(given: argparse.Namespace) -> int:
    body = {"for": given.for_name} | ({} if given.of_token is None else {"token": given.of_token})
    done = _asked(given, f"/v1/nodes/{quote(given.node, safe='')}/codes", body)
    print(f"{done['code'][:4]} {done['code'][4:]}")
    print(shown(f"for {done['for']}, at {done['node']}, once; number {done['counter']}"), file=sys.stderr)
    return 0


def _why(given: argparse.Namespace) -> int:
    found = _asked(given, f"/v1/devices/{quote(given.device)}/why")
    said = "says its node" if found["source"] == "node" else "as its node told it last"
    print(shown(f"{found['device']} at {found['node']}, {said}, {found['time'] or 'never'}"))
    if found["note"]:
        print(shown(found["note"]), file=sys.stderr)
    for point in found["points"]:
        print(shown(f"{point['point']}: {point['text'].get(given.lang) or _in_words(point)}"))
    for what in ("plan", "rules"):
        if found[what]:
            print(shown(f"{what}: {found[what]}"))
    for there in found["technicians"]:
        print(shown(f"at the cabinet: {there['by']}, since {there['since']}, until {there['until']}"))
    return 0


def _in_words(point: Any) -> str:
    """Who wins, where the node has told no more than that."""
    if not point["levels"]:
        return "nothing is held: the device is left as it is"
    top = point["levels"][0]
    value = (
        "blinking" if top.get("blinks") else f"{top['value']:.12g}" if isinstance(top["value"], float) else top["value"]
    )
    by, until = (f" ({top['by']})" if top.get("by") else ""), (f" until {top['until']}" if top.get("until") else "")
    below = "" if point["whole"] else "; what lies below is not known"
    return f"{value} {point['unit']}".rstrip() + f" because of {top['level']}{by}{until}{below}"


def _asked(given: argparse.Namespace, path: str, body: Any = None) -> Any:
    """What a running aggregator answers, over HTTP as any operator asks: a store that is served has one writer."""
    if not given.url.startswith(("http://", "https://")):
        raise ValueError("--url begins with http:// or https://")
    request = Request(  # noqa: S310  the scheme was looked at
        f"{given.url.rstrip('/')}{path}",
        None if body is None else json.dumps(body).encode(),
        {
            "Authorization": f"Bearer {given.token_file.read_text().strip()}",
            "Content-Type": "application/json",
            HEADER: str(uuid4()),
        },
    )
    try:
        with urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310
            return json.loads(answer.read(MAX_ANSWER))
    except HTTPError as error:
        try:
            why = json.loads(error.read(MAX_ANSWER))["detail"]
        except (ValueError, KeyError, TypeError):
            why = error.reason
        raise ValueError(f"{error.code}: {why}") from None


def _backup(given: argparse.Namespace) -> int:
    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done / 1e6:.0f} of {of / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was begun is taken away
    try:
        backup.back_up(given.data, given.to, progress)
    except KeyboardInterrupt:
        print("lamplighter-cloud: cancelled; nothing is left of it", file=sys.stderr)
        return 1
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"backed up to {given.to}")
    return 0


def _restore(given: argparse.Namespace) -> int:
    generation = backup.restore(given.data, given.source, utc_us)
    print(f"restored; the generation is now {generation}")
    return 0


def _shrink(given: argparse.Namespace) -> int:
    def progress(done: int, of: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done / 1e6:.0f} of about {of / 1e6:.0f} MB", end="", file=sys.stderr, flush=True)

    before, after = shrink(given.data, progress)
    print(f"{before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now")
    return 0


def _rebuild(given: argparse.Namespace) -> int:
    def progress(done: int, of: int) -> None:
        print(f"\r{done} of {of} records", end="", file=sys.stderr, flush=True)

    told = asyncio.run(rebuild(given.data, progress)).told()
    print("\nbuilt again; what was replaced is in replaced/", file=sys.stderr)
    for line in told:
        print(line)
    if told:
        print("the store can be used, but something is lost: see above", file=sys.stderr)
    return EXIT_LOST if told else 0


def _fold(given: argparse.Namespace) -> int:
    async def fold() -> None:
        async with folding(given.data, given.history, crash=crash.from_environment(dict(os.environ))) as work:
            told = utc_us()
            while True:
                while await work.folder.step():
                    if sys.stderr.isatty() and utc_us() - told > PROGRESS_US:
                        told = utc_us()
                        print(f"\r{work.folder.progress()}", end="", file=sys.stderr, flush=True)
                if given.once:
                    print(work.folder.progress())
                    return
                await asyncio.sleep(IDLE_S)

    step_aside()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: it goes on where it was
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(fold())
    except KeyboardInterrupt:
        pass
    return 0


def _asks(verb: argparse.ArgumentParser, act: Callable[[argparse.Namespace], int]) -> None:
    """A verb that asks a running aggregator."""
    verb.add_argument("--url", default="http://127.0.0.1:8080", help="where the aggregator answers")
    verb.add_argument(
        "--token-file", type=Path, required=True, metavar="FILE", help="a file with a token that may do it"
    )
    verb.set_defaults(act=act)


def _adds_asking(verbs: Any) -> None:
    added = verbs.add_parser(
        "assign", help="let a device belong to a node", description="Let a device belong to a node."
    )
    added.add_argument("device")
    added.add_argument("node", nargs="?", help="the node; without it, an assignment is taken back")
    _asks(added, _assign)

    what = "a one-time code with which a technician may act at a node's cabinet"
    added = verbs.add_parser("code", help=what, description=f"Print {what}; who asked, and for whom, is kept.")
    added.add_argument("node")
    added.add_argument("--for", dest="for_name", required=True, metavar="NAME", help="the technician's name")
    added.add_argument("--of-token", metavar="ID", help="the node's token that it follows from, where it has several")
    _asks(added, _code)

    what = "who decides what a device is set to, asked of its node"
    added = verbs.add_parser("why", help=what, description=f"Print {what}, or as the node told it last.")
    added.add_argument("device")
    added.add_argument("--lang", choices=("en", "fr"), default="en", help="of the node's words (default en)")
    _asks(added, _why)


def _run_options(added: argparse.ArgumentParser) -> None:
    added.add_argument("--host", default="127.0.0.1")
    added.add_argument("--port", type=int, default=8080, help="0 takes any that is free")
    added.add_argument(
        "--readers", type=int, default=0, metavar="N", help="processes of their own that answer questions and feeds"
    )
    added.add_argument("--readers-port", type=int, default=8081, help="where they answer; 0 takes any that is free")
    added.add_argument(
        "--no-fold", dest="fold", action="store_false", help="start no process that keeps what points did hour by hour"
    )
    added.add_argument("--history", type=Path, metavar="DIR", help=HISTORY_HELP)
    added.add_argument("--endpoints", type=Path, metavar="FILE", help="where to write the real URL once ready")
    added.add_argument("--tls-cert", type=Path, metavar="FILE")
    added.add_argument("--tls-key", type=Path, metavar="FILE")
    added.add_argument("--insecure-http", action="store_true", help="plain http on other than loopback")
    added.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="ADDRESS",
        help="an address or network of proxies whose X-Forwarded-For is believed; may be given more than once",
    )  # fmt: skip
    added.add_argument(
        "--cors-origin", action="append", default=[], metavar="ORIGIN",
        help="whose pages may read the answers in a browser, as https://console.example.org; again for more",
    )  # fmt: skip
    added.add_argument("--token-feeds", type=int, default=100, help="feeds that one token may have open (default 100)")
    added.add_argument("--token-requests", type=int, default=64, help="requests of one token in hand (default 64)")
    for name, kind, what in (
        ("bytes", int, "bytes kept of what it sends"),
        ("readings", int, "readings"),
        ("requests", int, "requests"),
        ("work-s", float, "seconds of processor time for its bodies"),
    ):
        default = getattr(A_DAY, {"bytes": "size_bytes"}.get(name, name.replace("-", "_")))
        added.add_argument(
            f"--node-{name}", type=kind, default=kind(default), metavar="N",
            help=f"what one node may bring in a day: {what} (default {default:,.0f})",
        )  # fmt: skip
    added.add_argument("--feed-days", type=float, default=7.0, help="how long batches stay whole (default 7)")
    added.add_argument(
        "--alarm-days",
        type=float,
        default=ALARM_DAYS,
        help="how long steps of alarms are kept (default 3653)",
    )
    added.add_argument("--feed-cut-s", type=float, default=10.0, help="how long a feed reader may stall (default 10)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lamplighter-cloud", description="The aggregator of a city's nodes.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, what: str, act: Callable[[argparse.Namespace], int], of: Any = verbs) -> Any:
        added = of.add_parser(name, help=what, description=what)
        added.add_argument("--data", type=Path, required=True, metavar="DIR", help="the store's directory")
        added.set_defaults(act=act)
        return added

    _run_options(verb("run", "serve until SIGTERM", _run))
    token = verbs.add_parser("token", help="make, list and revoke tokens").add_subparsers(required=True, metavar="VERB")
    added = verb("create", "make a token and print it, once", _create, token)
    added.add_argument("--role", choices=ROLES, required=True)
    added.add_argument("--node", help="the node that it is for, with --role node")
    added.add_argument("--name", default="", help="a note on who has it")
    end = added.add_mutually_exclusive_group()
    end.add_argument("--days", type=float, help="valid for so many days; without an end when left out")
    end.add_argument("--until", metavar="TIME", help="valid until then, as 2027-01-31T12:00:00Z")
    verb("list", "list all tokens", _list, token)
    verb("revoke", "let a token be valid no more", _revoke, token).add_argument("id")

    _adds_asking(verbs)
    verb("backup", "copy the store while it is used", _backup).add_argument("to", type=Path, metavar="DIR")
    verb("restore", "put a copy back", _restore).add_argument("source", type=Path, metavar="DIR")
    added = verb("fold", "keep what points did hour by hour as Parquet, as `run` does by itself", _fold)
    added.add_argument("--history", type=Path, metavar="DIR", help=HISTORY_HELP)
    added.add_argument("--once", action="store_true", help="end when all is folded that can be")
    webhooks.options(verbs.add_parser("webhooks", help=webhooks.WHAT, description=webhooks.WHAT))
    exporting.options(verb("export", "write what points did over any span into Parquet or CSV files", exporting.act))
    verb("shrink", "give the room that is free in the store back to the disk", _shrink)
    verb("rebuild", "build the store again from what can be read of it, all views from the log", _rebuild)
    return parser


if __name__ == "__main__":
    sys.exit(main())
