"""Explaining: what the node says when the city asks why (`wire.why`), and how the plan and rules in force are called.

Asking changes nothing, and asks no device. Bounds: those of `wire.why`; the rules of MAX_FILES files are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import Final, Protocol

from drivers.contract import Now
from edge.acting.planning import Planning
from edge.acting.ruling import Ruling
from edge.control.arbitration import why
from edge.control.arrays import PriorityArrays
from edge.plans.plan import Plan
from edge.rules.engine import Explained
from edge.rules.rule import Rules
from wire.sample import Value
from wire.why import MAX_POINTS, MAX_RULES, AskWhy, LevelHolds, WhyAnswer, WhyPoint, WhyRule

MAX_FILES: Final = 5
MAX_TEXT: Final = 500  # characters of a condition, and of why it is not known


class InForce:
    """The plan and the rules that the node lives by, in words: worked out when they have changed."""

    def __init__(self) -> None:
        self._of: tuple[Plan | None, Rules] | None = None
        self._words = ("", "")

    def words(self, plan: Plan | None, rules: Rules) -> tuple[str, str]:
        """Their names and versions; "" where there are none."""
        if self._of is None or self._of[0] is not plan or self._of[1] is not rules:
            self._of, self._words = (plan, rules), (_plan(plan), _rules(rules))
        return self._words


def _plan(plan: Plan | None) -> str:
    return "" if plan is None else f"{plan.name} {plan.version}"[:MAX_TEXT]


def _rules(rules: Rules) -> str:
    if not rules.rules:
        return ""
    files = list(dict.fromkeys(rule.file for rule in rules.rules))
    named = ", ".join(files[:MAX_FILES]) + (", …" if len(files) > MAX_FILES else "")
    return f"{named}: {len(rules.rules)}"[:MAX_TEXT]


class Decides(Protocol):
    """The parts of a node that decide (`edge.acting.autonomy.Autonomy`)."""

    @property
    def control(self) -> PriorityArrays:
        """The priority arrays."""
        ...

    @property
    def planning(self) -> Planning:
        """The plan."""
        ...

    @property
    def ruling(self) -> Ruling:
        """The rules."""
        ...

    @property
    def in_force(self) -> InForce:
        """How both are called."""
        ...


class Explaining:
    """What is said of any device of the node."""

    def __init__(
        self,
        devices: Sequence[str],
        node: Decides,
        now: Now,
        zone: tzinfo,
    ) -> None:
        """`zone` is that of the times in words."""
        self._devices = frozenset(devices)
        self._points: dict[str, list[str]] = {}
        for device, point in sorted(node.control.points):
            self._points.setdefault(device, []).append(point)
        self._node, self._now, self._zone = node, now, zone

    def why(self, asked: AskWhy) -> WhyAnswer:
        """All that the node knows of who decides there."""
        now_us, clock = self._now()
        plan, rules = self._node.in_force.words(self._node.planning.plan, self._node.ruling.rules)
        return WhyAnswer(
            id=asked.id,
            device=asked.device,
            time_us=now_us,
            known=asked.device in self._devices,
            points=tuple(self._point(asked.device, p) for p in self._points.get(asked.device, ())[:MAX_POINTS]),
            plan=plan,
            rules=rules,
            watching=tuple(map(_watching, self._node.ruling.explain(asked.device)[:MAX_RULES])),
            boot=None if clock.synced else clock.boot,
        )

    def _point(self, device: str, point: str) -> WhyPoint:
        control = self._node.control
        array = control.array((device, point))
        unit, now_us = control.points[device, point].unit, self._now()[0]
        return WhyPoint(
            point=point,
            levels=tuple(
                LevelHolds(
                    level=level,
                    value=_told(held.value, blinks=held.blinks),
                    by=held.by,
                    order=held.order,
                    until_us=held.until_us,
                    blinks=held.blinks,
                )
                for level, held in array
            ),
            text={"en": why(array, unit, self._zone, "en", now_us), "fr": why(array, unit, self._zone, "fr", now_us)},
        )


def _told(value: Value, *, blinks: bool) -> Value:
    return None if blinks else value


def _watching(explained: Explained) -> WhyRule:
    return WhyRule(
        name=explained.rule,
        state=explained.state,
        when=explained.when[:MAX_TEXT],
        true=explained.decided,
        text=explained.why[:MAX_TEXT],
    )
