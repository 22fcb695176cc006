"""What the views answer, and what the API therefore says: one struct a JSON object, the schemas come from here.

Times are RFC 3339 in UTC; where an exact integer is useful its `_us` stands beside it. Lists are bounded where
they are built, and say so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

from cloud.views.clock_word import ClockWord
from cloud.views.decided import LivesBy, PointDecided
from wire.device import Device, Point
from wire.entries import AlarmState, Health, Severity, Stage, VisitAct
from wire.sample import Value
from wire.time import Utc

LaneState = Literal["current", "open", "ended", "unfinished", "unknown", "written_off"]
Certainty = Literal["exact", "at_least", "unknown"]
Grade = Literal["good", "uncertain", "bad"]
GRADES: Final[tuple[Grade, ...]] = ("good", "uncertain", "bad")
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "urgent")


class WrittenOff(msgspec.Struct, frozen=True, kw_only=True):
    """Who has written a run off, when, and why."""

    by: str
    time: str
    note: str


class LanePlace(msgspec.Struct, frozen=True, kw_only=True):
    """One lane of one epoch: what is held, and what the node has said that it still holds.

    `state`: `current` is the epoch that the node writes now; `open` an older one that is still being sent; `ended`
    held to the end that its node has named; `unfinished` ended where nobody knows, after what is held; `unknown` ended
    by a node that cannot name its end; `written_off` one of these two that an operator has written off.
    """

    epoch: int
    lane: str
    state: LaneState
    through_seq: int
    digest: str
    head_seq: int
    held_from: int
    pending: int
    written_off: WrittenOff | None
    samples: int
    readings: int
    first_heard: str
    last_heard: str


class Unfinished(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch whose end is not known: all from `from_seq` on is missing, at least to `to_seq_at_least`, the last that
    the node had told of. It is `from_seq` - 1 where the node had told of nothing more.
    """

    epoch: int
    lane: str
    from_seq: int
    to_seq_at_least: int


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch went on under another, and both hold measurements from `from` to `to`: these may be held twice."""

    lane: str
    epoch: int
    into_epoch: int
    from_: str = msgspec.field(name="from")
    to: str


class GapSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Loss that the node has reported: of its reason the first 200 characters, of its devices the first 20."""

    epoch: int
    lane: str
    first_seq: int
    last_seq: int
    lost: int
    reason: str
    devices: tuple[str, ...]
    from_: str | None = msgspec.field(name="from")
    to: str | None


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Another node claims the same device. Each one's readings are kept under itself."""

    device: str
    nodes: tuple[str, ...]


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a roster that cannot be meant as it is written: of which device or profile, what of it, and why."""

    whose: str
    what: str
    why: str


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known to be lost: samples named by gaps, and seqs of epochs that are unfinished.

    `certainty` is `exact` where every epoch that has ended was closed by its node; `at_least` where one is unfinished,
    written off or not; `unknown` where one was ended by a node that cannot close it.
    """

    samples: int
    gaps: int
    unfinished_seqs: int
    certainty: Certainty


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud holds of one node, what is pending, what is missing, how old.

    `gaps` are the last 100, `conflicts` the first 100; `missing` counts all. `unfinished` are those that nobody has
    written off.
    """

    pending: int
    samples: int
    readings: int
    missing: Missing
    lanes: tuple[LanePlace, ...]
    unfinished: tuple[Unfinished, ...]
    forks: tuple[Fork, ...]
    gaps: tuple[GapSeen, ...]
    conflicts: tuple[Conflict, ...]


class NodeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One node at a glance. `silent_since` is null while it is heard at least every three Health intervals.

    `verdict` is what its last Health said; null while it is silent, for then nobody knows how it is. `devices` are as
    many as its roster has, whose digest is `roster_digest`; the roster is at /v1/nodes/{node}.
    """

    node: str
    verdict: str | None
    last_heard: str | None
    silent_since: str | None
    devices: int
    roster_digest: str | None
    ledger: Ledger


class DeviceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A device as its node describes it; kind and profile are null while no roster has named it."""

    id: str
    node: str
    kind: str | None
    profile: str | None
    name: str
    lon: float | None
    lat: float | None
    tags: tuple[str, ...]
    conflict: tuple[str, ...]


def seen_as(device: str, node: str, described: Device | None, conflict: tuple[str, ...]) -> DeviceSeen:
    """A device as its node describes it, where it does."""
    known = described or Device(id=device, kind="", profile="")
    return DeviceSeen(
        id=device,
        node=node,
        kind=known.kind or None,
        profile=known.profile or None,
        name=known.name,
        lon=known.lon,
        lat=known.lat,
        tags=known.tags,
        conflict=conflict,
    )


class PointsNow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest of a device. `time` and `clock` are those of its newest point; `times` and `clocks` name the points
    of which they differ, `quality` those that are not good."""

    time: str | None
    time_us: Utc | None
    clock: ClockWord | None
    values: Mapping[str, Value]
    quality: Mapping[str, str] = {}
    times: Mapping[str, str] = {}
    clocks: Mapping[str, ClockWord] = {}
    alarms: int = 0  # that stand
    severity: Severity | None = None  # of the worst of them
    decided: Mapping[str, PointDecided] = {}  # who decides its writable points; where it was asked for

    @property
    def grade(self) -> Grade | None:
        """The quality of its worst point, or None where it has none."""
        if not self.values:
            return None
        return GRADES[max((GRADES.index(grade_of(q)) for q in self.quality.values()), default=0)]


