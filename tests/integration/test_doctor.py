"""`lamplighter-edge doctor` against real certificates, sockets, serial ports, a full disk, a node and a city."""

from __future__ import annotations

import asyncio
import os
import pty
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge.config import Config, load
from edge.verbs.doctor import Diagnosis, examined
from stage import BIN
from support.authority import Authority
from support.disk import Ballast, small_disk
from support.lamps import Lamps, playing

NODE = """
[node]
id = "cab-1"
data_dir = "{data}"

[cloud]
url = "{url}"
token = "lamp_0000000000_x"
{more}
"""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, need: Callable[[str], str]) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki") / "city", need("openssl"))


@pytest.fixture
def lamps(tmp_path: Path) -> Iterator[Lamps]:
    with playing(tmp_path) as found:
        yield found


def configured(folder: Path, url: str, *, data: Path | None = None, more: str = "", lines: str = "") -> Config:
    data = data or folder / "data"
    data.mkdir(exist_ok=True)
    (folder / "node.toml").write_text(NODE.format(data=data, url=url, more=more) + lines)
    return load(folder / "node.toml", {}, connects=False)


async def looked(config: Config) -> dict[str, Diagnosis]:
    return {name: found async for name, found in examined(config, None, "en")}


@asynccontextmanager
async def served(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Somebody who speaks TLS and says nothing."""

    async def hush(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hush, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("host", "days", "trusted", "mark", "words"),
    [
        ("localhost", 100, True, "ok", "valid"),
        ("localhost", 2, True, "!!", "soon"),
        ("localhost", -1, True, "!!", "invalid"),
        ("elsewhere", 100, True, "!!", "invalid"),
        ("localhost", 100, False, "!!", "invalid"),
    ],
)
async def test_certificates(
    tmp_path: Path, city: Authority, host: str, days: int, trusted: bool, mark: str, words: str
) -> None:
    async with served(city.context(city.issue(f"{host}{days}", host, days))) as port:
        more = f'ca_file = "{city.ca}"' if trusted else ""
        found = await looked(configured(tmp_path, f"https://localhost:{port}", more=more))
    assert (found["cloud"].mark, found["certificate"].mark, found["certificate"].words) == ("ok", mark, words)
    if days == -1:
        assert "expired" in str(found["certificate"].parts[0])
    assert ("token" in found) is (mark == "ok"), "what comes after something wrong is not looked at"
    if mark == "ok":
        assert found["token"].words == "not taken"


async def test_what_is_not_there(tmp_path: Path) -> None:
    lines = """
[[line]]
name = "bus"
protocol = "modbus"
serial = "/dev/ttyNOBODY"

[[line]]
name = "gateway"
protocol = "modbus"
host = "127.0.0.1"
port = 9

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
port = 9
client_id = "cab-1"
"""
    found = await looked(configured(tmp_path, "http://127.0.0.1:9", lines=lines))
    assert found["node"] == Diagnosis("!!", "not running")
    assert found["line bus"] == Diagnosis("!!", "no port", ("/dev/ttyNOBODY",))
    assert (
        found["line gateway"]
        == found["line broker"]
        == Diagnosis("!!", "refused", ("127.0.0.1, 9", "Connection refused"))
    )
    assert found["cloud"] == Diagnosis("!!", "unreached", ("127.0.0.1, 9", "Connection refused"))
    assert found["card"].mark == "ok"


async def test_a_serial_port_and_a_name(tmp_path: Path) -> None:
    ends = pty.openpty()
    try:
        lines = f'[[line]]\nname = "bus"\nprotocol = "modbus"\nserial = "{os.ttyname(ends[1])}"\n'
        found = await looked(configured(tmp_path, "https://lamplighter.invalid", lines=lines))
    finally:
        for end in ends:
            os.close(end)
    assert found["line bus"].mark == "ok"
    assert found["name"].words == "no name"
    assert "cloud" not in found


async def test_a_full_card(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data") as disk:
        found = await looked(configured(tmp_path, "http://127.0.0.1:9", data=disk))
        assert found["card"].words == "card low"
        with Ballast(disk) as ballast:
            ballast.fill()
            found = await looked(configured(tmp_path, "http://127.0.0.1:9", data=disk))
    assert found["card"] == Diagnosis("!!", "card not", (disk, "No space left on device"))


def test_a_node_at_work(lamps: Lamps) -> None:
    stage = lamps.stage
    command = [BIN / "lamplighter-edge", "doctor", "--config", stage.node_config, "--endpoints", stage.node_endpoints]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**stage.environment, "LANG": "C"}
    )
    said = {line[4:18].strip(): line[:2] for line in done.stdout.splitlines() if line[:2] in ("ok", "!!", "? ")}
    assert "the running node has it open" in done.stdout, done.stdout + done.stderr
    assert said["line north"] == said["card"] == said["cloud"] == said["token"] == "ok"
    assert "Traceback" not in done.stderr
