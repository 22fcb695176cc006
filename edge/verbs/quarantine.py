"""`lamplighter-edge quarantine`: the rows that the city has refused, and sending them again. Asks the running node, at
its own socket.

Exit codes: 0 told or done, 1 the node does not answer or refuses. Bounds: those of `edge.verbs.asking`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import httpx

from edge.config import Config
from edge.outbox.contract import SendAgain, SentAgain, SetAside
from edge.verbs.asking import EXIT_FAILED, Asking, Unanswered, Words, add_options, language_of
from wire.time import Utc

MAX_REASON_CHARS: Final = 200
_WORDS: Final[Words] = {
    "en": {
        "none": "nothing is set aside",
        "more": "and {} more",
        "sent": "{} rows are on their way again",
        "unreadable": "{} rows cannot be read any more and stay",
        "damaged": "damaged",
    },
    "fr": {
        "none": "rien n'est mis de côté",
        "more": "et {} de plus",
        "sent": "{} lignes repartent",
        "unreadable": "{} lignes ne sont plus lisibles et restent",
        "damaged": "endommagée",
    },
}


def add(verbs: Any) -> None:
    """Add `quarantine` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    found: argparse.ArgumentParser = verbs.add_parser("quarantine", help="rows that the city refused: list, send again")
    acts: Any = found.add_subparsers(dest="act", required=True)
    listed: argparse.ArgumentParser = acts.add_parser("list", help="what is set aside, and why")
    send: argparse.ArgumentParser = acts.add_parser("send", help="put rows back, all or those with these numbers")
    send.add_argument("ids", nargs="*", type=int, help="numbers from the list (default: all)")
    for verb in (listed, send):
        add_options(verb)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
) -> int:
    """List or send. `transport` stands in for the network in tests."""
    language = language_of(args, locale)
    words = _WORDS[language]
    try:
        with Asking(config, args.endpoints, language, transport, own=True) as node:
            if args.act == "list":
                found, left_out = node.get_listed("/quarantine", list[SetAside])
                out.writelines(f"{line}\n" for line in _lines(found, words["damaged"]))
                if left_out or not found:
                    out.write((words["more"].format(left_out) if left_out else words["none"]) + "\n")
                return 0
            sent = node.post("/quarantine/send", SendAgain(ids=args.ids or None), SentAgain)
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    out.write(words["sent"].format(sent.sent) + "\n")
    if sent.unreadable:
        err.write(words["unreadable"].format(sent.unreadable) + "\n")
        return EXIT_FAILED
    return 0


def _lines(found: Sequence[SetAside], damaged: str) -> list[str]:
    """A line a row: its number, when, the lane and the seq that it ended at, its size, why."""
    return [
        f"{one.id:>5}  {_when(one.aside_us)}  {one.lane:<6}  {one.through_seq:>9}  {one.bytes:>7} B"
        f"  {'' if one.sendable else f'[{damaged}] '}{one.reason[:MAX_REASON_CHARS]}"
        for one in found
    ]


def _when(moment_us: Utc | None) -> str:
    if moment_us is None:
        return "-".ljust(20)
    return datetime.fromtimestamp(moment_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
