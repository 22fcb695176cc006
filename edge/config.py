"""The node's configuration: one TOML file, checked whole before anything starts.

Everything wrong in it and in the profiles is told at once, with file, key and what to write. `${NAME}` in a text
stands for an environment variable, so that secrets and ports can stay out of the file; one that stands alone and
holds digits becomes a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem, parse, read
from drivers.variables import expand
from edge.changes.counting import DeviceList, at_fault
from edge.changes.editor import Tried
from edge.changes.versions import DeviceChange, ListVersions, Unusable, changed, id_of, read_versions
from edge.outbox.database import MIN_LIMIT_BYTES
from edge.plans.load import load_file
from edge.plans.local import Location, zone
from edge.sampling.lines import AttachedLine, Id, attach, says
from edge.sync.cloud_table import CloudTable, beside, exposed, token_of
from edge.sync.cloud_table import check as check_cloud
from edge.sync.proxies import proxy_for
from edge.web.hosts import MAX_NAMES
from groundwork.plain_names import why_not_plain
from wire.device import Roster

MAX_PORT: Final = 65_535
HostName = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.:-]{1,253}$")]  # without a port, and without brackets


class NodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`"""

    id: Annotated[Id, says("the node's name, unique in the city")]
    data_dir: Annotated[str, says("where the outbox lives; only this node uses it")]
    profile_dirs: Annotated[tuple[str, ...], says("folders with profiles of your own, beside those that ship")] = ()


class OutboxTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[outbox]`"""

    limit_bytes: Annotated[
        int, Meta(ge=MIN_LIMIT_BYTES), says("the most room it takes on the card, the write-ahead log included")
    ] = 512 * 1024 * 1024
    commit_interval_s: Annotated[
        float, Meta(ge=0.05, le=60), says("how long bulk readings wait for a commit: what a power cut may cost")
    ] = 5
    history_days: Annotated[float, Meta(ge=0, le=3650), says("how long what the city has stays readable here")] = 7


class HealthTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[health]`"""

    listen: Annotated[str, Meta(pattern=r":\d{1,5}$"), says("address and port of GET /health; port 0 picks one")] = (
        "127.0.0.1:8470"
    )
    names: Annotated[
        Annotated[tuple[HostName, ...], Meta(max_length=MAX_NAMES)],
        says('names and addresses by which the node may be called beside its own, such as "cab-17.local"'),
    ] = ()
    interval_s: Annotated[float, Meta(ge=1, le=3600), says("how often the cloud is told")] = 60


class ClockTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[clock]`"""

    trust_system: Annotated[
        bool, says("believe the system's clock even where the kernel does not say that it is synchronised")
    ] = False


class SiteTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[site]`"""

    lon: Annotated[float, Meta(ge=-180, le=180), says("WGS 84 longitude of the cabinet in degrees")]
    lat: Annotated[float, Meta(ge=-90, le=90), says("WGS 84 latitude in degrees: dusk and dawn come from it")]
    time_zone: Annotated[str, says('the IANA name of the local time, such as "Europe/Paris"')]
    country: Annotated[str, says("ISO 3166-1 code of the country whose public holidays a plan may name")] = ""
    name: Annotated[str, Meta(max_length=200), says("where the cabinet stands, for people")] = ""


class ControlTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[control]`"""

    rules: Annotated[tuple[str, ...], says("files with rules (docs/rules.md)")] = ()
    plan: Annotated[str, says("the file with the lighting plan (docs/plans.md), until the city sends one")] = ""
    downlink: Annotated[bool, says("take orders from the city")] = True
    socket: Annotated[str, says("the Unix socket at which technicians act; else `node.sock` in data_dir")] = ""
    technicians: Annotated[str, says("the group of this machine whose members may act there, beside root")] = ""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tables by name. What is in them is checked one by one, so that one mistake hides no other."""

    node: dict[str, Any]
    cloud: dict[str, Any]
    outbox: dict[str, Any] = {}
    health: dict[str, Any] = {}
    clock: dict[str, Any] = {}
    site: dict[str, Any] | None = None
    control: dict[str, Any] = {}
    line: tuple[dict[str, Any], ...] = ()
    device: tuple[dict[str, Any], ...] = ()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, checked."""

    node: NodeTable
    cloud: CloudTable
    outbox: OutboxTable
    health: HealthTable
    clock: ClockTable
    site: SiteTable | None
    control: ControlTable
    rules: tuple[Path, ...]
    plan: Path | None
    token: str  # empty where it was not asked for and is not on this machine
    proxy: str | None = None  # on the way to the cloud, by the environment
    lines: tuple[AttachedLine, ...]
    doubts: tuple[Problem, ...]  # what keeps one line from working, and not the node
    unclear: tuple[Problem, ...] = ()  # what the city cannot show or understand, and marks
    absent: tuple[Problem, ...]  # the token, where it was not asked for and is not on this machine
    roster: Roster
    path: Path = Path()
    listed: DeviceList = DeviceList()  # what technicians have changed of the devices
    exposed: tuple[str, ...] = ()  # files with secrets that everybody on this machine can read, a sentence each

    @property
    def socket(self) -> Path:
        """Where technicians act."""
        return Path(self.control.socket or f"{self.node.data_dir}/node.sock")


class ConfigError(Exception):
    """Everything that is wrong, a line each. `devices` are the ids of those that were looked at, in their order."""

    def __init__(self, problems: Sequence[Problem], devices: Sequence[str] = ()) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems, self.devices = tuple(problems), tuple(devices)


class Trying(msgspec.Struct, frozen=True):
    """Changes that are tried before they are kept. The device `last` is looked at last: what it claims of what others
    have is told of it."""

    changes: tuple[DeviceChange, ...]
    last: str = ""


def load(
    path: Path,
    environment: Mapping[str, str] = os.environ,
    *,
    connects: bool = True,
    secrets: bool = True,
    trying: Trying | None = None,
) -> Config:
    """Read and check a configuration and all that it names, with what technicians have changed of its devices
    (`edge.changes`); of that, what does not fit any more does not count, and is told. Without `secrets` it is read by
    someone who only asks the node, and may not know its token: variables that are not set stay as they are, and nothing
    of `[cloud]` is opened.

    Whoever does not connect to the aggregator needs no token: drawing a plan's night on a laptop, checking the files of
    a cabinet before they are copied to it. `trying` is in place of the changes that are kept.

    Raises:
        ConfigError: with every problem in every file.
    """
    problems: list[Problem] = []
    raw = read(path, problems)
    if raw is None:
        raise ConfigError(problems)

    def checked(trying: Trying) -> Config:
        return _checked(path, raw, environment, trying, connects=connects, secrets=secrets)

    if trying is not None:
        return checked(trying)
    versions, unusable, unfit = ListVersions(), "", ()
    try:
        versions = read_versions(_data_dir(path, raw, environment))
    except Unusable as error:
        unusable = str(error)
    changes = versions.changes
    while True:
        try:
            config = checked(Trying(changes))
        except ConfigError as error:
            if not changes:
                raise
            named = set[str]() if unfit else at_fault(error.problems, error.devices)
            left = tuple(c for c in changes if c.device not in named) if named else ()
            changes, unfit = (
                (left if len(left) < len(changes) else ()),
                (*unfit, *(c for c in changes if c not in left)),
            )
        else:
            listed = msgspec.structs.replace(config.listed, versions=versions, unusable=unusable, unfit=unfit)
            return msgspec.structs.replace(config, listed=listed)


def attempt(path: Path, changes: tuple[DeviceChange, ...], last: str) -> Tried:
    """Try the configuration of a node with changes in its devices; see `Trying`."""
    try:
        config = load(path, trying=Trying(changes, last))
    except ConfigError as error:
        return Tried(error.problems, error.devices)
    place = f"device[{len(config.roster.devices) - 1}]."
    unclear = tuple(p for p in config.unclear if last and p.key.startswith(place))
    if unclear and (new := _newly(unclear, path, tuple(c for c in changes if c.device != last))):
        return Tried(new, (*(d.id for d in config.roster.devices if d.id != last), last))
    return Tried(config=msgspec.structs.replace(config, path=path))


def _newly(unclear: tuple[Problem, ...], path: Path, before: tuple[DeviceChange, ...]) -> tuple[Problem, ...]:
    """What whoever changes a device has just brought in, and can put right; who replaces one is not kept from it by a
    text that was there."""
    try:
        there = {(p.key.rpartition(".")[2], p.text) for p in load(path, trying=Trying(before)).unclear}
    except ConfigError:  # what the change is to mend
        there = set[tuple[str, str]]()
    return tuple(p for p in unclear if (p.key.rpartition(".")[2], p.text) not in there)


def written_devices(path: Path, environment: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """The tables of devices as they stand in the file, by id.

    Raises:
        Unusable: it cannot be read.
    """
    problems: list[Problem] = []
    raw = read(path, problems)
    if raw is None or not isinstance(tables := raw.get("device", []), list):
        raise Unusable("; ".join(p.text for p in problems) or f"{path}: device is no list")
    found = cast("list[dict[str, Any]]", tables)
    return {id_of(expand(t, environment, "", "", [])): t for t in found}


def _data_dir(path: Path, raw: Mapping[str, Any], environment: Mapping[str, str]) -> Path:
    node: object = raw.get("node")
    found: object = cast("dict[str, object]", node).get("data_dir") if isinstance(node, dict) else None
    return path.parent / str(expand(found if isinstance(found, str) else "", environment, "", "", []))


def _checked(
    path: Path,
    raw: dict[str, Any],
    environment: Mapping[str, str],
    trying: Trying,
    *,
    connects: bool,
    secrets: bool,
) -> Config:
    """With these changes. Raises ConfigError."""
    problems: list[Problem] = []
    name = str(path)
    written: object = raw.get("device")
    raw = expand(raw, environment, name, "", problems if secrets else [])
    listed = _listed(written, raw, trying)
    absent: list[Problem] = []
    if not connects:
        absent = [p for p in problems if p.key in ("cloud.token", "cloud.token_file")]
        problems = [p for p in problems if p not in absent]
    profiles = load_profiles([SHIPPED, *(path.parent / d for d in _strings(raw, "node", "profile_dirs"))], problems)
    file = parse(_File, raw, file=name, key="", problems=problems)
    if file is None:
        raise ConfigError(problems, [id_of(t) for t in raw.get("device", [])])
    node = parse(NodeTable, file.node, file=name, key="node", problems=problems)
    cloud = parse(CloudTable, file.cloud, file=name, key="cloud", problems=problems)
    outbox = parse(OutboxTable, file.outbox, file=name, key="outbox", problems=problems)
    health = parse(HealthTable, file.health, file=name, key="health", problems=problems)
    clock = parse(ClockTable, file.clock, file=name, key="clock", problems=problems)
    site = None if file.site is None else parse(SiteTable, file.site, file=name, key="site", problems=problems)
    control = parse(ControlTable, file.control, file=name, key="control", problems=problems)
    token, proxy = "", None
    if cloud is not None and secrets:
        if not absent:
            token = token_of(cloud, path, problems, problems if connects else absent)
        if check_cloud(cloud, path, problems):
            try:
                proxy = proxy_for(cloud.url, environment)
            except ValueError as error:
                problems.append(Problem(name, "cloud.url", str(error)))
    if health is not None and int(health.listen.rpartition(":")[2]) > MAX_PORT:
        problems.append(Problem(name, "health.listen", f"a port is at most {MAX_PORT}"))
    for key, text in (("node.id", node and node.id), ("site.name", site and site.name)):
        if (why := why_not_plain(text or "")) is not None:
            problems.append(Problem(name, key, why, mild=True))
    doubts: list[Problem] = []
    local = "" if site is None else site.time_zone
    lines = attach(path, file.line, file.device, profiles, "" if node is None else node.id, problems, doubts, local)
    unclear, problems = [p for p in problems if p.mild], [p for p in problems if not p.mild]
    devices = tuple(a.device for line in lines for a in line.attachments)
    roster = Roster(
        devices=devices, profiles={p: tuple(profiles[p].points.values()) for p in sorted({d.profile for d in devices})}
    )
    rules: tuple[Path, ...] = ()
    plan: Path | None = None
    if control is not None:
        rules = tuple(path.parent / r for r in control.rules)
        plan = path.parent / control.plan if control.plan else None
        if not problems:  # what is said of devices that are wrong themselves helps nobody
            _check_control(name, site, rules, plan, roster, problems)
    if problems or node is None or cloud is None or outbox is None or health is None or clock is None:
        raise ConfigError([*problems, *unclear, *doubts], [id_of(t) for t in file.device])
    assert control is not None
    return Config(
        node=msgspec.structs.replace(
            node,
            data_dir=str(path.parent / node.data_dir),
            profile_dirs=tuple(str(path.parent / d) for d in node.profile_dirs),
        ),
        cloud=msgspec.structs.replace(
            cloud, ca_file=beside(path, cloud.ca_file), client_cert=beside(path, cloud.client_cert)
        ),
        outbox=outbox,
        health=health,
        clock=clock,
        site=site,
        control=msgspec.structs.replace(control, socket=beside(path, control.socket)),
        rules=rules,
        plan=plan,
        token=token,
        proxy=proxy,
        lines=lines,
        doubts=tuple(doubts),
        unclear=tuple(unclear),
        absent=tuple(absent),
        roster=roster,
        path=path,
        listed=listed,
        exposed=exposed(cloud, path),
    )


def _listed(written: object, raw: dict[str, Any], trying: Trying) -> DeviceList:
    """Put changes into the tables that were read."""
    if not isinstance(written, list) and (written is not None or not trying.changes):
        return DeviceList()  # `parse` tells what is wrong with it
    tables = changed(cast("list[object]", written or []), raw.get("device", []), trying.changes, trying.last)
    raw["device"] = list(tables.tables)
    return DeviceList(counting=tables.counting, void=tables.void)


def _check_control(
    name: str,
    site: SiteTable | None,
    rules: Sequence[Path],
    plan: Path | None,
    roster: Roster,
    problems: list[Problem],
) -> None:
    if site is None:
        if rules or plan is not None:
            text = "is missing: rules and plans need to know where the cabinet is; write lon, lat and time_zone"
            problems.append(Problem(name, "site", text))
        return
    try:
        zone(site.time_zone)
    except ValueError as error:
        problems.append(Problem(name, "site.time_zone", str(error)))
        return
    if rules:
        from edge.rules.load import load as load_rules  # a node without rules need not carry their words

        load_rules(rules, roster, problems)
    if plan is not None:
        load_file(plan, place_of(site), problems=problems, roster=roster)


def place_of(site: SiteTable) -> Location:
    """The site as plans know it."""
    return Location(lat=site.lat, lon=site.lon, time_zone=site.time_zone, country=site.country)


def _strings(raw: Mapping[str, Any], table: str, key: str) -> list[str]:
    """A list of texts where there is one; `parse` tells when it is something else."""
    found: object = raw.get(table)
    items: object = cast("dict[str, object]", found).get(key) if isinstance(found, dict) else None
    return [i for i in cast("list[object]", items) if isinstance(i, str)] if isinstance(items, list) else []
