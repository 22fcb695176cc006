"""PostgreSQL, from Debian: a table a profile, a row a sample, a column a point, indexed by device and time.

The best layout that we know for it without extensions; a row a reading takes three to six times the room. A batch is
one transaction of binary COPY; synchronous_commit and fsync are on, and all settings are what `initdb` writes.

Bounds: LANES connections, for it takes 100 and each is a process of its own; a collector would share them likewise.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from bench.stand import Absent, BenchError, Stand
from wire.device import Point, Roster
from wire.sample import Sample, Value

NAME: Final = "PostgreSQL COPY"
READY_S: Final = 30.0
LANES: Final = 32
USER: Final = "postgres"
HOST: Final = "127.0.0.1"

_TYPES: Final = {"int": "bigint", "float": "double precision", "bool": "boolean", "text": "text"}
_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which it counts
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)


class Postgres:
    """A private server with empty tables; `close` takes its directory away."""

    def __init__(self, stand: Stand, roster: Roster) -> None:
        """Start it.

        Raises:
            Absent: it is not installed.
        """
        self._bin = _programs()
        self._profiles: Mapping[str, Sequence[Point]] = roster.profiles
        self._user: list[str] = []
        self.directory = stand.fresh("postgres")
        if os.geteuid() == 0:  # it refuses to run as root, and its own user cannot see into our directory
            self._user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
            self.directory = Path(tempfile.mkdtemp(prefix="lamplighter-bench-", dir="/var/tmp"))
            owner = pwd.getpwnam(USER)
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        data = str(self.directory / "data")
        self._do("initdb", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
                 "--pgdata", data)  # fmt: skip
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._port = probe.getsockname()[1]
        self.url = f"tcp://{HOST}:{self._port}"
        command = [*self._user, "setpriv", "--pdeathsig", "INT", self._bin / "postgres", "-D", data]
        command += ["-p", str(self._port), "-h", HOST, "-k", ""]
        self.process = stand.start("postgres", command, side="test", directory=self.directory)
        self.process.wait_until(self._answers, "no answer", READY_S)
        for profile, points in self._profiles.items():
            columns = ", ".join(f'"{p.name}" {_TYPES[p.type]}' for p in points)
            self._ask(f'CREATE TABLE "{profile}" (ts timestamptz NOT NULL, device integer NOT NULL, {columns})')
            self._ask(f'CREATE INDEX ON "{profile}" (device, ts)')

    def close(self) -> None:
        """End it."""
        self.process.end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def settle(self) -> None:
        """Wait for the processes of ended connections: only then is their CPU time counted as the server's."""
        self.process.wait_until(lambda: not self._connections(), "connections stay")

    def readings(self) -> int:
        """How many it holds."""
        counts = {
            profile: " + ".join(f'count("{point.name}")' for point in points)
            for profile, points in self._profiles.items()
        }
        return sum(int(self._ask(f'SELECT {count} FROM "{profile}"')) for profile, count in counts.items())  # noqa: S608

    def rest(self) -> int:
        """Bytes of its tables and indexes, once all is written down."""
        self._ask("CHECKPOINT")
        return sum(int(self._ask(f"SELECT pg_total_relation_size('\"{profile}\"')")) for profile in self._profiles)

    def _connections(self) -> int:
        try:
            children = psutil.Process(self.process.process.pid).children()
            return sum(HOST in " ".join(child.cmdline()) for child in children)
        except psutil.NoSuchProcess:  # one of them has just ended: look again
            return 1

    def _answers(self) -> bool:
        ready = [self._bin / "pg_isready", "-h", HOST, "-p", str(self._port)]
        return subprocess.run(ready, capture_output=True, check=False).returncode == 0

    def _ask(self, query: str) -> str:
        return self._do("psql", "-h", HOST, "-p", str(self._port), "-U", USER, "-At", "-c", query).strip()

    def _do(self, program: str, *arguments: str) -> str:
        command = [*self._user, self._bin / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.directory)
        if done.returncode:
            raise BenchError(f"{program}: {done.stderr}")
        return done.stdout


class Copies:
    """Samples as the messages of PostgreSQL's protocol."""

    def __init__(self, roster: Roster, profile_of: Callable[[str], str]) -> None:
        self._profiles, self._profile_of = roster.profiles, profile_of
        self._devices: dict[str, int] = {}

    def greeting(self) -> bytes:
        """What begins a connection."""
        names = b"user\0%b\0database\0postgres\0\0" % USER.encode()
        return struct.pack("!II", 8 + len(names), 3 << 16) + names

    def request(self, samples: Iterable[Sample]) -> bytes:
        """What brings these samples at once: COPY into each table that there are some for, in one transaction."""
        rows: dict[str, list[bytes]] = {}
        for sample in samples:
            profile = self._profile_of(sample.device)
            device = self._devices.setdefault(sample.device, len(self._devices))
            points = self._profiles[profile]
            head = struct.pack("!hiqii", 2 + len(points), 8, sample.time_us - _EPOCH_US, 4, device)
            values = b"".join(_field(sample.values.get(p.name), p.type) for p in points)
            rows.setdefault(profile, []).append(head + values)
        verbs = "; ".join(f'COPY "{profile}" FROM STDIN (FORMAT binary)' for profile in rows)
        copies = b"".join(
            _message(b"d", _HEAD + b"".join(found) + b"\xff\xff") + _message(b"c", b"") for found in rows.values()
        )
        return _message(b"Q", verbs.encode() + b"\0") + copies


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise Absent("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _field(value: Value, kind: str) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    match kind:
        case "bool":
            return struct.pack("!i?", 1, value)
        case "int":
            return struct.pack("!iq", 8, value)
        case "float":
            return struct.pack("!id", 8, value)
        case _:
            text = str(value).encode()
            return struct.pack("!i", len(text)) + text
