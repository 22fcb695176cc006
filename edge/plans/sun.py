"""Sun: when it sets and rises at a place, and how high it stands.

Sunset and sunrise: the sun's upper edge is at the horizon of the sea, its centre at -0.833 degrees (16' of radius, 34'
of refraction). Dusk and dawn: the end and the beginning of civil twilight, its centre at -6 degrees. Hills and houses
are not known here; that is what the photocell is for. Heights come from astral; what is tested against another
library is told in docs/plans.md.

Where the sun does not cross that height in a night, the answer is "light" (it stays above: midnight sun, white
nights) or "dark" (it was below already at noon: polar night). Never an error, never a guess.

At most MAX_KEPT answers are kept; a question that was asked before costs a look into a table.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal

from astral import Observer
from astral.sun import elevation, noon

from edge.plans.local import SECOND_US, to_us
from wire.time import Micros, Utc

Turn = Literal["sunset", "dusk", "dawn", "sunrise"]
Never = Literal["light", "dark"]
TURNS: Final[tuple[Turn, ...]] = ("sunset", "dusk", "dawn", "sunrise")
EVENING: Final[frozenset[Turn]] = frozenset({"sunset", "dusk"})
HORIZON_DEG: Final = -0.833
CIVIL_DEG: Final = -6.0
MAX_KEPT: Final = 4_096
_HALF_DAY_US: Final = Micros(12 * 3600 * SECOND_US)
_DAY_US: Final = Micros(2 * _HALF_DAY_US)


class Sun:
    """The sun over one place (WGS 84 degrees). Dates are those of `zone`; without one, those of mean solar time."""

    def __init__(self, lat: float, lon: float, zone: tzinfo | None = None) -> None:
        self._observer = Observer(lat, lon)
        self._solar = timedelta(hours=lon / 15)
        self._zone = zone
        self._kept: dict[tuple[date, Turn], Utc | Never] = {}

    def sunset(self, night: date) -> int | Never:
        """UTC microseconds at which the sun sets in the evening of that date, maybe after midnight; or why not."""
        return self.turn("sunset", night)

    def dusk(self, night: date) -> int | Never:
        """UTC microseconds at which civil twilight ends in the evening of that date; or why not."""
        return self.turn("dusk", night)

    def dawn(self, day: date) -> int | Never:
        """UTC microseconds at which civil twilight begins in the morning of that date; or why not."""
        return self.turn("dawn", day - timedelta(days=1))

    def sunrise(self, day: date) -> int | Never:
        """UTC microseconds at which the sun rises in the morning of that date; or why not."""
        return self.turn("sunrise", day - timedelta(days=1))

    def turn(self, turn: Turn, night: date) -> Utc | Never:
        """One of the four in the night that begins on the evening of that date, in UTC microseconds."""
        found = self._kept.get((night, turn))
        if found is None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            found = self._kept[night, turn] = self._find(turn, night)
        return found

    def elevation_deg(self, time_us: Utc) -> float:
        """How high the sun's centre stands over the horizon, in degrees, without refraction."""
        return elevation(self._observer, datetime.fromtimestamp(time_us / SECOND_US, UTC), with_refraction=False)

    def is_night(self, time_us: Utc) -> bool:
        """Whether the sun is below the horizon: from sunset to sunrise."""
        return self.elevation_deg(time_us) < HORIZON_DEG

    def noon(self, day: date) -> Utc:
        """When the sun stands highest on a date, in UTC microseconds, to about half a minute."""
        if self._zone is None:
            clock_noon = to_us(datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - self._solar)
        else:
            clock_noon = to_us(datetime(day.year, day.month, day.day, 12, tzinfo=self._zone))
        # astral counts dates in UTC: near the date line its noon may be a day off. The one nearest the clock's is ours.
        found = to_us(noon(self._observer, day))
        return found - _DAY_US * round((found - clock_noon) / _DAY_US)

    def _find(self, turn: Turn, night: date) -> Utc | Never:
        high_deg = HORIZON_DEG if turn in {"sunset", "sunrise"} else CIVIL_DEG
        before, after = self.noon(night), self.noon(night + timedelta(days=1))
        above, below = before if turn in EVENING else after, before + (after - before) // 2
        if self.elevation_deg(below) >= high_deg:
            return "light"
        if self.elevation_deg(above) < high_deg:
            return "dark"
        # Between its highest and its lowest the sun only sinks, so that halving finds the one crossing.
        while abs(above - below) > SECOND_US:
            middle = above + (below - above) // 2
            if self.elevation_deg(middle) >= high_deg:
                above = middle
            else:
                below = middle
        return below - below % SECOND_US
