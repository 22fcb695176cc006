"""Proxies: which HTTP proxy the way to the cloud leads through, by the environment's usual variables. Pure.

`https_proxy` or `HTTPS_PROXY` for an https address, `http_proxy` or `HTTP_PROXY` for an http one, else `all_proxy` or
`ALL_PROXY`; the lower case goes first. `no_proxy` or `NO_PROXY` names, with commas between, what is reached directly:
a name stands for itself and all names under it, an address or network (`10.0.0.0/8`) for itself, either may end in
`:port`, and `*` means everything. This machine itself is always reached directly. (There is no standard; this is what
curl and most others read alike.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

_SCHEMES: Final = {"http", "https"}
_PORT: Final = re.compile(r"(.*?):(\d{1,5})")
_DEFAULT: Final = {"http": 80, "https": 443}


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy's address, or None where the way is direct.

    Raises:
        ValueError: a variable holds no address of an HTTP proxy; in words, and without a password that it may hold.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if _is_here(host):
        return None
    names = [n for name in (f"{parts.scheme}_proxy", "all_proxy") for n in (name, name.upper())]
    name = next((n for n in names if environment.get(n, "").strip()), None)
    without = next((v for n in ("no_proxy", "NO_PROXY") if (v := environment.get(n))), "")
    if name is None or any(_stands_for(one.strip(), host, parts.port or _DEFAULT.get(parts.scheme, 0))
                           for one in without.split(",")):  # fmt: skip
        return None
    found = environment[name].strip()
    found = found if "://" in found else f"http://{found}"
    try:
        proxy = urlsplit(found)
        if proxy.scheme not in _SCHEMES or not proxy.hostname or proxy.port == 0 or proxy.path.strip("/"):
            raise ValueError(name)  # noqa: TRY301 - told like what urlsplit itself refuses
    except ValueError:
        raise ValueError(f"{name} of the environment is no HTTP proxy; write for example http://proxy:3128") from None
    return found


def _is_here(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(text: str):  # noqa: ANN202 - IPv4Address or IPv6Address
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None


def _stands_for(one: str, host: str, port: int) -> bool:
    """Whether an item of NO_PROXY stands for this host."""
    if one in ("", "*"):
        return one == "*"
    address = _address(host)
    if address is not None and (bare := _address(one)) is not None:
        return bare == address
    if (found := _PORT.fullmatch(one)) is not None and (one.count(":") == 1 or one.startswith("[")):
        if int(found[2]) != port:
            return False
        one = found[1]
    if address is not None:
        try:
            return address in ip_network(one.strip("[]"), strict=False)
        except ValueError:
            return False
    name = one.removeprefix("*").lstrip(".").rstrip(".").lower()
    return bool(name) and (host.lower() == name or host.lower().endswith(f".{name}"))
