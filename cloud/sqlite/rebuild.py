"""Rebuild: a new store beside the old one, from all of it that can be read; then it takes its place in one step.

What only the log knows and what was decided here is copied, the views are built anew from it: nothing is read of the
old views, so no damage in them matters. Where the rest is damaged, what it held is lost, and said
(`cloud.sqlite.salvage`). What a node sent and the log cannot read any more stands as a gap in its ledger, and in the
log a notice fills the place, for positions have no holes. The old store is kept as `replaced`.

Bounds: `salvage.COPIED` rows in hand at a time; as much room is needed beside the store as what is in it takes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from cloud.log.batch_facts import facts_of
from cloud.log.notices import Finding, Notice, notice_of
from cloud.log.outline import ALL_SEVERITIES, ALL_TYPES
from cloud.sqlite import alarm_steps, backup, card_losses, database, salvage, schema
from cloud.sqlite.damage import GARBLED
from cloud.sqlite.database import STORE, Misplaced
from cloud.sqlite.interned import Interned, stream_key
from cloud.sqlite.view_builder import ViewBuilder
from groundwork.files import sync
from wire import codec
from wire.batch import ORIGIN, Batch, Lane
from wire.contents import Placed
from wire.entries import Gap
from wire.errors import BadInput
from wire.time import Utc

REASON: Final = "lost in the aggregator's store: its disk was damaged"

Progress = Callable[[int, int], None]  # records built from, of how many
Row = tuple[Any, ...]


class Rebuilt(msgspec.Struct):
    """What could not be read: rows by table where they can be counted, else 0; runs of log positions; seqs by node."""

    tables: dict[str, int] = {}
    positions: list[tuple[int, int]] = []
    seqs: dict[str, int] = {}

    def told(self) -> list[str]:
        """In words, one a line."""
        lines = [
            f"{table}: {f'{count} rows' if count else 'some rows'} could not be read"
            for table, count in self.tables.items()
        ]
        lines += [f"log: positions {first} to {last} could not be read" for first, last in self.positions]
        return lines + [
            f"{node}: {count} seqs are missing, and stand as gaps in its ledger" for node, count in self.seqs.items()
        ]


def rebuild(directory: Path, progress: Progress) -> Rebuilt:
    """Put a new store in the place of the old one, and say what is missing in it.

    Raises:
        Misplaced: the directory is in use, there is no room, or the store cannot be read at all.
    """
    with database.locked(directory):
        if not (directory / STORE).exists():
            raise Misplaced(f"{directory} holds no store")
        new = directory / f".{STORE}.new"
        _discard(new)
        try:
            with suppress(sqlite3.DatabaseError):  # an older one is brought up first, unless that fails by its damage
                database.close(database.connect(directory))
            told = _built(directory / STORE, new, progress)
            sync(new)
            backup.keep(directory)
            new.replace(directory / STORE)
            sync(directory)
        except sqlite3.Error as error:
            raise Misplaced(f"{directory}: {error}; if it is beyond reading, restore a backup") from error
        finally:
            _discard(new)
        return told


def _discard(new: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        new.with_name(f"{new.name}{suffix}").unlink(missing_ok=True)


def _built(store: Path, new: Path, progress: Progress) -> Rebuilt:
    told = Rebuilt({}, [], {})
    with (
        closing(sqlite3.connect(store, isolation_level=None)) as old,
        closing(sqlite3.connect(new, isolation_level=None)) as made,
    ):
        new.chmod(0o600)
        made.execute("PRAGMA synchronous = OFF")  # synced once, at the end
        made.execute("PRAGMA journal_mode = OFF")
        made.execute("PRAGMA cache_size = -65536")
        with _all_at_once(made):
            schema.bring_up(made, 0)
        for table in schema.kept(made):
            with _all_at_once(made):
                lost = salvage.copy(old, made, table)
                if lost is not None:
                    told.tables[table] = lost
        with _all_at_once(made):
            database.put_meta(made, "latest_mark", 0)
            if told.tables.keys() & {"log", "outlines"}:  # positions may return, or have other ranks: all must notice
                database.put_meta(made, "copy", 1)
            _fill(made, told)
            _name(made)
            _views(made, told, progress)
            if told.told():  # what was folded of it is folded anew
                database.put_meta(made, database.LOSSES, database.meta(made, database.LOSSES) + 1)
    return told


class _all_at_once:  # noqa: N801  reads as a statement
    """A transaction of a file that is thrown away when anything goes wrong."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")


