"""Seldom: however often the process begins anew, and whatever happens to clocks and to the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundwork.seldom import Seldom, since_boot_s

APART_S = 3600.0


class Machine:
    def __init__(self, path: Path) -> None:
        self.path, self.boot, self.now_s = path, 1, 5000.0

    def process(self) -> Seldom:
        return Seldom(self.path, APART_S, self.boot, lambda: self.now_s)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "done.json")


def test_once_in_so_long_over_all_processes(machine: Machine) -> None:
    first = machine.process()
    assert first.may()
    first.does()
    assert not first.may()
    machine.now_s += APART_S - 1
    assert not machine.process().may()
    machine.now_s += 1
    assert machine.process().may()


def test_another_start_of_the_machine_is_another_matter(machine: Machine) -> None:
    machine.process().does()
    machine.boot += 1
    assert machine.process().may()
    machine.boot -= 1
    machine.now_s -= 1000
    assert machine.process().may(), "a clock that has gone back is none of this start"


@pytest.mark.parametrize("text", [b"", b"{}", b'{"boot":1,"at_s":"x"}', b"\xff", b" " * 2000])
def test_a_file_that_says_nothing(machine: Machine, text: bytes) -> None:
    machine.path.write_bytes(text)
    seldom = machine.process()
    assert seldom.may()
    seldom.does()
    assert not machine.process().may()


def test_where_nothing_can_be_kept_this_process_knows(tmp_path: Path) -> None:
    seldom = Seldom(tmp_path / "nowhere" / "done.json", APART_S, 1)
    seldom.does()
    assert not seldom.may()
    assert since_boot_s() > 0
