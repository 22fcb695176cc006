"""Ledger: what the streams and gaps of a node say together. Pure: no clock, no I/O.

An epoch has ended when a newer one has appeared in the same lane. It is unfinished when less of it is here than
the node has told of, and it has not been heard since. It was forked when what its successor holds was measured
before the last that it holds itself: after a rolled-back or cloned card those may be held twice.

Bounds: the newest MAX_LANES lanes and MAX_GAPS gaps are shown, of a gap MAX_REASON_CHARS of its reason and
MAX_GAP_DEVICES of its devices; the counts are over all, up to MAX_COUNT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
MAX_REASON_CHARS: Final = 200
MAX_GAP_DEVICES: Final = 20
MAX_COUNT: Final = 2**63 - 1


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
        samples=_count((lost,)),
        gaps=gap_count,
        unfinished_seqs=_count(u.to_seq_at_least - u.from_seq + 1 for u in unfinished),
        certainty="at_least" if unfinished else "exact",
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
    stream: Stream, neighbours: Neighbours, known: Sequence[Fork], now_us: int, *, new: bool
) -> list[Finding]:
    """What is worth telling at the moment at which a stream has begun or gone on; `known` forks were told before."""
    found: list[Finding] = []
    before = neighbours.before
    if new and before is not None and before.through_seq < before.head_seq:
        found.append(_finding(stream, "unfinished", _unfinished(before), now_us))
    told = {(f.epoch, f.into_epoch) for f in known}
    forks = [f for f in neighbours.forks(stream) if (f.epoch, f.into_epoch) not in told]
    return found + [_finding(stream, "fork", fork, now_us) for fork in forks]


def _finding(stream: Stream, kind: Any, detail: msgspec.Struct, now_us: int) -> Finding:
    return Finding(node=stream.node, kind=kind, time_us=now_us, detail=msgspec.to_builtins(detail))


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
