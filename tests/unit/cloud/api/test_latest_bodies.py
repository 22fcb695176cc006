"""The same in each of its shapes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cloud.api.latest_bodies import COLUMNS, WHO
from support.cloud_app import App, app_over
from support.cloud_batches import SECOND, START_US, Sender, columns, roster, send
from wire.batch import Lane
from wire.device import Device, Point, Roster
from wire.entries import Decision, Decisions
from wire.sample import Clock

METER = Roster(
    devices=(Device(id="m", kind="meter", profile="m", lon=5.0, lat=47.0, name="Café"),),
    profiles={"m": (Point(name="t", type="float", unit="W"), Point(name="n", type="int"))},
)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with app_over(tmp_path) as made:
        lamps, meter = Sender("cab-1"), Sender("cab-2")
        await send(made.store.log, lamps.batch(roster("a", "b"), columns("a", n=1, t="on", u=True)))
        await send(
            made.store.log, lamps.batch(columns("a", at_us=START_US + SECOND, n=1, clock=Clock(3, synced=False)))
        )
        by = Decision(point="n", devices=("a",), level="technician", value=80.0, by="jean", until_us=START_US + 9)
        await send(made.store.log, lamps.batch(Decisions(time_us=START_US, decided=(by,)), lane=Lane.URGENT))
        await send(made.store.log, meter.batch(METER, columns("m", n=1, t=float("nan"))))
        yield made


async def arrow(app: App, **asked: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    answer = await app.ask("GET", "/v1/latest", "reader", params={"format": "arrow", **asked})
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream", answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    return table.to_pylist(), {k.decode(): v.decode() for k, v in table.schema.metadata.items()}


async def test_arrow_says_what_csv_and_json_say(app: App) -> None:
    rows, about = await arrow(app, decided=1)
    answer = await app.ask("GET", "/v1/latest", "reader", params={"format": "csv", "decided": 1})
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(lines[0]) == [*COLUMNS, *WHO]
    assert len(rows) == len(lines) > 4
    for row, line in zip(rows, lines, strict=True):
        for name in ("device", "node", "kind", "profile", "name", "point", "unit", "quality", "clock"):
            assert (row[name] or "") == line[name], name
        assert row["time"].strftime("%Y-%m-%dT%H:%M:%S.%fZ") == line["time"]
        assert (row["level"] or "", row["by"] or "") == (line["level"], line["by"])
    whole = await app.get("/v1/latest", decided=1)
    answer = await app.ask("GET", "/v1/latest", "reader", params={"format": "arrow"})
    for column in pa.ipc.open_stream(answer.content).read_all().columns:
        if pa.types.is_dictionary(column.type):
            assert all(len(set(chunk.dictionary.to_pylist())) == len(chunk.dictionary) for chunk in column.chunks)
            assert all(None not in chunk.dictionary.to_pylist() for chunk in column.chunks)
    assert about == {"cursor": whole["cursor"], "complete": "true", "gone": "[]"}
    values = {(r["device"], r["point"]): (r["value"], r["text"]) for r in rows}
    assert values["a", "t"] == (None, "on")
    assert values["a", "u"] == (1.0, None)
    value, text = values["m", "t"]
    assert (str(value), text) == ("nan", None), "a number that JSON has no word for is one here"
    (held,) = [r for r in rows if r["level"] is not None]
    assert (held["device"], held["point"], held["level_value"], held["by"]) == ("a", "n", 80.0, "jean")
    assert {(r["lon"], r["name"]) for r in rows if r["device"] == "m"} == {(5.0, "Café")}


async def test_what_is_gone_and_nothing_at_all_can_be_said(app: App) -> None:
    whole = await app.get("/v1/latest")
    await send(app.store.log, Sender("cab-1", 8).batch(columns("b", n=1)))
    rows, about = await arrow(app, after=whole["cursor"], kind="meter")
    assert rows == []
    assert (about["complete"], json.loads(about["gone"])) == ("false", ["b"])
    refused = await app.ask("GET", "/v1/latest", "reader", params={"format": "xml"})
    assert (refused.status_code, "json, csv, arrow" in refused.json()["detail"]) == (400, True)
