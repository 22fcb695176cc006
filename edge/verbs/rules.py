"""`lamplighter-edge rules check | replay | explain`: what rules are, would have done, and where they stand.

They are the rules that the node follows: the city's last ones, where those can be followed, else its files; it is said
which. None of it touches the running node: rules files and the outbox are only read. A time is shown in the site's
time zone.
Exit codes are those of `lamplighter-edge`: 0, 1 it could not be done, 78 the rules are wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final, Protocol, TextIO

from drivers.tables import Problem, suggest
from edge.acting.bundles import followed
from edge.clock import utc_us
from edge.config import NodeTable
from edge.outbox.reading import CardError, read_history
from edge.rules.effects import Effect, Hold, MarkEffect, Raise, Release, Return
from edge.rules.engine import Ambient, Engine, Explained
from edge.rules.load import load, load_texts
from edge.rules.replay import Replay
from edge.rules.rule import Rule, Rules
from edge.sampling.lines import AttachedLine, heartbeats_s
from wire.device import Roster
from wire.sample import Value
from wire.time import AxisTime, Micros, Utc, micros

EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78
EXPLAIN_US: Final = Micros(24 * 3600 * 1_000_000)  # the longest window and the longest `for`
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_BAR: Final = 40
WIDTH: Final = 60


class Configured(Protocol):
    """What is asked of the node's configuration."""

    @property
    def node(self) -> NodeTable:
        """Where the outbox lies."""
        ...

    @property
    def lines(self) -> tuple[AttachedLine, ...]:
        """Which points report by exception."""
        ...

    @property
    def roster(self) -> Roster:
        """Devices and their points."""
        ...

    @property
    def rules(self) -> tuple[Path, ...]:
        """The rules files."""
        ...


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add `rules` with its own verbs; the one that is chosen stands in `args.rules`."""
    rules = verbs.add_parser("rules", help="check rules, replay history through them, ask where they stand")
    own = rules.add_subparsers(dest="rules", required=True)
    check = own.add_parser("check", help="tell everything that is wrong with the rules, or what each watches")
    replay = own.add_parser("replay", help="print what the rules would have done with the local history")
    replay.add_argument("--since", type=seconds, default=7 * 86_400.0, help="how far back: 90m, 12h, 7d (default 7d)")
    replay.add_argument("--rule", help="only this rule")
    explain = own.add_parser("explain", help="tell which rules watch a device, and where they stand")
    explain.add_argument("device", help="the device's id")
    for verb in (check, replay, explain):
        verb.add_argument("--config", type=Path, required=True, help="node.toml")
        verb.add_argument(
            "--file",
            type=Path,
            action="append",
            help="a rules file to use instead of the configured ones; again for more",
        )


def run(
    config: Configured,
    args: argparse.Namespace,
    *,
    ambient: Ambient,
    zone: tzinfo,
    now_us: Callable[[], Utc] = utc_us,
) -> int:
    """Do what `args` say. `ambient` returns sun and calendar at a UTC time in microseconds."""
    rules = _followed(config) if not args.file else None
    if rules is None:
        problems: list[Problem] = []
        rules = load(args.file or config.rules, config.roster, problems)
        if problems:
            _problems(problems)
            return EXIT_CONFIG
    if args.rules == "check":
        return _check(rules)
    known = [r.name for r in rules.rules] if args.rules == "replay" else [d.id for d in config.roster.devices]
    asked: str | None = args.rule if args.rules == "replay" else args.device
    if asked is not None and asked not in known:
        _say(
            f'there is no {"rule" if args.rules == "replay" else "device"} "{asked}"{suggest(asked, known)}', sys.stderr
        )
        return EXIT_FAILED
    path = Path(config.node.data_dir) / "outbox.db"
    engine = Engine(
        rules, config.roster.devices, config.roster.profiles, ambient, heartbeats_s=heartbeats_s(config.lines)
    )
    history = _History(path, zone, now_us())
    try:
        if not path.exists():
            _say(f"{path} is not there: the node has not run yet", sys.stderr)
            return EXIT_FAILED
        if args.rules == "replay":
            asyncio.run(history.replay(engine, args.since, asked))
        else:
            asyncio.run(history.explain(engine, args.device))
    except BrokenPipeError:  # as in `… | head`
        sys.stdout = None
    except CardError as error:
        _say(f"lamplighter-edge: {error}", sys.stderr)
        return EXIT_FAILED
    return 0


def _followed(config: Configured) -> Rules | None:
    """The rules that the city has sent, where the node can follow them; on standard error is said what it does."""
    try:
        bundle = followed(config.node.data_dir, "rules")
    except CardError as error:
        _say(f"lamplighter-edge: {error}", sys.stderr)
        return None
    if bundle is None:
        return None
    problems: list[Problem] = []
    rules = load_texts({Path(f"rules {bundle.version}"): bundle.text}, config.roster, problems, own=False)
    if problems:
        _problems(problems)
        _say(f"the node cannot follow the rules from the city, version {bundle.version}, any more: its files count",
             sys.stderr)  # fmt: skip
        return None
    _say(f"the rules from the city, version {bundle.version}, given by {bundle.by}; --file checks others", sys.stderr)
    if rules.left_out:
        _say(f"{len(rules.left_out)} of its rules select no device here and are left out: {', '.join(rules.left_out)}",
             sys.stderr)  # fmt: skip
    return rules


def _problems(problems: Iterable[Problem]) -> None:
    told = [str(p) for p in problems]
    for text in [*told, f"{len(told)} problem(s)"]:
        _say(text, sys.stderr)


def seconds(text: str) -> float:
    """A length of time as it is written: 30s, 90m, 12h, 7d.

    Raises:
        argparse.ArgumentTypeError: it is written otherwise.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f'"{text}" is no length of time; write for example 90m, 12h or 7d')
    return float(found[1]) * _UNITS[found[2]]


