"""Lines: how `[[line]]` and `[[device]]` tables become what drivers are opened with.

A device names a profile and a line; profile and line must speak the same protocol, and the address must be one of it.
What only one can have, a serial port for instance, is claimed by the protocol and given once over all lines.
At most MAX_LINES lines and MAX_DEVICES devices a node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from drivers import registry
from drivers.contract import Attachment, ProtocolKind
from drivers.profile import Profile
from drivers.tables import Problem, parse, suggest
from edge.sampling.intake import Report
from groundwork.places import why_no_place
from groundwork.plain_names import why_not_plain
from wire.device import Device

MAX_DEVICES: Final = 2_000
MAX_LINES: Final = 64
MAX_CHARS: Final = 200  # of a name or a tag, and how many tags: what `wire.device` lets a roster have
MAX_TAGS: Final = 50
FILES: Final = frozenset({"password_file", "ca", "cert", "key"})  # keys of lines that name a file, in any protocol
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]


def says(text: str) -> Any:
    """What docs/configuration.md says of a key."""
    return Meta(description=text)


class DeviceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[device]]`"""

    id: Annotated[Id, says("unique in the city; it never changes")]
    profile: Annotated[str, says("the model, by the name of its profile")]
    line: Annotated[str, says("the name of the line that it hangs on")]
    address: Annotated[dict[str, Any], says("where on that line; its keys are the protocol's")]
    poll_s: Annotated[float, Meta(ge=0.1, le=86_400), says("how often it is read, where its protocol polls")] = 10
    expect_s: Annotated[
        float, Meta(ge=0.1, le=604_800), says("how often a device that speaks by itself should be heard")
    ] = 3600
    name: Annotated[str, says("what people call it")] = ""
    lon: Annotated[Annotated[float, Meta(ge=-180, le=180)] | None, says("WGS 84 longitude in degrees")] = None
    lat: Annotated[Annotated[float, Meta(ge=-90, le=90)] | None, says("WGS 84 latitude in degrees")] = None
    tags: Annotated[tuple[str, ...], says("words of your own")] = ()
    report: Annotated[
        dict[str, Report], says("points that report by exception: deadband and heartbeat_s for each")
    ] = {}


class LineTable(msgspec.Struct, frozen=True, kw_only=True):
    """`[[line]]`: these keys, and those of its protocol (docs/profiles.md)."""

    name: Annotated[Id, says("what devices call it")]
    protocol: Annotated[str, says("modbus, mqtt, ble, or one that is installed")]


class AttachedLine(msgspec.Struct, frozen=True):
    """One line, ready to be opened, with the devices that hang on it."""

    name: str
    kind: ProtocolKind
    settings: Any
    attachments: tuple[Attachment, ...]
    tables: Mapping[str, DeviceTable]


def heartbeats_s(lines: Iterable[AttachedLine]) -> dict[str, dict[str, float]]:
    """How long each point that reports by exception may be silent, by device and point."""
    return {
        device: {point: report.heartbeat_s for point, report in table.report.items()}
        for line in lines
        for device, table in line.tables.items()
        if table.report
    }


def readdressed(before: Sequence[AttachedLine], after: Sequence[AttachedLine]) -> list[AttachedLine] | None:
    """The lines on which devices have another address, where that is all that differs; None where more does."""
    found: list[AttachedLine] = []
    for old, new in zip(before, after, strict=False):
        devices = {a.device.id: a for a in old.attachments}
        same = (old.name, old.kind, old.settings, set(old.tables)) == (
            new.name,
            new.kind,
            new.settings,
            set(new.tables),
        )
        if not same or any(_apart_from_address(old, a) != _apart_from_address(new, a) for a in devices.values()):
            return None
        if any(devices[a.device.id].address != a.address for a in new.attachments):
            found.append(new)
    return found if len(before) == len(after) else None


def _apart_from_address(line: AttachedLine, like: Attachment) -> object:
    attachment = next(a for a in line.attachments if a.device.id == like.device.id)
    table = msgspec.structs.replace(line.tables[like.device.id], address={})
    return attachment.device, attachment.profile, attachment.zone, table


