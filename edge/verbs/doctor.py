"""`lamplighter-edge doctor`: each thing that the node needs, looked at from here, and what to do about what is wrong.

It looks whether the node runs or not, and disturbs nothing: a running node is asked of its lines. Each look is over
within LOOK_S, and is told as soon as it is.

Exit codes: 0 nothing is wrong, 1 something is. Bounds: LOOK_S a look; MAX_NAMED lines; PROBE_BYTES on the card.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO
from urllib.parse import urlsplit

import httpx

from edge.clock import EARLIEST_US, kernel_synced, utc_us
from edge.config import Config
from edge.health import DISK_LOW_BYTES
from edge.sync.http import Cloud, CloudLink, LinkDown
from edge.verbs.announced import announced
from edge.verbs.asking import Asking, Language, Unanswered, add_options, language_of
from edge.verbs.remedies import WORDS
from edge.web.glance import Summary
from wire.batch import Lane
from wire.errors import BadInput

LOOK_S: Final = 10.0
MAX_NAMED: Final = 64
PROBE_BYTES: Final = 65_536
SLOW_S: Final = 2.0  # a card that takes longer to keep 64 KiB
SOON_DAYS: Final = 21
Mark = Literal["ok", "!!", "? "]


class Diagnosis(NamedTuple):
    """What one look has found: words, and what was put in. Those of trouble have, behind a bar, what to do."""

    mark: Mark
    words: str
    parts: tuple[object, ...] = ()


Look = Callable[[], Awaitable[Diagnosis]]


def add(verbs: Any) -> None:
    """Add `doctor` to the command line; `verbs` is what `add_subparsers` gave (it has no public type)."""
    doctor: argparse.ArgumentParser = verbs.add_parser("doctor", help="look at all that the node needs")
    add_options(doctor)


def run(
    config: Config,
    args: argparse.Namespace,
    *,
    locale: str,
    out: TextIO,
    transport: httpx.BaseTransport | None = None,
) -> int:
    """Look and print. `transport` stands in for the network to the node in tests."""
    language = language_of(args, locale)
    wrong = asyncio.run(_run(config, args, language, out, transport))
    words = WORDS[language]
    out.write(f"\n{words['wrong'].format(wrong) if wrong else words['all well']}\n")
    return 1 if wrong else 0


async def _run(
    config: Config, args: argparse.Namespace, language: Language, out: TextIO, transport: httpx.BaseTransport | None
) -> int:
    words, wrong = WORDS[language], 0
    async for name, found in examined(config, args.endpoints, language, transport):
        said, _, do = words[found.words].format(*found.parts).partition("|")
        out.write(f"{found.mark}  {name:<14} {said}\n")
        if do and found.mark != "ok":
            out.write(f"    {'':<14} {words['do'].format(do)}\n")
        out.flush()
        wrong += found.mark == "!!"
    return wrong


async def examined(
    config: Config, endpoints: Path | None, language: Language, transport: httpx.BaseTransport | None = None
) -> AsyncIterator[tuple[str, Diagnosis]]:
    """Each look with its name, one after the other."""
    words = WORDS[language]
    running = await _bounded(lambda: asyncio.to_thread(_node, config, endpoints, language, transport))
    yield words["node"], running
    yield words["card"], await _bounded(lambda: asyncio.to_thread(_card, Path(config.node.data_dir)))
    yield words["clock"], _clock()
    if (name := await asyncio.to_thread(announced, config)) is not None:
        yield words["page"], Diagnosis(*name)
    owned = running.words == "runs"
    down = await asyncio.to_thread(_down, config, endpoints, language, transport) if owned else ()
    for line in config.lines[:MAX_NAMED]:
        name = words["line"].format(line.name)
        if owned:
            why = next((r for r in down if r.startswith(f"line {line.name}:")), None)
            yield name, Diagnosis("ok", "line node") if why is None else Diagnosis("!!", "line down", (why,))
        else:
            yield name, await _bounded(lambda line=line: _line(line.kind.name, line.settings))
    parts = urlsplit(config.cloud.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    looks: list[tuple[str, Look]] = [
        ("name", lambda: _name(host, port)),
        ("cloud", lambda: _reached(host, port)),
        ("certificate", lambda: _certificate(host, port, config) if parts.scheme == "https" else _plain(config)),
        ("token", lambda: _token(config)),
    ]
    for what, look in looks:
        found = await _bounded(look)
        yield words[what], found
        if found.mark == "!!":  # what comes after it cannot be better
            return


async def _bounded(look: Look) -> Diagnosis:
    try:
        async with asyncio.timeout(LOOK_S):
            return await look()
    except TimeoutError:
        return Diagnosis("!!", "late", (LOOK_S,))


def _node(
    config: Config, endpoints: Path | None, language: Language, transport: httpx.BaseTransport | None
) -> Diagnosis:
    try:
        with Asking(config, endpoints, language, transport) as node:
            told = node.get(f"/summary?lang={language}", Summary)
    except Unanswered:
        return Diagnosis("!!", "not running")
    return Diagnosis("ok" if told.state == "well" else "? ", "runs", (told.sentence,))


def _down(
    config: Config, endpoints: Path | None, language: Language, transport: httpx.BaseTransport | None
) -> Sequence[str]:
    with Asking(config, endpoints, language, transport) as node:
        return node.troubles()


def _card(directory: Path) -> Diagnosis:
    try:
        free = shutil.disk_usage(directory).free
        if not os.access(directory, os.W_OK | os.X_OK):
            if os.statvfs(directory).f_flag & os.ST_RDONLY:
                return Diagnosis("!!", "card not", (directory, os.strerror(30)))  # EROFS
            return Diagnosis("? ", "card no right", (directory,))
        began = time.monotonic()
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(os.urandom(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
        took_s = time.monotonic() - began
    except OSError as error:
        return Diagnosis("!!", "card not", (directory, _why(error)))
    room = f"{free / 1e9:.1f} GB" if free >= 1e9 else f"{free / 1e6:.0f} MB"
    if free < DISK_LOW_BYTES:
        return Diagnosis("!!", "card low", (room,))
    return Diagnosis("!!", "card slow", (took_s,)) if took_s > SLOW_S else Diagnosis("ok", "card ok", (room, took_s))


def _clock() -> Diagnosis:
    now_us = utc_us()
    if now_us < EARLIEST_US:
        return Diagnosis("!!", "past", (datetime.fromtimestamp(now_us / 1e6, UTC).isoformat(" ", timespec="minutes"),))
    return Diagnosis("ok", "synced") if kernel_synced() else Diagnosis("!!", "unsynced")


async def _line(protocol: str, settings: Any) -> Diagnosis:
    if protocol == "ble":
        return _radio(settings.adapter)
    port = str(getattr(settings, "serial", ""))
    if port:
        return await asyncio.to_thread(_serial, port)
    if not (host := getattr(settings, "host", "")):  # a protocol of another package
        return Diagnosis("? ", "line down", (protocol,))
    secure = getattr(settings, "secure", False)
    number = settings.port or (8883 if secure else 1883)
    where = f"{host}, {number}"
    try:
        _, writer = await asyncio.open_connection(host, number)
    except OSError as error:
        return Diagnosis("!!", "refused", (where, _why(error)))
    writer.close()
    return Diagnosis("ok", "line ok", (where,))


def _serial(port: str) -> Diagnosis:
    if not Path(port).exists():
        return Diagnosis("!!", "no port", (port,))
    if not os.access(port, os.R_OK | os.W_OK):
        return Diagnosis("!!", "no right", (port, f"uid {os.geteuid()}"))
    return Diagnosis("ok", "line ok", (port,))


def _radio(adapter: str) -> Diagnosis:
    there = sorted(p.name for p in Path("/sys/class/bluetooth").glob("hci*") if ":" not in p.name)
    if adapter not in ("", *there) or not there:
        return Diagnosis("!!", "no radio", (f" {adapter}".rstrip(),))
    return Diagnosis("ok", "radio ok", (adapter or there[0],))


def _why(error: OSError) -> str:
    """What the system says, and not in which call."""
    named = isinstance(error, socket.gaierror | ssl.SSLError) or error.errno is None
    return str(error.strerror or error) if named else os.strerror(error.errno or 0)


async def _name(host: str, port: int) -> Diagnosis:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Diagnosis("!!", "no name", (host, _why(error)))
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))[:3]
    return Diagnosis("ok", "name ok", (host, ", ".join(addresses)))


async def _reached(host: str, port: int) -> Diagnosis:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return Diagnosis("!!", "unreached", (f"{host}, {port}", _why(error)))
    writer.close()
    return Diagnosis("ok", "reached", (f"{host}, {port}",))


async def _certificate(host: str, port: int, config: Config) -> Diagnosis:
    try:
        context = _cloud(config).context()
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return Diagnosis("!!", "invalid", (error.verify_message,))
    except OSError as error:
        return Diagnosis("!!", "invalid", (_why(error),))
    shown: Any = writer.get_extra_info("peercert")
    writer.close()
    days = int((ssl.cert_time_to_seconds(shown["notAfter"]) - time.time()) // 86_400)
    return Diagnosis("!!" if days < SOON_DAYS else "ok", "soon" if days < SOON_DAYS else "valid", (days,))


async def _plain(config: Config) -> Diagnosis:
    return Diagnosis("? " if config.cloud.insecure else "ok", "plain")


async def _token(config: Config) -> Diagnosis:
    if config.absent:
        return Diagnosis("? ", "no token", (config.absent[0],))
    began = time.monotonic()
    try:
        async with CloudLink(_cloud(config)) as link:
            await link.place(1, Lane.URGENT)  # a question that changes nothing
    except (LinkDown, BadInput, OSError) as error:
        return Diagnosis("!!", "not taken", (error,))
    return Diagnosis("ok", "taken", (time.monotonic() - began,))


def _cloud(config: Config) -> Cloud:
    return Cloud(
        url=config.cloud.url,
        node=config.node.id,
        token=config.token,
        timeout_s=min(config.cloud.timeout_s, LOOK_S / 2),
        ca_file=Path(config.cloud.ca_file) if config.cloud.ca_file else None,
        client_cert=Path(config.cloud.client_cert) if config.cloud.client_cert else None,
        proxy=config.proxy,
    )
