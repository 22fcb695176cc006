"""Trouble: the aggregator's own alarm about its store, `aggregator:store`.

It holds while the store is damaged, while the last transaction failed, while its disk has less than LEAST_FREE_BYTES
(it ends above twice that), and after a time in which the store could not be opened at all: that is said beside whatever
else is wrong, and once alone. It returns by itself, and is cleared when somebody has acknowledged it. Where the store
does not even take the alarm, it is shown from memory and written down as soon as it can be.

Bound: one alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from cloud.alarms.keeper import Keeper
from cloud.alarms.own_alarms import CITY, changed, reworded, state_of
from cloud.alarms.own_texts import Texts, moment
from cloud.sqlite.database import Sizes
from cloud.sqlite.errors import StoreTrouble
from groundwork.last_words import LastWords
from wire.entries import Alarm
from wire.time import Utc

STORE: Final = "aggregator:store"
LEAST_FREE_BYTES: Final = 256 << 20
MAX_CHARS: Final = 1_500


class Missed(msgspec.Struct, frozen=True):
    """Since when the store could not be opened, and why."""

    since_us: Utc
    why: Texts


def stopped(left: Sequence[LastWords], missed: Missed | None) -> Missed | None:
    """What the alarm says where the watchdog has ended processes before, beside what was `missed` since."""
    if not left:
        return missed
    words = left[-1]
    log = "".join(f"\n{line}" for line in reversed(words.log))
    since = ("", "") if missed is None else (f"{missed.why['en']}; ", f"{missed.why['fr']} ; ")
    return Missed(
        Utc(left[0].time_us),
        {
            "en": f"{since[0]}the aggregator did not go on ({words.late}) and was started again{log}"[:MAX_CHARS],
            "fr": f"{since[1]}l'agrégateur était bloqué ({words.late}) et a été redémarré{log}"[:MAX_CHARS],
        },
    )


class Watched(Protocol):
    """What is watched: a store."""

    @property
    def alarms(self) -> Keeper:
        """Where the alarm is kept."""
        ...

    def sizes(self) -> Sizes:
        """What it takes on the disk, and what the disk has left."""
        ...

    def trouble(self) -> StoreTrouble | None:
        """What is wrong with it; None where nothing is known to be."""
        ...


class StoreWatch:
    """On the event loop."""

    def __init__(self, store: Watched, missed: Missed | None, kept: Callable[[], object] = lambda: None) -> None:
        """`missed` is what could not be taken before the store was open; `kept` is called when the alarm that says so
        is durable."""
        self._store = store
        self._kept = kept
        self._missed = missed
        self._opened_us: Utc | None = None  # until when it was missed
        self._low = False

    async def look(self, now_us: Utc) -> None:
        """Let the alarm follow.

        Raises:
            Unavailable: the store does not take it now.
        """
        wrong = self._wrong()
        parts = [w for w in (wrong, self._told(now_us)) if w is not None]
        words = {"en": "; ".join(w["en"] for w in parts), "fr": " ; ".join(w["fr"] for w in parts)} if parts else None
        await self._store.alarms.hold(lambda standing: following(standing, words, now_us), STORE)
        if self._missed is not None:
            self._kept()
        if wrong is None:  # the text that stays is the last one
            self._missed = None

    def _told(self, now_us: Utc) -> Texts | None:
        """What was missed."""
        if (missed := self._missed) is None:
            return None
        self._opened_us = now_us if self._opened_us is None else self._opened_us
        since, until = moment(missed.since_us), moment(self._opened_us)
        return {
            "en": f"nothing could be taken from {since} to {until}: {missed.why['en']}; the nodes have kept it",
            "fr": f"rien n'a pu être pris du {since} au {until} : {missed.why['fr']} ; les nœuds l'ont gardé",
        }

    def _wrong(self) -> Texts | None:
        """What is wrong now."""
        free = self._store.sizes().disk_free
        self._low = free < (2 * LEAST_FREE_BYTES if self._low else LEAST_FREE_BYTES)
        if (trouble := self._store.trouble()) is not None:
            words = trouble.words
            if trouble.damaged:
                return words
            return {"en": f"nothing can be written: {words['en']}", "fr": f"rien ne peut être écrit : {words['fr']}"}
        if self._low:
            return {
                "en": "the disk of the store is nearly full: when it is, nothing is taken from the nodes any more",
                "fr": "le disque de l'agrégateur est presque plein : ensuite rien ne sera plus pris des nœuds",
            }
        return None


def following(standing: Alarm | None, words: Texts | None, now_us: Utc) -> Alarm | None:
    """What the alarm becomes; None when it stays as it is. Pure."""
    holds = standing is not None and standing.active
    if words is None:
        return changed(standing, now_us, active=False) if standing is not None and holds else None
    if standing is not None and holds:
        return None if standing.text == words else changed(standing, now_us, **reworded(standing, words))
    raised = Alarm(
        id=STORE,
        device=CITY,
        rule="store",
        severity="urgent",
        state="raised",
        raised_us=now_us,
        time_us=now_us,
        detail=words["en"],
        text=words,
        until_us=None if standing is None else standing.until_us,
    )
    return msgspec.structs.replace(raised, state=state_of(raised))
