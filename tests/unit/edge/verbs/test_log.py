"""`lamplighter-edge log`: from a node's answer, and from the card of one that does not run."""

from __future__ import annotations

import argparse
import asyncio
import json
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge.config import load
from edge.outbox.sqlite import SqliteOutbox
from edge.verbs import log
from edge.web.activity_log import Activity, ActivityLog, Present
from wire.batch import Lane
from wire.entries import Result, Visit

NODE = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://lamplighter.example.org"
token = "x"

[site]
lon = 5.04
lat = 47.32
time_zone = "Europe/Paris"

[[line]]
name = "bus"
protocol = "modbus"
host = "127.0.0.1"

[[device]]
id = "lamp-001"
profile = "lx-1"
line = "bus"
address = { unit = 1 }
"""
NOW_US = 1_795_000_000_000_000  # 2026-11-18, 12:06:40 in Paris
HOUR_US = 3_600_000_000


def activity(what: Any, at: int, **more: Any) -> Activity:
    return Activity(what=what, time_us=NOW_US + at, by=more.pop("by", "Léa"), **more)


FOUND = ActivityLog(
    since_us=NOW_US - 24 * HOUR_US,
    here=(Present(by="Léa", since_us=NOW_US - HOUR_US, until_us=NOW_US + HOUR_US),),
    activities=(
        activity("did", -20 * HOUR_US, by="root for jean", console=True, device="lamp-001", point="dim_level",
             detail="dim_level = 40 for 7200 s", order="site-1", stage="failed", why="no answer"),
        activity("came", -HOUR_US, until_us=NOW_US - HOUR_US // 2, visit="v1"),
        activity("did", -HOUR_US + 60_000_000, device="lamp-001", point="dim_level", detail="dim_level = 80 for 60 s",
             stage="verified", read_back=80, visit="v1"),
        activity("did", -HOUR_US + 70_000_000, detail="line bus restarted", visit="v1", estimated=True),
        activity("here", -HOUR_US + 80_000_000, until_us=NOW_US + HOUR_US, visit="v1"),
    ),
)  # fmt: skip


def type_in(
    folder: Path, *words: str, answer: object = FOUND, status: int = 200, locale: str = "C"
) -> tuple[int, str, str, list[str]]:
    parser = argparse.ArgumentParser()
    log.add(parser.add_subparsers(dest="verb"))
    (folder / "node.toml").write_text(NODE)
    args = parser.parse_args(["log", *words, "--config", str(folder / "node.toml")])
    out, err, asked = StringIO(), StringIO(), list[str]()

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        if answer is None:
            raise httpx.ConnectError("Connection refused", request=request)
        return httpx.Response(status, content=msgspec.json.encode(answer))

    code = log.run(load(args.config, {}, secrets=False), args, locale=locale, out=out, err=err, now_us=lambda: NOW_US,
                   transport=httpx.MockTransport(answers))  # fmt: skip
    return code, out.getvalue(), err.getvalue(), asked


def test_who_is_here_and_what_was_done_by_day(tmp_path: Path) -> None:
    code, out, err, asked = type_in(tmp_path)
    assert (code, err, asked) == (0, "", ["/log?days=7"])
    assert out.splitlines() == [
        "since 2026-11-17 12:06",
        "Léa is here since 11:06, until 13:06",
        "",
        "2026-11-17",
        " 16:06:40  root for jean (console)  lamp-001: set dim_level to 40 % for 2 h (failed: no answer)",
        "",
        "2026-11-18",
        " 11:06:40  Léa                      came, until 11:36",
        " 11:07:40  Léa                      lamp-001: set dim_level to 80 % for 1 min (verified, read back 80 %)",
        "~11:07:50  Léa                      restarted the line bus",
        " 11:08:00  Léa                      said: I am here, until 13:06",
    ]


def test_in_french(tmp_path: Path) -> None:
    _, out, _, _ = type_in(tmp_path, locale="fr_FR.UTF-8")
    assert "Léa est ici depuis 11:06, jusqu’à 13:06" in out
    assert "lamp-001 : a réglé dim_level à 80 % pendant 1 min (vérifié, relu 80 %)" in out
    assert "échoué : no answer" in out


def test_for_programs_and_other_spans(tmp_path: Path) -> None:
    code, out, err, asked = type_in(tmp_path, "--json", "--days", "0.5")
    assert (code, err, asked) == (0, "", ["/log?days=0.5"])
    assert msgspec.json.decode(out, type=ActivityLog) == FOUND
    with pytest.raises(SystemExit):
        type_in(tmp_path, "--days", "0")


def test_a_node_that_says_no_is_believed(tmp_path: Path) -> None:
    code, out, err, _ = type_in(tmp_path, answer={"error": "jean is no technician here"}, status=403)
    assert (code, out, err) == (1, "", "the node refuses: jean is no technician here\n")


def keep(folder: Path, *entries: Visit | Result) -> None:
    async def put() -> None:
        async with SqliteOutbox(folder / "data", node="cab-1", limit_bytes=32 << 20, now_us=lambda: NOW_US) as outbox:
            await outbox.append({Lane.URGENT: list(entries)})

    asyncio.run(put())


def test_the_card_of_a_node_that_does_not_run_tells_it(tmp_path: Path) -> None:
    keep(
        tmp_path,
        Visit(visit="v0", by="Max", act="left", time_us=NOW_US - 30 * 24 * HOUR_US, detail="logged out"),
        Visit(visit="v1", by="L\x1b[31méa", act="began", time_us=NOW_US - HOUR_US, until_us=NOW_US),
    )
    code, out, err, _ = type_in(tmp_path, answer=None)
    assert (code, err) == (0, "the node does not run: this is what its card knows\n")
    assert "L\\x1b[31méa had come at 11:06, and no end is known, until 12:06" in out
    assert "Max" not in out, "it is older than a week"
    assert [d["what"] for d in json.loads(type_in(tmp_path, "--json", answer=None)[1])["activities"]] == ["came"]


def test_nothing_done_and_nothing_kept_are_told_apart(tmp_path: Path) -> None:
    code, out, err, _ = type_in(tmp_path, answer=None)
    assert (code, out) == (1, "")
    assert "the node has not run yet" in err
    keep(tmp_path)
    assert type_in(tmp_path, answer=None)[:2] == (0, "nothing has been kept here yet\n")
    empty = ActivityLog(since_us=NOW_US, here=(), activities=())
    assert type_in(tmp_path, answer=empty)[1].splitlines()[-1] == "nothing was done here"


def test_what_blinked(tmp_path: Path) -> None:
    blinked = activity("did", 0, detail="dim_level blinks for 120 s", device="lamp-001", stage="verified")
    answer = ActivityLog(since_us=NOW_US, here=(), activities=(blinked,))
    assert "lamp-001: let dim_level blink for 2 min (verified)\n" in type_in(tmp_path, answer=answer)[1]
    assert (
        "lamp-001 : a fait clignoter dim_level pendant 2 min (vérifié)\n"
        in type_in(tmp_path, answer=answer, locale="fr")[1]
    )


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("logged out", "left: logged out"),
        ("the time is over", "left: the time was over"),
        ("something else", "left: something else"),
    ],
)
def test_why_somebody_left(tmp_path: Path, detail: str, said: str) -> None:
    answer = ActivityLog(since_us=NOW_US, here=(), activities=(activity("left", 0, detail=detail),))
    assert type_in(tmp_path, answer=answer)[1].endswith(f"{said}\n")
