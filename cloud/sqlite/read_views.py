"""The views in SQLite, as they are asked, also in processes that only read. How they come about is in
`cloud.sqlite.view_builder` and `cloud.views.latest`.

Promises and bounds as `cloud.views.contract` has them. Every answer comes from one read transaction; `latest` is joined
to it from memory afterwards, and is never older than that.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial

import msgspec

from cloud.sqlite import decided, reports
from cloud.sqlite.city import CityDevices, KnownNode
from cloud.sqlite.interned import load_streams
from cloud.sqlite.latest_table import LatestTable
from cloud.sqlite.pieces import pieces_of
from cloud.sqlite.readers import Readers
from cloud.sqlite.view_builder import DeviceClaim, claims_of, owners
from cloud.times import Now, text
from cloud.views.answers import (
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
    PointsNow,
    ReadingsPage,
    WrittenOff,
    seen_as,
)
from cloud.views.city_latest import CHUNK, now_of, shown, with_decided
from cloud.views.contract import (
    MAX_ALARMS_SHOWN,
    MAX_DEVICES_SHOWN,
    AlarmsAsked,
    Fix,
    KnownDevice,
    LatestAsked,
    ReadingsAsked,
    TargetsAsked,
    VisitAt,
)
from cloud.views.latest import latest_of
from cloud.views.ledger import MAX_CONFLICTS, MAX_GAPS, GapPlace, ledger_of
from cloud.views.readings_page import PageWindow, page, parse_cursor
from cloud.views.reports import alarm_seen, decided_seen, lives_by_seen
from cloud.views.silence import Hearing, LastHeard
from cloud.views.visits import MAX_LOOKED, NEWEST, technicians
from wire.device import Device, Point
from wire.entries import Alarm, Gap, Health, Result
from wire.time import Utc

_Profiles = dict[str, tuple[Point, ...]]
_SEEN = (
    "SELECT d.id, n.name, r.body FROM devices d JOIN nodes n USING (node_no)"
    " LEFT JOIN rostered r USING (node_no, device_no)"
)


class SqliteReadViews:
    """Does not own its readers; who opens the store does."""

    def __init__(
        self,
        *,
        readers: Readers,
        latest: LatestTable,
        heard: LastHeard,
        now: Now,
    ) -> None:
        self._readers = readers
        self._latest = latest
        self._heard = heard
        self._now = now
        self._devices = CityDevices()

    async def names(self) -> Sequence[str]:
        """The names of all nodes."""
        query = "SELECT name FROM nodes ORDER BY name"
        return [name for (name,) in await self._readers.ask(lambda connection: connection.execute(query).fetchall())]

    async def nodes(self, after: str, limit: int) -> NodesPage:
        """Nodes by name, after one."""

        def query(connection: sqlite3.Connection) -> NodesPage:
            rows = connection.execute(
                "SELECT node_no, name, (SELECT count(*) FROM rostered r WHERE r.node_no = n.node_no), digest"
                " FROM nodes n LEFT JOIN rosters USING (node_no) WHERE name > ? ORDER BY name LIMIT ?",
                (after, limit + 1),
            ).fetchall()
            nodes = tuple(self._summary(connection, *row) for row in rows[:limit])
            return NodesPage(nodes=nodes, next=rows[limit - 1][1] if len(rows) > limit else None)

        return await self._readers.ask(query)

    async def node(self, name: str) -> NodeDetail | None:
        """One node, or None."""

        def query(connection: sqlite3.Connection) -> NodeDetail | None:
            row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (name,)).fetchone()
            return None if row is None else self._detail(connection, row[0], name)

        return await self._readers.ask(query)

    async def devices(self, after: str, limit: int, kind: str | None, node: str | None) -> DevicesPage:
        """Devices by id, after one."""

        def query(connection: sqlite3.Connection) -> DevicesPage:
            ids = connection.execute(
                "SELECT DISTINCT d.id FROM devices d JOIN nodes n USING (node_no)"
                " LEFT JOIN rostered r USING (node_no, device_no)"
                " WHERE d.id > ?1 AND (?2 IS NULL OR r.kind = ?2) AND (?3 IS NULL OR n.name = ?3)"
                " ORDER BY d.id LIMIT ?4",
                (after, kind, node, limit + 1),
            ).fetchall()
            found: list[DeviceSeen] = []
            for (device,) in ids[:limit]:
                claim = _choose(claims_of(connection, device), node)
                seen = None if claim is None else _device(connection, device, claim)
                if seen is not None and kind in {None, seen.kind}:
                    found.append(seen)
            return DevicesPage(devices=tuple(found), next=ids[limit - 1][0] if len(ids) > limit else None)

        return await self._readers.ask(query)

    async def device(self, device: str, node: str | None) -> DeviceDetail | None:
        """One device, or None."""

        def query(connection: sqlite3.Connection) -> tuple[DeviceDetail, Mapping[int, Fix]] | None:
            claim = _choose(claims_of(connection, device), node)
            if claim is None:
                return None
            seen, fixes = _device(connection, device, claim), fixes_of(connection, claim.node_no)
            lived = decided.lived_by(connection, claim.node_no)
            said = decided.of_device(connection, claim.node_no, device)
            found = DeviceDetail(
                device=seen,
                points=_profiles(connection, claim.node_no).get(seen.profile or "", ()),
                latest={},
                decided={p: decided_seen(one, fixes) for p, one in said.items()},
                lives_by=None if lived is None else lives_by_seen(lived, fixes),
            )
            return found, fixes

        answer = await self._readers.ask(query)
        if answer is None:
            return None
        found, fixes = answer
        cells = self._latest.cells(found.device.node, device)
        return msgspec.structs.replace(found, latest=latest_of(cells, fixes, found.points, self._now()))

    def latest_mark(self) -> str:
        """What is another text whenever an answer of `latest` may be another one."""
        return f"{self._latest.through}.{self._latest.mark}"

    async def latest(self, asked: LatestAsked) -> CityLatest:
        """The newest of the devices that are meant."""
        asked = self._devices.knowing(asked)
        position = self._latest.through  # before the store is asked: what it knows beyond is told again by a feed
        names = asked.nodes if asked.after is None else frozenset[str]()  # one may have moved to another node
        read = partial(self._devices.read, nodes=names, after=asked.after, position=position, decided=asked.asks_who)
        nodes = await self._readers.ask(read)
        return CityLatest(position, self._chunks(asked, nodes), asked.after is None)

    async def _chunks(self, asked: LatestAsked, nodes: Sequence[KnownNode]) -> AsyncIterator[Sequence[LatestRow]]:
        """Rows of at most CHUNK devices that were looked at; in between the event loop is free."""
        for node in nodes:
            looked = node.devices if asked.after is not None else [d for d in node.devices if asked.describes(d[0])]
            await self._latest.fold(node.name, [device.id for device, _ in looked])
            for first in range(0, len(looked), CHUNK):
                rows = [
                    LatestRow(device, points, self._now_of(asked, node, device))
                    for device, points in looked[first : first + CHUNK]
                    if asked.after is None or self._changed(node, device.id, asked.after)
                ]
                yield rows if asked.after is not None else [row for row in rows if row.now is not None]
                await asyncio.sleep(0)

    def _changed(self, node: KnownNode, device: str, after: int) -> bool:
        return node.changed is None or device in node.changed or self._latest.changed(node.name, device, after)

    def _now_of(self, asked: LatestAsked, node: KnownNode, device: DeviceSeen) -> PointsNow | None:
        if not asked.describes(device):
            return None
        cells = self._latest.cells(node.name, device.id)
        now = now_of(cells, node.fixes, asked.points, self._now(), node.standing.get(device.id))
        now = with_decided(now, node.decided.get(device.id), asked.points)
        return now if shown(asked, now) else None

    async def readings(self, asked: ReadingsAsked) -> ReadingsPage | None:
        """A page of samples, or None."""
        after = None if asked.cursor is None else parse_cursor(asked.cursor)

        def query(connection: sqlite3.Connection) -> ReadingsPage | None:
            claim = _choose(claims_of(connection, asked.device), asked.node)
            if claim is None:
                return None
            fixes = fixes_of(connection, claim.node_no)
            window = PageWindow(asked.from_us if after is None else max(asked.from_us, after[0]), asked.to_us, after)
            pieces = pieces_of(connection, asked.device, claim, fixes, window)
            rows, cursor = page(pieces, window, asked.points, fixes, asked.limit)
            return ReadingsPage(device=asked.device, node=claim.node, rows=tuple(rows), next=cursor)

        return await self._readers.ask(query)

    async def alarms(self, asked: AlarmsAsked) -> tuple[Sequence[tuple[str, Alarm]], tuple[str, str] | None]:
        """A page of alarms, and where to go on."""
        return await self._readers.ask(lambda connection: reports.alarms_of(connection, asked))

    async def results(self, orders: Sequence[str]) -> Mapping[str, Sequence[tuple[str, Result]]]:
        """The stages of orders."""
        return await self._readers.ask(lambda connection: reports.results_of(connection, orders))

    async def visits(self, node: str, before: tuple[int, int], limit: int, *, acted: bool = True) -> Sequence[VisitAt]:
        """What a node has said of visits."""
        return await self._readers.ask(partial(reports.visits_of, node=node, before=before, limit=limit, acted=acted))

    async def targets(self, asked: TargetsAsked, limit: int) -> Sequence[KnownDevice]:
        """The devices that an order is for."""
        return await self._readers.ask(lambda connection: reports.targets_of(connection, asked, limit))

    async def near(self, device: str) -> str | None:
        """The nearest known id."""
        return await self._readers.ask(lambda connection: reports.near(connection, device))

    async def described(self, node: str, devices: Collection[str] | None) -> Sequence[DeviceSeen]:
        """Devices as a node describes them."""
        return await self._readers.ask(lambda connection: reports.described_of(connection, node, devices))

    async def kinds(self, node: str) -> Mapping[str, str]:
        """The kind of each device in a node's roster."""
        return await self._readers.ask(
            lambda connection: dict(
                connection.execute(
                    "SELECT id, kind FROM rostered JOIN devices USING (node_no, device_no) JOIN nodes USING (node_no)"
                    " WHERE name = ?",
                    (node,),
                )
            )
        )

    async def fixes(self, node: str) -> Mapping[int, Fix]:
        """The clock fixes of a node."""

        def query(connection: sqlite3.Connection) -> Mapping[int, Fix]:
            row = connection.execute("SELECT node_no FROM nodes WHERE name = ?", (node,)).fetchone()
            return {} if row is None else fixes_of(connection, row[0])

        return await self._readers.ask(query)

    def _summary(
        self, connection: sqlite3.Connection, node_no: int, name: str, devices: int, digest: str | None
    ) -> NodeSummary:
        health = _health(connection, node_no)
        hearing = self._heard.of(name)
        silent = _silent_text(hearing, self._now())
        return NodeSummary(
            node=name,
            verdict=None if health is None or silent else health.verdict,
            last_heard=_heard_text(hearing),
            silent_since=silent,
            devices=devices,
            roster_digest=digest,
            ledger=_ledger(connection, node_no, name),
        )

    def _detail(self, connection: sqlite3.Connection, node_no: int, name: str) -> NodeDetail:
        health = _health(connection, node_no)
        hearing = self._heard.of(name)
        roster = connection.execute("SELECT digest FROM rosters WHERE node_no = ?", (node_no,)).fetchone()
        devices = connection.execute(f"{_SEEN} WHERE d.node_no = ? ORDER BY d.id LIMIT ?", (node_no, MAX_DEVICES_SHOWN))
        alarms = connection.execute(
            "SELECT body FROM alarms WHERE node_no = ? AND state <> 'cleared' ORDER BY position DESC, id LIMIT ?",
            (node_no, MAX_ALARMS_SHOWN),
        )
        fixes = fixes_of(connection, node_no)
        conflicts = {c.device: c.nodes for c in _conflicts(connection, node_no, name)}
        silent = _silent_text(hearing, self._now())
        return NodeDetail(
            node=name,
            verdict=None if health is None or silent else health.verdict,
            last_heard=_heard_text(hearing),
            silent_since=silent,
            ledger=_ledger(connection, node_no, name),
            health=health,
            roster_digest=None if roster is None else roster[0],
            devices=tuple(
                seen_as(device, name, _described(body), conflicts.get(device, ())) for device, _, body in devices
            ),
            alarms=tuple(alarm_seen(name, msgspec.msgpack.decode(body, type=Alarm), fixes) for (body,) in alarms),
            technicians=technicians(
                (at.visit for at in reports.visits_of(connection, name, NEWEST, MAX_LOOKED, acted=False)),
                fixes,
                self._now(),
            ),
            doubts=tuple(
                Doubt(whose=whose, what=what, why=why)
                for whose, what, why in connection.execute(
                    "SELECT whose, what, why FROM doubts WHERE node_no = ? ORDER BY whose, what", (node_no,)
                )
            ),
        )


