"""The driver contract: what a protocol must offer so that the node can read, listen and write through it.

A driver owns one line, connection or radio. It is an async context manager: entering opens what it needs without
waiting for any device, leaving closes everything. All three verbs may be used at the same time.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import msgspec

from drivers.errors import Misconfigured
from drivers.frames import Frame
from drivers.guesses import Ask, Guesses, Heard, Tell
from drivers.profile import Profile
from drivers.tables import why_unreadable
from wire.device import Device, Point
from wire.sample import Clock, Sample, Value
from wire.time import Utc

Now = Callable[[], tuple[Utc, Clock]]
"""The node's clock: UTC microseconds, and whose they are."""

RECENT = 4096  # receipts kept of each source, whatever others deliver; what a source may send unconfirmed is no more


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What must be known again after a restart so that a repeat of this delivery is recognised.

    `source` names the sender's session or air (one for each line), `key` (at most 64 bytes) is opaque to the node.
    `redelivered` says that the source brings this delivery again when it is not stored; without it, what is not
    stored is lost, and the node tells it.
    """

    source: str
    key: bytes
    redelivered: bool = True


class Receipts(Protocol):
    """The receipts that were committed together with samples."""

    async def recent(self, source: str) -> Sequence[bytes]:
        """The keys of this source's last RECENT receipts, oldest first."""
        ...


@runtime_checkable
class Keeps(Protocol):
    """Receipts that also keep what a driver must know again after a restart, by key. Such a key begins with the name of
    its protocol and a slash; values are small, and change seldom."""

    async def kept(self, prefix: str) -> Mapping[str, bytes]:
        """What is kept under the keys that begin so.

        Raises:
            NotStored.
        """
        ...

    async def keep(self, values: Mapping[str, bytes | None]) -> None:
        """Keep values in place of what was there; None takes it away. Durable on return.

        Raises:
            NotStored.
        """
        ...


class Deliver(Protocol):
    """Hand samples to the node. The call never blocks nor raises; the future ends when they are durable, or with
    NotStored.

    `receipt` is recorded in the same commit as the samples; `samples` may be empty to record it alone, and commits
    keep the order of calls. Many futures may be waited for at once, and one future stands for all calls that share a
    commit: wait for it with `asyncio.wait` or `asyncio.shield`, for a task that is cancelled while it awaits a future
    cancels it for everybody. A driver states its bound and stops reading from its source when it is reached.
    """

    def __call__(self, samples: Sequence[Sample], receipt: Receipt | None = None) -> Future[None]:
        """Never blocks."""
        ...


class Attachment(msgspec.Struct, frozen=True):
    """A device on this line: its profile and its address, already checked against the protocol's `Address`. `zone` is
    the IANA name of the site's time zone, empty where the site is not known."""

    device: Device
    profile: Profile
    address: Any
    zone: str = ""


class Driver(Protocol):
    """One line, connection or radio."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def poll(self, device: Device, points: Sequence[Point]) -> Sample:
        """Read points of one device now.

        A point that the device refuses is null with a bad quality; the others stand.

        Raises:
            Unreachable: no answer in time, or the device is being left alone after failing (see promise 3).
            Refused: the device refused everything that was asked.
            Misconfigured: a point cannot be polled by this protocol.
        """
        ...

    async def listen(self, devices: Sequence[Device], deliver: Deliver) -> None:
        """Deliver what devices send by themselves, until cancelled. Returns at once where devices never do.

        A source that goes away is waited for and opened again inside.

        Raises:
            Misconfigured: no retry will help (credentials refused, a missing certificate file).
        """
        ...

    async def write(self, device: Device, point: Point, value: Value) -> None:
        """Set one writable point; ahead of polls that wait on the same line.

        Raises:
            Unreachable, Refused, Misconfigured.
        """
        ...

    def counters(self) -> Mapping[str, int]:
        """What was counted since it was opened: requests, failures, unreadable payloads …; `connected` is 0 or 1."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A driver that can also say what a person should know of its line, for `GET /health`."""

    def notes(self) -> Sequence[str]:
        """Why it has no connection now, and what it knows to be missing, each in one sentence; at most 5."""
        ...


@runtime_checkable
class Rousing(Protocol):
    """A driver that leaves silent devices alone for a while, and can be told not to."""

    def rouse(self, device: str) -> None:
        """Ask this device when it is polled next, however often it has failed; nothing of a stranger."""
        ...


@runtime_checkable
class Traced(Protocol):
    """A driver that also keeps the last frames of each device; see `drivers.frames` for how many."""

    def frames(self, device: str) -> Sequence[Frame]:
        """What was said to a device and what it said, oldest first, named by its profile; nothing of a stranger."""
        ...


class Open(Protocol):
    """Make a driver, not yet entered, for the line `name`; `line` is the protocol's `Line`, already checked."""

    def __call__(self, name: str, line: Any, attachments: Sequence[Attachment], now: Now, receipts: Receipts) -> Driver:
        """Opens nothing yet."""
        ...


