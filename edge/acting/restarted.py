"""Restarted: one alarm of the node's own when the process before did not end as it was told to: the city learns why, as
far as that can be known, and where its watchdog had ended it in its last words.

What it calls for is over when it is raised, so it returns at once, and stands until somebody has acknowledged it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from drivers.contract import Now
from edge.acting.alarming import Alarming
from edge.alarms.own import RESTARTED
from edge.alarms.raised import Raised
from groundwork.last_words import LastWords
from groundwork.marker import Stood

MAX_CHARS: Final = 2000
Cause = Literal["watchdog", "failed", "memory", "killed", "power"]
TEXTS: Final[Mapping[Cause, Mapping[str, str]]] = {
    "watchdog": {
        "en": "The node did not go on by itself, and was started again",
        "fr": "Le nœud était bloqué et a été redémarré",
    },
    "failed": {
        "en": "The node had ended by an error, and was started again",
        "fr": "Le nœud s’était arrêté sur une erreur et a été redémarré",
    },
    "memory": {
        "en": "The node was killed, perhaps for want of memory, and was started again",
        "fr": "Le nœud a été tué, peut-être par manque de mémoire, et a été redémarré",
    },
    "killed": {
        "en": "The node was killed or had crashed, and was started again",
        "fr": "Le nœud a été tué ou s’est planté, et a été redémarré",
    },
    "power": {
        "en": "The cabinet’s computer went down while the node ran: a power cut, or a reset",
        "fr": "L’ordinateur de l’armoire s’est arrêté brutalement : coupure de courant ou remise à zéro",
    },
}


class UncleanEnd(msgspec.Struct, frozen=True):
    """How the process before has ended: `why` is one sentence, `detail` what the alarm says besides."""

    cause: Cause
    why: str
    detail: str


def how_ended(
    words: Sequence[LastWords], stood: Stood | None, *, boot: int, oom: int, cut_short: bool
) -> UncleanEnd | None:
    """How it did, as far as can be known; None: as it was told to, or nobody knows. `words` are of one process or more,
    the oldest first; `stood` is the marker that was left; `boot` and `oom` are of now; `cut_short` says that the card
    was in use when the machine went down."""
    if words:
        return UncleanEnd("watchdog", words[-1].late, "\n".join(map(detail, reversed(words))))
    if stood is not None and stood.boot == boot:
        if stood.why:
            return _plain("failed", f"it ended by an error: {stood.why}")
        if (n := oom - stood.oom) > 0:
            why = f"the kernel has ended {n} processes for that since it began"
            return _plain("memory", f"it was killed, perhaps for want of memory: {why}")
        return _plain("killed", "it was killed, or crashed")
    if stood is not None or cut_short:
        return _plain("power", "the machine went down while it ran: a power cut, or a reset")
    return None


def tell(ended: UncleanEnd, *, node: str, alarming: Alarming, now: Now) -> None:
    """Raise it, and let it return."""
    time_us = now()[0]
    alarming.raise_(
        Raised(
            device=node,
            rule=RESTARTED,
            severity="low" if ended.cause == "power" else "medium",
            time_us=time_us,
            detail=ended.detail[:MAX_CHARS],
            text=TEXTS[ended.cause],
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


def _plain(cause: Cause, why: str) -> UncleanEnd:
    return UncleanEnd(cause, why, why)
