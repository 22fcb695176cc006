"""The node's configuration: one TOML file, checked whole before anything starts.

Everything wrong in it and in the profiles is told at once, with file, key and what to write. `${NAME}` in a text
stands for an environment variable, so that secrets and ports can stay out of the file; one that stands alone and
holds digits becomes a number.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from drivers import registry
from drivers.contract import Attachment, ProtocolKind
from drivers.profile import Profile
from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem, parse, read, suggest
from edge.card import MIN_LIMIT_BYTES
from edge.cloud_link import plain_http_allowed, trust
from edge.intake import Report
from wire.device import Device, Roster

MAX_DEVICES: Final = 2_000
MAX_LINES: Final = 64
MAX_PORT: Final = 65_535
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]


def _key(text: str) -> Any:
    return Meta(description=text)


class NodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`"""

    id: Annotated[Id, _key("the node's name, unique in the city")]
    data_dir: Annotated[str, _key("where the outbox lives; only this node uses it")]
    profile_dirs: Annotated[tuple[str, ...], _key("folders with profiles of your own, beside those that ship")] = ()


class CloudTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cloud]`"""

    url: Annotated[str, Meta(pattern="^https?://"), _key("where the aggregator is")]
    token: Annotated[str, _key("the node's token; better in a file of its own")] = ""
    token_file: Annotated[str, _key("a file that holds the token and nothing else")] = ""
    ca_file: Annotated[str, _key("a PEM file with the authority to trust instead of the system's")] = ""
    client_cert: Annotated[str, _key("a PEM file with the node's certificate and key")] = ""
    insecure: Annotated[bool, _key("allow plain http beyond this machine; health then says so")] = False
    timeout_s: Annotated[float, Meta(ge=1, le=300), _key("how long an answer may take")] = 30
    push_interval_s: Annotated[float, Meta(ge=1, le=3600), _key("how often bulk readings go up")] = 60


class OutboxTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[outbox]`"""

    limit_bytes: Annotated[
        int, Meta(ge=MIN_LIMIT_BYTES), _key("the most room it takes on the card, the write-ahead log included")
    ] = 512 * 1024 * 1024
    commit_interval_s: Annotated[
        float, Meta(ge=0.05, le=60), _key("how long bulk readings wait for a commit: what a power cut may cost")
    ] = 5
    history_days: Annotated[float, Meta(ge=0, le=3650), _key("how long what the city has stays readable here")] = 7


class HealthTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[health]`"""

    listen: Annotated[str, Meta(pattern=r":\d{1,5}$"), _key("address and port of GET /health; port 0 picks one")] = (
        "127.0.0.1:8470"
    )
    interval_s: Annotated[float, Meta(ge=1, le=3600), _key("how often the cloud is told")] = 60


class ClockTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[clock]`"""

    trust_system: Annotated[
        bool, _key("believe the system's clock even where the kernel does not say that it is synchronised")
    ] = False


class DeviceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[device]]`"""

    id: Annotated[Id, _key("unique in the city; it never changes")]
    profile: Annotated[str, _key("the model, by the name of its profile")]
    line: Annotated[str, _key("the name of the line that it hangs on")]
    address: Annotated[dict[str, Any], _key("where on that line; its keys are the protocol's")]
    poll_s: Annotated[float, Meta(ge=0.1, le=86_400), _key("how often it is read, where its protocol polls")] = 10
    expect_s: Annotated[
        float, Meta(ge=0.1, le=604_800), _key("how often a device that speaks by itself should be heard")
    ] = 3600
    name: Annotated[str, _key("what people call it")] = ""
    lon: Annotated[Annotated[float, Meta(ge=-180, le=180)] | None, _key("WGS 84 longitude in degrees")] = None
    lat: Annotated[Annotated[float, Meta(ge=-90, le=90)] | None, _key("WGS 84 latitude in degrees")] = None
    tags: Annotated[tuple[str, ...], _key("words of your own")] = ()
    report: Annotated[
        dict[str, Report], _key("points that report by exception: deadband and heartbeat_s for each")
    ] = {}


class LineTable(msgspec.Struct, frozen=True, kw_only=True):
    """`[[line]]`: these keys, and those of its protocol (docs/profiles.md)."""

    name: Annotated[Id, _key("what devices call it")]
    protocol: Annotated[str, _key("modbus, mqtt, ble, or one that is installed")]


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    node: NodeTable
    cloud: CloudTable
    outbox: OutboxTable = OutboxTable()
    health: HealthTable = HealthTable()
    clock: ClockTable = ClockTable()
    line: tuple[dict[str, Any], ...] = ()
    device: tuple[DeviceTable, ...] = ()


class Line(msgspec.Struct, frozen=True):
    """One line, ready to be opened, with the devices that hang on it."""

    name: str
    kind: ProtocolKind
    settings: Any
    attachments: tuple[Attachment, ...]
    tables: Mapping[str, DeviceTable]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, checked."""

    node: NodeTable
    cloud: CloudTable
    outbox: OutboxTable
    health: HealthTable
    clock: ClockTable
    token: str
    lines: tuple[Line, ...]
    roster: Roster


