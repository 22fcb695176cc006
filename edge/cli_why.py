"""`lamplighter-edge why`: what a device's points should be now, and who says so. Asks the running node.

Exit codes: 0 told, 1 the node does not answer or has no such device.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import httpx
import msgspec

from drivers.tables import suggest
from edge.config import Config
from edge.decided import Decided

EXIT_FAILED: Final = 1
TIMEOUT_S: Final = 5.0
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "": "127.0.0.1"}  # noqa: S104 - nothing is bound here
_WORDS: Final = {
    "en": {
        "nothing": "nothing is held for it: it is left as it is",
        "no device": 'there is no device "{}"{}',
        "port 0": "the node picks its port at each start (health.listen has port 0): write --endpoints FILE, the file"
        " that `lamplighter-edge run --endpoints FILE` writes",
        "no file": "{} cannot be read: {}; does the node run?",
        "no answer": "the node does not answer at {}: {}; does it run?",
        "refused": "the node at {} answers {}; does it run with this configuration?",
    },
    "fr": {
        "nothing": "rien n'est imposé pour lui : il reste comme il est",
        "no device": "il n'y a pas d'appareil « {} »{}",
        "port 0": "le nœud choisit son port à chaque démarrage (health.listen a le port 0) : écrivez --endpoints"
        " FICHIER, le fichier qu'écrit `lamplighter-edge run --endpoints FICHIER`",
        "no file": "{} ne peut être lu : {} ; le nœud tourne-t-il ?",
        "no answer": "le nœud ne répond pas à {} : {} ; tourne-t-il ?",
        "refused": "le nœud à {} répond {} ; tourne-t-il avec cette configuration ?",
    },
}


class _Endpoints(msgspec.Struct):
    health: str


def add(verbs: Any) -> None:
    """Add `why` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    why: argparse.ArgumentParser = verbs.add_parser("why", help="ask the running node why a device is set as it is")
    why.add_argument("device", help="the device's id")
    why.add_argument("--config", type=Path, required=True, help="node.toml")
    why.add_argument("--endpoints", type=Path, help="the file that `run --endpoints` wrote, where the port is picked")
    why.add_argument("--lang", choices=["en", "fr"], help="language of the answer (default: that of LANG)")


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
    language: Literal["en", "fr"] = args.lang or ("fr" if locale.startswith("fr") else "en")
    words = _WORDS[language]

    def fail(what: str, *about: object) -> int:
        err.write(words[what].format(*about) + "\n")
        return EXIT_FAILED

    known = {d.id for d in config.roster.devices}
    if args.device not in known:
        return fail("no device", args.device, suggest(args.device, known))
    try:
        base = _base(config, args.endpoints)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        return fail("no file", args.endpoints, error)
    if base is None:
        return fail("port 0")
    url = f"{base}/control/{args.device}"
    try:
        with httpx.Client(timeout=TIMEOUT_S, trust_env=False, transport=transport) as client:
            answer = client.get(url)
        if not answer.is_success:
            return fail("refused", url, answer.status_code)
        found = msgspec.json.decode(answer.content, type=list[Decided])
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        return fail("no answer", url, error)
    if not found:
        out.write(words["nothing"] + "\n")
    out.writelines(f"{one.point}: {one.why[language]}\n" for one in found)
    return 0


def _base(config: Config, endpoints: Path | None) -> str | None:
    """Where the node serves; None where nobody can know.

    Raises:
        OSError, ValueError, msgspec.DecodeError: the file cannot be read.
    """
    if endpoints is not None:
        url = msgspec.json.decode(endpoints.read_bytes(), type=_Endpoints).health
        host, _, port = url.removeprefix("http://").removesuffix("/health").rpartition(":")
    else:
        host, _, port = config.health.listen.rpartition(":")
    return None if int(port) == 0 else f"http://{EVERYWHERE.get(host, host)}:{port}"
