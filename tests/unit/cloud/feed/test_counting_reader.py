"""A reader that counts: over the real feed it has all that it wants once, urgent first, wherever it resumes."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from cloud.api.routes import Asked
from cloud.api.sse import StreamResponse
from cloud.entrance.shares import Shares
from cloud.feed import events, framing, outlines
from cloud.feed import feed as feeds
from cloud.feed.events import Encoded, events_of_batch, events_of_notice
from cloud.feed.feed import Feed
from cloud.log.contract import Log, ReadLog, Record
from cloud.log.cursor import Origins
from cloud.log.notices import Announcement, Finding, Notice
from cloud.log.outline import RANK_AT
from cloud.memory.areas import MemoryAreas
from cloud.memory.log import MemoryLog
from cloud.memory.views import MemoryViews
from cloud.metrics import Metrics
from cloud.records.areas import ReadAreas
from cloud.sqlite.tokens import SqliteTokens
from cloud.store import opened
from cloud.views.contract import ReadViews
from cloud.views.reports import OWN, alarm_seen
from cloud.views.watching import Watching
from support.cloud_batches import SECOND, START_US, Sender, Ticking, Weather, columns, roster, send
from wire import codec
from wire.batch import Batch, Lane
from wire.entries import Alarm, Health

Event = dict[str, Any]


class Stand:
    """A feed over a log, and who reads it."""

    def __init__(self, log: Log, views: ReadViews, areas: ReadAreas, tokens: SqliteTokens, now: Ticking) -> None:
        self.log, self.views, self.areas, self.tokens, self.now = log, views, areas, tokens, now
        self.grant = tokens.look(tokens.create("reader", None, "", 1))
        self.feed = self.another()

    def another(self) -> Feed:
        """One that knows nothing yet, as after a restart."""
        return Feed(
            log=self.log,
            views=self.views,
            areas=self.areas,
            now=self.now,
            tokens=self.tokens,
            shares=Shares(),
            watching=Watching(),
            metrics=Metrics(),
            origins=lambda: Origins(self.log.generation, 0, 0),
            keep_alive_s=0.0,  # its cursor comes whenever there is time
        )

    async def open(self, query: str) -> AsyncIterator[str]:
        scope = {"type": "http", "method": "GET", "headers": [], "query_string": query.encode()}
        response = await self.feed._open(Asked(Request(scope), self.grant))
        assert isinstance(response, StreamResponse)
        async for piece in response.body_iterator:
            assert isinstance(piece, bytes)
            yield piece.decode()

    async def read(self, query: str, most: int | None = None) -> list[tuple[str, Event]]:
        """All up to the head, or so many, with their ids."""
        found: list[tuple[str, Event]] = []
        end = f": cursor\nid: {self.log.generation}.{self.log.reach().head}\n"
        stream = self.open(query)
        async for piece in stream:
            for block in piece.split("\n\n"):
                name, _, data = block.partition("\ndata: ")
                if data:
                    assert name.startswith("id: "), name
                    found.append((name.removeprefix("id: "), json.loads(data)))
                    if len(found) == most:
                        break
            if len(found) == most or piece.startswith(end):
                break
        await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return found


@pytest.fixture(params=["memory", "sqlite"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    now = Ticking()
    tokens = SqliteTokens(tmp_path)
    if request.param == "memory":
        views = MemoryViews(now)
        log = MemoryLog(views, now)
        yield Stand(log, views, MemoryAreas(log), tokens, now)
    else:
        async with opened(tmp_path, now) as store:
            yield Stand(store.log, store.views, store.areas, tokens, now)
    tokens.close()


def ids(found: Sequence[tuple[str, Event]]) -> list[str]:
    return [event["source"] + " " + event["id"] for _, event in found]


async def all_of(stand: Stand, record: Record, batch: Batch) -> list[Encoded]:
    """All events of a batch, in how many slices they come."""
    kinds, fixes = await stand.views.kinds(batch.node), await stand.views.fixes(batch.node)
    found: list[Encoded] = []
    at: int | None = 0
    while at is not None:
        part = events_of_batch(record, batch, kinds, fixes, at)
        found += part.events
        at = part.next
    return found


async def naive(stand: Stand, takes: dict[str, set[str]]) -> list[str]:
    """The ids of all that is wanted, found by opening everything."""
    found: list[tuple[int, str]] = []
    log: ReadLog = stand.log
    outlined = await log.outlines(0, log.reach().head)
    for record, outline in zip(await log.read(0, 10**6, 1 << 40), outlined, strict=True):
        if record.notice:
            made = list(events_of_notice(msgspec.json.decode(record.body, type=Notice)).events)
        else:
            batch = codec.decode_batch(record.body)
            made = await all_of(stand, record, batch)
        for event in made:
            has: dict[str, set[str | None]] = {
                "type": {event.type},
                "node": {event.node},
                "kind": {event.kind},
                "device": {event.device},
                "severity": {event.severity},
                "point": set(event.points),
            }
            if all(not names or names & has[what] for what, names in takes.items()):
                told = json.loads(event.json)
                found.append((outline.holds >> RANK_AT, f"{told['source']} {told['id']}"))
    return [name for _, name in sorted(found, key=lambda one: one[0])]


def wanted(rng: random.Random) -> dict[str, set[str]]:
    choices = {
        "type": ["reading", "alarm", "ledger", "health", "result"],
        "node": ["cab-1", "cab-2", "cab-3"],
        "kind": ["streetlight", "bin"],
        "device": ["a", "b", "x/1", "d"],
        "point": ["n", "t"],
        "severity": ["high", "low"],
    }
    return {what: set(rng.sample(of, rng.randint(1, 2))) for what, of in choices.items() if rng.random() < 0.3}


def query(takes: dict[str, set[str]], after: str) -> str:
    return "&".join([f"after={after}", *(f"{what}={name}" for what, names in takes.items() for name in sorted(names))])


async def happen(stand: Stand, weather: Weather, count: int) -> None:
    for _ in range(count):
        stand.now.tick(weather.rng.choice([0, 1, 60]))
        await send(stand.log, weather.batch())
        if weather.rng.random() < 0.1:
            severity = weather.rng.choice(["high", "low"])
            alarm = Alarm(
                id="own", device="a", rule="silent", severity=severity, state="raised", raised_us=1, time_us=stand.now()
            )
            told = msgspec.to_builtins(alarm_seen("cab-1", alarm, {}, OWN))
            said = Announcement(node="cab-1", type="alarm", time_us=stand.now(), data=told, subject="a")
            await stand.log.note([said])


@pytest.mark.parametrize("seed", range(4))
async def test_it_has_all_that_it_wants_once(stand: Stand, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SLICE_BYTES", 3_000)
    monkeypatch.setattr(outlines, "PAGE", 7)
    monkeypatch.setattr(feeds, "AHEAD", 5)
    monkeypatch.setattr(framing, "CHUNK_BYTES", 1_000)
    weather = Weather(seed, stand.now)
    await happen(stand, weather, 60)
    for _ in range(12):
        takes = wanted(weather.rng)
        expected = await naive(stand, takes)
        found = await stand.read(query(takes, "0"))
        assert ids(found) == expected, takes  # urgent first, then live, then late; each in its order
        if found:
            at = weather.rng.randrange(len(found))
            if weather.rng.random() < 0.5:
                stand.feed = stand.another()
            rest = await stand.read(query(takes, found[at][0]))
            assert ids(rest) == expected[at + 1 :], (takes, found[at][0], [r[0] for r in rest[:3]])
        if weather.rng.random() < 0.5:
            await happen(stand, weather, 5)


@pytest.mark.parametrize("seed", range(4))
async def test_what_comes_meanwhile_is_neither_lost_nor_doubled(
    stand: Stand, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SLICE_BYTES", 3_000)
    weather = Weather(seed, stand.now)
    takes = wanted(weather.rng) if seed else {}
    found: list[tuple[str, Event]] = []
    after = "0"
    for _ in range(25):
        await happen(stand, weather, weather.rng.choice([0, 1, 3, 10]))
        found += await stand.read(query(takes, after), weather.rng.choice([1, 4, 20]))
        after = found[-1][0] if found else after
    found += await stand.read(query(takes, after))
    assert len(ids(found)) == len(set(ids(found)))
    assert sorted(ids(found)) == sorted(await naive(stand, takes))


async def test_who_comes_with_a_cursor_of_before_has_the_rest_once(stand: Stand) -> None:
    weather = Weather(3, stand.now)
    await happen(stand, weather, 30)
    whole = ids(await stand.read("after=0"))
    generation, had = stand.log.generation, set[str]()
    for record in await stand.log.read(0, 10**6):
        if not record.notice:
            batch = codec.decode_batch(record.body)
            made = await all_of(stand, record, batch)
            for offset in (0, len(made) // 2):
                if offset < len(made) - 1:
                    gone = {json.loads(event.json)["id"] for event in made[: offset + 1]}
                    rest = ids(await stand.read(f"after={generation}.{record.position}.{offset}"))
                    assert sorted(rest) == sorted(w for w in whole if w.split(" ")[1] not in had | gone)
            had |= {json.loads(event.json)["id"] for event in made}
        else:
            had.add(msgspec.json.decode(record.body, type=Notice).id)
        rest = ids(await stand.read(f"after={generation}.{record.position}"))
        assert sorted(rest) == sorted(w for w in whole if w.split(" ")[1] not in had)


async def test_an_alarm_and_a_live_change_go_ahead_of_a_backlog(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SLICE_BYTES", 1)
    late, live = Sender("cab-late"), Sender("cab-live")
    for i in range(5):
        await send(stand.log, late.batch(columns(at_us=START_US + (i - 10_000) * SECOND), ahead=9))
    stream = stand.open("after=0")
    said: list[str] = []
    async for piece in stream:
        found = [json.loads(line[6:]) for line in piece.splitlines() if line.startswith("data: ")]
        said += [f"{e['source']} {e['type'].rpartition('.')[2]} {e.get('backlog', False)}" for e in found]
        if len(said) == 4 and found:
            await send(stand.log, live.batch(columns("x", at_us=START_US, n=1)))
            alarm = Alarm(
                id="a", device="x", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US
            )
            await send(stand.log, live.batch(alarm, lane=Lane.URGENT))
        if len(said) == 17:
            break
    await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    ahead = ["/nodes/cab-live alarm False", "/nodes/cab-live reading False"]
    assert [one for one in said if one not in ahead] == ["/nodes/cab-late reading True"] * 15
    assert all(said.index(one) <= 6 for one in ahead), "after what was made already"


async def test_what_is_not_wanted_is_not_opened(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, other = Sender(), Sender("cab-2")
    await send(stand.log, sender.batch(roster("lamp-001"), lane=Lane.URGENT))
    await send(stand.log, other.batch(roster("bin-1", kind="bin"), lane=Lane.URGENT))
    for _ in range(20):
        await send(stand.log, sender.batch(columns(at_us=START_US)))
        await send(stand.log, other.batch(columns("bin-1", at_us=START_US)))
        await send(stand.log, sender.batch(Health(time_us=START_US, verdict="ok"), lane=Lane.URGENT))
    await stand.log.note([Finding(node="cab-1", kind="silent", time_us=1, detail={})])
    picked: list[int] = []
    pick = stand.log.pick

    async def counted(positions: Sequence[int], limit_bytes: int = 1 << 20) -> Any:
        picked.extend(positions)
        return await pick(positions, limit_bytes)

    monkeypatch.setattr(stand.log, "pick", counted)
    for asked, most in (
        ("type=alarm", 0),
        ("severity=high", 0),
        ("type=ledger", 1),
        ("node=cab-1&type=health", 20),
        ("kind=bin&type=reading", 20),
        ("device=bin-1", 20),
        ("device=nobody", 0),
        ("point=n&node=cab-2", 20),
    ):
        picked.clear()
        stand.feed = stand.another()
        found = await stand.read(f"after=0&{asked}")
        assert (len(set(picked)), len(found) > 0) == (most, most > 0), asked
