"""Salvage: what can be read of a damaged outbox goes into a new one; what cannot is a hole that a Gap reports.

Every record is taken only with its sum (`edge.outbox.records`) and rows only where their seqs follow each other, so
nothing comes over altered or twice. Rows that the city may not have stay in their run, under their own seqs: the city
is asked where it stands, so none is sent again. In the place of rows that cannot be read stands one row, listed in
`holes`, whose Gap says how many seqs it covers; the city may stand anywhere inside it. All runs are closed: what comes
later goes into a new epoch. What `edge.outbox.mark` says of a run is believed where the file says less.

Order: runs, state by key, receipts, rows not yet acked, quarantine, then acked history from the newest back.

Bounds: `max_holes` holes a run (it ends before the next); HISTORY_S for the history, and `history_bytes`; rows not yet
acked up to `limit_bytes`, oldest first; a record of at most MAX_RECORD_BYTES. `moved` is called at least every
PAGE_ROWS rows.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from edge.outbox.mark import CardMark
from edge.outbox.records import (
    BROKEN,
    CLOSED,
    LAST_SEQ,
    OPEN,
    SCHEMA,
    UNSETTLED,
    Damaged,
    row_key,
    sane_run,
    seq_of,
    sum_of,
    whole,
)
from edge.outbox.sealing import seal
from wire.batch import DIGEST_BYTES, ORIGIN, Lane, advance
from wire.entries import Gap

MAX_HOLES: Final = 64
HISTORY_S: Final = 10.0
PAGE_ROWS: Final = 64
QUARANTINED: Final = 520  # rows set aside: those that can be sent again, and the damaged ones
MAX_RECORD_BYTES: Final = 4 << 20
LOST: Final = "damaged on the card"
_ROW: Final = "id, first_seq, from_us, to_us, digest, body, sum"
_Row = tuple[int, int, int | None, int | None, bytes, bytes, bytes | None]


class SalvageReport(msgspec.Struct):
    """What came of it."""

    rows: int = 0
    seqs_lost: int = 0  # in holes, among what the city may not have had
    runs_broken: int = 0  # whose end is not known
    kept_lost: bool = False
    receipts_lost: bool = False

    def words(self) -> str:
        """In a sentence for whoever looks at the card."""
        parts = [f"{self.rows} rows were saved"]
        if self.seqs_lost:
            parts.append(f"{self.seqs_lost} entries could not be read")
        if self.runs_broken:
            parts.append("how much was written last is not known")
        if self.kept_lost:
            parts.append("some alarms, orders or held values could not be read")
        if self.receipts_lost:
            parts.append("what the broker sends once more may be held twice")
        return "; ".join(parts)


class SavedRun(msgspec.Struct):
    """A run of the damaged file, as far as anything is known of it."""

    id: int
    lane: Lane
    epoch: int
    held_from: int
    base: bytes
    acked: int
    told: bytes
    closed: int
    head: int = 0  # by the mark; 0 where it does not name the run
    digest: bytes = ORIGIN
    keep: int = 0  # while its rows are being moved and the cloud's place is open: what `acked` says in the file
    moved: int = 0  # by the mark: what a fork had moved to a later run, up to this seq, is not missing here
    exact: bool = False  # nothing was committed beyond `head`
    guessed: bool = False  # known by the mark alone


def salvage(
    source: Path,
    into: sqlite3.Connection,
    *,
    mark: CardMark | None,
    boot: int,
    limit_bytes: int,
    history_bytes: int,
    max_holes: int = MAX_HOLES,
    moved: Callable[[], None] = lambda: None,
    monotonic: Callable[[], float] = time.monotonic,
) -> SalvageReport:
    """Fill a new, empty database (its pragmas are set already). `source` may be anything: it is only read.

    Raises:
        sqlite3.Error, OSError: the new database does not take it.
    """
    found = SalvageReport()
    into.executescript(SCHEMA)
    with closing(_open(source)) as damaged:
        runs = _runs(damaged, mark, boot)
        _kept(damaged, into, found, moved)
        _receipts(damaged, into, found, moved)
        for run in runs:
            limit_bytes -= _unacked(damaged, into, run, found, limit_bytes, max_holes, moved)
        _quarantine(damaged, into)
        until = monotonic() + HISTORY_S
        for run in sorted(runs, key=lambda r: (r.lane is not Lane.BULK, -r.id)):
            history_bytes -= _history(damaged, into, run, found, history_bytes, lambda: monotonic() > until, moved)
        into.execute("BEGIN")
        for run in runs:
            _put_run(into, run)
        into.execute("COMMIT")
    return found


class _Nothing:
    """A file of which nothing can be read."""

    def execute(self, *_: object) -> Iterator[Any]:
        raise Damaged("nothing can be read")

    def close(self) -> None:
        pass


def _open(source: Path) -> sqlite3.Connection:
    """The damaged file, read-only, with its write-ahead log where that can be had."""
    for how in ("mode=ro", "immutable=1"):
        with suppress(sqlite3.Error):
            found = sqlite3.connect(f"{source.absolute().as_uri()}?{how}", uri=True, isolation_level=None, timeout=1)
            found.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RECORD_BYTES)
            try:
                found.execute("PRAGMA cell_size_check=ON")
                found.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            except (sqlite3.Error, MemoryError):
                found.close()
                continue
            return found
    return cast("sqlite3.Connection", _Nothing())


def _all(db: sqlite3.Connection, query: str, *args: object) -> list[Any]:
    """Raises Damaged where it cannot be read."""
    try:
        return list(db.execute(query, args))
    except (sqlite3.Error, MemoryError, OverflowError) as error:
        raise Damaged(str(error)) from error


def _sum_column(db: sqlite3.Connection, table: str) -> str:
    """A file of before has no sums."""
    with suppress(Damaged):
        if any(c[1] == "sum" for c in _all(db, f"PRAGMA table_info({table})")):
            return "sum"
    return "NULL"


# ---- runs --------------------------------------------------------------------------------------------------------


def _runs(db: sqlite3.Connection, mark: CardMark | None, boot: int) -> list[SavedRun]:
    """By the file, and where that cannot be read by the mark."""
    runs: dict[int, SavedRun] = {}
    columns = f"id, lane, epoch, held_from, base, acked, told, closed, {_sum_column(db, 'runs')}"
    for order in ("ASC", "DESC"):
        last: int | None = None
        while True:
            more = "" if last is None else f"WHERE id {'>' if order == 'ASC' else '<'} {last}"
            try:
                page = _all(db, f"SELECT {columns} FROM runs {more} ORDER BY id {order} LIMIT 1")  # noqa: S608
            except Damaged:
                break
            if not page:
                break
            *fields, sum_ = page[0]
            if last is not None and not (fields[0] > last if order == "ASC" else fields[0] < last):
                break  # keys in no order: it would go round for ever
            last = fields[0]
            if whole(sum_, *fields) and sane_run(*fields):
                id_, lane, *rest = fields
                runs[id_] = run = SavedRun(id_, Lane(lane), *rest)
                if run.closed == UNSETTLED:
                    run.keep, run.acked = run.acked, run.held_from - 1
    for marked in mark.runs if mark is not None else ():
        run = runs.get(marked.id)
        if run is None or (run.epoch, run.lane) != (marked.epoch, marked.lane):
            run = SavedRun(marked.id, marked.lane, marked.epoch, 1, ORIGIN, 0, ORIGIN, OPEN, guessed=True)
            runs[run.id] = run
        run.head, run.digest, run.moved = marked.head, marked.digest, marked.moved
        run.exact = mark is not None and mark.exact(boot)
    return [runs[id_] for id_ in sorted(runs)]


def _put_run(into: sqlite3.Connection, run: SavedRun) -> None:
    acked = run.keep if run.closed == UNSETTLED else run.acked
    fields = (run.id, run.lane.value, run.epoch, run.held_from, run.base, acked, run.told, run.closed)
    into.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*fields, sum_of(*fields)))


# ---- rows --------------------------------------------------------------------------------------------------------


def _unacked(
    db: sqlite3.Connection,
    into: sqlite3.Connection,
    run: SavedRun,
    found: SalvageReport,
    limit_bytes: int,
    max_holes: int,
    moved: Callable[[], None],
) -> int:
    """Rows that the city may not have, and holes where some were. The bytes that were taken."""
    was = run.closed
    next_seq, taken, holes, whole_end = max(run.acked, run.moved) + 1, 0, 0, True
    into.execute("BEGIN")
    for n, row in enumerate(_readable(db, row_key(run.id, run.acked), row_key(run.id, LAST_SEQ))):
        id_, first, from_us, to_us, digest, body, _ = row
        if first < next_seq:
            continue  # it overlaps what is there already: one of the two is wrong
        if (first > next_seq and holes >= max_holes) or taken + len(body) > limit_bytes:
            whole_end = False
            break
        if first > next_seq:
            holes += 1
            _put_hole(into, run, next_seq, first - 1, advance(run.told, b"%d" % first))
            if not run.guessed or holes > 1:  # what is before its first row the city has had long ago
                found.seqs_lost += first - next_seq
        fields = (id_, first, from_us, to_us, digest, body)
        into.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", (*fields, sum_of(*fields)))
        next_seq, taken = seq_of(id_) + 1, taken + len(body)
        found.rows += 1
        if n % PAGE_ROWS == 0:
            moved()
    if whole_end and run.head >= next_seq:
        _put_hole(into, run, next_seq, run.head, run.digest)
        found.seqs_lost += run.head - next_seq + 1
    into.execute("COMMIT")
    if was == OPEN:
        known = whole_end and run.exact and not found.kept_lost  # with alarms lost, the city must not think them here
        run.closed = CLOSED if known else BROKEN
        found.runs_broken += not known
    return taken


def hole(run_id: int, first: int, last: int, digest: bytes) -> tuple[int, int, None, None, bytes, bytes]:
    """The row (its columns without the sum) that stands for what is lost from seq `first` to `last`; its key belongs
    into `holes`."""
    width = last - first + 1
    (sealed,) = seal([Gap(reason=LOST, lost=width, seqs=width)])
    return row_key(run_id, last), first, None, None, digest, sealed.body


def _put_hole(into: sqlite3.Connection, run: SavedRun, first: int, last: int, digest: bytes) -> None:
    fields = hole(run.id, first, last, digest)
    into.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", (*fields, sum_of(*fields)))
    into.execute("INSERT OR IGNORE INTO holes VALUES (?)", (fields[0],))


def _history(
    db: sqlite3.Connection,
    into: sqlite3.Connection,
    run: SavedRun,
    found: SalvageReport,
    limit_bytes: int,
    over: Callable[[], bool],
    moved: Callable[[], None],
) -> int:
    """Rows that the city has, from the newest back to the first that cannot be read. The bytes that were taken.

    The oldest that is read only gives the digest that the run begins with."""
    if run.acked < run.held_from:
        return 0
    before, taken, newer = run.acked, 0, cast("_Row | None", None)
    held_from, base = run.acked + 1, run.told
    low = row_key(run.id, run.held_from)

    def take(row: _Row, digest_before: bytes) -> None:
        nonlocal held_from, base, taken
        fields = row[:6]
        into.execute("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", (*fields, sum_of(*fields)))
        held_from, base, taken = row[1], digest_before, taken + len(row[5])
        found.rows += 1

    into.execute("BEGIN")
    with suppress(Damaged):
        while taken < limit_bytes and not over():
            page = _all(
                db,
                f"SELECT {_row_columns(db)} FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?",  # noqa: S608
                low, row_key(run.id, before), PAGE_ROWS,
            )  # fmt: skip
            moved()
            for row in page:
                if not _sound(row) or seq_of(row[0]) != (run.acked if newer is None else newer[1] - 1):
                    raise Damaged("it breaks off here")
                if newer is not None:
                    take(newer, row[4])
                newer = row
                before = row[1] - 1
            if len(page) < PAGE_ROWS:
                if newer is not None and newer[1] == run.held_from:
                    take(newer, run.base)
                break
    into.execute("COMMIT")
    run.held_from, run.base = held_from, base
    return taken


def _row_columns(db: sqlite3.Connection) -> str:
    return _ROW if _sum_column(db, "rows") == "sum" else _ROW.replace("sum", "NULL")


def _readable(db: sqlite3.Connection, after: int, last: int) -> Iterator[_Row]:
    """The rows in `after` < id <= `last` that can be read and are whole, by id. Where a page cannot be read it goes on
    behind it: keys that cannot be reached are felt for in doubling steps, then by halving. A row that is not whole is
    passed over whatever its key says: with an upper bound, SQLite would end at one whose key has grown."""
    columns = _row_columns(db)
    query = f"SELECT {columns} FROM rows WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
    wanted, felt = PAGE_ROWS, 0
    while after < last:
        try:
            page: list[_Row] = _all(db, query, after, wanted)
        except Damaged:
            if wanted > 1:
                wanted = 1  # those before the damage, one by one
                continue
            felt += 1
            if felt > 4 * MAX_HOLES:
                return
            beyond = _beyond(db, query, after, last)
            if beyond is None:
                return
            after, wanted = beyond, PAGE_ROWS
            continue
        begun = after
        for row in page:
            if not _sound(row):
                continue
            if not after < row[0] <= last:
                return  # the next run, or keys that do not rise: nothing here can be trusted
            after = row[0]
            yield row
        if len(page) < wanted:
            return
        if after == begun:  # none was whole: on from the middle of them, for any key may be wrong
            keys = sorted(row[0] for row in page if after < row[0] <= last)
            if not keys:
                return
            after = keys[len(keys) // 2]
        wanted = min(2 * wanted, PAGE_ROWS)


def _beyond(db: sqlite3.Connection, query: str, after: int, last: int) -> int | None:
    """The smallest key after which rows can be read again."""

    def reads(key: int) -> bool:
        try:
            _all(db, query, key, 1)
        except Damaged:
            return False
        return True

    step, low = 1, after
    while not reads(low + step):
        low, step = low + step, 2 * step
        if low + step >= last:
            return None
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reads(middle) else (middle, high)
    return high


def _sound(row: _Row) -> bool:
    """Whether it is a row as one was written."""
    id_, first, from_us, to_us, digest, body, sum_ = row
    numbers = isinstance(first, int) and all(t is None or isinstance(t, int) for t in (from_us, to_us))  # pyright: ignore[reportUnnecessaryIsInstance]
    data = isinstance(digest, bytes) and isinstance(body, bytes)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not numbers or not data or len(digest) != DIGEST_BYTES or not 1 <= first <= seq_of(id_):
        return False
    return whole(sum_, *row[:6])


# ---- the rest ----------------------------------------------------------------------------------------------------


def _kept(db: sqlite3.Connection, into: sqlite3.Connection, found: SalvageReport, moved: Callable[[], None]) -> None:
    """From both ends, each up to where it cannot be read."""
    columns = f"key, value, {_sum_column(db, 'kept')}"
    taken: dict[str, bytes] = {}
    for order, beyond in (("ASC", ">"), ("DESC", "<")):
        last: str | None = None
        while True:
            where = "" if last is None else f"WHERE key {beyond} ?"
            try:
                page = _all(
                    db,
                    f"SELECT {columns} FROM kept {where} ORDER BY key {order} LIMIT 1",  # noqa: S608
                    *(() if last is None else (last,)),
                )
            except Damaged:
                found.kept_lost = True
                break
            if not page:
                break
            key, value, sum_ = page[0]
            if not isinstance(key, str) or (last is not None and not (key > last if order == "ASC" else key < last)):
                found.kept_lost = True
                break
            last = key
            if isinstance(value, bytes) and whole(sum_, key, value):
                taken[key] = value
            else:
                found.kept_lost = True
        if not found.kept_lost:
            break
        moved()
    into.execute("BEGIN")
    for key, value in taken.items():
        into.execute("INSERT INTO kept VALUES (?, ?, ?)", (key, value, sum_of(key, value)))
    into.execute("COMMIT")


def _receipts(
    db: sqlite3.Connection, into: sqlite3.Connection, found: SalvageReport, moved: Callable[[], None]
) -> None:
    """From both ends, each up to where it cannot be read: the newest count most."""
    columns = f"id, source, n, keys, {_sum_column(db, 'receipts')}"
    taken: dict[int, tuple[str, int, bytes]] = {}
    for order, beyond in (("DESC", "<"), ("ASC", ">")):
        last: int | None = None
        while True:
            where = "" if last is None else f"WHERE id {beyond} {last}"
            try:
                page = _all(db, f"SELECT {columns} FROM receipts {where} ORDER BY id {order} LIMIT 1")  # noqa: S608
            except Damaged:
                found.receipts_lost = True
                break
            if not page:
                break
            id_, source, n, keys, sum_ = page[0]
            if not isinstance(id_, int) or (last is not None and not (id_ > last if order == "ASC" else id_ < last)):
                found.receipts_lost = True
                break
            last = id_
            if isinstance(source, str) and isinstance(keys, bytes) and whole(sum_, source, n, keys):
                taken[id_] = source, n, keys
            else:
                found.receipts_lost = True
        if not found.receipts_lost:
            break
        moved()
    into.execute("BEGIN")
    for id_, (source, n, keys) in sorted(taken.items()):
        into.execute("INSERT INTO receipts VALUES (?, ?, ?, ?, ?)", (id_, source, n, keys, sum_of(source, n, keys)))
    into.execute("COMMIT")


def _quarantine(db: sqlite3.Connection, into: sqlite3.Connection) -> None:
    """As much as comes, the newest first: it can be sent again, or is for whoever looks for a fault."""
    query = f"SELECT id, row, reason, body FROM quarantine ORDER BY id DESC LIMIT {QUARANTINED}"  # noqa: S608  ours
    with suppress(Damaged):
        for row in _all(db, query):
            with suppress(sqlite3.IntegrityError):
                into.execute("INSERT INTO quarantine (id, row, reason, body) VALUES (?, ?, ?, ?)", row)
