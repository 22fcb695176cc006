"""Views in memory: a fake for tests, and a second opinion. Nothing is indexed, folded or saved.

Every question is answered by going over all batches again, so that the answers of the real store have something
simple to be compared with. Unbounded, and gone with the process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

import msgspec

from cloud.log.batch_facts import BatchFacts, base
from cloud.log.notices import Finding
from cloud.log.streams import Stream, begun
from cloud.memory.reports import alarms_in, results_in
from cloud.times import SECOND_US, Now, text
from cloud.views.answers import (
    SEVERITIES,
    CityLatest,
    Conflict,
    DeviceDetail,
    DeviceSeen,
    DevicesPage,
    Doubt,
    LatestRow,
    Ledger,
    NodeDetail,
    NodesPage,
    NodeSummary,
    PointLatest,
    PointsNow,
    ReadingsPage,
    Row,
    WrittenOff,
    seen_as,
)
from cloud.views.city_latest import shown, with_decided
from cloud.views.contract import AlarmsAsked, Fix, KnownDevice, LatestAsked, ReadingsAsked, TargetsAsked, VisitAt
from cloud.views.decided import ByPoint, LivedBy, last_of
from cloud.views.doubts import detail_of, doubt_of, doubts_of, fit
from cloud.views.latest import AHEAD_US
from cloud.views.ledger import MAX_GAPS, GapPlace, ledger_of
from cloud.views.readings_page import Key, clock_word, corrected, cursor_of, parse_cursor, plain
from cloud.views.reports import alarm_seen, decided_seen, lives_by_seen
from cloud.views.silence import LastHeard
from cloud.views.visits import MAX_VISITS, technicians
from groundwork.nearest import nearest
from wire.batch import Batch, Lane, Snapshot
from wire.columns import Columns
from wire.device import Device, Point, Roster
from wire.entries import Alarm, ClockFix, Decisions, Entry, Gap, Health, Result, Visit
from wire.sample import Sample
from wire.time import Utc

_SNAPSHOT = -1


class _Claim(msgspec.Struct):
    node: str
    first: int
    device: Device | None = None
    withdrawn: bool = False


class MemoryViews:
    """Keeps the batches, and looks at them all."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._batches: dict[int, tuple[Utc, Batch, BatchFacts]] = {}
        self._snapshots: list[tuple[int, Utc, Snapshot]] = []
        self._expanded: dict[int, list[tuple[str, int, Sample]]] = {}
        self._heard = LastHeard()
        self.assigned: dict[str, str] = {}  # device to node: what `cloud.memory.claims` knows
        self.barred: frozenset[str] = frozenset()
        self.written_off: dict[str, dict[tuple[int, Lane], WrittenOff]] = {}  # what `cloud.memory.write_offs` knows

    async def apply(self, position: int, received_us: Utc, batch: Batch, facts: BatchFacts) -> Sequence[Finding]:
        """Keep it, unless it is known."""
        before, doubted = self._claimed(batch.node), set(self._doubts(batch.node))
        self._batches[position] = (received_us, batch, facts)
        self._expanded[position] = [
            (item.entry.device, batch.first_seq + place, sample)
            for item in batch.entries
            if isinstance(item.entry, Columns)
            for place, sample in zip(item.places, item.entry.samples(), strict=True)
        ]
        self._heard.hear(batch.node, received_us, facts)
        new = self._claimed(batch.node) - before
        return [
            Finding(node=batch.node, kind="conflict", time_us=received_us, detail={"device": d, "nodes": nodes})
            for d in sorted(new)
            if len(nodes := self.owners(d)) > 1 and batch.node in nodes
        ] + self._unfit(batch.node, received_us, doubted)

    def _unfit(self, node: str, now_us: Utc, before: Collection[Doubt]) -> list[Finding]:
        fresh = [d for d in self._doubts(node) if d not in before]
        return [Finding(node=node, kind="unfit", time_us=now_us, detail=detail_of(fresh))] if fresh else []

    async def fresh(self, snapshot: Snapshot) -> None:
        """Keep it."""
        self._snapshots.append((max(self._batches, default=0), self._now(), snapshot))
        self._heard.hear(snapshot.node, self._now())

    async def names(self) -> Sequence[str]:
        """All of them."""
        return sorted(self._names())

    async def nodes(self, after: str, limit: int) -> NodesPage:
        """Nodes by name."""
        names = sorted(n for n in self._names() if n > after)
        nodes: list[NodeSummary] = []
        for name in names[:limit]:
            detail = await self.node(name)
            assert detail is not None
            roster = self._roster(name)
            nodes.append(
                NodeSummary(
                    node=name,
                    verdict=detail.verdict,
                    last_heard=detail.last_heard,
                    silent_since=detail.silent_since,
                    devices=0 if roster is None else len(roster[1].devices),
                    roster_digest=detail.roster_digest,
                    ledger=detail.ledger,
                )
            )
        return NodesPage(nodes=tuple(nodes), next=names[limit - 1] if len(names) > limit else None)

    async def node(self, name: str) -> NodeDetail | None:
        """One node."""
        if name not in self._names():
            return None
        roster = self._roster(name)
        health = [e for _, _, e in self._entries(name) if isinstance(e, Health)]
        alarms = {e.id: (p, e) for p, _, e in self._entries(name) if isinstance(e, Alarm)}
        fixes = await self.fixes(name)
        open_ = sorted((a for a in alarms.values() if a[1].state != "cleared"), key=lambda a: (-a[0], a[1].id))
        hearing = self._heard.of(name)
        silent = hearing is not None and hearing.silent_at(self._now())
        return NodeDetail(
            node=name,
            verdict=health[-1].verdict if health and not silent else None,
            last_heard=None if hearing is None else text(hearing.heard_us),
            silent_since=text(hearing.heard_us) if hearing is not None and silent else None,
            ledger=self._ledger(name),
            health=health[-1] if health else None,
            roster_digest=None if roster is None else roster[1].digest().hex(),
            devices=tuple(self._seen(d, name) for d in sorted(self._firsts(name))),
            alarms=tuple(alarm_seen(name, a, fixes) for _, a in open_),
            technicians=technicians((v.visit for v in self._visits(name)), fixes, self._now()),
            doubts=self._doubts(name),
        )

    async def devices(self, after: str, limit: int, kind: str | None, node: str | None) -> DevicesPage:
        """Devices by id."""
        nodes = self._names() if node is None else {node}
        ids = sorted({d for n in nodes for d in self._firsts(n) if d > after})
        found: list[DeviceSeen] = []
        for device in ids:
            claim = self._choose(device, node)
            if claim is not None:
                seen = self._seen(device, claim.node)
                if kind in {None, seen.kind}:
                    found.append(seen)
        return DevicesPage(devices=tuple(found[:limit]), next=found[limit - 1].id if len(found) > limit else None)

    async def device(self, device: str, node: str | None) -> DeviceDetail | None:
        """One device."""
        claim = self._choose(device, node)
        if claim is None:
            return None
        roster = self._roster(claim.node)
        seen = self._seen(device, claim.node)
        points = () if roster is None else roster[1].profiles.get(seen.profile or "", ())
        said, lived = self._decided(claim.node)
        fixes = await self.fixes(claim.node)
        return DeviceDetail(
            device=seen,
            points=points,
            latest=self._latest(claim.node, device, points),
            decided={p: decided_seen(one, fixes) for p, one in said.get(device, {}).items()},
            lives_by=None if lived is None else lives_by_seen(lived, fixes),
        )

    def latest_mark(self) -> str:
        """How much there is."""
        return f"{max(self._batches, default=0)}.{len(self._snapshots)}"

    async def latest(self, asked: LatestAsked) -> CityLatest:
        """All of them, whatever has changed."""
        rows: list[LatestRow] = []
        for device in sorted(self.known()):
            claim = self._choose(device, None)
            if claim is None:
                continue
            seen, roster = self._seen(device, claim.node), self._roster(claim.node)
            points = () if roster is None else roster[1].profiles.get(seen.profile or "", ())
            now = await self._now_of(seen, points, asked.points)
            if asked.asks_who:
                said, fixes = self._decided(claim.node)[0], await self.fixes(claim.node)
                who = {p: decided_seen(one, fixes) for p, one in said.get(device, {}).items()}
                now = with_decided(now, who, asked.points)
            meant = asked.describes(seen) and shown(asked, now)
            if meant or asked.after is not None:
                rows.append(LatestRow(seen, points, now if meant else None))
        rows.sort(key=lambda row: (row.device.node, row.device.id))
        return CityLatest(max(self._batches, default=0), _one(rows), asked.after is None)

    async def readings(self, asked: ReadingsAsked) -> ReadingsPage | None:
        """All samples, sorted, and a piece cut out."""
        after = None if asked.cursor is None else parse_cursor(asked.cursor)
        claim = self._choose(asked.device, asked.node)
        if claim is None:
            return None
        fixes = await self.fixes(claim.node)
        rows: list[tuple[Key, Row]] = []
        for _, batch, seq, sample in self.samples(claim.node, asked.device):
            moment = corrected(sample.time_us, base(sample.clock), fixes)
            values = {p: plain(v) for p, v in sample.values.items() if not asked.points or p in asked.points}
            key = (moment, batch.epoch, batch.lane.value, seq)
            if (
                (values or not asked.points)
                and asked.from_us <= moment < asked.to_us
                and (after is None or key > after)
            ):
                row = Row(
                    id=f"{batch.node}/{batch.epoch}/{batch.lane.value}/{seq}",
                    time=text(moment),
                    time_us=moment,
                    clock=clock_word(base(sample.clock), fixes),
                    values=values,
                    quality={p: q for p, q in sample.quality.items() if p in values},
                )
                rows.append((key, row))
        rows.sort(key=lambda r: r[0])
        more = len(rows) > asked.limit
        page = rows[: asked.limit]
        return ReadingsPage(
            device=asked.device,
            node=claim.node,
            rows=tuple(row for _, row in page),
            next=cursor_of(page[-1][0]) if more else None,
        )

    async def alarms(self, asked: AlarmsAsked) -> tuple[Sequence[tuple[str, Alarm]], tuple[str, str] | None]:
        """The last word on each."""
        return alarms_in({n: [e for _, _, e in self._entries(n)] for n in self._names()}, asked)

    async def results(self, orders: Sequence[str]) -> Mapping[str, Sequence[tuple[str, Result]]]:
        """The first word on each stage."""
        return results_in(
            (
                ((position, batch.first_seq + item.places[0]), batch.node, item.entry)
                for position, (_, batch, _) in sorted(self._batches.items())
                for item in batch.entries
            ),
            orders,
        )

    async def visits(self, node: str, before: tuple[int, int], limit: int, *, acted: bool = True) -> Sequence[VisitAt]:
        """All of them, the newest first."""
        found = [v for v in self._visits(node) if (v.position, v.seq) < before]
        return [v for v in found if acted or v.visit.act != "acted"][:limit]

    async def targets(self, asked: TargetsAsked, limit: int) -> Sequence[KnownDevice]:
        """Each device under its owner."""
        known = self.known()
        named = known if asked.devices is None else known & set(asked.devices)
        found: list[KnownDevice] = []
        for device in sorted(named):
            claim = self._choose(device, None)
            if claim is None:  # assigned to a node that has not named it
                continue
            meant = claim.device is not None and asked.takes(claim.device, claim.node)
            if meant or asked.devices is not None:
                roster = self._roster(claim.node)
                described = None if roster is None else claim.device
                points = () if roster is None or described is None else roster[1].profiles.get(described.profile, ())
                found.append(KnownDevice(device, claim.node, claim.device, points))
        return found[: limit + 1]

    async def near(self, device: str) -> str | None:
        """Of all names."""
        return nearest(device, sorted(self.known()))

    async def described(self, node: str, devices: Collection[str] | None) -> Sequence[DeviceSeen]:
        """From the roster, without who else has it."""
        asked = sorted(self.known() if devices is None else devices)
        claims = [(d, next((c for c in self._claims(d) if c.node == node), None)) for d in asked]
        return [seen_as(d, node, claim.device, ()) for d, claim in claims if claim is not None]

    async def kinds(self, node: str) -> Mapping[str, str]:
        """From the roster."""
        roster = self._roster(node)
        return {} if roster is None else {d.id: d.kind for d in roster[1].devices}

    async def fixes(self, node: str) -> Mapping[int, Fix]:
        """The last one a boot."""
        return {e.boot: Fix(e.offset_us, e.error_us) for _, _, e in self._entries(node) if isinstance(e, ClockFix)}

    def _ordered(self, node: str) -> Iterator[tuple[int, Utc, Batch, BatchFacts]]:
        for position in sorted(self._batches):
            received_us, batch, facts = self._batches[position]
            if batch.node == node:
                yield position, received_us, batch, facts

    def _entries(self, node: str) -> Iterator[tuple[int, Batch, Entry]]:
        for position, _, batch, _ in self._ordered(node):
            for item in batch.entries:
                yield position, batch, item.entry

    def _doubts(self, node: str) -> tuple[Doubt, ...]:
        """Of its roster, and of the ids of all that it has ever named."""
        roster = self._roster(node)
        found: set[Doubt] = set() if roster is None else set(doubts_of(roster[1]))
        found |= {doubt for d in self._firsts(node) if (doubt := doubt_of(d)) is not None}
        return tuple(sorted(found, key=lambda d: (d.whose, d.what)))

    def _decided(self, node: str) -> tuple[Mapping[str, ByPoint], LivedBy | None]:
        return last_of(e for _, _, e in self._entries(node) if isinstance(e, Decisions))

    def _visits(self, node: str) -> list[VisitAt]:
        found = [
            VisitAt(position, batch.first_seq + item.places[0], item.entry)
            for position, _, batch, _ in self._ordered(node)
            for item in batch.entries
            if isinstance(item.entry, Visit)
        ]
        return sorted(found, key=lambda v: (v.position, v.seq), reverse=True)[:MAX_VISITS]

    def samples(self, node: str, device: str) -> Iterator[tuple[int, Batch, int, Sample]]:
        """Each of a device's with the position of its batch, and its seq."""
        for position, _, batch, _ in self._ordered(node):
            for of, seq, sample in self._expanded[position]:
                if of == device:
                    yield position, batch, seq, sample

    def known(self) -> set[str]:
        """Every device that a node has named."""
        return {d for n in self._names() for d in self._firsts(n)}

    def runs(self, node: str) -> list[Stream]:
        """All of a node's."""
        streams: dict[tuple[int, Lane], Stream] = {}
        for position, received_us, batch, facts in self._ordered(node):
            stream = streams.setdefault((batch.epoch, batch.lane), begun(batch, position, received_us))
            stream.advance(batch, facts, received_us, position - 1)
        return list(streams.values())

    def _names(self) -> set[str]:
        return {b.node for _, b, _ in self._batches.values()} | {s.node for _, _, s in self._snapshots}

    def _roster(self, node: str) -> tuple[int, Roster] | None:
        rosters = [(p, e) for p, _, e in self._entries(node) if isinstance(e, Roster)]
        return rosters[-1] if rosters else None

    def _firsts(self, node: str) -> dict[str, int]:
        """Each device that the node has named, and where it did so first."""
        firsts: dict[str, int] = {}
        for position, _, entry in self._entries(node):
            named = [entry.device] if isinstance(entry, Columns) else []
            named += [d.id for d in entry.devices] if isinstance(entry, Roster) else []
            for device in named:
                firsts.setdefault(device, position)
        for head, _, snapshot in self._snapshots:
            for columns in snapshot.columns if snapshot.node == node else ():
                firsts[columns.device] = min(head, firsts.get(columns.device, head))
        return firsts

    def _claims(self, device: str) -> list[_Claim]:
        claims: list[_Claim] = []
        for node in self._names():
            first = self._firsts(node).get(device)
            if first is None:
                continue
            claim = _Claim(node, first)
            roster = self._roster(node)
            if roster is not None:
                claim.device = next((fit(d) for d in roster[1].devices if d.id == device), None)
                claim.withdrawn = claim.device is None and first < roster[0]
            claims.append(claim)
        claims.sort(key=lambda c: (c.device is None, c.first))
        return claims

    def owners(self, device: str) -> tuple[str, ...]:
        """Whose claims to a device stand, its owner first."""
        claims = self._claims(device)
        if device in self.assigned:
            return tuple(c.node for c in claims if c.node == self.assigned[device])
        stand = [c.node for c in claims if not c.withdrawn and c.node not in self.barred]
        return tuple(stand or [c.node for c in claims])

    def _claimed(self, node: str) -> set[str]:
        roster = self._roster(node)
        listed: set[str] = set() if roster is None else {d.id for d in roster[1].devices}
        return {d for d in self._firsts(node) if roster is None or d in listed or self._firsts(node)[d] > roster[0]}

    def _choose(self, device: str, node: str | None) -> _Claim | None:
        owner = next(iter(self.owners(device)), None) if node is None else node
        return next((c for c in self._claims(device) if c.node == owner), None)

    def _seen(self, device: str, node: str) -> DeviceSeen:
        known = next((c.device for c in self._claims(device) if c.node == node), None)
        nodes = self.owners(device)
        return seen_as(device, node, known, nodes if len(nodes) > 1 and node in nodes else ())

    def _latest(self, node: str, device: str, points: Sequence[Point]) -> dict[str, PointLatest]:
        fixes = {e.boot: Fix(e.offset_us, e.error_us) for _, _, e in self._entries(node) if isinstance(e, ClockFix)}
        samples = [(p, self._batches[p][0], s) for p, _, _, s in self.samples(node, device)]
        for _, received_us, snapshot in self._snapshots:
            for columns in snapshot.columns if snapshot.node == node else ():
                samples += [(_SNAPSHOT, received_us, s) for s in columns.samples() if columns.device == device]
        best: dict[str, tuple[bool, Utc, int, Sample]] = {}
        for position, received_us, sample in samples:
            time_us = corrected(sample.time_us, base(sample.clock), fixes)
            fits = not (sample.clock.synced and sample.time_us > received_us + AHEAD_US)
            moment = time_us if fits else received_us
            for point in sample.values:
                if point not in best or (fits, moment, position) >= best[point][:3]:
                    best[point] = (fits, moment, position, sample)
        described = {p.name: p for p in points}
        return {p: self._point(p, described.get(p), *best[p], fixes) for p in sorted(best)}

    async def _now_of(self, seen: DeviceSeen, points: Sequence[Point], wanted: Collection[str]) -> PointsNow:
        latest = {p: v for p, v in self._latest(seen.node, seen.id, points).items() if not wanted or p in wanted}
        said = {e.id: e for _, _, e in self._entries(seen.node) if isinstance(e, Alarm)}
        standing = [a.severity for a in said.values() if a.device == seen.id and a.state != "cleared"]
        newest = max(latest.values(), key=lambda v: (v.clock != "ahead", v.time_us), default=None)
        return PointsNow(
            time=None if newest is None else newest.time,
            time_us=None if newest is None else newest.time_us,
            clock=None if newest is None else newest.clock,
            values={p: v.value for p, v in latest.items()},
            quality={p: v.quality for p, v in latest.items() if v.quality != "good"},
            times={p: v.time for p, v in latest.items() if newest is not None and v.time_us != newest.time_us},
            clocks={p: v.clock for p, v in latest.items() if newest is not None and v.clock != newest.clock},
            alarms=len(standing),
            severity=SEVERITIES[max(map(SEVERITIES.index, standing))] if standing else None,
        )

    def _point(
        self,
        name: str,
        described: Point | None,
        fits: bool,
        moment: Utc,
        _position: int,
        sample: Sample,
        fixes: Mapping[int, Fix],
    ) -> PointLatest:
        age_s = (self._now() - moment) / SECOND_US
        stale_after_s = None if described is None else described.stale_after_s
        return PointLatest(
            value=plain(sample.values[name]),
            quality=sample.quality.get(name, "good"),
            unit="" if described is None else described.unit,
            time=text(moment),
            time_us=moment,
            clock=clock_word(base(sample.clock), fixes) if fits else "ahead",
            age_s=round(age_s, 3),
            stale=None if stale_after_s is None else age_s > stale_after_s or not fits,
        )

    def _ledger(self, node: str) -> Ledger:
        gaps = [
            GapPlace(epoch=batch.epoch, lane=batch.lane, first_seq=batch.first_seq + p.places[0], gap=p.entry)
            for _, _, batch, _ in self._ordered(node)
            for p in batch.entries
            if isinstance(p.entry, Gap)
        ]
        conflicts = [
            Conflict(device=d, nodes=nodes)
            for d in sorted(self._firsts(node))
            if len(nodes := self.owners(d)) > 1 and node in nodes
        ]
        lost = sum(g.gap.lost for g in gaps)
        return ledger_of(self.runs(node), gaps[-MAX_GAPS:], len(gaps), lost, conflicts, self.written_off.get(node, {}))


async def _one(rows: Sequence[LatestRow]) -> AsyncIterator[Sequence[LatestRow]]:
    yield rows
