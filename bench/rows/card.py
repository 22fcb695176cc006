"""Bytes to the card per reading: what the node's outbox hands to the disk, with pruning, acks, and checkpoints.

Streets of 8, 100, and 1,000 readings a second are committed every 1 and 5 s by our own group commit and outbox, in a
process of their own, whose `write_bytes` (proc(5)) are counted once its history is full and pruned again and again
(`bench/loads/card_writer.py`). The file system's own journal is not in it, for anybody.

Beside it thingsboard-gateway's SQLite storage, fed with the same samples as its converters would put them in, in real
time, for it commits at its own pace (about five times a second) and leaves the syncing to the kernel: the last seconds
go with the power, where ours is on the card when it is acknowledged. The limit is one file to which the same rows are
appended, with one fdatasync a commit, and nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.figure import Figure, Goal, median
from bench.loads import card_writer
from bench.loads.card_writer import Result
from bench.peers import thingsboard
from bench.stand import ROOT, BenchError, Process, Stand
from bench.street import CABINET, SEED, Arrival, Street
from edge.outbox.reading import read_history
from wire.batch import Lane
from wire.codec import decode_row
from wire.columns import Columns
from wire.sample import Sample

WHAT = "bytes to the card per reading"

DAY_S: Final = 86_400
DONE_S: Final = 240.0
RATES: Final = (8, 100, 1000)  # readings a second
COMMITS: Final = (5.0, 1.0)
WARM_S: Final = 600.0  # of street time: history is full, and has been pruned once
RUN_S: Final = {8: 1800.0, 100: 900.0, 1000: 600.0}  # several prunings and foldings of the log
PEER_WARM_S, PEER_RUN_S = 10.0, 60.0
QUICK_S: Final = {"warm": 330.0, "run": 300.0, "peer warm": 1.0, "peer": 4.0}
FEEDER: Final = Path(card_writer.__file__).with_name("card_thingsboard.py")


class Taken(msgspec.Struct, frozen=True):
    """What the peer's feeder tells: bytes and readings of the measured time; what went in and came out in all."""

    written_bytes: int
    readings: int
    given: int
    taken: int


def run(stand: Stand) -> Iterator[Figure]:
    """See the module."""
    rates, commits = ((100,), COMMITS[:1]) if stand.quick else (RATES, COMMITS)
    given = {rate: _arrivals(stand, rate) for rate in rates}
    peers = _peers(stand, given)
    for rate in rates:
        for commit_s in commits:
            stand.say(f"{rate} readings/s, a commit every {commit_s:.0f} s")
            warm_s, run_s = (QUICK_S["warm"], QUICK_S["run"]) if stand.quick else (WARM_S, RUN_S[rate])
            asked = (given[rate], commit_s, warm_s, run_s)
            least = _written(stand, "file", *asked)
            repeats = stand.repeats if rate < 1000 else 1  # what is counted hardly varies
            ours, spread = median([{"ours": _written(stand, "outbox", *asked)} for _ in range(repeats)])
            written = {**ours, "least": least}
            yield _figure(rate, commit_s, written, spread["ours"], peers.get(rate))
            if rate == RATES[0]:
                yield _a_day(rate, commit_s, written, spread["ours"], peers.get(rate))