class Claim(msgspec.Struct, frozen=True):
    """Something that only one line, or one device, of a node can have, such as a serial port.

    `what` names it in the same words for all who claim it; two claims of the same words are refused. `key` is the key
    by which the file asks for it: in the table of the line, or in the address of `device` (its id). `hint` says
    what to write instead.
    """

    what: str
    key: str
    device: str = ""
    hint: str = ""


def any_address(_line: Any, _address: Any) -> Sequence[tuple[str, str]]:
    """For protocols whose addresses mean the same on all lines."""
    return ()


def claims_nothing(_line: Any, _attachments: Sequence[Attachment]) -> Iterable[Claim]:
    """For protocols whose lines and devices can never be in each other's way."""
    return ()


@runtime_checkable
class Looks(Protocol):
    """A driver that can also look for devices that nobody has told it of, beside all that it does: others go first."""

    async def look(self, ask: Ask, profiles: Sequence[Profile], tell: Tell) -> Sequence[Heard]:
        """What answers, or speaks, within `ask.seconds`; `profiles` say what is worth asking for.

        Raises:
            Unreachable: the line itself does not work.
            Misconfigured: this line cannot be asked that.
        """
        ...


class Looking(msgspec.Struct, frozen=True):
    """How profiles are tried on what was heard; `drivers.guesses` has the nouns.

    `guesses` are all ways in which a profile may read it. `pasted` makes evidence of bytes that somebody has copied
    from elsewhere: all that they may be in this protocol.
    """

    guesses: Guesses
    pasted: Callable[[Sequence[bytes]], Sequence[Any]]


class ProtocolKind(msgspec.Struct, frozen=True, kw_only=True):
    """One registry line: what a protocol asks of files, and how it is opened.

    `Line` are the keys of a `[[line]]` table, `Address` those of a device's address, `Access` those that a profile
    gives for a point and `Whole` those that it gives for the whole model; all are msgspec structs. `polled` names
    the points of a profile that `poll` reads; the others come by `listen`. `check` finds what no type can tell in a
    profile, `fits` what a device's address lacks for its profile, `on_line` what of it cannot be on its line: each as
    (key, what is wrong and what to write).
    `claims` says what a line and its devices must have for themselves, over all lines of the node.
    `looking` is there where profiles can be tried on what an unknown device says. `broken` says why one that is
    installed cannot be used: then its tables are not looked at, and no line of it opens.
    """

    name: str
    Line: type[msgspec.Struct]
    Address: type[msgspec.Struct]
    Access: type[msgspec.Struct]
    Whole: type[msgspec.Struct]
    open: Open
    polled: Callable[[Profile], frozenset[str]]
    check: Callable[[Profile], Sequence[tuple[str, str]]]
    fits: Callable[[Profile, Any], Sequence[tuple[str, str]]]
    on_line: Callable[[Any, Any], Sequence[tuple[str, str]]] = any_address
    claims: Callable[[Any, Sequence[Attachment]], Iterable[Claim]] = claims_nothing
    looking: Looking | None = None
    broken: str = ""

    def named(self, name: str) -> ProtocolKind:
        """The same protocol under the name by which files ask for it."""
        return self if self.name == name else msgspec.structs.replace(self, name=name)


class _Nothing(msgspec.Struct):
    """The keys of what cannot be read."""


def broken(name: str, why: str) -> ProtocolKind:
    """What stands in the place of a protocol that cannot be used: its lines are known, and say why when opened."""

    def cannot(name: str, line: Any, attachments: Sequence[Attachment], now: Now, receipts: Receipts) -> Driver:
        del name, line, attachments, now, receipts
        raise Misconfigured(why)

    return ProtocolKind(
        name=name,
        Line=_Nothing,
        Address=_Nothing,
        Access=_Nothing,
        Whole=_Nothing,
        open=cannot,
        polled=lambda profile: frozenset(profile.points),
        check=lambda _profile: (),
        fits=lambda _profile, _address: (),
        broken=why,
    )


def why_no_kind(kind: object) -> str | None:
    """What speaks against an object as a ProtocolKind, in words; None where it can be one.

    Raises:
        Exception: one of its structs has annotations that msgspec does not understand.
    """
    if not isinstance(kind, ProtocolKind):
        return f"is a {type(kind).__name__}, not a ProtocolKind"
    for part in ("Line", "Address", "Access", "Whole"):
        struct = getattr(kind, part)
        if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
            return f"has a {part} that is no msgspec.Struct"
        if (why := why_unreadable(struct)) is not None:
            return f"has in its {part} {why}"
    for part in ("open", "polled", "check", "fits", "on_line", "claims"):
        if not callable(getattr(kind, part)):
            return f"has {part} = {getattr(kind, part)!r}, which cannot be called"
    return None
