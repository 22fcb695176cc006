"""Support file: what whoever helps from afar asks for first, in one zip: health, devices and their last frames, alarms,
what holds each point, visits, the last lines of the log, the configuration, versions.

Secrets are left out: the values of keys that are called after a password, a secret, a token, a key or a PIN, users in
URLs, and what looks like a token of an aggregator. Names of technicians are in it, as in the visits that go up.

`lamplighter-edge support` writes the same, and what can be known where no node runs (`edge.verbs.support`).

Bounds: FILE_BYTES of each file of the configuration, MAX_FRAMED devices with their frames; one is made at a time.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
import zipfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from platform import platform
from typing import Any, Final, cast

import msgspec
from starlette.responses import Response

from groundwork.last_words import SECRETS
from wire.time import Utc

FILE_BYTES: Final = 1 << 20
MAX_FRAMED: Final = 200
ZIP: Final = "application/zip"
LEFT_OUT: Final = "***"
_NAMED: Final = re.compile(
    r"(?i)(\b[\w-]*(?:passw|secret|token|key|pin)\w*[\"']?\s*[=:]\s*)"
    r"(\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,}\]]+)"
)
_FILE: Final = re.compile(r"(?i)_file[\"']?\s*[=:]\s*$")


def cleaned(text: str) -> str:
    """A text without its secrets; where a token lies stays in it."""

    def value(found: re.Match[str]) -> str:
        return found[0] if _FILE.search(found[1]) else f'{found[1]}"{LEFT_OUT}"'

    return SECRETS.sub(LEFT_OUT, _NAMED.sub(value, text))


class SupportFile:
    """One for a node."""

    def __init__(
        self,
        *,
        node: str,
        look: Callable[[], Awaitable[object]],
        told: Mapping[str, Callable[[], object]],
        frames: Callable[[], Mapping[str, object]],
        files: Sequence[Path],
        log: Callable[[], Sequence[str]],
        now_us: Callable[[], Utc],
    ) -> None:
        """`look` is health, `told` what else is there as JSON, by name; `frames` the last frames by device, `files` the
        configuration, `log` the last lines of the log."""
        self._node, self._look, self._told, self._frames = node, look, told, frames
        self._files, self._log, self._now_us = files, log, now_us
        self._turn = asyncio.Lock()

    async def make(self) -> tuple[str, bytes]:
        """Its name and its bytes."""
        async with self._turn:
            moment = datetime.fromtimestamp(self._now_us() / 1e6, UTC)
            parts: dict[str, object] = {"about": about(self._node, moment), "health": await self._look()}
            parts |= {name: part() for name, part in self._told.items()}
            parts["frames"] = dict(list(self._frames().items())[:MAX_FRAMED])
            encoded = {f"{name}.json": msgspec.json.encode(part) for name, part in parts.items()}
            lines = "\n".join(self._log())
            content = await asyncio.to_thread(zipped, encoded, {"log.txt": lines}, self._files)
        return file_name(self._node, moment), content


def attached(name: str, content: bytes) -> Response:
    """The file, to be saved under its name."""
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, 200, headers, ZIP)


def about(node: str, moment: datetime) -> dict[str, str]:
    """Of which node and machine it is, and from when."""
    return {"node": node, "made": moment.isoformat(), "python": sys.version, "system": platform()}


def file_name(node: str, moment: datetime) -> str:
    """What a support file is called."""
    name = re.sub(r"[^\w.-]", "_", node)[:60]
    return f"{name}-{moment:%Y%m%dT%H%M%SZ}.zip"


def zipped(told: Mapping[str, bytes], texts: Mapping[str, str], files: Sequence[Path]) -> bytes:
    """A support file of JSON, texts and files, each by its name, without their secrets."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in told.items():
            tree = _without_secrets(msgspec.json.decode(content))
            whole.writestr(name, msgspec.json.format(msgspec.json.encode(tree)))
        for name, text in texts.items():
            whole.writestr(name, cleaned(text))
        for file in files:
            whole.writestr(file.name, cleaned(_read(file)))
        packages = sorted({f"{d.name} {d.version}" for d in distributions()})
        whole.writestr("packages.txt", "\n".join(packages))
    return found.getvalue()


def _without_secrets(tree: Any) -> Any:
    """JSON, text by text: in the whole of it a secret would take the quotation mark after it along."""
    match tree:
        case str():
            return SECRETS.sub(LEFT_OUT, tree)
        case list():
            return [_without_secrets(each) for each in cast("list[Any]", tree)]
        case dict():
            return {_without_secrets(k): _without_secrets(v) for k, v in cast("dict[str, Any]", tree).items()}
        case _:
            return tree


def _read(file: Path) -> str:
    """The file, or why there is none: a support file is asked for when something is wrong."""
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES).decode(errors="replace")
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
