"""`lamplighter-edge status` and `devices`: how the running node is, in the words of its page. Behind each device that
was changed at the cabinet stands by whom and when.

Exit codes of `status`: 0 the cabinet is working, 1 somebody is needed, 2 readings are being lost, 3 the node does not
answer. `devices`: 0 told, 3 the node does not answer. Bounds: those of `edge.verbs.asking`.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any, Final, TextIO

import httpx
import msgspec

from edge.config import Config
from edge.verbs.asking import Asking, Language, Unanswered, Words, add_options, language_of
from edge.web.glance import DeviceLine, Summary, Task

EXIT_OF: Final = {"well": 0, "act": 1, "failed": 2}
EXIT_NO_NODE: Final = 3
WIDTH: Final = 100
MARKS: Final = {"failed": "!!", "act": "! ", "note": "- ", "well": "ok", "partly": "~ ", "waiting": "..", "never": "! "}
_WORDS: Final[Words] = {
    "en": {
        "oldest": "{} The oldest reading that waits is {} old.",
        "plain": "{}",
        "devices": "{} devices, {} alarms; {} {}",
        "more": "and {} more",
        "said": "({})",
        "to do": "systemctl status lamplighter-edge says whether it runs; lamplighter-edge doctor what is in its way",
    },
    "fr": {
        "oldest": "{} La plus ancienne mesure en attente a {}.",
        "plain": "{}",
        "devices": "{} appareils, {} alarmes ; {} {}",
        "more": "et {} autres",
        "said": "({})",
        "to do": "systemctl status lamplighter-edge dit s'il tourne ; lamplighter-edge doctor ce qui l'empêche",
    },
}


def add(verbs: Any) -> None:
    """Add both to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    for name, words in (
        ("status", "how the cabinet is, and what to do"),
        ("devices", "each device of the running node, and how it is"),
    ):
        verb: argparse.ArgumentParser = verbs.add_parser(name, help=words)
        verb.add_argument("--json", action="store_true", help="for programs")
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
    """Ask and print. `transport` stands in for the network in tests."""
    language = language_of(args, locale)
    try:
        with Asking(config, args.endpoints, language, transport) as node:
            if args.verb == "devices":
                lines = node.get(f"/summary/devices?lang={language}", list[DeviceLine])
                out.write(_json(lines) if args.json else _table(lines))
                return 0
            told = node.get(f"/summary?lang={language}", Summary)
    except Unanswered as error:
        err.write(f"{error}\n{_WORDS[language]['to do']}\n")
        return EXIT_NO_NODE
    out.write(_json(told) if args.json else _text(told, language))
    return EXIT_OF.get(told.state, 1)


def _json(told: object) -> str:
    return msgspec.json.format(msgspec.json.encode(told)).decode() + "\n"


def _text(told: Summary, language: Language) -> str:
    words = _WORDS[language]
    lines = [f"{told.node}: {told.sentence}"]
    for task in (*told.tasks, *told.notes):
        lines += ["", *_task(task, words["said"])]
    if told.left_out:
        lines += ["", words["more"].format(told.left_out)]
    queue = words["oldest" if told.oldest else "plain"].format(told.queue.rstrip(".") + ".", told.oldest)
    lines += ["", queue, words["devices"].format(told.devices, told.alarms, "lamplighter", told.version)]
    return "\n".join(lines) + "\n"


def _task(task: Task, said: str) -> list[str]:
    lines = textwrap.wrap(task.title, WIDTH, initial_indent=f"{MARKS[task.weight]} ", subsequent_indent="   ")
    if task.check:
        lines += textwrap.wrap(task.check, WIDTH, initial_indent="   ", subsequent_indent="   ")
    if task.said and task.said not in task.title:
        lines += textwrap.wrap(said.format(task.said), WIDTH, initial_indent="   ", subsequent_indent="   ")
    return lines


def _table(devices: Sequence[DeviceLine]) -> str:
    if not devices:
        return ""
    rows = [
        (MARKS.get(d.state, "  "), d.id, d.name, d.line, d.words + (f" [{d.changed.words}]" if d.changed else ""))
        for d in devices
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
    return "\n".join(line.rstrip() for line in lines) + "\n"
