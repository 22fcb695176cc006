"""`lamplighter-edge set` and `release`: whoever stands at the cabinet sets a point, and gives it back.

The order goes to the running node on this machine, at the level of the technician, which nothing from afar overrides.
What is wrong with a device, a point or a value is told before anything is asked of the node. Then is told how far the
order comes, as it happens, until it has its end.

Exit codes: 0 it was verified: the device was read and has it; 1 anything else, with the reason. Bounds: an order is
followed for WAIT_S, looked at every LOOK_S; what it holds lasts as `edge.control.on_site` says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

import httpx

from drivers.errors import Misconfigured, Refused
from drivers.readings import allowed
from drivers.tables import suggest
from edge.config import Config
from edge.control.on_site import DEFAULT_FOR_S, MAX_FOR_S, MIN_FOR_S, CommandGiven, OrderProgress, RelinquishGiven
from edge.verbs.asking import (
    EXIT_FAILED,
    Asking,
    Language,
    Unanswered,
    Words,
    add_options,
    check_device,
    language_of,
)
from edge.verbs.rules import seconds
from groundwork import terminal
from wire.device import Point
from wire.sample import Value

WAIT_S: Final = 30.0  # three tries, and 10 s for a line to come back (`edge.control.actuators`), are over by then
LOOK_S: Final = 0.1
MAX_BY_CHARS: Final = 200
MAX_NEAR_CHARS: Final = 500
_BOOLS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "on", "yes", "1", "vrai", "oui", "marche"), True),
    **dict.fromkeys(("false", "off", "no", "0", "faux", "non", "arrêt", "arret"), False),
}
_WORDS: Final[Words] = {
    "en": {
        "no point": '{} has no writable point "{}"{}',
        "none writable": "{} has no point that can be set",
        "not bool": '{} takes on or off, not "{}"',
        "not number": '{} takes a number, such as 80, not "{}"',
        "span": "--for is {} to {}",
        "accepted": "accepted",
        "applied": "applied: the device was told",
        "verified": "verified",
        "refused": "refused",
        "failed": "failed",
        "expired": "expired",
        "superseded": "superseded by a later order",
        "in": "{} in {:.1f} s",
        "read back": "read back {}",
        "holds": "it holds for {}; to end it before: lamplighter-edge release {} {}",
        "waits": "not verified after {:.0f} s ({}); the node goes on by itself: ask `lamplighter-edge why {}`",
        "on": "on",
        "off": "off",
        "d": "d",
    },
    "fr": {
        "no point": "{} n'a pas de point réglable « {} »{}",
        "none writable": "{} n'a aucun point réglable",
        "not bool": "{} prend on ou off, pas « {} »",
        "not number": "{} prend un nombre, par exemple 80, pas « {} »",
        "span": "--for va de {} à {}",
        "accepted": "accepté",
        "applied": "appliqué : l'appareil a reçu l'ordre",
        "verified": "vérifié",
        "refused": "refusé",
        "failed": "échoué",
        "expired": "expiré",
        "superseded": "remplacé par un ordre plus récent",
        "in": "{} en {:.1f} s",
        "read back": "relu {}",
        "holds": "cela tient {} ; pour y mettre fin avant : lamplighter-edge release {} {}",
        "waits": "pas vérifié après {:.0f} s ({}) ; le nœud continue seul : demandez `lamplighter-edge why {}`",
        "on": "on",
        "off": "off",
        "d": "j",
    },
}


def add(verbs: Any) -> None:
    """Add `set` and `release` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    put: argparse.ArgumentParser = verbs.add_parser("set", help="at the cabinet: set a point of a device by hand")
    back: argparse.ArgumentParser = verbs.add_parser("release", help="at the cabinet: give a point back that was set")
    for verb in (put, back):
        verb.add_argument("device", help="the device's id")
        verb.add_argument("point", help="one of its writable points, such as dim_level")
    put.add_argument("value", help="a number, on or off, or a word, as the point has it")
    put.add_argument("--for", dest="for_s", type=seconds, default=DEFAULT_FOR_S, help="30m, 2h, 1d (default 2h)")
    for verb in (put, back):
        add_by(verb)
        add_options(verb)


def add_by(verb: argparse.ArgumentParser) -> None:
    """The option that says who acts."""
    verb.add_argument("--by", help="for whom you act: noted beside your own login name")


def who(args: argparse.Namespace, user: str) -> str:
    """For whom: as was said, or else the user. Who it is that asks, the node knows by itself."""
    return terminal.shown((args.by or user).strip())[:MAX_BY_CHARS]


