"""The main job, live: a simulated street, one node, the aggregator. Started by scripts/demo."""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import queue
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from firmware_sim.compare import Comparison
from firmware_sim.errors import StreetError
from stage import BIN, ROOT, Stage, StageError

CONFIG = ROOT / "examples/demo/node.toml"
TRY = "try.sh"
PLAIN_EVERY_S = 2.0
HEAD_LINES, FRAME_LINES, ACTS_AT_LEAST = 5, 2, 4
ACTS_SHOWN = 8
ORDER_AFTER_S = 4.0
SHOWN = {  # which points of a kind say most, and how they are written
    "streetlight": (("dim_reached", "%"), ("active_power", "W")),
    "meter": (("active_power", "W"), ("frequency", "Hz")),
    "bin": (("fill_level", "%"), ("battery_voltage", "V")),
    "air-sensor": (("pm2_5", "µg/m³"), ("noise", "dB")),
    "beacon": (("temperature", "°C"), ("relative_humidity", "%")),
    "soil-probe": (("soil_moisture", "%"), ("soil_temperature", "°C")),
}


def _alarm(data: dict[str, Any]) -> str:
    return f"{data['device']} {data['rule']}: {data['state']} ({data['severity']}) {data['text'].get('en', '')}"


def _order(data: dict[str, Any]) -> str:
    match data.get("order"):
        case "command":
            what = f"{data['device']} {data['point']} = {data['value']}, {data['level']}"
        case "relinquish":
            what = f"{data['device']} {data['point']}: take back what {data['level']} holds"
        case "alarm_act":
            what = f"{data['act']} alarm {data['alarm']}"
        case _:
            what = f"{data.get('kind')} {data.get('version')}"
    return f"{what}, by {data.get('by')}"


def _result(data: dict[str, Any]) -> str:
    aim = f"{data.get('device') or data.get('order')} {data.get('point') or ''}".rstrip()
    read = data.get("read_back")
    return f"{aim}: {data['stage']}{'' if read is None else f' (read back: {read})'} {data.get('detail', '')}".rstrip()


# What is told of alarms, orders and their results.
ACTS: dict[str, Callable[[dict[str, Any]], str]] = {"alarm": _alarm, "order": _order, "result": _result}


