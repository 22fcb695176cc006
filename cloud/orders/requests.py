"""What is asked for when orders are given, as JSON. Which of it makes sense is in `cloud.orders.checks`.

`on_behalf` is the person behind a token that several share, as a control room's.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from wire.entries import Name, Text
from wire.orders import MAX_BUNDLE_CHARS

CloudLevel = Literal["hypervisor", "emergency"]
Names = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=10**9)]
Person = Annotated[str, Meta(max_length=100)]


class GroupGiven(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All devices that have all that is said here."""

    kind: Name | None = None
    profile: Name | None = None
    tag: Name | None = None
    node: Name | None = None


class _Aimed(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for commands and relinquishes: one of device, devices, and group or area or both; one of
    expires, expires_in_s. A group that is a text is one that is kept under that id (`cloud.records.areas`)."""

    device: Name | None = None
    devices: Names | None = None
    group: GroupGiven | Name | None = None
    area: Name | None = None
    point: Name
    level: CloudLevel = "hypervisor"
    expires: str | int | None = None
    expires_in_s: Seconds | None = None
    on_behalf: Person = ""


class CommandGiven(_Aimed, frozen=True, kw_only=True):
    """Let a point of devices have a value, at a level of its priority array, until it expires."""

    value: bool | int | float | str


class RelinquishGiven(_Aimed, frozen=True, kw_only=True):
    """Take back what a level holds of a point of devices."""


class ActGiven(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with an alarm (ISA-18.2). Shelving needs its end: one of until, for_s."""

    act: Literal["acknowledge", "shelve", "unshelve"]
    until: str | int | None = None
    for_s: Seconds | None = None
    note: Text = ""
    on_behalf: Person = ""


class BundleGiven(msgspec.Struct, frozen=True, kw_only=True):
    """A versioned file for one node, some, or all: one of node, nodes, all."""

    node: Name | None = None
    nodes: Names | None = None
    all: bool = False
    kind: Literal["plan", "rules"]
    version: Annotated[str, Meta(min_length=1, max_length=200)]
    text: Annotated[str, Meta(max_length=MAX_BUNDLE_CHARS)]
    expires: str | int | None = None
    expires_in_s: Seconds | None = None
    on_behalf: Person = ""
