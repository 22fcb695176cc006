"""Orders: what comes down to a node, and the results that go up for them.

Every order says who gave it and when it ends, and has exactly one final result, however often it is sent. A command's
value holds its place in the point's priority array until `expires_us`, and is never applied after. Values are those of
`wire.sample`, never null. They travel as JSON, each in a `Down`, one server-sent event each;
so do questions (`wire.why`).

Bounds: the text of a bundle has MAX_BUNDLE_CHARS and MAX_BUNDLE_BYTES, one `Down` MAX_DOWN_BYTES as JSON.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from wire.entries import Level, Name, Stage, Text
from wire.time import Utc
from wire.why import AskWhy

MAX_BUNDLE_CHARS: Final = 256 * 1024
MAX_BUNDLE_BYTES: Final = MAX_BUNDLE_CHARS  # of the text as UTF-8: what a node reads, so what the aggregator takes
MAX_DOWN_BYTES: Final = 2 * 1024 * 1024  # a bundle of MAX_BUNDLE_CHARS, each written as \uXXXX at worst
LEVELS: Final[tuple[Level, ...]] = ("technician", "emergency", "hypervisor", "rule", "plan", "default")
FINAL: Final[frozenset[Stage]] = frozenset({"verified", "refused", "failed", "expired", "superseded"})

Time = Annotated[Utc, Meta(ge=0, lt=2**52)]
# Whoever is not at the cabinet speaks at one of these; the others are the node's own.
Commanding = Literal["technician", "emergency", "hypervisor"]


class _Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="order"):
    """What all orders have. `id` is drawn by whoever took the order; `group` is one for all that were given at once."""

    id: Name
    by: Name
    issued_us: Time
    expires_us: Time
    group: Name = ""


class Command(_Order, frozen=True, kw_only=True, omit_defaults=True, tag="command"):
    """Let a point have a value, at a level of its priority array, until the order expires."""

    device: Name
    point: Name
    value: int | float | bool | Annotated[str, Meta(max_length=4096)]
    level: Commanding = "hypervisor"


class Relinquish(_Order, frozen=True, kw_only=True, omit_defaults=True, tag="relinquish"):
    """Take back what a level holds: the next one below takes over."""

    device: Name
    point: Name
    level: Commanding = "hypervisor"


class AlarmAct(_Order, frozen=True, kw_only=True, omit_defaults=True, tag="alarm_act"):
    """What an operator does with an alarm (ISA-18.2). `until_us` is when a shelved one comes back."""

    alarm: Name
    act: Literal["acknowledge", "shelve", "unshelve"]
    until_us: Time | None = None
    note: Text = ""


class Bundle(_Order, frozen=True, kw_only=True, omit_defaults=True, tag="bundle"):
    """A versioned file for the node to live by from now on: the text of a plan or of rules."""

    kind: Literal["plan", "rules"]
    version: Name
    text: Annotated[str, Meta(max_length=MAX_BUNDLE_CHARS)]


Order = Command | Relinquish | AlarmAct | Bundle


class Down(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing on the downlink: an order, a question, or nothing but the cloud's UTC time, so that silence means
    something. A node that knows no questions leaves them out."""

    server_us: Time
    order: Order | None = None
    why: AskWhy | None = None
