"""`lamplighter-edge identify`: what is this device? Profiles are tried on what it says.

Where the node runs it owns the lines, and is asked at its socket; else the line is opened here. A pasted frame needs
neither. With `--sweep` the speeds and parities of a serial line are tried, which only who has it alone can do.

With nothing to look at, it lists the devices that the running node has never heard, with the last error of each.

Exit codes: 0 something was found that a profile fits, or all are heard; 1 anything else. Bounds: `--seconds`;
FRAMES frames of FRAME_BYTES.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import httpx
import msgspec

from drivers import registry
from drivers.contract import Driver
from drivers.errors import DriverError, Unreachable
from drivers.guesses import Tell
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import suggest
from edge.clock import utc_us
from edge.config import Config
from edge.identify.finding import Finding, findings
from edge.identify.looking import LookFor, LookReport, identify
from edge.identify.on_lines import Unheard
from edge.identify.words import finding, progress, told
from edge.sampling.lines import AttachedLine
from edge.verbs.asking import EXIT_FAILED, Asking, Language, NoNode, Unanswered, Words, add_options, language_of
from edge.web.identifying import LookProgress
from wire.sample import Clock
from wire.time import Utc

FRAMES: Final = 16
FRAME_BYTES: Final = 65_536
SCAN_S: Final = 600.0
LISTEN_S: Final = 15.0
LOOK_S: Final = 0.3
UNITS: Final = (1, 247)
SWEPT_UNITS: Final = (1, 10)  # at each speed, where no unit is named
BAUDS: Final = (9_600, 19_200, 38_400, 4_800, 2_400, 115_200, 57_600, 1_200)
PARITIES: Final[tuple[Literal["N", "E", "O"], ...]] = ("N", "E", "O")
_WORDS: Final[Words] = {
    "en": {
        "no line": 'there is no line "{}"{}',
        "which line": "write --line: there are {}",
        "no such line": "no line speaks {}",
        "what": "say what to look at: --unit N, --scan, --topic T, --advert ADDRESS or --frame HEX",
        "not hex": "a frame is written in hexadecimal, such as 0703028F, or as JSON",
        "no frame": "no profile fits this frame ({} were tried)",
        "unheard": "{} (line {}): not heard since the start {:.0f} s ago: {}",
        "no reason": "nothing came",
        "all heard": "all devices have been heard since the start",
        "sweep": "--sweep needs the serial line alone: stop the node first (systemctl stop lamplighter-edge)",
        "no serial": "--sweep goes with a serial line",
    },
    "fr": {
        "no line": "il n'y a pas de ligne « {} »{}",
        "which line": "écrivez --line : il y a {}",
        "no such line": "aucune ligne ne parle {}",
        "what": "dites quoi regarder : --unit N, --scan, --topic T, --advert ADRESSE ou --frame HEX",
        "not hex": "une trame s'écrit en hexadécimal, par exemple 0703028F, ou en JSON",
        "no frame": "aucun profil ne convient à cette trame ({} essayés)",
        "unheard": "{} (ligne {}) : pas entendu depuis le démarrage il y a {:.0f} s : {}",
        "no reason": "rien n'est venu",
        "all heard": "tous les appareils ont été entendus depuis le démarrage",
        "sweep": "--sweep demande la ligne série pour lui seul : arrêtez d'abord le nœud (systemctl stop"
        " lamplighter-edge)",
        "no serial": "--sweep va avec une ligne série",
    },
}


def add(verbs: Any) -> None:
    """Add `identify` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    verb: argparse.ArgumentParser = verbs.add_parser("identify", help="tell which profile fits an unknown device")
    verb.add_argument("--line", help="the line to look on (default: the only one that can be meant)")
    verb.add_argument("--unit", type=int, help="a unit of a Modbus line")
    verb.add_argument("--scan", action="store_true", help="all units of a bus, all topics, all that is on the air")
    verb.add_argument("--topic", help="what is published by a topic, or a filter with + and #")
    verb.add_argument("--advert", metavar="ADDRESS", help="a Bluetooth device, such as C6:4C:50:00:00:01")
    verb.add_argument("--frame", action="append", metavar="HEX", help="bytes copied from elsewhere; may be repeated")
    verb.add_argument("--sweep", action="store_true", help="try the speeds and parities of a serial line")
    verb.add_argument("--seconds", type=float, help=f"how long (default {LISTEN_S:g} to listen, {SCAN_S:g} to scan)")
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
    """Look and print. `transport` stands in for the network in tests."""
    language = language_of(args, locale)
    profiles = list(load_profiles([SHIPPED, *map(Path, config.node.profile_dirs)], []).values())
    steps = LookSteps(err, language)
    try:
        if args.frame:
            return _pasted(args.frame, profiles, language, out)
        if not (args.scan or args.sweep or args.topic or args.advert or args.unit is not None or args.line):
            return _unheard(config, args, language, out, transport)
        line, ask = _meant(config, args, language)
        try:
            report = _asked_of_node(config, args, ask, steps, language, transport)
        except NoNode:
            report = asyncio.run(alone(line, ask, profiles, steps, sweep=args.sweep))
    except (Unanswered, DriverError) as error:
        steps.end()
        err.write(f"{error}\n")
        return EXIT_FAILED
    steps.end()
    out.writelines(f"{text}\n" for text in told(report, language))
    return 0 if any(f.findings for f in report.found) else EXIT_FAILED