def _fill(made: sqlite3.Connection, told: Rebuilt) -> None:
    """A notice for each position that is missing above the floor: the feed goes over it, and says so."""
    generation = database.meta(made, "generation")
    (first,) = made.execute("SELECT ifnull(min(position), 1) FROM log").fetchone()
    before = floor = database.meta(made, "floor", first - 1)
    database.put_meta(made, "floor", floor)
    (left,) = made.execute("SELECT EXISTS (SELECT 1 FROM log WHERE position > ?)", (floor,)).fetchone()
    if not left and "log" in told.tables:  # nothing is left of it: positions go on beyond all that is known
        (known,) = made.execute(
            "SELECT max(ifnull((SELECT max(last_position) FROM chunks), 0),"
            " ifnull((SELECT max(position) FROM alarm_steps), 0))"
        ).fetchone()
        (heard_us,) = made.execute("SELECT ifnull(max(last_heard_us), 0) FROM streams").fetchone()
        floor = max(floor, known)
        database.put_meta(made, "floor", floor)
        said = Finding(node="", kind="damaged", time_us=heard_us, detail={"reason": REASON})
        body = msgspec.json.encode(notice_of(said, generation, floor + 1))
        made.execute("INSERT INTO log VALUES (?, NULL, ?, ?)", (floor + 1, heard_us, body))
    after = before
    while rows := made.execute(
        "SELECT position, received_us FROM log WHERE position > ? ORDER BY position LIMIT ?", (after, salvage.COPIED)
    ).fetchall():
        after = rows[-1][0]
        for position, received_us in rows:
            if position > before + 1:
                told.positions.append((before + 1, position - 1))
                detail = {"first_position": before + 1, "last_position": position - 1, "reason": REASON}
                for missing in range(before + 1, position):
                    said = Finding(node="", kind="damaged", time_us=received_us, detail=detail)
                    body = msgspec.json.encode(notice_of(said, generation, missing))
                    made.execute("INSERT INTO log VALUES (?, NULL, ?, ?)", (missing, received_us, body))
                    _holds_anything(made, missing)
            before = position


def _name(made: sqlite3.Connection) -> None:
    """Names for nodes and epochs of which nothing but the number is left: what is held of them is shown all the same.

    Of a stream that the log still speaks of the rest is found there; no real epoch is as small as a stream's number.
    """
    nameless = "SELECT DISTINCT stream_no FROM log WHERE stream_no NOT IN (SELECT stream_no FROM streams)"
    for (stream_no,) in made.execute(nameless).fetchall():
        batch = _newest(made, stream_no)
        if batch is None:
            continue
        made.execute("INSERT OR IGNORE INTO nodes (name) VALUES (?)", (batch.node,))
        made.execute(
            "INSERT OR REPLACE INTO streams SELECT ?, node_no, ?, ?, 0, 0, ?, ?, ?, ?, 0, 0, NULL, NULL,"
            " 'unsaid', NULL, NULL, NULL, 0 FROM nodes"
            " WHERE name = ?",
            (stream_no, batch.epoch, batch.lane.value, batch.through_seq, batch.digest, batch.held_from,
             batch.head_seq, batch.node),
        )  # fmt: skip
    made.execute(
        "INSERT OR IGNORE INTO streams SELECT DISTINCT stream_no, node_no, stream_no, 'bulk', 0, 0, 0, x'', 0, 0, 0, 0,"
        " NULL, NULL, 'unsaid', NULL, NULL, NULL, 0 FROM chunks WHERE stream_no NOT IN (SELECT stream_no FROM streams)"
    )
    made.execute("DELETE FROM residue WHERE stream_no NOT IN (SELECT stream_no FROM streams)")
    made.execute(
        "INSERT INTO nodes SELECT DISTINCT node_no, 'unnamed-' || node_no FROM streams"
        " WHERE node_no NOT IN (SELECT node_no FROM nodes)"
    )


