"""`lamplighter-edge support FILE`: the support file, for whoever helps from afar (`edge.web.support`), from the running
node over its socket.

Where no node runs, also because its configuration is wrong, or one does not answer, it has what can be known without:
what is wrong with the configuration, the configuration, what the card says of health, alarms and the activity log, the
last words of processes before, and the journal. The same secrets are left out. A file that is there already stays as it
is; a folder gets a file by the node's name.

Exit codes: 0 it is written, 1 it is not, and standard error says why. Bounds: those of `edge.web.support` and
`edge.verbs.asking`; JOURNAL_LINES of the journal within JOURNAL_S, LOG_DAYS of the activity log.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO, cast

import httpx
import msgspec

from edge.acting.alarming import PREFIX, kept_alarms
from edge.changes import versions
from edge.clock import utc_us
from edge.config import Config, ConfigError
from edge.outbox.reading import CardError, read_all_kept
from edge.outbox.recounting import last_health, recount
from edge.verbs.asking import (
    EXIT_FAILED,
    Asking,
    Language,
    NoAnswerInTime,
    NoNode,
    Unanswered,
    Words,
    add_options,
    language_of,
)
from edge.watchdog import LAST_WORDS, RUNS
from edge.web.activity_log import told
from edge.web.support import FILE_BYTES, about, file_name, zipped
from wire.time import Utc, micros

JOURNAL_LINES: Final = 1_000
JOURNAL_S: Final = 10.0
LOG_DAYS: Final = 7.0
_JOURNAL: Final = (
    *("journalctl", "--unit=lamplighter-edge", "--no-pager", "--output=short-iso", "--quiet"),
    f"--lines={JOURNAL_LINES}",
)
_WORDS: Final[Words] = {
    "en": {
        "written": "written: {} ({} kB)",
        "there": "{} is there already: write another name",
        "stopped": "the node does not run, or does not answer: this is what is known without it",
    },
    "fr": {
        "written": "écrit : {} ({} ko)",
        "there": "{} existe déjà : écrivez un autre nom",
        "stopped": "le nœud ne tourne pas, ou ne répond pas : voici ce qui se sait sans lui",
    },
}


def add(verbs: Any) -> None:
    """Add `support` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    verb: argparse.ArgumentParser = verbs.add_parser("support", help="write a zip for whoever helps from afar")
    verb.add_argument("file", type=Path, metavar="FILE", help="where to, or a folder")
    add_options(verb)


def run(
    found: Config | ConfigError,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
    now_us: Callable[[], Utc] = utc_us,
) -> int:
    """Ask, or look, and write. `found` is the configuration, or what is wrong with it; `transport` stands in for the
    network in tests; `now_us` is UTC."""
    language = language_of(args, locale)
    words = _WORDS[language]
    moment = datetime.fromtimestamp(now_us() / 1e6, UTC)
    node, data_dir = _whereabouts(found, args.config)
    path: Path = args.file / file_name(node, moment) if args.file.is_dir() else args.file
    if path.exists():  # before anything is asked
        err.write(words["there"].format(path) + "\n")
        return EXIT_FAILED
    try:
        content = _asked(found, args, language, transport)
        if content is None:
            err.write(words["stopped"] + "\n")
            content = _without(found, args.config, node, data_dir, moment)
        with path.open("xb") as file:
            file.write(content)
    except (Unanswered, OSError) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    out.write(words["written"].format(path, round(len(content) / 1000)) + "\n")
    return 0


def _asked(
    found: Config | ConfigError, args: argparse.Namespace, language: Language, transport: httpx.BaseTransport | None
) -> bytes | None:
    """From the node; None where it does not run, or does not answer.

    Raises:
        Unanswered: it says no.
    """
    if isinstance(found, Config):
        with (
            contextlib.suppress(NoNode, NoAnswerInTime),
            Asking(found, args.endpoints, language, transport, own=True) as node,
        ):
            return node.fetch("/support")
    return None


def _whereabouts(found: Config | ConfigError, path: Path) -> tuple[str, Path | None]:
    """The node's name and where its card is, also of a file that is wrong elsewhere."""
    if isinstance(found, Config):
        return found.node.id, Path(found.node.data_dir)
    node: object = None
    try:
        with path.open("rb") as file:
            node = tomllib.loads(file.read(FILE_BYTES).decode()).get("node")
    except (OSError, ValueError, RecursionError):
        pass
    table = cast("dict[str, object]", node) if isinstance(node, dict) else {}
    name, where = table.get("id"), table.get("data_dir")
    known = isinstance(where, str) and "${" not in where
    return name if isinstance(name, str) else "node", path.parent / str(where) if known else None


def _without(found: Config | ConfigError, config: Path, node: str, data_dir: Path | None, moment: datetime) -> bytes:
    """What can be known without the node."""
    parts: dict[str, object] = {"about": {**about(node, moment), "running": False}}
    files = [config]
    texts = {"check.txt": "\n".join(_checked(found)), "log.txt": _journal()}
    if data_dir is not None:
        card = data_dir / "outbox.db"
        from_us = Utc(round(moment.timestamp() * 1e6) - micros(LOG_DAYS * 86_400))
        parts |= {
            "health": _looked(lambda: last_health(card)),
            "alarms": _looked(lambda: kept_alarms(read_all_kept(card, PREFIX))),
            "activity-log": _looked(lambda: told(recount(card, from_us))),
        }
        files.append(data_dir / versions.NAME)
    if isinstance(found, Config):
        beside = (found.socket.with_name(name) for name in (RUNS, LAST_WORDS))
        files += [each for name in beside for each in sorted(name.parent.glob(f"{name.stem}*{name.suffix}"))]
    return zipped({f"{name}.json": msgspec.json.encode(part) for name, part in parts.items()}, texts, files)


def _looked(look: Callable[[], object]) -> object:
    try:
        return look()
    except CardError as error:
        return {"error": str(error)}


def _checked(found: Config | ConfigError) -> Sequence[str]:
    """What is wrong with the configuration, and what is to be known of it."""
    if isinstance(found, ConfigError):
        return [str(found), f"{len(found.problems)} problem(s): the node does not start"]
    said = [*found.exposed, *found.listed.told(), *found.unclear, *found.doubts, *found.absent]
    return [*map(str, said), f"{found.node.id}: {len(found.roster.devices)} devices"]


def _journal() -> str:
    """The last lines of the node's log, or why there are none."""
    try:
        done = subprocess.run(_JOURNAL, capture_output=True, timeout=JOURNAL_S, check=False)  # noqa: S603 - our own words
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the journal cannot be read: {error}"
    return (done.stdout[-FILE_BYTES:] or done.stderr[:FILE_BYTES]).decode(errors="replace")
