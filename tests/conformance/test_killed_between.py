"""kill -9 of the aggregator before each step of each of its units of work: all of a unit is in the store, or none is.

The contracts promise that an order, its key and its notice are kept together, a batch with the result and the alarm in
it, a decision with its notice. So each unit is done in a process that dies before its first writing statement, then
anew before its second, and so on to COMMIT, and once right after its answer. What the file then holds must be what it
held at first, and all of it only at the end; the tables that differ are those that the contract names. A unit of which
no answer came is then done again, as its caller would.

The steps are SQLite's own statements, so a unit that gains one is cut there too. Memory has no steps to be killed in.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from cloud.records.ended_alarms import told_of
from cloud.records.keys import Answered, Keyed
from cloud.records.orders import Draft
from cloud.sqlite.database import STORE
from cloud.sqlite.store import SqliteStore, opened
from support.cloud_batches import SECOND, START_US, Sender, Ticking, columns, roster, send
from wire.batch import Lane
from wire.entries import Alarm, Health, Result
from wire.orders import Command

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT")
KEYED = Keyed("token key", b"digest")
ANSWER = Answered(202, b"{}")
ALARM = Alarm(id="a", device="lamp-1", rule="r", severity="high", state="raised", raised_us=START_US, time_us=START_US)
TOLD = told_of("cab-1", ALARM)


def drafts(*names: str) -> list[Draft]:
    """Orders that end a minute after the start."""
    made = [
        Command(id=n, by="room", issued_us=START_US, expires_us=START_US + 60 * SECOND, device="d", point="p", value=1)
        for n in names
    ]
    return [Draft(order, "cab-1") for order in made]


async def take(store: SqliteStore, *names: str, keyed: Keyed = KEYED) -> Answered:
    return await store.orders.take(drafts(*names), keyed, ANSWER, START_US, lambda: None)


async def nothing(_store: SqliteStore) -> None:
    """Nothing stands before."""


async def an_order(store: SqliteStore) -> None:
    await take(store, "1", keyed=Keyed("token before", b"digest"))


async def two_claim_it(store: SqliteStore) -> None:
    for node in ("cab-1", "cab-2"):
        await send(store.log, Sender(node, after=None).batch(roster("lamp-1"), lane=Lane.URGENT))


async def an_unfinished_run(store: SqliteStore) -> None:
    await send(store.log, Sender(epoch=1, after=None).batch(columns(n=3), ahead=4))
    await send(store.log, Sender(epoch=2, after=None).batch(columns(n=3, at_us=START_US + 10**9)))


async def an_ended_alarm(store: SqliteStore) -> None:
    await send(store.log, Sender(epoch=1, after=None).batch(ALARM, lane=Lane.URGENT))
    await send(store.log, Sender(epoch=2, after=None).batch(Health(time_us=1, verdict="ok"), lane=Lane.URGENT))


async def a_batch(store: SqliteStore) -> Any:
    reported = Result(order="1", stage="verified", time_us=START_US + SECOND)
    return await send(store.log, Sender(after=None).batch(reported, ALARM, columns(), lane=Lane.URGENT))


async def a_new_card(store: SqliteStore) -> Any:
    health = Health(time_us=1, verdict="ok")
    return await send(store.log, Sender(epoch=3, after=None).batch(health, lane=Lane.URGENT))


async def an_own_alarm(store: SqliteStore) -> Any:
    changes = [replace(ALARM, id="own")]
    return await store.own_alarms.keep(changes, [TOLD], store.log.reach().head, (KEYED, ANSWER))


class Unit(NamedTuple):
    """What is done as one, on what stands before it, and the tables in which it shows."""

    before: Callable[[SqliteStore], Awaitable[object]]
    act: Callable[[SqliteStore], Awaitable[object]]
    tables: set[str]
    alike: bool = True  # whether one that was killed and done again leaves the same as one that was not


UNITS: Mapping[str, Unit] = {
    "take orders": Unit(nothing, lambda s: take(s, "1", "2"), {"orders", "requests", "log"}),
    "mark orders as sent": Unit(an_order, lambda s: s.orders.sending([("1", False)], START_US + SECOND), {"orders"}),
    "end orders that are due": Unit(an_order, lambda s: s.orders.end_due(START_US + 90 * SECOND), {"orders", "log"}),
    "take a batch with result and alarm": Unit(an_order, a_batch, {"log", "orders", "alarms", "streams"}),
    "take a card that ends another": Unit(an_order, a_new_card, {"log", "streams"}),
    "keep an own alarm": Unit(nothing, an_own_alarm, {"own_alarms", "requests", "log", "meta"}),
    "assign a device": Unit(
        two_claim_it, lambda s: s.claims.assign("lamp-1", "cab-2", "anna", START_US), {"assignments", "log"}
    ),
    "write a run off": Unit(
        an_unfinished_run, lambda s: s.write_offs.write_off("cab-1", Lane.BULK, 1, "anna", START_US, ""), {"log"}
    ),
    "acknowledge an ended alarm": Unit(
        an_ended_alarm,
        lambda s: s.ended_alarms.acknowledge("cab-1", "a", "anna", START_US + 5, "seen", KEYED),
        {"requests", "log"},
    ),
    "give a technician's code": Unit(
        nothing,
        lambda s: s.codes.give("cab-1", "t1", "Léa", "anna", START_US, KEYED, 0),
        {"codes", "requests", "log"},
        alike=False,  # a counter that was taken is never taken again
    ),
}


def tables_of(directory: Path) -> dict[str, list[str]]:
    """All that the store's file holds, as the next to open it will find it."""
    connection = sqlite3.connect(directory / STORE)
    try:
        names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {n: sorted(map(repr, connection.execute(f'SELECT * FROM "{n}"'))) for n in names}
    finally:
        connection.close()


