"""`lamplighter-edge log`: who was at the cabinet and what they did, from the running node; from its card where none
runs.

Times are the site's; `~` is a time of a clock that was not set. Exit codes: 0 told, 1 neither the node nor its card can
be asked. Bounds: those of `edge.web.activity_log`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

import httpx
import msgspec

from edge.clock import utc_us
from edge.config import Config
from edge.outbox.reading import CardError
from edge.outbox.recounting import recount
from edge.verbs.asking import EXIT_FAILED, Asking, Language, NoNode, Unanswered, Words, add_options, language_of
from edge.verbs.site import shown, span
from edge.visit import log as visits
from edge.web.activity_log import DAYS, MAX_DAYS, Activity, ActivityLog, days_of, told
from groundwork.terminal import shown_in
from wire.time import Utc, micros

_WORDS: Final[Words] = {
    "en": {
        "never": "{} is not there: the node has not run yet",
        "nothing": "nothing was done here",
        "since": "since {}",
        "blank": "nothing has been kept here yet",
        "stopped": "the node does not run: this is what its card knows",
        "more": "there was more before; write fewer --days",
        "is here": "{} is here since {}",
        "was here": "{} had come at {}, and no end is known",
        "until": "{}, until {}",
        "came": "came",
        "here": "said: I am here",
        "left": "left",
        "console": "{} (console)",
        "somebody": "somebody (console)",
        "set": "set {} to {} for {}",
        "blinks": "let {} blink for {}",
        "released": "released {}",
        "read": "read it now",
        "restarted": "restarted the line {}",
        "acknowledge": "saw the alarm {}",
        "shelve": "shelved the alarm {}",
        "unshelve": "unshelved the alarm {}",
        "accepted": "accepted, not done yet",
        "applied": "written, not read back yet",
        "verified": "verified",
        "refused": "refused",
        "failed": "failed",
        "expired": "its time was over first",
        "superseded": "replaced by a later one",
        "read back": "{}, read back {}",
        "why": "{}: {}",
        visits.RESTARTED: "the node had started again",
        visits.AGAIN: "came again with another code",
        visits.OVER: "the time was over",
        visits.LOGGED_OUT: "logged out",
        visits.MORE: "more visits stood than are kept",
    },
    "fr": {
        "never": "{} n’existe pas : le nœud n’a pas encore tourné",
        "nothing": "rien n’a été fait ici",
        "since": "depuis le {}",
        "blank": "rien n’est encore gardé ici",
        "stopped": "le nœud ne tourne pas : voici ce que sait sa carte",
        "more": "il y avait plus avant ; demandez moins de --days",
        "is here": "{} est ici depuis {}",
        "was here": "{} était venu à {}, sans fin connue",
        "until": "{}, jusqu’à {}",
        "came": "est venu",
        "here": "a dit : je suis ici",
        "left": "est parti",
        "console": "{} (console)",
        "somebody": "quelqu’un (console)",
        "set": "a réglé {} à {} pendant {}",
        "blinks": "a fait clignoter {} pendant {}",
        "released": "a rendu {}",
        "read": "l’a lu tout de suite",
        "restarted": "a redémarré la ligne {}",
        "acknowledge": "a vu l’alarme {}",
        "shelve": "a mis en sourdine l’alarme {}",
        "unshelve": "a rétabli l’alarme {}",
        "accepted": "accepté, pas encore fait",
        "applied": "écrit, pas encore relu",
        "verified": "vérifié",
        "refused": "refusé",
        "failed": "échoué",
        "expired": "son délai était passé avant",
        "superseded": "remplacé par un ordre plus récent",
        "read back": "{}, relu {}",
        "why": "{} : {}",
        visits.RESTARTED: "le nœud avait redémarré",
        visits.AGAIN: "revenu avec un autre code",
        visits.OVER: "le temps était écoulé",
        visits.LOGGED_OUT: "s’est déconnecté",
        visits.MORE: "plus de visites que le nœud n’en garde",
    },
}
# As `edge.web.writing` and `edge.web.activity_log` say what was done.
_SHAPES: Final = (
    (re.compile(r"(\S+) = (.*) for ([\d.e+]+) s"), "set"),
    (re.compile(r"(\S+) blinks for ([\d.e+]+) s"), "blinks"),
    (re.compile(r"(\S+) released"), "released"),
    (re.compile(r"read"), "read"),
    (re.compile(r"line (.*) restarted"), "restarted"),
    (re.compile(r"acknowledge (\S+)"), "acknowledge"),
    (re.compile(r"shelve (\S+)(?: for .*)?"), "shelve"),
    (re.compile(r"unshelve (\S+)"), "unshelve"),
)


def add(verbs: Any) -> None:
    """Add `log` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    verb: argparse.ArgumentParser = verbs.add_parser("log", help="at the cabinet: who was here, and what they did")
    verb.add_argument("--days", type=_days, default=DAYS, help=f"how far back (default {DAYS:g})")
    verb.add_argument("--json", action="store_true", help="for programs")
    add_options(verb)