def _newest(made: sqlite3.Connection, stream_no: int) -> Batch | None:
    """The last batch of a stream that can be read; bodies one by one, for all of the log may be without a name."""
    query = "SELECT body FROM log WHERE stream_no = ? ORDER BY position DESC"
    for (body,) in made.execute(query, (stream_no,)):
        with suppress(BadInput):
            return codec.decode_batch(body)
    return None


def _views(made: sqlite3.Connection, told: Rebuilt, progress: Progress) -> None:
    building = ViewBuilder(Interned())
    (total,) = made.execute("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM residue)").fetchone()
    done = 0
    through: dict[int, tuple[int, int]] = {}  # of each stream the seq and position up to which it has been gone over
    chunked = _chunked(made, told)
    for table in ("residue", "log"):
        after = -(2**62)
        while rows := made.execute(
            f"SELECT * FROM {table} WHERE position > ? ORDER BY position LIMIT ?",  # noqa: S608  ours
            (after, salvage.COPIED),
        ).fetchall():
            for row in rows:
                after = row[0]
                if table == "residue":
                    batch, received_us = of_residue(made, row), row[3]
                else:
                    received_us = row[2]
                    try:
                        batch = _batch_of(made, row)
                    except GARBLED:  # the page reads well and is another one: seqs are seen below by what is missing
                        _replace(made, after, received_us)
                        told.positions.append((after, after))
                        continue
                    if batch is None:
                        continue
                    _gap_before(made, building, row[1], batch, received_us, after, through, told)
                with suppress(BadInput):  # what no node may have sent
                    held = table == "log" and after <= chunked.get(row[1], 0)
                    building.apply(made, after, received_us, batch, facts_of(batch), chunked=held)
            done += len(rows)
            progress(done, total)
    _gaps_at_the_end(made, building, through, told)
    card_losses.lose_again(made)


def _chunked(made: sqlite3.Connection, told: Rebuilt) -> dict[int, int]:
    """Up to which position the batches of each stream are in chunks: where that cannot be read, as chunks have it."""
    found: dict[int, int] = dict(made.execute("SELECT stream_no, position FROM chunked"))
    if "chunked" in told.tables:
        for stream_no, position in made.execute("SELECT stream_no, max(last_position) FROM chunks GROUP BY stream_no"):
            found[stream_no] = max(position, found.get(stream_no, 0))
        made.executemany("INSERT OR REPLACE INTO chunked VALUES (?, ?)", found.items())
    return found


def _batch_of(made: sqlite3.Connection, row: Row) -> Batch | None:
    """The batch of a record of the log; None of a notice, whose step of an alarm is taken where it is lacking."""
    if row[1] is not None:
        return codec.decode_batch(row[3])
    notice = msgspec.json.decode(row[3], type=Notice)
    with suppress(msgspec.ValidationError):  # of a version that told less of an alarm
        alarm_steps.take_notice(made, notice, row[0], row[2])
    return None


def _replace(made: sqlite3.Connection, position: int, received_us: Utc) -> None:
    """Put a notice in the place of a record that is garbled."""
    detail = {"first_position": position, "last_position": position, "reason": REASON}
    said = Finding(node="", kind="damaged", time_us=received_us, detail=detail)
    body = msgspec.json.encode(notice_of(said, database.meta(made, "generation"), position))
    made.execute("UPDATE log SET stream_no = NULL, body = ? WHERE position = ?", (body, position))
    _holds_anything(made, position)


def _holds_anything(made: sqlite3.Connection, position: int) -> None:
    """What stands at a position now is not what its outline says: it is opened by all, at its rank."""
    query = "UPDATE outlines SET node_no = NULL, holds = holds | ? WHERE position = ?"
    made.execute(query, (ALL_TYPES | ALL_SEVERITIES, position))