class ConfigError(Exception):
    """Everything that is wrong, a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Read and check a configuration and all that it names.

    Raises:
        ConfigError: with every problem in every file.
    """
    problems: list[Problem] = []
    name = str(path)
    raw = read(path, problems)
    if raw is None:
        raise ConfigError(problems)
    raw = _expand(raw, environment, name, "", problems)
    profiles = load_profiles([SHIPPED, *(path.parent / d for d in _strings(raw, "node", "profile_dirs"))], problems)
    file = parse(_File, raw, file=name, key="", problems=problems)
    if file is None:
        raise ConfigError(problems)
    token = _token(file.cloud, path, problems)
    _check_cloud(file.cloud, path, problems)
    if int(file.health.listen.rpartition(":")[2]) > MAX_PORT:
        problems.append(Problem(name, "health.listen", f"a port is at most {MAX_PORT}"))
    lines = _lines(file, profiles, name, problems)
    if problems:
        raise ConfigError(problems)
    used = sorted({d.profile for d in file.device})
    return Config(
        node=msgspec.structs.replace(file.node, data_dir=str(path.parent / file.node.data_dir)),
        cloud=msgspec.structs.replace(
            file.cloud,
            ca_file=_beside(path, file.cloud.ca_file),
            client_cert=_beside(path, file.cloud.client_cert),
        ),
        outbox=file.outbox,
        health=file.health,
        clock=file.clock,
        token=token,
        lines=lines,
        roster=Roster(
            devices=tuple(a.device for line in lines for a in line.attachments),
            profiles={p: tuple(profiles[p].points.values()) for p in used},
        ),
    )


def _lines(file: _File, profiles: Mapping[str, Profile], name: str, problems: list[Problem]) -> tuple[Line, ...]:
    kinds: dict[str, tuple[ProtocolKind, Any]] = {}
    if len(file.line) > MAX_LINES:
        problems.append(Problem(name, "line", f"{len(file.line)} lines; a node has at most {MAX_LINES}"))
    for i, table in enumerate(file.line):
        key = f"line[{i}]"
        common = parse(LineTable, {k: v for k, v in table.items() if k in ("name", "protocol")},
                       file=name, key=key, problems=problems)  # fmt: skip
        if common is None:
            continue
        try:
            kind = registry.find(common.protocol)
        except ImportError as error:
            text = f"is known, but a library that it needs is not installed: {error}"
            problems.append(Problem(name, f"{key}.protocol", text))
            continue
        if kind is None:
            text = f'no protocol "{common.protocol}"{suggest(common.protocol, registry.names())}'
            problems.append(Problem(name, f"{key}.protocol", text))
            continue
        rest = {k: v for k, v in table.items() if k not in ("name", "protocol")}
        settings = parse(kind.Line, rest, file=name, key=key, problems=problems)
        if common.name in kinds:
            problems.append(Problem(name, f"{key}.name", f'there are two lines "{common.name}"'))
        kinds[common.name] = (kind, settings)
    attached = _attachments(file, kinds, profiles, name, problems)
    return tuple(
        Line(
            line,
            kind,
            settings,
            tuple(a for a, table in attached if table.line == line),
            {table.id: table for _, table in attached if table.line == line},
        )
        for line, (kind, settings) in kinds.items()
    )


