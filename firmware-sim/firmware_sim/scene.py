"""The scene: a street as a TOML file describes it.

Promises: `load` either returns a scene that can be built as it is, or raises `SceneError` with everything that
is wrong, each with file, key and what to write instead. At most `MAX_DEVICES` devices, `MAX_LINES` lines of
each kind and `MAX_FAULTS` faults.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from firmware_sim.faults import Fault, Kind
from firmware_sim.scene_faults import read_faults
from firmware_sim.tables import Problems, Table, nearest

MAX_DEVICES = 5_000
MAX_LINES = 64
MAX_FAULTS = 1_000
MAX_BYTES = 4 << 20
MIN_SPEED, MAX_SPEED = 0.001, 100_000.0
MODBUS_MODELS = ("LX-1", "TM-3")
MQTT_MODELS = ("BN-1", "AQ-2")
BEACON_MODELS = ("ruuvitag", "bthome")
GATT_MODELS = ("SP-1",)
MODELS = MODBUS_MODELS + MQTT_MODELS + BEACON_MODELS + GATT_MODELS
_NAME = r"[a-z0-9][a-z0-9_.-]{0,63}"
_PATTERN = re.compile(r"\{n(:0\d{1,2}[dX]?)?\}")
_DEFAULT_EVERY_S = {"BN-1": 30.0, "AQ-2": 10.0, "ruuvitag": 2.0, "bthome": 5.0, "SP-1": 2.0}


class SceneError(Exception):
    """The file cannot be used; `problems` are all the reasons."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Place:
    """Where the street is."""

    lon: float
    lat: float
    utc_offset_h: float


@dataclass(frozen=True)
class Server:
    """A Modbus TCP server."""

    name: str
    host: str
    port: int


@dataclass(frozen=True)
class Line:
    """A Modbus RTU line; `baudrate` paces answers, 0 leaves them unpaced."""

    name: str
    baudrate: int


@dataclass(frozen=True)
class Mqtt:
    """The broker: one of our own on `port`, or somebody's."""

    spawn: bool
    host: str
    port: int


@dataclass(frozen=True)
class Device:
    """One device and where it hangs; what its model does not use is empty."""

    model: str
    id: str
    bus: str = ""
    unit: int = 0
    serial: str = ""
    address: str = ""
    every_s: float = 0.0


@dataclass(frozen=True)
class Scene:
    """A street that can be built as it is."""

    seed: int
    start_s: float
    speed: float
    place: Place
    servers: tuple[Server, ...]
    lines: tuple[Line, ...]
    mqtt: Mqtt
    adapter: str
    devices: tuple[Device, ...]
    faults: tuple[Fault, ...]

    def of(self, models: Sequence[str]) -> tuple[Device, ...]:
        """The devices of these models."""
        return tuple(device for device in self.devices if device.model in models)


def load(path: Path) -> Scene:
    """Read and check a scene file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SceneError([f"{path}: cannot be read: {error.strerror}"]) from error
    if len(data) > MAX_BYTES:
        raise SceneError([f"{path}: has {len(data)} bytes; at most {MAX_BYTES} are taken"])
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise SceneError([f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}"]) from error


def parse(text: str, file: str = "scene.toml") -> Scene:
    """Check a scene's text."""
    problems = Problems(file)
    try:
        root = Table(tomllib.loads(text), "", problems)
    except (ValueError, RecursionError) as error:  # also for a number of too many digits, and nesting without end
        raise SceneError([f"{file}: is not TOML: {error}"]) from error
    seed = root.whole("seed", 1, 0, 2**32 - 1)
    speed = root.number("speed", 1.0, MIN_SPEED, MAX_SPEED)
    start_s = _start(root)
    place = _place(root)
    servers = _servers(root)
    lines = _lines(root)
    mqtt = _mqtt(root)
    ble = root.table("ble")
    adapter = ble.text("adapter", "hci0", pattern=r"hci\d{1,2}", hint='an adapter name like "hci0"')
    ble.done()
    devices = _devices(root, [server.name for server in servers], [line.name for line in lines])
    if not devices and not problems.found:
        root.wrong("device", "is missing; a street needs at least one [[device]]")
    models = {device.id: device.model for device in devices}
    faults = read_faults(root.tables("fault", MAX_FAULTS), models)
    root.done()
    needs_mqtt = any(device.model in MQTT_MODELS for device in devices)
    if needs_mqtt and not mqtt.spawn and not mqtt.host:
        hint = 'write spawn = true or broker = "host:port"'
        root.wrong("mqtt", f"is missing, and there are devices that publish; {hint}")
    if problems.found:
        raise SceneError(problems.found)
    return Scene(seed, start_s, speed, place, servers, lines, mqtt, adapter, devices, faults)


def _start(root: Table) -> float:
    text = root.text("start", "now")
    if text == "now":
        return time.time()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        root.wrong("start", f'{text!r} is not "now" or a time with its offset like "2026-11-20T16:30:00+01:00"')
        return 0.0
    return moment.timestamp()


def _place(root: Table) -> Place:
    table = root.table("place")
    lon = table.number("lon", None, -180.0, 180.0)
    lat = table.number("lat", None, -90.0, 90.0)
    offset = table.number("utc_offset_h", round(lon / 15.0), -12.0, 14.0)
    table.done()
    return Place(lon, lat, offset)


