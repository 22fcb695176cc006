"""The entries of the two lanes, besides Columns. Each takes one seq; a Gap takes as many as it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from wire.columns import Columns
from wire.device import Roster
from wire.sample import Value
from wire.time import Micros, Utc

# What comes from outside is held to these; what we write ourselves stays below them.
Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=2_000)]
MAX_DECIDED: Final = 10_000  # points that one entry says something of

Severity = Literal["low", "medium", "high", "urgent"]
AlarmState = Literal["raised", "acknowledged", "returned", "cleared", "shelved", "suppressed"]
Level = Literal["technician", "emergency", "hypervisor", "rule", "plan", "default"]  # the highest first
Stage = Literal["accepted", "applied", "verified", "refused", "failed", "expired", "superseded"]
Verdict = Literal["ok", "degraded", "failed"]
VisitAct = Literal["began", "here", "acted", "left"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A condition that someone must look at (ISA-18.2 states). `device` is the node's own id for the node's own.

    Each of its transitions is one of these, and says all that there is to know. `active` is whether the condition
    holds, `acknowledged` whether someone has seen it, also while `state` is shelved or suppressed and says neither;
    shelved ends at `until_us`, and `cause` is the id of the alarm that explains a suppressed one. `by` is who acted.
    `boot` is set where times are estimates of that boot's clock.
    """

    id: Name
    device: Name
    rule: Name
    severity: Severity
    state: AlarmState
    raised_us: Utc
    time_us: Utc
    respond_by_us: Utc | None = None
    detail: Text = ""
    text: Annotated[Mapping[Name, Text], Meta(max_length=10)] = {}  # by language
    values: Annotated[Mapping[Name, Value], Meta(max_length=256)] = {}
    active: bool = True
    acknowledged: bool = False
    escalated: bool = False  # the time to respond is nearly over and nobody has acknowledged it
    cause: Name = ""
    until_us: Utc | None = None
    by: Name = ""
    boot: int | None = None


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rule's word to whoever reads the feed: this has happened here. Nobody has to answer it."""

    device: Name
    rule: Name
    tag: Name
    time_us: Utc
    values: Annotated[Mapping[Name, Value], Meta(max_length=256)] = {}
    boot: int | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an order has come; exactly one is final (`wire.orders.FINAL`).

    accepted: it holds its place, and is on the card. applied: the device has been told. verified: the device was read
    and has the value. refused: a check said no. failed: the device did not take it. expired, superseded: its time ended
    before it was verified, or a later order of its level took its place. `read_back` is what the device answered.
    """

    order: Name
    stage: Stage
    time_us: Utc
    device: Name = ""
    point: Name = ""
    read_back: Value = None
    detail: Text = ""
    boot: int | None = None


class Visit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a technician did at the cabinet, by the node's own clock. `visit` is its id, `by` the name that the code was
    made for.

    began: the code with the counter `code` was used; unless more is said, they are there until `until_us`. here: they
    say that they are there until `until_us`. acted: `detail` says what was done, `device` and `order` to what and by
    which order, where there is one. left: it is over, `detail` says why. `boot` is set where times are estimates of
    that boot's clock.
    """

    visit: Name
    by: Name
    act: VisitAct
    time_us: Utc
    until_us: Utc | None = None
    code: int | None = None
    device: Name = ""
    order: Name = ""
    detail: Text = ""
    boot: int | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What wins in the priority array of a point, the same on each of these devices.

    `level` is the highest that holds a value, None where none does and the device is left as it is. `by` and `order`
    name who gave the value and the order it came with, `until_us` is when it ends, None: when it is taken back, or
    nobody knows. `blinks`: the point is turned over again and again, and has no value meanwhile.
    """

    point: Name
    devices: Annotated[tuple[Name, ...], Meta(max_length=MAX_DECIDED)]
    level: Level | None = None
    value: Value = None
    by: Name = ""
    order: Name = ""
    until_us: Utc | None = None
    blinks: bool = False


class Decisions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who decides, from `time_us` on at the latest. A point that is not named is as it was told last.

    `plan` and `rules` are those in force, in words that name them and their version; "" where there are none. `boot` is
    set where times are estimates of that boot's clock.
    """

    time_us: Utc
    decided: Annotated[tuple[Decision, ...], Meta(max_length=MAX_DECIDED)]
    plan: Text = ""
    rules: Text = ""
    boot: int | None = None


class ClockFix(msgspec.Struct, frozen=True, kw_only=True):
    """Add `offset_us` to every estimated time of `boot` to have UTC, good to ± `error_us`."""

    boot: int
    offset_us: Micros
    error_us: Micros


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Loss, said aloud. It takes `seqs` places: those of the entries that it stands for, or one of its own
    where what was lost never had any.

    `lost` counts samples; `from_us` and `to_us` bound their times where they are known.
    """

    reason: Text
    lost: int
    seqs: int = 1
    from_us: Utc | None = None
    to_us: Utc | None = None
    devices: Annotated[tuple[Name, ...], Meta(max_length=1_000)] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the node is: the same object that its `GET /health` shows. Sizes in bytes, ages in seconds."""

    time_us: Utc
    verdict: Verdict
    reasons: Annotated[tuple[Text, ...], Meta(max_length=50)] = ()
    version: Name = ""
    uptime_s: float = 0.0
    interval_s: float = 60.0
    clock_synced: bool = False
    boot: int = 0
    devices: int = 0
    devices_silent: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    outbox_entries: int = 0
    outbox_oldest_s: float | None = None
    outbox_bytes: int = 0
    outbox_limit_bytes: int = 0
    last_ack_s: float | None = None
    disk_free_bytes: int = 0
    roster: Name = ""  # Roster.digest(), in hex
    counters: Annotated[Mapping[Name, int], Meta(max_length=1_000)] = {}


class Unknown(msgspec.Struct, frozen=True):
    """An entry of a type that this version does not know: it keeps its place and nothing else."""

    type: str


Entry = Columns | Alarm | ClockFix | Decisions | Gap | Health | Mark | Result | Roster | Unknown | Visit
