"""Events: what is in the log, as CloudEvents 1.0 in JSON, one for each sample and each other entry.

`source` and `id` (node/epoch/lane/seq) never change, whenever and however often an entry is sent: a reader that has
seen an id has seen the entry. The rest says what is known when it is sent: the kind from the roster, the time
corrected by the boot's clock fix where there is one.

Bounds: of one batch SLICE_BYTES of events are made at a time, and one event more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from cloud.log.batch_facts import base
from cloud.log.contract import Record
from cloud.log.notices import Announcement, Notice
from cloud.times import text
from cloud.views.answers import ClockWord
from cloud.views.contract import Fix
from cloud.views.readings_page import clock_word, corrected, plain
from cloud.views.reports import OWN, alarm_seen, decisions_seen, mark_seen, result_seen, visit_seen
from wire.batch import Batch, Placed
from wire.columns import ABSENT, Columns
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Entry, Gap, Health, Mark, Result, Unknown, Visit
from wire.orders import Order
from wire.sample import Value
from wire.time import Utc

NO_ORDERS: Final[Mapping[str, Order]] = {}
PREFIX: Final = "city.lamplighter."

SLICE_BYTES: Final = 1 << 20
EXPANDED: Final = 4_096  # readings that are expanded at a time

EventType = Literal[
    "reading",
    "alarm",
    "mark",
    "decisions",
    "order",
    "result",
    "visit",
    "code",
    "area",
    "clock_fix",
    "gap",
    "health",
    "roster",
    "ledger",
]
TYPES: Final[tuple[EventType, ...]] = get_args(EventType)


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`data` of a reading: one sample. `boot` is set where the time was estimated, for a later clock fix."""

    node: str
    device: str
    kind: str | None
    time_us: Utc
    clock: ClockWord
    boot: int | None
    values: Mapping[str, Value]
    quality: Mapping[str, str]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The envelope. `specversion` has no default here, for it is always written."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    datacontenttype: str
    data: Any
    subject: str | msgspec.UnsetType = msgspec.UNSET


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """One event in JSON, and what it is filtered by."""

    type: EventType
    node: str
    kind: str | None
    json: bytes
    device: str | None = None


class Slice(msgspec.Struct, frozen=True):
    """Some of the events of a record, from the `start`-th on; `next` is where the others begin, None for no more."""

    events: tuple[Encoded, ...]
    start: int
    next: int | None

    @property
    def size(self) -> int:
        """Bytes of JSON."""
        return sum(len(e.json) for e in self.events)


class _Known(msgspec.Struct, frozen=True):
    record: Record
    node: str
    kinds: Mapping[str, str]
    fixes: Mapping[int, Fix]
    orders: Mapping[str, Order]


class _Parts(msgspec.Struct, frozen=True):
    type: EventType
    device: str | None
    time_us: Utc
    data: Any


def events_of_batch(
    record: Record,
    batch: Batch,
    kinds: Mapping[str, str],
    fixes: Mapping[int, Fix],
    start: int = 0,
    orders: Mapping[str, Order] = NO_ORDERS,
) -> Slice:
    """The events of a batch, always in the same order: from the `start`-th on, at most SLICE_BYTES and one.

    `kinds` are those of the node's devices, `orders` what is known of those that it speaks of, by id.
    """
    stem = f"{batch.node}/{batch.epoch}/{batch.lane.value}/"
    encoder = msgspec.json.Encoder()
    found: list[Encoded] = []
    size = 0
    left = start
    known = _Known(record, batch.node, kinds, fixes, orders)
    for item in batch.entries:
        width = _width(item.entry)
        if left >= width:
            left -= width
            continue
        for place, parts in _parts(known, item, left):
            if size >= SLICE_BYTES:
                return Slice(tuple(found), start, start + len(found))
            kind = None if parts.device is None else kinds.get(parts.device)
            event = CloudEvent(
                specversion="1.0",
                id=f"{stem}{batch.first_seq + place}",
                source=f"/nodes/{batch.node}",
                type=PREFIX + parts.type,
                time=text(parts.time_us),
                datacontenttype="application/json",
                data=parts.data,
                subject=msgspec.UNSET if parts.device is None else parts.device,
            )
            found.append(Encoded(parts.type, batch.node, kind, encoder.encode(event), parts.device))
            size += len(found[-1].json)
        left = 0
    return Slice(tuple(found), start, None)


