"""Exports beside a running aggregator: equal to its answers to the last value, gone on with, refused without room."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cloud.exporting import export as exporting
from cloud.exporting.export import CannotExport, ExportAsked, ExportProgress, export
from cloud.history.contract import HistoryAsked
from cloud.views.contract import TargetsAsked
from support.cloud_batches import Sender, columns, roster
from support.cloud_process import Process
from wire.batch import Lane

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW_US = time.time_ns() // 1000
BEGAN = NOW_US - NOW_US % DAY - 70 * DAY
ENDS = BEGAN + 60 * DAY


@pytest.fixture
def city(tmp_path: Path) -> Any:
    cloud = Process(tmp_path)
    cloud.start("--no-fold")
    sender = Sender()
    cloud.push(sender.batch(roster("lamp-001", "=lamp"), lane=Lane.URGENT))
    for day in range(0, 60, 2):
        at = BEGAN + day * DAY
        cloud.push(sender.batch(*(columns(d, at, n=20, step_us=HOUR, p=day / 7) for d in ("lamp-001", "=lamp"))))
    yield cloud
    cloud.close()


def answered(cloud: Process, shape: str, **more: Any) -> bytes:
    asked = {"kind": "streetlight", "point": ["n", "p"], "from": BEGAN, "to": ENDS, "every": "1h",
             "tz": "Europe/Paris", "format": shape, **more}  # fmt: skip
    answer = cloud.client.get(f"{cloud.url}/v1/history", params=asked, headers=cloud.bearer())
    assert answer.status_code == 200, answer.text
    return answer.content


def command(cloud: Process, folder: Path, *more: str) -> tuple[str, ...]:
    return (
        "export", "--data", str(cloud.data), str(folder), "--kind", "streetlight", "--point", "n", "--point", "p",
        "--from", str(BEGAN), "--to", str(ENDS), "--tz", "Europe/Paris", *more,
    )  # fmt: skip


def test_it_is_what_the_api_answers_and_what_others_read(city: Process, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert "3 files" in city.verb(*command(city, folder)) or len(list(folder.glob("*.parquet"))) in (2, 3)
    expected = pq.read_table(io.BytesIO(answered(city, "parquet"))).to_pandas().astype(_plain)
    keys = ["device", "point", "begin"]

    def same(found: pd.DataFrame) -> None:
        ours, theirs = (f.sort_values(keys).reset_index(drop=True) for f in (found, expected))
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_exact=True)

    same(pd.concat(pd.read_parquet(p) for p in sorted(folder.glob("*.parquet"))).astype(_plain))
    with duckdb.connect() as duck:
        duck.sql("SET TimeZone = 'Europe/Paris'")
        counted = (
            f"SELECT count(*), sum(\"count\"), sum(mean), min(epoch_us(begin)) FROM read_parquet('{folder}/*.parquet')"
        )
        (found,) = duck.sql(counted).fetchall()
    assert found == (
        len(expected), expected["count"].sum(), pytest.approx(expected["mean"].sum(), rel=1e-12),
        expected["begin"].min().value // 1000,
    )  # fmt: skip

    assert city.verb(*command(city, tmp_path / "csv", "--format", "csv"))
    rows: list[list[str]] = []
    for path in sorted((tmp_path / "csv").glob("*.csv")):
        rows += list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:]
    wanted = list(csv.reader(io.StringIO(answered(city, "csv").decode())))[1:]
    assert sorted(rows) == sorted(wanted)


_plain = {"device": "object", "node": "object", "point": "object", "unit": "object"}


def test_one_that_was_begun_is_gone_on_with(city: Process, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    city.verb(*command(city, folder))
    paths = sorted(folder.glob("*.parquet"))
    whole = {p.name: pq.read_table(p) for p in paths}
    paths[1].unlink()
    stamp = paths[0].stat().st_mtime_ns
    city.verb(*command(city, folder))
    assert {p.name: pq.read_table(p) for p in folder.glob("*.parquet")} == whole
    assert paths[0].stat().st_mtime_ns == stamp
    assert "something else" in city.verb(*command(city, folder, "--every", "1d"), ok=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert "mine.txt" in city.verb(*command(city, tmp_path / "other"), ok=False)


def question(**more: Any) -> ExportAsked:
    history = HistoryAsked(
        which=TargetsAsked(kind="streetlight"), points=("n",), every="1h", zone="UTC", from_us=BEGAN, to_us=ENDS
    )
    return ExportAsked(history=history, functions=("mean",), **more)


async def test_nothing_is_begun_without_room_and_a_failure_leaves_what_is_whole(
    city: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CannotExport, match="MiB free"):
        await export(city.data, tmp_path / "full", question(), least_free=1 << 60)
    assert not list((tmp_path / "full").iterdir())
    folder = tmp_path / "again"
    assert "from lies before to" in city.verb(*command(city, folder, "--to", str(BEGAN - 1)), ok=False)
    assert "write west,south,east,north" in city.verb(*command(city, folder, "--box", "1,2,3"), ok=False)
    named = [
        w for w in command(city, folder, "--device", "lamp-1", "--device", "nope") if w not in ("--kind", "streetlight")
    ]
    assert "no such devices: " in city.verb(*named, ok=False)
    assert city.verb(*command(city, folder)), "what was refused leaves the folder to another question"

    told: list[ExportProgress] = []

    def failing(progress: ExportProgress) -> None:
        told.append(progress)
        if progress.files == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        await export(city.data, tmp_path / "out", question(), failing)
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1
    assert not list((tmp_path / "out").glob(".*"))
    done = await export(city.data, tmp_path / "out", question(), told.append)
    assert (done.files, done.places) == (done.files_all, done.places_all)
    assert [p.places for p in told] == sorted(p.places for p in told)

    monkeypatch.setattr(exporting, "MAX_PLACES", 100)  # a month is too much for one answer
    days = await export(city.data, tmp_path / "days", question())
    assert days.files == 60