# ---- check -------------------------------------------------------------------------------------------------------


def _check(rules: Rules) -> int:
    rows = [("rule", "devices", "does", "when")]
    rows += [(r.name, str(len(r.devices)), _does(r), _short(r.when.text)) for r in rules.rules]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        _say("  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]))
    watched = len({d for r in rules.rules for d in r.devices})
    _say(f"OK: {len(rules.rules)} rules, {watched} devices watched; the rules are sound")
    return 0


def _does(rule: Rule) -> str:
    parts: list[str] = []
    if rule.alarming is not None:
        parts.append(f"alarm {rule.alarming.severity}")
    if rule.holding is not None:
        parts.append(f"{rule.holding.point} = {_worded(rule.holding.value)}")
    if rule.tag:
        parts.append(f"tag {rule.tag}")
    return ", ".join(parts)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


# ---- history -----------------------------------------------------------------------------------------------------


class _History:
    """The outbox, read from some time on."""

    def __init__(self, path: Path, zone: tzinfo, now_us: Utc) -> None:
        self._path = path
        self._zone = zone
        self._now_us = now_us

    async def replay(self, engine: Engine, since_s: float, rule: str | None) -> None:
        counts: Counter[tuple[str, str, str]] = Counter()

        def show(effects: Iterable[Effect]) -> None:
            for effect in effects:
                if rule is None or effect.rule == rule:
                    counts[effect.rule, effect.device, _SAID[type(effect)]] += 1
                    bar.clear()
                    _say(f"{self._moment(Utc(effect.time_us))}  {_told(effect)}")

        from_us = self._now_us - micros(since_s)
        bar = _Bar(from_us, self._now_us)
        await self._feed(engine, from_us, show, bar)
        bar.clear()
        _say(f"{sum(counts.values())} effects since {self._moment(from_us)}")
        together: dict[tuple[str, str], list[str]] = {}
        for (name, device, said), count in sorted(counts.items()):
            together.setdefault((name, device), []).append(f"{count} {said}")
        for (name, device), said in together.items():
            _say(f"  {name}  {device}: {', '.join(said)}")

    async def explain(self, engine: Engine, device: str) -> None:
        await self._feed(engine, self._now_us - EXPLAIN_US, lambda _: None, _Bar(Utc(0), Utc(0)))
        found = engine.explain(device, AxisTime(self._now_us))
        if not found:
            _say(f"no rule watches {device}")
        for one in found:
            for line in self._explained(one):
                _say(line)

    async def _feed(self, engine: Engine, from_us: Utc, show: Callable[[Iterable[Effect]], None], bar: _Bar) -> None:
        run = Replay(engine)
        async for columns in read_history(self._path, from_us, 2**62):
            show(run.feed([s for s in columns.samples() if s.time_us >= from_us]))
            bar.move(columns.times[-1])
        show(run.end(AxisTime(self._now_us)))

    def _explained(self, one: Explained) -> Iterable[str]:
        since = self._moment(Utc(one.since_us))
        match one.state:
            case "true":
                state = f"TRUE since {since}"
            case "waiting" if one.begins_us is not None:
                left_s = max(0, round((one.begins_us - self._now_us) / 1e6))
                state = f"waiting since {since}; true in {left_s} s if it holds"
            case _:
                state = f"not true, since {since}"
        yield f"{one.rule}: {state}"
        decided = {True: "true", False: "false", None: f"unknown: {one.why}"}[one.decided]
        yield f"    when   {one.when}  -> {decided}"
        if one.clear:
            yield f"    clear  {one.clear}"
        if one.values:
            yield f"    now    {_listed(one.values)}"

    def _moment(self, time_us: Utc) -> str:
        return datetime.fromtimestamp(time_us / 1e6, self._zone).isoformat(" ", timespec="seconds")


class _Bar:
    """How far a replay is, on standard error where that is a terminal."""

    def __init__(self, from_us: Utc, to_us: Utc) -> None:
        self._from_us, self._span_us = from_us, to_us - from_us
        self._shown = -1
        self._on = self._span_us > 0 and sys.stderr.isatty()

    def move(self, at_us: Utc) -> None:
        percent = min(100, max(0, 100 * (at_us - self._from_us) // self._span_us)) if self._on else -1
        if percent > self._shown:
            self._shown = percent
            done = _BAR * percent // 100
            sys.stderr.write(f"\r[{'#' * done}{' ' * (_BAR - done)}] {percent:3} %")
            sys.stderr.flush()

    def clear(self) -> None:
        """Make room for a line; the next move draws it again."""
        if self._on and self._shown >= 0:
            sys.stderr.write("\r" + " " * (_BAR + 8) + "\r")
            sys.stderr.flush()
            self._shown = -1


_SAID: Final[Mapping[type[Effect], str]] = {
    Raise: "raised",
    Return: "returned",
    Hold: "held",
    Release: "released",
    MarkEffect: "tagged",
}


def _told(effect: Effect) -> str:
    match effect:
        case Raise():
            said = f"raised, {effect.severity}: {effect.detail}  ({_listed(effect.values)})"
        case Return():
            said = f"returned  ({_listed(effect.values)})"
        case Hold():
            said = f"{effect.point} = {_worded(effect.value)} for {effect.hold_s:g} s, because of {effect.cause}"
        case Release():
            said = f"{effect.point} given back, because of {effect.cause}"
        case MarkEffect():
            said = f"tagged {effect.tag}  ({_listed(effect.values)})"
    return f"{effect.rule}  {effect.device}  {said}"


def _listed(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} = {_worded(value)}" for name, value in values.items())


def _worded(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _say(text: str, to: TextIO | None = None) -> None:
    (to or sys.stdout).write(text + "\n")
