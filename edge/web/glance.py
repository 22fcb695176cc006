"""Glance: the cabinet and its devices at one look, as data in the reader's language: what `edge.web.summary` makes and
the command line reads.
"""

from __future__ import annotations

import msgspec

from wire.time import Utc


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do or to know. `weight` is failed, act or note; `said` what a driver or the system has said."""

    weight: str
    title: str
    check: str = ""
    said: str = ""
    device: str = ""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The cabinet at one look. `state` is well, act or failed; `oldest` is how old the first is that waits for the
    city."""

    node: str
    state: str
    sentence: str
    tasks: tuple[Task, ...] = ()
    notes: tuple[Task, ...] = ()
    left_out: int = 0  # of both
    queue: str = ""
    oldest: str = ""
    devices: int = 0
    alarms: int = 0
    version: str = ""


class ChangedHere(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed of a device at the cabinet: replaced, changed or added, by whom and when (UTC microseconds, an
    estimate where the clock was not `synced`). `by` is empty where that is not kept any more."""

    words: str
    act: str = "changed"
    by: str = ""
    time_us: Utc | None = None
    synced: bool = True


class DeviceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One device. `state` is well, partly, waiting or act; `changed` where the file alone does not say how it is."""

    id: str
    name: str
    line: str
    state: str
    words: str
    changed: ChangedHere | None = None
