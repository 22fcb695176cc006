"""Events: what is in the log, as CloudEvents 1.0 in JSON, one for each sample and each other entry.

`source` and `id` (node/epoch/lane/seq) never change, whenever and however often an entry is sent: a reader that has
seen an id has seen the entry. The rest says what is known when it is sent: the kind from the roster, the time
corrected by the boot's clock fix where there is one. What was old when it was taken (`cloud.log.outline.late`) has the
attribute `backlog`.

Bounds: of one batch SLICE_BYTES of events are made at a time, and one event more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from cloud.log.batch_facts import SYNCED, base
from cloud.log.contract import Record
from cloud.log.notices import Announcement, Notice
from cloud.log.outline import EventType, field_of, late
from cloud.times import text
from cloud.views.answers import ClockWord
from cloud.views.contract import Fix
from cloud.views.latest import AHEAD, Cells, newest_of
from cloud.views.readings_page import clock_word, corrected, plain
from cloud.views.reports import OWN, alarm_seen, decisions_seen, mark_seen, result_seen, visit_seen
from wire.batch import Batch, Placed
from wire.columns import ABSENT, Columns
from wire.contents import Contents
from wire.device import Roster
from wire.entries import Alarm, ClockFix, Decisions, Entry, Gap, Health, Mark, Result, Severity, Unknown, Visit
from wire.orders import Order
from wire.sample import Value
from wire.time import Utc

NO_ORDERS: Final[Mapping[str, Order]] = {}
PREFIX: Final = "city.lamplighter."

SLICE_BYTES: Final = 1 << 20
EXPANDED: Final = 4_096  # readings that are expanded at a time


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


class NodeKnown(msgspec.Struct, frozen=True):
    """What is known of a node: kinds by device, clock fixes by boot."""

    kinds: Mapping[str, str]
    fixes: Mapping[int, Fix]


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
    backlog: bool = False  # an extension attribute


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """One event in JSON, at which place of its record it is, and what it is filtered by."""

    type: EventType | Literal["fresh"]
    node: str
    kind: str | None
    json: bytes
    device: str | None = None
    offset: int = 0
    points: Sequence[str] = ()
    severity: Severity | None = None


class Slice(msgspec.Struct, frozen=True):
    """Some of the events of a record, from the `start`-th on; `next` is where the others begin, None for no more. `end`
    is how many the record has up to the end of this slice."""

    events: tuple[Encoded, ...]
    start: int
    next: int | None
    end: int = 0

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
    points: Sequence[str] = ()
    severity: Severity | None = None
    dated: bool = True  # whether its time says when it was measured or done


def events_of_batch(
    record: Record,
    batch: Batch,
    kinds: Mapping[str, str],
    fixes: Mapping[int, Fix],
    start: int = 0,
    orders: Mapping[str, Order] = NO_ORDERS,
    *,
    readings: bool = True,
) -> Slice:
    """The events of a batch, always in the same order: from the `start`-th on, at most SLICE_BYTES and one.

    `kinds` are those of the node's devices, `orders` what is known of those that it speaks of, by id. Without
    `readings` those are left out, and cost nothing; the others keep their offsets.
    """
    stem = f"{batch.node}/{batch.epoch}/{batch.lane.value}/"
    encoder = msgspec.json.Encoder()
    found: list[Encoded] = []
    size = 0
    known = _Known(record, batch.node, kinds, fixes, orders)
    at = 0  # the offset of the next event
    items: Iterable[Placed] = batch.entries
    if not readings and isinstance(batch.entries, Contents):
        at, items = batch.entries.samples, batch.entries.others
    for item in items:
        width = _width(item.entry)
        left = max(0, start - at)
        if left >= width or (not readings and isinstance(item.entry, Columns)):
            at += width
            continue
        for offset, (place, parts) in enumerate(_parts(known, item, left), at + left):
            if size >= SLICE_BYTES:
                return Slice(tuple(found), start, offset, offset)
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
                backlog=parts.dated and late(parts.time_us, record.received_us),
            )
            json = encoder.encode(event)
            found.append(
                Encoded(parts.type, batch.node, kind, json, parts.device, offset, parts.points, parts.severity)
            )
            size += len(json)
        at += width
    return Slice(tuple(found), start, None, at)


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
    return Slice((Encoded("ledger", finding.node, None, msgspec.json.encode(event)),), 0, None, 1)


def fresh_event(node: str, device: str, cells: Cells, known: NodeKnown, now_us: Utc) -> Encoded | None:
    """What a snapshot has said of a device, as of its newest moment; None where that is yet to come."""
    newest = newest_of([cells], known.fixes, now_us).items()
    there = {point: found for point, found in newest if found[1] != AHEAD}
    if not there:
        return None
    time_us, base_, _ = max(there.values(), key=lambda found: found[0])
    of_then = {point: candidate for point, (moment, of, candidate) in there.items() if (moment, of) == (time_us, base_)}
    kind = known.kinds.get(device)
    data = Reading(
        node=node,
        device=device,
        kind=kind,
        time_us=time_us,
        clock=clock_word(base_, known.fixes),
        boot=None if base_ == SYNCED else base_,
        values={point: plain(value) for point, (_, _, value, _) in of_then.items()},
        quality={point: mark for point, (_, _, _, mark) in of_then.items() if mark is not None},
    )
    event = CloudEvent(
        specversion="1.0",
        id=f"{node}/fresh/{device}/{time_us}",
        source=f"/nodes/{node}",
        type=f"{PREFIX}fresh",
        time=text(time_us),
        datacontenttype="application/json",
        data=data,
        subject=device,
    )
    return Encoded("fresh", node, kind, msgspec.json.encode(event), device, 0, tuple(of_then))


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
    severity = field_of(told.data, "severity") if told.type == "alarm" else None
    point = field_of(told.data, "point")
    points = (point,) if point else ()
    kind, device = told.device_kind or None, told.subject or None
    return Slice((Encoded(told.type, told.node, kind, body, device, 0, points, severity),), 0, None, 1)


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
    points = tuple(columns.cells)
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
        named = points if len(data.values) == len(points) else tuple(data.values)
        yield _Parts("reading", columns.device, moment, data, named, dated=boot is None or word == "corrected")


def _other(known: _Known, entry: Entry) -> _Parts | None:
    record, node = known.record, known.node
    data: dict[str, Any] = {"node": node}
    match entry:
        case Alarm():
            alarm = alarm_seen(node, entry, known.fixes)
            dated = alarm.clock != "estimated"
            return _Parts("alarm", entry.device, alarm.time_us, alarm, severity=entry.severity, dated=dated)
        case Mark():
            mark = mark_seen(node, entry, known.fixes)
            return _Parts("mark", entry.device, mark.time_us, mark, dated=mark.clock != "estimated")
        case Decisions():  # of many devices at once, and of none of them alone
            decisions = decisions_seen(node, entry, known.fixes)
            return _Parts("decisions", None, decisions.time_us, decisions, dated=decisions.clock != "estimated")
        case Result():
            result = result_seen(node, entry, known.fixes, known.orders.get(entry.order))
            points = (result.point,) if result.point else ()
            return _Parts("result", result.device, result.time_us, result, points, dated=result.clock != "estimated")
        case Visit():
            visit = visit_seen(node, entry, known.fixes)
            return _Parts("visit", visit.device, visit.time_us, visit, dated=visit.clock != "estimated")
        case Health():
            data |= msgspec.to_builtins(entry)
            return _Parts("health", None, entry.time_us, data, dated=entry.clock_synced)
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
