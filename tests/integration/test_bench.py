"""Rows of the benchmark run, find again what went in, and have a figure of ours. How fast is not asked here."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import machine, rows
from bench.loads import ingest_fleet
from bench.stand import Stand
from support.laboratory import drawn_from

ROOT = Path(__file__).parents[2]
DRAWN = 7


def drawn() -> list[str]:
    """The rows that are tried: each takes up to a minute, so some are drawn from the commit, as seeds of faults are.
    All with BENCH_ROWS=all, as `scripts/soak` has it."""
    if os.environ.get("BENCH_ROWS") == "all":
        return list(rows.NAMES)
    return sorted(random.Random(drawn_from()).sample(rows.NAMES, DRAWN), key=rows.NAMES.index)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("row", drawn())
def test_a_row_has_its_figures(row: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    said = tmp_path / "said.txt"
    with said.open("w") as writes:
        done = subprocess.run(
            [
                "timeout",
                "--kill-after=10",
                "560",
                sys.executable,
                "-m",
                "bench",
                "--quick",
                "--only",
                row,
                "--json",
                out,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "default"},
            stdout=writes,
            stderr=writes,
            check=False,
        )
    assert done.returncode == 0, said.read_text()
    machine, *figures = map(json.loads, out.read_text().splitlines())
    assert machine["machine"]["commit"]
    assert figures
    for figure in figures:
        assert figure["name"].split("/")[0] == row
        assert figure["ours"] is not None or figure["note"]
    assert any(figure["ours"] is not None for figure in figures) or "scripts/bench brings them" in figures[0]["note"]


def test_several_may_describe_the_machine_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: machine.describe(), range(8)))
    assert len({t["machine"] for t in told}) == 1


def test_a_connection_that_is_reset_before_its_first_answer_is_opened_again(tmp_path: Path) -> None:
    """As a node does; on a busy machine the aggregator may close one that has not spoken in time."""

    def serve(listener: socket.socket) -> None:
        first, _ = listener.accept()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        first.recv(1)
        first.close()  # with something unread, and a linger of nothing: a reset
        second, _ = listener.accept()
        for _ in range(2):
            second.recv(1 << 16)
            second.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        second.close()

    with socket.create_server(("127.0.0.1", 0)) as listener, Stand(quick=True, repeats=1, say=lambda _: None) as stand:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        requests = [ingest_fleet.Request(b"POST / HTTP/1.1\r\n\r\n", timed=True) for _ in range(2)]
        plan = ingest_fleet.plan(tmp_path / "plan", [ingest_fleet.Connection(requests, b"")])
        sent = ingest_fleet.send(stand, "http", f"http://127.0.0.1:{listener.getsockname()[1]}", plan, 1)
    assert (sent.requests, sent.resets) == (2, 1)
