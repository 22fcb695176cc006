"""`lamplighter-edge alarms`, `acknowledge`, `shelve`, `unshelve`: what stands on this node, and what is done about it.

The alarms are those of the running node, the one to look at first on top: what nobody has dealt with before what
somebody has, then by severity, deadline and age. One is named by its id, by the beginning of it, or by device and rule;
a device is enough where one alarm stands on it. Times are the site's; `~` is a time of a clock that was not set.

Exit codes: 0 told, or done; 1 not, with the reason. Bounds: those of `edge.verbs.asking` and of the node's list.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

import httpx

from edge.clock import utc_us
from edge.config import Config
from edge.control.on_site import AlarmActGiven
from edge.verbs import site as cli_site
from edge.verbs.asking import EXIT_FAILED, Asking, Language, Unanswered, Words, add_options, language_of
from edge.verbs.rules import seconds
from wire.entries import Alarm, AlarmState, Severity
from wire.time import Utc

MIN_ID_CHARS: Final = 4  # of the beginning of an id
MAX_NAMED: Final = 10
MAX_NOTE_CHARS: Final = 2_000
ACTS: Final = ("acknowledge", "shelve", "unshelve")
_SEVERITIES: Final[Sequence[Severity]] = ("urgent", "high", "medium", "low")
_STATES: Final[Sequence[AlarmState]] = ("raised", "returned", "acknowledged", "suppressed", "shelved", "cleared")
_COLOURS: Final[Mapping[str, str]] = {"urgent": "\x1b[1;31m", "high": "\x1b[31m", "medium": "\x1b[33m"}
_PLAIN: Final = "\x1b[0m"
_WORDS: Final[Words] = {
    "en": {
        "none": "no alarm stands",
        "health": "the node's health:",
        "left out": "and {} more",
        "since": "since",
        "severity": "severity",
        "device": "device",
        "rule": "rule",
        "state": "state",
        "text": "what",
        "by": "respond by",
        "id": "id",
        "late": "{} (late)",
        "several": "{} alarms fit; write device and rule, or an id: {}",
        "not there": "no alarm of {} with the rule {} stands; `lamplighter-edge alarms` lists those that do",
        "done": "{}: {}",
        "waits": "not done yet: the node waits for its card; ask `lamplighter-edge alarms`",
        "urgent": "urgent",
        "high": "high",
        "medium": "medium",
        "low": "low",
        "raised": "raised",
        "acknowledged": "acknowledged",
        "returned": "returned",
        "cleared": "cleared",
        "shelved": "shelved",
        "suppressed": "suppressed",
        "until": "{} until {}",
    },
    "fr": {
        "none": "aucune alarme en cours",
        "health": "santé du nœud :",
        "left out": "et {} de plus",
        "since": "depuis",
        "severity": "gravité",
        "device": "appareil",
        "rule": "règle",
        "state": "état",
        "text": "quoi",
        "by": "à traiter avant",
        "id": "id",
        "late": "{} (dépassé)",
        "several": "{} alarmes correspondent ; écrivez l'appareil et la règle, ou un id : {}",
        "not there": "aucune alarme de {} avec la règle {} n'est en cours ; `lamplighter-edge alarms` les montre",
        "done": "{} : {}",
        "waits": "pas encore fait : le nœud attend sa carte ; demandez `lamplighter-edge alarms`",
        "urgent": "urgente",
        "high": "haute",
        "medium": "moyenne",
        "low": "basse",
        "raised": "apparue",
        "acknowledged": "acquittée",
        "returned": "disparue, non acquittée",
        "cleared": "close",
        "shelved": "mise en sourdine",
        "suppressed": "masquée",
        "until": "{} jusqu'à {}",
    },
}


def add(verbs: Any) -> None:
    """Add the verbs to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    listed: argparse.ArgumentParser = verbs.add_parser("alarms", help="at the cabinet: the alarms that stand")
    add_options(listed)
    helps = {
        "acknowledge": "at the cabinet: say that you have seen an alarm",
        "shelve": "at the cabinet: silence an alarm for a while",
        "unshelve": "at the cabinet: let a silenced alarm speak again",
    }
    for act in ACTS:
        verb: argparse.ArgumentParser = verbs.add_parser(act, help=helps[act])
        verb.add_argument("alarm", help="the alarm's id, the beginning of it, or its device")
        verb.add_argument("rule", nargs="?", help="with a device: the rule that has raised it")
        if act == "shelve":
            verb.add_argument("--for", dest="for_s", type=seconds, required=True, help="how long: 30m, 8h, up to 7d")
            verb.add_argument("--note", default="", help="why")
        cli_site.add_by(verb)
        add_options(verb)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    user: str,
    out: TextIO,
    err: TextIO,
    colours: bool = False,
    now_us: Callable[[], Utc] = utc_us,
    transport: httpx.BaseTransport | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """List alarms or act on one. `user` is who is logged in; `colours` is for terminals; `now_us` is UTC."""
    language = language_of(args, locale)
    zone = UTC if config.site is None else ZoneInfo(config.site.time_zone)
    table = AlarmLines(language, zone, now_us(), colours=colours)
    try:
        with Asking(config, args.endpoints, language, transport, own=True) as node:
            alarms, left_out = node.get_listed("/alarms", list[Alarm])
            if args.verb == "alarms":
                out.writelines(f"{line}\n" for line in table.lines(alarms))
                if left_out:
                    out.write(_WORDS[language]["left out"].format(left_out) + "\n")
                if troubles := node.troubles():
                    out.writelines(f"{line}\n" for line in (_WORDS[language]["health"], *(f"  {t}" for t in troubles)))
                return 0
            given = _given(alarms, args, cli_site.who(args, user), language)
            _do(node, given, language, out, monotonic, sleep)
            after = {a.id: a for a in node.get("/alarms", list[Alarm])}
    except Unanswered as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    found = next((a for a in alarms if a.id == given.alarm), None)
    state = table.state(after[given.alarm]) if given.alarm in after else _WORDS[language]["cleared"]
    name = given.alarm if found is None else f"{found.device} {found.rule}"
    out.write(_WORDS[language]["done"].format(name, state) + "\n")
    return 0


