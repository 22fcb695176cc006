"""City: all devices as their rosters describe them, and what else a row of the city's latest needs of the store.

What rosters say is decoded once and kept by node, until its roster or the set of its devices changes: of a city that
stands still a question reads a row a node. Only devices that several nodes have named, or that an operator has
assigned, are looked up one by one.

Bounds: one entry a device that is known, as many as `cloud.sqlite.interned` lets nodes have.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from cloud.sqlite.decided import of_all
from cloud.sqlite.view_builder import claims_of, owners
from cloud.views.answers import DeviceSeen, seen_as
from cloud.views.city_latest import Standing
from cloud.views.contract import Fix, LatestAsked
from cloud.views.decided import ByPoint, DecidedAt, PointDecided
from cloud.views.reports import decided_seen
from wire.device import Device, Point
from wire.entries import Alarm
from wire.time import Micros

NOBODY: Final = ""
_Profiles = dict[str, tuple[Point, ...]]
_Signature = tuple[int, str, int]  # a roster's position and digest, and how many devices the node has


class KnownNode(msgspec.Struct, frozen=True):
    """The devices of a node that are its own, by id, each with the points of its profile. `changed` are those about
    which the store has something new since the position that was asked for; None stands for all of them. `decided` is
    who decides their points, where that was asked for."""

    name: str
    devices: Sequence[tuple[DeviceSeen, tuple[Point, ...]]]
    fixes: Mapping[int, Fix]
    standing: Mapping[str, Standing]
    changed: Collection[str] | None
    decided: Mapping[str, Mapping[str, PointDecided]]


class _Shown:
    """Who decides as it is shown; what the same words have said of many points is worked out once."""

    def __init__(self) -> None:
        self._known: dict[int, PointDecided] = {}  # by what was said, which is held meanwhile; the times of no boot

    def __call__(self, said: ByPoint, fixes: Mapping[int, Fix]) -> dict[str, PointDecided]:
        return {point: self._one(one, fixes) for point, one in said.items()}

    def _one(self, said: DecidedAt, fixes: Mapping[int, Fix]) -> PointDecided:
        if said.boot is not None:
            return decided_seen(said, fixes)
        if (known := self._known.get(id(said))) is None:
            known = self._known[id(said)] = decided_seen(said, fixes)
        return known


class CityDevices:
    """Asked in readers' threads; what two of them decode at once is the same."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[_Signature, Sequence[tuple[DeviceSeen, tuple[Point, ...]]]]] = {}
        self._shared: set[str] = set()  # whose owner may have changed without a word of their own node
        self._standing: dict[int, dict[str, Standing]] = {}  # as it was when it was read last
        self._moved: dict[tuple[int, str], int] = {}  # where the log stood when another one was seen of a device
        self._since: int | None = None  # where the log stood when all this was seen first

    def knowing(self, asked: LatestAsked) -> LatestAsked:
        """What is asked; for all that is meant, where the cursor is older than what is known here of changes that no
        node has told of: an assignment that was undone, an alarm that ended with a lost card."""
        if asked.after is None or (self._since is not None and asked.after >= self._since):
            return asked
        return msgspec.structs.replace(asked, after=None)

    def read(
        self,
        connection: sqlite3.Connection,
        nodes: frozenset[str],
        after: int | None,
        position: int,
        *,
        decided: bool = False,
    ) -> list[KnownNode]:
        """All nodes by name, or those named. `position` is where the log stands, or stood a moment ago; `decided` asks
        who decides."""
        rows = connection.execute(
            "SELECT node_no, name, ifnull(position, 0), ifnull(digest, ''),"
            " (SELECT count(*) FROM devices d WHERE d.node_no = n.node_no)"
            " FROM nodes n LEFT JOIN rosters USING (node_no) ORDER BY name"
        ).fetchall()
        shared = _shared(connection)
        self._shared |= shared.keys()
        fixes, fixed = _fixes(connection)
        standing = _standing(connection)
        self._note(standing, position)
        moved = {} if after is None else self._moved_since(after)
        if self._since is None:
            self._since = position
        said = of_all(connection) if decided else {}
        seen = _Shown()
        found: list[KnownNode] = []
        for node_no, name, *signature in rows:
            if nodes and name not in nodes:
                continue
            devices = self._of(connection, node_no, name, (signature[0], signature[1], signature[2]))
            if shared:
                devices = [(_owned(seen, shared), points) for seen, points in devices if _keeps(seen, shared)]
            everything = after is None or signature[0] > after or fixed.get(node_no, 0) > after
            heard = said.get(node_no, {})
            new = () if after is None else {device for device, (_, last) in heard.items() if last > after}
            found.append(
                KnownNode(
                    name=name,
                    devices=devices,
                    fixes=fixes.get(node_no, {}),
                    standing=standing.get(node_no, {}),
                    changed=None if everything else self._shared.union(moved.get(node_no, ()), new),
                    decided={device: seen(by_point, fixes.get(node_no, {})) for device, (by_point, _) in heard.items()},
                )
            )
        return found

    def _note(self, standing: dict[int, dict[str, Standing]], position: int) -> None:
        """An alarm may also go without a word of its node: with a card that is lost."""
        before, self._standing = self._standing, standing
        for node_no in standing.keys() | before.keys():
            now, then = standing.get(node_no, {}), before.get(node_no, {})
            for device in now.keys() | then.keys():
                if now.get(device) != then.get(device):
                    self._moved[node_no, device] = position

    def _moved_since(self, after: int) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        for (node_no, device), position in list(self._moved.items()):
            if position >= after:
                found.setdefault(node_no, set()).add(device)
        return found

    def _of(
        self, connection: sqlite3.Connection, node_no: int, name: str, signature: _Signature
    ) -> Sequence[tuple[DeviceSeen, tuple[Point, ...]]]:
        kept = self._kept.get(node_no)
        if kept is not None and kept[0] == signature:
            return kept[1]
        row = connection.execute("SELECT profiles FROM rosters WHERE node_no = ?", (node_no,)).fetchone()
        profiles = {} if row is None else msgspec.json.decode(row[0], type=_Profiles)
        rows = connection.execute(
            "SELECT d.id, r.body FROM devices d LEFT JOIN rostered r USING (node_no, device_no)"
            " WHERE d.node_no = ? ORDER BY d.id",
            (node_no,),
        )
        devices: list[tuple[DeviceSeen, tuple[Point, ...]]] = []
        for device, body in rows:
            seen = seen_as(device, name, None if body is None else msgspec.json.decode(body, type=Device), ())
            devices.append((seen, profiles.get(seen.profile or "", ())))
        self._kept[node_no] = (signature, devices)
        return devices


