"""The real `lamplighter-edge run`: what it says, when it ends, and that no line hurts another."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from edge.outbox.reading import read_history
from stage import BIN
from support.node_process import COUNTERS, NodeProcess, wait_for


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener.getsockname()[1]


def stalled(port: int) -> str:
    """Lines whose other ends never answer."""
    lamps = "".join(
        f'[[device]]\nid = "lamp-{i}"\nprofile = "lx-1"\nline = "mute"\naddress = {{ unit = {i} }}\npoll_s = 0.5\n'
        for i in range(1, 6)
    )
    return f"""
[[line]]
name = "mute"
protocol = "modbus"
host = "127.0.0.1"
port = {port}
timeout_s = 20

[[line]]
name = "broker"
protocol = "mqtt"
host = "127.0.0.1"
port = {port}
client_id = "cab-1"
timeout_s = 20

{lamps}
[[device]]
id = "bin-1"
profile = "bn-1"
line = "broker"
address = {{ serial = "BN1" }}
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    made: list[NodeProcess] = []

    def make(lines: str = COUNTERS, where: Path = tmp_path, **more: object) -> NodeProcess:
        made.append(NodeProcess(where, lines, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for process in made:
        if process.actor.process.poll() is None:
            process.actor.kill()


def held(node: NodeProcess) -> list[object]:
    async def read() -> list[object]:
        return [
            s.values["n"] async for c in read_history(node.data / "outbox.db", 0, 2**62, "c-1") for s in c.samples()
        ]

    return asyncio.run(read())


def test_health_answers_while_polls_and_brokers_hang(node: Callable[..., NodeProcess]) -> None:
    with black_hole() as port:
        process = node(stalled(port) + COUNTERS)
        process.ready()
        wait_for(lambda: process.health()["counters"]["samples_committed"] > 5, "the other line is read")
        for _ in range(10):  # each would wait for the line's time-out, if health waited for lines
            found = process.health()
        assert found["devices"] == 7
        before = found["counters"]["samples_committed"]
        wait_for(lambda: process.health()["counters"]["samples_committed"] > before + 3, "and goes on being read")
        assert process.end()[0] == 0, process.said()


def test_a_hangup_does_not_end_it(node: Callable[..., NodeProcess]) -> None:
    process = node()
    process.ready()
    for _ in range(3):
        process.actor.process.send_signal(signal.SIGHUP)
        assert process.health()["verdict"]
    code, _ = process.end()
    assert code == 0, process.said()


def test_sigterm_commits_what_waits(node: Callable[..., NodeProcess]) -> None:
    """The commit interval is a minute: what is there afterwards was written by the stop."""
    process = node(commit_s=60)
    wait_for(lambda: process.health()["counters"]["polls"] >= 10, "ten polls")
    assert process.end()[0] == 0, process.said()
    assert not (process.data / "outbox.db-wal").exists(), "closed in good order"
    numbers = held(process)
    assert len(numbers) >= 10
    assert numbers == list(range(len(numbers))), "every one, in order"


def test_a_second_process_on_the_same_data_is_refused(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    first = node()
    first.ready()
    (tmp_path / "again").mkdir()
    second = node(where=tmp_path / "again")
    second.actor.kill()
    second.config.write_text(second.config.read_text().replace('"data"', f'"{first.data}"'))
    second.again()
    assert second.actor.process.wait(15) == 1
    assert second.said() == f"lamplighter-edge: {first.data} is in use by another node process\n"
    assert first.health()["verdict"] == "degraded", "the first goes on"


def test_a_port_that_is_taken_is_named(node: Callable[..., NodeProcess]) -> None:
    with black_hole() as port:
        process = node(port=port)
        assert process.actor.process.wait(15) == 1
        assert process.said() == f'lamplighter-edge: health.listen = "127.0.0.1:{port}": Address already in use\n'


def test_a_broken_outbox_is_kept_beside_and_the_node_goes_on(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "outbox.db").write_bytes(b"this is no database, it only looks like one" * 500)
    process = node()
    process.ready()
    reasons = process.health()["reasons"]
    assert any(r.startswith("the card was damaged: outbox.db was damaged (file is not a database)") for r in reasons)
    assert (tmp_path / "data" / "outbox.db.damaged").exists()


def test_a_data_directory_that_cannot_be_used_is_named(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """The node does without: lamps burn all the same."""
    (tmp_path / "data").write_text("a file")
    process = node()
    (reason,) = [r for r in process.health()["reasons"] if "without its card" in r]
    assert str(tmp_path / "data") in reason
    wait_for(lambda: process.health()["counters"]["samples_committed"] > 3, "it polls")
    assert process.end()[0] == 0
    assert "Traceback" not in process.said()


def test_a_wrong_configuration_is_78_and_everything_is_told(node: Callable[..., NodeProcess]) -> None:
    process = node(COUNTERS.replace('"fake"', '"fkae"').replace('"counter"', '"countre"'))
    assert process.actor.process.wait(15) == 78
    said = process.said().splitlines()
    assert 'line[0].protocol: no protocol "fkae" (did you mean "fake"?)' in said[0]
    assert 'device[0].profile: no profile "countre" (did you mean "counter"?)' in said[1]
    assert said[-1].endswith("problem(s); nothing was started")
    assert not process.data.exists()


def test_check_and_a_wrong_command_line(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    process = node()
    process.ready()

    def edge(*args: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([BIN / "lamplighter-edge", *map(str, args)], capture_output=True, text=True, check=False)

    done = edge("check", "--config", process.config)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cab-1: 1 devices; the configuration is sound" in done.stdout
    assert edge("check", "--config", tmp_path / "none.toml").returncode == 78
    assert edge("walk").returncode == 2


def test_a_broker_that_is_down_hurts_no_other_line(node: Callable[..., NodeProcess]) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        process = node(stalled(taken.getsockname()[1]) + COUNTERS)
        process.ready()
        wait_for(lambda: process.health()["counters"]["samples_committed"] > 10, "the other line is read")
        polls = process.health()["counters"]
        assert polls["polls_missed"] < polls["samples_committed"], "the other line keeps its cadence"
        assert process.end()[0] == 0
        numbers = [n for n in held(process) if n is not None]
        assert numbers == list(range(len(numbers)))


def test_a_line_that_cannot_open_is_told_and_hurts_no_other(node: Callable[..., NodeProcess]) -> None:
    wrong = """
[[line]]
name = "rs485"
protocol = "modbus"
serial = "/dev/none"

[[line]]
name = "locked"
protocol = "mqtt"
host = "127.0.0.1"
client_id = "x"
ca = "/none.pem"

[[device]]
id = "bin-1"
profile = "bn-1"
line = "locked"
address = { serial = "BN1" }
"""
    process = node(wrong + COUNTERS)
    process.ready()
    wait_for(lambda: any(r.startswith("line locked: ") for r in process.health()["reasons"]), "the fault is told")
    before = process.health()["counters"]
    wait_for(lambda: process.health()["counters"]["samples_committed"] > before["samples_committed"] + 10, "it is read")
    after = process.health()["counters"]
    assert after["line_restarts"] >= 1
    assert after["polls"] >= after["samples_committed"], "a line that starts again takes no other's counts away"
    assert process.end()[0] == 0


def test_systemd_is_told(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    """What Type=notify and WatchdogSec ask for, on a real socket."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(path))
        told.settimeout(10)
        process = node(environment={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
        said: list[str] = []
        while said.count("WATCHDOG=1") < 4 or "READY=1" not in said:
            said.append(told.recv(100).decode())
        assert httpx.get(process.ready()).status_code == 200, "ready means that it serves"
        assert process.end()[0] == 0
        rest: list[str] = []
        told.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                rest.append(told.recv(100).decode())
        assert "STOPPING=1" in rest


def test_a_notify_socket_that_is_gone_stops_nothing(node: Callable[..., NodeProcess], tmp_path: Path) -> None:
    process = node(environment={"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "200000"})
    wait_for(lambda: process.health()["counters"]["samples_committed"] > 3, "it runs")
    assert process.end()[0] == 0
    assert "could not be sent" in process.said()  # whichever word is the first


def test_it_uses_the_port_that_it_is_given(node: Callable[..., NodeProcess]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = node(port=port)
    assert process.ready() == f"http://127.0.0.1:{port}/health"
    assert (process.data / "outbox.lock").stat().st_mode & 0o7 == 0, "not for everybody"
