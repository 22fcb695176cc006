"""What the figures were measured on: the machine, its disk's fsync, the versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

from bench.stand import PEERS, ROOT

PACKAGES = ("aiomqtt", "paho-mqtt", "pymodbus", "aiosqlite", "cbor2", "zstandard", "msgspec", "uvloop", "starlette")


def describe() -> dict[str, str]:
    """A line each."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    told = {
        "machine": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB",
        "system": f"{_release()}, Linux {platform.release()}",
        "fdatasync": f"{_sync_ms():.2f} ms (median of 50 appends of 4 KiB)",
        "commit": _commit(),
        "Python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
    }
    return told | {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())}


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _release() -> str:
    found = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text(encoding="utf-8"))
    return found[1] if found else "unknown"


def _sync_ms() -> float:
    PEERS.mkdir(exist_ok=True)
    took: list[float] = []
    with tempfile.TemporaryFile(dir=PEERS, buffering=0) as file:  # without a name: two may measure at once
        for _ in range(50):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - started)
    return sorted(took)[25] * 1000


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return f"{git('rev-parse', '--short', 'HEAD')}{' and changes' if git('status', '--porcelain') else ''}"
