"""`lamplighter-edge why`: what a device's points should be now, and who says so. Asks the running node.

Exit codes: 0 told, 1 the node does not answer or has no such device. Bounds: those of `edge.verbs.asking`.
"""

from __future__ import annotations

import argparse
from typing import Any, Final, TextIO

import httpx

from edge.config import Config
from edge.control.decided import Decided
from edge.verbs.asking import EXIT_FAILED, Asking, Unanswered, Words, add_options, check_device, language_of

_WORDS: Final[Words] = {
    "en": {"nothing": "nothing is held for it: it is left as it is"},
    "fr": {"nothing": "rien n'est imposé pour lui : il reste comme il est"},
}


def add(verbs: Any) -> None:
    """Add `why` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    why: argparse.ArgumentParser = verbs.add_parser("why", help="ask the running node why a device is set as it is")
    why.add_argument("device", help="the device's id")
    add_options(why)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Ask and print: a line a point, and what lies below. `transport` stands in for the network in tests."""
    language = language_of(args, locale)
    try:
        check_device(args.device, {d.id for d in config.roster.devices}, language)
        with Asking(config, args.endpoints, language, transport) as node:
            found = node.get(f"/control/{args.device}", list[Decided])
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    if not found:
        out.write(_WORDS[language]["nothing"] + "\n")
    out.writelines(f"{one.point}: {one.why[language]}\n" for one in found)
    return 0
