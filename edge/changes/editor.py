"""Editor: a technician's change of the device list, from what they have typed to the node that goes by it.

It is tried with the whole configuration as the file would be, kept as a version, and then applied. One at a time; each
names the version that it was made from, so that nobody undoes what another has done meanwhile. What is to be read and
written is done in threads.

Bounds: those of `edge.changes.versions`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from drivers.contract import Now
from drivers.tables import Problem
from edge.changes.births import Births
from edge.changes.versions import Act, DeviceChange, ListVersion, ListVersions, Unusable, write_versions
from edge.sampling.lines import AttachedLine, DeviceTable

MAX_DETAIL_CHARS: Final = 200


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done: `table` is the whole table of `device` from then on; `number` the version to go back to."""

    act: Act
    device: str = ""
    table: dict[str, Any] | None = None
    number: int = 0


class Tried(msgspec.Struct, frozen=True):
    """A configuration that was tried. `problems` are all that is wrong with it, `devices` the ids of those that it was
    tried with, in their order. `config` is the node's, None where something is wrong."""

    problems: tuple[Problem, ...] = ()
    devices: tuple[str, ...] = ()
    config: Any = None

    def of_device(self, device: str) -> tuple[dict[str, str], list[Problem]]:
        """What is wrong with one device, by key of its table, and what else is wrong."""
        places = {f"device[{i}]" for i, d in enumerate(self.devices) if d == device}
        own: dict[str, str] = {}
        others: list[Problem] = []
        for problem in self.problems:
            place, _, key = problem.key.partition(".")
            if place in places:
                own.setdefault(key, problem.text)
            else:
                others.append(problem)
        return own, others


class Stale(Exception):
    """The list has changed since this was begun."""


class DeviceEditor:
    """Of one node. On the event loop."""

    def __init__(
        self,
        directory: Path,
        versions: ListVersions,
        *,
        counting: Sequence[DeviceChange],
        written: Callable[[], Mapping[str, dict[str, Any]]],
        attempt: Callable[[tuple[DeviceChange, ...], str], Tried],
        apply: Callable[[Any, Sequence[str], str], object],
        lines: Sequence[AttachedLine],
        births: Births,
        now: Now,
        unusable: str = "",
    ) -> None:
        """`written` gives the tables of the file as they stand there, by id; `attempt` tries the file with changes, the
        device that is named last. Both are called in threads. `apply` lets the node go by a configuration that was
        tried: the devices that are to be asked at once, and why. `lines` are those that the node has now. `unusable`:
        what was kept cannot be read."""
        self._directory = directory
        self.versions: ListVersions = versions
        self._counting: tuple[DeviceChange, ...] = tuple(counting)
        self._written, self._attempt, self._apply = written, attempt, apply
        self._lines, self.births, self._now = lines, births, now
        self._unusable: str = unusable
        self._turn = asyncio.Lock()

    @property
    def changes(self) -> tuple[DeviceChange, ...]:
        """Those that count now."""
        return self._counting

    @property
    def made(self) -> Mapping[str, ListVersion | None]:
        """The devices that are not as the file has them, each with the version that it is from, where that is known."""
        return {c.device: self.versions.made(c) for c in self._counting}

    def table(self, device: str) -> dict[str, Any] | None:
        """The table of a device as a file would have it; None where there is none."""
        found = next((line.tables[device] for line in self._lines if device in line.tables), None)
        return None if found is None else as_written(found)

    async def attempt(self, edit: Edit) -> Tried:
        """What would be wrong with a change, without making it.

        Raises:
            Unusable: it cannot be made at all.
        """
        return (await self._tried(edit))[0]

    async def make(self, edit: Edit, by: str, number: int) -> Tried:
        """Make a change that was begun from version `number`: on the card, and the node goes by it. Where something is
        wrong with it nothing is changed.

        Raises:
            Stale. Unusable: it cannot be kept.
        """
        async with self._turn:
            if number != self.versions.number:
                raise Stale
            tried, changes = await self._tried(edit)
            if tried.problems:
                return tried
            now_us, clock = self._now()
            version = ListVersion(
                number=self.versions.number + 1,
                by=by,
                time_us=now_us,
                synced=clock.synced,
                act=edit.act,
                device=edit.device,
                detail=self.detail(edit),
                changes=changes,
            )
            versions = self.versions.followed(version)
            await asyncio.to_thread(write_versions, self._directory, versions)
            fresh = self._fresh(changes) if edit.act == "back" else [edit.device] if edit.table is not None else []
            self.versions, self._counting, self._unusable = versions, changes, ""
            for device in fresh:
                self.births.note(device, by, edit.act, now_us)
            listed = msgspec.structs.replace(tried.config.listed, versions=versions)
            self._apply(msgspec.structs.replace(tried.config, listed=listed), fresh, f"{by} has changed its devices")
            return tried

    def detail(self, edit: Edit) -> str:
        """What it changes, in words that need no language."""
        if edit.act == "back":
            return str(edit.number)
        before, after = self.table(edit.device) or {}, edit.table or {}
        if edit.act not in ("replaced", "changed"):
            address: dict[str, Any] = {**before, **after}.get("address", {})
            found = [f"{k} {v}" for k, v in address.items()]
        else:
            old, new = _flat(before), _flat(after)
            keys = dict.fromkeys([*old, *new])
            found = [f"{k} {old.get(k, '–')} → {new.get(k, '–')}" for k in keys if old.get(k) != new.get(k)]
        return ", ".join(found)[:MAX_DETAIL_CHARS]

    async def _tried(self, edit: Edit) -> tuple[Tried, tuple[DeviceChange, ...]]:
        if self._unusable and edit.act != "back":
            raise Unusable(self._unusable)
        written = await asyncio.to_thread(self._written)
        changes = self._changes(edit, written)
        return await asyncio.to_thread(self._attempt, changes, edit.device), changes

    def _changes(self, edit: Edit, written: Mapping[str, dict[str, Any]]) -> tuple[DeviceChange, ...]:
        if edit.act == "back":
            found = self.versions.find(edit.number)
            if found is None:
                raise Unusable(f"version {edit.number} is not kept any more")
            return tuple(c for c in found if written.get(c.device) == c.was)  # who has edited the file since wins
        others = tuple(c for c in self._counting if c.device != edit.device)
        was = written.get(edit.device)
        if was == edit.table:  # as the file has it
            return others
        return (*others, DeviceChange(device=edit.device, was=was, now=edit.table))

    def _fresh(self, changes: Sequence[DeviceChange]) -> list[str]:
        """The devices for which other changes count now."""
        before, after = {c.device: c for c in self._counting}, {c.device: c for c in changes}
        return [d for d in {**before, **after} if before.get(d) != after.get(d) and (d not in after or after[d].now)]


def as_written(table: DeviceTable) -> dict[str, Any]:
    """A device's table without what is as it would be anyway."""
    whole: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(table))
    plain = {f.encode_name: f.default for f in msgspec.structs.fields(DeviceTable)}
    return {k: v for k, v in whole.items() if k == "address" or v not in (plain[k], [], {})}


def _flat(table: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        if key == "address":
            found |= {k: str(v) for k, v in cast("dict[str, object]", value).items()}
        elif key != "report":
            many = cast("list[object]", value) if isinstance(value, list) else [value]
            found[key] = ", ".join(map(str, many))
    return found
