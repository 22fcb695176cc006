"""Language: what pages say, in the language of who reads them: texts by gettext, times, ages, numbers, units.

Messages are written in English, and are their own keys; `locale/fr/LC_MESSAGES/lamplighter.po` has them in French,
compiled when the wheel is built. `say` and `count` are what is looked for in sources and templates.

Bounds: MAX_ACCEPT_CHARS of an Accept-Language header are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from functools import cache
from gettext import GNUTranslations, NullTranslations, translation
from pathlib import Path
from typing import Final, Literal, cast, get_args

from wire.device import Point
from wire.sample import Value
from wire.time import Utc, micros

Language = Literal["en", "fr"]
LANGUAGES: Final = cast("tuple[Language, ...]", get_args(Language))
DOMAIN: Final = "lamplighter"
LOCALE: Final = Path(__file__).with_name("locale")
MAX_ACCEPT_CHARS: Final = 500
THIN: Final = "\u202f"  # between a number and its unit, and between thousands

UNITS: Final[Mapping[str, str]] = {  # as people write what UCUM codes otherwise
    "Cel": "°C",
    "kW.h": "kWh",
    "W.h": "Wh",
    "V.A": "VA",
    "V.A{reactive}": "var",
    "ug/m3": "µg/m³",
    "uS/cm": "µS/cm",
    "dB{mW}": "dBm",
    "dB[SPL]": "dB",
    "[g]": "g",
    "[ppm]": "ppm",
    "m/s2": "m/s²",
}
_RANGE: Final = re.compile(r"([a-zA-Z]{2})(?:-[\w-]+)?\s*(?:;\s*q\s*=\s*([\d.]+))?")


def preferred(accept: str) -> Language:
    """The language that an Accept-Language header asks for; English where it asks for none of ours."""
    best: tuple[float, Language] = (0.0, "en")
    for part in accept[:MAX_ACCEPT_CHARS].split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None or (named := found[1].lower()) not in LANGUAGES:
            continue
        try:
            weight = float(found[2] or 1)
        except ValueError:
            continue
        if weight > best[0]:
            best = weight, named
    return best[1]


@cache
def _catalogue(language: Language) -> NullTranslations | GNUTranslations:
    return NullTranslations() if language == "en" else translation(DOMAIN, LOCALE, [language])


class Speech:
    """One language at one moment, for one time zone: what a page is made with. Times are UTC microseconds."""

    def __init__(self, language: Language, zone: tzinfo, now_us: Utc) -> None:
        """Raise OSError where the catalogues were not compiled."""
        self.language: Language = language
        self._words, self._zone, self._now_us = _catalogue(language), zone, now_us

    def say(self, message: str, /, **parts: object) -> str:
        """A message, with its parts put in."""
        text = self._words.gettext(message)
        return text.format(**parts) if parts else text

    def count(self, one: str, many: str, n: int, /, **parts: object) -> str:
        """A message about n things; `{n}` is in it."""
        return self._words.ngettext(one, many, n).format(n=self.number(n), **parts)

    def clock(self, time_us: Utc) -> str:
        """A time of day, with the date where it is another day."""
        then, today = self._local(time_us), self._local(self._now_us)
        days = (then.date() - today.date()).days
        if abs(days) <= 1:
            day = {-1: self.say("yesterday"), 0: "", 1: self.say("tomorrow")}[days]
            return f"{day} {then:%H:%M}".lstrip()
        return f"{then:%d/%m %H:%M}" if self.language == "fr" else f"{then.day} {then:%b %H:%M}"

    def to_the_second(self, time_us: Utc) -> str:
        """A time of day, whatever the day."""
        return f"{self._local(time_us):%H:%M:%S}"

    def hours_back(self, hours: int) -> str:
        """The time of day so many hours ago."""
        return f"{self._local(self._now_us - micros(hours * 3_600)):%H:%M}"

    def ago(self, time_us: Utc) -> str:
        """How long ago a time was."""
        return self.say("{duration} ago", duration=self.lasting((self._now_us - time_us) / 1e6))

    def lasting(self, seconds: float) -> str:
        """A length of time in its two largest units at most."""
        s = max(0, round(seconds))
        if s < 120:
            return f"{s}{THIN}s"
        if s < 7_200:
            return f"{s // 60}{THIN}min"
        if s < 172_800:
            return f"{s // 3600}{THIN}h"
        days = self.say("d")
        return f"{s // 86_400}{THIN}{days}"

    def pace(self, seconds: float) -> str:
        """How often something comes: also less than a second."""
        return f"{self.number(seconds, 1)}{THIN}s" if seconds < 10 and seconds % 1 else self.lasting(seconds)

    def number(self, value: float, decimals: int = 0) -> str:
        """A number, its thousands apart."""
        text = f"{value:,.{decimals}f}".replace(",", THIN)
        return text.replace(".", ",") if self.language == "fr" else text

    def amount(self, octets: int) -> str:
        """So many bytes."""
        unit = self.say("MB")
        return f"{self.number(octets / 1e6, 1 if octets < 10_000_000 else 0)}{THIN}{unit}"

    def value(self, value: Value, point: Point) -> str:
        """A value as its point declares it; a dash where there is none."""
        match value:
            case None:
                return "–"
            case bool():
                return self.say("yes") if value else self.say("no")
            case str():
                return value
            case _:
                text = self.number(value, _decimals(value, point))
                unit = UNITS.get(point.unit, point.unit)
                return f"{text}{THIN}{unit}" if unit else text

    def label(self, point: Point) -> str:
        """What a point is called."""
        return point.label.get(self.language) or point.label.get("en") or point.name

    def _local(self, time_us: Utc) -> datetime:
        return datetime.fromtimestamp(time_us / 1e6, self._zone)


def _decimals(value: float, point: Point) -> int:
    """As many as the point's resolution has; three digits that count where it declares none."""
    if isinstance(value, int):
        return 0
    if not point.resolution:
        return 0 if abs(value) >= 1_000 else 1 if abs(value) >= 10 else 2
    text = f"{point.resolution:.9f}".rstrip("0")
    return min(len(text.partition(".")[2]), 0 if abs(value) >= 10_000 else 6)
