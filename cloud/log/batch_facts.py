"""Facts: what the log and the views need to know of a batch, found once and without expanding a column.

Raises Malformed for what the codec lets through and the store cannot keep: integers beyond 64 bits, a gap that
counts backwards. Bounds: a batch names at most MAX_BATCH_DEVICES devices; an alarm has MAX_ALARM_BYTES packed, and so
has a mark; who decides is said of at most `wire.entries.MAX_DECIDED` points at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from cloud.times import TIME_BOUND_US
from wire.batch import Batch, Placed, Snapshot
from wire.codec import MAX_NAME_CHARS
from wire.contents import Contents
from wire.entries import MAX_DECIDED, Alarm, ClockFix, Decisions, Entry, Gap, Health, Mark, Result, Visit
from wire.errors import Malformed
from wire.sample import Clock, Value, why_unstorable
from wire.time import Utc

MAX_BATCH_DEVICES: Final = 20_000
SYNCED: Final = -1  # where a boot would stand: times that need no correction
COUNT_BOUND: Final = 2**53
MAX_ALARM_BYTES: Final = 64 << 10


def base(clock: Clock) -> int:
    """What the times of a clock count from: SYNCED, or the boot whose clock fix corrects them."""
    return SYNCED if clock.synced else clock.boot


class Extent(msgspec.Struct, gc=False):
    """The devices of a batch whose times count from one base, and between which times they were measured."""

    from_us: Utc
    to_us: Utc
    devices: set[str]


class BatchFacts(msgspec.Struct, frozen=True):
    """What a batch holds. `others` are all the entries that are not columns, in their order."""

    samples: int
    readings: int
    extents: dict[int, Extent]
    others: tuple[Placed, ...]

    @property
    def reach_us(self) -> tuple[Utc, Utc] | None:
        """The least and the greatest time measured, or None when nothing was."""
        if not self.extents:
            return None
        extents = self.extents.values()
        return min(e.from_us for e in extents), max(e.to_us for e in extents)


def facts_of(batch: Batch) -> BatchFacts:
    """Look at every table and every other entry once.

    Raises:
        Malformed: the store cannot keep it.
    """
    contents = Contents.placed(batch.entries)
    for item in contents.others:
        _check(item.entry)
    extents: dict[int, Extent] = {}
    for table in contents.tables:
        low, high = table.span
        known = extents.get(base(table.clock))
        if known is None:
            extents[base(table.clock)] = Extent(low, high, set(table.devices))
        else:
            known.from_us, known.to_us = min(low, known.from_us), max(high, known.to_us)
            known.devices.update(table.devices)
    if sum(len(e.devices) for e in extents.values()) > MAX_BATCH_DEVICES:
        raise Malformed(f"a batch names at most {MAX_BATCH_DEVICES} devices")
    # By seq, in whatever order they stand in the body: of two ends of an order the one with the lower seq counts.
    others = sorted(contents.others, key=lambda item: item.places[0])
    return BatchFacts(contents.samples, contents.readings, extents, tuple(others))


def check_snapshot(snapshot: Snapshot) -> None:
    """Look at the devices of a snapshot.

    Raises:
        Malformed: there are too many.
    """
    if len({c.device for c in snapshot.columns}) > MAX_BATCH_DEVICES:
        raise Malformed(f"a snapshot names at most {MAX_BATCH_DEVICES} devices")


def _check(entry: Entry) -> None:
    if isinstance(entry, Gap):
        within = (entry.from_us or 0, entry.to_us or 0)
        if not 0 <= entry.lost <= COUNT_BOUND:
            raise Malformed(f"a gap of {entry.lost} lost samples")
    elif isinstance(entry, ClockFix):
        within = (entry.offset_us, entry.error_us)
        if not 0 <= entry.boot < 2**63:
            raise Malformed(f"a clock fix for boot {entry.boot}")
    elif isinstance(entry, Alarm):
        within = (entry.raised_us, entry.time_us, entry.respond_by_us or 0, entry.until_us or 0)
        _check_boot("an alarm", entry.boot)
        _check_values("alarm", entry.values)
    elif isinstance(entry, Mark):
        within = (entry.time_us,)
        _check_boot("a mark", entry.boot)
        _check_values("mark", entry.values)
    elif isinstance(entry, Result):
        within = (entry.time_us,)
        _check_boot("a result", entry.boot)
        if not entry.order:
            raise Malformed("a result names no order")
        _check_values("result", {"read_back": entry.read_back})
    elif isinstance(entry, Visit):
        within = (entry.time_us, entry.until_us or 0)
        _check_boot("a visit", entry.boot)
        if not entry.visit or not entry.by:
            raise Malformed("a visit names no id, or nobody")
        if entry.code is not None and not 0 <= entry.code < 2**63:
            raise Malformed(f"a visit with the code {entry.code}")
    elif isinstance(entry, Decisions):
        within = _check_decisions(entry)
    elif isinstance(entry, Health):
        within = (entry.time_us,)
        if not 0 < entry.interval_s <= 86_400:
            raise Malformed(f"a health interval of {entry.interval_s} s; it lies between 0 and one day")
        ages = (entry.uptime_s, entry.outbox_oldest_s or 0, entry.last_ack_s or 0)
        if not all(map(math.isfinite, ages)):
            raise Malformed("an age in health is no number")
        _check_values("health", entry.counters)
    else:
        within = ()
    name = type(entry).__name__.lower()
    if any(abs(t) > TIME_BOUND_US for t in within):
        raise Malformed(f"a time in {name} lies beyond 2^62 microseconds")
    try:
        size = len(msgspec.msgpack.encode(entry))
    except (OverflowError, UnicodeEncodeError) as error:
        raise Malformed(f"{name}: {error}") from error
    if isinstance(entry, Alarm | Mark) and size > MAX_ALARM_BYTES:
        raise Malformed(f"{name} has {size} bytes; at most {MAX_ALARM_BYTES}")


def _check_decisions(entry: Decisions) -> tuple[int, ...]:
    """The times in it."""
    _check_boot("who decides", entry.boot)
    if sum(len(d.devices) for d in entry.decided) > MAX_DECIDED:
        raise Malformed(f"who decides is said of more than {MAX_DECIDED} points at once")
    for decision in entry.decided:
        _check_values("decisions", {decision.point: decision.value})
    return (entry.time_us, *(d.until_us or 0 for d in entry.decided))


def _check_values(name: str, values: Mapping[str, Value]) -> None:
    for point, value in values.items():
        if (why := why_unstorable(value)) is not None:
            raise Malformed(f"{name}, {point[:MAX_NAME_CHARS]}: {why}")


def _check_boot(what: str, boot: int | None) -> None:
    if boot is not None and not 0 <= boot < 2**63:
        raise Malformed(f"{what} of boot {boot}")
