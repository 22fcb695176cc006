"""Drawing: pictures as paths of SVG. Pure. Numbers in, text of digits and letters out, which needs no escaping.

A strip has a slot a unit of width and STRIP_H of height, and tells its states by height as well as by colour, for
sunlight and for eyes that see no red. Bounds: those of what is drawn: `edge.sampling.quality_history.SLOTS` slots, and
MAX_POINTS points a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from edge.sampling.quality_history import BAD, GOOD, NOTHING, PARTLY
from wire.time import Micros, Utc

STRIP_H: Final = 12
HEIGHTS: Final[Mapping[int, int]] = {GOOD: 12, PARTLY: 9, BAD: 6, NOTHING: 1}
NAMES: Final[Mapping[int, str]] = {GOOD: "good", PARTLY: "partly", BAD: "bad", NOTHING: "nothing"}
WIDTH: Final = 288
HEIGHT: Final = 60
MARGIN: Final = 3
MAX_POINTS: Final = 1_000
APART_US: Final = Micros(1_900_000_000)  # points further apart are not joined, unless a device speaks less often
Series = Sequence[tuple[Utc, float]]


def strip(slots: Sequence[int]) -> list[tuple[str, str]]:
    """A path for each state that is there, with the name of its class."""
    paths: dict[int, list[str]] = {}
    x = 0
    for state, run in groupby(slots):
        n = sum(1 for _ in run)
        height = HEIGHTS[state]
        paths.setdefault(state, []).append(f"M{x} {STRIP_H - height}h{n}v{height}h-{n}z")
        x += n
    return [(NAMES[state], "".join(found)) for state, found in sorted(paths.items())]


def line(
    series: Series, from_us: Utc, to_us: Utc, low: float, high: float, apart_us: Micros = APART_US
) -> tuple[str, str]:
    """A curve, and the area under it. `low` and `high` are the bottom and the top; where both are one, it is drawn in
    the middle."""
    strokes: list[str] = []
    areas: list[str] = []
    for piece in _pieces(series[:MAX_POINTS], apart_us):
        at = [(_x(t, from_us, to_us), _y(v, low, high)) for t, v in piece]
        if len(at) == 1:
            at.append((at[0][0] + 1, at[0][1]))
        way = "L".join(f"{x:.4g} {y:.4g}" for x, y in at)
        strokes.append(f"M{way}")
        areas.append(f"M{at[0][0]:.4g} {HEIGHT}L{way}V{HEIGHT}z")
    return "".join(strokes), "".join(areas)


def blocks(series: Sequence[tuple[Utc, bool]], from_us: Utc, to_us: Utc, apart_us: Micros = APART_US) -> str:
    """Where something that is on or off was on; it stays so until it is known to be otherwise."""
    found: list[str] = []
    began: Utc | None = None
    last = Utc(0)
    for time_us, on in series[:MAX_POINTS]:
        if began is not None and (not on or time_us - last > apart_us):
            found.append(_block(began, time_us if time_us - last <= apart_us else last, from_us, to_us))
            began = None
        if on and began is None:
            began = time_us
        last = time_us
    if began is not None:
        found.append(_block(began, min(to_us, last + apart_us), from_us, to_us))
    return "".join(found)


def _block(began: Utc, ended: Utc, from_us: Utc, to_us: Utc) -> str:
    x, end = _x(began, from_us, to_us), _x(ended, from_us, to_us)
    return f"M{x:.4g} 0h{max(1.0, end - x):.4g}v{HEIGHT}h-{max(1.0, end - x):.4g}z"


def _pieces(series: Series, apart_us: Micros) -> list[list[tuple[Utc, float]]]:
    pieces: list[list[tuple[Utc, float]]] = []
    for time_us, value in series:
        if not pieces or time_us - pieces[-1][-1][0] > apart_us:
            pieces.append([])
        pieces[-1].append((time_us, value))
    return pieces


def _x(time_us: Utc, from_us: Utc, to_us: Utc) -> float:
    return WIDTH * min(1.0, max(0.0, (time_us - from_us) / max(1, to_us - from_us)))


def _y(value: float, low: float, high: float) -> float:
    if high <= low:
        return HEIGHT / 2
    return MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (value - low) / (high - low))