def attach(
    path: Path,
    lines: Sequence[Mapping[str, Any]],
    devices: Sequence[object],
    profiles: Mapping[str, Profile],
    taken: str,
    problems: list[Problem],
    doubts: list[Problem],
    zone: str = "",
) -> tuple[AttachedLine, ...]:
    """Lines with all that hangs on them; everything that is wrong with any of it goes to `problems`, what
    keeps a single line from working for now to `doubts`.

    `taken` is an id that no device may have, the node's own. Files that a line names lie beside `path`. `zone` is the
    IANA name of the site's time zone, empty where it is not told.
    """
    name = str(path)
    kinds: dict[str, tuple[ProtocolKind, Any]] = {}
    places: dict[str, str] = {}
    if len(lines) > MAX_LINES:
        problems.append(Problem(name, "line", f"{len(lines)} lines; a node has at most {MAX_LINES}"))
    for i, table in enumerate(lines):
        key = f"line[{i}]"
        common = parse(LineTable, {k: v for k, v in table.items() if k in ("name", "protocol")},
                       file=name, key=key, problems=problems)  # fmt: skip
        if common is None:
            continue
        kind = registry.find(common.protocol)
        if kind is None:
            text = f'no protocol "{common.protocol}"{suggest(common.protocol, registry.names())}'
            problems.append(Problem(name, f"{key}.protocol", text))
            continue
        rest = {k: v for k, v in table.items() if k not in ("name", "protocol")}
        settings = None if kind.broken else parse(kind.Line, rest, file=name, key=key, problems=problems)
        if (why := why_not_plain(common.name)) is not None:
            problems.append(Problem(name, f"{key}.name", why, mild=True))
        if common.name in kinds:
            problems.append(Problem(name, f"{key}.name", f'there are two lines "{common.name}"'))
        kinds[common.name] = (kind, settings if settings is None else _with_files(settings, path, key, doubts))
        places[common.name] = key
    attached = _attachments(devices, kinds, profiles, taken, name, problems, zone)
    made = tuple(
        AttachedLine(
            line,
            kind,
            settings,
            tuple(a for a, table in attached if table.line == line),
            {table.id: table for _, table in attached if table.line == line},
        )
        for line, (kind, settings) in kinds.items()
    )
    for i, raw in enumerate(devices):
        if isinstance(raw, Mapping):
            places.setdefault(f"device {cast('Mapping[str, object]', raw).get('id')}", f"device[{i}].address")
    _share_out(made, places, name, problems)
    return tuple(_unless_broken(line, name, places[line.name], doubts) for line in made)


def _unless_broken(line: AttachedLine, name: str, key: str, doubts: list[Problem]) -> AttachedLine:
    """A line with its protocol as it is known by now: one that a package brings may have broken on the way."""
    kind = registry.find(line.kind.name) or line.kind
    if kind.broken:
        doubts.append(Problem(name, f"{key}.protocol", f"{kind.broken}; this line is out, the others run"))
    return msgspec.structs.replace(line, kind=kind)


def _share_out(lines: Sequence[AttachedLine], places: Mapping[str, str], name: str, problems: list[Problem]) -> None:
    """Tell of what is claimed twice, once for each two places."""
    first: dict[str, tuple[str, str]] = {}
    told: set[tuple[str, str]] = set()
    for line in lines:
        if line.settings is None:
            continue
        for claim in registry.claimed(line.kind, line.settings, line.attachments):
            table = places[f"device {claim.device}" if claim.device else line.name]
            key = f"{table}.{claim.key}" if claim.key else table
            holder, other = first.setdefault(claim.what, (claim.device or line.name, key))
            if key != other and (holder, claim.device or line.name) not in told:
                told.add((holder, claim.device or line.name))
                text = f'{claim.what} is taken already by "{holder}" ({other}){"; " if claim.hint else ""}{claim.hint}'
                problems.append(Problem(name, key, text))


