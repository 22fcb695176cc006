"""Ledger: what the streams and gaps of a node say together. Pure: no clock, no I/O.

An epoch has ended when a newer one has appeared in the same lane. It is unfinished when less of it is here than
the node has told of, and it has not been heard since. It was forked when what its successor holds was measured
before the last that it holds itself: after a rolled-back or cloned card those may be held twice.

Bounds: the newest MAX_LANES lanes and MAX_GAPS gaps are shown; the counts are over all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from cloud.answers import Conflict, Fork, GapSeen, LanePlace, LaneState, Ledger, Missing, Unfinished
from cloud.findings import Finding
from cloud.streams import Stream
from cloud.times import text
from wire.batch import Lane
from wire.entries import Gap

MAX_LANES: Final = 100
MAX_GAPS: Final = 100
MAX_CONFLICTS: Final = 100


class GapPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A gap and the seqs in whose place it stands."""

    epoch: int
    lane: Lane
    first_seq: int
    gap: Gap


def state_of(stream: Stream, newest: Stream) -> LaneState:
    """What has become of an epoch, given the newest of its lane."""
    if stream.order == newest.order:
        return "current"
    if stream.through_seq >= stream.head_seq:
        return "ended"
    return "open" if stream.last_heard_us > newest.first_heard_us else "unfinished"


def ledger_of(
    streams: Sequence[Stream],
    gaps: Sequence[GapPlace],
    gap_count: int,
    lost: int,
    conflicts: Sequence[Conflict],
) -> Ledger:
    """Put a node's ledger together. `gaps` are the newest; `gap_count` and `lost` are over all of them."""
    ordered = sorted(streams, key=lambda s: s.order)
    lanes: list[LanePlace] = []
    unfinished: list[Unfinished] = []
    forks: list[Fork] = []
    for lane in Lane:
        own = [s for s in ordered if s.lane is lane]
        for stream in own:
            state = state_of(stream, own[-1])
            lanes.append(_lane_place(stream, state))
            if state == "unfinished":
                unfinished.append(_unfinished(stream))
        forks.extend(f for old, new in pairwise(own) if (f := fork_of(old, new)) is not None)
    missing = Missing(
        samples=lost,
        gaps=gap_count,
        unfinished_seqs=sum(u.to_seq_at_least - u.from_seq + 1 for u in unfinished),
        certainty="at_least" if unfinished else "exact",
    )
    return Ledger(
        pending=sum(p.pending for p in lanes if p.state in {"current", "open"}),
        samples=sum(s.samples for s in streams),
        readings=sum(s.readings for s in streams),
        missing=missing,
        lanes=tuple(lanes[-MAX_LANES:]),
        unfinished=tuple(unfinished[-MAX_LANES:]),
        forks=tuple(forks[-MAX_LANES:]),
        gaps=tuple(map(_gap_seen, gaps[-MAX_GAPS:])),
        conflicts=tuple(conflicts[:MAX_CONFLICTS]),
    )


def fork_of(old: Stream, new: Stream) -> Fork | None:
    """The times that both hold, where they do."""
    if old.to_us is None or new.from_us is None or new.from_us > old.to_us:
        return None
    first, last = text(new.from_us), text(min(old.to_us, new.to_us or old.to_us))
    return Fork(lane=old.lane.value, epoch=old.epoch, into_epoch=new.epoch, from_=first, to=last)


def findings_of(old: Stream, new: Stream) -> list[Finding]:
    """What is worth telling at the moment at which `new` follows `old`."""
    found: list[Finding] = []
    if old.through_seq < old.head_seq:
        found.append(_finding(new, "unfinished", _unfinished(old)))
    if (fork := fork_of(old, new)) is not None:
        found.append(_finding(new, "fork", fork))
    return found


def _finding(stream: Stream, kind: Any, detail: msgspec.Struct) -> Finding:
    return Finding(node=stream.node, kind=kind, time_us=stream.first_heard_us, detail=msgspec.to_builtins(detail))


def _unfinished(stream: Stream) -> Unfinished:
    return Unfinished(
        epoch=stream.epoch,
        lane=stream.lane.value,
        from_seq=stream.through_seq + 1,
        to_seq_at_least=stream.head_seq,
    )


def _lane_place(stream: Stream, state: LaneState) -> LanePlace:
    return LanePlace(
        epoch=stream.epoch,
        lane=stream.lane.value,
        state=state,
        through_seq=stream.through_seq,
        digest=stream.digest.hex(),
        head_seq=stream.head_seq,
        held_from=stream.held_from,
        pending=stream.head_seq - stream.through_seq,
        samples=stream.samples,
        readings=stream.readings,
        first_heard=text(stream.first_heard_us),
        last_heard=text(stream.last_heard_us),
    )


def _gap_seen(place: GapPlace) -> GapSeen:
    gap = place.gap
    return GapSeen(
        epoch=place.epoch,
        lane=place.lane.value,
        first_seq=place.first_seq,
        last_seq=place.first_seq + gap.seqs - 1,
        lost=gap.lost,
        reason=gap.reason,
        devices=gap.devices,
        from_=None if gap.from_us is None else text(gap.from_us),
        to=None if gap.to_us is None else text(gap.to_us),
    )
