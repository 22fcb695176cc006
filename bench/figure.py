"""Figure: one measured number beside its peer's and its limit's, taken in the same run.

Ratios are what counts: these machines differ, and the next one differs again. `ratio` says how many times better ours
is than the peer's; `of_limit` how many times worse than the cheapest known way to do that work.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Against = Literal["ours", "peer", "limit"]


class Goal(msgspec.Struct, frozen=True):
    """What was set out for: `bound` of our value itself, of its ratio to the peer, or of its ratio to the limit."""

    bound: float
    against: Against = "ours"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is `row/what`. A value is None where nothing could be measured; `note` then says why.

    `less` says that less is better. `spread` is (greatest - least) / median of ours over the repeats.
    """

    name: str
    unit: str
    less: bool
    ours: float | None = None
    peer: float | None = None
    peer_name: str = ""
    limit: float | None = None
    limit_name: str = ""
    spread: float = 0.0
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the peer."""
        return self._times(self.peer, self.ours)

    @property
    def of_limit(self) -> float | None:
        """How many times worse than the limit: 1 would be as cheap as it gets."""
        return self._times(self.ours, self.limit)

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing to hold against it."""
        if self.goal is None:
            return None
        bound = self.goal.bound
        match self.goal.against:
            case "ours":
                return None if self.ours is None else self.ours <= bound if self.less else self.ours >= bound
            case "peer":
                return None if self.ratio is None else self.ratio >= bound
            case "limit":
                return None if self.of_limit is None else self.of_limit <= bound

    def row(self) -> dict[str, Any]:
        """As one object for `--json`."""
        return msgspec.to_builtins(self) | {"ratio": self.ratio, "of_limit": self.of_limit, "met": self.met}

    def _times(self, above: float | None, below: float | None) -> float | None:
        """Above / below where less is better, else the other way round."""
        if above is None or below is None:
            return None
        if not self.less:
            above, below = below, above
        return above / below if below else None


def median(runs: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """The medians of what each run measured, and their spreads. All runs measured the same things."""
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    spreads = {
        name: (max(run[name] for run in runs) - min(run[name] for run in runs)) / abs(middle) if middle else 0.0
        for name, middle in medians.items()
    }
    return medians, spreads
