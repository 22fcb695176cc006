"""Areas and groups in SQLite. Promises: `cloud.records.areas`.

Bounds: shapes of KEPT_VERTICES vertices in all are kept ready, the ones that were asked of last.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from cloud.problem import Problem, or_raise
from cloud.records.area_versions import (
    MAX_BYTES,
    MAX_NAMES,
    Content,
    Held,
    Kind,
    Step,
    Version,
    Wanted,
    changed_us,
    holding,
    members_of,
    named,
    no_bytes,
    no_names,
    step,
    told,
)
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from cloud.views.shapes import Shape, opened
from cloud.views.within import Members, Within
from wire.time import Utc

KEPT_VERTICES: Final = 500_000
_HELD: Final = "SELECT revision, from_us, to_us, by_whom, time_us, body IS NULL, withdrawn FROM areas"


class SqliteReadAreas:
    """What is asked, also in processes that only read. Does not own its readers; who opens the store does."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._shapes: OrderedDict[tuple[str, int], tuple[Shape, int]] = OrderedDict()
        self._lock = threading.Lock()

    async def versions(self, kind: Kind, name: str) -> Sequence[Held]:
        """See `AreaStore.versions`."""
        return await self._readers.ask(lambda connection: _held(connection, kind, name))

    async def at(self, kind: Kind, name: str, at_us: Utc) -> Version | None:
        """See `AreaStore.at`."""
        return await self._readers.ask(lambda connection: _at(connection, kind, name, at_us))

    async def page(self, kind: Kind, after: str, limit: int, at_us: Utc) -> tuple[Sequence[Version], str | None]:
        """See `AreaStore.page`."""

        def query(connection: sqlite3.Connection) -> tuple[list[Version], str | None]:
            found: list[Version] = []
            for name in _names(connection, kind, after):
                version = _at(connection, kind, name, at_us)
                if version is not None and len(found) == limit:
                    return found, found[-1].name
                found += [] if version is None else [version]
            return found, None

        return await self._readers.ask(query)

    async def names(self, kind: Kind) -> Sequence[str]:
        """See `AreaStore.names`."""
        return await self._readers.ask(lambda connection: _names(connection, kind, ""))

    async def within(self, areas: Collection[str], groups: Collection[str], at_us: Utc) -> Within:
        """See `AreaStore.within`."""

        def query(connection: sqlite3.Connection) -> Within:
            shapes: list[Shape] = []
            members: list[Members] = []
            held_now: list[tuple[Kind, str, int]] = []
            missing: list[tuple[Kind, str]] = []
            since_us = Utc(0)
            for kind, name in named(areas, groups):
                held = _held(connection, kind, name)
                since_us = max(since_us, changed_us(held, at_us))
                if (found := holding(held, at_us)) is None:
                    missing.append((kind, name))
                    continue
                revision = found[0].revision
                held_now.append((kind, name, revision))
                if kind == "area":
                    shapes.append(self._shape(connection, name, revision))
                else:
                    members.append(members_of(_content(connection, kind, name, revision)))
            return Within(
                areas=tuple(shapes) if areas else None,
                groups=tuple(members) if groups else None,
                held=tuple(held_now),
                since_us=since_us,
                missing=tuple(missing),
            )

        return await self._readers.ask(query)

    def _shape(self, connection: sqlite3.Connection, name: str, revision: int) -> Shape:
        """In a reader's thread."""
        with self._lock:
            if (kept := self._shapes.get((name, revision))) is not None:
                self._shapes.move_to_end((name, revision))
                return kept[0]
        geometry = opened(bytes(_content(connection, "area", name, revision).geometry))
        shape = Shape(geometry)
        with self._lock:
            self._shapes[name, revision] = shape, geometry.vertices
            while len(self._shapes) > 1 and sum(v for _, v in self._shapes.values()) > KEPT_VERTICES:
                self._shapes.popitem(last=False)
        return shape


class SqliteAreas(SqliteReadAreas):
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(self, writer: Writer, readers: Readers, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        super().__init__(readers)
        self._writer, self._note_in, self._grow = writer, note_in, grow

    async def put(self, kind: Kind, name: str, content: Content | None, wanted: Wanted, by: str) -> Version:
        """See `AreaStore.put`."""
        body = None if content is None else msgspec.json.encode(content)

        def work(connection: sqlite3.Connection) -> tuple[Step | Problem, int]:
            held = _held(connection, kind, name)
            done = step(f"{kind} {name!r}", held, wanted, ends=content is None)
            if isinstance(done, Step) and body is not None:
                done = _room(connection, kind, len(body), new=not held) or done
            if isinstance(done, Problem):
                return done, 0
            for revision in done.withdrawn:
                connection.execute(
                    "UPDATE areas SET withdrawn = ? WHERE kind = ? AND name = ? AND revision = ?",
                    (done.revision, kind, name, revision),
                )
            connection.execute(
                "INSERT INTO areas (kind, name, revision, from_us, to_us, by_whom, time_us, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (kind, name, done.revision, done.from_us, wanted.to_us, by, wanted.now_us, body),
            )
            return done, self._note_in(connection, [told(kind, name, content, done, wanted, by)])

        done, _ = await self._writer.do(work, lambda result: self._grow(result[1]) if result[1] else None)
        made = or_raise(done)
        return Version(
            name=name, revision=made.revision, from_us=made.from_us, to_us=wanted.to_us, by=by, time_us=wanted.now_us,
            content=content,
        )  # fmt: skip


def _held(connection: sqlite3.Connection, kind: Kind, name: str) -> list[Held]:
    rows = connection.execute(f"{_HELD} WHERE kind = ? AND name = ? ORDER BY revision", (kind, name))
    return [
        Held(revision=r, from_us=from_us, to_us=to_us, by=by, time_us=at, ends=bool(ends), withdrawn=withdrawn)
        for r, from_us, to_us, by, at, ends, withdrawn in rows
    ]


def _at(connection: sqlite3.Connection, kind: Kind, name: str, at_us: Utc) -> Version | None:
    if (found := holding(_held(connection, kind, name), at_us)) is None:
        return None
    held, to_us = found
    return Version(
        name=name, revision=held.revision, from_us=held.from_us, to_us=to_us, by=held.by, time_us=held.time_us,
        content=_content(connection, kind, name, held.revision),
    )  # fmt: skip


def _content(connection: sqlite3.Connection, kind: Kind, name: str, revision: int) -> Content:
    (body,) = connection.execute(
        "SELECT body FROM areas WHERE kind = ? AND name = ? AND revision = ?", (kind, name, revision)
    ).fetchone()
    return msgspec.json.decode(body, type=Content)


def _names(connection: sqlite3.Connection, kind: Kind, after: str) -> list[str]:
    query = "SELECT DISTINCT name FROM areas WHERE kind = ? AND name > ? ORDER BY name"
    return [name for (name,) in connection.execute(query, (kind, after))]


def _room(connection: sqlite3.Connection, kind: Kind, size: int, *, new: bool) -> Problem | None:
    (names,) = connection.execute("SELECT count(DISTINCT name) FROM areas WHERE kind = ?", (kind,)).fetchone()
    if new and names >= MAX_NAMES:
        return no_names(kind, names)
    (held,) = connection.execute("SELECT CAST(total(length(body)) AS INTEGER) FROM areas").fetchone()
    return no_bytes() if held + size > MAX_BYTES else None