async def prepare(directory: Path, unit: Unit) -> None:
    async with opened(directory, Ticking()) as store:
        await unit.before(store)


async def act_and_die(directory: Path, unit: Unit, before_write: int) -> None:
    """Do it in a process that is killed before so manieth writing statement, or after the answer."""
    left = before_write

    def reached(statement: str) -> None:
        nonlocal left
        if statement.lstrip().upper().startswith(WRITES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async with opened(directory, Ticking()) as store:
        await store.writer.between(lambda connection: connection.set_trace_callback(reached))
        await unit.act(store)
        os.kill(os.getpid(), signal.SIGUSR1)


async def act_again(directory: Path, unit: Unit) -> None:
    async with opened(directory, Ticking()) as store:
        await unit.act(store)
        os.kill(os.getpid(), signal.SIGUSR1)


def in_child(work: Callable[[], Any]) -> signal.Signals:
    """What ended a child that does it. This process has one thread, so that it may be forked."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        try:
            asyncio.run(work())
        finally:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return signal.Signals(os.WTERMSIG(os.waitpid(child, 0)[1]))


class Seen(msgspec.Struct):
    """What was found after each kill: with how many steps, and the tables that were not as they should be."""

    steps: int
    changed: list[str]  # tables, once all was done
    early: dict[int, list[str]]  # the step before which it was killed → tables that had changed by then
    not_done_again: dict[int, list[str]]  # the same → tables that differ from those of a store that was not killed


def try_all(directory: Path, unit: Unit) -> Seen:
    """Kill it before each step."""
    base = directory / "base"
    base.mkdir()
    if in_child(lambda: ended(prepare(base, unit))) != signal.SIGUSR1:
        raise AssertionError("what stands before could not be made")

    def killed(step: int) -> tuple[Path, signal.Signals]:
        at = directory / str(step)
        shutil.copytree(base, at)
        return at, in_child(lambda: act_and_die(at, unit, step))

    whole, how = killed(0)
    assert how == signal.SIGUSR1, "it is answered"
    done = tables_of(whole)
    first: dict[str, list[str]] = {}
    seen = Seen(0, [], {}, {})
    for step in range(1, 1_000):
        at, how = killed(step)
        if how == signal.SIGUSR1:  # there were no more statements
            break
        found = tables_of(at)
        first = first or found
        if differ := different(found, first):
            seen.early[step] = differ
        assert in_child(lambda: act_again(at, unit)) == signal.SIGUSR1  # noqa: B023
        again = tables_of(at)
        if differ := different(again, done if unit.alike else {**done, **{n: again[n] for n in unit.tables}}):
            seen.not_done_again[step] = differ
        shutil.rmtree(at)
        seen.steps = step
    seen.changed = different(first, done)
    return seen


async def ended(work: Awaitable[object]) -> None:
    await work
    os.kill(os.getpid(), signal.SIGUSR1)


def different(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.mark.parametrize("name", UNITS)
async def test_killed_before_each_step_all_of_it_is_kept_or_none(name: str, tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        name,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    printed, _ = await child.communicate()
    assert child.returncode == 0
    seen = msgspec.json.decode(printed, type=Seen)
    assert seen.steps >= 2, "its statements are seen"
    assert UNITS[name].tables <= set(seen.changed), "it shows where the contract says"
    assert (seen.early, seen.not_done_again) == ({}, {})


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(try_all(Path(sys.argv[2]), UNITS[sys.argv[1]])))