def _gap_before(
    made: sqlite3.Connection, building: ViewBuilder, stream_no: int, batch: Batch, received_us: Utc, position: int,
    through: dict[int, tuple[int, int]], told: Rebuilt,
) -> None:  # fmt: skip
    before = through.get(stream_no)
    through[stream_no] = (batch.through_seq, position)
    if before is not None and batch.first_seq > before[0] + 1:
        for seqs in _missing(made, stream_no, (before[0] + 1, batch.first_seq - 1), before[1]):
            _gap(made, building, stream_no, seqs, received_us, position - 1, told)


def _gaps_at_the_end(
    made: sqlite3.Connection, building: ViewBuilder, through: dict[int, tuple[int, int]], told: Rebuilt
) -> None:
    (head,) = made.execute("SELECT ifnull(max(position), 0) FROM log").fetchone()
    for stream_no, through_seq, heard_us in made.execute(
        "SELECT stream_no, through_seq, last_heard_us FROM streams"
    ).fetchall():
        before = through.get(stream_no)
        if before is not None and through_seq > before[0]:
            for seqs in _missing(made, stream_no, (before[0] + 1, through_seq), before[1]):
                _gap(made, building, stream_no, seqs, heard_us, head, told)


def _missing(
    made: sqlite3.Connection, stream_no: int, seqs: tuple[int, int], position: int
) -> Iterator[tuple[int, int]]:
    """The runs of seqs that are in no chunk either: batches came after a position, and may be in chunks already."""
    first, last = seqs
    held: set[int] = set()
    rows = made.execute(
        "SELECT first_seq, body FROM chunks WHERE node_no = (SELECT node_no FROM streams WHERE stream_no = ?1)"
        " AND stream_no = ?1 AND first_seq <= ?2 AND last_position > ?3",
        (stream_no, last, position),
    )
    for first_seq, body in rows:
        for item in codec.decode_row(body):
            held.update(seq for place in item.places if first <= (seq := first_seq + place) <= last)
    for seq in sorted(held):
        if seq > first:
            yield first, seq - 1
        first = seq + 1
    if first <= last:
        yield first, last


def _gap(
    made: sqlite3.Connection, building: ViewBuilder, stream_no: int, seqs: tuple[int, int], received_us: Utc,
    position: int, told: Rebuilt,
) -> None:  # fmt: skip
    """Show it in the ledger, now and after another rebuild."""
    first, last = seqs
    told_before = "SELECT 1 FROM residue WHERE position < 0 AND stream_no = ? AND first_seq = ?"
    if made.execute(told_before, (stream_no, first)).fetchone() is not None:
        return
    width = last - first + 1
    node, _, lane = stream_key(made, stream_no)
    lost = width if lane == Lane.BULK.value else 0  # a sample has a seq of its own; what else there was is not known
    entry = Gap(reason=REASON, lost=lost, seqs=width, to_us=received_us)
    body = codec.encode_row([Placed(range(width), entry)])
    (taken,) = made.execute("SELECT min(position) FROM residue").fetchone()
    at = min(0, 0 if taken is None else taken) - 1  # no record ever has one below 1
    made.execute("INSERT INTO residue VALUES (?, ?, ?, ?, ?)", (at, stream_no, first, received_us, body))
    batch = of_residue(made, (at, stream_no, first, received_us, body))
    building.apply(made, position, received_us, batch, facts_of(batch))
    told.seqs[node] = told.seqs.get(node, 0) + width


def of_residue(connection: sqlite3.Connection, row: Row) -> Batch:
    """What compaction has left of a batch: a batch with holes, which no node could have sent."""
    _, stream_no, first_seq, _, body = row
    node, epoch, lane = stream_key(connection, stream_no)
    return Batch(
        node=node,
        epoch=epoch,
        lane=Lane(lane),
        first_seq=first_seq,
        through_seq=first_seq,
        prev=ORIGIN,
        digest=ORIGIN,
        held_from=0,
        head_seq=0,
        entries=codec.decode_row(body),
    )
