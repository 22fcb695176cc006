"""`lamplighter-edge test LAMP on|off|LEVEL|blink`: set a lamp for a short time, with a countdown back to automatic.

One order is given, `blink` too, and the node itself ends it after `--for`, also when this command or the connection is
gone; Ctrl-C ends it at once.

Exit codes: 0 it was given back, 1 anything else, with the reason. Bounds: those of `set`, and for `blink` those of
`edge.control.blinking`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TextIO

import httpx

from edge.config import Config
from edge.control.blinking import LONGEST_S
from edge.control.on_site import BlinkGiven, CommandGiven, RelinquishGiven
from edge.verbs import site
from edge.verbs.asking import EXIT_FAILED, Asking, Language, Unanswered, Words, add_options, check_device, language_of
from edge.verbs.rules import seconds
from wire.device import Point

FOR_S: Final = 120.0
FIRST: Final = ("dim_level", "level", "on")  # which point is the lamp, where it has several
_WORDS: Final[Words] = {
    "en": {
        "no lamp": "{} has no point that can be set: a test needs a lamp",
        "left": "{}: back to automatic in {} s (Ctrl-C: now) ",
        "back": "{} is given back: it follows plan and rules again",
        "blink": "blinks",
        "too long": "it blinks for {} at most, for every turn wears a relay",
    },
    "fr": {
        "no lamp": "{} n'a aucun point réglable : il faut une lampe pour un essai",
        "left": "{} : retour en automatique dans {} s (Ctrl-C : tout de suite) ",
        "back": "{} est rendue : elle suit de nouveau le programme et les règles",
        "blink": "clignote",
        "too long": "elle clignote {} au plus, car chaque basculement use un relais",
    },
}


def add(verbs: Any) -> None:
    """Add `test` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    test: argparse.ArgumentParser = verbs.add_parser("test", help="at the cabinet: try a lamp for two minutes")
    test.add_argument("device", help="the lamp's id")
    test.add_argument("what", help="on, off, blink, or a level such as 60")
    test.add_argument("--for", dest="for_s", type=seconds, default=FOR_S, help="30s, 2m, 10m (default 2m)")
    site.add_by(test)
    add_options(test)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    user: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Set it, count down, and give it back. `user` is who is logged in; `transport` and the clocks stand in for the
    network and time in tests."""
    language = language_of(args, locale)
    words = _WORDS[language]
    try:
        point = lamp_point(config, args.device, language)
        by = site.who(args, user)
        given = _given(point, args, by, language)
        with Asking(config, args.endpoints, language, transport, own=True) as node:
            until = monotonic() + args.for_s
            try:
                told = site.follow(node, given, language, out, monotonic, sleep)
                if told.stage != "verified":
                    raise Unanswered(site.ended(told, language))
                what = words["blink"] if args.what == "blink" else args.what
                while (left_s := until - monotonic()) >= 1:
                    out.write(f"\r{words['left'].format(what, round(left_s))}")
                    out.flush()
                    sleep(1.0)
            except KeyboardInterrupt:
                pass
            finally:
                out.write("\n")
                with suppress(Unanswered):  # it ends by itself too
                    back = RelinquishGiven(by=by, device=args.device, point=point.name)
                    site.follow(node, back, language, out, monotonic, sleep)
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    out.write(words["back"].format(args.device) + "\n")
    return 0


def lamp_point(config: Config, device: str, language: Language) -> Point:
    """The point of a device that is the lamp.

    Raises:
        Unanswered: there is no such device, or nothing of it can be set.
    """
    devices = {d.id: d for d in config.roster.devices}
    check_device(device, devices, language)
    points = {p.name: p for p in config.roster.profiles[devices[device].profile] if p.writable}
    if not points:
        raise Unanswered(_WORDS[language]["no lamp"].format(device))
    return next((points[name] for name in FIRST if name in points), next(iter(points.values())))


def _given(point: Point, args: argparse.Namespace, by: str, language: Language) -> CommandGiven | BlinkGiven:
    """The order.

    Raises:
        Unanswered: it would be refused.
    """
    site.check_span(args.for_s, language)
    if args.what == "blink":
        if args.for_s > LONGEST_S:
            raise Unanswered(_WORDS[language]["too long"].format(site.span(LONGEST_S, language)))
        return BlinkGiven(by=by, device=args.device, point=point.name, for_s=args.for_s)
    return CommandGiven(
        by=by, device=args.device, point=point.name, value=_level(point, args.what, language), for_s=args.for_s
    )


def _level(point: Point, what: str, language: Language) -> int | float | bool | str:
    """What it is set to: `on` and `off` are the ends of its range."""
    if what not in ("on", "off") or point.type == "bool":
        return site.value_of(point, what, language)
    if what == "on":
        return point.high if point.high is not None else 100
    return point.low if point.low is not None else 0