def _arrivals(stand: Stand, rate: int) -> Path:
    """What streets of this rate say, for as long as anybody wants to hear it."""
    stand.say(f"a street of {rate} readings/s")
    many = range(rate // 100)
    streets = [Street(seed=SEED + i, prefix=f"s{i}-" if i else "") for i in many] if many else [Street(CABINET)]
    seconds = QUICK_S["warm"] + QUICK_S["run"] if stand.quick else WARM_S + RUN_S[rate]
    merged = heapq.merge(*(s.arrivals(seconds) for s in streets), key=lambda a: a.at_s)
    path = stand.fresh(f"street-{rate}") / "arrivals"
    path.write_bytes(msgspec.msgpack.encode(list(merged)))
    return path


def _figure(rate: int, commit_s: float, written: dict[str, float], spread: float, peer: float | None) -> Figure:
    goal = Goal(10, "peer") if rate >= 100 and commit_s == 5 else None
    return Figure(
        name=f"card/{rate} readings/s, commit {commit_s:.0f} s",
        unit="B/reading",
        less=True,
        ours=written["ours"],
        peer=peer,
        peer_name=thingsboard.NAME,
        limit=written["least"],
        limit_name="append and fdatasync",
        spread=spread,
        goal=goal,
        note=thingsboard.available() or "",
    )


def _a_day(rate: int, commit_s: float, written: dict[str, float], spread: float, peer: float | None) -> Figure:
    per_day = rate * DAY_S / 1e6
    return Figure(
        name=f"card/{rate} readings/s, commit {commit_s:.0f} s, a day",
        unit="MB/day",
        less=True,
        ours=written["ours"] * per_day,
        peer=None if peer is None else peer * per_day,
        peer_name=thingsboard.NAME,
        limit=written["least"] * per_day,
        limit_name="append and fdatasync",
        spread=spread,
        goal=Goal(60) if commit_s == 5 else None,
        note=thingsboard.available() or "",
    )


def _written(stand: Stand, sink: str, given: Path, commit_s: float, warm_s: float, run_s: float) -> float:
    """Bytes to the disk a reading; what was stored is counted.

    Raises:
        BenchError: samples are missing.
    """
    folder = stand.fresh(sink)
    result = folder / "result.json"
    command = [sys.executable, "-m", "bench.loads.card_writer", sink, given]
    numbers = [str(n) for n in (commit_s, warm_s, run_s)]
    process = stand.start(sink, [*command, *numbers, folder, result], side="test", directory=ROOT)
    _wait(process, result)
    told = msgspec.json.decode(result.read_bytes(), type=Result)
    stored = _in_outbox(folder / "outbox.db") if sink == "outbox" else _in_file(folder / "rows")
    if stored != told.samples:
        raise BenchError(f"{sink}: {told.samples} samples went in, {stored} are there or were pruned in their time")
    return told.written_bytes / told.readings


def _in_outbox(path: Path) -> int:
    """Samples that it holds, and those that were acked and pruned since."""

    async def held() -> int:
        return sum([columns.n async for columns in read_history(path, 0, 2**62)])

    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        ((from_seq,),) = db.execute("SELECT held_from FROM runs WHERE lane = ?", (Lane.BULK.value,))
    return from_seq - 1 + asyncio.run(held())


def _in_file(path: Path) -> int:
    bodies = card_writer.rows_in(path)
    return sum(p.entry.n for body in bodies for p in decode_row(body) if isinstance(p.entry, Columns))


def _peers(stand: Stand, given: Mapping[int, Path]) -> dict[int, float]:
    """Bytes to the disk a reading by thingsboard-gateway's storage at each rate. All at once, for mostly they wait; but
    not beside ours, which keeps the core busy: what waits longer goes into fewer commits.

    Raises:
        BenchError: it has lost something.
    """
    if thingsboard.available() is not None:
        return {}
    warm_s, run_s = (QUICK_S["peer warm"], QUICK_S["peer"]) if stand.quick else (PEER_WARM_S, PEER_RUN_S)
    stand.say(f"{thingsboard.NAME}'s storage for {warm_s + run_s:.0f} s")
    started: dict[int, tuple[Process, Path]] = {}
    for rate, path in given.items():
        folder = stand.fresh(f"thingsboard-{rate}")
        arrivals = msgspec.msgpack.decode(path.read_bytes(), type=list[Arrival])
        soon = takewhile(lambda a: a.at_s < warm_s + run_s, arrivals)
        (folder / "messages").write_bytes(b"".join(_message(a.at_s, a.sample) for a in soon))
        (folder / "data").mkdir()
        result = folder / "result.json"
        times = [str(warm_s), str(run_s)]
        command = [thingsboard.HOME / "bin/python", FEEDER, folder / "messages", *times, folder / "data", result]
        started[rate] = stand.start(f"thingsboard {rate}", command, side="test"), result
    found: dict[int, float] = {}
    for rate, (process, result) in started.items():
        _wait(process, result)
        told = msgspec.json.decode(result.read_bytes(), type=Taken)
        if told.taken != told.given:
            raise BenchError(f"{thingsboard.NAME}: {told.given} readings went in, {told.taken} came out")
        found[rate] = told.written_bytes / told.readings
    return found


def _message(at_s: float, sample: Sample) -> bytes:
    """A sample as the gateway's converters put it into the storage."""
    telemetry: Iterable[Any] = [{"ts": sample.time_us // 1000, "values": sample.values}]
    data = {"deviceName": sample.device, "deviceType": "default", "telemetry": telemetry, "attributes": {}}
    message = msgspec.json.encode(data).decode()
    return msgspec.json.encode({"at_s": at_s, "readings": len(sample.values), "message": message}) + b"\n"


def _wait(process: Process, result: Path) -> None:
    """Until it has ended.

    Raises:
        BenchError: without a result.
    """
    try:
        process.process.wait(DONE_S)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{process.name} takes longer than {DONE_S:.0f} s") from error
    if not result.exists():
        raise BenchError(f"{process.name} has no result:\n{process.said()}")
