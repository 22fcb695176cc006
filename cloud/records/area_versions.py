"""Versions of areas and groups: what may follow what, and which one holds at a moment. Pure.

A version holds from its beginning to its own end or to the beginning of the next one. What has begun does not change:
a version begins now or later, but for the first, which may begin in the past, as an area may have been there all along.
One that begins takes the place of all that were planned from then on: those are withdrawn, and stay on record. An end
is a version without content.

Two operators at once: each names the revision that it has seen, and the second is refused.

Bounds: MAX_NAMES areas and as many groups, MAX_VERSIONS of each, MAX_BYTES of all together; MAX_MEMBERS devices in the
list of a group.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec

from cloud.log.notices import Announcement
from cloud.problem import Problem, not_found
from cloud.times import text
from cloud.views.within import Kind, Members
from wire.time import Utc

MAX_NAMES: Final = 2_000
MAX_VERSIONS: Final = 1_000
MAX_BYTES: Final = 256 << 20
MAX_MEMBERS: Final = 10_000

ANY: Final = "*"


class GroupSelector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All devices that have everything that is said here."""

    kind: str | None = None
    profile: str | None = None
    tag: str | None = None
    node: str | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a version says: of an area its GeoJSON geometry, of a group one of `devices` and `selector`."""

    label: str = ""
    note: str = ""
    geometry: msgspec.Raw = msgspec.Raw()
    devices: tuple[str, ...] | None = None
    selector: GroupSelector | None = None


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """When a version begins (now where nothing is said) and ends; which revision was seen: None where none was named,
    0 where there is to be none before, ANY where whichever there is."""

    from_us: Utc | None = None
    to_us: Utc | None = None
    now_us: Utc
    seen: int | Literal["*"] | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A version as it is kept, without what it says. `to_us` is its own end; `ends` says that it is one; `withdrawn`
    is the revision that came before it began."""

    revision: int
    from_us: Utc
    to_us: Utc | None
    by: str
    time_us: Utc
    ends: bool
    withdrawn: int | None = None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One that holds: from when, until when (None: nobody knows yet), and what it says (None: that it is over)."""

    name: str
    revision: int
    from_us: Utc
    to_us: Utc | None
    by: str
    time_us: Utc
    content: Content | None


class Step(msgspec.Struct, frozen=True):
    """What a new version does: its number and beginning, and the revisions that are withdrawn for it."""

    revision: int
    from_us: Utc
    withdrawn: tuple[int, ...]


def step(what: str, held: Sequence[Held], wanted: Wanted, *, ends: bool) -> Step | Problem:
    """What becomes of a wish, given the versions by revision; `what` is its kind and name."""
    newest = held[-1].revision if held else 0
    if (why := _unseen(what, newest, wanted)) is not None:
        return why
    now_us = wanted.now_us
    from_us = now_us if wanted.from_us is None else wanted.from_us
    standing = [h for h in held if h.withdrawn is None]
    if ends and not held:
        return not_found(f"there is no {what}")
    if (ends or any(h.from_us <= now_us for h in standing)) and from_us < now_us:
        return _impossible(
            f"{what} begins in the past, at {text(from_us)}, and there are versions of it already: what was asked of"
            f" them was answered; it is {text(now_us)} now"
        )
    if wanted.to_us is not None and wanted.to_us <= from_us:
        return _impossible(f"{what} ends at {text(wanted.to_us)}, not after its beginning at {text(from_us)}")
    planned = [h for h in standing if h.from_us >= from_us]
    if ends and not planned and holding(held, from_us) is None:
        return _impossible(f"{what} is over already at {text(from_us)}")
    if not ends and len(held) >= MAX_VERSIONS:
        return _impossible(f"{what} has {len(held)} versions; no more are kept: go on under another id")
    return Step(newest + 1, from_us, tuple(h.revision for h in planned))


def holding(held: Sequence[Held], at_us: Utc) -> tuple[Held, Utc | None] | None:
    """The version that holds at a moment, and when it ends, as far as is known; None where none does."""
    standing = sorted((h for h in held if h.withdrawn is None), key=lambda h: (h.from_us, h.revision))
    begun = [h for h in standing if h.from_us <= at_us]
    if not begun or begun[-1].ends:
        return None
    found, after = begun[-1], standing[len(begun) :]
    ends = [end for end in (found.to_us, after[0].from_us if after else None) if end is not None]
    end_us = min(ends, default=None)
    return (found, end_us) if end_us is None or at_us < end_us else None


def changed_us(held: Sequence[Held], at_us: Utc) -> Utc:
    """When what holds at a moment has become so, be it that nothing holds."""
    standing = [h for h in held if h.withdrawn is None]
    moments = [h.from_us for h in standing] + [h.to_us for h in standing if h.to_us is not None]
    return max((m for m in moments if m <= at_us), default=Utc(0))


def told(kind: Kind, name: str, content: Content | None, step: Step, wanted: Wanted, by: str) -> Announcement:
    """Its notice in the feed: what has changed and from when on, not the geometry or the list."""
    data: dict[str, object] = {
        "what": kind,
        "id": name,
        "name": content.label if content else "",
        "revision": step.revision,
    }
    data |= {"ended": content is None, "valid_from": text(step.from_us), "by": by, "withdrawn": step.withdrawn}
    data["valid_to"] = None if wanted.to_us is None else text(wanted.to_us)
    return Announcement(node="", type="area", time_us=wanted.now_us, data=data)


def named(areas: Collection[str], groups: Collection[str]) -> Sequence[tuple[Kind, str]]:
    """All names of a question, in an order that does not depend on how it was asked."""
    return [*(("area", name) for name in sorted(areas)), *(("group", name) for name in sorted(groups))]


def members_of(content: Content) -> Members:
    """The devices of a group."""
    said = content.selector or GroupSelector()
    devices = None if content.devices is None else frozenset(content.devices)
    return Members(devices, said.kind, said.profile, said.tag, said.node)


def no_names(kind: Kind, count: int) -> Problem:
    """As many are kept as there may be."""
    return Problem(422, "too-many", f"{count} {kind}s are kept; no more are")


def no_bytes() -> Problem:
    """They take as much room as they may."""
    return Problem(422, "too-many", f"areas and groups take {MAX_BYTES >> 20} MiB with all their versions; no more")


def _unseen(what: str, newest: int, wanted: Wanted) -> Problem | None:
    match wanted.seen:
        case None if newest:
            return Problem(
                428,
                "precondition-required",
                f"{what} is there, at revision {newest}: send If-Match with the revision that you have seen (its ETag)",
            )
        case int(seen) if seen != newest:
            return Problem(
                412,
                "precondition-failed",
                f"{what} is at revision {newest}, not {seen}: somebody has changed it; read it again"
                if newest and seen
                else f"{what} is there already, at revision {newest}"
                if newest
                else f"there is no {what} with revision {seen}",
            )
        case "*" if not newest:
            return Problem(412, "precondition-failed", f"there is no {what}")
        case _:
            return None


def _impossible(detail: str) -> Problem:
    return Problem(422, "not-possible", detail)
