"""Nearest: which of many names was probably meant by one that there is not. Pure.

Names of devices are numbered by the thousand, and to compare all of them letter by letter would take seconds. A slip of
the finger leaves beginning and end as they are: the SHORTLIST that share most of both are compared.

Bounds: MOST names are looked at, SHORTLIST compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from heapq import nlargest
from itertools import islice
from typing import Final

MOST: Final = 50_000
SHORTLIST: Final = 20


def near(word: str, known: Iterable[str]) -> str | None:
    """The same of words that are few, all of which are compared: keys, routes, points."""
    return next(iter(get_close_matches(word, list(known), n=1)), None)


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The nearest of the names, if any is near."""
    length = len(name)
    alike = ((_shared(name, n), n) for n in islice(names, MOST) if abs(len(n) - length) <= max(3, length // 3))
    found = get_close_matches(name, [n for _, n in nlargest(SHORTLIST, alike)], n=1)
    return found[0] if found else None


def did_you_mean(meant: str | None) -> str:
    """What an error message ends with: "; did you mean x?", or nothing where none is near."""
    return "" if meant is None else f"; did you mean {meant}?"


def _shared(one: str, two: str) -> int:
    """How many characters of the beginning and of the end are the same."""
    least = min(len(one), len(two))
    begin = 0
    while begin < least and one[begin] == two[begin]:
        begin += 1
    end = 0
    while end < least - begin and one[-1 - end] == two[-1 - end]:
        end += 1
    return begin + end
