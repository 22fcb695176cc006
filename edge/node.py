"""The node: where its parts are wired together, once.

One task group holds everything that must go on; each line lives in a task of its own that starts again with back-off
when its driver fails, without touching the others. A clean stop ends the lines first, then commits what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final, cast
from zoneinfo import ZoneInfo

import msgspec

from drivers.contract import Driver, Noting, Receipt, Traced
from drivers.errors import DriverError, Misconfigured
from edge.acting.autonomy import Autonomy
from edge.acting.bundles import Ground
from edge.acting.probation import begun
from edge.acting.trial import Trial
from edge.clock import NodeClock
from edge.config import Config
from edge.control.decided import decided
from edge.control.on_site import OnSite
from edge.health import Doctor
from edge.outbox.group_commit import GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from edge.outbox.storage import Storage
from edge.sampling.intake import Gate, time_resolution_us
from edge.sampling.last_samples import Street
from edge.sampling.lines import Line
from edge.sampling.poller import Poller
from edge.sampling.quality_history import QualityHistory
from edge.sync.downlink import Downlink
from edge.sync.http import Cloud, CloudLink
from edge.sync.uplink import Uplink
from edge.visit.visiting import Visiting
from edge.web.first_look import FirstLook
from edge.web.hosts import Hosts
from edge.web.listening import serve, tcp, unix
from edge.web.pages import Pages
from edge.web.peers import Technicians
from edge.web.sight import SELDOM_S, Days, Sight, recall
from edge.web.writing import Writing
from groundwork.systemd import Notify
from wire.device import Point
from wire.entries import ClockFix
from wire.sample import Sample

log = logging.getLogger(__name__)

RESTART_FIRST_S: Final = 1.0
RESTART_MAX_S: Final = 60.0
CLOCK_CHECK_S: Final = 10.0
HUNG_S: Final = 30.0  # a card that has not answered for so long: systemd may end the node, which starts without it
END_S: Final = 10.0  # for tasks to end; one that waits for a card that hangs does not
END_TRIES: Final = 10
EXTEND_S: Final = 60.0
CONNECT_S: Final = 5.0  # a line that has been open for less may still be connecting


class Ready(msgspec.Struct):
    """What the node tells whoever started it, once it serves: the address of its HTTP, and the path of its socket."""

    health: str
    socket: str


class Node:
    """Make one with a checked configuration and `run` it."""

    def __init__(self, config: Config, *, on_ready: Callable[[Ready], None] = lambda _: None) -> None:
        self._config = config
        self._on_ready = on_ready
        self._street = Street()
        self._history = QualityHistory(lambda: self._clock()[0])
        self._gates: dict[str, Gate] = {}
        self._faults: dict[str, str] = {}
        self._drivers: dict[str, Driver] = {}
        self._opened: dict[str, float] = {}
        self._pollers: list[Poller] = []
        self._counted: Counter[str] = Counter()  # by pollers of lines that have started again since
        self._restarts = 0
        self._line_of = {device: line.name for line in config.lines for device in line.tables}
        self._downlink: Downlink | None = None
        self._systemd = Notify()
        self._deaf: str | None = None  # why nobody can act at the cabinet
        self.storage: Storage | None = None

    async def run(self, stop: asyncio.Event) -> bool:
        """Until `stop` is set; or until the storage is to be opened anew (`edge.outbox.storage`): then it is true, and
        another node of the same configuration is to be made and run.

        Raises:
            RuntimeError: the data directory is in use. OSError: the health address cannot be used.
        """
        config = self._config
        directory = Path(config.node.data_dir)
        async with contextlib.AsyncExitStack() as stack:
            storage = self.storage = Storage(
                directory,
                node=config.node.id,
                limit_bytes=config.outbox.limit_bytes,
                history_us=int(config.outbox.history_days * 86_400e6),
                now_us=lambda: self._clock()[0] if hasattr(self, "_clock") else 0,  # it needs what the card knows
                busy=_still_starting(self._systemd),
            )
            outbox = await stack.enter_async_context(storage)
            self._clock = NodeClock(last_known_us=outbox.card.last_known_us, trust_system=config.clock.trust_system)
            cloud = Cloud(
                url=config.cloud.url,
                node=config.node.id,
                token=config.token,
                timeout_s=config.cloud.timeout_s,
                ca_file=Path(config.cloud.ca_file) if config.cloud.ca_file else None,
                client_cert=Path(config.cloud.client_cert) if config.cloud.client_cert else None,
                proxy=config.proxy,
            )
            context = cloud.context()
            link = await stack.enter_async_context(CloudLink(cloud, context, lambda: outbox.generations.known))
            commit = GroupCommit(
                outbox,
                interval_s=config.outbox.commit_interval_s,
                committed=lambda urgent, live: uplink.kick(urgent=urgent, live=live),  # made below
            )
            uplink = Uplink(
                outbox,
                link,
                node=config.node.id,
                push_interval_s=config.cloud.push_interval_s,
                max_wait_s=config.cloud.retry_max_s,
                latest=self._street.latest,
                put=commit.put,
                hear=self._hear,
                watched=lambda live: setattr(commit, "hurry", live),
                now_us=lambda: self._clock()[0],
            )
            doctor = Doctor(
                outbox=outbox,
                uplink=uplink,
                commit=commit,
                street=self._street,
                clock=self._clock,
                faults=self._line_troubles,
                card=lambda: storage.fault,
                stuck_s=lambda: storage.stuck_s,
                counters=lambda: self._counters(commit, uplink, outbox),
                roster=config.roster.digest().hex(),
                directory=directory,
                interval_s=config.health.interval_s,
                push_interval_s=config.cloud.push_interval_s,
                insecure=config.cloud.insecure,
                deaf=lambda: self._deaf,
                monotonic=time.monotonic,
                apart_us=lambda: self._autonomy.trusted.apart_us(),  # noqa: PLW0108 - it is made below
            )
            for line in config.lines:
                self._expect(line)
            self._history.expect(self._street.devices)
            self._street.recall(await outbox.newest())
            commit.put(config.roster)
            kept = await begun(outbox)
            autonomy = self._autonomy = Autonomy(
                config,
                street=self._street,
                clock=self._clock,
                commit=commit,
                driver=self._driver_of,
                kept=kept,
                try_out=Trial(Ground(site=config.site, roster=config.roster)).run,
                card=lambda: storage.fault,
            )
            outbox.renewed = autonomy.alarming.tell_again
            if outbox.blank:
                outbox.renewed()
            await autonomy.rebuild(outbox.history)
            visiting = self._visiting = Visiting(
                token=config.token,
                kept=kept,
                now=self._clock,
                put=commit.put,
                insist=commit.insist,
                draw_id=lambda: secrets.token_hex(8),
            )
            listener = stack.enter_context(tcp(config.health.listen))
            pages = self._pages(doctor, autonomy, commit, outbox)
            async with asyncio.TaskGroup() as always:
                tasks = [
                    always.create_task(
                        autonomy.run(self._line_faults, lambda: (uplink.held, bool(uplink.taken))), name="autonomy"
                    ),
                    always.create_task(commit.run(), name="commit"),
                    always.create_task(uplink.run(), name="uplink"),
                    always.create_task(self._report(doctor, commit), name="health"),
                    always.create_task(self._watch(commit, storage), name="clock"),
                    always.create_task(serve(pages.app(), listener), name="web"),
                    always.create_task(self._serve_technicians(pages), name="technicians"),
                    always.create_task(visiting.run(), name="visits"),
                ]
                if not outbox.card.memory:
                    seldom = [d for d, k in self._street.devices.items() if k.expected_every_s > SELDOM_S]
                    past = recall(self._history, outbox.card.path, seldom, self._clock()[0])
                    tasks.append(always.create_task(past, name="past"))
                self._ready(f"{config.health.listen.rpartition(':')[0]}:{listener.getsockname()[1]}")
                if config.control.downlink:
                    client = await stack.enter_async_context(cloud.client(context))
                    downlink = self._downlink = Downlink(
                        client, f"{cloud.base}/orders", autonomy.down, max_wait_s=config.cloud.retry_max_s
                    )
                    tasks.append(always.create_task(downlink.run(), name="downlink"))
                lines = [
                    always.create_task(self._keep(line, commit, outbox), name=f"line {line.name}")
                    for line in config.lines
                ]
                await _either(stop, storage.renew)
                if stop.is_set():
                    self._systemd.tell("STOPPING=1")
                await autonomy.close()
                await _end(lines)
                await _end(tasks)  # the commit's last act is to write what waits
        return not stop.is_set()

    async def _serve_technicians(self, pages: Pages) -> None:
        """At the node's own socket. Where it cannot be made the node goes on, and it is tried again."""
        said = False
        while True:
            try:
                with unix(self._config.socket) as listener:
                    self._deaf = None
                    await serve(pages.own_app(), listener)
            except OSError as error:
                self._deaf = f"nobody can act at the cabinet: {error}"
                if not said:
                    log.error("%s", self._deaf)  # noqa: TRY400 - no bug of ours
                said = True
            await asyncio.sleep(RESTART_MAX_S)

    def _pages(self, doctor: Doctor, autonomy: Autonomy, commit: GroupCommit, outbox: SqliteOutbox) -> Pages:
        on_site = OnSite(
            take=lambda order: autonomy.desk.take(order, on_site=True),
            how_far=autonomy.desk.how_far,
            durable=commit.insist,
            now=self._clock,
            draw_id=lambda: secrets.token_hex(8),
        )
        writing = Writing(self._visiting, on_site)
        zone = UTC if self._config.site is None else ZoneInfo(self._config.site.time_zone)
        return Pages(
            look=doctor.look,
            decided=lambda: decided(autonomy.control, zone, self._clock()[0]),
            alarms=autonomy.alarming.standing,
            explain=autonomy.ruling.explain,
            devices=self._gates,
            hosts=Hosts(self._config.health.names),
            technicians=Technicians(self._config.control.technicians),
            quarantine=outbox,
            screens=FirstLook(self._sight(doctor, autonomy, outbox, zone), writing),
            on_site=on_site,
            writing=writing,
        )

    def _ready(self, health: str) -> None:
        self._systemd.tell("READY=1")
        self._on_ready(Ready(health, str(self._config.socket)))

    def _sight(self, doctor: Doctor, autonomy: Autonomy, outbox: SqliteOutbox, zone: tzinfo) -> Sight:
        return Sight(
            node=self._config.node.id,
            zone=zone,
            lines=self._config.lines,
            street=self._street,
            history=self._history,
            examine=doctor.examine,
            faults=self._line_faults,
            decided=lambda: decided(autonomy.control, zone, self._clock()[0]),
            alarms=autonomy.alarming.standing,
            days=Days(lambda: None if outbox.card.memory else outbox.card.path, lambda: self._clock()[0]),
            now=self._clock,
            frames=lambda d: driver.frames(d) if isinstance(driver := self._driver_of(d), Traced) else (),
        )

    # ---- lines -------------------------------------------------------------------------------------------------

    def _expect(self, line: Line) -> None:
        for attachment in line.attachments:
            device, profile = attachment.device, attachment.profile
            table = line.tables[device.id]
            polled = line.kind.polled(profile)
            self._gates[device.id] = Gate(
                profile.points,
                time_resolution_us=time_resolution_us(profile.time_resolution_us, table.poll_s if polled else None),
                reports=table.report,
            )
            self._street.expect(device.id, table.poll_s if polled else table.expect_s, time.monotonic())

    async def _keep(self, line: Line, commit: GroupCommit, outbox: SqliteOutbox) -> None:
        """Keep one line going for as long as the node lives."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                await self._open(line, commit, outbox)
            except (Exception, SystemExit) as error:  # whatever a driver raises ends this line's turn, and no other's
                self._faults[line.name] = _reason(error)
                failures = 1 if time.monotonic() - started > RESTART_MAX_S else failures + 1
                # What its driver says on purpose is one line; only what nobody expected is worth a traceback.
                bug = None if isinstance(_first(error), DriverError) else error
                log.log(logging.ERROR, "line %s failed and starts again: %s", line.name, _reason(error), exc_info=bug)
            self._restarts += 1
            await asyncio.sleep(random.uniform(0.5, 1) * min(RESTART_MAX_S, RESTART_FIRST_S * 2 ** min(failures, 10)))

    async def _open(self, line: Line, commit: GroupCommit, outbox: SqliteOutbox) -> None:
        def deliver(samples: Sequence[Sample], receipt: Receipt | None = None) -> asyncio.Future[None]:
            return self._take(samples, receipt, commit)

        driver = line.kind.open(line.name, line.settings, line.attachments, self._clock, outbox)
        pollers: list[Poller] = []
        try:
            async with driver, asyncio.TaskGroup() as group:
                self._drivers[line.name] = driver
                self._opened[line.name] = time.monotonic()
                self._faults.pop(line.name, None)
                self._autonomy.opened(list(line.tables))
                listeners = [a.device for a in line.attachments if line.kind.polled(a.profile) < set(a.profile.points)]
                if listeners:
                    group.create_task(_fenced(driver.listen(listeners, deliver)))
                for attachment in line.attachments:
                    polled = line.kind.polled(attachment.profile)
                    if points := [p for n, p in attachment.profile.points.items() if n in polled]:
                        poll_s = line.tables[attachment.device.id].poll_s
                        poller = Poller(
                            attachment.device,
                            points,
                            poll_s,
                            now=self._clock,
                            accept=lambda s: self._take([s], None, commit),
                        )
                        pollers.append(poller)
                        self._pollers.append(poller)
                        group.create_task(self._poll(poller, driver, attachment.device.id, points))
                await asyncio.Event().wait()
        finally:
            self._drivers.pop(line.name, None)
            for poller in pollers:  # what they counted stays counted
                self._pollers.remove(poller)
                self._counted.update(polls=poller.polls, polls_failed=poller.failed, polls_missed=poller.missed)

    async def _poll(self, poller: Poller, driver: Driver, device: str, points: Sequence[Point]) -> None:
        try:
            await _fenced(poller.run(driver))
        except Misconfigured as error:
            log.error("%s is not polled any more: %s", device, error)  # noqa: TRY400 - no bug of ours
            self._street.devices[device].fault = f"misconfigured: {error} ({len(points)} points)"

    def _take(self, samples: Sequence[Sample], receipt: Receipt | None, commit: GroupCommit) -> asyncio.Future[None]:
        kept: list[Sample] = []
        live = False
        now = time.monotonic()
        for given in samples:
            gate = self._gates.get(given.device)
            if gate is None:
                continue
            sample = gate.take(given)
            if sample is not None:
                kept.append(sample)
                live |= gate.moved(sample)
                self._street.note(sample, now)
                self._history.note(sample)
        done = commit.add(kept, receipt, live=live)
        for sample in kept:  # what follows from them goes into the same commit
            self._autonomy.take(sample)
        if any(self._gates[s.device].remembers for s in kept):
            done.add_done_callback(lambda d: self._forget(d, kept))
        return done

    def _forget(self, done: asyncio.Future[None], samples: Sequence[Sample]) -> None:
        """What the card refused was not reported: report by exception must not think so."""
        if done.cancelled() or done.exception() is not None:
            for sample in samples:
                self._gates[sample.device].forget()

    # ---- what the node says of itself ---------------------------------------------------------------------------

    async def _report(self, doctor: Doctor, commit: GroupCommit) -> None:
        while True:
            commit.put(await doctor.look())
            await asyncio.sleep(self._config.health.interval_s)

    async def _watch(self, commit: GroupCommit, storage: Storage) -> None:
        """Look at the kernel's clock, and pat systemd's watchdog while the loop turns and the card answers."""
        pat_s = self._systemd.watchdog_s
        next_check = 0.0
        while True:
            if pat_s is not None and storage.stuck_s < HUNG_S:
                self._systemd.tell("WATCHDOG=1")
            storage.refused(commit.refused_s)
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + CLOCK_CHECK_S
                if (fix := self._clock.check()) is not None:
                    self._autonomy.corrected(fix)
                    self._street.clock_set()
                    self._history.shifted(fix.offset_us)
                    commit.put(fix)
            await asyncio.sleep(min(CLOCK_CHECK_S, pat_s or CLOCK_CHECK_S))

    def _hear(self, server_us: int, took_us: int) -> ClockFix | None:
        fix = self._clock.hear(server_us, took_us)
        if fix is not None:
            self._autonomy.corrected(fix)
            self._street.clock_set()
            self._history.shifted(fix.offset_us)
        return fix

    def _driver_of(self, device: str) -> Driver | None:
        return self._drivers.get(self._line_of[device])

    def _line_faults(self) -> Mapping[str, str]:
        """Lines that failed, and those whose driver has no connection now: what raises alarms."""
        unconnected = {
            name: "; ".join(["not connected", *_notes(driver)])
            for name, driver in self._drivers.items()
            if driver.counters().get("connected", 1) == 0 and time.monotonic() - self._opened[name] > CONNECT_S
        }
        return unconnected | self._faults

    def _line_troubles(self) -> Mapping[str, str]:
        """The same, and what drivers note of lines that work: what a person should know."""
        noted = {
            name: "; ".join(notes)
            for name, driver in self._drivers.items()
            if driver.counters().get("connected", 1) and (notes := _notes(driver))
        }
        return {**noted, **self._line_faults()}

    def _counters(self, commit: GroupCommit, uplink: Uplink, outbox: SqliteOutbox) -> Mapping[str, int]:
        found: Counter[str] = Counter(
            polls=sum(p.polls for p in self._pollers),
            polls_failed=sum(p.failed for p in self._pollers),
            polls_missed=sum(p.missed for p in self._pollers),
            samples_committed=commit.committed_samples,
            samples_lost=commit.lost_samples,
            batches=uplink.batches,
            batch_bytes=uplink.body_bytes,
            batches_refused=uplink.refused,
            rows_set_aside=uplink.set_aside,
            link_failures=uplink.failures,
            forks=uplink.forks,
            rows_pruned=outbox.room.pruned_rows,
            line_restarts=self._restarts,
            clock_jumps=self._clock.jumps,
            unknown_points=sum(g.unknown_points for g in self._gates.values()),
        )
        found.update(self._counted)
        found.update({f"orders_{stage}": count for stage, count in self._autonomy.desk.counts.items()})
        found["orders_open"] = self._autonomy.desk.open
        found["codes_wrong"] = self._visiting.wrong
        found["autonomy_mishaps"] = self._autonomy.mishaps.count
        found["alarms_standing"] = len(self._autonomy.alarming.standing())
        if self._downlink is not None:
            found.update(
                downlink_connected=int(self._downlink.connected),
                downlink_streams=self._downlink.streams,
                downlink_unreadable=self._downlink.unreadable,
            )
        for name, driver in self._drivers.items():
            found.update({f"{name}.{what}": count for what, count in driver.counters().items()})
        return dict(found)


async def _fenced(call: Awaitable[None]) -> None:
    """What a driver does in a task of its own; sys.exit() in there is no wish of the node's.

    Raises:
        RuntimeError: instead of SystemExit, which would end the loop.
    """
    try:
        await call
    except SystemExit as error:
        raise RuntimeError(f"the driver called sys.exit({error.code!r})") from error


def _notes(driver: Driver) -> Sequence[str]:
    return driver.notes() if isinstance(driver, Noting) else ()


def _reason(error: BaseException) -> str:
    """The first thing that went wrong, in words."""
    first = _first(error)
    return f"{type(first).__name__}: {first}"[:300]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        _, hanging = await asyncio.wait(tasks, timeout=END_S)
        for task in hanging:
            log.error("%s does not end: it waits for the card", task.get_name())
        for _ in range(END_TRIES):  # what it would still do it cannot
            for task in hanging:
                task.cancel()
            if hanging:
                _, hanging = await asyncio.wait(hanging, timeout=0.1)


async def _either(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waits = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _still_starting(systemd: Notify) -> Callable[[], None]:
    """Asks systemd for more time while a damaged card is read, which may take minutes (sd_notify(3))."""
    asked_s = 0.0

    def ask() -> None:
        nonlocal asked_s
        if time.monotonic() - asked_s > EXTEND_S / 4:
            asked_s = time.monotonic()
            systemd.tell(f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}")

    return ask