def _days(text: str) -> float:
    days = days_of(text)
    if days is None:
        raise argparse.ArgumentTypeError(f"write a number of days above 0, at most {MAX_DAYS:g}")
    return days


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    err: TextIO,
    transport: httpx.BaseTransport | None = None,
    now_us: Callable[[], Utc] = utc_us,
) -> int:
    """Ask and print. `transport` stands in for the network in tests; `now_us` is UTC."""
    language = language_of(args, locale)
    words = _WORDS[language]
    stopped = False
    try:
        try:
            with Asking(config, args.endpoints, language, transport, own=True) as node:
                found = node.get(f"/log?days={args.days:g}", ActivityLog)
        except NoNode:
            stopped = True
            found = _kept(
                Path(config.node.data_dir) / "outbox.db", Utc(now_us() - micros(args.days * 86_400)), words["never"]
            )
    except (Unanswered, CardError) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    if args.json:
        out.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")
        return 0
    if stopped:
        err.write(words["stopped"] + "\n")
    zone = UTC if config.site is None else ZoneInfo(config.site.time_zone)
    units = {(d.id, p.name): p.unit for d in config.roster.devices for p in config.roster.profiles[d.profile]}
    out.writelines(f"{line}\n" for line in ActivityLines(language, zone, now_us(), units, stopped=stopped).lines(found))
    return 0


def _kept(path: Path, from_us: Utc, never: str) -> ActivityLog:
    """What the card knows.

    Raises:
        CardError: it cannot be read.
    """
    try:
        there = path.exists()
    except PermissionError as error:
        raise CardError(f"{path}: {error.strerror}") from error
    if not there:
        raise CardError(never.format(path))
    found = told(recount(path, from_us))
    return msgspec.convert(shown_in(msgspec.to_builtins(found)), ActivityLog)


class ActivityLines:
    """Activities as lines for people, in one language and one time zone. `units` are those of points, by device and
    name."""

    def __init__(
        self, language: Language, zone: tzinfo, now_us: Utc, units: dict[tuple[str, str], str], *, stopped: bool
    ) -> None:
        self._language: Language = language
        self._zone, self._now_us, self._units, self._stopped = zone, now_us, units, stopped
        self._words = _WORDS[language]

    def lines(self, found: ActivityLog) -> list[str]:
        """Since when it goes back, who is here, and a line an activity, under the day that it was on."""
        words = self._words
        if found.since_us is None:
            return [words["blank"]]
        lines = [words["since"].format(self._moment(found.since_us, day=True))]
        if found.more:
            lines.append(words["more"])
        for one in found.here:
            said = words["was here" if self._stopped else "is here"].format(one.by, self._moment(one.since_us))
            lines.append(said if one.until_us is None else words["until"].format(said, self._moment(one.until_us)))
        if not found.activities:
            return [*lines, words["nothing"]]
        widest = max(len(self._who(d)) for d in found.activities)
        day = ""
        for activity in found.activities:
            if (date := f"{self._at(activity.time_us):%Y-%m-%d}") != day:
                day = date
                lines += ["", day]
            clock = f"{'~' if activity.estimated else ' '}{self._at(activity.time_us):%H:%M:%S}"
            lines.append(f"{clock}  {self._who(activity).ljust(widest)}  {self._said(activity)}")
        return lines

    def _who(self, activity: Activity) -> str:
        if not activity.console:
            return activity.by
        return self._words["console"].format(activity.by) if activity.by else self._words["somebody"]

    def _said(self, activity: Activity) -> str:
        words = self._words
        if activity.what in ("came", "here"):
            said = words[activity.what]
            return said if activity.until_us is None else words["until"].format(said, self._moment(activity.until_us))
        if activity.what == "left":
            return words["why"].format(words["left"], words.get(activity.detail, activity.detail))
        said = (
            f"{activity.device}: {self._act(activity)}"
            if activity.device and self._language == "en"
            else self._act(activity)
        )
        if activity.device and self._language == "fr":
            said = f"{activity.device} : {said}"
        if activity.stage is None:
            return said
        end = words[activity.stage]
        if activity.read_back is not None:
            unit = self._units.get((activity.device, activity.point), "")
            end = words["read back"].format(end, shown(activity.read_back, unit, self._language))
        return f"{said} ({words['why'].format(end, activity.why) if activity.why else end})"

    def _act(self, activity: Activity) -> str:
        for shape, word in _SHAPES:
            if found := shape.fullmatch(activity.detail):
                parts: Sequence[str] = found.groups()
                if word == "set":
                    unit = self._units.get((activity.device, parts[0]), "")
                    parts = (parts[0], f"{parts[1]} {unit}".rstrip(), span(float(parts[2]), self._language))
                if word == "blinks":
                    parts = (parts[0], span(float(parts[1]), self._language))
                return self._words[word].format(*parts)
        return activity.detail

    def _at(self, time_us: Utc) -> datetime:
        return datetime.fromtimestamp(time_us / 1e6, self._zone)

    def _moment(self, time_us: Utc, *, day: bool = False) -> str:
        today = self._at(self._now_us).date()
        moment = self._at(time_us)
        return f"{moment:%H:%M}" if moment.date() == today and not day else f"{moment:%Y-%m-%d %H:%M}"