def _width(entry: Entry) -> int:
    """How many events an entry makes."""
    return entry.n if isinstance(entry, Columns) else int(not isinstance(entry, Unknown))


def events_of_notice(notice: Notice) -> Slice:
    """The event of what the aggregator itself has noticed, decided or taken from an operator."""
    if notice.told is not None:
        return _told(notice.id, notice.told)
    finding = notice.finding
    assert finding is not None
    event = CloudEvent(
        specversion="1.0",
        id=notice.id,
        source=f"/nodes/{finding.node}",
        type=f"{PREFIX}ledger",
        time=text(finding.time_us),
        datacontenttype="application/json",
        data={"node": finding.node, "finding": finding.kind, **finding.detail},
    )
    return Slice((Encoded("ledger", finding.node, None, msgspec.json.encode(event)),), 0, None)


def _told(name: str, told: Announcement) -> Slice:
    event = CloudEvent(
        specversion="1.0",
        id=name,
        source=OWN,
        type=PREFIX + told.type,
        time=text(told.time_us),
        datacontenttype="application/json",
        data=told.data,
        subject=told.subject or msgspec.UNSET,
    )
    body = msgspec.json.encode(event)
    return Slice((Encoded(told.type, told.node, told.device_kind or None, body, told.subject or None),), 0, None)


def _parts(known: _Known, item: Placed, start: int) -> Iterator[tuple[int, _Parts]]:
    entry = item.entry
    if isinstance(entry, Columns):
        step = max(1, EXPANDED // max(1, len(entry.cells)))
        for at in range(start, entry.n, step):
            run = entry.cut(at, at + step)
            yield from zip(item.places[at : at + step], _readings(known, run), strict=True)
    elif (parts := _other(known, entry)) is not None:
        yield item.places[0], parts


def _readings(known: _Known, columns: Columns) -> Iterator[_Parts]:
    fixes = known.fixes
    n = columns.n
    base_ = base(columns.clock)
    word = clock_word(base_, fixes)
    boot = None if columns.clock.synced else columns.clock.boot
    kind = known.kinds.get(columns.device)
    points = list(columns.cells)
    rows = zip(*(c.values(n) for c in columns.cells.values()), strict=True) if points else [()] * n
    qualities = [(p, c.qualities(n)) for p, c in columns.cells.items() if c.quality]
    for i, (time_us, row) in enumerate(zip(columns.times, rows, strict=True)):
        moment = corrected(time_us, base_, fixes)
        data = Reading(
            node=known.node,
            device=columns.device,
            kind=kind,
            time_us=moment,
            clock=word,
            boot=boot,
            values={p: plain(v) for p, v in zip(points, row, strict=True) if v is not ABSENT},
            quality={p: text_ for p, run in qualities if (text_ := run[i]) is not None},
        )
        yield _Parts("reading", columns.device, moment, data)


def _other(known: _Known, entry: Entry) -> _Parts | None:
    record, node = known.record, known.node
    data: dict[str, Any] = {"node": node}
    match entry:
        case Alarm():
            alarm = alarm_seen(node, entry, known.fixes)
            return _Parts("alarm", entry.device, alarm.time_us, alarm)
        case Mark():
            mark = mark_seen(node, entry, known.fixes)
            return _Parts("mark", entry.device, mark.time_us, mark)
        case Decisions():  # of many devices at once, and of none of them alone
            decisions = decisions_seen(node, entry, known.fixes)
            return _Parts("decisions", None, decisions.time_us, decisions)
        case Result():
            result = result_seen(node, entry, known.fixes, known.orders.get(entry.order))
            return _Parts("result", result.device, result.time_us, result)
        case Visit():
            visit = visit_seen(node, entry, known.fixes)
            return _Parts("visit", visit.device, visit.time_us, visit)
        case Health():
            return _Parts("health", None, entry.time_us, data | msgspec.to_builtins(entry))
        case Gap():
            moment = record.received_us if entry.to_us is None else entry.to_us
            return _Parts("gap", None, moment, data | msgspec.to_builtins(entry))
        case ClockFix():
            return _Parts("clock_fix", None, record.received_us, data | msgspec.to_builtins(entry))
        case Roster():
            data["digest"] = entry.digest().hex()
            data["devices"] = msgspec.to_builtins(entry.devices)
            return _Parts("roster", None, record.received_us, data)
        case _:
            return None
