"""Support file: what whoever helps from afar asks for first, in one zip: health, devices and their last frames, alarms,
what holds each point, visits, the last lines of the log, the configuration, versions.

Secrets are left out: the values of keys that are called after a password, a secret, a token, a key or a PIN, users in
URLs, and what looks like a token of an aggregator. Names of technicians are in it, as in the visits that go up.

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
from typing import Final

import msgspec

from groundwork.last_words import SECRETS
from wire.time import Utc

FILE_BYTES: Final = 1 << 20
MAX_FRAMED: Final = 200
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
            parts: dict[str, object] = {"health": await self._look()}
            parts |= {name: part() for name, part in self._told.items()}
            parts["frames"] = dict(list(self._frames().items())[:MAX_FRAMED])
            about = {"node": self._node, "made": moment.isoformat(), "python": sys.version, "system": platform()}
            encoded = {f"{name}.json": msgspec.json.encode(part) for name, part in {"about": about, **parts}.items()}
            content = await asyncio.to_thread(self._zip, encoded, "\n".join(self._log()))
        name = re.sub(r"[^\w.-]", "_", self._node)[:60]
        return f"{name}-{moment:%Y%m%dT%H%M%SZ}.zip", content

    def _zip(self, encoded: Mapping[str, bytes], lines: str) -> bytes:
        found = io.BytesIO()
        with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as whole:
            for name, content in encoded.items():
                whole.writestr(name, SECRETS.sub(LEFT_OUT, msgspec.json.format(content).decode()))
            whole.writestr("log.txt", cleaned(lines))
            for file in self._files:
                whole.writestr(file.name, cleaned(_read(file)))
            packages = sorted({f"{d.name} {d.version}" for d in distributions()})
            whole.writestr("packages.txt", "\n".join(packages))
        return found.getvalue()


def _read(file: Path) -> str:
    """The file, or why there is none: a support file is asked for when something is wrong."""
    try:
        with file.open("rb") as opened:
            return opened.read(FILE_BYTES).decode(errors="replace")
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