def _unheard(
    config: Config, args: argparse.Namespace, language: Language, out: TextIO, transport: httpx.BaseTransport | None
) -> int:
    """Which devices the running node has never heard: what to look at before the door is closed.

    Raises:
        Unanswered.
    """
    words = _WORDS[language]
    try:
        with Asking(config, args.endpoints, language, transport, own=True) as node:
            found = node.get("/identify", _Unheard).unheard
    except NoNode:
        raise Unanswered(words["what"]) from None
    told_of = ((one.device, one.line, one.for_s, one.why or words["no reason"]) for one in found)
    out.writelines(words["unheard"].format(*each) + "\n" for each in told_of)
    if not found:
        out.write(words["all heard"] + "\n")
    return EXIT_FAILED if found else 0


class _Unheard(msgspec.Struct):
    unheard: list[Unheard]


class LookSteps:
    """How far it has come: one line that is written over on a terminal, and nothing elsewhere."""

    def __init__(self, err: TextIO, language: Language) -> None:
        self._err, self._told = err, False
        self._language: Language = language

    def __call__(self, word: str, details: Mapping[str, Any]) -> None:
        """See `drivers.guesses.Tell`."""
        if self._err.isatty():
            self._err.write(f"\r\x1b[K{progress(word, details, self._language)}")
            self._err.flush()
            self._told = True

    def end(self) -> None:
        """The line is done."""
        if self._told:
            self._err.write("\r\x1b[K")


def _meant(config: Config, args: argparse.Namespace, language: Language) -> tuple[AttachedLine, LookFor]:
    """Which line, and what to look for on it.

    Raises:
        Unanswered: it is not said, or not there.
    """
    words = _WORDS[language]
    protocol = "modbus" if args.unit is not None else "mqtt" if args.topic else "ble" if args.advert else ""
    if not protocol and not args.scan and not args.sweep:
        raise Unanswered(words["what"])
    lines = {line.name: line for line in config.lines}
    if args.line is not None and args.line not in lines:
        raise Unanswered(words["no line"].format(args.line, suggest(args.line, lines)))
    may = [each for each in config.lines if args.line in (None, each.name) and protocol in ("", each.kind.name)]
    if not may:
        raise Unanswered(words["no such line"].format(protocol))
    if len(may) > 1:
        raise Unanswered(words["which line"].format(", ".join(each.name for each in may)))
    line = may[0]
    if args.sweep and not getattr(line.settings, "serial", ""):
        raise Unanswered(words["no serial"])
    units = UNITS if line.kind.name == "modbus" and args.unit is None else None
    seconds = args.seconds or (LISTEN_S if line.kind.name in ("mqtt", "ble") else SCAN_S)
    try:
        given = {"line": line.name, "unit": args.unit, "units": units, "seconds": seconds}
        return line, msgspec.convert({**given, "topic": args.topic or "", "mac": args.advert or ""}, LookFor)
    except msgspec.ValidationError as error:
        raise Unanswered(str(error)) from error


