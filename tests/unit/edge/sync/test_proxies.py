from __future__ import annotations

import pytest

from edge.sync.proxies import proxy_for

URL = "https://lamplighter.example.org/base"
PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        (URL, {}, None),
        (URL, {"HTTPS_PROXY": PROXY}, PROXY),
        (URL, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        (URL, {"HTTPS_PROXY": " ", "ALL_PROXY": PROXY}, PROXY),
        (URL, {"HTTPS_PROXY": "proxy:3128"}, PROXY),
        (URL, {"HTTPS_PROXY": "http://me:secret@proxy:3128/"}, "http://me:secret@proxy:3128/"),
        (URL, {"HTTP_PROXY": PROXY}, None),
        ("http://lamplighter.example.org", {"HTTP_PROXY": PROXY}, PROXY),
        ("http://127.0.0.1:8080", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("https://[::1]:8443", {"HTTPS_PROXY": PROXY}, None),
        ("https://localhost", {"HTTPS_PROXY": PROXY}, None),
    ],
)
def test_which_one(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environment) == proxy


@pytest.mark.parametrize(
    ("without", "url", "direct"),
    [
        ("*", URL, True),
        ("example.org", URL, True),
        (".example.org", URL, True),
        ("*.example.org", URL, True),
        ("LAMPLIGHTER.Example.ORG", URL, True),
        ("ple.org", URL, False),
        ("other.org, example.org", URL, True),
        ("lamplighter.example.org:443", URL, True),
        ("lamplighter.example.org:8443", URL, False),
        ("10.0.0.0/8", "https://10.1.2.3", True),
        ("10.0.0.0/8", "https://11.1.2.3", False),
        ("10.1.2.3", "https://10.1.2.3:8443", True),
        ("10.1.2.3:8443", "https://10.1.2.3:8443", True),
        ("fd00::1", "https://[fd00::1]:8443", True),
        ("fd00::/8", "https://[fd00::1]", True),
        ("[fd00::1]:8443", "https://[fd00::1]:8443", True),
        ("", URL, False),
        ("10.0.0.0/8", URL, False),
    ],
)
def test_no_proxy(without: str, url: str, direct: bool) -> None:
    found = proxy_for(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": without})
    assert found == (None if direct else PROXY)


@pytest.mark.parametrize(
    "value", ["socks5://proxy:1080", "http://", "http://u:secret@proxy:99999", "http://proxy/path"]
)
def test_what_is_no_proxy_is_told_without_its_password(value: str) -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY of the environment is no HTTP proxy") as error:
        proxy_for(URL, {"HTTPS_PROXY": value})
    assert "secret" not in str(error.value)
