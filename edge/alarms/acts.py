"""What somebody does with an alarm: acknowledge, shelve, unshelve, checked before anything is changed.

Promises: an act that cannot be done is a Refusal in words that an operator understands, in English and French, and
changes nothing. An act that is done already is neither: it changes nothing and is no refusal.

Bounds: a shelf ends, after at most MAX_SHELF_S.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from wire.entries import Alarm
from wire.orders import AlarmAct
from wire.time import Utc

MAX_SHELF_S: Final = 7 * 86_400


class Refusal(Exception):
    """An act that cannot be done. `why` is the reason in English, `text` the same by language."""

    def __init__(self, en: str, fr: str) -> None:
        super().__init__(en)
        self.why = en
        self.text: Mapping[str, str] = {"en": en, "fr": fr}


def unknown(alarm: str) -> Refusal:
    """For an id that stands nowhere on this node."""
    return Refusal(
        f"no alarm {alarm} stands on this node: it was cleared before, or never was here",
        f"aucune alarme {alarm} n’est en cours sur ce nœud : elle est déjà close ou n’a jamais existé ici",
    )


def over(alarm: str) -> Refusal:
    """For an alarm that was cleared, and can be shelved no more."""
    return Refusal(
        f"alarm {alarm} is cleared already: there is nothing left to shelve",
        f"l’alarme {alarm} est déjà close : il n’y a plus rien à mettre en sourdine",
    )


def acknowledged(alarm: Alarm, by: str, now_us: Utc) -> Alarm | None:
    """The alarm after `by` has seen it, at `now_us`; None when somebody had before.

    One whose condition has returned is cleared by it; shelved and suppressed ones stay what they are, and remember it.
    """
    if alarm.acknowledged:
        return None
    after = replace(alarm, acknowledged=True, by=by, time_us=max(now_us, alarm.time_us))
    match alarm.state:
        case "raised":
            return replace(after, state="acknowledged")
        case "returned":
            return replace(after, state="cleared")
        case _:
            return after


def shelved(alarm: Alarm, act: AlarmAct, now_us: Utc, boot: int | None) -> Alarm | None:
    """The alarm, silent until the act's `until_us`; None when it is already.

    While the node's time is an estimate (`boot` is set), the end given is no time of ours: the shelf then lasts as long
    as it should have from when the order was given.

    Raises:
        Refusal: for a shelf without an end, with one that is past, or with one after MAX_SHELF_S from now.
    """
    if act.until_us is None:
        raise Refusal(
            "a shelved alarm must come back: say until when, at most 7 days from now",
            "une alarme en sourdine doit revenir : indiquez jusqu’à quand, 7 jours au plus",
        )
    length_us = act.until_us - (now_us if boot is None else act.issued_us)
    if length_us <= 0:
        raise Refusal(
            "the end of the shelf is past: give one that is still to come, at most 7 days from now",
            "la fin de la mise en sourdine est passée : donnez une date à venir, 7 jours au plus",
        )
    if length_us > MAX_SHELF_S * 1e6:
        raise Refusal(
            f"an alarm can be shelved for 7 days at most, not for {length_us / 1e6 / 86_400:.1f}",
            f"une alarme se met en sourdine pour 7 jours au plus, pas pour {length_us / 1e6 / 86_400:.1f}",
        )
    time_us = max(now_us, alarm.time_us)
    until_us = now_us + length_us
    if alarm.state == "shelved" and alarm.until_us is not None:
        # On an estimated clock the same order said again would otherwise begin its length anew.
        same_us = until_us if boot is None else alarm.time_us + length_us
        if alarm.until_us == same_us:
            return None
    return replace(alarm, state="shelved", until_us=until_us, cause="", by=act.by, time_us=time_us)
