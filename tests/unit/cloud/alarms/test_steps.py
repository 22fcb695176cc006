"""The steps of alarms over HTTP: pages in JSON and CSV, and what a reader has missed of the feed."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cloud.times import text
from support.cloud_app import App, app_over
from support.cloud_batches import SECOND, START_US, Sender, columns, send
from wire.batch import Lane
from wire.entries import Alarm

ALARM = Alarm(id="a", device="lamp-1", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with app_over(tmp_path) as made:
        yield made


async def tell(app: App, sender: Sender, *said: Alarm) -> str:
    await send(app.store.log, sender.batch(*said, lane=Lane.URGENT))
    return f"{app.store.log.generation}.{app.store.log.reach().head}"


async def test_how_an_alarm_went_is_told_page_by_page(app: App) -> None:
    sender = Sender()
    await tell(app, sender, *(replace(ALARM, id=f"a{i}", time_us=START_US + i * SECOND) for i in range(5)))
    await tell(app, sender, replace(ALARM, id="a0", state="cleared", by="anna", time_us=START_US + 9 * SECOND))
    first = await app.ask("GET", "/v1/alarms/steps?limit=4&node=cab-1", "reader")
    assert [s["id"] for s in first.json()["steps"]] == ["a0", "a1", "a2", "a3"]
    rest = await app.ask("GET", first.links["next"]["url"], "reader")
    assert [(s["id"], s["before"], s["state"], s["by"]) for s in rest.json()["steps"]] == [
        ("a4", None, "raised", ""), ("a0", "raised", "cleared", "anna"),
    ]  # fmt: skip
    assert (rest.json()["next"], rest.links) == (None, {})
    assert first.json()["steps"][0]["event"] == f"cab-1/{sender.epoch}/urgent/1"
    asked = {"from": text(START_US + 2 * SECOND), "to": text(START_US + 4 * SECOND)}
    assert [s["id"] for s in (await app.get("/v1/alarms/steps", **asked))["steps"]] == ["a2", "a3"]


async def test_a_reader_of_the_feed_fills_in_what_it_has_missed(app: App) -> None:
    sender = Sender()
    seen = await tell(app, sender, ALARM)
    await send(app.store.log, sender.batch(columns()))
    await tell(app, sender, replace(ALARM, id="b", time_us=START_US - 99 * SECOND))
    assert [s["id"] for s in (await app.get("/v1/alarms/steps", after=seen))["steps"]] == ["b"]
    inside = f"{seen}.0"
    assert [s["id"] for s in (await app.get("/v1/alarms/steps", after=inside))["steps"]] == ["b", "a"]
    other = f"7.{app.store.log.reach().head}"
    assert len((await app.get("/v1/alarms/steps", after=other))["steps"]) == 2, "of a log that nothing is known of"


async def test_a_table_has_no_formulas(app: App) -> None:
    await tell(app, Sender(), replace(ALARM, detail="=1+1, said he", by="anna"))
    answer = await app.ask("GET", "/v1/alarms/steps?format=csv&severity=high", "reader")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["time"], row["device"], row["before"], row["state"], row["note"]) == (
        text(START_US), "lamp-1", "", "raised", "'=1+1, said he",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("severity=loud", "severity is 'loud'"),
        ("from=yesterday", "from: 'yesterday' is no time"),
        ("cursor=1.2", "cursor is none of ours"),
        ("cursor=9999999999999999999.2.3", "cursor is none of ours"),
        ("after=x", "after: 'x' is no cursor"),
        ("after=1.9223372036854775808", "after: '1.9223372036854775808' is no cursor"),
        ("format=xml", "format is 'xml'"),
        ("limit=0", "limit is '0'"),
    ],
)
async def test_what_is_asked_wrongly_is_told(app: App, query: str, told: str) -> None:
    answer = await app.ask("GET", f"/v1/alarms/steps?{query}", "reader")
    assert answer.status_code == 400
    assert told in answer.json()["detail"]
