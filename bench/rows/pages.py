"""Pages: what a phone waits for and what it fetches, at a cabinet of 60 devices with a day of history on its card.

Chromium with its processor slowed down to a fourth and a slow network (150 ms a round trip, 1.6 Mbit/s down, 0.75 up)
opens the first page and pages of devices, as a phone does that was never there: nothing kept, and each time the page of
another device, whose day the node has to find on its card first. Measured is the first contentful paint, and all bytes
of all answers, heads included. The first look of all at a node that has just started is told beside it: the code of the
pages is loaded then.

Chromium slows requests and not the opening of connections; so a real phone waits a round trip longer.

Checked: the page says that the cabinet works, and has its devices; that of a device has its curves or says that it is
reading the card.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, sync_playwright

from bench.cabinet import City, Node
from bench.figure import Figure, Goal, median
from bench.stand import BenchError, Stand
from edge.outbox.sqlite import SqliteOutbox
from wire.batch import Lane
from wire.columns import Columns
from wire.sample import Clock, Sample

WHAT = "first paint and bytes of the node's pages on a slow phone"

DEVICES: Final = 60
POINTS: Final = 12
DAY_S: Final = 86_400
ROW_S, QUICK_ROW_S = 300, 900  # a page looks at one row in each five minutes
LOADS, QUICK_LOADS = 7, 1
PAINT_MS: Final = 1_000
WIRE_BYTES: Final = 60_000
CPU_SLOWER: Final = 4
NETWORK: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
PHONE: Final = {"width": 360, "height": 740}
FLAGS: Final = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--no-first-run")  # fmt: skip
PAINTED: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"

Run = Mapping[str, float]


def run(stand: Stand) -> Iterator[Figure]:
    """Paint and bytes of both pages."""
    path = shutil.which("chromium")
    if path is None:
        note = "chromium is not here; scripts/bench brings them"
        yield Figure(name="pages/first page, first paint", unit="ms", less=True, note=note)
        return
    with ExitStack() as stack:
        with stand.pinned("all"):  # the node waits while it paints, and the other way round
            playwright = stack.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        found, spread = median([_run(stand, browser) for _ in stand.times()])
        browser.close()
    loads = QUICK_LOADS if stand.quick else LOADS
    for page in ("first page", "device"):
        yield Figure(
            name=f"pages/{page}, first paint", unit="ms", less=True, ours=found[f"{page} ms"],
            spread=spread[f"{page} ms"], goal=None if stand.quick else Goal(PAINT_MS),
            note=f"median of {loads} loads a run, the slowest {found[f'{page} worst']:.0f} ms; {CPU_SLOWER} × slower"
            f" processor, {NETWORK['latency']} ms a round trip, 1.6 Mbit/s",
        )  # fmt: skip
        yield Figure(
            name=f"pages/{page}, on the wire", unit="bytes", less=True, ours=found[f"{page} bytes"],
            goal=Goal(WIRE_BYTES), note="all answers with their heads, nothing kept from before",
        )  # fmt: skip
    yield Figure(name="pages/the first look of all, first paint", unit="ms", less=True, ours=found["cold"],
                 spread=spread["cold"])  # fmt: skip


def _run(stand: Stand, browser: Browser) -> Run:
    city = City(stand, yielding=True)
    data = stand.fresh("card")
    with ThreadPoolExecutor(1) as aside:  # playwright has a loop of its own in this thread
        aside.submit(asyncio.run, _a_day(data, QUICK_ROW_S if stand.quick else ROW_S)).result()
    node = Node(
        stand, city, [{"name": "table", "protocol": "fake"}],
        [{"id": f"d-{n:03}", "name": f"Lampadaire {n}, rue de la Liberté", "profile": "lamp", "line": "table",
          "address": {}, "poll_s": 2} for n in range(DEVICES)],
        profiles={"lamp": _profile()},
        settings={"outbox": {"commit_interval_s": 1}}, data=data,
    )  # fmt: skip
    node.start()
    url = node.health_url.removesuffix("/health")
    node.process.wait_until(lambda: node.health()["counters"].get("samples_committed", 0) >= DEVICES, "nothing is read")
    cold, _ = _load(browser, url, "/")
    loads = QUICK_LOADS if stand.quick else LOADS
    found: dict[str, float] = {"cold": cold}
    for page, paths in (("first page", ["/"] * loads), ("device", [f"/devices/d-{n:03}" for n in range(loads)])):
        seen = [_load(browser, url, path) for path in paths]
        times = sorted(ms for ms, _ in seen)
        found |= {f"{page} ms": times[len(times) // 2], f"{page} worst": times[-1]}
        found[f"{page} bytes"] = max(octets for _, octets in seen)
    return found


def _load(browser: Browser, url: str, path: str) -> tuple[float, float]:
    """Milliseconds until something is seen, and bytes until all is there."""
    if path == "/":
        time.sleep(1.0)  # what was made for the last load is made anew
    context = browser.new_context(base_url=url, locale="fr", viewport=PHONE)  # type: ignore[arg-type]
    try:
        page = context.new_page()
        sent: list[Any] = []
        page.on("requestfinished", lambda request: sent.append(request))  # noqa: PLW0108 - playwright marks what it is given
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", NETWORK)
        session.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
        page.goto(path)
        painted: float = page.wait_for_function(PAINTED).json_value()
        page.wait_for_load_state("networkidle")
        rows = page.locator(".row").count() if path == "/" else page.locator(".reading").count()
        if rows < (DEVICES if path == "/" else POINTS):
            raise BenchError(f"{path} has {rows} of its rows")
        sizes = [request.sizes() for request in list(sent)]
        return painted, float(sum(s["responseBodySize"] + s["responseHeadersSize"] for s in sizes))
    finally:
        context.close()


async def _a_day(data: Path, row_s: int) -> None:
    """What a node has said for a day, on its card."""
    now_us = time.time_ns() // 1000
    clock = Clock(1, synced=True)

    def said(device: int, back_s: int) -> Columns:
        values = {f"p{n}": round(50 + 40 * ((back_s // 60 * (n + 1) + device) % 97) / 97, 1) for n in range(POINTS)}
        return Columns.of([Sample(f"d-{device:03}", now_us - back_s * 1_000_000, clock, values)])

    outbox = SqliteOutbox(data, node="cab-bench", limit_bytes=512 << 20, now_us=lambda: now_us)
    async with outbox:
        for back_s in range(DAY_S, 0, -row_s):
            entries: Sequence[Columns] = [said(device, back_s) for device in range(DEVICES)]
            await outbox.append({Lane.BULK: entries})


def _profile() -> str:
    points = "".join(
        f'[point.p{n}]\ntype = "float"\nunit = "%"\nrange = [0, 100]\nresolution = 0.1\n'
        f"at = {{ start = {40 + n}.5, step = 0 }}\n"
        for n in range(POINTS)
    )
    return f'kind = "streetlight"\ndriver = "fake"\nmodel = "a table"\nsource = ["none"]\n{points}'