def _attachments(
    file: _File,
    kinds: Mapping[str, tuple[ProtocolKind, Any]],
    profiles: Mapping[str, Profile],
    name: str,
    problems: list[Problem],
) -> list[tuple[Attachment, DeviceTable]]:
    attached: list[tuple[Attachment, DeviceTable]] = []
    seen: set[str] = {file.node.id}
    if len(file.device) > MAX_DEVICES:
        problems.append(Problem(name, "device", f"{len(file.device)} devices; a node has at most {MAX_DEVICES}"))
    for i, table in enumerate(file.device):
        key = f"device[{i}]"
        if table.id in seen:
            problems.append(Problem(name, f"{key}.id", f'"{table.id}" is taken already; ids are unique in the city'))
        seen.add(table.id)
        profile = profiles.get(table.profile)
        if profile is None:
            text = f'no profile "{table.profile}"{suggest(table.profile, profiles)}'
            problems.append(Problem(name, f"{key}.profile", text))
        if table.line not in kinds:
            text = f'no line "{table.line}"{suggest(table.line, kinds)}' if kinds else "there is no [[line]] at all"
            problems.append(Problem(name, f"{key}.line", text))
        if profile is None or table.line not in kinds:
            continue
        kind = kinds[table.line][0]
        if profile.driver != kind.name:
            text = f'profile "{profile.name}" speaks {profile.driver}; line "{table.line}" is {kind.name}'
            problems.append(Problem(name, f"{key}.line", text))
            continue
        address = parse(kind.Address, table.address, file=name, key=f"{key}.address", problems=problems)
        for point in table.report:
            if point not in profile.points:
                text = f'profile "{profile.name}" has no such point{suggest(point, profile.points)}'
                problems.append(Problem(name, f"{key}.report.{point}", text))
        if address is not None:
            problems += [Problem(name, f"{key}.address.{k}", text) for k, text in kind.fits(profile, address)]
            device = Device(
                id=table.id, kind=profile.kind, profile=profile.name, lon=table.lon, lat=table.lat, name=table.name,
                tags=table.tags,
            )  # fmt: skip
            attached.append((Attachment(device, profile, address), table))
    return attached


def _token(cloud: CloudTable, path: Path, problems: list[Problem]) -> str:
    if bool(cloud.token) == bool(cloud.token_file):
        text = 'write token_file = "…" (or token = "${NAME}"), one of the two; `lamplighter-cloud token` makes one'
        problems.append(Problem(str(path), "cloud.token_file", text))
        return ""
    token, key, where = cloud.token.strip(), "cloud.token", "it"
    if cloud.token_file:
        file = path.parent / cloud.token_file
        key, where = "cloud.token_file", str(file)
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(str(path), key, f"{file} cannot be read: {error}"))
            return ""
    if not _TOKEN.fullmatch(token):
        text = f"{where} must hold the token and nothing else: one word, as `lamplighter-cloud token create` printed it"
        problems.append(Problem(str(path), key, text))
    return token


def _check_cloud(cloud: CloudTable, path: Path, problems: list[Problem]) -> None:
    name = str(path)
    try:
        parts = urlsplit(cloud.url)
        _ = parts.port  # raises where it is no port
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("it needs a host, and has no user, ? or #")  # noqa: TRY301 - told like the others
    except ValueError as error:
        text = f"is no address of an aggregator ({error}); write for example https://lamplighter.example.org"
        problems.append(Problem(name, "cloud.url", text))
        return
    if not cloud.insecure and not plain_http_allowed(cloud.url):
        text = "plain http leaves the token readable on the way; write https://, or insecure = true if you must"
        problems.append(Problem(name, "cloud.url", text))
    for key, what in (("ca_file", "certificates"), ("client_cert", "a certificate and its key, without a password")):
        if file := _beside(path, getattr(cloud, key)):
            try:
                trust(**{key: Path(file)})
            except OSError as error:  # ssl.SSLError is one
                text = f"{file} cannot be used: {error.strerror or error}; it must be a PEM file with {what}"
                problems.append(Problem(name, f"cloud.{key}", text))


def _beside(path: Path, name: str) -> str:
    return str(path.parent / name) if name else ""


_TOKEN: Final = re.compile(r"[!-~]{1,4096}")
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


def _expand(raw: Any, environment: Mapping[str, str], file: str, key: str, problems: list[Problem]) -> Any:
    """The same tables with `${NAME}` replaced."""
    match raw:
        case str():

            def value(found: re.Match[str]) -> str:
                if found[1] not in environment:
                    text = f"the environment has no {found[1]}; set it, or write the value here"
                    problems.append(Problem(file, key, text))
                return environment.get(found[1], "")

            text = _VARIABLE.sub(value, raw)
            # A text that is one variable and nothing else may stand where a number is asked for, such as a port.
            return int(text) if _VARIABLE.fullmatch(raw) and text.isdecimal() else text
        case dict():
            table = cast("dict[str, Any]", raw)
            return {k: _expand(v, environment, file, f"{key}.{k}".lstrip("."), problems) for k, v in table.items()}
        case list():
            items = cast("list[Any]", raw)
            return [_expand(v, environment, file, f"{key}[{i}]", problems) for i, v in enumerate(items)]
        case _:
            return raw


def _strings(raw: Mapping[str, Any], table: str, key: str) -> list[str]:
    """A list of texts where there is one; `parse` tells when it is something else."""
    found: object = raw.get(table)
    items: object = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
    return [i for i in cast("list[object]", items) if isinstance(i, str)] if isinstance(items, list) else []
