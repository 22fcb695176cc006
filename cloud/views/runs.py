"""Runs: what has become of each, from what the first batches of those after it have said. Pure: no clock, no I/O.

    current     no run has begun after it, in its lane or on a new card
    ended       a later run names as its end the very place at which the log stands: nothing is missing after that
    open        a later run names a place that the log has not reached, or a run that the log has not seen, and the card
                that says so is the one in use: the rest is on its way (the store was restored)
    unfinished  the run after it does not name its end: what was written after the last that is here died with a card.
                How much is not known; at least as much as the node had told of
    unknown     the run after it is of a node that cannot say: whether something is missing nobody knows

A node that cannot say, but had told of more than is here, is judged by that, as before: `open` while it is still heard,
else `unfinished`.

Bound: of a run, LOOKED before it on its card and as many after it are looked at.

A card that is new says so in each lane, when it has something to send in it. All runs of other epochs that had begun
by then are followed by it, in either lane: the alarm does not wait for the lane that speaks less often.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Final

from cloud.log.streams import Stream
from cloud.views.answers import LaneState
from wire.batch import Lane

LOOKED: Final = 100


def states_of(streams: Sequence[Stream]) -> Mapping[int, LaneState]:
    """The state of each run of a node, by its order. `streams` are all of its lanes, or the newest of them."""
    ordered = sorted(streams, key=lambda s: s.order)
    heard: dict[int, int] = {}
    for s in ordered:
        heard[s.epoch] = max(heard.get(s.epoch, 0), s.heard_at)
    new_cards = [s for s in ordered if s.said == "none"]
    latest = max(new_cards, key=lambda c: heard[c.epoch], default=None)

    def follows(card: Stream, stream: Stream, ancestors: set[int]) -> bool:
        later = heard[card.epoch] >= heard[stream.epoch]
        return later and card.epoch != stream.epoch and card.epoch not in ancestors

    states: dict[int, LaneState] = {}
    for lane in Lane:
        own = [s for s in ordered if s.lane is lane]
        known = {s.epoch: s for s in own}
        namers: dict[int, list[Stream]] = {}
        for s in own:
            if s.before_epoch is not None:
                namers.setdefault(s.before_epoch, []).append(s)
        for at, stream in enumerate(own):
            # Runs appear in their order but after a restore, when one that came later may be here already; and but for
            # the first words of a card that was replaced meanwhile: of two new cards the one that is heard is in use.
            ancestors = _ancestors(stream, known)
            next_ones = (s for s in own[at + 1 : at + 2 + LOOKED] if s.epoch not in ancestors)
            after = next((s for s in next_ones if s.said != "none" or follows(s, stream, ancestors)), None)
            after = after or next(iter(namers.get(stream.epoch, ())), None)
            later = bisect_right(new_cards, stream.order, key=lambda c: c.order)
            newer = next((c for c in new_cards[later : later + LOOKED] if follows(c, stream, ancestors)), None)
            if after is None or (newer is not None and newer.order < after.order):
                after = newer
            if (
                after is None
                and stream.said == "none"
                and latest is not None
                and heard[latest.epoch] > heard[stream.epoch]
            ):
                after = latest
            states[stream.order] = _state(stream, after, own[-1], namers.get(stream.epoch, []), known, new_cards)
    return states


def _ancestors(stream: Stream, known: Mapping[int, Stream]) -> set[int]:
    """The epochs that came before it on its card, by their own words, at most LOOKED."""
    found: set[int] = set()
    at: Stream | None = stream
    while at is not None and at.before_epoch is not None and at.before_epoch not in found and len(found) < LOOKED:
        found.add(at.before_epoch)
        at = known.get(at.before_epoch)
    return found


def _state(
    stream: Stream,
    after: Stream | None,
    newest: Stream,
    namers: Sequence[Stream],
    known: Mapping[int, Stream],
    new_cards: Sequence[Stream],
) -> LaneState:
    """`after` is what follows it, `newest` the newest of its lane, `namers` those that came after it on its card."""
    if after is None:
        return "current"
    closing = [n for n in namers if n.said == "named"]
    if any(n.before_seq == stream.through_seq and n.before_digest == stream.digest for n in closing):
        return "ended"
    if after.said == "unsaid":
        if stream.through_seq >= stream.head_seq:
            return "unknown"
        return "open" if stream.last_heard_us > newest.first_heard_us else "unfinished"
    waited_for = [n for n in closing if n.before_seq is not None and n.before_seq > stream.through_seq]
    if after.said == "named" and after.before_epoch not in known:
        waited_for.append(after)
    for namer in waited_for:
        if not any(c.order > namer.order and c.epoch != namer.epoch for c in new_cards):
            return "open"
    return "unfinished"


def broken_off(streams: Sequence[Stream], new: Stream) -> list[Stream]:
    """The runs that are unfinished since `new`, one of the streams, has begun; none where there are no streams."""
    if not streams:
        return []
    before, now = states_of([s for s in streams if s.order != new.order]), states_of(streams)
    return [s for s in streams if now[s.order] == "unfinished" != before.get(s.order)]
