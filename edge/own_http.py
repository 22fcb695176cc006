"""Own HTTP: where the node's pages, what technicians do on them, the editor of the device list and the support file are
put together from the parts of one life, for TCP and for the node's own socket.

Bounds: those of `edge.web` and `edge.changes`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from drivers.contract import Frame, Traced
from edge.acting.autonomy import Autonomy
from edge.acting.explaining import Explaining
from edge.changes import versions
from edge.changes.births import Births
from edge.changes.editor import DeviceEditor
from edge.clock import NodeClock
from edge.config import Config, attempt, written_devices
from edge.control.decided import Decided, decided
from edge.control.on_site import OnSite
from edge.health import Doctor
from edge.identify.on_lines import OnLines
from edge.outbox.group_commit import GroupCommit
from edge.outbox.sqlite import SqliteOutbox
from edge.sampling.device_states import DeviceState, states_of
from edge.sampling.intake import Gate
from edge.sampling.last_samples import LastSamples
from edge.sampling.quality_history import QualityHistory
from edge.sampling.supervisor import Supervisor
from edge.visit.visiting import Visiting
from edge.web.activity_log import ActivityRoute
from edge.web.first_look import FirstLook
from edge.web.hosts import Hosts
from edge.web.identifying import Identifying, shown
from edge.web.pages import Pages
from edge.web.peers import Technicians
from edge.web.sight import Days, Sight
from edge.web.support import MAX_FRAMED, SupportFile
from edge.web.writing import TechnicianRoutes
from wire.entries import Visit
from wire.time import Utc


@dataclass(frozen=True, kw_only=True)
class OwnHttp:
    """The parts of one life that its pages show and act on. `last_words` are the last lines of the log; `apply` lets
    the node go by another list of devices (`edge.changes.editor`)."""

    config: Config
    doctor: Doctor
    autonomy: Autonomy
    commit: GroupCommit
    outbox: SqliteOutbox
    lines: Supervisor
    street: LastSamples
    history: QualityHistory
    gates: Mapping[str, Gate]
    clock: NodeClock
    visiting: Visiting
    births: Births
    last_words: Callable[[], Sequence[str]]
    apply: Callable[[Config, Sequence[str], str], object]

    def pages(self) -> Pages:
        """All that is answered, on TCP and at the socket."""
        config, autonomy, lines = self.config, self.autonomy, self.lines
        on_lines = OnLines(config.lines, map(Path, config.node.profile_dirs), lines.drivers, self.street, lines.faults)
        on_site = OnSite(
            take=lambda order: autonomy.desk.take(order, on_site=True),
            how_far=autonomy.desk.how_far,
            durable=self.commit.insist,
            now=self.clock,
            draw_id=lambda: secrets.token_hex(8),
        )
        sight = self._sight()
        support = self._support(sight)
        writing = TechnicianRoutes(self.visiting, on_site, lines, support)
        return Pages(
            look=self.doctor.look,
            decided=self._decided,
            alarms=autonomy.alarming.standing,
            explain=autonomy.ruling.explain,
            devices=self.gates,
            hosts=Hosts(config.health.names),
            technicians=Technicians(config.control.technicians),
            quarantine=self.outbox,
            screens=FirstLook(sight, writing, self._editor()),
            on_site=on_site,
            writing=writing,
            identifying=Identifying(on_lines),
            activities=ActivityRoute(lambda: self.outbox.card.file, self._now_us, self._said),
            support=support,
            states=self._states,
            sample=lambda device: self.street.devices[device].sample,
            node=config.node.id,
        )

    def explaining(self) -> Explaining:
        """What the city is told when it asks why."""
        return Explaining([d.id for d in self.config.roster.devices], self.autonomy, self.clock, self._zone)

    def _sight(self) -> Sight:
        return Sight(
            node=self.config.node.id,
            zone=self._zone,
            lines=self.lines.lines,
            street=self.street,
            history=self.history,
            examine=self.doctor.examine,
            faults=self.lines.faults,
            decided=self._decided,
            alarms=self.autonomy.alarming.standing,
            days=Days(lambda: self.outbox.card.file, self._now_us),
            now=self.clock,
            birth=self.births.of,
            frames=self._frames,
            plan=lambda: self.autonomy.planning.plan,
            rules=lambda: self.autonomy.ruling.rules,
        )

    def _editor(self) -> DeviceEditor:
        config = self.config
        return DeviceEditor(
            Path(config.node.data_dir),
            config.listed.versions,
            counting=config.listed.counting,
            unusable=config.listed.unusable,
            written=lambda: written_devices(config.path),
            attempt=lambda changes, last: attempt(config.path, changes, last),
            apply=self.apply,
            lines=self.lines.lines,
            births=self.births,
            now=self.clock,
        )

    def _support(self, sight: Sight) -> SupportFile:
        config = self.config
        return SupportFile(
            node=config.node.id,
            look=self.doctor.look,
            told={
                "states": self._states,
                "alarms": self.autonomy.alarming.standing,
                "control": lambda: list(sight.decided()),
                "visits": self._said,
            },
            frames=lambda: {d: [shown(f) for f in sight.frames(d)] for d in list(self.gates)[:MAX_FRAMED]},
            files=(config.path, Path(config.node.data_dir) / versions.NAME),
            log=self.last_words,
            now_us=self._now_us,
        )

    @property
    def _zone(self) -> tzinfo:
        return UTC if self.config.site is None else ZoneInfo(self.config.site.time_zone)

    def _now_us(self) -> Utc:
        return self.clock()[0]

    def _decided(self) -> Iterable[Decided]:
        return decided(self.autonomy.control, self._zone, self._now_us())

    def _states(self) -> list[DeviceState]:
        return states_of(self.lines.lines, self.street, time.monotonic(), self._now_us())

    def _said(self) -> tuple[Visit, ...]:
        return tuple(self.visiting.log.said)

    def _frames(self, device: str) -> Sequence[Frame]:
        driver = self.lines.driver_of(device)
        return driver.frames(device) if isinstance(driver, Traced) else ()
