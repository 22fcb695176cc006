from __future__ import annotations

import pytest

from edge.web.hosts import Hosts

HOSTS = Hosts(["cab-17.local", "10.1.2.3", "fd00::17"])


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LocalHost:81", "localhost.", "localhost.:8470", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:8470",
        "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]:80", "cab-17.local", "CAB-17.local.:8470", "10.1.2.3:8470",
        "[fd00::17]", "[FD00:0::17]:8470", "192.168.0.7", "192.168.0.7:8470", " 127.0.0.1 ", "127.0.0.1:",
    ],
)  # fmt: skip
def test_by_its_own_names(host: str) -> None:
    assert HOSTS.why_not(host, "192.168.0.7") is None


@pytest.mark.parametrize(
    "host",
    [
        None, "", "evil.example.org", "127.0.0.1.evil.org", "localhost.evil.org:80", "cab-17", "cab-17.local.evil.org",
        "192.168.0.8", "[::1", "[::1]x", "127.0.0.1:x", "127.0.0.1:80:80", "localhost:80@evil.org", "2130706433",
        "0.0.0.0", "[fe80::1]", "127.0.0.1/", "a@localhost", "localhost:999999", "127.1", "0x7f.0.0.1", "..",
    ],
)  # fmt: skip
def test_not_by_what_others_can_call_themselves(host: str | None) -> None:
    assert "it answers to localhost, 10.1.2.3, cab-17.local, fd00::17, 192.168.0.7" in (
        HOSTS.why_not(host, "192.168.0.7") or ""
    )


def test_an_address_that_it_was_reached_by_as_the_system_writes_it() -> None:
    assert Hosts().why_not("192.168.0.7", "::ffff:192.168.0.7") is None
    assert Hosts().why_not("192.168.0.7", None) is not None
    assert len(Hosts([f"{n}.{'x' * 200}" for n in range(32)]).why_not("x" * 10_000, None) or "") < 1_000
