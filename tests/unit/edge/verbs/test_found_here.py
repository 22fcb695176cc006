"""What a machine has: ports by the names that they keep, adapters, its time zone."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.verbs.found_here import MAX_PORTS, adapters, host_id, serial_ports, time_zone


def machine(root: Path) -> Path:
    by_id = root / "dev/serial/by-id"
    by_id.mkdir(parents=True)
    for n in range(2):
        (root / f"dev/ttyUSB{n}").touch()
    (root / "dev/ttyAMA0").touch()
    (by_id / "usb-FTDI_RS485-port0").symlink_to("../../ttyUSB1")
    for name in ("hci0", "hci1", "hci0:64"):
        (root / "sys/class/bluetooth" / name).mkdir(parents=True)
    return root


def test_a_port_is_named_by_what_stays_the_same(tmp_path: Path) -> None:
    found = serial_ports(machine(tmp_path))
    assert [(Path(p.path).name, p.about) for p in found] == [
        ("usb-FTDI_RS485-port0", "ttyUSB1"), ("ttyUSB0", ""), ("ttyAMA0", ""),
    ]  # fmt: skip


def test_no_more_than_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for n in range(2 * MAX_PORTS):
        (tmp_path / f"dev/ttyUSB{n}").touch()
    assert len(serial_ports(tmp_path)) == MAX_PORTS
    assert adapters(tmp_path) == []


def test_this_machine_can_be_asked() -> None:
    assert len(serial_ports()) <= MAX_PORTS
    assert all(p.path.startswith("/dev/") for p in serial_ports())


def test_connections_are_no_adapters(tmp_path: Path) -> None:
    assert adapters(machine(tmp_path)) == ["hci0", "hci1"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cab-17.city.example", "cab-17"), ("raspberrypi", None), ("localhost", None), ("-x", None)],
)
def test_a_name_that_somebody_gave_it(name: str, expected: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert host_id() == expected


def test_the_time_zone_as_debian_has_it(tmp_path: Path) -> None:
    assert time_zone(tmp_path) is None
    zones = tmp_path / "usr/share/zoneinfo/Europe"
    zones.mkdir(parents=True)
    (zones / "Paris").touch()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/localtime").symlink_to(zones / "Paris")
    assert time_zone(tmp_path) == "Europe/Paris"
    (tmp_path / "etc/timezone").write_text("Europe/Berlin\n")
    assert time_zone(tmp_path) == "Europe/Berlin"
