"""Ledger: what the streams and gaps of a node say together. Pure: no clock, no I/O.

What has become of each run is said in `cloud.views.runs`. A run was forked when what its successor holds was measured
before the last that it holds itself: after a rolled-back or cloned card those may be held twice.

Bounds: the newest MAX_LANES lanes and MAX_GAPS gaps are shown, of a gap MAX_REASON_CHARS of its reason and
MAX_GAP_DEVICES of its devices; the counts are over all, up to MAX_COUNT.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from cloud.log.notices import Finding, FindingKind
from cloud.log.streams import Stream
from cloud.times import text
from cloud.views.answers import (
    Certainty,
    Conflict,
    Fork,
    GapSeen,
    LanePlace,
    LaneState,
    Ledger,
    Missing,
    Unfinished,
    WrittenOff,
)
from cloud.views.runs import states_of
from wire.batch import Lane
from wire.entries import Gap
from wire.time import Utc

MAX_LANES: Final = 100
MAX_GAPS: Final = 100
MAX_CONFLICTS: Final = 100
MAX_REASON_CHARS: Final = 200
MAX_GAP_DEVICES: Final = 20
MAX_COUNT: Final = 2**63 - 1


class GapPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A gap and the seqs in whose place it stands."""

    epoch: int
    lane: Lane
    first_seq: int
    gap: Gap


def ledger_of(
    streams: Sequence[Stream],
    gaps: Sequence[GapPlace],
    gap_count: int,
    lost: int,
    conflicts: Sequence[Conflict],
    written_off: Mapping[tuple[int, Lane], WrittenOff],
) -> Ledger:
    """Put a node's ledger together. `gaps` are the newest; `gap_count` and `lost` are over all of them; `written_off`
    are the runs that somebody has written off, by epoch and lane."""
    ordered = sorted(streams, key=lambda s: s.order)
    states = states_of(ordered)
    lanes: list[LanePlace] = []
    unfinished: list[Unfinished] = []
    forks: list[Fork] = []
    for lane in Lane:
        own = [s for s in ordered if s.lane is lane]
        for stream in own:
            state = states[stream.order]
            off = written_off.get((stream.epoch, lane)) if state in {"unfinished", "unknown"} else None
            lanes.append(_lane_place(stream, state, off))
            if state == "unfinished" and off is None:
                unfinished.append(unfinished_of(stream))
        forks.extend(
            f for old, new in pairwise(s for s in own if s.to_us is not None) if (f := fork_of(old, new)) is not None
        )
    short = [s for s in ordered if states[s.order] == "unfinished"]
    missing = Missing(
        samples=_count((lost,)),
        gaps=gap_count,
        unfinished_seqs=_count(s.head_seq - s.through_seq for s in short),
        certainty=_certainty(states),
    )
    return Ledger(
        pending=_count(p.pending for p in lanes if p.state in {"current", "open"}),
        samples=sum(s.samples for s in streams),
        readings=sum(s.readings for s in streams),
        missing=missing,
        lanes=tuple(lanes[-MAX_LANES:]),
        unfinished=tuple(unfinished[-MAX_LANES:]),
        forks=tuple(forks[-MAX_LANES:]),
        gaps=tuple(map(_gap_seen, gaps[-MAX_GAPS:])),
        conflicts=tuple(conflicts[:MAX_CONFLICTS]),
    )


def _certainty(states: Mapping[int, LaneState]) -> Certainty:
    """How well it is known what is missing of all that has ended. What somebody has written off is missing still."""
    found = set(states.values())
    if "unfinished" in found:
        return "at_least"
    return "unknown" if "unknown" in found else "exact"


def fork_of(old: Stream, new: Stream) -> Fork | None:
    """The times that both hold, where they do."""
    if old.to_us is None or new.from_us is None or new.from_us > old.to_us:
        return None
    first, last = text(new.from_us), text(min(old.to_us, new.to_us or old.to_us))
    return Fork(lane=old.lane.value, epoch=old.epoch, into_epoch=new.epoch, from_=first, to=last)


class Neighbours(msgspec.Struct, frozen=True):
    """The epochs just before and just after one in its lane, and which forks there were between them."""

    before: Stream | None
    after: Stream | None

    def forks(self, stream: Stream) -> list[Fork]:
        """The forks between the stream and its neighbours, by its own epoch or the one that it went on under."""
        pairs = ((self.before, stream), (stream, self.after))
        return [f for old, new in pairs if old and new and (f := fork_of(old, new)) is not None]


def findings_of(
    stream: Stream,
    neighbours: Neighbours,
    known: Sequence[Fork],
    broken_off: Sequence[Stream],
    now_us: Utc,
) -> list[Finding]:
    """What to report when a stream has begun or continued; `known` forks were reported before.

    `broken_off` are the runs that are unfinished since the stream has begun.
    """
    found = [_finding(stream, "unfinished", unfinished_of(s), now_us) for s in broken_off]
    told = {(f.epoch, f.into_epoch) for f in known}
    forks = [f for f in neighbours.forks(stream) if (f.epoch, f.into_epoch) not in told]
    return found + [_finding(stream, "fork", fork, now_us) for fork in forks]


def _finding(stream: Stream, kind: FindingKind, detail: msgspec.Struct, now_us: Utc) -> Finding:
    return Finding(node=stream.node, kind=kind, time_us=now_us, detail=msgspec.to_builtins(detail))


def unfinished_of(stream: Stream) -> Unfinished:
    """Of a run that is unfinished, what is missing at least."""
    return Unfinished(
        epoch=stream.epoch,
        lane=stream.lane.value,
        from_seq=stream.through_seq + 1,
        to_seq_at_least=stream.head_seq,
    )


def _lane_place(stream: Stream, state: LaneState, written_off: WrittenOff | None) -> LanePlace:
    return LanePlace(
        epoch=stream.epoch,
        lane=stream.lane.value,
        state=state if written_off is None else "written_off",
        through_seq=stream.through_seq,
        digest=stream.digest.hex(),
        head_seq=stream.head_seq,
        held_from=stream.held_from,
        pending=stream.head_seq - stream.through_seq,
        written_off=written_off,
        samples=stream.samples,
        readings=stream.readings,
        first_heard=text(stream.first_heard_us),
        last_heard=text(stream.last_heard_us),
    )


def _count(numbers: Iterable[int]) -> int:
    return min(MAX_COUNT, sum(numbers))


def _gap_seen(place: GapPlace) -> GapSeen:
    gap = place.gap
    return GapSeen(
        epoch=place.epoch,
        lane=place.lane.value,
        first_seq=place.first_seq,
        last_seq=place.first_seq + gap.seqs - 1,
        lost=gap.lost,
        reason=gap.reason[:MAX_REASON_CHARS],
        devices=gap.devices[:MAX_GAP_DEVICES],
        from_=None if gap.from_us is None else text(gap.from_us),
        to=None if gap.to_us is None else text(gap.to_us),
    )