class Feed(threading.Thread):
    """Reads the feed as a control room would, and remembers each device's last event and where it is."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(daemon=True)
        self._stage, self._cursor = stage, ""
        self.latest: dict[str, dict[str, Any]] = {}
        self.acts: collections.deque[str] = collections.deque(maxlen=ACTS_SHOWN)
        self.told: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.events = 0
        self.connected = False

    def run(self) -> None:
        while True:
            with contextlib.suppress(httpx.HTTPError, OSError):
                self._read()
            self.connected = False
            time.sleep(0.5)

    def _read(self) -> None:
        headers = {"Authorization": f"Bearer {self._stage.tokens['reader']}"}
        params = {"live": "1", "node": self._stage.node_name, "after": self._cursor or "0"}
        with httpx.stream(
            "GET", f"{self._stage.cloud_url}/v1/feed", params=params, headers=headers, timeout=30
        ) as stream:
            stream.raise_for_status()
            self.connected = True
            for line in stream.iter_lines():
                if line.startswith("id:"):
                    self._cursor = line[3:].strip()
                elif line.startswith("data:"):
                    with contextlib.suppress(ValueError):
                        self._take(json.loads(line[5:]))

    def _take(self, event: dict[str, Any]) -> None:
        self.events += 1
        data = event.get("data", {})
        kind = event.get("type", "").rpartition(".")[2]
        if kind == "reading":
            self.latest[data["device"]] = data
        elif kind in ACTS:
            moment = datetime.fromisoformat(event["time"]).astimezone(ZoneInfo("Europe/Paris"))
            text = f"{moment:%H:%M:%S}  {kind:7} {ACTS[kind](data)}"
            self.acts.append(text)
            self.told.put(text)


class View:
    """What is shown, drawn anew each time."""

    def __init__(self, stage: Stage, feed: Feed) -> None:
        self._stage = self.stage = stage
        self._feed = feed
        self.phase = "starting"
        self.offered = 0
        self._ledger_at = 0
        self.health: dict[str, Any] = {}
        self.node: dict[str, Any] | None = None
        self.decided: list[dict[str, Any]] = []

    def look(self) -> None:
        """Ask everyone how they are."""
        if self._stage.street.ledger.exists():
            with self._stage.street.ledger.open("rb") as ledger:
                ledger.seek(self._ledger_at)
                new = ledger.read()
            whole = new[: new.rfind(b"\n") + 1]  # the last line may be half written
            self.offered += sum(len(json.loads(line)["points"]) for line in whole.splitlines())
            self._ledger_at += len(whole)
        with contextlib.suppress(httpx.HTTPError, ValueError):
            self.health = self._stage.health()
            decided = self._stage.http.get(self._stage.health_url.replace("/health", "/control")).json()
            self.decided = [d for d in decided if d["device"] in ("lamp-002", "lamp-004", "lamp-010")]
        self.node = None
        with contextlib.suppress(httpx.HTTPError):
            self.node = next(iter(self._stage.get("/v1/nodes")["nodes"]), None)

    def line(self) -> str:
        """For a log: everything in one line."""
        ledger = (self.node or {}).get("ledger")
        return (
            f"{self.phase}: {self.offered} readings offered; outbox {self.health.get('outbox_entries', '–')} entries; "
            f"cloud {ledger['readings'] if ledger else 'out of reach'}; feed {self._feed.events} events"
        )

    def __rich_console__(self, console: Console, _options: ConsoleOptions) -> RenderResult:
        """As much as the terminal has room for: all of it from some 35 lines on, the latest acts at 24."""
        room = console.height - HEAD_LINES - FRAME_LINES - 2  # the foot, and the line of the cursor
        devices = self._devices(most=max(3, room - ACTS_AT_LEAST - len(self.decided)))
        acts = max(1, room - devices.row_count - len(self.decided))
        yield Group(self._head(), devices, self._acts(acts), self._foot())

    def _acts(self, most: int) -> Panel:
        """Alarms, orders and results as they came, and why three lamps are as they are."""
        acts = list(self._feed.acts)[-most:]
        lines = [Text(text, style=_style(text), no_wrap=True, overflow="ellipsis") for text in acts]
        why = [
            Text(f"{d['device']}  {d['why']['en']}", style="green", no_wrap=True, overflow="ellipsis")
            for d in self.decided
        ]
        return Panel(
            Group(*lines, *why), title="what the node does (by day its plan holds the lamps off)", title_align="left"
        )

    def _head(self) -> Panel:
        health, node = self.health, self.node
        numbers = Table.grid(padding=(0, 2))
        for _ in range(4):
            numbers.add_column(no_wrap=True, overflow="ellipsis")
        numbers.add_row(
            "[b]street[/]",
            f"{self.offered:,} readings offered",
            f"[b]node[/] [{_colour(health.get('verdict'))}]{health.get('verdict', '–')}[/]",
            f"outbox {health.get('outbox_entries', 0):,} entries, oldest {health.get('outbox_oldest_s') or 0:.0f} s,"
            f" {health.get('outbox_bytes', 0) / 1024:,.0f} KiB",
        )
        held = f"{node['ledger']['readings']:,} readings held" if node else "[red]out of reach[/]"
        missing = f"{node['ledger']['missing']['samples']} missing, {node['ledger']['pending']} pending" if node else ""
        numbers.add_row(
            "[b]cloud[/]", held, "[b]feed[/]", f"{self._feed.events:,} events   {missing}"
        )  # fmt: skip
        reasons = Text("; ".join(health.get("reasons", ())), style="yellow", no_wrap=True, overflow="ellipsis")
        return Panel(
            Group(numbers, reasons) if reasons else numbers, title=f"Lamplighter – {self.phase}", title_align="left"
        )

    def _devices(self, most: int) -> Table:
        grid = Table.grid(padding=(0, 2), expand=True)
        cells = [self._device(device, data) for device, data in sorted(self._feed.latest.items())]
        columns = 3
        for _ in range(columns):
            grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        rows = -(-len(cells) // columns)
        for row in range(min(rows, most)):
            grid.add_row(*(cells[i] if (i := row + rows * c) < len(cells) else "" for c in range(columns)))
        return grid

    def _device(self, device: str, data: dict[str, Any]) -> Text:
        text = Text.assemble((f"{device:<11}", "bold"))
        shown = SHOWN.get(data.get("kind") or "", ())
        for point, unit in shown or [(p, "") for p in list(data["values"])[:2]]:
            value = data["values"].get(point)
            bad = data["quality"].get(point)
            text.append(f" {value:g} {unit}" if isinstance(value, int | float) else " –", style="red" if bad else "")
        return text

    def _foot(self) -> Text:
        source, *_ = to_paste(self._stage)
        return Text(f"paste: {source}   then: order lamp-010 40", style="cyan", no_wrap=True, overflow="ellipsis")


def to_paste(stage: Stage) -> list[str]:
    """Lines for another terminal, each to be pasted as it is. The first brings what the others need."""
    return [
        f". {stage.directory / TRY}",
        "health",
        "get /v1/nodes",
        "get '/v1/devices/bin-001/readings?limit=5'",
        "order lamp-010 40",
        "why lamp-010",
        "code Camille",
        "feed",
    ]


def write_try(stage: Stage) -> None:
    """Where everything is, for the shell functions that the lines to paste use."""
    (stage.directory / TRY).write_text(
        f"export T={stage.tokens['reader']} O={stage.tokens['operator']}\n"
        f"export U={stage.cloud_url} N={stage.health_url.removesuffix('/health')} PATH={BIN}:$PATH\n"
        f"export NODE_CONFIG={stage.directory}/node.toml NODE_ENDPOINTS={stage.node_endpoints}\n"
        f". {CONFIG.with_name(TRY)}\n"
    )


def _style(text: str) -> str:
    return "red" if " raised" in text else "cyan" if "verified" in text or "cleared" in text else "white"


def _colour(verdict: str | None) -> str:
    return {"ok": "green", "degraded": "yellow", "failed": "red"}.get(verdict or "", "white")


@contextlib.contextmanager
def showing(view: View, console: Console) -> Iterator[None]:
    """Say what can be tried; then draw on a terminal, and elsewhere write a line now and then."""
    console.print("To try it yourself, paste these into another terminal, one line at a time:", highlight=False)
    console.print("\n".join(to_paste(view.stage)), soft_wrap=True, highlight=False, style="cyan")
    page = view.stage.health_url.removesuffix("/health") + "/"
    console.print(f"The cabinet's own page, as a technician sees it: [cyan]{page}[/]", highlight=False, soft_wrap=True)
    if console.is_terminal:
        with Live(get_renderable=lambda: view, console=console, refresh_per_second=2, screen=False):
            yield
    else:
        yield


class Script:
    """What happens while the street speaks: an operator's order, and perhaps an outage of the aggregator."""

    def __init__(self, stage: Stage, view: View, *, outage_s: float | None) -> None:
        self._stage, self._view = stage, view
        self._started = time.monotonic()
        self._outage = None if outage_s is None else (outage_s / 3, outage_s * 2 / 3)
        self._ordered = self.away = False

    def step(self) -> None:
        """Whatever is due."""
        now = time.monotonic() - self._started
        if self._outage and not self.away and self._outage[0] <= now < self._outage[1]:
            assert self._stage.cloud is not None
            self._stage.cloud.kill()
            self.away, self._view.phase = True, "outage: the aggregator was killed; the node keeps everything"
        if self.away and self._outage and now >= self._outage[1]:
            self._stage.start_cloud()
            self.away, self._view.phase = False, "the aggregator is back: the backlog drains"
        if not self._ordered and not self.away and now >= ORDER_AFTER_S:
            self._ordered = True
            what = {"device": "lamp-010", "point": "dim_level", "value": 65, "expires_in_s": 20}
            self._stage.order("/v1/commands", "demo", **what).raise_for_status()


