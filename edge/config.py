"""The node's configuration: one TOML file, checked whole before anything starts.

Everything wrong in it and in the profiles is told at once, with file, key and what to write. `${NAME}` in a text
stands for an environment variable, so that secrets and ports can stay out of the file; one that stands alone and
holds digits becomes a number.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, cast
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from drivers.profile_files import SHIPPED, load_profiles
from drivers.tables import Problem, parse, read
from edge.outbox.database import MIN_LIMIT_BYTES
from edge.plans.load import load_file
from edge.plans.local import Location, zone
from edge.sampling.lines import AttachedLine, Id, attach, says
from edge.sync.http import plain_http_allowed, trust
from edge.sync.proxies import proxy_for
from edge.web.hosts import MAX_NAMES
from wire.device import Roster

MAX_PORT: Final = 65_535
HostName = Annotated[str, Meta(pattern=r"^[0-9A-Za-z_.:-]{1,253}$")]  # without a port, and without brackets


class NodeTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`"""

    id: Annotated[Id, says("the node's name, unique in the city")]
    data_dir: Annotated[str, says("where the outbox lives; only this node uses it")]
    profile_dirs: Annotated[tuple[str, ...], says("folders with profiles of your own, beside those that ship")] = ()


class CloudTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[cloud]`"""

    url: Annotated[str, Meta(pattern="^https?://"), says("where the aggregator is")]
    token: Annotated[str, says("the node's token; better in a file of its own")] = ""
    token_file: Annotated[str, says("a file that holds the token and nothing else")] = ""
    ca_file: Annotated[str, says("a PEM file with the authority to trust instead of the system's")] = ""
    client_cert: Annotated[str, says("a PEM file with the node's certificate and key")] = ""
    insecure: Annotated[bool, says("allow plain http beyond this machine; health then says so")] = False
    timeout_s: Annotated[float, Meta(ge=1, le=300), says("how long an answer may take")] = 30
    retry_max_s: Annotated[
        float,
        Meta(ge=1, le=3600),
        says("the longest wait between tries of a link that is down; the waits double up to it"),
    ] = 300
    push_interval_s: Annotated[float, Meta(ge=1, le=3600), says("how often bulk readings go up")] = 60


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
    absent: tuple[Problem, ...]  # the token, where it was not asked for and is not on this machine
    roster: Roster
    exposed: tuple[str, ...] = ()  # files with secrets that everybody on this machine can read, a sentence each

    @property
    def socket(self) -> Path:
        """Where technicians act."""
        return Path(self.control.socket or f"{self.node.data_dir}/node.sock")


class ConfigError(Exception):
    """Everything that is wrong, a line each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def load(
    path: Path, environment: Mapping[str, str] = os.environ, *, connects: bool = True, secrets: bool = True
) -> Config:
    """Read and check a configuration and all that it names. Without `secrets` it is read by someone who only asks the
    node, and may not know its token: variables that are not set stay as they are, and nothing of `[cloud]` is opened.

    Whoever does not connect to the aggregator needs no token: drawing a plan's night on a laptop, checking the files of
    a cabinet before they are copied to it.

    Raises:
        ConfigError: with every problem in every file.
    """
    problems: list[Problem] = []
    name = str(path)
    raw = read(path, problems)
    if raw is None:
        raise ConfigError(problems)
    raw = _expand(raw, environment, name, "", problems if secrets else [])
    absent: list[Problem] = []
    if not connects:
        absent = [p for p in problems if p.key in ("cloud.token", "cloud.token_file")]
        problems = [p for p in problems if p not in absent]
    profiles = load_profiles([SHIPPED, *(path.parent / d for d in _strings(raw, "node", "profile_dirs"))], problems)
    file = parse(_File, raw, file=name, key="", problems=problems)
    if file is None:
        raise ConfigError(problems)
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
            token = _token(cloud, path, problems, problems if connects else absent)
        if _check_cloud(cloud, path, problems):
            try:
                proxy = proxy_for(cloud.url, environment)
            except ValueError as error:
                problems.append(Problem(name, "cloud.url", str(error)))
    if health is not None and int(health.listen.rpartition(":")[2]) > MAX_PORT:
        problems.append(Problem(name, "health.listen", f"a port is at most {MAX_PORT}"))
    doubts: list[Problem] = []
    local = "" if site is None else site.time_zone
    lines = attach(path, file.line, file.device, profiles, "" if node is None else node.id, problems, doubts, local)
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
        raise ConfigError([*problems, *doubts])
    assert control is not None
    return Config(
        node=msgspec.structs.replace(
            node,
            data_dir=str(path.parent / node.data_dir),
            profile_dirs=tuple(str(path.parent / d) for d in node.profile_dirs),
        ),
        cloud=msgspec.structs.replace(
            cloud, ca_file=_beside(path, cloud.ca_file), client_cert=_beside(path, cloud.client_cert)
        ),
        outbox=outbox,
        health=health,
        clock=clock,
        site=site,
        control=msgspec.structs.replace(control, socket=_beside(path, control.socket)),
        rules=rules,
        plan=plan,
        token=token,
        proxy=proxy,
        lines=lines,
        doubts=tuple(doubts),
        absent=tuple(absent),
        roster=roster,
        exposed=_exposed(cloud, path),
    )


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


def _token(cloud: CloudTable, path: Path, problems: list[Problem], unreadable: list[Problem]) -> str:
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
            unreadable.append(
                Problem(str(path), key, f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
            )
            return ""
    if not TOKEN_WORD.fullmatch(token):
        text = f"{where} must hold the token and nothing else: one word, as `lamplighter-cloud token create` printed it"
        problems.append(Problem(str(path), key, text))
    return token


def _exposed(cloud: CloudTable, path: Path) -> tuple[str, ...]:
    """Not the group: systemd hands credentials over with an ACL, whose mask shows as the group's bits."""
    files = [path.parent / name for name in (cloud.token_file, cloud.client_cert) if name]
    if cloud.token and cloud.token in path.read_text():  # and not in the environment, whence ${NAME} would have it
        files.append(path)
    told: list[str] = []
    for file in files:
        with suppress(OSError):  # that it cannot be read at all is told where it is read
            if file.stat().st_mode & stat.S_IROTH:
                told.append(f"{file} can be read by everybody on this machine: chmod 600 it")
    return tuple(told)


def _check_cloud(cloud: CloudTable, path: Path, problems: list[Problem]) -> bool:
    """Whether its url is one; what else is wrong is reported too."""
    name = str(path)
    try:
        parts = urlsplit(cloud.url)
        _ = parts.port  # raises where it is no port
        if not parts.hostname or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("it needs a host, and has no user, ? or #")  # noqa: TRY301 - told like the others
    except ValueError as error:
        text = f"is no address of an aggregator ({error}); write for example https://lamplighter.example.org"
        problems.append(Problem(name, "cloud.url", text))
        return False
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
    return True


def _beside(path: Path, name: str) -> str:
    return str(path.parent / name) if name else ""


TOKEN_WORD: Final = re.compile(r"[!-~]{1,4096}")
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
