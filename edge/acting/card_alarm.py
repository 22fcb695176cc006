"""Card alarm: one alarm of the node's own while its card cannot be used, or has been found damaged since the start.

Someone has to go there with a new card. It returns with the first start that finds the card sound. Bounds: one alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from drivers.contract import Now
from edge.acting.alarming import Alarming
from edge.alarms.own import CARD
from edge.alarms.raised import Raised

MAX_CHARS: Final = 2000


class CardAlarm:
    """`look` now and then."""

    def __init__(self, *, node: str, alarming: Alarming, now: Now, fault: Callable[[], str | None]) -> None:
        """`fault` says what is wrong with the card."""
        self._node, self._alarming, self._now, self._fault = node, alarming, now, fault
        self._told = any(a.device == node and a.rule == CARD for a in alarming.standing())
        self._said: str | None = None

    def look(self) -> None:
        """Raise it, or let it return."""
        fault = self._fault()
        if fault is None:
            if self._told:
                self._told, self._said = False, None
                self._alarming.returned(self._node, CARD, {}, self._now()[0])
        elif fault != self._said:
            self._told, self._said = True, fault
            self._alarming.raise_(
                Raised(
                    device=self._node,
                    rule=CARD,
                    severity="high",
                    time_us=self._now()[0],
                    detail=fault[:MAX_CHARS],
                    text={
                        "en": "The node's card fails: replace it",
                        "fr": "La carte du nœud est défaillante : à changer",
                    },
                )
            )
