"""The node: where its parts are wired together, once.

One task group holds everything that must go on. A clean stop ends the lines first, then commits what waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from edge.acting.autonomy import Autonomy
from edge.acting.bundles import Ground
from edge.acting.probation import begun
from edge.acting.restarted import UncleanEnd, how_ended
from edge.acting.trial import Trial
from edge.clock import NodeClock
from edge.config import Config
from edge.ending import either, end
from edge.handover import Handover
from edge.health import Doctor
from edge.outbox.group_commit import GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from edge.outbox.storage import Storage
from edge.own_http import OwnHttp
from edge.sampling.arrivals import Arrivals, expect, gates_of
from edge.sampling.last_samples import LastSamples
from edge.sampling.lines import readdressed
from edge.sampling.quality_history import QualityHistory
from edge.sampling.supervisor import Supervisor
from edge.sync.answers import Answers
from edge.sync.downlink import Downlink
from edge.sync.http import Cloud, CloudLink
from edge.sync.uplink import Uplink
from edge.visit.visiting import Visiting
from edge.watchdog import NodeWatchdog, hung
from edge.web.listening import OwnSocket, serve
from edge.web.sight import SELDOM_S, recall
from groundwork.liveness import Part, kept_going
from groundwork.systemd import Notify
from wire.entries import ClockFix
from wire.time import Micros, Utc, micros

log = logging.getLogger(__name__)

CLOCK_CHECK_S: Final = 10.0
CARD_CHECK_S: Final = 5.0
BEGIN_S: Final = 600.0  # what follows when the card is open: rules are brought to where they were
CLOSE_S: Final = 120.0
HANGS_S: Final = 1.0
ANSWERED_S: Final = 0.2  # for whoever has changed the list of devices to hear that it was taken
EXTEND_S: Final = 60.0


class Ready(msgspec.Struct):
    """What the node reports to whoever started it, once it serves: the address of its HTTP, and the path of its
    socket."""

    health: str
    socket: str


class Node:
    """Make one with a checked configuration and `run` it."""

    def __init__(
        self,
        handover: Handover,
        watchdog: NodeWatchdog,
        systemd: Notify,
        *,
        on_ready: Callable[[Ready], None] = lambda _: None,
    ) -> None:
        """One life, by the configuration of the `handover`; `watchdog` and `handover` are kept by whoever runs it."""
        self._handover = handover
        self._config = config = handover.config
        self._relisted = asyncio.Event()  # the handover has another configuration by now
        self._on_ready = on_ready
        self._street = LastSamples()
        self._history = QualityHistory(lambda: self._clock()[0])
        self._gates = gates_of(config.lines)
        self._downlink: Downlink | None = None
        self._watchdog, self._systemd = watchdog, systemd
        self._storage: Storage | None = None

    @property
    def abandoned(self) -> bool:
        """Whether a thread hangs in the card."""
        return self._storage is not None and self._storage.abandoned

    @property
    def hangs(self) -> str:
        """What does not answer now."""
        stuck_s = 0.0 if self._storage is None else self._storage.stuck_s
        return f"the card has not answered for {stuck_s:.0f} s" if stuck_s > HANGS_S else ""

    async def run(self, stop: asyncio.Event) -> bool:
        """Until `stop` is set; or until the storage is to be opened anew (`edge.outbox.storage`): then it is true, and
        another node is to be made of the handover, and run.

        Raises:
            RuntimeError: the data directory is in use. OSError: the health address cannot be used.
        """
        config, watchdog, handover = self._config, self._watchdog, self._handover
        directory = Path(config.node.data_dir)
        async with contextlib.AsyncExitStack() as stack:
            storage = self._storage = Storage(
                directory,
                node=config.node.id,
                limit_bytes=config.outbox.limit_bytes,
                history_us=micros(config.outbox.history_days * 86_400),
                now_us=lambda: self._clock()[0] if hasattr(self, "_clock") else Utc(0),  # it needs what the card knows
                busy=_still_starting(self._systemd),
                alive=watchdog.card,
            )
            outbox = await stack.enter_async_context(storage)
            stack.enter_context(watchdog.life.busy(BEGIN_S, "the beginning of a life"))
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
            lines = Supervisor(config.lines, street=self._street, now=self._clock, receipts=outbox)
            stack.enter_context(watchdog.watching(hung(lambda: storage.stuck_s), lines.late))
            commit = GroupCommit(
                outbox,
                interval_s=config.outbox.commit_interval_s,
                committed=lambda urgent, live: uplink.kick(urgent=urgent, live=live),  # made below
                alive=watchdog.commit,
            )
            uplink: Uplink = Uplink(
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
                alive=Part("uplink"),
            )
            own, ended = OwnSocket(config.socket), self._ended(outbox.card.cut_short)
            doctor = Doctor(
                outbox=outbox,
                uplink=uplink,
                commit=commit,
                street=self._street,
                clock=self._clock,
                faults=lines.troubles,
                card=lambda: storage.fault,
                stuck_s=lambda: storage.stuck_s,
                counters=lambda: self._counters(lines, commit, uplink, outbox),
                roster=config.roster.digest().hex(),
                directory=directory,
                interval_s=config.health.interval_s,
                push_interval_s=config.cloud.push_interval_s,
                insecure=config.cloud.insecure,
                deaf=lambda: own.fault,
                late=watchdog.late,
                anew=lines.anew,
                restarted=lambda: None if ended is None or ended.cause == "power" else ended.why,
                monotonic=time.monotonic,
                apart_us=lambda: self._autonomy.trusted.apart_us(),  # noqa: PLW0108 - it is made below
            )
            expect(config.lines, self._street)
            self._history.expect(self._street.devices)
            self._street.recall(await outbox.newest())
            commit.put(config.roster)
            kept = await begun(outbox)
            autonomy = self._autonomy = Autonomy(
                config,
                street=self._street,
                clock=self._clock,
                commit=commit,
                driver=lines.driver_of,
                kept=kept,
                try_out=Trial(Ground(site=config.site, roster=config.roster)).run,
                card=lambda: storage.fault,
                deaf=lines.leave,
                alive=Part("rules"),
                present=lambda visit: self._visiting.sessions.lasts(visit),  # noqa: PLW0108 - it is made below
            )
            autonomy.follows(ended, watchdog.told)
            outbox.renewed = self._tell_again
            if outbox.blank:
                outbox.renewed()
            await autonomy.rebuild(outbox.history)
            visiting = self._visiting = handover.visiting = Visiting(
                token=config.token,
                kept=kept,
                now=self._clock,
                put=commit.put,
                insist=commit.insist,
                draw_id=lambda: secrets.token_hex(8),
                before=handover.visiting,
            )
            arrivals = Arrivals(
                self._gates, street=self._street, history=self._history, add=commit.add, follow=autonomy.take
            )
            listener = handover.listener()
            stack.callback(self._let_go)
            own_http = OwnHttp(
                config=config,
                doctor=doctor,
                autonomy=autonomy,
                commit=commit,
                outbox=outbox,
                lines=lines,
                street=self._street,
                history=self._history,
                gates=self._gates,
                clock=self._clock,
                visiting=visiting,
                births=handover.births,
                last_words=watchdog.ring.lines,
                apply=lambda config, fresh, why: self._relist(lines, config, fresh, why),
            )
            pages = own_http.pages()
            async with asyncio.TaskGroup() as always:
                tasks = [
                    always.create_task(
                        kept_going(
                            autonomy.alive,
                            lambda: autonomy.run(lines.faults, lambda: (uplink.held, bool(uplink.taken))),
                        ),
                        name="autonomy",
                    ),
                    always.create_task(commit.run(), name="commit"),
                    always.create_task(kept_going(uplink.alive, uplink.run), name="uplink"),
                    always.create_task(self._report(doctor, commit), name="health"),
                    always.create_task(self._watch(commit, storage), name="clock"),
                    always.create_task(serve(pages.app(), listener.dup()), name="web"),
                    always.create_task(own.run(pages.own_app), name="technicians"),
                    always.create_task(visiting.run(), name="visits"),
                ]
                if not outbox.card.memory:
                    tasks.append(always.create_task(self._recall(outbox.card.path), name="past"))
                self._ready(f"{config.health.listen.rpartition(':')[0]}:{listener.getsockname()[1]}")
                if config.control.downlink:
                    tasks += await self._listen(stack, always, cloud, context, own_http)
                lines.ask_at_once(handover.births.waiting())
                open_lines = lines.begin(always, arrivals.take, autonomy.opened)
                watchdog.life.rest()
                await either(stop, storage.renew, self._relisted)
                watchdog.life.within(CLOSE_S, "the end of a life")
                await autonomy.close()
                await end(open_lines)
                await end(tasks, lambda: self.hangs)  # the commit's last act is to write what waits
        return not stop.is_set()

    async def _listen(
        self,
        stack: contextlib.AsyncExitStack,
        always: asyncio.TaskGroup,
        cloud: Cloud,
        context: ssl.SSLContext,
        own_http: OwnHttp,
    ) -> list[asyncio.Task[None]]:
        """Open the downlink, and answer what comes down as a question."""
        clients = [await stack.enter_async_context(cloud.client(context)) for _ in range(2)]
        answers = Answers(clients[0], f"{cloud.base}/answers", own_http.explaining().why)
        downlink = self._downlink = Downlink(
            clients[1],
            f"{cloud.base}/orders",
            lambda down: answers.ask(down.why) if down.why is not None else self._autonomy.down(down),
            max_wait_s=self._config.cloud.retry_max_s,
            alive=Part("downlink"),
        )
        return [
            always.create_task(kept_going(answers.alive, answers.run), name="answers"),
            always.create_task(kept_going(downlink.alive, downlink.run), name="downlink"),
        ]

    def _ended(self, cut_short: bool) -> UncleanEnd | None:
        """How the process before has ended, where not as it was told to."""
        marker = self._watchdog.marker
        stood = marker.begin()
        return how_ended(self._watchdog.words, stood, boot=marker.boot, oom=marker.oom(), cut_short=cut_short)

    def _tell_again(self) -> None:
        self._autonomy.alarming.tell_again()
        self._autonomy.telling.again()

    async def _recall(self, path: Path) -> None:
        seldom = [d for d, k in self._street.devices.items() if k.expected_every_s > SELDOM_S]
        await recall(self._history, path, seldom, self._clock()[0])

    def _let_go(self) -> None:
        if not self._relisted.is_set():
            self._handover.close()

    def _relist(self, lines: Supervisor, config: Config, fresh: Sequence[str], why: str) -> None:
        """Go by another list of devices: lines are swapped where only addresses differ, else another node is made."""
        swapped = readdressed(lines.lines, config.lines)
        if swapped is None:
            self._handover.config = config
            asyncio.get_running_loop().call_later(ANSWERED_S, self._relisted.set)
            return
        for line in swapped:
            for device in set(fresh) & set(line.tables):
                self._street.expect(device, self._street.devices[device].expected_every_s, time.monotonic())
                self._gates[device].forget()
            lines.swap(line, why, fresh)

    def _ready(self, health: str) -> None:
        self._systemd.tell("READY=1")
        self._on_ready(Ready(health, str(self._config.socket)))

    # ---- what the node says of itself ---------------------------------------------------------------------------

    async def _report(self, doctor: Doctor, commit: GroupCommit) -> None:
        while True:
            commit.put(await doctor.look())
            await asyncio.sleep(self._config.health.interval_s)

    async def _watch(self, commit: GroupCommit, storage: Storage) -> None:
        """Look at the kernel's clock, and at whether the card takes anything."""
        next_check = 0.0
        while True:
            storage.refused(commit.refused_s)
            if time.monotonic() >= next_check:
                next_check = time.monotonic() + CLOCK_CHECK_S
                if (fix := self._clock.check()) is not None:
                    self._autonomy.corrected(fix)
                    self._street.clock_set()
                    self._history.shifted(fix.offset_us)
                    commit.put(fix)
            await asyncio.sleep(CARD_CHECK_S)

    def _hear(self, server_us: Utc, took_us: Micros) -> ClockFix | None:
        fix = self._clock.hear(server_us, took_us)
        if fix is not None:
            self._autonomy.corrected(fix)
            self._street.clock_set()
            self._history.shifted(fix.offset_us)
        return fix

    def _counters(
        self, lines: Supervisor, commit: GroupCommit, uplink: Uplink, outbox: SqliteOutbox
    ) -> Mapping[str, int]:
        found: Counter[str] = Counter(
            samples_committed=commit.committed_samples,
            samples_lost=commit.lost_samples,
            batches=uplink.batches,
            batch_bytes=uplink.body_bytes,
            batches_refused=uplink.refused,
            rows_set_aside=uplink.set_aside,
            link_failures=uplink.failures,
            forks=uplink.forks,
            rows_pruned=outbox.room.pruned_rows,
            clock_jumps=self._clock.jumps,
            unknown_points=sum(g.unknown_points for g in self._gates.values()),
        )
        found.update(lines.counters())
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
        return dict(found)


def _still_starting(systemd: Notify) -> Callable[[], None]:
    """Asks systemd for more time while a damaged card is read, which may take minutes (sd_notify(3))."""
    asked_s = 0.0

    def ask() -> None:
        nonlocal asked_s
        if time.monotonic() - asked_s > EXTEND_S / 4:
            asked_s = time.monotonic()
            systemd.tell(f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}")

    return ask
