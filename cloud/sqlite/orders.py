"""Orders in SQLite. Promises and bounds: `cloud.records.orders`. Not derived from the log: a rebuild keeps it.

What nodes say moves an order forward in `cloud.sqlite.view_builder`. An order whose body is garbled is told as damage
of the store, stays as it is and holds up no other.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from cloud.log.notices import Announcement
from cloud.problem import Problem, or_raise
from cloud.records.keys import Answered, Keyed
from cloud.records.order_notices import about, textless, told_ended, told_taken, what
from cloud.records.orders import KEPT, KEPT_US, MAX_OPEN, MAX_OPEN_BUNDLES, STEP, Draft, Kept, too_many_open
from cloud.sqlite import keys
from cloud.sqlite.damage import whole
from cloud.sqlite.readers import Readers
from cloud.sqlite.writer import NoteIn, Writer
from cloud.views.order_stages import WORD_US, OwnEnd, own_end
from wire.orders import Bundle, Order
from wire.time import Utc

_COLUMNS: Final = "order_no, node, stage, sent_us, ended_us, own_end, kind, body"
_UNHEARD: Final = "ended_us IS NULL AND stage IN ('issued', 'sent')"


class SqliteOrders:
    """Owns neither writer nor readers; `cloud.sqlite.store` does."""

    def __init__(self, writer: Writer, readers: Readers, note_in: NoteIn, grow: Callable[[int], None]) -> None:
        self._writer = writer
        self._readers = readers
        self._note_in = note_in
        self._grow = grow

    async def answered(self, keyed: Keyed) -> Answered | None:
        """See `OrderStore.answered`."""
        return or_raise(await self._readers.ask(lambda connection: keys.answered(connection, keyed)))

    async def take(
        self,
        drafts: Sequence[Draft],
        keyed: Keyed,
        answer: Answered,
        now_us: Utc,
        taken: Callable[[], None],
    ) -> Answered:
        """See `OrderStore.take`."""

        def work(connection: sqlite3.Connection) -> tuple[Answered | Problem | None, int]:
            before = keys.answered(connection, keyed) or _no_room(connection, drafts)
            if before is not None:
                return before, 0
            connection.executemany(
                "INSERT INTO orders (id, grp, node, what, about, kind, issued_us, expires_us, stage, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'issued', ?)",
                (_row(d) for d in drafts),
            )
            if drafts and isinstance(drafts[0].order, Bundle):  # its text once for all nodes
                connection.execute("INSERT INTO texts VALUES (?, ?)", (drafts[0].order.group, drafts[0].order.text))
            keys.keep(connection, keyed, answer, now_us)
            return None, self._note_in(connection, [told_taken(d) for d in drafts])

        def committed(done: tuple[Answered | Problem | None, int]) -> None:
            if done[0] is None:
                self._grow(done[1])
                taken()

        before, _ = await self._writer.do(work, committed)
        return or_raise(before) or answer

    async def unheard(self, node: str, now_us: Utc) -> list[tuple[str, bool]]:
        """See `OrderStore.unheard`."""
        rows = await self._readers.ask(
            lambda connection: connection.execute(
                f"SELECT id, sent_us IS NOT NULL FROM orders WHERE node = ? AND {_UNHEARD}"  # noqa: S608  ours
                " AND expires_us > ? ORDER BY order_no LIMIT ?",
                (node, now_us, MAX_OPEN),
            ).fetchall()
        )
        return [(name, bool(sent)) for name, sent in rows]

    async def sending(self, names: Sequence[tuple[str, bool]], now_us: Utc) -> list[Order]:
        """See `OrderStore.sending`."""
        if any(not sent for _, sent in names):
            damage: list[str] = []
            orders = await self._writer.do(lambda connection: _sending(connection, names, now_us, damage, mark=True))
            self._writer.found(damage)
            return orders
        return await self._readers.ask_around(
            lambda connection, damage: _sending(connection, names, now_us, damage, mark=False)
        )

    async def text_of(self, group: str) -> str | None:
        """See `OrderStore.text_of`."""
        row = await self._readers.ask(
            lambda connection: connection.execute("SELECT text FROM texts WHERE grp = ?", (group,)).fetchone()
        )
        return None if row is None else row[0]

    async def one(self, name: str) -> Kept | None:
        """See `OrderStore.one`."""
        found = await self._select("id = ?", (name,), 1)
        return found[0] if found else None

    async def of_node(self, node: str, names: Sequence[str]) -> dict[str, Order]:
        """See `OrderStore.of_node`."""
        return await self._readers.ask_around(lambda connection, damage: of_node(connection, node, names, damage))

    async def of_group(self, group: str, after: int, limit: int) -> list[Kept]:
        """See `OrderStore.of_group`."""
        return await self._select("grp = ? AND order_no > ?", (group, after), limit)

    async def stages_of(self, group: str) -> dict[str, int]:
        """See `OrderStore.stages_of`."""
        return await self._readers.ask(
            lambda connection: dict(
                connection.execute("SELECT stage, count(*) FROM orders WHERE grp = ? GROUP BY stage", (group,))
            )
        )

    async def newest(self, node: str | None, before: int, limit: int, *, open_: bool) -> list[Kept]:
        """See `OrderStore.newest`."""
        where, values = "order_no < ?", [before]
        if node is not None:
            where, values = f"{where} AND node = ?", [*values, node]
        if open_:
            where += " AND ended_us IS NULL"
        if open_ and node is None:  # by way of those that are open: all that have ended may be half a million
            where = (
                "order_no IN (SELECT order_no FROM orders INDEXED BY orders_due WHERE ended_us IS NULL"
                " AND order_no < ? ORDER BY order_no DESC LIMIT ?)"
            )
            values = [before, limit]
        return await self._select(where, values, limit, "DESC")

    async def acts(self, alarms: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Kept]]:
        """See `OrderStore.acts`."""

        def query(connection: sqlite3.Connection) -> dict[tuple[str, str], list[Kept]]:
            found: dict[tuple[str, str], list[Kept]] = {}
            for node, alarm in alarms:
                rows = connection.execute(
                    f"SELECT {_COLUMNS} FROM orders WHERE node = ? AND about = ? AND what = 'alarm_act'"  # noqa: S608
                    " AND ended_us IS NULL ORDER BY order_no",
                    (node, alarm),
                ).fetchall()
                if rows:
                    found[node, alarm] = [_kept(row) for row in rows]
            return found

        return await self._readers.ask(query)

    async def end_due(self, now_us: Utc) -> int:
        """See `OrderStore.end_due`."""

        def due(connection: sqlite3.Connection, damage: list[str]) -> list[Kept]:
            return [k for k in _due(connection, now_us, damage) if _ending(k, now_us) is not None]

        if not await self._readers.ask_around(due):
            return 0

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            told: list[Announcement] = []
            for kept in due(connection, []):  # again: the node may have said something meanwhile
                ending = _ending(kept, now_us)
                assert ending is not None
                connection.execute(
                    "UPDATE orders SET stage = ?, ended_us = ?, own_end = ? WHERE order_no = ?",
                    (ending.stage, now_us, msgspec.json.encode(ending).decode(), kept.order_no),
                )
                told.append(told_ended(kept.node, kept.kind, kept.order, ending))
            return len(told), self._note_in(connection, told)

        count, _ = await self._writer.do(work, lambda done: self._grow(done[1]))
        return count

    async def prune(self, now_us: Utc) -> int:
        """See `OrderStore.prune`."""

        def work(connection: sqlite3.Connection) -> int:
            (ended,) = connection.execute("SELECT count(*) FROM orders WHERE ended_us IS NOT NULL").fetchone()
            count = connection.execute(
                "DELETE FROM orders WHERE order_no IN (SELECT order_no FROM orders WHERE ended_us < ?"
                " ORDER BY ended_us LIMIT ?)",
                (now_us - KEPT_US, STEP),
            ).rowcount
            if ended - count > KEPT:
                count += connection.execute(
                    "DELETE FROM orders WHERE order_no IN (SELECT order_no FROM orders WHERE ended_us IS NOT NULL"
                    " ORDER BY ended_us LIMIT ?)",
                    (min(STEP, ended - count - KEPT),),
                ).rowcount
            if count:
                connection.execute("DELETE FROM texts WHERE grp NOT IN (SELECT grp FROM orders)")
            return count + keys.forget(connection, now_us, STEP)

        return await self._writer.do(work)

    async def _select(self, where: str, values: Sequence[Any], limit: int, order: str = "ASC") -> list[Kept]:
        query = f"SELECT {_COLUMNS} FROM orders WHERE {where} ORDER BY order_no {order} LIMIT ?"  # noqa: S608  ours
        return await self._readers.ask(
            lambda connection: [_kept(row) for row in connection.execute(query, (*values, limit))]
        )


def of_node(connection: sqlite3.Connection, node: str, names: Sequence[str], damage: list[str]) -> dict[str, Order]:
    """Those of a node that are known, by id; `damage` gets the table where one of them cannot be read."""
    wanted = msgspec.json.encode(names).decode()
    rows = connection.execute(
        "SELECT id, body FROM orders WHERE id IN (SELECT value FROM json_each(?)) AND +node = ?", (wanted, node)
    )
    return dict(whole(rows, lambda row: (row[0], _order(row[1])), "orders", damage))


def _no_room(connection: sqlite3.Connection, drafts: Sequence[Draft]) -> Problem | None:
    wanted = Counter(d.node for d in drafts)
    bundles = Counter(d.node for d in drafts if isinstance(d.order, Bundle))
    for node, more in sorted(wanted.items()):
        total, of_bundles = connection.execute(
            "SELECT count(*), ifnull(sum(what = 'bundle'), 0) FROM orders WHERE node = ? AND ended_us IS NULL", (node,)
        ).fetchone()
        for of, held, count, most in (
            ("orders", total, more, MAX_OPEN),
            ("bundles", of_bundles, bundles[node], MAX_OPEN_BUNDLES),
        ):
            if held + count > most:
                return too_many_open(node, held, of, most)
    return None


def _row(draft: Draft) -> tuple[object, ...]:
    order = draft.order
    return (
        order.id,
        order.group,
        draft.node,
        what(order),
        about(order),
        draft.kind,
        order.issued_us,
        order.expires_us,
        msgspec.json.encode(textless(order)),
    )


def _kept(row: tuple[Any, ...]) -> Kept:
    order_no, node, stage, sent_us, ended_us, ending, kind, body = row
    order, ended = opened_order(body, ending)
    return Kept(
        order_no=order_no,
        node=node,
        stage=stage,
        sent_us=sent_us,
        ended_us=ended_us,
        own_end=ended,
        kind=kind,
        order=order,
    )


def opened_order(body: bytes, ending: str | None) -> tuple[Order, OwnEnd | None]:
    """An order, and how it was ended here.

    Raises:
        msgspec.DecodeError: they are not what was written.
    """
    return _order(body), None if ending is None else msgspec.json.decode(ending, type=OwnEnd)


def _order(body: bytes) -> Order:
    return msgspec.json.decode(body, type=Order)


def _sending(
    connection: sqlite3.Connection, names: Sequence[tuple[str, bool]], now_us: Utc, damage: list[str], *, mark: bool
) -> list[Order]:
    """Those that are to be sent now; one that is garbled holds up no other."""
    found: list[Order] = []
    for name, _ in names:
        if mark:
            connection.execute(
                "UPDATE orders SET sent_us = ?, stage = 'sent' WHERE id = ? AND sent_us IS NULL AND stage = 'issued'"
                " AND ended_us IS NULL AND expires_us > ?",
                (now_us, name, now_us),
            )
        row = connection.execute(
            f"SELECT body FROM orders WHERE id = ? AND {_UNHEARD} AND sent_us IS NOT NULL AND expires_us > ?",  # noqa: S608
            (name, now_us),
        ).fetchone()
        if row is not None:
            found.extend(whole([row], lambda row: _order(row[0]), "orders", damage))
    return found


def _due(connection: sqlite3.Connection, now_us: Utc, damage: list[str]) -> list[Kept]:
    """At most STEP that can be read: the others stay open, and take no room of these."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM orders WHERE ended_us IS NULL AND sent_us IS NULL AND expires_us <= ?1"  # noqa: S608
        f" UNION ALL SELECT {_COLUMNS} FROM orders WHERE ended_us IS NULL AND sent_us IS NOT NULL"
        " AND expires_us <= ?1 - ?2",
        (now_us, WORD_US),
    )
    return list(islice(whole(rows, _kept, "orders", damage), STEP))


def _ending(kept: Kept, now_us: Utc) -> OwnEnd | None:
    return own_end(kept.stage, kept.order.expires_us, now_us, sent=kept.sent_us is not None)
