"""Queries: what readers ask for, over HTTP as our API has it, beside DuckDB in its own process over parquet.

    day       of one lamp at its real pace, all its points, out of batches as they came: a day is younger than feed_days
    minutes   a day of one lamp that is read each minute, and whose node pushes each minute
    month     of a district: one point of its 30 lamps, out of compacted chunks; each lamp was heard every 20 minutes
    latest    of all devices of the city, of each of which two samples are held

Our time goes until the last byte of the last page is here: pages of the largest size one after the other; latest is one
answer, which is made anew each time. The parquet files hold the very same
samples, a file a profile, sorted by device and time, in zstd; DuckDB has the same one core, and its time goes until the
rows are there as JSON, in the same process (as Arrow in the note). Both answers must be equal: as many values, and the
same sum.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, cycle, permutations
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from bench import batches
from bench.cabinet import City
from bench.figure import Figure, median
from bench.loads import ingest_fleet as fleet
from bench.loads.ingest_fleet import Connection, Request, Upload
from bench.loads.ingest_reader import Reader
from bench.stand import BenchError, Stand
from bench.street import START_S, Street
from cloud.views.answers import GRADES
from wire import codec
from wire.batch import Batch
from wire.device import PointType, Roster
from wire.sample import Sample, Value

try:
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:  # what they answer is what ours is held against: without them there is no figure
    duckdb = None

WHAT = "a day, a month, the latest of a city: as the API gives them"

DEVICES: Final = 34_000
CONNECTIONS: Final = 8
PERIOD_S: Final = 3 * 3600.0  # of street are made; a day goes over them again
PUSH_COMMITS: Final = 60  # five minutes
STRETCH: Final = 120  # times slower goes the street of the month
MINUTES: Final = 12  # and the one that is read each minute
PAGE_ROWS: Final = 5_000
ROW_GROUP: Final = 100_000
LAMP: Final = "lx-1"
POINT: Final = "active_power"

_ARROW: Final[Mapping[PointType, str]] = {"int": "int64", "float": "float64", "bool": "bool_", "text": "string"}
Tally = tuple[int, float]  # how many values, and their sum


class Scale(msgspec.Struct, frozen=True):
    """How much is asked about."""

    day_s: float
    month_s: float  # of street, before it is stretched
    devices: int


FULL: Final = Scale(86_400, 6 * 3_600, DEVICES)
QUICK: Final = Scale(1_800, 1_800, 600)


class Question(msgspec.Struct, frozen=True):
    """One question, to both."""

    name: str
    ours: Callable[[City, str], list[bytes]]
    read: Callable[[bytes], Iterator[Value]]
    sql: str
    note: str = ""


def run(stand: Stand) -> Iterator[Figure]:
    """Fill the store and the files, then ask."""
    if duckdb is None:
        note = "DuckDB and pyarrow are not installed here; scripts/bench brings them"
        yield Figure(name="queries/day of a device", unit="ms", less=True, note=note)
        return
    scale = QUICK if stand.quick else FULL
    files = stand.fresh("parquet")
    city = City(stand, side="test")
    stand.say("the month")
    month = _month(scale)
    _hold(stand, city, 0, month, files / "month")
    fleet.compact(stand, city)
    fleet.restart(stand, city)
    stand.say("the day")
    day = list(fleet.repeated(Street(prefix="cab-00001."), scale.day_s, batches.COMMIT_S, PERIOD_S))
    _hold(stand, city, 1, _grouped(day, PUSH_COMMITS), files / "day")
    stand.say("the minutes")
    minutes = _slowly("cab-99999.", scale.day_s / MINUTES, 60 / MINUTES, MINUTES)
    _hold(stand, city, 99_999, minutes, files / "minutes")
    fleet.chunk(stand, city)
    stand.say("the city")
    _city(stand, city, scale, files / "latest")
    reader = city.token("reader")
    with stand.pinned("test"):
        duck = duckdb.connect(config={"threads": 1})
    for question in _questions(scale, files):
        stand.say(question.name)
        runs = [_ask(stand, city, reader, duck, question) for _ in range(stand.repeats)]
        found, spread = median(runs)
        yield Figure(
            name=f"queries/{question.name}",
            unit="ms",
            less=True,
            ours=found["ours_ms"],
            spread=spread["ours_ms"],
            peer=found["json_ms"],
            peer_name="DuckDB",
            note=(
                f"{found['values']:.0f} values, {found['mb']:.1f} MB of JSON, {found['cpu_ms']:.0f} ms of CPU; DuckDB"
                f" as Arrow {found['arrow_ms']:.0f} ms{question.note}"
            ),
        )


def _questions(scale: Scale, files: Path) -> list[Question]:
    lamp = "cab-00001.lamp-001"
    lamps = [f"cab-00000.lamp-{i + 1:03}" for i in range(30)]
    words = cycle(permutations(GRADES))
    return [
        Question(
            "day of a device",
            lambda city, token: _readings(city, token, [lamp], {}),
            _of_page,
            f"SELECT * EXCLUDE (device) FROM '{files}/day/{LAMP}.parquet' WHERE device = '{lamp}'",  # noqa: S608
        ),
        Question(
            "day of a device pushed each minute",
            lambda city, token: _readings(city, token, ["cab-99999.lamp-001"], {}),
            _of_page,
            f"SELECT * EXCLUDE (device) FROM '{files}/minutes/{LAMP}.parquet' WHERE device = 'cab-99999.lamp-001'",  # noqa: S608
        ),
        Question(
            "month of a district",
            lambda city, token: _readings(city, token, lamps, {"point": POINT}),
            _of_page,
            f"SELECT device, ts, {POINT} FROM '{files}/month/{LAMP}.parquet'",  # noqa: S608
        ),
        Question(
            f"latest of {scale.devices:,} devices",
            lambda city, token: _latest(city, token, next(words)),
            _of_city,
            f"{files}/latest",
            "; in one answer",
        ),
    ]


def _ask(stand: Stand, city: City, token: str, duck: duckdb.DuckDBPyConnection, question: Question) -> dict[str, float]:
    before, began = city.process.usage(), time.perf_counter()
    answers = question.ours(city, token)
    ours_ms = (time.perf_counter() - began) * 1000
    used = city.process.usage().since(before)
    with stand.pinned("test"):
        began = time.perf_counter()
        tables = [duck.sql(query).to_arrow_table() for query in _queries(question.sql)]
        arrow_ms = (time.perf_counter() - began) * 1000
        began = time.perf_counter()
        rows = [duck.sql(f"SELECT to_json(row) FROM ({q}) row").fetchall() for q in _queries(question.sql)]  # noqa: S608
        json_ms = (time.perf_counter() - began) * 1000
        _same_count(rows, tables)
    ours = _tally(chain.from_iterable(map(question.read, answers)))
    peer = _tally(value for table in tables for name in table.column_names for value in _column(table, name))
    if ours[0] != peer[0] or not math.isclose(ours[1], peer[1], rel_tol=1e-9):
        raise BenchError(f"{question.name}: ours gives {ours} as number and sum of values, DuckDB {peer}")
    return {
        "ours_ms": ours_ms,
        "json_ms": json_ms,
        "arrow_ms": arrow_ms,
        "cpu_ms": used.cpu_s * 1000,
        "mb": sum(map(len, answers)) / 1e6,
        "values": float(ours[0]),
    }


def _same_count(rows: Sequence[Sequence[object]], tables: Sequence[pa.Table]) -> None:
    if sum(map(len, rows)) != sum(table.num_rows for table in tables):
        raise BenchError("DuckDB gives other rows as JSON than as Arrow")


def _queries(sql: str) -> list[str]:
    """One query, or one for each profile where a folder is given."""
    if sql.startswith("SELECT"):
        return [sql]
    return [
        f"SELECT device, max_by(COLUMNS(* EXCLUDE (device, ts)), ts) FROM '{file}' GROUP BY device"  # noqa: S608
        for file in sorted(Path(sql).iterdir())
    ]


def _column(table: pa.Table, name: str) -> list[Value]:
    return [] if name in ("device", "ts") else table.column(name).to_pylist()


def _tally(values: Iterable[Value]) -> Tally:
    """Texts count as their length."""
    there = [len(v) if isinstance(v, str) else v for v in values if v is not None]
    return len(there), math.fsum(there)


# ---- what is held -----------------------------------------------------------------------------------------------


def _month(scale: Scale) -> Iterator[list[list[Sample]]]:
    """An hour of the month each: half a minute of street, stretched."""
    return _slowly("cab-00000.", scale.month_s, 3600 / STRETCH, STRETCH)


def _slowly(prefix: str, seconds: float, commit_s: float, stretch: int) -> Iterator[list[list[Sample]]]:
    """A street that goes so much slower, and commits and pushes all that it says in so many of its own seconds."""
    start_us = round(START_S * 1e6)
    for samples in batches.commits(Street(prefix=prefix), seconds, commit_s):
        yield [[msgspec.structs.replace(s, time_us=start_us + (s.time_us - start_us) * stretch) for s in samples]]


def _grouped(commits: Sequence[list[Sample]], most: int) -> Iterator[Sequence[list[Sample]]]:
    for at in range(0, len(commits), most):
        yield commits[at : at + most]


def _hold(stand: Stand, city: City, number: int, pushes: Iterable[Sequence[list[Sample]]], files: Path) -> None:
    """Send one node's pushes, each of some commits, and write its lamps' samples into a file."""
    held: list[Sample] = []
    name = f"cab-{number:05}"
    sealing = batches.Sealing(name)
    found: list[Batch] = []
    for commits in pushes:
        found.append(sealing.cut([row for samples in commits for row in sealing.commit(samples)]))
        held += (sample for sample in chain.from_iterable(commits) if ".lamp-" in sample.device)
    _send(stand, city, {name: found})
    _write(files, held, Street().roster)


def _city(stand: Stand, city: City, scale: Scale, files: Path) -> None:
    """Two samples of each device of as many nodes as it takes."""
    street = Street()
    twice: dict[str, list[Sample]] = {device.id: [] for device in street.roster.devices}
    for sample in street.samples(180):
        twice[sample.device].append(sample)
    held: list[Sample] = []
    of_nodes: dict[str, list[Batch]] = {}
    for number in range(2, 2 + math.ceil(scale.devices / len(twice))):
        name = f"cab-{number:05}"
        sealing = batches.Sealing(name)
        room = max(0, scale.devices - (number - 2) * len(twice))
        of_nodes[name] = []
        for turn in range(2):
            samples = [
                msgspec.structs.replace(heard[turn], device=f"{name}.{device}")
                for device, heard in list(twice.items())[:room]
            ]
            of_nodes[name].append(sealing.cut(sealing.commit(samples)))
            held += samples
    _send(stand, city, of_nodes)
    _write(files, held, street.roster)


def _send(stand: Stand, city: City, of_nodes: Mapping[str, Sequence[Batch]]) -> None:
    tokens = fleet.tokens_for(city, list(of_nodes))
    connections = [
        Connection(
            [Request(Upload(codec.encode_batch(b), "batch+cbor").request(city, name, tokens[name])) for b in found]
        )
        for name, found in of_nodes.items()
    ]
    fleet.send(stand, "http", city.url, fleet.plan(stand.directory / "held", connections), CONNECTIONS)


def _write(files: Path, samples: Sequence[Sample], roster: Roster) -> None:
    files.mkdir()
    profiles = {device.id: device.profile for device in roster.devices}
    of_profile: dict[str, list[Sample]] = {}
    for sample in samples:
        of_profile.setdefault(profiles[sample.device.rpartition(".")[2]], []).append(sample)
    for profile, found in of_profile.items():
        found.sort(key=lambda s: (s.device, s.time_us))
        columns: dict[str, pa.Array] = {
            "device": pa.array([s.device for s in found]).dictionary_encode(),
            "ts": pa.array([s.time_us for s in found], pa.timestamp("us", "UTC")),
        }
        for point in roster.profiles[profile]:
            columns[point.name] = pa.array([s.values.get(point.name) for s in found], getattr(pa, _ARROW[point.type])())
        pq.write_table(pa.table(columns), files / f"{profile}.parquet", compression="zstd", row_group_size=ROW_GROUP)


# ---- asking -----------------------------------------------------------------------------------------------------


class _Row(msgspec.Struct):
    values: dict[str, Value]


class _Page(msgspec.Struct):
    rows: list[_Row]


class _Next(msgspec.Struct):
    next: str | None


class _Device(msgspec.Struct):
    node: str
    values: dict[str, Value]


class _City(msgspec.Struct):
    devices: list[_Device]


def _of_page(body: bytes) -> Iterator[Value]:
    for row in msgspec.json.decode(body, type=_Page).rows:
        yield from row.values.values()


def _of_city(body: bytes) -> Iterator[Value]:
    """Without the nodes of the days and the month."""
    for device in msgspec.json.decode(body, type=_City).devices:
        if "cab-00002" <= device.node < "cab-99999":
            yield from device.values.values()


def _readings(city: City, token: str, devices: Sequence[str], more: Mapping[str, str]) -> list[bytes]:
    """All pages of each device, one after the other on one connection."""

    async def ask() -> list[bytes]:
        pages: list[bytes] = []
        async with Reader(city.url, token) as reader:
            for device in devices:
                asked: dict[str, Any] = {**more, "limit": PAGE_ROWS}
                while True:
                    pages.append(await reader.get(f"/v1/devices/{device}/readings?{urlencode(asked)}"))
                    cursor = msgspec.json.decode(pages[-1], type=_Next).next
                    if cursor is None:
                        break
                    asked["cursor"] = cursor
        return pages

    return asyncio.run(ask())


def _latest(city: City, token: str, words: Sequence[str]) -> list[bytes]:
    """All devices in one answer. `words` is the same question in other words each time, for an answer is kept."""

    async def ask() -> list[bytes]:
        async with Reader(city.url, token) as reader:
            return [await reader.get(f"/v1/latest?{urlencode([('quality', word) for word in words])}")]

    return asyncio.run(ask())
