"""Whom a request without a valid token is counted to, and whose word on that is believed."""

from __future__ import annotations

import pytest

from cloud.entrance.addresses import MAX_HOPS, UNKNOWN, Proxies, key_of, networks_of


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", UNKNOWN),
        ("lamp", UNKNOWN),
        ("192.0.2.7\r\n", UNKNOWN),
    ],
)
def test_an_address_is_counted_under(address: str, key: str) -> None:
    assert key_of(address) == key


def test_only_proxies_of_ours_are_believed() -> None:
    assert Proxies().client("192.0.2.1", "198.51.100.9") == "192.0.2.1"
    proxies = Proxies(networks_of(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]))
    assert proxies.client("192.0.2.1", "198.51.100.9") == "192.0.2.1"
    assert proxies.client("127.0.0.1", "198.51.100.9") == "198.51.100.9"
    assert proxies.client("::ffff:127.0.0.1", "198.51.100.9") == "198.51.100.9"
    assert proxies.client("127.0.0.1", "") == "127.0.0.1"
    # What the client itself has written stands further left than what our proxy has added.
    assert proxies.client("127.0.0.1", "203.0.113.1, 198.51.100.9") == "198.51.100.9"
    assert proxies.client("127.0.0.1", "203.0.113.1, 198.51.100.9, 10.1.1.1") == "198.51.100.9"
    assert proxies.client("2001:db8::5", "nonsense") == UNKNOWN
    assert proxies.client("127.0.0.1", ", ".join(["198.51.100.9"] + ["10.1.1.1"] * MAX_HOPS)) == "127.0.0.1"


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match="--trusted-proxy 'proxy"):
        networks_of(["proxy.example"])
