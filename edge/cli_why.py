"""`lamplighter-edge why`: what a device's points should be now, and who says so. Asks the running node.

Exit codes: 0 told, 1 the node does not answer or has no such device.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final, TextIO

import httpx
import msgspec

from drivers.tables import suggest
from edge.config import Config
from edge.decided import Decided

EXIT_FAILED: Final = 1
TIMEOUT_S: Final = 5.0
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing is bound here


def add(verbs: Any) -> None:
    """Add `why` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    why: argparse.ArgumentParser = verbs.add_parser("why", help="ask the running node why a device is set as it is")
    why.add_argument("device", help="the device's id")
    why.add_argument("--config", type=Path, required=True, help="node.toml")
    why.add_argument("--lang", choices=["en", "fr"], help="language of the answer (default: that of LANG)")


def run(config: Config, args: argparse.Namespace, *, locale: str, out: TextIO, err: TextIO) -> int:
    """Ask and print: a line a point, and what lies below."""
    known = {d.id for d in config.roster.devices}
    if args.device not in known:
        err.write(f'there is no device "{args.device}"{suggest(args.device, known)}\n')
        return EXIT_FAILED
    host, _, port = config.health.listen.rpartition(":")
    host = EVERYWHERE.get(host, host)
    url = f"http://{host}:{port}/control/{args.device}"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
        answer.raise_for_status()
        found = msgspec.json.decode(answer.content, type=list[Decided])
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        err.write(f"the node does not answer at {url}: {error}; does it run?\n")
        return EXIT_FAILED
    language = args.lang or ("fr" if locale.startswith("fr") else "en")
    if not found:
        out.write({"en": "nothing is held for it", "fr": "rien n'est imposé pour lui"}[language] + "\n")
    out.writelines(f"{one.point}: {one.why[language]}\n" for one in found)
    return 0
