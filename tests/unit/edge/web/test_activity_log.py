"""What was done at the cabinet, put together from visits and from orders of the console."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from edge.outbox.recounting import Recounted
from edge.outbox.sqlite import SqliteOutbox
from edge.web.activity_log import ActivityLog, ActivityRoute, told
from wire.batch import Lane
from wire.entries import Result, Visit

NOW_US = 1_795_000_000_000_000
SET = "given at the cabinet by root for jean: 80 for 7200 s"


def visit(act: Any, at: int = 0, **more: Any) -> Visit:
    return Visit(visit="v1", by="Léa", act=act, time_us=NOW_US + at, **more)


def result(order: str, stage: Any, at: int = 0, **more: Any) -> Result:
    return Result(order=order, stage=stage, time_us=NOW_US + at, device="lamp-1", point="dim_level", **more)


def log_of(*entries: Visit | Result) -> ActivityLog:
    return told(Recounted(since_us=NOW_US, entries=entries))


def test_a_visit_from_its_code_to_its_end() -> None:
    found = log_of(
        visit("began", until_us=NOW_US + 9, code=3),
        visit("acted", 1, detail="read", device="lamp-1"),
        visit("here", 2, until_us=NOW_US + 99),
        visit("left", 3, detail="logged out", boot=7),
    )
    assert [(d.what, d.by, d.device, d.detail, d.until_us, d.estimated, d.console) for d in found.activities] == [
        ("came", "Léa", "", "", NOW_US + 9, False, False),
        ("did", "Léa", "lamp-1", "read", None, False, False),
        ("here", "Léa", "", "", NOW_US + 99, False, False),
        ("left", "Léa", "", "logged out", None, True, False),
    ]
    assert found.here == ()


def test_who_has_not_left_is_here_until_what_they_said_last() -> None:
    found = log_of(visit("began", until_us=NOW_US + 9), visit("here", 2, until_us=NOW_US + 99))
    (one,) = found.here
    assert (one.by, one.since_us, one.until_us) == ("Léa", NOW_US, NOW_US + 99)


@pytest.mark.parametrize("first", ["visit", "result"])
def test_an_order_of_a_visit_stands_there_once_with_its_end(first: str) -> None:
    acted = visit("acted", detail="dim_level = 80 for 60 s", device="lamp-1", order="site-1")
    accepted = result("site-1", "accepted", detail="given at the cabinet by Léa: 80 for 60 s")
    pair = (acted, accepted) if first == "visit" else (accepted, acted)  # in one commit, in whatever order
    (activity,) = log_of(
        *pair, result("site-1", "applied", 1), result("site-1", "verified", 2, read_back=80)
    ).activities
    assert (activity.by, activity.console, activity.stage, activity.read_back, activity.point) == (
        "Léa",
        False,
        "verified",
        80,
        "dim_level",
    )


@pytest.mark.parametrize(
    ("detail", "by", "what"),
    [
        (SET, "root for jean", "dim_level = 80 for 7200 s"),
        ("given at the cabinet by a: b: on for 60 s; it waits: x", "a: b", "dim_level = on for 60 s"),
        ("blinking at the cabinet by jean for 60 s", "jean", "dim_level blinks for 60 s"),
        ("taken back at the cabinet by jean", "jean", "dim_level released"),
        ("acknowledge at the cabinet by jean: 3f2a", "jean", "acknowledge 3f2a"),
        ("something new", "", ""),
    ],
)
def test_the_console_is_told_by_who_was_logged_in(detail: str, by: str, what: str) -> None:
    (activity,) = log_of(result("site-7", "accepted", detail=detail)).activities
    assert (activity.by, activity.console, activity.detail, activity.stage) == (by, True, what, "accepted")


def test_what_could_not_be_done_says_why_and_what_comes_after_the_end_changes_nothing() -> None:
    (activity,) = log_of(
        result("site-7", "accepted", detail=SET), result("site-7", "failed", 1, detail="no answer"),
        result("site-7", "verified", 2),
    ).activities  # fmt: skip
    assert (activity.stage, activity.why) == ("failed", "no answer")


def test_orders_from_afar_are_none_of_the_cabinets() -> None:
    assert log_of(result("room-1", "accepted"), result("room-1", "verified", 1)).activities == ()


async def ask(route: ActivityRoute, query: str = "") -> httpx.Response:
    app = Starlette(routes=[Route("/log", route.answer)])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
        return await client.get(f"/log{query}")


async def test_the_node_reads_its_card_as_far_back_as_is_asked(tmp_path: Path) -> None:
    async with SqliteOutbox(tmp_path, node="cab", limit_bytes=32 << 20, now_us=lambda: NOW_US) as outbox:
        await outbox.append({Lane.URGENT: [visit("began", -2 * 86_400_000_000), visit("left", -1)]})
        route = ActivityRoute(lambda: outbox.card.file, lambda: NOW_US, lambda: ())
        both, one = await asyncio.gather(ask(route), ask(route, "?days=1.5"))
    assert [[d["what"] for d in a.json()["activities"]] for a in (both, one)] == [["came", "left"], ["left"]]


async def test_without_a_card_it_tells_what_was_said_since_the_start(tmp_path: Path) -> None:
    said = (visit("began", -30 * 86_400_000_000), visit("began", -1, until_us=NOW_US + 1))
    answer = (await ask(ActivityRoute(lambda: None, lambda: NOW_US, lambda: said))).json()
    assert (answer["since_us"], len(answer["activities"]), len(answer["here"])) == (NOW_US - 1, 1, 1)


@pytest.mark.parametrize("days", ["0", "-1", "nan", "367", "x", ""])
async def test_days_that_are_none_are_refused(days: str) -> None:
    answer = await ask(ActivityRoute(lambda: None, lambda: NOW_US, tuple), f"?days={days}")
    assert (answer.status_code, "at most 366" in answer.json()["error"]) == (400, True)


async def test_a_card_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    answer = await ask(ActivityRoute(lambda: tmp_path / "outbox.db", lambda: NOW_US, tuple))
    assert (answer.status_code, "cannot be read" in answer.json()["error"]) == (503, True)