def _asked_of_node(
    config: Config,
    args: argparse.Namespace,
    ask: LookFor,
    tell: Tell,
    language: Language,
    transport: httpx.BaseTransport | None,
) -> LookReport:
    """What the running node says.

    Raises:
        NoNode: none runs. Unanswered: it says no, or this user may not ask it.
    """
    with Asking(config, args.endpoints, language, transport, own=True) as node:
        if args.sweep:
            node.get("/health", dict[str, Any])  # whether it is there at all
            raise Unanswered(_WORDS[language]["sweep"])
        looked = node.post("/identify", ask, LookProgress)
        while looked.report is None:
            if looked.error:
                raise Unanswered(looked.error)
            if looked.step:
                tell(looked.step, looked.details)
            time.sleep(LOOK_S)
            looked = node.get(f"/identify/{looked.id}", LookProgress)
        return looked.report


async def alone(
    line: AttachedLine, ask: LookFor, profiles: Sequence[Profile], tell: Tell, *, sweep: bool
) -> LookReport:
    """Look on a line that nobody else has.

    Raises:
        DriverError.
    """
    if not sweep:
        return await _look(line, ask, profiles, tell)
    report: LookReport | None = None
    trouble: DriverError | None = None
    for settings in _settings(line):
        tell("sweeping", settings)
        tried = msgspec.structs.replace(line, settings=msgspec.structs.replace(line.settings, **settings))
        first = ask if ask.unit is not None else msgspec.structs.replace(ask, units=SWEPT_UNITS)
        try:
            report = await _look(tried, first, profiles, lambda _word, _details: None)
        except Unreachable as error:  # this port does not have it
            trouble = error
            continue
        if any(f.findings or "garbled" not in f.notes for f in report.found):
            if ask.unit is None:
                report = await _look(tried, ask, profiles, tell)
            same = all(getattr(line.settings, k) == v for k, v in settings.items())
            return report if same else msgspec.structs.replace(report, settings=settings)
    if report is None:
        assert trouble is not None
        raise trouble
    return report


def _settings(line: AttachedLine) -> Iterator[dict[str, Any]]:
    """Speeds and parities, the line's own first, the usual ones before the others."""
    own = (line.settings.baud, line.settings.parity)
    pairs = [own, *((b, p) for b in BAUDS for p in PARITIES)]
    for baud, parity in dict.fromkeys(pairs):
        yield {"baud": baud, "parity": parity}


async def _look(line: AttachedLine, ask: LookFor, profiles: Sequence[Profile], tell: Tell) -> LookReport:
    driver: Driver = line.kind.open(line.name, line.settings, (), _now, _NoReceipts())
    async with driver:
        return await identify(line, driver, ask, profiles, tell)


def _now() -> tuple[Utc, Clock]:
    return utc_us(), Clock(0, synced=False)


class _NoReceipts:
    async def recent(self, source: str) -> Sequence[bytes]:
        del source
        return ()


def _pasted(frames: Sequence[str], profiles: Sequence[Profile], language: Language, out: TextIO) -> int:
    """What fits bytes that were copied from elsewhere.

    Raises:
        Unanswered: they are no bytes.
    """
    data = [_bytes(text, language) for text in frames[:FRAMES]]
    found: list[Finding] = []
    for kind in map(registry.find, registry.names()):
        if kind is not None and kind.looking is not None:
            mine = [p for p in profiles if p.driver == kind.name]
            for evidence in kind.looking.pasted(data):
                found += findings(mine, kind.looking.guesses, evidence)
    found.sort(key=lambda f: -f.bits)
    if not found:
        raise Unanswered(_WORDS[language]["no frame"].format(len(profiles)))
    out.writelines(f"{text}\n" for text in finding(found[0], language))
    return 0


def _bytes(text: str, language: Language) -> bytes:
    text = text.strip()[:FRAME_BYTES]
    if text.startswith(("{", "[")):
        return text.encode()
    try:
        return bytes.fromhex(text.replace(":", " ").replace("-", " ").replace("0x", " "))
    except ValueError:
        raise Unanswered(_WORDS[language]["not hex"]) from None
