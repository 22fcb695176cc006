"""Node file: a node.toml for a node that is new, put in place whole or not at all.

It is written beside its place, read back and checked as the node would, and only then given its name. A file that is
there already is never replaced unless that is asked for, and then it is kept under another name.

Bounds: those of `drivers.tables.read`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from drivers.tables import Problem
from edge.config import ConfigError, load

SYSTEM: Final = Path("/etc/lamplighter")  # where systemd/lamplighter-edge.service has it
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class NewNode(msgspec.Struct, kw_only=True):
    """What was answered. `lines` and `devices` are tables as the file has them."""

    id: str
    cloud: str
    token_file: str
    data_dir: str
    lat: float | None = None
    lon: float | None = None
    time_zone: str = "UTC"
    country: str = ""
    where: str = ""
    listen: str = ""
    names: tuple[str, ...] = ()
    socket: str = ""
    technicians: str = ""
    lines: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []

    def place(self) -> dict[str, Any]:
        """The table `[site]`; empty where nobody has said where it is."""
        if self.lat is None or self.lon is None:
            return {}
        return {
            "lon": self.lon, "lat": self.lat, "time_zone": self.time_zone, "country": self.country, "name": self.where,
        }  # fmt: skip


def text_of(new: NewNode) -> str:
    """The file. What is empty is left out."""
    tables: list[tuple[str, Mapping[str, Any]]] = [
        ("[node]", {"id": new.id, "data_dir": new.data_dir}),
        ("[cloud]", {"url": new.cloud, "token_file": new.token_file}),
        ("[health]", {"listen": new.listen, "names": list(new.names)}),
        ("[site]", new.place()),
        ("[control]", {"socket": new.socket, "technicians": new.technicians}),
        *(("[[line]]", line) for line in new.lines),
        *(("[[device]]", device) for device in new.devices),
    ]
    parts = ["# Every key: docs/configuration.md. After a change: lamplighter-edge check, then restart the node.\n"]
    for heading, keys in tables:
        if said := {k: v for k, v in keys.items() if v not in ("", [])}:
            parts.append("\n".join([heading, *(f"{_key(k)} = {_value(v)}" for k, v in said.items())]) + "\n")
    return "\n".join(parts)


def put(path: Path, text: str, *, replace: bool, now: datetime) -> Path | None:
    """Write and check it, then give it its name; where the file of before is kept, if there was one.

    Raises:
        ConfigError: the node would not take it. FileExistsError: there is one, and it may not be replaced.
        OSError: it cannot be written. Nothing has changed then.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary, kept = Path(name), None
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        try:
            config = load(temporary, connects=False)
            if config.doubts or config.unclear:
                raise ConfigError([*config.doubts, *config.unclear])  # noqa: TRY301 - told under the file's own name
        except ConfigError as error:
            raise ConfigError([Problem(str(path), p.key, p.text) for p in error.problems]) from error
        if replace and path.exists():
            kept = _backup(path, now)
            temporary.replace(path)
        else:
            os.link(temporary, path)  # fails where there is one, whoever has made it meanwhile
        _settle(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return kept


def put_token(path: Path, token: str) -> None:
    """Write a token where nobody but its owner may read it.

    Raises:
        FileExistsError: there is one. OSError: it cannot be written.
    """
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(f"{token}\n")
        file.flush()
        os.fsync(file.fileno())
    _settle(path.parent)


def tables_of(given: Sequence[str]) -> dict[str, Any]:
    """`name,key=value,…` as a table: a number, true and false where it is written so, else a text.

    Raises:
        ValueError: it is not written so.
    """
    found: dict[str, Any] = {}
    for part in given:
        key, between, value = part.partition("=")
        if not between or not _BARE.fullmatch(key.strip()):
            raise ValueError(part)
        found[key.strip()] = _read(value.strip())
    return found


def _read(text: str) -> Any:
    if re.fullmatch(r"-?\d{1,15}", text):
        return int(text)
    if re.fullmatch(r"-?\d{1,15}\.\d{1,15}", text):
        return float(text)
    return {"true": True, "false": False}.get(text, text)


def _backup(path: Path, now: datetime) -> Path:
    """The file of before under a name that is free."""
    for n in range(100):
        kept = path.with_name(f"{path.name}.{now:%Y%m%d-%H%M%S}{f'-{n}' if n else ''}")
        try:
            os.link(path, kept)
        except FileExistsError:
            continue
        return kept
    raise FileExistsError(f"{path.name}.{now:%Y%m%d-%H%M%S}")


def _settle(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _value(value: Any) -> str:
    """As TOML has it; its basic strings take all that JSON's do."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(_value(v) for v in value)}]"  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return f"{{ {', '.join(f'{_key(str(k))} = {_value(v)}' for k, v in value.items())} }}"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
