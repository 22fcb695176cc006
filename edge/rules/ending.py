"""Ending: whether a rule that has begun can end, by trying `when` and `clear` together.

The mistake that is looked for is a `clear` the wrong way round: `when = "fill_level > 90.0"`, `clear = "fill_level >
70.0"`. It is told where, all else alike, both become true in the same direction of a value, and at the other end of
that value `clear` is false whatever else is said. A rule that this does not find is not therefore a good one. What the
world says (night, hour, weekday, sun) comes round by itself and is not asked. At most MAX_TRIALS combinations; where
there are more nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Final

from edge.rules.condition import AMBIENT, Condition
from edge.rules.trial import MAX_TRIALS, Kind, combinations

_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ENDLESS: Final = 1e9  # what stands for no bound in a trial

Answer = bool | None


def never_over(when: Condition, clear: Condition, when_named: Mapping[str, Kind], named: Mapping[str, Kind]) -> str:
    """What is wrong with a `clear` with which the rule does not end, or "". `when_named` and `named` say what the
    names of both may be."""
    kinds = dict(when_named)
    for name, kind in named.items():
        old = kinds.get(name)
        kinds[name] = kind if old is None else Kind(kind.type, tuple(sorted({*old.values, *kind.values})), kind.words)
    lists = {name: sorted(kind.values) for name, kind in kinds.items()}
    if prod(map(len, lists.values())) > MAX_TRIALS:
        return ""
    kinds = {name: Kind(kind.type, tuple(lists[name]), kind.words) for name, kind in kinds.items()}
    indices = product(*(range(len(values)) for values in lists.values()))
    answers = {
        index: (when.decide(values), clear.decide(values))
        for index, values in zip(indices, combinations(kinds), strict=True)
    }
    for axis, (name, kind) in enumerate(kinds.items()):
        if name in AMBIENT or kind.type == "string" or name not in when_named or name not in named:
            continue
        runs: dict[tuple[int, ...], list[tuple[Answer, Answer]]] = {}
        for index, answer in answers.items():
            runs.setdefault(index[:axis] + index[axis + 1 :], []).append(answer)
        for end, step in ((0, 1), (-1, -1)):
            ordered = [run[::step] for run in runs.values()]
            if all(run[0][1] is False for run in ordered) and any(map(_same_way, ordered)):
                return _told(name, lists[name][end], end, clear.text)
    return ""


def _same_way(run: Sequence[tuple[Answer, Answer]]) -> bool:
    """Whether both conditions become true on the way, and stay so."""
    return all(_rises([pair[i] for pair in run]) for i in (0, 1))


def _rises(answers: Sequence[Answer]) -> bool:
    return None not in answers and answers[0] is False and answers[-1] is True and sorted(map(bool, answers)) == answers


def _told(name: str, value: float | bool, end: int, text: str) -> str:
    if isinstance(value, bool):
        where = f"where {name} is {str(value).lower()}"
    elif abs(value) >= _ENDLESS:
        where = f"however {'low' if end == 0 else 'high'} {name} is"
    else:
        where = f"at {name} = {value:g}"
    near = _turned(name, text)
    said = f'did you mean "{near}"?' if near else "write what is true when it is over"
    return f"is false {where} too, where when is false: the rule would not end there; {said}"


def _turned(name: str, text: str) -> str:
    """The text with its one comparison of that name the other way round, "" where there is not exactly one."""
    bare = text.strip()
    if bare in (name, f"!{name}"):
        return name if bare.startswith("!") else f"!{name}"
    number, this = r"-?\d+(?:\.\d+)?", re.escape(name)
    pattern = rf"(?<![\w.])({this}\s*)(<=|>=|<|>)(\s*{number})|({number}\s*)(<=|>=|<|>)(\s*{this})(?![\w.])"
    turned, n = re.subn(pattern, lambda m: f"{m[1] or m[4]}{_FLIPPED[m[2] or m[5]]}{m[3] or m[6]}", bare)
    return turned if n == 1 else ""