class LatestRow(msgspec.Struct, frozen=True, gc=False):
    """A device and its newest; `now` is None where something has changed about a device that is not meant, or not any
    more. `points` describes those of its profile."""

    device: DeviceSeen
    points: tuple[Point, ...]
    now: PointsNow | None


class CityLatest(msgspec.Struct, frozen=True):
    """The rows by node and device, in chunks, and the position of the log from which a feed goes on after them: what it
    tells from there on may be in them already, and nothing is in neither. `complete`: all that are meant are there, and
    not only those about which something has changed."""

    position: int
    chunks: AsyncIterator[Sequence[LatestRow]]
    complete: bool


def grade_of(quality: str) -> Grade:
    """What a quality begins with; see `wire.sample`."""
    return "uncertain" if quality.startswith("uncertain") else "bad" if quality.startswith("bad") else "good"


class ActAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of an alarm's node, and is not confirmed: the node owns its alarms."""

    order: str
    act: str
    stage: str
    by: str
    issued: str
    until: str | None


class AlarmSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm as its owner last reported it: `source` is /nodes/NODE, or /aggregator for the aggregator's own.

    `state` is one of ISA-18.2. `active` is whether the condition holds, `acknowledged` whether someone has seen it,
    also while it is shelved (until `until`) or suppressed (`cause` is the id of the alarm that explains it).
    `asked` are acts on their way to the node.
    """

    id: str
    source: str
    node: str
    device: str
    rule: str
    severity: Severity
    state: AlarmState
    raised: str
    raised_us: Utc
    time: str
    time_us: Utc
    clock: ClockWord
    boot: int | None
    respond_by: str | None
    respond_by_us: Utc | None
    until: str | None
    until_us: Utc | None
    active: bool
    acknowledged: bool
    escalated: bool
    cause: str
    by: str
    detail: str
    text: Mapping[str, str]
    values: Mapping[str, Value]
    asked: tuple[ActAsked, ...] | msgspec.UnsetType = msgspec.UNSET


class MarkSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's word to whoever reads the feed."""

    node: str
    device: str
    rule: str
    tag: str
    time: str
    time_us: Utc
    clock: ClockWord
    boot: int | None
    values: Mapping[str, Value]


class VisitSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What a technician did at a node's cabinet, as the node said it (`wire.entries.Visit`).

    `until` is until when they are there unless more is said, `code` the counter of the code that the visit began with,
    `device` and `order` what was acted on and by which order; null where there is none.
    """

    node: str
    visit: str
    by: str
    act: VisitAct
    time: str
    time_us: Utc
    clock: ClockWord
    boot: int | None
    until: str | None
    until_us: Utc | None
    code: int | None
    device: str | None
    order: str | None
    detail: str


class ResultSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A stage that an order has reached, as its node said it.

    What it is about is null where it has none: `device` and `point` are those of a command or relinquish, `alarm` and
    `act` of an act, `bundle` (its kind) and `version` of a bundle. `group` is null where the order is not known here.
    """

    node: str
    order: str
    stage: Stage
    time: str
    time_us: Utc
    clock: ClockWord
    boot: int | None
    group: str | None
    device: str | None
    point: str | None
    alarm: str | None
    act: str | None
    bundle: str | None
    version: str | None
    read_back: Value
    detail: str


class TechnicianSeen(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is at a node's cabinet, since and until when as far as is known; `here`: they have said so."""

    by: str
    visit: str
    since: str
    since_us: Utc
    until: str
    until_us: Utc
    here: bool


class NodeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One node: its ledger, its last health, its roster (with digest) and its alarms that are not cleared.

    `verdict` is null while it is silent; `health` is what it said last, whenever that was. `technicians` are those who
    are at its cabinet now; `doubts` what cannot be meant as its roster has it.
    """

    node: str
    verdict: str | None
    last_heard: str | None
    silent_since: str | None
    ledger: Ledger
    health: Health | None
    roster_digest: str | None
    devices: tuple[DeviceSeen, ...]
    alarms: tuple[AlarmSeen, ...]
    technicians: tuple[TechnicianSeen, ...]
    doubts: tuple[Doubt, ...]


class PointLatest(msgspec.Struct, frozen=True, kw_only=True):
    """One point's value with the greatest measured time. `stale` is null where the profile does not say when."""

    value: Value
    quality: str
    unit: str
    time: str
    time_us: Utc
    clock: ClockWord
    age_s: float
    stale: bool | None


class DeviceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One device and its latest points; who decides its writable points, and by what its node lives, as the node told
    it last. `lives_by` is null, and nothing is known of either, where the node cannot tell it or has not yet.
    """

    device: DeviceSeen
    points: tuple[Point, ...]
    latest: Mapping[str, PointLatest]
    decided: Mapping[str, PointDecided]
    lives_by: LivesBy | None


class NodesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes by name; `next` goes into `cursor` for the page after it."""

    nodes: tuple[NodeSummary, ...]
    next: str | None


class DevicesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Devices by id; `next` goes into `cursor` for the page after it."""

    devices: tuple[DeviceSeen, ...]
    next: str | None


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sample. `id` is node/epoch/lane/seq and never changes; `quality` names only points that are not good."""

    id: str
    time: str
    time_us: Utc
    clock: ClockWord
    values: Mapping[str, Value]
    quality: Mapping[str, str]


class ReadingsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Samples by time. A page may be shorter than its limit; only `next` = null says that there is no more."""

    device: str
    node: str
    rows: tuple[Row, ...]
    next: str | None
