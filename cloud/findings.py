"""Finding: something that the aggregator itself has noticed about a node, and tells in ledger and feed.

A finding is kept in the log as JSON, between the batches, so that the feed has one order and one cursor. It is
told once, when it is noticed; the views are never built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

FindingKind = Literal["unfinished", "fork", "conflict", "silent", "heard_again"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was noticed, about which node, when. `detail` has the fields that the ledger shows for it."""

    node: str
    kind: FindingKind
    time_us: int
    detail: Mapping[str, Any]


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A finding as it stands in the log: its id names the generation, for positions return after a restore."""

    id: str
    finding: Finding
