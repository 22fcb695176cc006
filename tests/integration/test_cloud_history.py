"""History over HTTP, from readings and from folded hours, whose folder is killed and goes on."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from support.cloud_batches import Sender, columns, roster
from support.cloud_process import Process
from wire.batch import Lane

HOUR = 3_600_000_000
NOW_US = time.time_ns() // 1000
BEGAN = NOW_US - NOW_US % HOUR - 60 * HOUR


def fold(data: Path, crash_at: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cloud.cli", "fold", "--data", str(data), "--once"]
    return subprocess.run(
        command, env={**os.environ, "LAMPLIGHTER_CRASH_AT": crash_at}, capture_output=True, text=True, check=False
    )


def test_a_folder_that_is_killed_goes_on_and_the_answers_stay(tmp_path: Path) -> None:
    cloud = Process(tmp_path)
    try:
        cloud.start()
        sender = Sender()
        cloud.push(sender.batch(roster("lamp-001", "=lamp"), lane=Lane.URGENT))
        for hour in range(58):
            cloud.push(
                sender.batch(*(columns(d, BEGAN + hour * HOUR, n=7, step_us=HOUR // 7) for d in ("lamp-001", "=lamp")))
            )

        def ask(shape: str, **more: str) -> bytes:
            asked: dict[str, Any] = {"kind": "streetlight", "point": "n", "from": BEGAN, "format": shape, **more}
            answer = cloud.client.get(f"{cloud.url}/v1/history", params=asked, headers=cloud.bearer())
            assert answer.status_code == 200, answer.text
            return answer.content

        fixed = str(BEGAN + 60 * HOUR)
        asked = {"tz": "Europe/Paris", "to": fixed}

        def series() -> list[Any]:
            return [json.loads(ask("json", every=e, fn="mean,increase,count", **asked))["series"] for e in ("1h", "1d")]

        before = series()
        assert fold(cloud.data, "history.renamed").returncode == -signal.SIGKILL  # elsewhere: test_folder.py
        done = fold(cloud.data)
        assert done.returncode == 0, done.stderr
        assert "0 hours of nodes to fold anew" in done.stdout
        assert list((cloud.data / "history").glob("day=*/hours.parquet"))
        assert series() == before

        rows = list(csv.DictReader(io.StringIO(ask("csv", every="1d", **asked).decode())))
        assert {r["device"] for r in rows} == {"lamp-001", "'=lamp"}
        assert sum(int(r["count"]) for r in rows) == 2 * 58 * 7
        assert rows[0]["begin"][:10] == rows[0]["local"][:10]
        assert rows[0]["local"].endswith(" 00:00:00")
        table = pq.read_table(io.BytesIO(ask("parquet", every="1d", **asked)))
        names = [name for name in table.column_names if name != "coverage"]  # which goes on
        streamed = pa.ipc.open_stream(ask("arrow", every="1d", **asked)).read_all()
        assert streamed.select(names).to_pylist() == table.select(names).to_pylist()
        assert [str(b) for b in table["begin"].to_pylist()] == [r["begin"].replace("T", " ") for r in rows]
        assert table["count"].to_pylist() == [float(r["count"]) for r in rows]
        assert table["mean"].to_pylist() == [float(r["mean"]) if r["mean"] else None for r in rows]
    finally:
        cloud.close()


def test_a_folder_without_a_store_says_so(tmp_path: Path) -> None:
    done = fold(tmp_path)
    assert (done.returncode, "has no store" in done.stderr) == (1, True)
