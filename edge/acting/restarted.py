"""Restarted: one alarm of the node's own when its watchdog has ended it: the city learns why, in the node's last words.

What it calls for is over when it is raised, so it returns at once, and stands until somebody has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from drivers.contract import Now
from edge.acting.alarming import Alarming
from edge.alarms.own import RESTARTED
from edge.alarms.raised import Raised
from groundwork.last_words import LastWords

MAX_CHARS: Final = 2000


def tell(words: Sequence[LastWords], *, node: str, alarming: Alarming, now: Now) -> None:
    """Raise it, and let it return. `words` are of one process or more, the oldest first."""
    time_us = now()[0]
    alarming.raise_(
        Raised(
            device=node,
            rule=RESTARTED,
            severity="medium",
            time_us=time_us,
            detail="\n".join(map(detail, reversed(words)))[:MAX_CHARS],
            text={
                "en": "The node did not go on by itself, and was started again",
                "fr": "Le nœud était bloqué et a été redémarré",
            },
        )
    )
    alarming.returned(node, RESTARTED, {}, time_us)


def detail(words: LastWords) -> str:
    """What was late, of which version, and as many of the last lines of the log as find room, the newest first."""
    moment = datetime.fromtimestamp(words.time_us / 1e6, UTC).isoformat(" ", timespec="seconds")
    text = f"{words.late} ({moment.removesuffix('+00:00')} UTC, version {words.version}, Python {words.python})"
    for line in reversed(words.log):
        text += f"\n{line}"
    return text[:MAX_CHARS]
