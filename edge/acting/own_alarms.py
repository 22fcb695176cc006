"""Own alarms: those that the node raises of itself: a line that is down, a point that cannot be set.

A line that is down is one alarm on the node, and explains all alarms of its devices. It is raised after LINE_DOWN_S,
before points that cannot be set because of it are (STUCK_S), and returns when the line has worked for WELL_S: one that
opens and fails again and again is down all the time. A cloud that refuses what it is sent is one alarm, which returns
when it has taken something. What stood before a restart returns when line, point or cloud are found to be well, and not
before. Times are monotonic seconds.

Bounds: one alarm a line, one a device with writable points, and one for the cloud.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from drivers.contract import Now
from edge.acting.alarming import Alarming
from edge.alarms.causes import Suppression
from edge.alarms.own import NOT_AS_SET, UPLINK_REFUSED, of_line
from edge.alarms.raised import Raised
from edge.control.arbitration import Held
from edge.control.arrays import Key
from wire.sample import Value

log = logging.getLogger(__name__)

OPENS_S: Final = 5.0  # a line that takes no longer to open is not worth a word
LINE_DOWN_S: Final = 30.0
WELL_S: Final = 10.0
STUCK_S: Final = 60.0  # how long a point may resist before someone is called
NOT_OPEN: Final = "it does not open"


class LineAlarms:
    """What the lines' alarms explain: known before any alarm is."""

    def __init__(self, lines: Mapping[str, Collection[str]]) -> None:
        """The devices of each line."""
        self.lines = {name: frozenset(devices) for name, devices in lines.items()}
        self._explains = {
            of_line(name): (Suppression(rules=None, devices=devices),) for name, devices in self.lines.items()
        }

    def suppresses(self, rule: str) -> tuple[Suppression, ...]:
        """What the alarm of this name explains; nothing where it is no line's."""
        return self._explains.get(rule, ())

    def __contains__(self, rule: str) -> bool:
        return rule in self._explains


class OwnAlarms:
    """Tell it what happens, and `look` now and then."""

    def __init__(
        self, *, node: str, lines: LineAlarms, alarming: Alarming, now: Now, monotonic: Callable[[], float]
    ) -> None:
        self._node, self._lines, self._alarming, self._now, self._monotonic = node, lines, alarming, now, monotonic
        self._began = monotonic()
        self._open: set[str] = set()  # lines that have been open once: of others nobody knows yet
        self._down: dict[str, float] = {}
        self._well: dict[str, float] = {}
        self._logged: set[str] = set()  # lines of which the log says that they are down
        self._stuck: dict[Key, tuple[float, Held, str, Value]] = {}
        standing = alarming.standing()
        self._lines_told = {a.rule for a in standing if a.device == node and a.rule in lines}
        self._refused_told = any(a.device == node and a.rule == UPLINK_REFUSED for a in standing)
        self._told = {a.device for a in standing if a.rule == NOT_AS_SET}

    def opened(self, devices: Iterable[str]) -> None:
        """The line of these devices is open."""
        some = next(iter(devices), None)
        self._open |= {name for name, own in self._lines.lines.items() if some in own}

    def resists(self, key: Key, held: Held, why: str, read_back: Value) -> None:
        """A point cannot be set."""
        since = self._stuck[key][0] if key in self._stuck else self._monotonic()
        self._stuck[key] = since, held, why, read_back

    def settled(self, key: Key, read_back: Value) -> None:
        """A point is as it should be, or nothing is asked of it."""
        self._stuck.pop(key, None)
        if key[0] in self._told and not any(k[0] == key[0] for k in self._stuck):
            self._told.discard(key[0])
            self._alarming.returned(key[0], NOT_AS_SET, {key[1]: read_back}, self._now()[0])

    def doubtful(self, device: str) -> bool:
        """Whether it is said of a device that it cannot be set: its points are worth a look."""
        return device in self._told

    def look(self, faults: Mapping[str, str]) -> None:
        """Raise what has lasted too long. `faults` says of lines why they do not work."""
        now = self._monotonic()
        for name, devices in self._lines.lines.items():
            if devices:
                self._look_at_line(name, faults.get(name), now)
        for key, (since, held, why, read_back) in self._stuck.items():
            if now - since >= STUCK_S:  # said again and again: a flood may have let it drop
                self._told.add(key[0])
                self._raise_stuck(key, held, why, read_back)

    def look_at_uplink(self, why: str | None, *, takes: bool) -> None:
        """`why` says that the cloud refuses what is sent to it; `takes` that it has taken something since the start."""
        if why is not None:
            self._refused_told = True
            self._alarming.raise_(
                Raised(
                    device=self._node,
                    rule=UPLINK_REFUSED,
                    severity="high",
                    time_us=self._now()[0],
                    detail=why[:2000],
                    text={
                        "en": "The city refuses what this node sends: it is held here",
                        "fr": "La ville refuse ce que ce nœud envoie : tout est gardé ici",
                    },
                )
            )
        elif takes and self._refused_told:
            self._refused_told = False
            self._alarming.returned(self._node, UPLINK_REFUSED, {}, self._now()[0])

    def _look_at_line(self, name: str, why: str | None, now: float) -> None:
        if why is None and name not in self._open:
            self._down.setdefault(name, self._began)
            why = NOT_OPEN
        rule = of_line(name)
        if why is None:
            if now - self._well.setdefault(name, now) >= WELL_S:
                if (since := self._down.pop(name, None)) is not None and name in self._logged:
                    self._logged.discard(name)
                    log.info("line %s works again, after %.0f s", name, now - since)
                if rule in self._lines_told:
                    self._lines_told.discard(rule)
                    self._alarming.returned(self._node, rule, {}, self._now()[0])
            return
        self._well.pop(name, None)
        since = self._down.setdefault(name, now)
        if name not in self._logged and (why != NOT_OPEN or now - since >= OPENS_S):
            self._logged.add(name)
            log.warning("line %s does not work: %s", name, why)
        if now - since >= LINE_DOWN_S:
            self._lines_told.add(rule)
            self._alarming.raise_(
                Raised(
                    device=self._node,
                    rule=rule,
                    severity="high",
                    time_us=self._now()[0],
                    detail=f"line {name}: {why}",
                    text={"en": f"Line {name} is down", "fr": f"Ligne {name} en panne"},
                    suppresses=self._lines.suppresses(rule),
                )
            )

    def _raise_stuck(self, key: Key, held: Held, why: str, read_back: Value) -> None:
        wanted = f"{held.value:.12g}" if isinstance(held.value, float) else f"{held.value}"[:100]
        self._alarming.raise_(
            Raised(
                device=key[0],
                rule=NOT_AS_SET,
                severity="medium",
                time_us=self._now()[0],
                detail=f"{key[1]} should be {wanted}: {why}"[:2000],
                text={
                    "en": f"{key[1]} cannot be set to {wanted}",
                    "fr": f"{key[1]} ne peut être réglé à {wanted}",
                },
                values={} if read_back is None else {key[1]: read_back},
            )
        )