def _given(alarms: Sequence[Alarm], args: argparse.Namespace, by: str, language: Language) -> AlarmActGiven:
    """What is asked for.

    Raises:
        Unanswered: nobody can say which alarm is meant, or it would last too short or too long.
    """
    alarm = _named(alarms, args.alarm, args.rule, language)
    if args.verb != "shelve":
        return AlarmActGiven(by=by, alarm=alarm, act=args.verb)
    cli_site.check_span(args.for_s, language)
    return AlarmActGiven(by=by, alarm=alarm, act="shelve", for_s=args.for_s, note=args.note[:MAX_NOTE_CHARS])


def _do(
    node: Asking,
    given: AlarmActGiven,
    language: Language,
    out: TextIO,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Let the node do it.

    Raises:
        Unanswered: it has not.
    """
    told = cli_site.follow(node, given, language, out, monotonic, sleep)
    if not told.final:
        raise Unanswered(_WORDS[language]["waits"])
    if told.stage != "verified":
        raise Unanswered(cli_site.ended(told, language))


class AlarmLines:
    """Alarms as lines for people, in one language and one time zone."""

    def __init__(self, language: Language, zone: tzinfo, now_us: Utc, *, colours: bool) -> None:
        self._language, self._zone, self._now_us, self._colours = language, zone, now_us, colours
        self._words = _WORDS[language]

    def lines(self, alarms: Sequence[Alarm]) -> list[str]:
        """A heading and a line an alarm, the one to look at first on top."""
        if not alarms:
            return [self._words["none"]]
        heading = tuple(self._words[w] for w in ("since", "severity", "device", "rule", "state", "by", "id", "text"))
        ordered = sorted(alarms, key=_urgency)
        rows = [heading, *(self._row(a) for a in ordered)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self._colours:
            lines[1:] = [self._coloured(line, a) for line, a in zip(lines[1:], ordered, strict=True)]
        return lines

    def state(self, alarm: Alarm) -> str:
        """Its state in words."""
        word = self._words[alarm.state]
        if alarm.state == "shelved" and alarm.until_us is not None:
            return self._words["until"].format(word, self._moment(alarm.until_us, alarm))
        return word

    def _row(self, alarm: Alarm) -> tuple[str, ...]:
        text = alarm.text.get(self._language) or alarm.text.get("en") or alarm.detail
        return (
            self._moment(alarm.raised_us, alarm),
            self._words[alarm.severity],
            alarm.device,
            alarm.rule,
            self.state(alarm),
            self._deadline(alarm),
            alarm.id,
            text,
        )

    def _deadline(self, alarm: Alarm) -> str:
        if alarm.respond_by_us is None:
            return ""
        when = self._moment(alarm.respond_by_us, alarm)
        waits = _needs_someone(alarm) and alarm.active
        # Of an estimated time nobody can say here whether it has passed.
        return self._words["late"].format(when) if waits and alarm.boot is None and self._late(alarm) else when

    def _late(self, alarm: Alarm) -> bool:
        return alarm.respond_by_us is not None and alarm.respond_by_us < self._now_us

    def _moment(self, time_us: Utc, alarm: Alarm) -> str:
        moment = datetime.fromtimestamp(time_us / 1e6, self._zone)
        today = datetime.fromtimestamp(self._now_us / 1e6, self._zone).date()
        shown = f"{moment:%H:%M}" if moment.date() == today else f"{moment:%Y-%m-%d %H:%M}"
        return shown if alarm.boot is None else f"~{shown}"

    def _coloured(self, line: str, alarm: Alarm) -> str:
        colour = _COLOURS.get(alarm.severity) if _needs_someone(alarm) else None
        return line if colour is None else f"{colour}{line}{_PLAIN}"


def _needs_someone(alarm: Alarm) -> bool:
    return alarm.state in ("raised", "returned")


def _urgency(alarm: Alarm) -> tuple[int, int, int, int, int]:
    silent = alarm.state in ("suppressed", "shelved")
    deadline_us = 2**62 if alarm.respond_by_us is None else alarm.respond_by_us
    seen = 2 if silent else int(not _needs_someone(alarm))
    return seen, _SEVERITIES.index(alarm.severity), _STATES.index(alarm.state), deadline_us, alarm.raised_us


def _named(alarms: Sequence[Alarm], word: str, rule: str | None, language: Language) -> str:
    """The id of the alarm that is meant. One that does not stand is left to the node, which knows cleared ones.

    Raises:
        Unanswered: several are meant, or there is none of this device and rule.
    """
    if rule is not None:
        found = [a for a in alarms if (a.device, a.rule) == (word, rule)]
        if not found:
            raise Unanswered(_WORDS[language]["not there"].format(word, rule))
        return found[0].id
    found = [a for a in alarms if word in (a.id, a.device)]
    if not found and len(word) >= MIN_ID_CHARS:
        found = [a for a in alarms if a.id.startswith(word)]
    if len(found) > 1:
        names = ", ".join(f"{a.device} {a.rule}" for a in found[:MAX_NAMED])
        raise Unanswered(_WORDS[language]["several"].format(len(found), names))
    return found[0].id if found else word
