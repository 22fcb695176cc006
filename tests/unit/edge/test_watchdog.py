"""The watchdog is patted while nothing is late, and by nothing that a device or the city does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import watchdog
from edge.watchdog import HUNG_S, NodeWatchdog, hung
from groundwork.last_words import Ring
from groundwork.liveness import Late
from groundwork.systemd import Notify
from groundwork.watchdog import PAT_S


class Cabinet:
    def __init__(self, directory: Path) -> None:
        self.card_stuck_s = 0.0
        self.left: Late | None = None
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(directory / "notify"))
        self.told.setblocking(False)
        systemd = Notify({"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "60000000"})
        self.watchdog = NodeWatchdog(systemd, directory / "node.sock", ring=Ring(), boot=7)

    def patted(self) -> bool:
        self.watchdog.pat()
        try:
            return self.told.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            return False


@pytest.fixture
def cabinet(tmp_path: Path) -> Iterator[Cabinet]:
    found = Cabinet(tmp_path)
    with found.told, found.watchdog.watching(hung(lambda: found.card_stuck_s), lambda: found.left):
        yield found


def test_a_card_that_hangs(cabinet: Cabinet) -> None:
    assert cabinet.patted()
    cabinet.card_stuck_s = HUNG_S - 0.1
    assert cabinet.patted()
    cabinet.card_stuck_s = HUNG_S
    assert not cabinet.patted()
    assert [str(late) for late in cabinet.watchdog.late()] == ["card: an answer has taken 30 s"]
    cabinet.card_stuck_s = 0.0
    assert cabinet.patted(), "it has come back"


async def test_it_is_patted_whatever_is_done_meanwhile(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.setblocking(False)
        systemd = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"})
        async with NodeWatchdog(systemd, tmp_path / "node.sock", ring=Ring(), boot=7).kept() as kept:
            for _ in range(3):  # as while a card is opened
                assert await asyncio.get_running_loop().sock_recv(told, 100) == b"WATCHDOG=1"
            kept.stopping()
            while await asyncio.get_running_loop().sock_recv(told, 100) != b"STOPPING=1":
                pass


def test_a_commit_that_does_not_end(cabinet: Cabinet) -> None:
    with cabinet.watchdog.commit.busy(3600, "a commit"):
        assert cabinet.patted()
    with cabinet.watchdog.commit.busy(-1, "a commit"):
        assert not cabinet.patted()
    assert cabinet.patted()


def test_for_a_part_of_its_own_the_node_ends_at_most_once_an_hour(cabinet: Cabinet, tmp_path: Path) -> None:
    with cabinet.watchdog.commit.busy(-1, "a commit"):
        assert not cabinet.patted()
        assert not cabinet.patted(), "and systemd has its time"
    for boot, ends in ((7, False), (8, True)):
        systemd = Notify({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"})
        cabinet.watchdog = NodeWatchdog(systemd, tmp_path / "node.sock", ring=Ring(), boot=boot)
        with cabinet.watchdog.commit.busy(-1, "a commit"):
            assert cabinet.patted() != ends
            assert [late.part for late in cabinet.watchdog.late()] == ["commit"], "health says so all the while"
    with cabinet.watchdog.watching(hung(lambda: HUNG_S)):
        assert not cabinet.patted(), "a card that hangs is another thing: the next process does without"


def test_drivers_that_do_not_end(cabinet: Cabinet) -> None:
    cabinet.left = Late("lines", "the end of 3 drivers", 10)
    assert not cabinet.patted()


def test_the_words_of_the_one_before_lie_beside_the_socket_until_they_are_told(
    cabinet: Cabinet, tmp_path: Path
) -> None:
    words = '{"time_us":1,"late":"card","version":"0.1.0","python":"3.11.7","log":[],"stacks":""}'
    (tmp_path / watchdog.LAST_WORDS).write_text(words)
    for _ in range(2):  # the first one ends before anybody is told
        again = NodeWatchdog(Notify({}), tmp_path / "node.sock", ring=Ring(), boot=7)
        with again:
            assert [w.late for w in again.words] == ["card"]
    with cabinet.watchdog:
        cabinet.watchdog.told()
        assert cabinet.watchdog.words == ()
    with NodeWatchdog(Notify({}), tmp_path / "node.sock", ring=Ring(), boot=7) as last:
        assert list(last.words) == []


def test_nobody_waits_for_it(tmp_path: Path) -> None:
    systemd = Notify({})
    quiet = NodeWatchdog(systemd, tmp_path / "node.sock", ring=Ring(), boot=7)
    assert quiet.every_s == PAT_S
    with quiet:
        quiet.pat()