def play(stage: Stage, args: argparse.Namespace, console: Console, stop: threading.Event) -> int:
    """The street speaks, things happen, the street falls silent, and then all must be there."""
    stage.directory.mkdir(parents=True, exist_ok=True)
    for what, start in (
        ("the aggregator", lambda: (stage.make_tokens(), stage.start_cloud())),
        ("the street", stage.start_street),
        ("the node", stage.start_node),
    ):
        console.print(f"starting {what} …", highlight=False)
        start()
    (stage.directory / "node.toml").write_text(written_out(stage))
    write_try(stage)
    feed = Feed(stage)
    feed.start()
    view = View(stage, feed)
    view.phase = "the street speaks (Ctrl-C ends it)"
    with showing(view, console):
        started = last_line = time.monotonic()
        script = Script(stage, view, outage_s=(args.seconds or 60) if args.outage else None)
        while not stop.is_set() and (args.seconds is None or time.monotonic() - started < args.seconds):
            script.step()
            view.look()
            while not console.is_terminal and not feed.told.empty():
                console.print(feed.told.get(), soft_wrap=True, highlight=False)
            if not console.is_terminal and time.monotonic() - last_line >= PLAIN_EVERY_S:
                last_line = time.monotonic()
                console.print(view.line(), soft_wrap=True)
            stop.wait(0.5)
        if args.picture:
            draw(view, args.picture)
        if script.away:
            stage.start_cloud()
        view.phase = "the street is silent; the node drains"
        stage.hush()
        view.look()
        if not console.is_terminal:
            console.print(view.line(), soft_wrap=True)
        found = stage.settle(lambda c: not c.missing)
        view.look()
    return verdict(stage, found, console)