def _attachments(
    devices: Sequence[object],
    kinds: Mapping[str, tuple[ProtocolKind, Any]],
    profiles: Mapping[str, Profile],
    taken: str,
    name: str,
    problems: list[Problem],
    zone: str,
) -> list[tuple[Attachment, DeviceTable]]:
    attached: list[tuple[Attachment, DeviceTable]] = []
    seen: set[str] = {taken}
    broken = {Path(p.file).stem for p in problems if p.file != name}  # profiles that have been told of already
    if len(devices) > MAX_DEVICES:
        problems.append(Problem(name, "device", f"{len(devices)} devices; a node has at most {MAX_DEVICES}"))
    for i, raw in enumerate(devices):
        key = f"device[{i}]"
        table = parse(DeviceTable, raw, file=name, key=key, problems=problems)
        if table is None:
            continue
        if table.id in seen:
            problems.append(Problem(name, f"{key}.id", f'"{table.id}" is taken already; ids are unique in the city'))
        seen.add(table.id)
        problems += [Problem(name, f"{key}.{k}", text) for k, text in _too_long(table)]
        problems += [Problem(name, f"{key}.{k}", text, mild=True) for k, text in _unclear(table)]
        profile = profiles.get(table.profile)
        if profile is None and table.profile not in broken:
            text = f'no profile "{table.profile}"{suggest(table.profile, profiles)}'
            problems.append(Problem(name, f"{key}.profile", text))
        if table.line not in kinds:
            text = f'no line "{table.line}"{suggest(table.line, kinds)}' if kinds else "there is no [[line]] at all"
            problems.append(Problem(name, f"{key}.line", text))
        if profile is None or table.line not in kinds:
            continue
        kind, settings = kinds[table.line]
        if profile.driver != kind.name:
            text = f'profile "{profile.name}" speaks {profile.driver}; line "{table.line}" is {kind.name}'
            problems.append(Problem(name, f"{key}.line", text))
            continue
        address: Any = table.address
        if not kind.broken:
            address = parse(kind.Address, table.address, file=name, key=f"{key}.address", problems=problems)
        for point in table.report:
            if point not in profile.points:
                text = f'profile "{profile.name}" has no such point{suggest(point, profile.points)}'
                problems.append(Problem(name, f"{key}.report.{point}", text))
        if address is not None:
            lacking = () if kind.broken else registry.fitted(kind, settings, profile, address) or ()
            problems += [Problem(name, f"{key}.address.{k}", text) for k, text in lacking]
            device = Device(
                id=table.id, kind=profile.kind, profile=profile.name, lon=table.lon, lat=table.lat, name=table.name,
                tags=table.tags, period_s=table.poll_s if kind.polled(profile) else table.expect_s,
                heartbeats_s={point: report.heartbeat_s for point, report in table.report.items()},
            )  # fmt: skip
            attached.append((Attachment(device, profile, address, zone), table))
    return attached


def _texts(table: DeviceTable) -> list[tuple[str, str]]:
    return [("id", table.id), ("name", table.name), *((f"tags[{i}]", tag) for i, tag in enumerate(table.tags))]


def _too_long(table: DeviceTable) -> list[tuple[str, str]]:
    """What no roster can have."""
    wrong = [(k, f"has {len(t)} characters; at most {MAX_CHARS}") for k, t in _texts(table) if len(t) > MAX_CHARS]
    if len(table.tags) > MAX_TAGS:
        wrong.append(("tags", f"{len(table.tags)} tags; a device has at most {MAX_TAGS}"))
    return wrong


def _unclear(table: DeviceTable) -> list[tuple[str, str]]:
    """What the city could not show, find or place: told here, where it can be put right."""
    found = [(key, why) for key, text in _texts(table) if (why := why_not_plain(text)) is not None]
    place = why_no_place(table.lon, table.lat)
    return found if place is None else [*found, place]


def _with_files(settings: Any, path: Path, key: str, doubts: list[Problem]) -> Any:
    """The same settings, with the files that they name found from the folder of the configuration."""
    found: dict[str, str] = {}
    for field in settings.__struct_fields__:
        value = getattr(settings, field)
        if field not in FILES or not value:
            continue
        file = path.parent / value
        if not os.access(file, os.R_OK):
            doubts.append(Problem(str(path), f"{key}.{field}", f"{file} cannot be read; is it there, and ours?"))
        found[field] = str(file)
    return msgspec.structs.replace(settings, **found) if found else settings