def span(length_s: float, language: Language) -> str:
    """A length of time in words: 45 s, 90 min, 2 h, 7 d."""
    day = _WORDS[language]["d"]
    for unit_s, unit in ((86_400, day), (3_600, "h"), (60, "min")):
        if length_s >= unit_s and length_s % unit_s == 0:
            return f"{length_s / unit_s:g} {unit}"
    return f"{length_s:g} s" if length_s < 60 else f"{length_s / 60:.0f} min"


def check_span(for_s: float, language: Language) -> None:
    """Raise Unanswered for a time that no order may last."""
    if not MIN_FOR_S <= for_s <= MAX_FOR_S:
        limits = span(MIN_FOR_S, language), span(MAX_FOR_S, language)
        raise Unanswered(_WORDS[language]["span"].format(*limits))


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
    """Send the order and print its progress. `user` is who is logged in; `transport` and the clocks stand in for the
    network and time in tests."""
    language = language_of(args, locale)
    words = _WORDS[language]
    try:
        point = _point(config, args.device, args.point, language)
        by = who(args, user)
        given: CommandGiven | RelinquishGiven = RelinquishGiven(by=by, device=args.device, point=args.point)
        if args.verb == "set":
            check_span(args.for_s, language)
            value = value_of(point, args.value, language)
            given = CommandGiven(by=by, device=args.device, point=args.point, value=value, for_s=args.for_s)
        with Asking(config, args.endpoints, language, transport, own=True) as node:
            began = monotonic()
            told = follow(node, given, language, out, monotonic, sleep)
            took_s = monotonic() - began
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    if not told.final:
        err.write(words["waits"].format(WAIT_S, words[told.stage], args.device) + "\n")
        return EXIT_FAILED
    if told.stage != "verified":
        err.write(f"{ended(told, language)}\n")
        return EXIT_FAILED
    text = words["in"].format(words["verified"], took_s)
    if told.read_back is not None:
        text += f", {words['read back'].format(shown(told.read_back, point.unit, language))}"
    out.write(f"{text}{_remark(told, language)}\n")
    if args.verb == "set":
        out.write(words["holds"].format(span(args.for_s, language), args.device, args.point) + "\n")
    return 0


def follow(
    node: Asking,
    given: object,
    language: Language,
    out: TextIO,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> OrderProgress:
    """Give an order and look how far it comes, until its end or for WAIT_S; each stage before its end is printed.

    Raises:
        Unanswered: the node does not take it, or answers no more.
    """
    until = monotonic() + WAIT_S
    told = node.post("/orders", given, OrderProgress)
    said = ""
    while not told.final:
        if told.stage != said:
            said = told.stage
            out.write(f"{_WORDS[language][said]}{_remark(told, language)}\n")
            out.flush()
        if monotonic() >= until:
            break
        sleep(LOOK_S)
        told = node.get(f"/orders/{told.id}", OrderProgress)
    return told


def ended(told: OrderProgress, language: Language) -> str:
    """The end that an order has found, and why."""
    return f"{_WORDS[language][told.stage]}{_remark(told, language)}"


def shown(value: Value, unit: str, language: Language) -> str:
    """A value for people, with its unit."""
    if isinstance(value, bool):
        return _WORDS[language]["on" if value else "off"]
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()


def _remark(told: OrderProgress, language: Language) -> str:
    colon = " :" if language == "fr" else ":"
    return f"{colon} {told.detail}" if told.detail else ""


def _point(config: Config, device: str, name: str, language: Language) -> Point:
    """A writable point of a device, by what the node runs with."""
    devices = {d.id: d for d in config.roster.devices}
    check_device(device, devices, language)
    points = {p.name: p for p in config.roster.profiles[devices[device].profile] if p.writable}
    if not points:
        raise Unanswered(_WORDS[language]["none writable"].format(device))
    if name not in points:
        near = suggest(name, points)[:MAX_NEAR_CHARS]
        raise Unanswered(_WORDS[language]["no point"].format(device, name, near))
    return points[name]


def value_of(point: Point, text: str, language: Language) -> int | float | bool | str:
    """What was typed, by the point's type. A comma is a decimal point, and the unit may be written."""
    words = _WORDS[language]
    text = text.strip()
    value: int | float | bool | str
    match point.type:
        case "bool":
            found = _BOOLS.get(text.lower())
            if found is None:
                raise Unanswered(words["not bool"].format(point.name, text))
            value = found
        case "text":
            value = text
        case _:
            number = text.removesuffix(point.unit).strip().replace(",", ".") if point.unit else text.replace(",", ".")
            try:
                value = int(number) if number.lstrip("+-").isdecimal() else float(number)
            except ValueError:
                raise Unanswered(words["not number"].format(point.name, text)) from None
    try:
        allowed(point, value)
    except (Refused, Misconfigured) as error:
        raise Unanswered(str(error)) from error
    return value