def written_out(stage: Stage) -> str:
    """The node's configuration with all values in it, for verbs that are tried beside the running node."""
    text = CONFIG.read_text()
    for name, value in stage.environment.items():
        if value.isdecimal():
            text = text.replace(f'"${{{name}}}"', value)
        text = text.replace(f"${{{name}}}", value)
    for file in ("rules.toml", "../street/plan.toml"):
        text = text.replace(f'"{file}"', f'"{(CONFIG.parent / file).resolve()}"')
    return text


def verdict(stage: Stage, found: Comparison, console: Console) -> int:
    """What the street's own ledger says of it."""
    for example in found.examples:
        console.print(example, soft_wrap=True, highlight=False)
    if found.wrong or found.unknown:
        console.print(
            f"{found.wrong} readings differ from what was offered, {found.unknown} samples were never offered"
        )
    stage.close()
    console.print(str(found), highlight=False)
    return 0 if found.faultless else 1


def draw(view: View, file: Path) -> None:
    """The view as a picture. Its fonts are the reader's own: a picture should not fetch any."""
    paper = Console(record=True, width=132, height=44, file=io.StringIO(), force_terminal=True)
    paper.print(view)
    svg = paper.export_svg(title="scripts/demo")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code", "monospace")
    file.write_text("\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    parser.add_argument("--outage", action="store_true", help="kill the aggregator for the middle third")
    parser.add_argument("--keep", type=Path, help="keep all files in this directory instead of a temporary one")
    parser.add_argument("--picture", type=Path, help="draw the last view into this SVG file")
    args = parser.parse_args()
    if args.seconds is not None and args.seconds < 1:
        parser.error("--seconds is at least 1")
    console = Console()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    directory = args.keep or Path(tempfile.mkdtemp(prefix="lamplighter-demo-"))
    if args.keep and directory.exists() and any(directory.iterdir()):
        parser.error(f"{directory} is not empty")
    stage = Stage(directory, CONFIG.with_name("scene.toml"), CONFIG, "cab-demo")
    try:
        return play(stage, args, console, stop)
    except (StageError, StreetError) as error:
        console.print(f"[red]{error}[/]", soft_wrap=True)
        return 1
    finally:
        stage.close()
        if not args.keep:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