def _servers(root: Table) -> tuple[Server, ...]:
    servers: dict[str, Server] = {}
    for table in root.tables("modbus_tcp", MAX_LINES):
        name = table.text("name", pattern=_NAME, hint='a short name like "north"')
        if name and name in servers:
            table.wrong("name", f'"{name}" is taken; each server needs its own')
        host = table.text("host", "127.0.0.1", hint="an address to listen on")
        servers[name] = Server(name, host, table.whole("port", 0, 0, 65_535))
        table.done()
    return tuple(servers.values())


def _lines(root: Table) -> tuple[Line, ...]:
    lines: dict[str, Line] = {}
    for table in root.tables("modbus_rtu", MAX_LINES):
        name = table.text("name", pattern=_NAME, hint='a short name like "line1"')
        if name and name in lines:
            table.wrong("name", f'"{name}" is taken; each line needs its own')
        lines[name] = Line(name, table.whole("baudrate", 9_600, 0, 115_200))
        table.done()
    return tuple(lines.values())


def _mqtt(root: Table) -> Mqtt:
    table = root.table("mqtt")
    spawn = table.flag("spawn", default=False)
    host, port = "", table.whole("port", 0, 0, 65_535)
    if table.has("broker"):
        hint = 'an address like "127.0.0.1:1883"'
        host, _, digits = table.text("broker", pattern=r"[^\s:]+:\d{1,5}", hint=hint).partition(":")
        port = int(digits or 0)
        if spawn or table.has("port"):
            table.wrong("broker", "goes neither with spawn nor with port; name a broker or have one spawned")
    table.done()
    return Mqtt(spawn, host, port)


def _devices(root: Table, servers: Sequence[str], lines: Sequence[str]) -> tuple[Device, ...]:
    devices: list[Device] = []
    taken: dict[tuple[str, str], str] = {}
    for table in root.tables("device", MAX_DEVICES):
        model = table.choice("model", None, MODELS)
        count = table.whole("count", 1, 1, MAX_DEVICES)
        first = table.whole("first", 1, 0, 99_999)
        bus, unit, serial, address = "", 0, "", ""
        ids = _numbered(table, "id", _NAME, 'an id like "lamp-001"', first=first, count=count)
        if model in MODBUS_MODELS:
            bus = _bus(table, servers, lines)
            unit = table.whole("unit", None, 1, 247)
            if unit + count - 1 > 247:
                table.wrong("count", f"{count} devices from unit {unit} on end beyond unit 247")
        serials = [serial] * count
        if model in MQTT_MODELS:
            serials = _numbered(
                table, "serial", r"[A-Za-z0-9_-]{1,32}", 'a serial like "BN000001"', first=first, count=count
            )
        addresses = [address] * count
        if model in BEACON_MODELS + GATT_MODELS:
            hint = 'an address like "C6:4C:00:00:00:01"'
            addresses = _numbered(table, "address", r"[0-9A-F]{2}(:[0-9A-F]{2}){5}", hint, first=first, count=count)
        every_s = 0.0
        if model in _DEFAULT_EVERY_S:
            every_s = table.number("every_s", _DEFAULT_EVERY_S[model], 0.02, 86_400.0)
        table.done()
        if len(devices) + count > MAX_DEVICES:
            table.wrong("count", f"makes more than {MAX_DEVICES} devices")
            break
        for index in range(count):
            device = Device(model, ids[index], bus, unit + index, serials[index], addresses[index], every_s)
            _claim(table, device, taken)
            devices.append(device)
    return tuple(devices)


def _bus(table: Table, servers: Sequence[str], lines: Sequence[str]) -> str:
    if table.has("server") == table.has("line"):
        table.wrong("server", "name either a [[modbus_tcp]] server or a [[modbus_rtu]] line")
        if not table.has("server"):
            return ""
    kind, known = ("server", servers) if table.has("server") else ("line", lines)
    name = table.text(kind, pattern=_NAME, hint="a name")
    if name and name not in known:
        hint = nearest(name, known) or "; there are: " + (", ".join(known) or "none")
        table.wrong(kind, f'there is no "{name}"{hint}')
    return f"{kind}/{name}"


def _numbered(table: Table, name: str, pattern: str, hint: str, *, first: int, count: int) -> list[str]:
    """A text of `count` devices: as it stands for one, with `{n}` or `{n:03}` in it for several."""
    text = table.text(name, hint=hint)
    if not text:
        return [""] * count
    if count > 1 and _PATTERN.search(text) is None:
        table.wrong(name, f"{text!r} would be the same for {count} devices; put {{n}} or {{n:03}} into it")
        return [""] * count
    texts = [_fill_in(text, number) for number in range(first, first + count)]
    bad = next((one for one in texts if re.fullmatch(pattern, one) is None), None)
    if bad is not None:
        table.wrong(name, f"{bad!r} is not {hint}")
        return [""] * count
    return texts


def _fill_in(text: str, number: int) -> str:
    return _PATTERN.sub(lambda match: format(number, (match[1] or ":")[1:]), text)


def _claim(table: Table, device: Device, taken: dict[tuple[str, str], str]) -> None:
    claims = {
        "id": device.id,
        "unit": f"{device.unit} on {device.bus}" if device.bus else "",
        "serial": f"{device.model}/{device.serial}" if device.serial else "",
        "address": device.address,
    }
    for what, value in claims.items():
        holder = taken.get((what, value))
        if value and holder is not None:
            shown = device.serial if what == "serial" else value
            table.wrong(what, f"{shown} is already taken by {holder}")
        taken[what, value] = f"{device.id} ({table.key('id').removesuffix('.id')})"


__all__ = ["Device", "Fault", "Kind", "Line", "Mqtt", "Place", "Scene", "SceneError", "Server", "load", "parse"]
