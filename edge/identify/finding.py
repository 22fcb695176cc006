"""Finding: which profiles fit what was heard, best first, with what a person would want to see of it. Pure.

Bounds: MAX_FINDINGS of one device, MAX_SHOWN values of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log10
from typing import Final

import msgspec

from drivers.guesses import Guess, GuessedPoint, Guesses
from drivers.profile import Profile
from edge.identify.scoring import Score, score
from edge.identify.windows import WINDOWS, window
from wire.device import Point
from wire.sample import Value

MAX_FINDINGS: Final = 5
MAX_SHOWN: Final = 6
SURE_BITS: Final = 6.0  # by so much the first must be before the second
LEAST_BITS: Final = 8.0  # less than that is told as no more than a possibility
LEAST_FITS: Final = 0.7
SCALES: Final = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)


class GuessedValue(msgspec.Struct, frozen=True):
    """One value by the guess, and by the profile as it is written where that is another."""

    point: str
    value: Value
    unit: str
    as_written: Value = None


class Scale(msgspec.Struct, frozen=True):
    """A point that would be usual with another scale."""

    point: str
    value: float
    unit: str
    becomes: float
    times: float
    scale: float = 1  # to be written in its `at`


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A profile that fits, in bits, with what to write: the device's address, and what the profile must have otherwise
    (`changes`, of the points `changed`). `fits` of `points` points that were heard."""

    profile: str
    driver: str
    bits: float
    fits: int
    points: int
    sure: bool
    address: Mapping[str, str | int]
    kind: str = ""
    changes: Mapping[str, str | int] = {}
    changed: tuple[str, ...] = ()
    written: Mapping[str, str] = {}
    shown: tuple[GuessedValue, ...] = ()
    absent: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    scales: tuple[Scale, ...] = ()


class Judged(msgspec.Struct, frozen=True):
    """The best guess by one profile; beside one that changes it, the guess by the profile as it is written."""

    profile: Profile
    guess: Guess
    score: Score
    as_written: Guess | None


def findings(profiles: Iterable[Profile], guesses: Guesses, evidence: object) -> list[Finding]:
    """The profiles that fit best, the best first; none where none explains anything."""
    judged: list[Judged] = []
    for _ in judging(profiles, guesses, evidence, judged):
        pass
    return best(judged)


def judging(profiles: Iterable[Profile], guesses: Guesses, evidence: object, judged: list[Judged]) -> Iterator[Profile]:
    """The same a profile a step, for whoever must let others have their turn; what comes of it is put into `judged`."""
    for profile in profiles:
        made = guesses(profile, evidence)
        if made:
            scored = [(g, score(profile.points, g)) for g in made]
            guess, found = max(scored, key=lambda pair: pair[1].bits)
            plain = next((g for g in made if not g.kind), None)
            judged.append(Judged(profile, guess, found, plain if guess.kind else None))
        yield profile


def best(judged: Sequence[Judged]) -> list[Finding]:
    """The best of what was judged, as it is told."""
    ranked = sorted((j for j in judged if j.score.bits > 0), key=lambda j: -j.score.bits)[:MAX_FINDINGS]
    second = ranked[1].score.bits if len(ranked) > 1 else 0.0
    return [_finding(j, sure=i == 0 and _sure(j, second)) for i, j in enumerate(ranked)]


def _sure(judged: Judged, second: float) -> bool:
    bits, points = judged.score.bits, len(judged.score.by_point)
    return bits >= LEAST_BITS and bits - second >= SURE_BITS and judged.score.fits >= LEAST_FITS * points


def _finding(judged: Judged, *, sure: bool) -> Finding:
    profile, guess, found = judged.profile, judged.guess, judged.score
    written: Mapping[str, GuessedPoint] = {} if judged.as_written is None else judged.as_written.points
    heard = {n: t for n, t in guess.points.items() if _last(t) is not None}
    order = sorted(heard, key=lambda n: (n not in guess.changed, -found.by_point[n]))
    return Finding(
        profile=profile.name,
        driver=profile.driver,
        bits=round(found.bits, 1),
        fits=found.fits,
        points=len(found.by_point),
        sure=sure,
        address=guess.address,
        kind=guess.kind,
        changes=guess.changes,
        changed=guess.changed,
        written={k: str(getattr(profile.access[guess.changed[0]], k, "")) for k in guess.changes}
        if guess.changed
        else {},
        shown=tuple(_shown(profile.points[n], heard[n], written.get(n)) for n in order[:MAX_SHOWN]),
        absent=tuple(n for n, t in guess.points.items() if t.absent and not t.optional),
        wrong=tuple(n for n, b in found.by_point.items() if b < 0 and not guess.points[n].absent),
        scales=tuple(
            s
            for n, t in heard.items()
            if (s := _scale(profile.points[n], t, getattr(profile.access[n], "scale", 1))) is not None
        ),
    )


def _last(told: GuessedPoint) -> Value:
    return next((v for v in reversed(told.values) if v is not None), None)


def _shown(point: Point, told: GuessedPoint, written: GuessedPoint | None) -> GuessedValue:
    other = None if written is None else _last(written)
    value = _last(told)
    return GuessedValue(point.name, value, point.unit, other if other != value else None)


def _scale(point: Point, told: GuessedPoint, scale: float) -> Scale | None:
    """The least change of scale by which a value of a well-known unit becomes usual, where it is not."""
    value = _last(told)
    if point.unit not in WINDOWS or isinstance(value, bool) or not isinstance(value, int | float) or not value:
        return None
    low, high = window(point)
    if low <= abs(value) <= high:
        return None
    fitting = [t for t in SCALES if low <= abs(value * t) <= high]
    if not fitting:
        return None
    times = min(fitting, key=lambda t: abs(log10(t)))
    return Scale(point.name, float(value), point.unit, value * times, times, float(f"{scale * times:.12g}"))