def _described(body: bytes | None) -> Device | None:
    return None if body is None else msgspec.json.decode(body, type=Device)


def _heard_text(hearing: Hearing | None) -> str | None:
    return None if hearing is None else text(hearing.heard_us)


def _silent_text(hearing: Hearing | None, now_us: Utc) -> str | None:
    return text(hearing.heard_us) if hearing is not None and hearing.silent_at(now_us) else None


def _choose(claims: Sequence[DeviceClaim], node: str | None) -> DeviceClaim | None:
    return next((c for c in claims if (c.active if node is None else c.node == node)), None)


def _device(connection: sqlite3.Connection, device: str, claim: DeviceClaim) -> DeviceSeen:
    row = connection.execute(
        f"{_SEEN} WHERE d.node_no = ? AND d.device_no = ?", (claim.node_no, claim.device_no)
    ).fetchone()
    nodes = owners(claims_of(connection, device))
    return seen_as(device, claim.node, _described(row[2]), nodes if len(nodes) > 1 and claim.node in nodes else ())


def _conflicts(connection: sqlite3.Connection, node_no: int, name: str) -> list[Conflict]:
    doubled = connection.execute(
        "SELECT d.id FROM devices d WHERE d.node_no = ?1"
        " AND EXISTS (SELECT 1 FROM devices e WHERE e.id = d.id AND e.node_no <> ?1) ORDER BY d.id LIMIT ?2",
        (node_no, 10 * MAX_CONFLICTS),
    ).fetchall()
    found: list[Conflict] = []
    for (device,) in doubled:
        nodes = owners(claims_of(connection, device))
        if len(nodes) > 1 and name in nodes:
            found.append(Conflict(device=device, nodes=nodes))
    return found


