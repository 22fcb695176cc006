"""The words of the aggregator's own alarms, in English and French. Pure.

Each is a whole sentence, with times to the second, and stays true: while the condition holds it says since when, and
once it has ended from when to when. `detail` of an alarm is the English one, unless somebody has left a note there.
"""

from __future__ import annotations

from collections.abc import Mapping

from cloud.times import SECOND_US, text
from wire.time import Utc

Texts = Mapping[str, str]  # by language


def moment(time_us: Utc) -> str:
    """A time as people read it: UTC, to the second, cut."""
    return f"{text(time_us - time_us % SECOND_US)[:19].replace('T', ' ')} UTC"


def silent(node: str, since_us: Utc, until_us: Utc | None = None) -> Texts:
    """Of a node that is not heard; `until_us` is when it was heard again."""
    since = moment(since_us)
    if until_us is None:
        return {"en": f"{node} has been silent since {since}", "fr": f"{node} est muet depuis le {since}"}
    until = moment(until_us)
    return {
        "en": f"{node} was silent from {since} to {until}",
        "fr": f"{node} a été muet du {since} au {until}",
    }


def missing(node: str, lost: int, last: Texts) -> Texts:
    """Of readings that are lost: how many are known, 0 where that is not known at all, and the last reason reported."""
    many_en = f"{lost} samples that are known" if lost else "how many is not known"
    many_fr = f"{lost} échantillons connus" if lost else "on ne sait combien"
    return {
        "en": f"readings of {node} are lost: {many_en}; last reason: {last['en']}",
        "fr": f"des mesures de {node} sont perdues : {many_fr} ; dernière cause : {last['fr']}",
    }


def fork(node: str, last: Texts) -> Texts:
    """Of a card that was rolled back or cloned, and the last span that may be held twice."""
    return {
        "en": f"{node} went back to an older state of its card: readings {last['en']} may be held twice",
        "fr": f"{node} a repris un état antérieur de sa carte : des mesures {last['fr']} peuvent être en double",
    }


def outage(nodes: int, since_us: Utc, until_us: Utc | None = None) -> Texts:
    """Of many nodes that are not heard; `nodes` is how many there were at most."""
    since = moment(since_us)
    why_en, why_fr = "a fault of the network, or ours", "panne du réseau, ou de notre côté"
    if until_us is None:
        return {
            "en": f"up to {nodes} nodes have been silent at once since {since}: {why_en}",
            "fr": f"jusqu'à {nodes} nœuds sont muets à la fois depuis le {since} : {why_fr}",
        }
    until = moment(until_us)
    return {
        "en": f"up to {nodes} nodes were silent at once from {since} to {until}: {why_en}",
        "fr": f"jusqu'à {nodes} nœuds ont été muets à la fois du {since} au {until} : {why_fr}",
    }


def as_told(reason: str) -> Texts:
    """A reason in its node's own words, which are reported unchanged."""
    return {"en": reason, "fr": reason}


def unfinished(epoch: int, lane: str, from_seq: int, to_seq: int) -> Texts:
    """Why readings are lost: an epoch whose end nobody knows."""
    if to_seq < from_seq:
        return {
            "en": f"epoch {epoch} ended unfinished ({lane}, from seq {from_seq} on; its end is not known)",
            "fr": f"l'époque {epoch} s'est arrêtée inachevée ({lane}, dès le seq {from_seq} ; sa fin est inconnue)",
        }
    return {
        "en": f"epoch {epoch} ended unfinished ({lane}, from seq {from_seq} to at least {to_seq})",
        "fr": f"l'époque {epoch} s'est arrêtée inachevée ({lane}, du seq {from_seq} au moins au {to_seq})",
    }


def span(from_us: Utc, to_us: Utc) -> Texts:
    """Between which times."""
    since, until = moment(from_us), moment(to_us)
    return {"en": f"from {since} to {until}", "fr": f"du {since} au {until}"}


def not_folded(since_us: Utc, why: str) -> Texts:
    """Of history that cannot be folded, in the words of who could not."""
    since = moment(since_us)
    return {
        "en": f"history has not been folded since {since}: {why}; answers are right, and slow for long times",
        "fr": f"l'historique n'est plus condensé depuis le {since} : {why} ; les réponses sont justes, et lentes pour"
        " les longues périodes",
    }


def disk_full_in(days: int, bytes_a_day: float) -> Texts:
    """Of a disk that fills."""
    gb = bytes_a_day / 1e9
    return {
        "en": f"the disk of the store is full in some {days} days, when it goes on as now ({gb:.1f} GB a day): then"
        " nothing is taken from the nodes any more",
        "fr": f"le disque de l'agrégateur sera plein dans environ {days} jours à ce rythme ({gb:.1f} Go par jour) :"
        " ensuite rien ne sera plus pris des nœuds",
    }
