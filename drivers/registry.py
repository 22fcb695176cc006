"""The protocols there are: one line each, imported when first asked for, plus those that installed packages bring.

A package adds a protocol with an entry point in the group `lamplighter.drivers` whose value names a ProtocolKind.
A protocol of ours cannot be replaced by one of the same name.

Whatever such a package does when it is imported or asked is its own line's misfortune: in its place stands one that is
`broken`, with the reason, whose lines cannot be opened. Only Ctrl-C goes through. Bounds: one entry a name asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # profile.py asks the registry, and the contract names Profile: a circle only for the type checker
    from drivers.contract import Attachment, Claim, ProtocolKind
    from drivers.profile import Profile

GROUP: Final = "lamplighter.drivers"

OURS: Final = {
    "modbus": "drivers.modbus:PROTOCOL",
    "mqtt": "drivers.mqtt:PROTOCOL",
    "ble": "drivers.ble:PROTOCOL",
    "fake": "drivers.fake:PROTOCOL",
}

_found: dict[str, ProtocolKind | None] = {}


def names() -> tuple[str, ...]:
    """All protocols that can be asked for."""
    return tuple(dict.fromkeys((*OURS, *entry_points(group=GROUP).names)))


def find(name: str) -> ProtocolKind | None:
    """The protocol of this name, or None when there is none. One that is installed and cannot be used is `broken`."""
    if name not in _found:
        if (place := OURS.get(name)) is not None:
            module, _, attribute = place.partition(":")
            _found[name] = getattr(import_module(module), attribute)
        else:
            _found[name] = _installed(name)
    return _found[name]


def forget() -> None:
    """Import and look for packages anew when asked next."""
    _found.clear()


def checked(profile: Profile, kind: ProtocolKind) -> Sequence[tuple[str, str]] | None:
    """What the protocol finds wrong in a profile; None where it is wrong itself, and broken from now on."""
    if kind.name in OURS:
        return kind.check(profile)
    try:
        if not kind.polled(profile) <= profile.points.keys():
            raise TypeError("polled names what is no point")  # noqa: TRY301 - told like what it raises itself
        return [(str(key), str(text)) for key, text in kind.check(profile)]
    except Exception as error:  # noqa: BLE001 -- it is somebody else's code, and told where its lines are
        take_out(kind.name, f"cannot judge the profile {profile.name}: {_why(error)}")
        return None


def fitted(kind: ProtocolKind, line: Any, profile: Profile, address: Any) -> Sequence[tuple[str, str]] | None:
    """What an address lacks for a profile or cannot be on a line, which is None where it could not be read; None where
    the protocol is wrong itself, and broken from now on."""
    try:
        wrong = [*kind.fits(profile, address), *(kind.on_line(line, address) if line is not None else ())]
        return [(str(key), str(text)) for key, text in wrong]
    except Exception as error:
        if kind.name in OURS:
            raise
        take_out(kind.name, f"cannot judge an address of {profile.name}: {_why(error)}")
        return None


def claimed(kind: ProtocolKind, line: Any, attachments: Sequence[Attachment]) -> Sequence[Claim]:
    """What a line and its devices must have for themselves; nothing where the protocol is wrong itself, and broken
    from now on."""
    if kind.name in OURS:
        return list(kind.claims(line, attachments))
    try:
        return list(kind.claims(line, attachments))
    except Exception as error:  # noqa: BLE001 -- as above
        take_out(kind.name, f"cannot say what its lines share: {_why(error)}")
        return ()


def take_out(name: str, why: str) -> ProtocolKind:
    """Let a protocol that a package brings be broken from now on, and why."""
    from drivers.contract import broken

    kind = _found[name] = broken(name, f"the driver {name} {why}")
    return kind


def _installed(name: str) -> ProtocolKind | None:
    entry = next(iter(entry_points(group=GROUP, name=name)), None)
    if entry is None:
        return None
    from drivers.contract import why_no_kind

    try:
        kind = entry.load()
        why = why_no_kind(kind)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 -- a module may also end in sys.exit()
        return take_out(name, f"cannot be loaded from {entry.value}: {_why(error)}")
    if why is not None:
        return take_out(name, f"cannot be used: {entry.value} {why}")
    return kind.named(name)


def _why(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return " ".join(text.split())[:300]