def _ledger(connection: sqlite3.Connection, node_no: int, name: str) -> Ledger:
    streams = load_streams(connection, name)
    by_no = {s.order: s for s in streams}
    count, lost = connection.execute(
        "SELECT count(*), CAST(total(lost) AS INTEGER) FROM gaps WHERE node_no = ?",  # sum() may overflow
        (node_no,),
    ).fetchone()
    rows = connection.execute(
        "SELECT stream_no, first_seq, body FROM gaps WHERE node_no = ? ORDER BY position DESC, stream_no DESC,"
        " first_seq DESC LIMIT ?",
        (node_no, MAX_GAPS),
    ).fetchall()
    gaps = [
        GapPlace(
            epoch=by_no[stream_no].epoch,
            lane=by_no[stream_no].lane,
            first_seq=first_seq,
            gap=msgspec.json.decode(body, type=Gap),
        )
        for stream_no, first_seq, body in reversed(rows)
    ]
    written_off = {
        (by_no[stream_no].epoch, by_no[stream_no].lane): WrittenOff(by=by, time=text(time_us), note=note)
        for stream_no, by, time_us, note in connection.execute(
            "SELECT w.stream_no, by_whom, time_us, note FROM written_off w JOIN streams USING (stream_no)"
            " WHERE node_no = ?",
            (node_no,),
        )
    }
    return ledger_of(streams, gaps, count, lost, _conflicts(connection, node_no, name), written_off)


def _health(connection: sqlite3.Connection, node_no: int) -> Health | None:
    row = connection.execute("SELECT body FROM health WHERE node_no = ?", (node_no,)).fetchone()
    return None if row is None else msgspec.msgpack.decode(row[0], type=Health)


def _profiles(connection: sqlite3.Connection, node_no: int) -> _Profiles:
    row = connection.execute("SELECT profiles FROM rosters WHERE node_no = ?", (node_no,)).fetchone()
    return {} if row is None else msgspec.json.decode(row[0], type=_Profiles)


def fixes_of(connection: sqlite3.Connection, node_no: int) -> dict[int, Fix]:
    """The clock fixes of a node, by boot."""
    rows = connection.execute("SELECT boot, offset_us, error_us FROM fixes WHERE node_no = ?", (node_no,))
    return {boot: Fix(offset_us, error_us) for boot, offset_us, error_us in rows}