def _shared(connection: sqlite3.Connection) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The owner, and all whose claims stand, of each device that several nodes have named or that is assigned."""
    rows = connection.execute(
        "SELECT id FROM devices GROUP BY id HAVING count(*) > 1 UNION SELECT device FROM assignments"
    ).fetchall()
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for (device,) in rows:
        claims = claims_of(connection, device)
        owner = next((c.node for c in claims if c.active), NOBODY)
        nodes = owners(claims)
        found[device] = (owner, nodes if len(nodes) > 1 else ())
    return found


def _keeps(seen: DeviceSeen, shared: Mapping[str, tuple[str, tuple[str, ...]]]) -> bool:
    return seen.id not in shared or shared[seen.id][0] == seen.node


def _owned(seen: DeviceSeen, shared: Mapping[str, tuple[str, tuple[str, ...]]]) -> DeviceSeen:
    return msgspec.structs.replace(seen, conflict=shared[seen.id][1]) if seen.id in shared else seen


def _fixes(connection: sqlite3.Connection) -> tuple[dict[int, dict[int, Fix]], dict[int, int]]:
    """By node: what to add to the times of its boots, and the position of the last such word."""
    found: dict[int, dict[int, Fix]] = {}
    last: dict[int, int] = {}
    for node_no, boot, position, offset_us, error_us in connection.execute(
        "SELECT node_no, boot, position, offset_us, error_us FROM fixes"
    ):
        found.setdefault(node_no, {})[boot] = Fix(Micros(offset_us), Micros(error_us))
        last[node_no] = max(position, last.get(node_no, 0))
    return found, last


def _standing(connection: sqlite3.Connection) -> dict[int, dict[str, Standing]]:
    """The alarms that stand, by node and device."""
    found: dict[int, dict[str, Standing]] = {}
    for node_no, body in connection.execute("SELECT node_no, body FROM alarms WHERE state <> 'cleared'"):
        alarm = msgspec.msgpack.decode(body, type=Alarm)
        devices = found.setdefault(node_no, {})
        if (standing := devices.get(alarm.device)) is None:
            devices[alarm.device] = Standing(1, alarm.severity)
        else:
            standing.add(alarm.severity)
    return found
