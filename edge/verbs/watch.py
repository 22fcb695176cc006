"""`lamplighter-edge watch DEVICE`: a line for each sample of a device, as it comes, until Ctrl-C.

Exit codes: 0 it was watched, 1 the node does not answer or has no such device. Bounds: the node is asked every LOOK_S;
it may be silent for PATIENCE times, as where it starts again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TextIO

import httpx
import msgspec

from edge.config import Config
from edge.verbs.asking import EXIT_FAILED, Asking, Unanswered, Words, add_options, check_device, language_of
from edge.verbs.site import shown
from wire.sample import Sample

LOOK_S: Final = 1.0
PATIENCE: Final = 30
_WORDS: Final[Words] = {
    "en": {"waits": "nothing was heard of {} yet; it is waited for", "estimated": "estimated"},
    "fr": {"waits": "{} n'a encore rien dit ; on l'attend", "estimated": "estimé"},
}


def add(verbs: Any) -> None:
    """Add `watch` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    watch: argparse.ArgumentParser = verbs.add_parser("watch", help="each sample of a device, as it comes")
    watch.add_argument("device", help="the device's id")
    watch.add_argument("--json", action="store_true", help="for programs: an object a line")
    watch.add_argument("--count", type=int, default=0, help="end by itself after so many samples")
    add_options(watch)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Ask and print. `transport` and `sleep` stand in for the network and time in tests."""
    language = language_of(args, locale)
    words = _WORDS[language]
    devices = {d.id: d for d in config.roster.devices}
    told, before, silent = 0, None, 0
    try:
        check_device(args.device, devices, language)
        units = {p.name: p.unit for p in config.roster.profiles[devices[args.device].profile]}
        with Asking(config, args.endpoints, language, transport) as node:
            while not args.count or told < args.count:
                try:
                    (sample,) = node.get(f"/samples/{args.device}", list[Sample]) or (None,)
                    silent = 0
                except Unanswered:
                    silent += 1
                    if before is None or silent > PATIENCE:
                        raise
                    sample = before
                if sample is None and before is None and not told:
                    err.write(words["waits"].format(args.device) + "\n")
                    told = -1  # it is said once
                if sample is not None and sample != before:
                    before, told = sample, max(told, 0) + 1
                    out.write(_json(sample) if args.json else _line(sample, units, language, words["estimated"]))
                    out.flush()
                if not args.count or told < args.count:
                    sleep(LOOK_S)
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    except (KeyboardInterrupt, BrokenPipeError):
        return 0
    return 0


def _json(sample: Sample) -> str:
    return msgspec.json.encode(sample).decode() + "\n"


def _line(sample: Sample, units: dict[str, str], language: Any, estimated: str) -> str:
    moment = datetime.fromtimestamp(sample.time_us / 1e6).astimezone()
    clock = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
    values = "  ".join(
        f"{name}={'–' if value is None else shown(value, units.get(name, ''), language)}"
        + (f" [{sample.quality[name]}]" if name in sample.quality else "")
        for name, value in sample.values.items()
    )
    return f"{clock if sample.clock.synced else f'~{clock} ({estimated})'}  {values}\n"
